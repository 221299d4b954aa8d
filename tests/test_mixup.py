"Random inputs for the formulas of mixup, and the cases that need a device or two inputs"
import math, pickle
import pytest, torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn
from fastai.basics import Callback, CancelBatchException, DataLoader, DataLoaders, Learner
import fastai.callback.all  # puts `no_bar` and `to_fp16` onto `Learner`
from fastai.losses import CrossEntropyLossFlat, LabelSmoothingCrossEntropy
from sota_vision.mixup import *

few = settings(max_examples=25, deadline=None)
sizes, seeds, shares = st.integers(1, 9), st.integers(0, 2**31-1), st.floats(0, 1)

def drawn(seed, n, classes=5):
    torch.manual_seed(seed)
    return torch.randn(n, classes), torch.randint(classes, (n,)), torch.rand(n), torch.randperm(n)

def learner(*cbs, n=7, bs=3, loss_func=None, y=None, x=None):
    torch.manual_seed(0)
    x = torch.randn(n, 3, 4, 4) if x is None else x
    items = list(zip(x, torch.randint(3, (n,)) if y is None else y))
    dls = DataLoaders(DataLoader(items, bs=bs), DataLoader(items, bs=bs), device=torch.device('cpu'))
    net = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(48, 6), nn.ReLU()), nn.Linear(6, 3))
    return Learner(dls, net, loss_func=loss_func or CrossEntropyLossFlat(), cbs=list(cbs))

def fit(learn, epochs=1, lr=0.01):
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs, lr)
    return learn

@few
@given(seeds, sizes)
def test_blend_is_the_formula(seed, n):
    x,_,lam,perm = drawn(seed, n)
    expected = torch.stack([lam[i]*x[i] + (1-lam[i])*x[perm[i]] for i in range(n)])
    assert torch.allclose(blend(x, lam, perm), expected, atol=1e-6)

@few
@given(seeds, sizes, shares)
def test_swapping_the_roles_changes_nothing(seed, n, lam):
    x,_,_,perm = drawn(seed, n)
    back = blend(x, 1-lam, perm.argsort())
    assert torch.allclose(blend(x, lam, perm), back[perm], atol=1e-5)

@few
@given(seeds, sizes, shares)
def test_targets_stay_a_distribution(seed, n, lam):
    x,y,_,perm = drawn(seed, n)
    target = mix(x, F.one_hot(y, 5).float(), lam, perm)[1]
    assert torch.allclose(target.sum(1), torch.ones(n), atol=1e-6) and (target >= 0).all()

@few
@given(seeds, sizes, st.floats(0, 0.9), st.booleans(), st.sampled_from(['mean', 'sum', 'none']))
def test_two_losses_equal_one_hot(seed, n, eps, per_item, reduction):
    logits,y,lam,perm = drawn(seed, n)
    lam = lam if per_item else lam[:1]
    loss = nn.CrossEntropyLoss(label_smoothing=eps, reduction=reduction)
    expected = loss(logits, blend(F.one_hot(y, 5).float(), lam, perm))
    assert torch.allclose(mixed_loss(loss, logits, y, y[perm], lam), expected, atol=1e-4)
    assert loss.reduction == reduction

@few
@given(st.floats(1e-12, 1e3), st.sampled_from(['paper', 'fastai', 'chapter']), seeds)
def test_lambda_in_range(alpha, how, seed):
    torch.manual_seed(seed)
    lam = draw_lambda(50, alpha, how)
    assert lam.shape == (50,) and lam.dtype == torch.float32
    assert (lam >= (0 if how == 'paper' else 0.5)).all() and (lam <= 1).all()

@few
@given(st.integers(1, 80), st.integers(1, 80), shares, seeds)
def test_cut_box_lies_inside(h, w, lam, seed):
    torch.manual_seed(seed)
    top,left,bh,bw = cut_box(h, w, lam)
    assert 0 <= top <= top+bh <= h and 0 <= left <= left+bw <= w
    assert bh <= h*math.sqrt(1-lam) + 0.5 and bw <= w*math.sqrt(1-lam) + 0.5

@few
@given(st.integers(2, 40), st.integers(2, 40), st.floats(0.01, 1), seeds, st.sampled_from([cutmix, resizemix]))
def test_share_is_the_area(h, w, scale, seed, how):
    torch.manual_seed(seed)
    x = torch.stack([torch.zeros(1, h, w), torch.ones(1, h, w)])
    box = inner_box(h, w, scale)
    out,lam = how(x, torch.tensor([1,0]), box)
    assert out.mean((1,2,3)).tolist() == pytest.approx([1-lam, lam], abs=1e-4)
    assert lam == pytest.approx(1 - box[2]*box[3]/(h*w))
    assert x[0].sum() == 0 and x[1].sum() == h*w

