"Packaging: every fact stands in `settings.ini`, which nbdev reads too"
from configparser import ConfigParser
from pathlib import Path
from shutil import copy2
from setuptools import setup
from setuptools.command.build_py import build_py

ini = ConfigParser(delimiters=['='])
ini.read('settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']

class Build(build_py):
    "Put the notebooks and their pictures into the package too, where `sota_lessons` finds them"
    def run(self):
        super().run()
        if getattr(self, 'editable_mode', False): return   # a checkout is read where it lies
        for file in Path('nbs').rglob('*'):
            if file.suffix not in ('.ipynb', '.png') or '.ipynb_checkpoints' in file.parts: continue
            target = Path(self.build_lib)/cfg['lib_path']/'_lessons'/file.relative_to('nbs')
            target.parent.mkdir(parents=True, exist_ok=True)
            copy2(file, target)

setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'],
    author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'],
    license=cfg['license'], license_files=['LICENSE'],
    long_description=Path('README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    packages=[cfg['lib_path']], package_data={cfg['lib_path']: ['results/*']},
    cmdclass={'build_py': Build},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg['requirements'].split(),
    extras_require={o: cfg[f'{o}_requirements'].split() for o in ('lab', 'bench', 'dev')},
    entry_points={'console_scripts': cfg['console_scripts'].split()},
)
