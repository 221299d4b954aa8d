"Packaging: every fact stands in `settings.ini`, which nbdev 2 reads too"
from configparser import ConfigParser
from pathlib import Path
from shutil import copy2
from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ini = ConfigParser(delimiters=['='])
ini.read('settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']
lib = cfg['lib_path']

# Folders beside the package that go into it: kinds of file, and the folder where commands look for them.
carried = {'nbs': (('.ipynb', '.png'), '_lessons'),     # sota_lessons
           'benchmarks': (('.py',), '_benchmarks')}     # sota_bench

def entries(field):
    "The entries of a field, between blanks; `ConfigParser` leaves comments out"
    return cfg[field].split()

class Build(build_py):
    "Put the notebooks and the benchmark into the package, where its commands find them"
    def run(self):
        super().run()
        if getattr(self, 'editable_mode', False): return   # a checkout is read where it lies
        for folder,(kinds,target) in carried.items():
            for file in sorted(Path(folder).rglob('*')):
                if file.suffix not in kinds or '.ipynb_checkpoints' in file.parts: continue
                copy = Path(self.build_lib)/lib/target/file.relative_to(folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy2(file, copy)

setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=entries('keywords'),
    author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'],
    license=cfg['license'], license_files=['LICENSE'],
    long_description=Path('README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    packages=[*find_packages(include=[lib, f'{lib}.*']), f'{lib}.results'],
    package_data={f'{lib}.results': ['*'], f'{lib}.sharing': ['*.html']},
    cmdclass={'build_py': Build},
    python_requires=f">={cfg['min_python']}",
    install_requires=entries('requirements'),
    extras_require={o.removesuffix('_requirements'): entries(o) for o in cfg if o.endswith('_requirements')},
    entry_points={'console_scripts': entries('console_scripts')},
)
