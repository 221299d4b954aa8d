"Evaluate the cells of a notebook that show a widget, a question or a prediction, and of the others what these need"
import ast, importlib, os, tempfile
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

recorded = ('explore', 'quiz', 'predictions', 'progress')   # modules of sota_vision.teaching whose values are shown

def parsed(source):
    "The statements of a cell, without the lines of IPython's"
    return ast.parse('\n'.join('' if o.lstrip()[:1] in ('%', '!') else o for o in source.splitlines())).body

def root_name(node):
    "The name that an expression such as `learn.dls[0].show()` starts with, or None"
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return getattr(node, 'id', None)

def targets(stmt):
    "Names that the comprehensions of a statement bind, for themselves only"
    loops = [o.target for o in ast.walk(stmt) if isinstance(o, ast.comprehension)]
    return {n.id for t in loops for n in ast.walk(t) if isinstance(n, ast.Name)}

def changes(stmt):
    "Names that a statement binds, or whose value it may change in place"
    if isinstance(stmt, (ast.FunctionDef, ast.ClassDef)): return {stmt.name}
    found = set()
    for n in ast.walk(stmt):
        if isinstance(getattr(n, 'ctx', None), ast.Store): found.add(root_name(n))
        elif isinstance(n, ast.Expr) and isinstance(n.value, ast.Call): found.add(root_name(n.value))
    return found - targets(stmt) - {None}

def binds(stmt):
    "Names that a statement gives a new value, whatever they were before"
    if isinstance(stmt, (ast.FunctionDef, ast.ClassDef)): return {stmt.name}
    ends = stmt.targets if isinstance(stmt, ast.Assign) else []
    return {n.id for t in ends for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}

def uses(stmt):
    return {n.id for n in ast.walk(stmt) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)} - targets(stmt)

def imported(statements, wanted):
    "Local names that come from modules of sota_vision.teaching which `wanted` accepts"
    found = {}
    for stmt in statements:
        if not isinstance(stmt, ast.ImportFrom) or not (stmt.module or '').startswith('sota_vision.teaching.'): continue
        module = stmt.module.rpartition('.')[2]
        if not wanted(module): continue
        names = {o.asname or o.name: o.name for o in stmt.names}
        if '*' in names: names = {o: o for o in importlib.import_module(stmt.module).__all__}
        found |= {local: (module, name) for local,name in names.items()}
    return found

def last_call(statements):
    "The name of the function that the last value of a cell comes from, or None"
    last = statements[-1] if statements else None
    if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call): return root_name(last.value)

def calls(
    nb,         # A notebook
    wanted      # Function: name of a module of sota_vision.teaching → bool
) -> dict:      # Number of a cell → name of the function that makes its last value
    "Cells whose last value comes from one of these modules"
    bodies = {i: parsed(c.source) for i,c in enumerate(nb.cells) if c.cell_type == 'code'}
    names = imported([s for b in bodies.values() for s in b], wanted)
    return {i: names[last_call(b)][1] for i,b in bodies.items() if last_call(b) in names}

def needed(
    nb,         # A notebook
    shown       # Numbers of the cells whose last value is wanted
) -> list:      # (number of the cell, statement, is its value wanted?), in order
    "The imports of a notebook, and the statements that the wanted values depend on"
    names,kept = set(), []
    for i in reversed([i for i,c in enumerate(nb.cells) if c.cell_type == 'code']):
        body = parsed(nb.cells[i].source)
        for stmt in reversed(body):
            wanted = i in shown and stmt is body[-1]
            if wanted or isinstance(stmt, (ast.Import, ast.ImportFrom)) or changes(stmt) & names:
                kept.append((i, stmt, wanted))
                names = (names - binds(stmt)) | uses(stmt)
    return kept[::-1]

def sliced(nb, shown): return '\n'.join(ast.unparse(stmt) for _,stmt,_ in needed(nb, shown))

def trained(file):
    "Weights of the one net that widgets ask: that of the profile, on small pictures; trained once"
    import torch
    from fastai.callback.core import Callback, CancelValidException
    from filelock import FileLock
    from sota_vision.baseline import make_learner, set_seed
    from sota_vision.data.loaders import cached_dls
    from sota_vision.profile import profile
    def skip(callback):     # nobody reads the scores; but the random numbers are those of a training that has them
        next(iter(callback.dls.valid))
        raise CancelValidException
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f'{file}.lock'):      # pages are recorded side by side
        if not file.exists():
            prof = profile()
            set_seed(0)
            learn = make_learner(cached_dls(size=prof.small, bar=False))
            with learn.no_bar(), learn.no_logging():
                learn.fit_one_cycle(prof.epochs, prof.lr, cbs=Callback(before_validate=skip))
            torch.save(learn.model.state_dict(), file)
    return torch.load(file)

@contextmanager
def no_training(
    file:Path   # Where the weights are kept
):
    "Within it, to fit a net is to be given the weights of one that was trained before"
    from fastai.learner import Learner
    state,fit = trained(file), Learner.fit
    def given(self, *args, **kwargs):
        try: self.model.load_state_dict(state)
        except RuntimeError: fit(self, *args, **kwargs)     # another architecture
    Learner.fit = given
    try: yield
    finally: Learner.fit = fit

def record(
    nb,             # A notebook
    shown,          # Numbers of the cells whose last value is wanted
    net:Path=None   # Where the weights of a trained net are kept; None: code that fits a net fits it
) -> dict:          # Number of the cell → its value
    "The last values of some cells, from no more of the notebook than they depend on"
    plan,values,here = needed(nb, shown), {}, os.getcwd()
    called = {n.attr for _,stmt,_ in plan for n in ast.walk(stmt) if isinstance(n, ast.Attribute)}
    fits = any(o.startswith(('fit', 'fine_tune')) for o in called)
    space = {'__name__': '__main__'}
    with tempfile.TemporaryDirectory() as tmp, redirect_stdout(StringIO()):
        os.chdir(tmp)
        try:
            if fits and net:
                with no_training(net): _run(plan, space, values)
            else: _run(plan, space, values)
        finally: os.chdir(here)
    return values

def _run(plan, space, values):
    for i,stmt,wanted in plan:
        name = f'<cell {i}>'
        if wanted: values[i] = eval(compile(ast.Expression(stmt.value), name, 'eval'), space)
        else: exec(compile(ast.Module([stmt], []), name, 'exec'), space)
