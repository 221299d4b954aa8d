"Questions, predictions and their outcomes, exercises: elements that the script of a page brings to life"
import hashlib, re
from sota_vision.teaching.quiz import to_html
from .translate import element

def key_of(text): return hashlib.sha256(text.encode()).hexdigest()[:10]

def question(
    q,          # A `Question` of `sota_vision.teaching.quiz`
    lesson:str  # Where it is asked
) -> tuple:     # (HTML, key of the answer, (front, back) of a card)
    "A question; without scripts the page it makes itself"
    kind,key = type(q).__name__.lower(), f'{lesson}:{key_of(q.question)}'
    told = dict(key=key, kind=kind, question=to_html(q.question), answer=to_html(q.answer))
    front = f'<p>{to_html(q.question)}</p>'
    if kind == 'choice':
        told['options'] = [[to_html(o), to_html(why), o == q.right] for o,why in q.why.items()]
        front += '<ul>' + ''.join(f'<li>{to_html(o)}</li>' for o in q.why) + '</ul>'
    if kind == 'amount': told |= dict(value=q.value, tol=q.tol, rel=q.rel, unit=q.unit)
    return element('quiz', told, q.page()), key, (front, to_html(q.answer))

def prediction(
    p       # A `Prediction`
) -> str:   # HTML
    "A prediction to be made"
    how = f'an interval ({p.unit or "number"}) that you are 80 % sure of'
    if p.options: how = f'one of: {", ".join(p.options)}'
    asked = to_html(p.question)
    told = dict(key=p.key, question=asked, plain=p.question, low=p.low, high=p.high, unit=p.unit, options=p.options)
    return element('prediction', told, f'<p><b>{asked}</b></p><p>Write down before you read on: {to_html(how)}.</p>')

def outcome(
    key:str,    # Of the prediction
    words:str   # As the notebook says what came out
) -> str:       # HTML
    "What came out: a number with its unit, or an option"
    result = re.sub(r'^The result: ', '', words.strip()).removesuffix('.')
    number = re.match(r'[−-]?[\d.]+(?:e[−+-]?\d+)?', result)
    told = dict(key=key, shown=result, result=float(number[0].replace('−', '-')) if number else None)
    return element('outcome', told, f'<p>{to_html(words)}</p>')

def exercise(
    name:str,   # Of the function that checks it
    lesson:str  # Where it is asked
) -> tuple:     # (HTML, key)
    "An exercise that the reader ticks off"
    key = f'{lesson}:{name}'
    return element('exercise', dict(key=key, name=name.removeprefix('check_'))), key
