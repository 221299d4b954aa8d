"The exporter of the web site, on the synthetic sample and a small notebook"
import base64, io, json, re, shutil, subprocess
from copy import deepcopy
from pathlib import Path
import matplotlib.pyplot as plt
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from sota_vision.teaching.explore import (Explorer, Pick, Slider, explore_cross_entropy, explore_interpolations,
    explore_mixup, explore_one_cycle, explore_smoothing, one_each)
from sota_vision.teaching.predictions import Prediction
from sota_vision.teaching.quiz import Amount, Choice
from tools.site.docs import documented
from tools.site.elements import elements
from tools.site.forms import outcome, prediction, question
from tools.site.pages import results_page
from tools.site.record import calls, sliced
from tools.site.translate import alt_text, light, link, proper, tags, translate
from tools.site.widgets import Files, combinations, control, markup, render, script, spaced, thinned, widget

def told(html):
    "What an element tells the script"
    from bs4 import BeautifulSoup
    return json.loads(BeautifulSoup(html, 'html.parser').find(attrs={'data-sv': True})['data-sv'])

def frames_of(w): return json.loads(re.search(r'svFrames\("[^"]+", (.*)\)\n', script(w))[1])

def steps(n):
    "A figure that is the same for n = 2 and n = 3, and refuses n = 4"
    if n == 4: raise ValueError('n is 4: choose another')
    fig,ax = plt.subplots(figsize=(1, 1))
    ax.set_title(f'title {min(n, 2)}')
    return fig

# Widgets

def test_every_value_has_a_frame_and_equal_frames_are_kept_once(tmp_path):
    before = plt.get_fignums()
    w = render(widget('steps', Explorer(steps, dict(n=Slider('n', 1, 1, 4)))), Files(tmp_path))
    made = frames_of(w)
    assert len(made['frames']) == 4 and made['frames'][1] == made['frames'][2]
    assert sorted(o for o in made['images'] if o) == sorted(o.name for o in tmp_path.glob('*.webp'))
    assert [made['words'][t] for _,t in made['frames']] == ['title 1', 'title 2', 'title 2', 'n is 4: choose another']
    assert made['images'][made['frames'][3][0]] is None
    assert plt.get_fignums() == before

def test_frames_of_the_sample_are_small_and_follow_the_controls(tmp_path):
    explorer = explore_interpolations(dict(list(one_each().items())[:2]))
    w = render(widget('interpolations', explorer, most=16), Files(tmp_path))
    made = frames_of(w)
    assert len(made['frames']) == len(combinations(w.controls)) == 16
    assert len(set(made['images'])) > 4
    assert max(o.stat().st_size for o in tmp_path.glob('*.webp')) < 150_000
    first = told(markup(w, Files(tmp_path)))['first']
    assert Image.open(tmp_path/first['image']).size == (first['width'], first['height'])

@pytest.mark.parametrize('explorer', [explore_one_cycle, explore_smoothing, explore_cross_entropy])
def test_what_the_page_computes_needs_no_frames(explorer, tmp_path):
    w = render(widget('w', explorer()), Files(tmp_path))
    page = told(markup(w, Files(tmp_path)))
    assert page['model'] and not w.frames and not list(tmp_path.iterdir())
    assert [len(c['values']) for c in page['controls']] == [len(o.values) for o in explorer().controls.values()]

def test_mixup_brings_its_pictures(tmp_path):
    page = told(markup(widget('w', explore_mixup()), Files(tmp_path)))
    assert len(page['data']['pictures']) == 10
    assert all((tmp_path/o).exists() for o in page['data']['pictures'].values())

def test_a_thinned_grid_keeps_ends_and_start():
    assert spaced(21, 5, 4) == [0, 4, 10, 15, 20]
    long = [control('a', Slider('a', 3, 0, 50)), control('b', Pick('b', dict(x=1, y=2, z=3), 'y'))]
    a,b = thinned(long, 12)
    assert b.values == [1, 2, 3] and b.shown[b.start] == 'y'
    assert len(a.values) == 4 and {0, 3, 50} <= set(a.values) and a.values[a.start] == 3

# Questions and predictions

def test_a_question_tells_its_options_and_has_a_page_without_scripts():
    q = Choice('Which `a`?', right={'this': 'so it is'}, wrong={'that': 'not it'})
    html,key,(front,back) = question(q, '00_x')
    assert sorted(told(html)['options']) == [['that', 'not it', False], ['this', 'so it is', True]]
    assert '<details>' in html and key.startswith('00_x:') and 'this' in front and 'so it is' in back
    assert told(question(Amount('How many?', 3, 'counted', tol=.5, unit='px'), 'x')[0])['tol'] == .5

@pytest.mark.parametrize('words,number', [('The result: −3.2 points.', -3.2), ('The result: 1.2e−05.', 1.2e-5),
                                          ('The result: 96 px.', 96), ('The result: none.', None)])
def test_an_outcome_is_read_from_the_committed_notebook(words, number):
    page = told(outcome('key', words))
    assert page['result'] == number and words.endswith(page['shown']+'.')

def test_a_prediction_tells_what_can_be_predicted():
    page = told(prediction(Prediction('k', 'How many?', 0, 10, 'points')))
    assert (page['low'], page['high'], page['unit'], page['options']) == (0, 10, 'points', None)

