"Notebooks, modules and README agree, floors hold, and nothing is in the tree that should not be"
import ast, inspect, json, os, re, runpy, shutil, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
import pytest
from fastcore.docments import docments

root = Path(__file__).resolve().parents[1]
lib, nbs = root/'sota_vision', root/'nbs'
notebooks = sorted(o.relative_to(nbs).as_posix() for o in nbs.rglob('*.ipynb') if '.ipynb_checkpoints' not in o.parts)
modules = sorted(o.stem for o in lib.glob('*.py') if not o.stem.startswith('_'))
techniques = sorted({'normalization', 'progressive', 'tta', 'mixup', 'losses'} & set(modules))
each_notebook = pytest.mark.parametrize('name', notebooks)
each_module = pytest.mark.parametrize('name', modules)

# From the ground up: a module imports only from lines above its own.
floors = [o.split() for o in '''
    profile sketchnette compare quiz lessons
    imagenette guess
    normalization progressive tta mixup losses
    training ondevice
    recipe
    evidence bench
    cli explore series exercises'''.split('\n') if o.strip()]
floor = {module: i for i,line in enumerate(floors) for module in line}

# Exports, clean notebooks, README

@pytest.fixture(scope='session')
def remade(tmp_path_factory):
    "A copy of the notebooks, exported and cleaned once more"
    copy = tmp_path_factory.mktemp('tree')
    shutil.copy(root/'settings.ini', copy)
    shutil.copytree(nbs, copy/'nbs')
    env = {k: v for k,v in os.environ.items() if k != 'IN_TEST'}
    for cmd in 'nbdev_export', 'nbdev_clean':
        subprocess.run([shutil.which(cmd, path=Path(sys.executable).parent)], cwd=copy, env=env, check=True)
    return copy

def differing(a, b, pattern):
    "Names of the files that differ between `a` and `b`, or are in one of them only"
    read = [{o.relative_to(p).as_posix(): o.read_text(encoding='utf-8') for o in p.glob(pattern)} for p in (a, b)]
    return sorted(o for o in read[0].keys() | read[1].keys() if read[0].get(o) != read[1].get(o))

def test_exports(remade):
    wrong = differing(lib, remade/'sota_vision', '*.py')
    assert not wrong, f'sota_vision/ and the notebooks disagree on {wrong}: run nbdev_export'

def test_clean(remade):
    wrong = differing(nbs, remade/'nbs', '**/*.ipynb')
    assert not wrong, f'not clean: {wrong}: run nbdev_clean'

def test_readme():
    made = runpy.run_path(str(root/'tools/readme.py'))['build']()
    there = {'README.md'} | {o.relative_to(root).as_posix() for o in (nbs/'images').glob('index_*')}
    wrong = sorted(o for o in made.keys() | there if not (root/o).exists() or o not in made
                   or (root/o).read_bytes().replace(b'\r\n', b'\n') != made[o].replace(b'\r\n', b'\n'))
    assert not wrong, f'{wrong} not as nbs/index.ipynb makes it: run make readme'

def test_readme_first_screen():
    screen = '\n'.join((root/'README.md').read_text(encoding='utf-8').splitlines()[:40])
    for want in r'!\[|<img ', 'make run', 'make test':
        assert re.search(want, screen), f'the first 40 lines of README.md lack {want}'

# Notebooks

def cells(name): return [o for o in json.loads((nbs/name).read_text(encoding='utf-8'))['cells'] if o['cell_type'] == 'code']
def outputs(name): return [o for cell in cells(name) for o in cell['outputs']]
def source(cell): return ''.join(cell['source'])
def first_line(cell): return next(o for o in source(cell).splitlines() if not o.startswith('#'))

def words(output):
    "What `output` says: its text, without the bytes of pictures"
    data = {k: v for k,v in output.get('data', {}).items() if not k.startswith('image/')}
    return '\n'.join(map(str, (output.get('text', ''), output.get('traceback', ''), data)))

@each_notebook
def test_no_error(name):
    wrong = [o['evalue'] for o in outputs(name) if o['output_type'] == 'error']
    assert not wrong, f'{name} shows errors: {wrong}'

@each_notebook
def test_no_places(name):
    places = r'/home/|/Users/|/root/|/tmp/|/var/folders/|[A-Z]:\\+Users|site-packages|(?<![\w.~/:…])/[a-z][\w.-]*/[\w.-]+/'   # any path from the root of a disk
    wrong = [o for out in outputs(name) for o in re.findall(f'.*(?:{places}).*', words(out))]
    assert not wrong, f'{name} shows places of one machine: {wrong}'

@each_notebook
def test_kernel(name):
    "A notebook that names no kernel greets its reader with a question"
    kernel = json.loads((nbs/name).read_text(encoding='utf-8'))['metadata'].get('kernelspec', {})
    assert kernel.get('name') == 'python3', f'{name} does not ask for the kernel python3, but for {kernel.get("name")}'

@each_notebook
def test_no_widgets(name):
    "Of a widget a page keeps its picture; a view without its kernel would only say that it is missing"
    book,view = json.loads((nbs/name).read_text(encoding='utf-8')), 'application/vnd.jupyter.widget-view+json'
    assert 'widgets' not in book['metadata'], f'{name} keeps the state of widgets: execute it with sota_series, which leaves it out'
    assert not any(view in o.get('data', {}) for o in outputs(name)), f'{name} keeps views of widgets: execute it with sota_series, which leaves them out'

@pytest.mark.parametrize('name', [o for o in notebooks if re.match(r'\d\d_', o)])
def test_has_figure(name):
    assert any(k.startswith('image/') for o in outputs(name) for k in o.get('data', {})), f'{name} shows no figure'

