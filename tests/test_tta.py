"Test time augmentation: equal to `learn.tta` where both see the same views, a decode per picture, nothing left changed"
import pickle, random, threading, warnings
from collections import Counter
from copy import deepcopy
from functools import partial
import numpy as np, pytest, torch
import torch.nn.functional as F
import fastai.vision.core
from fastai.callback.channelslast import ChannelsLast
from fastai.callback.fp16 import AMPMode, MixedPrecision
from fastai.vision.all import (
    BCEWithLogitsLossFlat, Callback, CrossEntropyLossFlat, Datasets, FocalLossFlat, ImageDataLoaders,
    IntToFloatTensor, LabelSmoothingCrossEntropy, Learner, MSELossFlat, Normalize, PILImage, ProgressCallback,
    RandTransform, Resize, TensorImage, TfmdDL, Transform, aug_transforms, first, imagenet_stats, load_learner,
    nn, noop, plt, set_seed)
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from sota_vision.callbacks import DataWait
from sota_vision.data.views import view_batches, view_kinds
from sota_vision.fusion import FoldedForward, fuse_bn
from sota_vision.label_smoothing import LabelSmoothing
from sota_vision.mixup import Mixup
from sota_vision.speed import Autocast, DeferMetrics
from sota_vision.teaching.figures import plot_views
from sota_vision.tta import reduce_views, tta, view_preds

class SeededViews(RandTransform):
    "Seed the k-th augmentation of a batch with its content and k"
    order = 1
    def __init__(self): super().__init__(); self.seen = Counter()
    def encodes(self, x:TensorImage):
        key = int(x.long().sum())
        set_seed(key + self.seen[key]); self.seen[key] += 1
        return x

class SoftmaxLoss(nn.CrossEntropyLoss):
    "A loss that says how to make probabilities"
    def activation(self, x): return x.softmax(-1)

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "Twenty-two noisy rectangles of two classes"
    path,rng = tmp_path_factory.mktemp('rectangles'), np.random.default_rng(0)
    for i in range(22):
        h,w = rng.integers(24, 60, 2)
        f = path/('train' if i%2 else 'val')/'ab'[i//2%2]/f'{i}.png'
        f.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8)).save(f)
    return path

def rectangles(folder, item_tfms=None, batch_tfms=None, **kwargs):
    tfms = [*(batch_tfms or aug_transforms(size=24, min_scale=.75)), Normalize.from_stats(*imagenet_stats)]
    return ImageDataLoaders.from_folder(folder, valid='val', item_tfms=item_tfms or Resize(32), batch_tfms=tfms, bs=4,
                                        num_workers=0, device='cpu', **kwargs)

@pytest.fixture(scope='module')
def net():
    torch.manual_seed(0)
    body = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(32, 2))

@pytest.fixture
def learn(folder, net):
    return Learner(rectangles(folder), deepcopy(net), loss_func=SoftmaxLoss()).remove_cb(ProgressCallback)

def same(folder, net):
    "A learner whose views depend on nothing but the pictures"
    dls = rectangles(folder, Resize(32, method='squish'), [SeededViews(), *aug_transforms(size=24, min_scale=.75)])
    return Learner(dls, net, loss_func=SoftmaxLoss()).remove_cb(ProgressCallback)

@pytest.mark.parametrize('n', [1, 4])
@pytest.mark.parametrize('theirs,ours', [
    ({}, {}), (dict(beta=.6), dict(beta=.6)), (dict(use_max=True), dict(reduce='max'))])
def test_equals_fastai(folder, net, n, theirs, ours):
    want,targs = same(folder, net).tta(n=n, **theirs)
    got,got_targs = tta(same(folder, net), n=n, **ours)
    torch.testing.assert_close(got, torch.Tensor(want), atol=1e-5, rtol=0)
    assert (got_targs == targs).all()

def test_beta_none(folder, net):
    want,_ = same(folder, net).tta(beta=None)
    got,_ = tta(same(folder, net), beta=None)
    for a,b in zip(got, want): torch.testing.assert_close(a, torch.Tensor(b), atol=1e-5, rtol=0)

