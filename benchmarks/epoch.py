"One epoch of training and validation: plain fastai, and what a recipe says"
from functools import partial
from fastai.callback.training import ShortEpochCallback
from sota_vision.baseline import make_learner, set_seed
from sota_vision.callbacks import DataWait
from sota_vision.train import learner, loaders_for
from .loaders import fastai_dls, now

def plain_learner(recipe, split):
    "What a fastai user would write; mixed precision on a GPU"
    learn = make_learner(fastai_dls(recipe, split), recipe.arch, wd=recipe.wd, cbs=DataWait())
    return learn.to_fp16() if learn.dls.device.type == 'cuda' else learn

def epoch(learn, lr):
    "Seconds of an epoch, and the share of its training that waited for batches"
    t0 = now(learn.dls.device)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, lr)
    share = learn.data_wait.share
    return dict(value=now(learn.dls.device)-t0, unit='s', data_wait=share,
                note=f'training waits {100*share:.0f} % for batches')

def epoch_peers(recipe, split, tmp):
    "Name → function that measures once"
    set_seed(0)
    cached = loaders_for(recipe, split, False, tmp/'epoch')[0]
    learns = {'plain fastai': plain_learner(recipe, split), 'ours': learner(recipe, cached)}
    for learn in learns.values():   # two batches that do not count
        short = ShortEpochCallback(2/len(learn.dls.train))
        with learn.no_bar(), learn.no_logging(): learn.fit(1, recipe.lr, cbs=short)
    return {name: partial(epoch, learn, recipe.lr) for name,learn in learns.items()}