# Notebooks

# a picture of one pixel
dot = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=='
lesson = new_notebook(cells=[
    new_markdown_cell('# A lesson\n\n[next](01_baseline.ipynb), [the tool](../tools/readme.py)'),
    new_code_cell('#| hide\nfrom sota_vision.teaching.explore import explore_one_cycle\n'
                  'from sota_vision.teaching.predictions import outcome'),
    new_code_cell('#| export\ndef double(x): return 2*x'),
    new_code_cell('raise RuntimeError("a training of an hour")'),
    new_code_cell('epochs = [k for k in range(4)][-1]'),
    new_code_cell('k = 1/0'),
    new_code_cell('explore_one_cycle(epochs)', outputs=[
        new_output('display_data', data={'image/png': dot, 'text/plain': 'to explore'})]),
    new_code_cell('outcome("key", nothing)', outputs=[
        new_output('execute_result', data={'text/plain': 'The result: 3 points.', 'text/html': '<p>3 points</p>'})])])

def test_only_what_a_widget_depends_on_is_evaluated(tmp_path):
    found = elements(lesson, '00_lesson.ipynb', tmp_path)
    assert {i: e.kind for i,e in found.items()} == {6: 'widget', 7: 'outcome'}
    assert 'a training' not in sliced(lesson, {6}) and '1 / 0' not in sliced(lesson, {6})
    assert told(found[6].markup)['controls'][0]['start'] == 2       # three epochs of one to twenty

def test_directives_become_tags_and_links_lead_somewhere():
    nb = translate(deepcopy(lesson), '00_lesson.ipynb', {'00_lesson.ipynb', '01_baseline.ipynb'})
    given = [c.metadata.get('tags') for c in nb.cells if c.cell_type == 'code']
    assert given[:3] == [['remove-cell'], ['hide-input'], []]
    assert '](01_baseline.ipynb)' in nb.cells[0].source and 'blob/main/tools/readme.py' in nb.cells[0].source
    assert not any('#|' in c.source for c in nb.cells)
    assert tags(new_code_cell('#| echo: false\nx')) == ['remove-input']
    assert link('#here', 'a.ipynb', set()) == '#here'

def test_every_figure_of_a_lesson_says_what_it_shows():
    "In the author's words or by its titles; an explorer's frames have words of their own"
    silent = []
    for file in sorted((Path(__file__).resolve().parents[1]/'nbs').glob('[0-9][0-9]_*.ipynb')):
        for c in json.loads(file.read_text(encoding='utf-8'))['cells']:
            source = ''.join(c['source'])
            drawn = any('image/png' in o.get('data', {}) for o in c.get('outputs', []))
            explorer = re.search(r'\bexplore_\w+\(|\bExplorer\(', source)
            if drawn and not explorer and '“section”' in alt_text(source, 'section'):
                silent.append(f'{file.name}: {c["id"]}')
    assert not silent, f'a figure needs a title or `#| fig-alt: …`: {silent}'

def as_png(pixels):
    "What a notebook keeps of a picture"
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'png')
    return base64.b64encode(buffer.getvalue()).decode()

def test_only_pictures_that_png_is_bad_at_become_jpegs():
    rows,cols = np.mgrid[:64, :64]
    photo = np.random.default_rng(0).normal(128, 12, (64, 64, 3)).clip(0, 255).astype('uint8')
    chart = np.where((rows == cols)[..., None], 0, 255).repeat(3, -1).astype('uint8')
    assert light({'image/png': as_png(chart)}) == {'image/png': as_png(chart)}
    made = light({'image/png': as_png(photo), 'text/plain': 'a photo'})
    assert set(made) == {'image/jpeg', 'text/plain'}
    assert Image.open(io.BytesIO(base64.b64decode(made['image/jpeg']))).size == (64, 64)
    assert light({'text/plain': 'words'}) == {'text/plain': 'words'}

def test_tables_take_the_colours_of_the_page_unless_they_have_their_own():
    assert 'class="dataframe"' in proper('<table class="fastprogress"><tr><th>epoch</th></tr></table>')
    coloured = proper('<style>td {background-color: #eee}</style><table><tr><td>1</td></tr></table>')
    assert 'dataframe' not in coloured and '#eee' in coloured

def test_a_definition_becomes_a_table():
    source = 'def f(\n    a:int=1,    # A | b\n    *rest       # More\n) -> str:   # `x<y>`, <words>\n    return ""'
    rows = ['| `a` | `int` | `1` | A \\| b |', '| `rest` |  |  | More |',
            '| **returns** | `str` | | `x<y>`, &lt;words> |']
    for row in rows: assert row in documented(source)

def test_calls_are_found_by_what_they_import():
    assert calls(lesson, lambda module: module == 'explore') == {6: 'explore_one_cycle'}

def test_the_script_is_a_program():
    if not shutil.which('node'): pytest.skip('no node here to read the script with')
    subprocess.run(['node', '--check', Path(__file__).parents[1]/'tools/site/static/site.js'], check=True)

def test_the_results_page_shows_claims_and_runs():
    page = results_page()
    assert '| tta-gain | synthetic |' in page and '| two_cores_long | 0 | 30 |' in page