@pytest.mark.parametrize('views', ['flip', 'corners', 'scales'])
def test_usual_weights(learn, views):
    "Where no view is random every view weighs the same; whoever names a weight gets it, `None` included"
    probs,_ = view_preds(learn, views=views)
    torch.testing.assert_close(tta(learn, views=views)[0], reduce_views(probs, 'mean'))
    for beta in .6, None:
        torch.testing.assert_close(tta(learn, views=views, beta=beta)[0], reduce_views(probs, 'weighted', beta))

def test_views_differ(folder, net):
    probs,_ = view_preds(same(folder, net), n=3)
    assert all((a-b).abs().max() > 1e-5 for i,a in enumerate(probs) for b in probs[:i])

def test_plain_is_validation(learn):
    want,_ = learn.get_preds()
    for kind in view_kinds:
        probs,_ = view_preds(learn, views=kind)
        torch.testing.assert_close(probs[0], torch.Tensor(want), atol=1e-5, rtol=0)

def test_training_pictures(learn):
    "In their own order, cropped as in validation, and the dataset back in its training mode"
    probs,targs = view_preds(learn, views='flip', ds_idx=0)
    dl = learn.dls.test_dl(learn.dls.train_ds.items, with_labels=True)
    want,want_targs = learn.get_preds(dl=dl)
    torch.testing.assert_close(probs[0], torch.Tensor(want), atol=1e-5, rtol=0)
    assert (targs == want_targs).all() and learn.dls.train_ds.split_idx == 0

@pytest.fixture
def opened(monkeypatch):
    "Counts how often each file is opened"
    counts,load = Counter(), fastai.vision.core.load_image
    def counting(fn, *args, **kwargs):
        counts[fn] += 1
        return load(fn, *args, **kwargs)
    monkeypatch.setattr(fastai.vision.core, 'load_image', counting)
    return counts

@pytest.mark.parametrize('views', view_kinds)
def test_one_decode(learn, opened, views):
    dl = learn.dls.test_dl(learn.dls.valid_ds.items)
    opened.clear()
    tta(learn, views=views, dl=dl)
    assert opened == {f: 1 for f in learn.dls.valid_ds.items}

def test_fastai_decodes_five_times(learn, opened):
    learn.tta(n=4)
    assert set(opened.values()) == {5}

def test_no_labels(learn):
    dl = learn.dls.test_dl(learn.dls.valid_ds.items)
    for views in view_kinds:
        probs,targs = tta(learn, views=views, dl=dl, seed=0)
        assert targs is None
        assert torch.equal(probs, tta(learn, views=views, seed=0)[0])

def test_workers(learn):
    dl = learn.dls.valid.new(num_workers=1)
    for views in ('flip', 'corners'): assert torch.equal(tta(learn, views=views, dl=dl)[0], tta(learn, views=views)[0])

def test_corners_by_hand(learn):
    "Each corner is a square of the whole picture, through the same transforms"
    f = learn.dls.valid_ds.items[0]
    xs,_ = next(view_batches(learn.dls.test_dl([f]), views='corners', crop=.5))
    im = PILImage.create(f)
    (w,h),s = im.size, round(.5*min(im.size))
    for x,(l,t) in zip(xs[1:], ((0,0), (w-s,0), (0,h-s), (w-s,h-s))):
        want, = first(learn.dls.test_dl([PILImage.create(im.crop((l, t, l+s, t+s)))]))
        torch.testing.assert_close(x, want.as_subclass(torch.Tensor))

def test_scales(learn, folder, net):
    xs,_ = next(view_batches(learn.dls.valid, views='scales', scales=(.5, 1.5)))
    assert [x.shape[-1] for x in xs] == [24, 12, 36]
    bare = rectangles(folder, batch_tfms=[IntToFloatTensor()])
    xs,_ = next(view_batches(bare.valid, views='scales', scales=(.5, 1.5)))
    assert [x.shape[-1] for x in xs] == [32, 16, 48]
    scaled,flipped = (next(view_batches(learn.dls.valid, views=o))[0] for o in ('scales', 'flip'))
    assert torch.equal(scaled[0], flipped[0])