@few
@given(seeds, st.integers(1, 6), shares)
def test_linear_nets_mix_anywhere(seed, n, lam):
    torch.manual_seed(seed)
    net,x,perm = nn.Sequential(nn.Linear(5,7), nn.Linear(7,4), nn.Linear(4,2)), torch.randn(n,5), torch.randperm(n)
    for layer in net:
        with mixed_at(layer, lam, perm): inside = net(x)
        assert torch.allclose(inside, net(blend(x, lam, perm)), atol=1e-5)
        assert not layer._forward_hooks

every = [Mixup, lambda: Mixup(how='paper', per_item=False), CutMix, ResizeMix, ManifoldMixup]

@pytest.mark.parametrize('make', every)
@pytest.mark.parametrize('loss', [CrossEntropyLossFlat(), LabelSmoothingCrossEntropy(), nn.CrossEntropyLoss(weight=torch.tensor([1.,2,3])), F.cross_entropy])
def test_every_callback_with_every_loss(make, loss):
    learn = fit(learner(make(), loss_func=loss))
    assert learn.loss_func is loss and getattr(loss, 'reduction', 'mean') == 'mean'
    assert all(p.isfinite().all() for p in learn.model.parameters())

@pytest.mark.parametrize('make', every)
def test_batch_of_one(make): assert fit(learner(make(), n=4, bs=3)).recorder.losses[-1].isfinite()

@pytest.mark.parametrize('make', every)
def test_soft_targets_and_numbers(make):
    fit(learner(make(), y=torch.rand(7,3).softmax(1), loss_func=nn.CrossEntropyLoss()))
    fit(learner(make(), y=torch.randn(7,3), loss_func=nn.MSELoss()))

@pytest.mark.parametrize('make', every)
def test_callbacks_pickle(make):
    cb = make()
    assert pickle.loads(pickle.dumps(cb)).__class__ is cb.__class__

def test_a_loss_without_reduction_gets_one_weight():
    seen = []
    class Seen(Callback):
        run_valid = False
        order = 1
        def after_loss(self): seen.append(self.mixup.lam.numel())
    def loss(pred, y): return F.cross_entropy(pred, y)
    fit(learner(Mixup(), Seen(), loss_func=loss))
    fit(learner(Mixup(), Seen(), loss_func=F.cross_entropy))
    assert seen == [1,1,1, 3,3,1]

def test_masks_as_labels():
    x,y = torch.randn(5,3,4,4), torch.randint(2, (5,4,4))
    learn = learner(Mixup(), x=x, y=y, loss_func=nn.CrossEntropyLoss())
    learn.model = nn.Sequential(nn.Conv2d(3, 2, 1))
    assert fit(learn).recorder.losses[-1].isfinite()

def test_training_pictures_in_memory_stay_whole():
    x = torch.randn(7,3,4,4)
    before = x.clone()
    for make in every: fit(learner(make(), x=x))
    assert torch.equal(x, before)

def test_an_instance_forward_survives_manifold_mixup():
    learn = learner(ManifoldMixup())
    own = learn.model.forward
    learn.model.forward = own
    fit(learn)
    assert vars(learn.model)['forward'] is own

def test_a_cancelled_batch_leaves_no_wrapper():
    class Skip(Callback):
        order = 5
        def before_batch(self): raise CancelBatchException
    learn = learner(ManifoldMixup(), Skip())
    learn.manifold_mixup.layers = [learn.model[1]]
    fit(learn)
    assert 'forward' not in vars(learn.model)

def test_prediction_is_not_mixed():
    learn = fit(learner(Mixup(), CutMix(), n=6), lr=0.)
    x = torch.stack([o[0] for o in learn.dls.valid.dataset])
    with learn.no_bar(): pred,_ = learn.get_preds(ds_idx=0)
    assert torch.allclose(pred, learn.model(x).softmax(1), atol=1e-6)

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('make', every)
def test_fp16_on_the_gpu(make):
    learn = learner(make(), n=64, bs=8)
    learn.dls.to(torch.device('cuda'))
    learn.model.cuda()
    assert fit(learn.to_fp16()).recorder.losses[-1].isfinite()
