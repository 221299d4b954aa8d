"Build the wheel and try it in a second environment, beside the newest fastai: every module imports, an epoch trains, the lessons are there"
import importlib, os, pkgutil, subprocess, sys, tempfile
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
    "The wheel and what it asks for, nothing else"
    run(bin/'python', __file__, 'import', cwd=tmp)
    run(bin/'sota_train', '--epochs', '1', '--out', tmp/'out', cwd=tmp)
    if not any(tmp.glob('out/**/run.json')): sys.exit('sota_train wrote no run.json')

def check_series(bin, tmp):
    "The series as a reader gets it: all there"
    series = tmp/'series'
    series.mkdir()
    run(bin/'sota_lessons', '--no-lab', '--solutions', series/'nbs', cwd=tmp)
    missing = files(root/'nbs', '*.ipynb', '*.png') - files(series/'nbs', '*.ipynb', '*.png')
    if missing: sys.exit(f'sota_lessons did not copy {sorted(missing)}')

def main(tmp):
    wheel,env = build(tmp/'dist'),tmp/'env'
    bin = env/('Scripts' if os.name == 'nt' else 'bin')
    run(sys.executable, '-m', 'uv', 'venv', '--quiet', '--python', sys.executable, env)
    install = (sys.executable, '-m', 'uv', 'pip', 'install', '--quiet', '--python', env)
    run(*install, wheel)
    check_alone(bin, tmp)
    check_series(bin, tmp)
    print('wheel check passed:', wheel.name)

if __name__ == '__main__':
    if sys.argv[1:] == ['import']: import_modules()
    else:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as tmp: main(Path(tmp).resolve())