def test_batch_not_changed_in_place(net):
    "Pictures that are floats already: `IntToFloatTensor` divides them in place, once per view"
    pics = [TensorImage(torch.rand(3, 16, 16)*255) for _ in range(4)]
    dl = TfmdDL(Datasets(pics, tfms=[[noop]]), bs=2, after_batch=[IntToFloatTensor()], num_workers=0)
    (x,*rest),_ = next(view_batches(dl, n=3))
    for other in rest: torch.testing.assert_close(other, x)

def stop(*args): raise KeyboardInterrupt

@pytest.mark.parametrize('views', view_kinds)
@pytest.mark.parametrize('interrupt', [False, True])
def test_left_as_found(learn, views, interrupt):
    learn.model.train(); learn.model[5].eval()
    learn.dls.valid.after_batch.split_idx = None
    modes = [m.training for m in learn.model.modules()]
    cbs,tfms = list(learn.cbs), str([vars(t) for t in learn.dls.valid.after_batch.fs])
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    if interrupt:
        hook = learn.model[-1].register_forward_pre_hook(stop)
        with pytest.raises(KeyboardInterrupt): tta(learn, views=views, seed=1, ds_idx=0)
        hook.remove()
    else: tta(learn, views=views, seed=1, ds_idx=0)
    assert [m.training for m in learn.model.modules()] == modes
    assert list(learn.cbs) == cbs
    assert learn.dls.train_ds.split_idx == 0 and learn.dls.valid.after_batch.split_idx is None
    assert str([vars(t) for t in learn.dls.valid.after_batch.fs]) == tfms
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == state

def test_seed(learn):
    a,b,c = (tta(learn, seed=s)[0] for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)

def exportable():
    "Some versions of plum-dispatch cannot pickle a transform made from a function"
    try: return bool(pickle.dumps(Transform(PILImage.create)))
    except TypeError: return False

@pytest.mark.skipif(not exportable(), reason='this plum-dispatch cannot pickle transforms, so fastai cannot export')
def test_loaded(learn, tmp_path):
    learn.export(tmp_path/'net.pkl')
    loaded,files = load_learner(tmp_path/'net.pkl'), learn.dls.valid_ds.items
    for views in view_kinds:
        got,none = tta(loaded, views=views, dl=loaded.dls.test_dl(files, num_workers=0), seed=0)
        torch.testing.assert_close(got, tta(learn, views=views, seed=0)[0], atol=1e-5, rtol=0)
        assert none is None

def test_bare_module(learn):
    torch.testing.assert_close(tta(learn.model, views='flip', dl=learn.dls.valid)[0], tta(learn, views='flip')[0])

def test_figure(learn):
    for views,n in zip(view_kinds, (4, 2, 5, 4)):
        fig = plot_views(learn, learn.dls.valid_ds.items[0], views=views)
        assert len(fig.axes) == n+1 if views != 'random' else len(fig.axes) == 6
        for ax in fig.axes[:n]: assert 30 < np.asarray(ax.images[0].get_array()).mean() < 225, 'no picture'
        plt.close(fig)

shapes = st.tuples(st.integers(2, 6), st.integers(1, 4), st.integers(2, 5))     # views, pictures, classes

