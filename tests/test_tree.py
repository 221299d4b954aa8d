"Notebooks, modules and README agree, imports point down only, and nothing is in the tree that should not be"
import ast, inspect, json, os, re, runpy, shutil, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
from configparser import ConfigParser
from fnmatch import fnmatch
from graphlib import TopologicalSorter
from importlib import import_module
from importlib.metadata import packages_distributions, requires
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
import pytest
from fastcore.docments import docments

root = Path(__file__).resolve().parents[1]
lib,nbs = root/'sota_vision', root/'nbs'

def cells(name, kind='code'):
    "Cells of one kind of the notebook `name`"
    book = json.loads((nbs/name).read_text(encoding='utf-8'))
    return [o for o in book['cells'] if o['cell_type'] == kind]

def source(cell): return ''.join(cell['source'])

def exported_module(name):
    "The module that the notebook `name` exports, or None"
    found = [m[1] for o in cells(name) for m in re.finditer(r'^#\|\s*default_exp\s+(\S+)', source(o), re.M)]
    return found[0] if found else None

def dotted(path): return '.'.join(path.relative_to(lib).with_suffix('').parts)

checkpoints = '.ipynb_checkpoints'      # where Jupyter keeps its own copies
notebooks = sorted(o.relative_to(nbs).as_posix() for o in nbs.rglob('*.ipynb') if checkpoints not in o.parts)
lessons = [o for o in notebooks if re.match(r'\d\d_', o)]
exports = {o: exported_module(o) for o in notebooks if exported_module(o)}
modules = sorted(dotted(o) for o in lib.rglob('*.py') if not any(p.startswith('_') for p in o.relative_to(lib).parts))
each_notebook = pytest.mark.parametrize('name', notebooks)
each_lesson = pytest.mark.parametrize('name', lessons)
each_module = pytest.mark.parametrize('name', modules)

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

def texts(folder, pattern):
    "Path from `folder` → text, for every file that matches"
    return {o.relative_to(folder).as_posix(): o.read_text(encoding='utf-8') for o in folder.glob(pattern)}

def differing(a, b):
    "Names of the texts that differ between `a` and `b`, or are in one of them only"
    return sorted(o for o in a.keys() | b.keys() if a.get(o) != b.get(o))

def test_exports(remade):
    wrong = differing(texts(lib, '**/*.py'), texts(remade/'sota_vision', '**/*.py'))
    assert not wrong, f'sota_vision/ and the notebooks disagree on {wrong}: run nbdev_export'

def test_clean(remade):
    wrong = differing(texts(nbs, '**/*.ipynb'), texts(remade/'nbs', '**/*.ipynb'))
    assert not wrong, f'not clean: {wrong}: run nbdev_clean'

def test_readme():
    made = runpy.run_path(str(root/'tools/readme.py'))['build']()
    there = {'README.md'} | {o.relative_to(root).as_posix() for o in (nbs/'images').glob('index_*')}
    there = {o: (root/o).read_bytes().replace(b'\r\n', b'\n') for o in there}
    wrong = differing(there, {k: v.replace(b'\r\n', b'\n') for k,v in made.items()})
    assert not wrong, f'{wrong} not as nbs/index.ipynb makes it: run make readme'

def test_readme_is_short():
    lines = (root/'README.md').read_text(encoding='utf-8').splitlines()
    assert len(lines) <= 120, f'README.md has {len(lines)} lines: at most 120'
    for want in r'!\[|<img ', 'make run', 'make test':
        assert re.search(want, '\n'.join(lines[:40])), f'the first 40 lines of README.md lack {want}'

# Settings

def test_nbdev_2_and_3_have_the_same_settings():
    tomllib = pytest.importorskip('tomllib')    # from Python 3.11 on
    ini = ConfigParser(delimiters=['='])
    ini.read(root/'settings.ini', encoding='utf-8')
    toml = tomllib.loads((root/'pyproject.toml').read_text(encoding='utf-8'))
    def plain(value): return ' '.join(value) if isinstance(value, list) else str(value)
    theirs = {k: plain(v) for k,v in toml['tool']['nbdev'].items()}
    ours = {k: ini['DEFAULT'][k] for k in theirs}
    assert {k: v.lower() for k,v in theirs.items()} == {k: v.lower() for k,v in ours.items()}
    assert toml['project']['name'] == ini['DEFAULT']['lib_name']

