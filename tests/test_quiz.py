"Lessons ask questions and predictions in cells that work, and the numbers they call right are the computed ones"
import ast, json, math, re
from pathlib import Path
import pytest, torch
import torch.nn.functional as F
from scipy.stats import t as student_t
from sota_vision.label_smoothing import optimal_margin, smooth_targets
from sota_vision.presizing import fill_zoom
from sota_vision.teaching import quiz
from sota_vision.teaching.predictions import outcome, prediction
from sota_vision.teaching.quiz import Amount, Choice, Words

nbs = Path(__file__).resolve().parents[1]/'nbs'
kinds = dict(Amount=Amount, Choice=Choice, Words=Words)

def sources(lesson, kind='code'):
    "Texts of the cells of one kind"
    notebook = json.loads((nbs/lesson).read_text(encoding='utf-8'))
    return [''.join(c['source']) for c in notebook['cells'] if c['cell_type'] == kind]

def questions(lesson):
    "The questions of a lesson, made as its cells make them"
    cells = [re.sub(r'^(#\|.*\n)+', '', s) for s in sources(lesson)]
    return [eval(s, dict(kinds)) for s in cells if re.match(r'(Amount|Choice|Words)\(', s)]

def keys(lesson, function):
    "First arguments of the calls of `function` in a lesson, in order"
    trees = [ast.parse(s) for s in sources(lesson) if function+'(' in s and not s.startswith('%')]
    calls = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Call)]
    return [ast.literal_eval(n.args[0]) for n in calls if getattr(n.func, 'id', '') == function]

lessons = [f.name for f in sorted(nbs.glob('[0-9][0-9]_*.ipynb'))]
extras = [f'bonus/{f.name}' for f in sorted((nbs/'bonus').glob('*.ipynb'))]
asking = [o for o in lessons if questions(o)]
predicting = [o for o in lessons+extras if keys(o, 'prediction') or keys(o, 'outcome')]
each_asking = pytest.mark.parametrize('lesson', asking)
each_predicting = pytest.mark.parametrize('lesson', predicting)

def test_most_lessons_ask():
    assert len(asking) >= 12 and len(predicting) >= 12

# Questions

@each_asking
def test_questions_differ(lesson):
    asked = [q.question for q in questions(lesson)]
    assert len(set(asked)) == len(asked)

@each_asking
def test_answer_is_hidden_until_unfolded(lesson):
    assert not [s for s in sources(lesson, 'markdown') if '<details' in s], 'a question outside of a cell'
    for q in questions(lesson):
        before,after = q.page().split('<details>')
        explanations = list(q.why.values()) if isinstance(q, Choice) else [q.answer]
        assert not [e for e in explanations if e in before or e in q.plain()], q.question
        assert after

@each_asking
def test_exactly_the_right_option_is_right(lesson):
    for q in questions(lesson):
        if isinstance(q, Choice): assert [o for o in q.why if q.check(o).startswith('Right')] == [q.right]

@each_asking
def test_right_number_is_right(lesson):
    for q in questions(lesson):
        if not isinstance(q, Amount): continue
        assert q.check(q.value).startswith('Right')
        assert q.check(f'{q.value:.3g}').startswith('Right'), 'three digits are enough'
        assert q.check(2*q.value+1).startswith('No')

@each_asking
def test_sections_named_in_answers_exist(lesson):
    lines = [l for s in sources(lesson, 'markdown') for l in s.splitlines()]
    headings = {re.sub(r'^#+ ', '', l).rstrip('.') for l in lines if l.startswith('#')}
    for q in questions(lesson):
        named = {o.rstrip('.') for o in re.findall(r'See \*([^*]+)\*', q.answer)}
        assert named <= headings, q.question

def right(start):
    "The value of the one question in the series that starts so"
    value, = [q.value for o in asking for q in questions(o) if q.question.startswith(start)]
    return value

def test_first_loss(): assert right('What should the very first loss') == pytest.approx(math.log(10), abs=1e-4)

def test_cross_entropy_of_uniform_probabilities():
    loss = F.cross_entropy(torch.zeros(1, 100), torch.tensor([3]))
    assert right('A net gives each of 100') == pytest.approx(loss.item())

def test_gradient_of_cross_entropy():
    logits = torch.tensor([[math.log(.9), math.log(.1)]], requires_grad=True)
    F.cross_entropy(logits, torch.tensor([0])).backward()
    assert right('The right class has probability 0.9') == pytest.approx(logits.grad[0,0].item())