@given(arrays(np.float32, shapes, elements=st.floats(0, 1, width=32)), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_reduce_views(p, beta):
    p = torch.from_numpy(p)
    aug = p[1:].mean(0)
    torch.testing.assert_close(reduce_views(p, beta=beta), beta*p[0] + (1-beta)*aug, atol=1e-5, rtol=0)
    torch.testing.assert_close(reduce_views(p, 'mean'), reduce_views(p, beta=1/len(p)), atol=1e-5, rtol=0)
    torch.testing.assert_close(reduce_views(p, 'max'), torch.maximum(p[0], p[1:].amax(0)))
    assert (reduce_views(p, 'max') >= reduce_views(p, beta=beta) - 1e-5).all()

@pytest.mark.parametrize('wrong,says', [
    (dict(n=0), 'n=0'), (dict(n=2.5), 'n=2.5'), (dict(views='up'), "unknown views 'up'"),
    (dict(reduce='vote'), "unknown reduce 'vote'"), (dict(beta=-.1), 'beta=-0.1'), (dict(beta=1.1), 'beta=1.1'),
    (dict(views='corners', crop=0), 'crop=0'), (dict(views='scales', scales=(1, 0)), 'scales=(1, 0)'),
    (dict(dl=[]), 'not a fastai loader')])
def test_wrong_values(learn, wrong, says):
    with pytest.raises(ValueError) as e: tta(learn, **wrong)
    assert says in str(e.value) and '\n' not in str(e.value)

def test_nothing_to_see(learn):
    empty = Learner(learn.dls.new_empty(), learn.model, loss_func=SoftmaxLoss())
    with pytest.raises(ValueError, match='holds no pictures'): tta(empty)
    with pytest.raises(ValueError, match='pass dl'): tta(learn.model)


# What the net says is what `get_preds` says

class Third(Callback):
    "A third of the brightness for the net, three times its answer"
    def before_batch(self): self.learn.xb = (self.x/3,)
    def after_pred(self): self.learn.pred = self.pred*3

class Counts(Callback):
    "How often each event came"
    def __init__(self): self.seen = Counter()
    def after_batch(self): self.seen['batch'] += 1

def same_as_get_preds(learn):
    want,_ = learn.get_preds(act=noop)
    got,_ = view_preds(learn, views='flip', act=noop)
    torch.testing.assert_close(got[0], torch.Tensor(want).float(), atol=1e-4, rtol=1e-4)

@pytest.mark.parametrize('cbs', [[Third], [MixedPrecision(amp_mode=AMPMode.BF16)], [ChannelsLast], [Mixup],
                                 [Autocast, DeferMetrics, DataWait]],
                         ids=['inputs and predictions', 'mixed precision', 'channels last', 'mixup', 'ours'])
def test_callbacks_take_part(learn, cbs):
    learn.add_cbs(cbs)
    same_as_get_preds(learn)

def test_a_net_in_half_precision(learn):
    learn = Learner(learn.dls, deepcopy(learn.model), loss_func=SoftmaxLoss())
    learn.model.bfloat16()
    learn.add_cb(Callback(before_batch=lambda self: setattr(self.learn, 'xb', (self.x.bfloat16(),))))
    same_as_get_preds(learn)

def recorded(folder, net, asks):
    "What a fit records and leaves, a learner that is asked after each epoch or not"
    set_seed(0, reproducible=True)
    cbs = [Mixup(), Autocast(), DeferMetrics(), DataWait(), Counts()]
    learn = Learner(rectangles(folder), deepcopy(net), loss_func=SoftmaxLoss(), cbs=cbs)    # their order has the seed
    learn.remove_cb(ProgressCallback)
    if asks: learn.add_cb(Callback(after_epoch=lambda self: tta(self.learn, views='flip')))
    with learn.no_logging(): learn.fit_one_cycle(2)
    values = [list(v)[:2] for v in learn.recorder.values]
    return values, learn.recorder.losses, learn.train_iter, learn.epoch, learn.model.state_dict()

def test_asked_between_two_epochs(folder, net):
    "The fit goes on as if nobody had asked"
    plain,asked = (recorded(folder, net, asks) for asks in (False, True))
    torch.testing.assert_close(asked, plain)

def test_the_record_of_a_fit_stays(learn):
    with learn.no_logging(): learn.fit(1)
    values,cbs = list(learn.recorder.values), list(learn.cbs)
    tta(learn)
    assert learn.recorder.values == values and list(learn.cbs) == cbs and learn.recorder in learn.cbs


# Probabilities, whatever the loss

def own_loss(pred, targ): return F.cross_entropy(pred, targ)

@pytest.mark.parametrize('loss', [
    nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=.1), F.cross_entropy, CrossEntropyLossFlat(),
    partial(F.cross_entropy, label_smoothing=.1), LabelSmoothing(), LabelSmoothingCrossEntropy(), FocalLossFlat()])
