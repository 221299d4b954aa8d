"Build the wheel, install it alone beside the newest fastai, import every module, train an epoch, copy the lessons"
import json, os, subprocess, sys, tempfile
from pathlib import Path
from zipfile import ZipFile

root = Path(__file__).resolve().parents[1]
imports = '''
import importlib, pkgutil, sys, sota_vision
extra = {'ipywidgets', 'IPython', 'nbformat', 'nbclient', 'nbconvert', 'jupyter_client'}   # the extra `lab`
for m in pkgutil.iter_modules(sota_vision.__path__, 'sota_vision.'):
    try: importlib.import_module(m.name)
    except ModuleNotFoundError as e:
        if e.name.split('.')[0] not in extra: raise
        print(f'{m.name} needs {e.name}, which the extra `lab` brings')
from importlib.metadata import version
print('python', sys.version.split()[0], *(f'{o} {version(o)}' for o in ('fastai', 'fastcore', 'torch', 'torchvision')))
'''

def run(*cmd, **kw):
    "Run a command away from the tree, so that only the wheel can be imported; stop where it fails"
    env = {k: v for k,v in os.environ.items() if k not in ('PYTHONPATH', 'VIRTUAL_ENV')} | {'PYTHONWARNINGS': 'ignore'}
    subprocess.run([str(o) for o in cmd], env=env, check=True, **kw)

def notebooks():
    "Every notebook and picture of the tree, as seen from `nbs`"
    files = [o.relative_to(root/'nbs') for p in ('*.ipynb', '*.png') for o in (root/'nbs').rglob(p)]
    return {o.as_posix() for o in files if '.ipynb_checkpoints' not in o.parts}

def built(out):
    "The wheel, made by way of the source archive; it holds every module, result and notebook of the tree"
    run(sys.executable, '-m', 'uv', 'build', '--quiet', '--out-dir', out, root)
    wheel = next(out.glob('*.whl'))
    want = {o.relative_to(root).as_posix() for p in ('*.py', 'results/*') for o in (root/'sota_vision').glob(p)}
    want |= {f'sota_vision/_lessons/{o}' for o in notebooks()}
    missing = want - set(ZipFile(wheel).namelist())
    if missing: sys.exit(f'the wheel lacks {sorted(missing)}: see package_data and Build in setup.py')
    return wheel

def main(tmp):
    wheel,env = built(tmp),tmp/'env'
    bin = env/('Scripts' if os.name == 'nt' else 'bin')
    run(sys.executable, '-m', 'uv', 'venv', '--quiet', '--python', sys.executable, env)
    run(sys.executable, '-m', 'uv', 'pip', 'install', '--quiet', '--python', env, wheel)
    run(bin/'python', '-c', imports, cwd=tmp)
    run(bin/'sota_train', '--profile', 'tiny', '--epochs', '1', '--out', tmp/'out', cwd=tmp)
    found = sorted(o.name for o in (tmp/'out').rglob('*') if o.is_file())
    json.loads(next((tmp/'out').rglob('run.json')).read_text(encoding='utf-8'))
    run(bin/'sota_lessons', '--no-lab', '--solutions', '--clean', tmp/'lessons', cwd=tmp)
    copied = {o.relative_to(tmp/'lessons').as_posix() for o in (tmp/'lessons').rglob('*') if o.is_file()}
    if missing := (notebooks() | {'clean/00_imagenette.ipynb'}) - copied: sys.exit(f'sota_lessons did not copy {sorted(missing)}')
    print('wheel check passed:', wheel.name, 'left', *found)

if __name__ == '__main__':
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as tmp: main(Path(tmp))
