"The grid of a widget's values, each drawn once; where the arithmetic is small, what the page needs to compute itself"
import hashlib, inspect, io, json, math, os
from dataclasses import dataclass, field
from pathlib import Path
import numpy as np
from PIL import Image
from .translate import element

budget = 36         # frames of a widget, unless its choices alone are more
few_options = 5     # a choice among so few keeps all of them

@dataclass
class Control:
    "A slider or a choice, as a widget declares it"
    name:str        # Argument of the function
    label:str       # What a reader reads
    kind:str        # 'slider' or 'pick'
    values:list     # What the argument may be
    shown:list      # The same, in words
    start:int       # Which of them is first

def in_words(x): return f'{x:.3g}'.replace('-', '−')

def control(name, c):
    "A declared `Slider` or `Pick` as a `Control`"
    if hasattr(c, 'options'): return Control(name, c.label, 'pick', c.values, list(c.options), c.values.index(c.start))
    start = min(range(len(c.values)), key=lambda i: abs(c.values[i]-c.start))
    return Control(name, c.label, 'slider', c.values, [in_words(o) for o in c.values], start)

def spaced(n, want, start):
    "`want` of the numbers below `n`, evenly spaced, the first, the last and `start` among them"
    if want >= n: return list(range(n))
    found = sorted({round(o) for o in np.linspace(0, n-1, want)})
    if start not in found:
        inner = found[1:-1] or found
        found.remove(min(inner, key=lambda o: abs(o-start)))
    return sorted({*found, start})

def thinned(
    controls:list,  # `Control`s
    most:int=budget # Frames at most
) -> list:          # `Control`s with fewer values
    "Take values away, from the longest control first, until the grid is small enough"
    counts = [len(c.values) for c in controls]
    while math.prod(counts) > most:
        long = [i for i,c in enumerate(controls)
                if counts[i] > 2 and not (c.kind == 'pick' and len(c.values) <= few_options)]
        if not long: break
        counts[max(long, key=lambda i: counts[i])] -= 1
    def thin(c, n):
        keep = spaced(len(c.values), n, c.start)
        values,shown = ([o[i] for i in keep] for o in (c.values, c.shown))
        return Control(c.name, c.label, c.kind, values, shown, keep.index(c.start))
    return [thin(c, n) for c,n in zip(controls, counts)]

# What the page computes itself: name of the function → what it needs beside the values of its controls

def _embedded(path, size):
    "A picture as bytes of WebP, fitted to a square of `size` pixels"
    from PIL import ImageOps
    out = io.BytesIO()
    ImageOps.fit(Image.open(path).convert('RGB'), (size, size)).save(out, 'webp', quality=88)
    return out.getvalue()

def _pictures(f, files):
    pictures = inspect.getclosurevars(f).nonlocals['pictures']
    return dict(pictures={name: files(_embedded(path, 160)) for name,path in pictures.items()})

def _costs(f, files):
    known = inspect.getclosurevars(f).nonlocals
    costs = known['costs']
    return dict(sizes=[int(o) for o in costs.index], costs={k: [float(o) for o in costs[k]] for k in costs},
                picture=files(_embedded(known['img'], int(costs.index[-1]))))

models = dict(plot_one_cycle=None, plot_label_smoothing=None, explore_cross_entropy=None, explore_mixup=_pictures,
              explore_sizes=_costs)

def model_of(f):
    "The name under which the page knows how to compute `f`, or None"
    name = f.__qualname__.split('.')[0]
    return name if name in models else None

# Frames

def words_of(fig):
    "What a figure says in its titles"
    found = [fig.get_suptitle(), *(ax.get_title() for ax in fig.axes)]
    return '; '.join(o.replace('\n', ', ') for o in found if o)

def drawn(f, values, dpi=100):
    "The picture of `f(**values)` and its words; in place of the picture None if `f` refuses the values"
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    before = set(plt.get_fignums())
    try:
        fig = f(**values)
        fig.set_dpi(dpi)
        canvas = FigureCanvasAgg(fig)
        canvas.draw()       # once: `savefig` draws twice, and packs what is unpacked here again
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert('RGB'), words_of(fig)
    except ValueError as e: return None, str(e)
    finally:
        for num in set(plt.get_fignums())-before: plt.close(num)