def distribution(requirement): return re.match(r'[\w.-]+', requirement)[0].lower().replace('_', '-')

def third_party(path):
    "Top-level packages of others that the file `path` imports, anywhere in its code"
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom) and not node.level: yield node.module.split('.')[0]
        elif isinstance(node, ast.Import): yield from (o.name.split('.')[0] for o in node.names)

def test_every_import_is_a_requirement():
    "What the package imports, settings.ini asks for, or fastai does itself"
    ini = ConfigParser(delimiters=['='])
    ini.read(root/'settings.ini', encoding='utf-8')
    extras = [k for k in ini['DEFAULT'] if k.endswith('requirements') and k != 'dev_requirements']
    named = [o for k in extras for o in ini['DEFAULT'][k].split()]
    brought = [o for package in ('fastai', 'ipywidgets', 'nbclient') for o in requires(package) if 'extra ==' not in o]
    allowed = {distribution(o) for o in named + brought}
    owners = packages_distributions()
    used = {o for path in lib.rglob('*.py') for o in third_party(path)} - sys.stdlib_module_names - {'sota_vision'}
    missing = {o for o in used if not {distribution(p) for p in owners.get(o, [o])} & allowed}
    assert not missing, f'the package imports {sorted(missing)}: add them to the requirements in settings.ini'

# Notebooks

def outputs(name): return [o for cell in cells(name) for o in cell['outputs']]

def words(output):
    "What `output` says: its text, without the bytes of pictures"
    data = {k: v for k,v in output.get('data', {}).items() if not k.startswith('image/')}
    text = '\n'.join(map(str, (output.get('text', ''), output.get('traceback', ''), data)))
    return re.sub(r'data:image/[^"]+', '', text)    # base64 may spell anything

@each_notebook
def test_no_error(name):
    wrong = [o['evalue'] for o in outputs(name) if o['output_type'] == 'error']
    assert not wrong, f'{name} shows errors: {wrong}'

@each_notebook
def test_no_places(name):
    "No output shows a path of the machine it was made on, or any other from the root of a disk"
    home = r'/home/|/Users/|/root/|/tmp/|/var/folders/|[A-Z]:\\+Users|site-packages'
    rooted = r'(?<![\w.~/:…])/[a-z][\w.-]*/[\w.-]+/'
    lines = (line for out in outputs(name) for line in words(out).splitlines())
    wrong = [line for line in lines if re.search(f'{home}|{rooted}', line)]
    assert not wrong, f'{name} shows places of one machine: {wrong}'

@each_notebook
def test_kernel(name):
    "A notebook that names no kernel greets its reader with a question"
    kernel = json.loads((nbs/name).read_text(encoding='utf-8'))['metadata'].get('kernelspec', {})
    assert kernel.get('name') == 'python3', f'{name} asks for the kernel {kernel.get("name")}, not for python3'

@each_notebook
def test_no_widgets(name):
    "Of a widget a page keeps its picture; a view without its kernel would only say that it is missing"
    book = json.loads((nbs/name).read_text(encoding='utf-8'))
    view = 'application/vnd.jupyter.widget-view+json'
    advice = 'execute it with sota_series, which leaves them out'
    assert 'widgets' not in book['metadata'], f'{name} keeps the state of widgets: {advice}'
    assert not any(view in o.get('data', {}) for o in outputs(name)), f'{name} keeps views of widgets: {advice}'

@each_notebook
def test_every_cell_runs(name):
    unrun = [source(o) for o in cells(name) if re.search(r'^#\|\s*eval:\s*false', source(o), re.M)]
    assert not unrun, f'{name} has cells that never run: {unrun}'