def test_rows_are_probabilities(folder, net, loss):
    learn = Learner(rectangles(folder), net, loss_func=loss)
    for preds in (tta(learn, views='flip')[0], tta(learn, n=2, seed=0)[0]):
        torch.testing.assert_close(preds.sum(1), torch.ones(len(preds)))
        assert preds.min() >= 0
    want = torch.Tensor(learn.get_preds(act=noop)[0]).softmax(1)
    torch.testing.assert_close(view_preds(learn, views='flip')[0][0], want, atol=1e-5, rtol=0)

@pytest.mark.parametrize('loss,act', [(nn.BCEWithLogitsLoss(), torch.sigmoid), (BCEWithLogitsLossFlat(), torch.sigmoid),
    (F.binary_cross_entropy_with_logits, torch.sigmoid), (nn.NLLLoss(), torch.exp), (F.nll_loss, torch.exp),
    (MSELossFlat(), noop)])
def test_other_losses(folder, net, loss, act):
    learn = Learner(rectangles(folder), net, loss_func=loss)
    dl = learn.dls.test_dl(learn.dls.valid_ds.items)
    want = act(torch.Tensor(learn.get_preds(dl=dl, act=noop)[0]))
    torch.testing.assert_close(view_preds(learn, views='flip', dl=dl)[0][0], want, atol=1e-5, rtol=1e-5)

class OwnLoss(nn.CrossEntropyLoss):
    "Nobody knows what it does with predictions"

@pytest.mark.parametrize('loss', [
    own_loss, OwnLoss(), nn.MultiMarginLoss(), lambda p, t: p.mean(), partial(own_loss), nn.MSELoss()])
def test_a_loss_that_nobody_knows(folder, net, loss):
    "One sentence, and the way out of it works"
    learn = Learner(rectangles(folder), net, loss_func=loss)
    with pytest.raises(ValueError, match='pass act=') as e: tta(learn)
    assert '\n' not in str(e.value)
    dl = learn.dls.test_dl(learn.dls.valid_ds.items)
    got,want = view_preds(learn, views='flip', dl=dl, act=noop)[0][0], learn.get_preds(dl=dl, act=noop)[0]
    torch.testing.assert_close(got, torch.Tensor(want), atol=1e-5, rtol=0)


# Folding batch norm: only where it is proved right

def with_stats(net):
    "`net` in eval mode, its batch norms as after some training: with fresh ones a wrong fold would hardly show"
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d) and m.running_mean is not None:
            m.running_mean.normal_(0, .2); m.running_var.uniform_(.5, 2)
            if m.affine: nn.init.uniform_(m.weight, .7, 1.3); nn.init.normal_(m.bias, 0, .2)
    return net.eval()

def norms(net): return sum(type(m) is nn.BatchNorm2d for m in net.modules())

def folds(net, *xs):
    "How many pairs are folded while `net` is asked about each of `xs`, twice; its answers must stay"
    with torch.no_grad():
        wanted = [net(x) for x in xs]
        with fuse_bn(net) as found:
            for x,want in [*zip(xs, wanted)]*2:
                assert ((net(x)-want).abs().max()/want.std().clamp(min=1e-12)).item() < 1e-4
    assert not [m for m in net.modules() if isinstance(vars(m).get('forward'), FoldedForward)]
    return sum(bool(o.proved) for f in found for o in f.pairs.values())

def pictures(size):
    torch.manual_seed(1)
    return TfmdDL(Datasets([torch.randn(3, size, size)], tfms=[[noop]]), bs=1, num_workers=0)

def same_answers(net, size):
    "A picture of noise through `view_preds` and through the net: the difference, in standard deviations of its logits"
    dl = pictures(size)
    x, = first(dl)
    with torch.no_grad(): want = net(x)
    probs,_ = view_preds(net, views='flip', dl=dl, act=noop)    # its second view goes the folded way
    back,_ = view_preds(nn.Sequential(Mirror(), net).eval(), views='flip', dl=dl, act=noop)
    return max(((o-want).abs().max()/want.std().clamp(min=1e-12)).item() for o in (probs[0], back[1]))

class Mirror(nn.Module):
    def forward(self, x): return x.flip(-1)