@each_notebook
def test_cells(name):
    long = {first_line(o): len(source(o).splitlines()) for o in cells(name) if len(source(o).splitlines()) > 25}
    assert not long, f'{name} has cells of more than 25 lines: {long}'
    unrun = [source(o) for o in cells(name) if re.search(r'^#\|\s*eval:\s*false', source(o), re.M)]
    assert not unrun, f'{name} has cells that never run: {unrun}'

def anchors(name):
    "What a link into the notebook `name` may end in: its headings, blanks as dashes, no backticks"
    cells = json.loads((nbs/name).read_text(encoding='utf-8'))['cells']
    lines = [l for c in cells if c['cell_type'] == 'markdown' for l in ''.join(c['source']).splitlines()]
    return {re.sub(r'^#+ ', '', l).replace('`', '').strip().replace(' ', '-') for l in lines if l.startswith('#')}

@each_notebook
def test_links(name):
    "Links from notebook to notebook lead to a file that is there, and to a heading in it"
    text = '\n'.join(''.join(c['source']) for c in json.loads((nbs/name).read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'markdown')
    for target,heading in re.findall(r'\]\(([\w/.]+\.ipynb)(?:#([^)\s]+))?\)', text):
        there = (nbs/name).parent/target
        assert there.exists(), f'{name} links to {target}, which is not there'
        if heading: assert heading in anchors(there.relative_to(nbs).as_posix()), f'{name}: {target} has no heading {heading}'

# Size

def test_size():
    git = shutil.which('git') and subprocess.run(['git', 'ls-files', '-coz', '--exclude-standard'], cwd=root, capture_output=True)
    if not git or git.returncode: pytest.skip('not a git checkout')
    sizes = {o: (root/o).stat().st_size for o in git.stdout.decode().split('\0') if (root/o).is_file()}
    large = [o for o,n in sizes.items() if n > 5_000_000]
    assert not large, f'over 5 MB: {large}'
    assert sum(sizes.values()) < 40_000_000, 'the tree holds more than 40 MB'

# Floors

def imported(name):
    "Modules of this package that module `name` imports, anywhere in its code"
    for node in ast.walk(ast.parse((lib/f'{name}.py').read_text(encoding='utf-8'))):
        names = [o.name for o in getattr(node, 'names', [])]
        if isinstance(node, ast.ImportFrom):
            base = 'sota_vision.'*bool(node.level) + (node.module or '')
            names = [base] if base.strip('.') != 'sota_vision' else [f'sota_vision.{o}' for o in names]
        elif not isinstance(node, ast.Import): names = []
        yield from (o.split('.')[1] for o in names if o.startswith('sota_vision.'))

@each_module
def test_floor(name):
    assert name in floor, f'{name} stands on no floor: give it one in {Path(__file__).name}'
    wrong = [o for o in imported(name) if floor.get(o, 0) >= floor[name]]
    assert not wrong, f'{name} imports {wrong}, which stand no lower'

@pytest.fixture(scope='module')
def brought():
    "Techniques that importing each technique, alone and in a fresh interpreter, brings along"
    code = "import sys, sota_vision.{}; print(*(o[12:] for o in sys.modules if o.startswith('sota_vision.')))"
    def load(name): return subprocess.run([sys.executable, '-W', 'ignore', '-c', code.format(name)], cwd=root, capture_output=True, text=True)
    with ThreadPoolExecutor(2) as pool: return dict(zip(techniques, pool.map(load, techniques)))

@pytest.mark.parametrize('name', techniques)
def test_alone(name, brought):
    assert brought[name].returncode == 0, f'{name} does not import alone: {brought[name].stderr}'
    others = set(brought[name].stdout.split()) & set(techniques) - {name}
    assert not others, f'{name} brings along {others}'

# Docs

def public(mod):
    "Public functions, classes and methods that `mod` defines, with their names; methods patched onto others' classes too"
    ours = lambda o: getattr(o, '__module__', None) == mod.__name__
    for k,v in vars(mod).items():
        if ours(v) and k not in mod.__all__: continue
        if ours(v) and callable(v): yield k, v
        if not inspect.isclass(v): continue
        for m,f in vars(v).items():
            f = getattr(f, 'fget', None) or getattr(f, '__func__', f)
            if not m.startswith('_') and inspect.isfunction(f) and ours(f): yield f'{k}.{m}', f

def params(o):
    "Names of the arguments written down for `o`, without `self` and what is only passed on"
    if inspect.isclass(o):
        if '__dataclass_fields__' in vars(o): return [k for k in vars(o).get('__annotations__', {}) if not k.startswith('_')]
        o = vars(o).get('__init__')
    if not (o := inspect.isroutine(o) and inspect.unwrap(o)): return []
    code = o.__code__
    return [o for o in code.co_varnames[:code.co_argcount+code.co_kwonlyargcount] if o not in ('self', 'cls') and o[0] != '_']

def described(o):
    "Has `o` a docstring of its own? A dataclass without one repeats its signature"
    return vars(o)['__doc__'] and not o.__doc__.startswith(f'{o.__name__}(') if inspect.isclass(o) else o.__doc__

@each_module
def test_docs(name):
    mod = import_module(f'sota_vision.{name}')
    absent = [o for o in mod.__all__ if not hasattr(mod, o)]
    assert not absent, f'__all__ of {name} names {absent}, which it does not have'
    own = [k for k,o in vars(mod).items() if inspect.isclass(o) and o.__module__ == mod.__name__]  # whose methods may do without
    bare = [k for k,o in public(mod) if not described(o) and k.split('.')[0] not in set(own) - {k}]
    assert not bare, f'no docstring in {name}: {bare}'
    silent = [f'{k}({p})' for k,o in public(mod) for p in params(o) if not docments(o).get(p)]
    assert not silent, f'no comment beside these arguments in {name}: {silent}'