def shows(code):
    "Does this cell surely show something: a figure, the verdict of a check, or the value of its last line?"
    body = ast.parse(code).body
    names = [getattr(o.value.func, 'id', getattr(o.value.func, 'attr', '')) for o in body
             if isinstance(o, ast.Expr) and isinstance(o.value, ast.Call)]
    last = body and isinstance(body[-1], ast.Expr) and not isinstance(body[-1].value, (ast.Call, ast.Constant))
    return any(o.startswith(('plot_', 'explore_', 'check_')) for o in names) or last and not code.rstrip().endswith(';')

@pytest.mark.parametrize('name', [o for o in notebooks if not o.startswith('api/')])
def test_warnings_of_libraries_are_off_before_they_are_imported(name):
    "A reader can do nothing about them, and the first cell would show some"
    code = [source(o) for o in cells(name) if o['cell_type'] == 'code']
    line = r'^\s*(from|import) (fastai|torch|sota_vision|matplotlib)'
    brings = [i for i,o in enumerate(code) if re.search(line, o, re.M)]
    quiet = [i for i,o in enumerate(code) if "warnings.filterwarnings('ignore')" in o]
    assert not brings or quiet and quiet[0] <= brings[0], f'{name} imports before it is told to be quiet'

@each_notebook
def test_executed(name):
    "A page is read on the web, where nothing runs"
    code = [o for o in cells(name) if o['cell_type'] == 'code' and not source(o).startswith('%') and source(o).strip()]
    bare = [source(o).strip().splitlines()[-1] for o in code if shows(source(o)) and not o['outputs']]
    assert not bare, f'{name} was not executed: nothing is shown under {bare}'

@each_lesson
def test_has_figure(name):
    assert any(k.startswith('image/') for o in outputs(name) for k in o.get('data', {})), f'{name} shows no figure'

@pytest.mark.parametrize('name', exports)
def test_notebook_is_named_after_its_module(name):
    stem = re.sub(r'^\d\d_', '', Path(name).stem)
    assert stem == exports[name].replace('.', '_'), f'{name} exports {exports[name]}'

def test_no_module_twice():
    twice = sorted(o for o in exports.values() if list(exports.values()).count(o) > 1)
    assert not twice, f'more than one notebook exports {twice}'

def is_export(cell): return re.search(r'^#\|\s*exporti?\b', source(cell), re.M)
def code_lines(cell): return [o for o in source(cell).splitlines() if o.strip() and not o.startswith('#|')]
def imports_only(cell):
    return all(re.match(r'from |import |    ', o) for o in code_lines(cell)) and 'def ' not in source(cell)

@each_lesson
def test_a_lesson_teaches(name):
    "What a lesson exports is the technique itself: the rest of the library stands in nbs/api"
    exported = sum(len(code_lines(o)) for o in cells(name) if is_export(o) and not imports_only(o))
    total = sum(len(code_lines(o)) for o in cells(name))
    assert exported <= total/3, f"{name} exports {exported} of its {total} lines of code: a third at most"

# Links

def headings(text):
    "What a link to a page may end in: its headings, blanks as dashes, no backticks"
    found = re.findall(r'^#+ (.*)$', text, re.M)
    return {o.replace('`', '').strip().replace(' ', '-') for o in found}

def page(path):
    "The prose of a notebook or of a Markdown file"
    if path.suffix != '.ipynb': return path.read_text(encoding='utf-8')
    return '\n\n'.join(source(o) for o in cells(path.relative_to(nbs), 'markdown'))

@pytest.mark.parametrize('name', [*(f'nbs/{o}' for o in notebooks), 'README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'])
def test_links(name):
    "Links within the repository lead to a file that is there, and to a heading in it"
    path = root/name
    for target,heading in re.findall(r'(?:\]\(|src="|href=")(?![a-z]+:)([^)\s"#]*)(?:#([^)\s"]+))?', page(path)):
        there = (path.parent/target).resolve() if target else path
        assert there.exists(), f'{name} links to {target}, which is not there'
        if heading and there.suffix == '.ipynb':
            assert heading in headings(page(there)), f'{name}: {target or name} has no heading {heading}'