class StandardizedConv(nn.Conv2d):
    "A convolution that standardizes its weights in `forward`"
    def forward(self, x): return self._conv_forward(x, (self.weight-self.weight.mean())/self.weight.std(), self.bias)

class NormAct(nn.BatchNorm2d):
    "A batch norm with an activation"
    def forward(self, x): return super().forward(x).relu()

class CalledTwice(nn.Conv2d):
    "A convolution whose call does more than its `forward`"
    def __call__(self, x): return 2*super().__call__(x)

class Training(nn.BatchNorm2d):
    "A batch norm that will not leave the train mode"
    def train(self, mode=True): return super().train(True)

class Added(nn.Sequential):
    "Layers side by side"
    def forward(self, x): return sum(m(x) for m in self)

class Backwards(nn.Sequential):
    "Layers that are gone through from the last to the first"
    def __iter__(self): return reversed(list(self._modules.values()))

class Crossed(nn.Module):
    "Plain layers in a plain `Sequential`, called the other way round"
    def __init__(self, conv, norm): super().__init__(); self.layers = nn.Sequential(conv, norm)
    def forward(self, x): return self.layers[0](self.layers[1](x))

class Tripled(nn.Module):
    "A parametrization"
    def forward(self, w): return 3*w

def doubled(m, *args): return 2*args[-1]
def hooked(m): m.register_forward_hook(doubled); return m
def pre_hooked(m): m.register_forward_pre_hook(lambda m, x: (2*x[0],)); return m
def own_forward(m):
    m.forward = lambda x, forward=m.forward: 2*forward(x)
    return m
def conv(**kwargs): return nn.Conv2d(3, 3, 3, padding=1, **kwargs)
def norm(**kwargs): return nn.BatchNorm2d(3, **kwargs)
def old_spectral(m): return nn.utils.spectral_norm(m)
def parametrized(m): nn.utils.parametrize.register_parametrization(m, 'weight', Tripled()); return m
def pruned(m): return prune.random_unstructured(m, 'weight', .5)

unsafe = dict(
    standardized_conv=lambda: nn.Sequential(StandardizedConv(3, 3, 3), norm()),
    norm_with_activation=lambda: nn.Sequential(conv(), NormAct(3)),
    no_statistics=lambda: nn.Sequential(conv(), norm(track_running_stats=False)),
    weight_norm=lambda: nn.Sequential(weight_norm(conv()), norm()),
    spectral_norm=lambda: nn.Sequential(spectral_norm(conv()), norm()),
    old_spectral_norm=lambda: nn.Sequential(old_spectral(conv()), norm()),
    old_weight_norm=lambda: nn.Sequential(nn.utils.weight_norm(conv()), norm()),
    pruned=lambda: nn.Sequential(pruned(conv()), norm()),
    parametrized_conv=lambda: nn.Sequential(parametrized(conv()), norm()),
    parametrized_norm=lambda: nn.Sequential(conv(), parametrized(norm())),
    hook_on_conv=lambda: nn.Sequential(hooked(conv()), norm()),
    hook_on_norm=lambda: nn.Sequential(conv(), hooked(norm())),
    hook_before_conv=lambda: nn.Sequential(pre_hooked(conv()), norm()),
    hook_before_norm=lambda: nn.Sequential(conv(), pre_hooked(norm())),
    forward_of_its_own=lambda: nn.Sequential(own_forward(conv()), norm()),
    call_of_its_own=lambda: nn.Sequential(CalledTwice(3, 3, 3), norm()),
    forward_of_the_sequential=lambda: own_forward(nn.Sequential(conv(), norm())),
    sequential_subclass=lambda: Added(conv(), norm()),
    another_order=lambda: Backwards(norm(), conv()),
    called_in_another_order=lambda: Crossed(conv(), norm()),
    transposed=lambda: nn.Sequential(nn.ConvTranspose2d(3, 3, 3), norm()),
    scripted=lambda: torch.jit.script(nn.Sequential(conv(), norm())))

