"Test time augmentation: the same net in float32 asked about four random views and the plain one, three ways"
from functools import partial
from fastai.vision.all import Learner
from sota_vision.data.loaders import cached_dls
from sota_vision.tta import tta
from .epoch import plain_learner
from .loaders import now

def averaged(learn, files, f):
    "Seconds to average over the views of `files`"
    dl,t0 = learn.dls.test_dl(files, with_labels=True), now(learn.dls.device)
    with learn.no_bar(): f(learn, dl)
    return dict(value=now(learn.dls.device)-t0, unit='s', note=f'{len(files)} pictures')

def theirs(learn, dl): return learn.tta(dl=dl, n=4)     # decodes every picture once for each view
def ours(learn, dl): return tta(learn, 4, dl=dl)

def tta_peers(recipe, split, tmp, n):
    "Name → function that measures once, with `n` validation pictures"
    learn = plain_learner(recipe, split)
    learn.model.to(learn.dls.device)
    fast = cached_dls(recipe.bs, recipe.size, split, presize=recipe.presize, min_scale=recipe.min_scale,
                      caches=tmp/'tta', bar=False)
    cached = Learner(fast, learn.model, loss_func=learn.loss_func)
    files = split.valid[::max(1, len(split.valid)//n)][:n]
    return {'plain fastai': partial(averaged, learn, files, theirs),
            'ours, fastai loaders': partial(averaged, learn, files, ours),
            'ours, image cache': partial(averaged, cached, files, ours)}
