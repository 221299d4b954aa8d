"The wheel in a second environment, beside the newest fastai, fastcore and nbdev: modules, commands, every notebook"
import importlib, os, pkgutil, runpy, shutil, subprocess, sys, tempfile
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

root = Path(__file__).resolve().parents[1]
lab = {'ipywidgets', 'IPython', 'nbformat', 'nbclient'}     # top-level imports that the extra `lab` brings

def run(*cmd, **kwargs):
    "Run a command where only the wheel can be imported; stop if it fails"
    kept = {k: v for k,v in os.environ.items() if k not in ('PYTHONPATH', 'VIRTUAL_ENV')}
    env = kept | dict(PYTHONWARNINGS='ignore', SOTA_VISION_PROFILE='quick', OMP_NUM_THREADS='1')
    subprocess.run([str(o) for o in cmd], env=env, check=True, **kwargs)

def files(folder, *patterns):
    "Files below `folder`, as seen from there, without what Jupyter and Python leave behind"
    found = {o.relative_to(folder) for p in patterns for o in folder.rglob(p)}
    return {o.as_posix() for o in found if not {'.ipynb_checkpoints', '__pycache__'} & set(o.parts)}

def build(out):
    "The wheel, made by way of the source archive; it holds every module, result, benchmark and notebook of the tree"
    run(sys.executable, '-m', 'uv', 'build', '--quiet', '--out-dir', out, root)
    wheel = next(out.glob('*.whl'))
    wanted = {f'sota_vision/{o}' for o in files(root/'sota_vision', '*.py', '*.html', 'results/*')}
    wanted |= {f'sota_vision/_lessons/{o}' for o in files(root/'nbs', '*.ipynb', '*.png')}
    wanted |= {f'sota_vision/_benchmarks/{o}' for o in files(root/'benchmarks', '*.py')}
    missing = sorted(wanted - set(ZipFile(wheel).namelist()))
    if missing: sys.exit(f'the wheel lacks {missing}: see `carried` and `packages` in setup.py')
    return wheel

def import_modules():
    "Import every module of the wheel, in the environment that holds nothing else; say which ones want the extra `lab`"
    import sota_vision
    for module in pkgutil.walk_packages(sota_vision.__path__, 'sota_vision.'):
        try: importlib.import_module(module.name)
        except ModuleNotFoundError as e:
            if e.name.split('.')[0] not in lab: raise
            print(f'{module.name} needs {e.name}, which the extra `lab` brings')
    versions = [f'{o} {version(o)}' for o in ('fastai', 'fastcore', 'torch', 'torchvision')]
    print('python', sys.version.split()[0], *versions)

def check_alone(bin, tmp):
    "The wheel and what it asks for, nothing else: every module imports, an epoch trains, the benchmark runs"
    run(bin/'python', __file__, 'import', cwd=tmp)
    run(bin/'sota_train', '--epochs', '1', '--out', tmp/'out', cwd=tmp)
    if not any(tmp.glob('out/**/run.json')): sys.exit('sota_train wrote no run.json')
    run(bin/'sota_bench', '--quick', '--rounds', '1', '--parts', 'epoch', '--out', tmp/'bench.json', cwd=tmp)
    if not (tmp/'bench.json').exists(): sys.exit('sota_bench wrote no report')

def check_series(bin, tmp):
    "The series as a reader gets it: all there"
    series = tmp/'series'
    series.mkdir()
    run(bin/'sota_lessons', '--no-lab', '--solutions', series/'nbs', cwd=tmp)
    missing = files(root/'nbs', '*.ipynb', '*.png') - files(series/'nbs', '*.ipynb', '*.png')
    if missing: sys.exit(f'sota_lessons did not copy {sorted(missing)}')

def check_notebooks(bin, tmp):
    "nbdev 3 runs every notebook on the modules of the wheel, and exports the modules of the tree, byte for byte"
    tree = tmp/'tree'
    shutil.copytree(root/'nbs', tree/'nbs', ignore=shutil.ignore_patterns('.ipynb_checkpoints'))
    shutil.copy(root/'pyproject.toml', tree)
    run(bin/'nbdev-test', '--n-workers', '2', '--do-print', '--timing', cwd=tree)
    lib,made = root/'sota_vision', tree/'sota_vision'
    made.mkdir()
    shutil.copy(lib/'__init__.py', made)    # nbdev 3 reads the version there
    run(bin/'nbdev-export', cwd=tree)
    index = '_modidx.py'    # nbdev 2 also writes down its settings here
    old,new = files(lib, '*.py') - {index}, files(made, '*.py') - {index}
    wrong = sorted(o for o in old | new if not (old & new >= {o} and (lib/o).read_bytes() == (made/o).read_bytes()))
    if runpy.run_path(str(lib/index))['d']['syms'] != runpy.run_path(str(made/index))['d']['syms']: wrong.append(index)
    if wrong: sys.exit(f'nbdev 3 exports others than nbdev 2: {wrong}')

def check_first_cell(bin, install, env, tmp):
    "Without the package a lesson installs it in its first cell, from the wheel that stands for the index, and runs"
    run(sys.executable, '-m', 'uv', 'pip', 'uninstall', '--quiet', '--python', env, 'sota_vision')
    run(*install, 'pip', 'nbconvert')
    lesson = tmp/'first_cell'/'09_cross_entropy.ipynb'
    lesson.parent.mkdir()
    shutil.copy(root/'nbs'/lesson.name, lesson)
    alone = dict.fromkeys(('PIP_CONSTRAINT', 'PIP_CONFIG_FILE'), os.devnull)    # whatever this machine asks of pip
    os.environ |= alone | dict(PIP_NO_INDEX='1', PIP_FIND_LINKS=str(tmp/'dist'))
    run(bin/'python', '-m', 'nbconvert', '--to', 'notebook', '--execute', '--inplace', lesson, cwd=lesson.parent)

def main(tmp):
    wheel,env = build(tmp/'dist'),tmp/'env'
    bin = env/('Scripts' if os.name == 'nt' else 'bin')
    run(sys.executable, '-m', 'uv', 'venv', '--quiet', '--python', sys.executable, env)
    install = (sys.executable, '-m', 'uv', 'pip', 'install', '--quiet', '--python', env)
    run(*install, wheel)
    check_alone(bin, tmp)
    check_series(bin, tmp)
    run(*install, f'{wheel}[lab,timm]', 'fastcore>=2', 'nbdev>=3')
    check_notebooks(bin, tmp)
    check_first_cell(bin, install, env, tmp)
    print('wheel check passed:', wheel.name)

if __name__ == '__main__':
    if sys.argv[1:] == ['import']: import_modules()
    else:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as tmp: main(Path(tmp).resolve())
