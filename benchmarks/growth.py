"When pictures become more and larger: the speed of plain fastai and of a new image cache, its size and memory"
import gc, tempfile, threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from PIL import Image
from sota_vision.data.cache import longest
from .loaders import cached_dl, fastai_dls, images_per_second, now, warm

try: import psutil
except ImportError: psutil = None   # then memory is not measured

def cache_bytes(files, presize):
    "How large the cache of `files` will be, to within a per cent, before any picture is decoded"
    def ratio(f):
        with Image.open(f) as im: return min(longest, max(im.size)/min(im.size))
    return round(sum(3*presize**2*ratio(f) for f in files))

def own_memory():
    "Bytes of this process, mapped files left out where the system tells them apart"
    info = psutil.Process().memory_info()
    return info.rss - getattr(info, 'shared', 0)

class PeakMemory:
    "How far the memory of this process grew within a `with`: `bytes`; None without psutil"
    def __enter__(self):
        self.bytes,self.done = None,threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        if psutil: self.first = own_memory(); self.bytes = 0; self.thread.start()
        return self

    def watch(self):
        while not self.done.wait(.005): self.bytes = max(self.bytes, own_memory()-self.first)

    def __exit__(self, *args):
        self.done.set()
        if psutil: self.thread.join()

def new_cache(recipe, split, tmp, batches):
    "A cache made anew and some batches from it"
    with tempfile.TemporaryDirectory(dir=tmp, prefix='new-', ignore_cleanup_errors=True) as folder:
        gc.collect()
        with PeakMemory() as peak:
            t0 = now('cpu')
            dl = cached_dl(recipe, split, folder)
            build = now(dl.device)-t0
            rate = images_per_second(dl, dl.device, batches)
        stored = sum(o.stat().st_size for o in Path(folder).rglob('pixels'))
        del dl; gc.collect()    # Windows deletes no file that somebody still reads
    memory = f', memory +{peak.bytes/1e6:.0f} MB' if peak.bytes else ''
    predicted = cache_bytes(split.train, recipe.presize)
    return dict(value=rate, unit='images/s', build=build, predicted=predicted, stored=stored, memory=peak.bytes,
                note=f'made in {build:.2g} s, {stored/1e6:.1f} MB{memory}')

def with_size(f, what): return f() | what

def growth_settings(recipe, split, tmp, o):
    "Yield (setting, peers): from `base` pictures on, `times` as many and `sizes` px; `presize` grows with the size"
    recipe = replace(recipe, bs=max(2, min(recipe.bs, o['base']//3)), stages=())
    steps = {(k, recipe.size): dict(pictures=k*o['base']) for k in o['times']}
    for size in o['sizes']: steps[1, size] = steps.get((1, size), {}) | dict(size=size)
    for (k,size),what in steps.items():     # a step that belongs to both rows is measured once
        r = replace(recipe, size=size, presize=round(size*recipe.presize/recipe.size))
        some,batches = split.some(k*o['base']),max(4, o['batches']//4)
        dl = fastai_dls(r, some).train
        peers = {'plain fastai': partial(warm, dl, dl.device, batches),
                 'ours, warm': partial(new_cache, r, some, tmp, batches)}
        peers = {name: partial(with_size, f, what) for name,f in peers.items()}
        yield f'{len(some.train)} pictures, {r.presize} → {r.size} px', peers
