"What a notebook asks and shows, as elements that the script of a page brings to life"
import ast
from dataclasses import dataclass
from .forms import exercise, outcome, prediction, question
from .record import calls, record
from .widgets import Files, markup, render, widget

live = ('explore', 'quiz', 'predictions')   # modules of sota_vision.teaching whose values are shown

def first_argument(source): return ast.literal_eval(ast.parse(source).body[-1].value.args[0])

@dataclass
class Element:
    "One element of a page"
    kind:str            # 'widget', 'choice', 'amount', 'words', 'prediction', 'outcome' or 'exercise'
    name:str            # Function of the notebook that made it
    markup:str          # HTML
    key:str=''          # Under which the reader's answer is kept
    card:tuple=None     # (front, back) of a question, HTML

def elements(
    nb,         # A notebook
    page:str,   # Its path from nbs
    static,     # Folder of the site's static files
    net=None,   # File of the weights that widgets ask; None: code that fits a net fits it
    skip=()     # Names of functions whose widgets are drawn for another page
) -> dict:      # Number of a cell → `Element`
    "The elements of a page; the frames of its widgets are drawn"
    lesson = page.removesuffix('.ipynb')
    made = calls(nb, live.__contains__)
    values = record(nb, {i for i,name in made.items() if name != 'outcome' and name not in skip}, net)
    found,files = {}, Files(static/'frames')
    for i,name in made.items():
        value = values.get(i)
        if hasattr(value, 'controls'):
            w = render(widget(f'{lesson.replace("/", "-")}-{i}', value), files)
            found[i] = Element('widget', name, markup(w, files))
        elif name == 'outcome':
            words = next(''.join(o.data['text/plain']) for o in nb.cells[i].outputs if 'data' in o)
            found[i] = Element('outcome', name, outcome(first_argument(nb.cells[i].source), words))
        elif name == 'prediction': found[i] = Element('prediction', name, prediction(value), value.key)
        elif hasattr(value, 'page'):
            html,key,card = question(value, lesson)
            found[i] = Element(type(value).__name__.lower(), name, html, key, card)
    for i,name in calls(nb, lambda module: module.startswith('checks')).items():
        html,key = exercise(name, lesson)
        found[i] = Element('exercise', name, html, key)
    return found