@pytest.mark.parametrize('name', unsafe)
@pytest.mark.filterwarnings('ignore')
def test_not_folded(name):
    torch.manual_seed(0)
    net = with_stats(nn.Sequential(unsafe[name](), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)))
    assert folds(net, torch.randn(2, 3, 8, 8)) == 0
    assert same_answers(net, 8) < 1e-4

def shared_norm(): n = norm(); return nn.Sequential(conv(), n, conv(), n)
def shared_conv(): c = conv(); return nn.Sequential(nn.Sequential(c, norm()), nn.Sequential(c, norm()))
def shared_block(): b = nn.Sequential(conv(), norm(), nn.ReLU()); return nn.Sequential(b, b, b)
def conv_twice(): c = conv(); return nn.Sequential(c, c, norm())

class Skip(nn.Module):
    "A `Sequential` whose first layer is also called alone, whose norm is looked at, and which small batches pass by"
    def __init__(self): super().__init__(); self.layers = nn.Sequential(conv(), norm())
    def forward(self, x):
        alone = self.layers[0](x)
        return alone + self.layers(x)*self.layers[1].weight.sum() if len(x) > 1 else alone

safe = dict(
    plain=(lambda: nn.Sequential(conv(), norm(), nn.ReLU(), nn.Sequential(conv(), norm(affine=False))), 2),
    shared_norm=(shared_norm, 2),
    shared_conv=(shared_conv, 2),
    shared_block=(shared_block, 1),
    conv_twice=(conv_twice, 1),
    skip=(Skip, 1),
    grouped=(lambda: nn.Sequential(conv(groups=3, bias=False), norm(momentum=None)), 1),
    dilated=(lambda: nn.Sequential(conv(dilation=2), norm()), 1),
    reflected=(lambda: nn.Sequential(conv(padding_mode='reflect'), norm(eps=100.)), 1),
    frozen=(lambda: nn.Sequential(conv(), norm()).requires_grad_(False), 1))

@pytest.mark.parametrize('name', safe)
def test_folded(name):
    torch.manual_seed(0)
    make,n = safe[name]
    net = with_stats(nn.Sequential(make(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)))
    assert folds(net, torch.randn(2, 3, 8, 8), torch.randn(1, 3, 8, 8), torch.randn(4, 3, 6, 6)) == n
    assert same_answers(net, 8) < 1e-4

def test_weights_exchanged_in_between():
    "By hand, and by `functional_call`"
    net = with_stats(nn.Sequential(conv(), norm()))
    x,other = torch.randn(2, 3, 8, 8), {k: v+.1 for k,v in net.state_dict().items() if v.is_floating_point()}
    with torch.no_grad(), fuse_bn(net) as (found,):
        for _ in range(2): net(x)
        plain = with_stats(nn.Sequential(conv(), norm()))
        torch.testing.assert_close(*(torch.func.functional_call(o, other, (x,)) for o in (net, plain)))
        net[0].weight.mul_(2)
        torch.testing.assert_close(net(x), net[1](net[0](x)))
        assert found.pairs

def test_a_hook_on_every_module():
    "Registered for all modules, and registered while they are folded"
    net,x = with_stats(nn.Sequential(conv(), norm())), torch.randn(2, 3, 8, 8)
    with torch.no_grad(), fuse_bn(net):
        for _ in range(2): plain = net(x)
        def double(m, x, out): return out*2 if isinstance(m, nn.Conv2d) else None
        handle = nn.modules.module.register_module_forward_hook(double)
        try: assert not torch.allclose(net(x), plain)
        finally: handle.remove()

def test_a_net_that_cannot_be_copied(folder, net):
    "A lock, a tensor with a history, a forward pass of somebody else's"
    def lock(o): o.lock = threading.Lock()
    def history(o): o.sum = o[0].weight.sum()
    for add in (lock, history, own_forward):
        odd = deepcopy(net)
        add(odd)
        before = {k: v.clone() for k,v in odd.state_dict().items()}
        same_as_get_preds(Learner(rectangles(folder), odd, loss_func=SoftmaxLoss()))
        for k,v in odd.state_dict().items(): assert torch.equal(v, before[k])

