"Each check recognizes the stub, tells plausible wrong answers what is wrong, and accepts right ones"
import ast, importlib, json, random, re
from pathlib import Path
import numpy as np
import pytest, torch
import exercise_answers

nbs = Path(__file__).resolve().parents[1]/'nbs'
lessons = ['imagenette', 'baseline', 'transfer', 'presizing', 'normalization', 'progressive', 'tta', 'mixup',
           'label_smoothing', 'calibration', 'all_together', 'speed', 'sharing']
checks,lesson_of = {},{}
for lesson in lessons:
    importlib.import_module(f'exercise_answers.{lesson}')
    module = importlib.import_module(f'sota_vision.teaching.checks_{lesson}')
    for name in module.__all__:
        exercise = name.removeprefix('check_')
        checks[exercise],lesson_of[exercise] = getattr(module, name),lesson

each_lesson = pytest.mark.parametrize('lesson', lessons)
each_exercise = pytest.mark.parametrize('exercise', checks)

def cells(folder, lesson):
    "Sources of the code cells of the notebook of `lesson`"
    file, = folder.glob(f'[0-9][0-9]_{lesson}.ipynb')
    notebook = json.loads(file.read_text(encoding='utf-8'))
    return [''.join(c['source']) for c in notebook['cells'] if c['cell_type'] == 'code']

def checked(sources):
    "The exercises whose checks are called, in order"
    return re.findall(r'^check_(\w+)\(\1\)$', '\n'.join(sources), re.M)

def functions(sources):
    "The functions that are defined at the top of a cell, by name, as syntax trees"
    nodes = [n for s in sources if not s.startswith('%') for n in ast.parse(s).body]
    return {n.name: n for n in nodes if isinstance(n, ast.FunctionDef)}

def solutions(lesson):
    "The functions of a solutions notebook, made from its imports and definitions"
    nodes = [n for s in cells(nbs/'solutions', lesson) for n in ast.parse(s).body]
    kept = [n for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom, ast.FunctionDef))]
    names = {}
    exec(compile(ast.Module(kept, []), f'solutions of {lesson}', 'exec'), names)
    return names

# Lessons and their solutions

@each_lesson
def test_lesson_asks_what_its_solutions_solve(lesson):
    expected = {e for e,l in lesson_of.items() if l == lesson}
    assert set(checked(cells(nbs, lesson))) == set(checked(cells(nbs/'solutions', lesson))) == expected

@each_exercise
def test_stub_in_the_lesson(exercise):
    lesson = lesson_of[exercise]
    stub,solution = (functions(cells(folder, lesson))[exercise] for folder in (nbs, nbs/'solutions'))
    assert [a.arg for a in stub.args.args] == [a.arg for a in solution.args.args], 'stub and solution take the same'
    assert ast.get_docstring(stub) and len(stub.body) == 2
    assert ast.unparse(stub.body[-1]) == 'raise NotImplementedError'

# What the checks say

@each_exercise
def test_stub(exercise):
    def stub(*args): raise NotImplementedError
    got = checks[exercise](stub)
    assert not got.ok and not got.written
    assert exercise in got.says and repr(got).startswith('…')

@each_exercise
def test_function_without_return(exercise):
    def empty(*args): pass
    got = checks[exercise](empty)
    assert not got.ok and got.written

@each_exercise
def test_solution_is_right(exercise):
    got = checks[exercise](solutions(lesson_of[exercise])[exercise])
    assert got.ok, got.says
    assert repr(got).startswith('✓ Right')

@pytest.mark.parametrize('exercise,answer', exercise_answers.right_answers, ids=lambda o: getattr(o, '__name__', None))
def test_other_right_answers(exercise, answer):
    got = checks[exercise](answer)
    assert got.ok, got.says

@pytest.mark.parametrize('exercise,answer,hint', exercise_answers.wrong_answers,
                         ids=lambda o: getattr(o, '__name__', None))
def test_wrong_answers(exercise, answer, hint):
    got = checks[exercise](answer)
    assert not got.ok and got.written
    assert hint in got.says
    assert '\n' not in got.says and len(got.says) < 300, 'one sentence'

def test_each_exercise_has_answers():
    for answers,least in (exercise_answers.right_answers, 1), (exercise_answers.wrong_answers, 3):
        counts = {exercise: sum(o[0] == exercise for o in answers) for exercise in checks}
        assert not [e for e,n in counts.items() if n < least]
        assert {o[0] for o in answers} <= set(checks), 'no answer to an exercise that is not there'

# What a check does with an answer that fails to run

check_undo,check_lowest_loss = checks['undo'],checks['lowest_loss']

def test_exception_names_the_line():
    def stops(x, mean, std):
        return x/[][0]
    line = stops.__code__.co_firstlineno+1
    where = f'in line {line}, `return x/[][0]`'
    assert check_undo(stops).says == f'it stopped {where} with IndexError: list index out of range'

def test_not_implemented_in_torch_is_no_stub():
    def unable(eps, n): raise NotImplementedError("'log' is not there for 'Half'")
    got = check_lowest_loss(unable)
    assert got.written and "'log' is not there" in got.says

def test_wrong_arguments():
    def no_arguments(): return 0
    assert 'TypeError' in check_lowest_loss(no_arguments).says

def test_result_instead_of_function():
    assert 'check_undo(undo)' in check_undo(torch.zeros(3)).says

def test_interrupt_is_not_caught():
    def endless(eps, n): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): check_lowest_loss(endless)

def test_random_state_is_restored():
    def set_seeds():
        torch.manual_seed(3)
        np.random.seed(3)
        random.seed(3)
    def three_numbers(): return torch.rand(1).item(), np.random.rand(), random.random()
    set_seeds()
    before = three_numbers()
    set_seeds()
    for exercise in 'cutout', 'inception_box': checks[exercise](solutions(lesson_of[exercise])[exercise])
    assert three_numbers() == before
