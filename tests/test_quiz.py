"Every lesson asks its questions and its guesses in cells that work, and the numbers they call right are the computed ones"
import ast, json, math, os, re, subprocess, sys
from pathlib import Path
import pytest, torch
from sota_vision.imagenette import fill_zoom
from sota_vision.losses import optimal_gap, smooth_targets
from sota_vision.quiz import Amount, Choice, Words

nbs = Path(__file__).resolve().parents[1]/'nbs'
# the first eight, and every later lesson that asks by these cells
lessons = [o.name for o in sorted(nbs.glob('[0-9][0-9]_*.ipynb')) if o.name < '08' or 'sota_vision.quiz' in o.read_text(encoding='utf-8')]
each_lesson = pytest.mark.parametrize('name', lessons)
kinds = dict(Amount=Amount, Choice=Choice, Words=Words)

def sources(name, kind='code'):
    "Text of the cells of one kind"
    return [''.join(o['source']) for o in json.loads((nbs/name).read_text(encoding='utf-8'))['cells'] if o['cell_type'] == kind]

def questions(name):
    "The questions of a lesson, made as its cells make them"
    cells = [o.split('\n', 1)[1] for o in sources(name) if re.match(r'#\| echo: false\n(Amount|Choice|Words)\(', o)]
    return [eval(o, dict(kinds)) for o in cells]

def named(name, function):
    "First argument of every call of `function` in a lesson, in order, with its whole source"
    for o in sources(name):
        if function+'(' not in o or o.startswith('%'): continue
        for node in ast.walk(ast.parse(o)):
            if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == function: yield ast.literal_eval(node.args[0]), ast.unparse(node)

@each_lesson
def test_questions(name):
    found = questions(name)
    assert len(found) >= 5 and {type(o) for o in found} == set(kinds.values()), f'{name} asks {len(found)}'
    assert len({o.question for o in found}) == len(found)

@each_lesson
def test_answer_is_hidden(name):
    assert not [o for o in sources(name, 'markdown') if '<details' in o], f'{name} has a question outside of a cell'
    for q in questions(name):
        seen,hidden = q.page().split('<details>')
        whys = list(q.why.values()) if isinstance(q, Choice) else [q.answer]
        assert not any(w in q.plain() or w in seen for w in whys) and hidden, q.question

@each_lesson
def test_own_answer_is_right(name):
    for q in questions(name):
        if isinstance(q, Choice):
            said = {o: q.check(o) for o in q.why}
            assert [o for o,s in said.items() if s.startswith('Right')] == [q.right]
        if isinstance(q, Amount):
            assert q.check(q.value).startswith('Right') and q.check(f'{q.value:.3g}').startswith('Right'), q.question
            assert q.check(2*q.value+1).startswith('No'), q.question

@each_lesson
def test_sections(name):
    "Sections that an answer names in italics are there"
    heads = {re.sub(r'^#+ ', '', l).rstrip('.') for o in sources(name, 'markdown') for l in o.splitlines() if l.startswith('#')}
    for q in questions(name):
        wrong = [o for o in re.findall(r'\*([A-Z][^*]*)\*', q.answer) if o.rstrip('.') not in heads]
        assert not wrong, f'{name}, {q.question}: no heading {wrong}'

def right(name, start): return next(o for o in questions(name) if o.question.startswith(start)).value

def test_numbers():
    "Numbers that the answers call right, computed by the package"
    assert right(lessons[0], 'A square') == pytest.approx(fill_zoom(45))
    assert right(lessons[1], 'What should') == pytest.approx(math.log(10), abs=1e-5)
    weight = right(lessons[4], 'The plain view')
    assert .25 + 4*weight == 1
    logits = torch.tensor([[right(lessons[5], 'Two classes'), 0.]], requires_grad=True)
    torch.nn.functional.cross_entropy(logits, torch.tensor([[.9, .1]])).backward()
    assert logits.grad.abs().max() < 1e-6
    assert right(lessons[6], 'Ten classes') == pytest.approx(optimal_gap(.1, 10), abs=1e-4)
    assert right(lessons[6], 'Five classes') == pytest.approx(smooth_targets(torch.tensor([1]), 5, .1)[0,1].item())

@each_lesson
def test_guesses(name):
    "Every guess has its outcome further down, and no outcome lacks its guess"
    asked,shown = [k for k,_ in named(name, 'guess')], [k for k,_ in named(name, 'outcome')]
    assert asked and sorted(asked) == sorted(shown) and len(set(asked)) == len(asked)
    order = [k for o in sources(name) for k in re.findall(r"^(?:guess|outcome)\('(\w+)'", o, re.M)]
    assert all(order.index(k) < len(order)-1-order[::-1].index(k) for k in asked)

def test_guesses_differ():
    "One name is one guess in the whole series"
    keys = [k for name in lessons for k,_ in named(name, 'guess')]
    assert len(keys) == len(set(keys))

def test_without_widgets():
    "Questions and guesses keep their text where ipywidgets is not installed"
    code = ("import sys; sys.modules['ipywidgets'] = None\n"
            "from sota_vision.quiz import Choice, live\nfrom sota_vision.guess import guess, outcome\n"
            "q,g = Choice('Which?', dict(a='yes'), dict(b='no')), guess('test_without', 'How many?', 0, 1)\n"
            "print(live(), sorted(q._repr_mimebundle_()), sorted(g._repr_mimebundle_()), outcome('test_without', .5).words)")
    env = os.environ | dict(SOTA_VISION_GUESSES=str(nbs/'no such file.json'), SOTA_VISION_WIDGETS='1')
    got = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, env=env, cwd=nbs.parent)
    assert got.stdout.strip() == "False ['text/html', 'text/plain'] ['text/html', 'text/plain'] The result: 0.5. Nobody had guessed.", got.stderr