timm_nets = '''
    densenet121 densenet169 resnetv2_50d resnetv2_18 resnetv2_18d resnet10t resnet14t resnet18 resnet18d resnet26
    resnet26d resnet26t resnetblur18 resnest14d resnest26d resnext26ts gcresnext26ts eca_resnext26ts seresnext26ts
    seresnext26d_32x4d seresnet18 legacy_seresnet18 skresnet18 ecaresnet26t res2net50_14w_8s botnet26t_256
    halonet26t lambda_resnet26t bat_resnext26ts cspresnet50 cspdarknet53 cspnext_tiny darknet17 dla34 dla46_c dpn48b
    hrnet_w18_small selecsls42 vovnet39a ese_vovnet19b_dw ese_vovnet19b_slim_dw hardcorenas_a regnetx_002
    regnety_002 regnetz_b16 nf_regnet_b0 nf_resnet26 efficientnet_b0 efficientnet_lite0 efficientnet_b0_gn
    efficientnet_blur_b0 efficientnet_cc_b0_4e efficientnetv2_rw_t tf_efficientnet_b0 tf_efficientnet_lite0
    tf_efficientnetv2_b0 tinynet_e mnasnet_050 semnasnet_050 spnasnet_100 fbnetc_100 fbnetv3_b mixnet_s tf_mixnet_s
    mobilenetv1_100 mobilenetv2_050 mobilenetv3_small_050 tf_mobilenetv3_small_075 mobilenetv3_large_075
    mobilenetv4_conv_small mobilenet_edgetpu_v2_xs mobileone_s0 mobilevit_xxs mobilevitv2_050 ghostnet_050
    ghostnetv2_100 ghostnetv3_050 repghostnet_050 repvgg_a0 repvit_m0_9 rexnet_100 rexnetr_100 lcnet_050 hgnetv2_b0
    starnet_s050 fasternet_t0 edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientvit_b0
    efficientvit_m0 fastvit_t8 levit_128s swiftformer_xs poolformer_s12 convnext_atto convnextv2_atto
    inception_next_atto mambaout_femto coat_lite_tiny pvt_v2_b0 visformer_tiny tiny_vit_5m_224 vit_tiny_patch16_224
    vit_tiny_r_s16_p8_224 nextvit_small xception41 inception_v4 gernet_s tresnet_m
    '''.split()

@pytest.fixture
def quick_init(monkeypatch):
    "Weights from one random vector, repeated: a billion normal numbers would take a minute"
    noise = torch.randn(2**16, generator=torch.Generator().manual_seed(0))
    def fill(t, *args, **kwargs):
        with torch.no_grad():
            scale = t[0].numel()**-.5 if t.ndim > 1 else .02
            t.copy_((noise*scale).repeat(-(-t.numel()//len(noise)))[:t.numel()].view(t.shape))
        return t
    for name in ('normal_', 'trunc_normal_', 'kaiming_normal_', 'kaiming_uniform_', 'xavier_uniform_', 'uniform_'):
        monkeypatch.setattr(torch.nn.init, name, fill)

@pytest.mark.slow
def test_every_torchvision_net(quick_init):
    models = pytest.importorskip('torchvision').models
    names = models.list_models(module=models)
    wrong = {}
    for name in names:
        size = 56 if name == 'vit_h_14' else 224 if name.startswith('maxvit') else 96 if name == 'inception_v3' else 64
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')     # two nets announce another way of starting their weights
            net = models.get_model(name, **(dict(image_size=size) if name.startswith('vit') else {}))
        if not (off := same_answers(with_stats(net), size)) < 1e-3: wrong[name] = off
    assert len(names) >= 80 and not wrong

@pytest.mark.slow
def test_a_hundred_timm_nets(quick_init):
    timm = pytest.importorskip('timm')
    wrong = {}
    for name in timm_nets:
        net = timm.create_model(name, num_classes=10)
        large = net.pretrained_cfg.get('fixed_input_size') or name in ('halonet26t', 'bat_resnext26ts', 'inception_v4')
        size = net.pretrained_cfg['input_size'][-1] if large else 64
        if not (off := same_answers(with_stats(net), size)) < 1e-3: wrong[name] = off
    assert len(timm_nets) >= 100 and not wrong