def encoded(picture):
    "WebP: without loss where that costs little, as for a plain chart"
    def saved(**kw):
        out = io.BytesIO()
        picture.save(out, 'webp', **kw)
        return out.getvalue()
    lossy,exact = saved(quality=82, method=2), saved(lossless=True, quality=20, method=0)
    return exact if len(exact) <= 1.4*len(lossy) else lossy

class Files:
    "A folder of files that are named after their content: what is there twice is kept once"
    def __init__(self, folder, ending='.webp'):
        self.folder,self.ending = Path(folder),ending
        self.folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, data):
        name = hashlib.sha256(data).hexdigest()[:16] + self.ending
        file = self.folder/name
        if not file.exists():
            part = file.with_suffix(f'.{os.getpid()}')
            part.write_bytes(data)
            part.replace(file)
        return name

def combinations(controls):
    "Every combination of values, the last control fastest"
    return [dict(zip([c.name for c in controls], (c.values[i] for c,i in zip(controls, at))))
            for at in np.ndindex(*(len(c.values) for c in controls))]

@dataclass
class Widget:
    "A widget of one page: what it is declared as, and what becomes of it"
    id:str          # Unique in the site
    f:object        # Function of keyword arguments that returns a `Figure`
    controls:list   # `Control`s
    model:str       # Name of the function of the page that computes it; None: frames
    frames:list=field(default_factory=list)     # (file, size, words) of each combination

def widget(
    id:str,         # Unique in the site
    explorer,       # Has the function `f`, and `controls` by the name of its arguments
    most:int=budget # Frames at most
) -> Widget:        # Nothing is drawn yet
    "What a page needs to know of an explorer"
    controls = [control(k, c) for k,c in explorer.controls.items()]
    model = model_of(explorer.f)
    return Widget(id, explorer.f, controls if model else thinned(controls, most), model)

def render(w, files):
    "Draw the frames of `w` and write them, with the script that names them; `w` itself"
    if w.model: return w
    for values in combinations(w.controls):
        picture,words = drawn(w.f, values)
        w.frames.append((files(encoded(picture)) if picture else None, picture.size if picture else None, words))
    (files.folder/f'{w.id}.js').write_text(script(w), encoding='utf-8')
    return w

def description(w, files):
    "What the script of the page has to know of `w` at once"
    controls = [dict(name=c.name, label=c.label, kind=c.kind, shown=c.shown, start=c.start) for c in w.controls]
    if not w.model: return dict(id=w.id, controls=controls)
    for d,c in zip(controls, w.controls): d['values'] = c.values if c.kind == 'slider' else [str(o) for o in c.shown]
    return dict(id=w.id, controls=controls, model=w.model, data=models[w.model](w.f, files) if models[w.model] else {})

def script(w):
    "A script that holds the names and words of the frames of `w`, to be loaded when somebody touches it"
    images,words = ({o: i for i,o in enumerate(dict.fromkeys(col))} for col in zip(*((f, t) for f,_,t in w.frames)))
    height = max((s[1]/s[0] for _,s,_ in w.frames if s), default=1)
    width = max((s[0] for _,s,_ in w.frames if s), default=1)
    told = dict(images=list(images), words=list(words), frames=[[images[f], words[t]] for f,_,t in w.frames],
                width=width, height=round(width*height))
    return f'svFrames({json.dumps(w.id)}, {json.dumps(told, ensure_ascii=False)})\n'

def first_frame(w):
    "The frame a widget starts with"
    at = [c.start for c in w.controls]
    return w.frames[int(np.ravel_multi_index(at, [len(c.values) for c in w.controls]))]

def markup(w, files):
    "The element that the script of the page makes the widget of"
    told = description(w, files)
    if not w.model:
        file,size,words = first_frame(w)
        told['first'] = dict(image=file, words=words, width=size[0], height=size[1])
    return element('widget', told)