def test_zoom_that_fills_a_rotated_square(): assert right('A square is rotated by 45°') == pytest.approx(fill_zoom(45))

def test_cost_of_a_small_picture():
    assert right('What part of the work') == pytest.approx((128/224)**2)

def test_weights_of_the_views(): assert .25 + 4*right('The plain view weighs') == 1

def test_margin_of_two_soft_classes():
    logits = torch.tensor([[right('Two classes, target'), 0.]], requires_grad=True)
    F.cross_entropy(logits, torch.tensor([[.9, .1]])).backward()
    assert logits.grad.abs().max() < 1e-6

def test_smoothed_target():
    target = smooth_targets(torch.tensor([1]), 5, .1)
    assert right('Five classes, the right one') == pytest.approx(target[0,1].item())

def test_optimal_margin(): assert right('Ten classes, ε') == pytest.approx(optimal_margin(.1, 10), abs=1e-4)

def test_interval_of_three_differences():
    diffs = torch.tensor([3., -1., 2.])
    assert right('Those three differences') == pytest.approx(student_t.ppf(.975, 2)*diffs.std().item()/3**.5, abs=1e-3)

# Predictions

@each_predicting
def test_each_prediction_has_its_outcome_further_down(lesson):
    asked,shown = keys(lesson, 'prediction'),keys(lesson, 'outcome')
    assert sorted(asked) == sorted(shown) and len(set(asked)) == len(asked)
    text = '\n'.join(sources(lesson))
    for key in asked: assert text.index(f"prediction('{key}'") < text.index(f"outcome('{key}'")

def test_names_of_predictions_differ():
    names = [k for o in predicting for k in keys(o, 'prediction')]
    assert len(set(names)) == len(names)

@pytest.fixture
def no_file(tmp_path, monkeypatch):
    "No predictions yet, and nobody who could operate widgets"
    monkeypatch.setenv('SOTA_VISION_PREDICTIONS', str(tmp_path/'predictions.json'))
    monkeypatch.setenv('SOTA_VISION_WIDGETS', '0')

@pytest.mark.parametrize('unit, value, typed', [
    ('%', 80, ['80', '80 %', '80%', '4/5', '4 / 5', '80,0', '+ 80 percent']),
    ('', .2, ['0.2', '0,2', '20 %', '1/5', '1 / 5', '.2', '2e-1']), ('nats', 4.6, ['4.6', '4.6 nats', '4,6 Nats']),
    ('points', -2, ['-2', '−2', '–2', '- 2', '-2 points', '− 2 point']),
    ('times', 5/3, ['5/3', '5 / 3', '1.667×', '1.667 x'])])
def test_numbers_as_people_type_them(unit, value, typed):
    q = Amount('How many?', value, 'So many.', tol=.001, unit=unit)
    assert [o for o in typed if not q.check(o).startswith('Right')] == []
    nothing = ['', 'a lot', '1.2.3', '1/0', '1e999', 'nan', 'inf', '--1', '1 2', '²', '%']
    assert [o for o in nothing if 'is not a number' not in q.check(o)] == []

@pytest.mark.parametrize('typed', ['A', 'a)', ' b ', 'B)', 'c.'])
def test_letters_as_people_type_them(typed):
    q = Choice('Which?', right={'one': 'Yes.'}, wrong={'two': 'No.', 'three': 'No.'})
    assert not q.check(typed).startswith('Choose') and q.check('d').startswith('Choose')

def test_a_prediction_of_another_form_of_the_question(no_file):
    "A question that got other options since: the result is shown all the same, and the prediction is left out"
    prediction('renamed', 'Which?', options=['a', 'b']).commit('a')
    prediction('renamed', 'Which?', options=['c', 'd'])
    assert outcome('renamed', 'c').words.startswith('The result: c. Your prediction answers another form')
    with pytest.raises(ValueError, match='none of its options: c, d'): outcome('renamed', 'x')

def test_outcome_without_prediction_is_the_result_alone(no_file):
    prediction('of_the_test', 'How many?', 0, 1, 'points')
    assert outcome('of_the_test', .5).words == 'The result: 0.5 points.'

def test_without_ipywidgets_text_and_html_remain(no_file, monkeypatch):
    monkeypatch.setenv('SOTA_VISION_WIDGETS', '1')
    monkeypatch.setattr(quiz, 'widgets', None)
    for shown in Choice('Which?', {'a': 'yes'}, {'b': 'no'}), prediction('without_widgets', 'How many?', 0, 1):
        assert sorted(shown._repr_mimebundle_()) == ['text/html', 'text/plain']