# Map of the files

@pytest.fixture(scope='session')
def committed():
    "Every file that git has or would take, as seen from the root"
    listing = ['git', 'ls-files', '-coz', '--exclude-standard']
    git = shutil.which('git') and subprocess.run(listing, cwd=root, capture_output=True)
    if not git or git.returncode: pytest.skip('not a git checkout')
    return [o for o in git.stdout.decode().split('\0') if (root/o).is_file()]

def test_map_covers_every_file(committed):
    "Each file stands in the map of CONTRIBUTING.md, alone or with others of its folder as `folder/*.ending`"
    text = (root/'CONTRIBUTING.md').read_text(encoding='utf-8').partition('## Map of the files')[2]
    named = [PurePosixPath(o) for o in re.findall(r'`([^`\s]+)`', text)]
    here = [PurePosixPath(o) for o in committed if not o.endswith(('__init__.py', 'CONTRIBUTING.md'))]
    lost = [str(o) for o in here if not any(o.parent == n.parent and fnmatch(o.name, n.name) for n in named)]
    assert not lost, f'the map in CONTRIBUTING.md lacks {lost}'

def test_map_names_every_file_that_is_there():
    "CONTRIBUTING.md names every notebook beside its module, and no file that is not there"
    text = (root/'CONTRIBUTING.md').read_text(encoding='utf-8')
    folders = r'(?:nbs|sota_vision|tests|benchmarks|tools|\.ci|\.github)/[\w/.*-]*'
    named = re.findall(rf'`({folders}|[\w-]+\.(?:py|toml|ini|md))`', text)
    lost = sorted(o for o in named if not list(root.glob(o)))
    assert not lost, f'CONTRIBUTING.md names {lost}, which are not there'
    pairs = {f'`nbs/{k}` → `sota_vision/{v.replace(".", "/")}.py`' for k,v in exports.items()}
    alone = {f'`nbs/{o}`' for o in notebooks if o not in exports and not o.startswith('solutions/')}
    missing = sorted(o for o in pairs | alone if o not in text)
    assert not missing, f'the map in CONTRIBUTING.md lacks {missing}'

# Size

def test_size(committed):
    sizes = {o: (root/o).stat().st_size for o in committed}
    large = [o for o,n in sizes.items() if n > 5_000_000]
    assert not large, f'over 5 MB: {large}'
    assert sum(sizes.values()) < 40_000_000, 'the tree holds more than 40 MB'

def test_scripts_keep_to_120_characters(committed):
    "Of code that is no Python; ruff looks at the rest"
    kinds = 'Makefile', '.ci/run', '*.sh', '*.toml', '*.yml'
    scripts = [o for o in committed if any(fnmatch(o, kind) for kind in kinds)]
    lines = [(o, line) for o in scripts for line in (root/o).read_text(encoding='utf-8').splitlines()]
    long = [f'{o}: {line}' for o,line in lines if len(line) > 120]
    assert scripts and not long, f'over 120 characters: {long}'

# Floors

techniques = sorted(v for k,v in exports.items() if '/' not in k and v != 'baseline')
bonus = sorted(v for k,v in exports.items() if k.startswith('bonus/'))

# From the ground up. A module imports from lower floors only; modules of one folder (`data.*`) also from each other.
floors = [
    ['files'],
    ['profile', 'cli.core', 'distributed', 'teaching.quiz'],
    ['callbacks', 'checkpoint', 'fusion', 'memory', 'mix_weights', 'data.*', 'teaching.predictions',
     'teaching.checks'],
    techniques,
    [*bonus, 'cost'],
    ['baseline', 'pretrained', 'data.loaders', 'scores', 'report', 'trackers'],
    ['recipe'],
    ['recipes'],
    ['train'],
    ['experiments.*', 'sharing.*'],
    ['teaching.*', 'cli.*']]
floor = {name: i for i,names in enumerate(floors) for name in names}

def place(name):
    "The name under which `floors` lists the module `name`: its own, or that of its folder"
    return name if name in floor else f'{name.split(".")[0]}.*'

