"""Which callbacks may stand together: a pair trains with the right loss, or raises one sentence before any batch

Two callbacks must not own one quantity. Mixing owns the batch and its loss, progressive resizing the size,
mixed precision the precision. The others only watch, or change how the same numbers are computed."""
import random
from itertools import combinations_with_replacement
import numpy as np, pytest, torch
import torch.nn.functional as F
from torch import nn
from fastai.basics import Callback, DataLoader, DataLoaders, Learner, accuracy
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.fp16 import AMPMode, MixedPrecision
from fastai.callback.mixup import CutMix as FastaiCutMix, MixUp as FastaiMixUp
from fastai.losses import CrossEntropyLossFlat
from sota_vision.mixing import CutMix, ManifoldMixup, ResizeMix
from sota_vision.mixup import Mixup
from sota_vision.progressive import ProgressiveResize
from sota_vision.speed import Autocast, DataWait, DeferMetrics

def resize(): return ProgressiveResize([(1, 8), (1, 12)])
def fastai_bf16(): return MixedPrecision(AMPMode.BF16)

owns = {    # what each callback changes, None: nothing that a number shows
    Mixup: 'loss', CutMix: 'loss', ResizeMix: 'loss', ManifoldMixup: 'loss', FastaiMixUp: 'loss', FastaiCutMix: 'loss',
    resize: 'size', Autocast: 'precision', fastai_bf16: 'precision',
    DeferMetrics: None, ChannelsLast: None, DataWait: None}
fastais = FastaiMixUp, FastaiCutMix, fastai_bf16, ChannelsLast
# two of fastai's own are fastai's to test
pairs = [p for p in combinations_with_replacement(owns, 2) if not set(p) <= set(fastais)]
# bfloat16 within bfloat16 does no harm
together = [p for p in pairs if owns[p[0]] is None or owns[p[0]] != owns[p[1]] or p == (Autocast, Autocast)]
apart = [p for p in pairs if p not in together]
def name(pair): return '+'.join(o.__name__ for o in pair)

class SizedLoaders(DataLoaders):
    "Loaders of noise whose size `ProgressiveResize` can set"
    def set_size(self, size): self.size = size

class Resized(Callback):
    "The pictures of a batch at the size of the loaders"
    order = -5
    def before_batch(self): self.learn.xb = tuple(F.interpolate(x, size=self.dls.size) for x in self.xb)

class RightLoss(Callback):
    "Holds each batch's loss against cross-entropy with one-hot targets, blended by the weights of the mixing callback"
    order,run_valid = 5,False
    def before_fit(self): self.sizes,self.losses = [],[]
    def after_loss(self):
        self.sizes.append(self.xb[0].shape[-1])
        target = F.one_hot(self.yb[0], 3).float()
        for cb in self.learn.cbs:
            if owns.get(type(cb)) != 'loss': continue
            other = F.one_hot((cb.yb1 if hasattr(cb, 'yb1') else cb.other)[0], 3).float()
            target = torch.lerp(other, target, cb.lam.reshape(-1, 1))
        self.losses.append(self.learn.loss.item())
        assert self.losses[-1] == pytest.approx(F.cross_entropy(self.pred.float(), target).item(), abs=1e-4)

def seed():
    torch.manual_seed(0); random.seed(0); np.random.seed(0)

def trained(*makes):
    "A learner after two epochs, with a callback from each of `makes`"
    seed()
    items = list(zip(torch.randn(24, 3, 12, 12), torch.randint(3, (24,))))
    dls = SizedLoaders(DataLoader(items, bs=8), DataLoader(items, bs=8), device=torch.device('cpu'))
    dls.size = 12
    stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    net = nn.Sequential(stem, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    cbs = [Resized(), RightLoss(), *(m() for m in makes)]
    learn = Learner(dls, net, loss_func=CrossEntropyLossFlat(), metrics=accuracy, cbs=cbs)
    seed()
    with learn.no_bar(), learn.no_logging(): learn.fit(2, .1)
    return learn

@pytest.mark.parametrize('pair', together, ids=name)
def test_together(pair):
    "The loss is right in every batch, the sizes follow the schedule, and who owns nothing changes nothing"
    learn = trained(*pair)
    assert learn.right_loss.sizes == ([8]*3 + [12]*3 if resize in pair else [12]*6)
    owners = [o for o in pair if owns[o] in ('loss', 'size')]
    alone = trained(*owners)
    rounding = .05 if 'precision' in [owns[o] for o in pair] else 1e-4
    assert learn.right_loss.losses == pytest.approx(alone.right_loss.losses, abs=rounding)
    for got,want in zip(learn.recorder.values, alone.recorder.values):
        assert list(got)[:2] == pytest.approx(list(want)[:2], abs=rounding)
    if not owners: assert learn.right_loss.losses == pytest.approx(trained().right_loss.losses, abs=rounding)

@pytest.mark.parametrize('pair', apart, ids=name)
@pytest.mark.parametrize('order', [1, -1], ids=['as listed', 'the other way round'])
def test_apart(pair, order):
    "One sentence that says what to do, before anything is trained"
    with pytest.raises(ValueError) as e: trained(*pair[::order])
    says = str(e.value).splitlines()[-1]    # fastai puts a line above it: which callback, which event
    assert ':' in says and len(says) < 200 and not says.strip().endswith(':')

watchers = [o for o,what in owns.items() if what is None and o not in fastais]

@pytest.mark.parametrize('cb', watchers, ids=lambda o: o.__name__)
def test_twice(cb):
    "A watcher that stands there twice changes nothing, nor in the next fit"
    learn = trained(cb, cb)
    losses = learn.right_loss.losses
    assert losses == pytest.approx(trained().right_loss.losses, abs=1e-4)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 0.)
    assert all(np.isfinite(learn.recorder.values[-1]))