def imported(name):
    "Modules of this package that the module `name` imports, anywhere in its code"
    path = lib.joinpath(*name.split('.')).with_suffix('.py')
    package = ['sota_vision', *name.split('.')[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom):
            parents = package[:len(package)-node.level+1] if node.level else []
            base = '.'.join([*parents, *filter(None, [node.module])])
            found = [base, *(f'{base}.{o.name}' for o in node.names)]
        elif isinstance(node, ast.Import): found = [o.name for o in node.names]
        else: continue
        yield from {o.removeprefix('sota_vision.') for o in found} & set(modules)

@each_module
def test_imports_point_down(name):
    assert place(name) in floor, f'{name} stands on no floor: give it one in {Path(__file__).name}'
    here = floor[place(name)]
    wrong = [o for o in imported(name) if floor.get(place(o), here) >= here
             and not (place(o) == place(name) and place(name).endswith('.*'))]
    assert not wrong, f'{name} imports {wrong}, which stand no lower'

def test_no_circle():
    "A `CycleError`, which names the modules, if there is one"
    list(TopologicalSorter({o: set(imported(o)) for o in modules}).static_order())

def import_alone(names):
    "Name of a technique → modules of this package that importing it alone brings along, or its error"
    brought = {}
    for name in names:
        for o in [o for o in sys.modules if o.split('.')[0] == 'sota_vision']: del sys.modules[o]
        try: import_module(f'sota_vision.{name}')
        except Exception as e: brought[name] = e
        else: brought[name] = {o.removeprefix('sota_vision.') for o in sys.modules if o.startswith('sota_vision.')}
    return brought

@pytest.fixture(scope='module')
def brought():
    "What `import_alone` finds in an interpreter of its own"
    with ProcessPoolExecutor(1, get_context('spawn')) as pool:
        return pool.submit(import_alone, techniques + bonus).result()

@pytest.mark.parametrize('name', techniques + bonus)
def test_a_technique_can_be_lifted_out(name, brought):
    found = brought[name]
    assert not isinstance(found, Exception), f'{name} does not import alone: {found!r}'
    strangers = found & ({*bonus} if name in bonus else {*techniques, *bonus}) - {name}
    assert not strangers, f'{name} brings along {sorted(strangers)}'

# Docs

def public(mod):
    "Names and public functions, classes and methods that `mod` defines; methods patched onto others' classes too"
    def ours(o): return getattr(o, '__module__', None) == mod.__name__
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
        if '__dataclass_fields__' in vars(o):
            return [k for k in vars(o).get('__annotations__', {}) if not k.startswith('_')]
        o = vars(o).get('__init__')
    if not inspect.isroutine(o): return []
    code = inspect.unwrap(o).__code__
    names = code.co_varnames[:code.co_argcount+code.co_kwonlyargcount]
    return [o for o in names if o not in ('self', 'cls') and not o.startswith('_')]

def described(o):
    "Has `o` a docstring of its own? A dataclass without one repeats its signature"
    if not inspect.isclass(o): return o.__doc__
    return vars(o)['__doc__'] and not o.__doc__.startswith(f'{o.__name__}(')

@each_module
def test_docs(name):
    mod = import_module(f'sota_vision.{name}')
    assert mod.__doc__, f'{name} does not say what it is: its notebook lacks a line > under the title'
    absent = [o for o in mod.__all__ if not hasattr(mod, o)]
    assert not absent, f'__all__ of {name} names {absent}, which it does not have'
    own = {k for k,o in vars(mod).items() if inspect.isclass(o) and o.__module__ == mod.__name__}
    # methods of our own classes may do without
    bare = [k for k,o in public(mod) if not described(o) and k.split('.')[0] not in own - {k}]
    assert not bare, f'no docstring in {name}: {bare}'
    silent = [f'{k}({p})' for k,o in public(mod) for p in params(o) if not docments(inspect.unwrap(o)).get(p)]
    assert not silent, f'no comment beside these arguments in {name}: {silent}'
