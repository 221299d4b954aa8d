"CutMix, ResizeMix, manifold mixup: the fraction they claim is the fraction they keep, and nothing is left in the net"
import math, pickle
import pytest, torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn
from fastai.basics import Callback, CancelBatchException, DataLoader, DataLoaders, Learner
from fastai.losses import CrossEntropyLossFlat, LabelSmoothingCrossEntropy
from sota_vision.mixing import CutMix, ManifoldMixup, ResizeMix
from sota_vision.mixing import cutmix, mix_at_layer, rand_bbox, rand_inner_bbox, resizemix
from sota_vision.mixup import blend

few = settings(max_examples=25, deadline=None)
every = pytest.mark.parametrize('make', [CutMix, ResizeMix, ManifoldMixup])

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
@given(st.integers(1, 80), st.integers(1, 80), st.floats(0, 1), st.integers(0, 2**31-1))
def test_the_box_lies_inside(h, w, lam, seed):
    torch.manual_seed(seed)
    top,left,bh,bw = rand_bbox(h, w, lam)
    assert 0 <= top <= top+bh <= h and 0 <= left <= left+bw <= w
    assert bh <= h*math.sqrt(1-lam) + 0.5 and bw <= w*math.sqrt(1-lam) + 0.5

@few
@given(st.integers(2, 40), st.integers(2, 40), st.floats(0.01, 1), st.integers(0, 2**31-1),
       st.sampled_from([cutmix, resizemix]))
def test_lambda_is_the_area(h, w, scale, seed, how):
    torch.manual_seed(seed)
    x = torch.stack([torch.zeros(1, h, w), torch.ones(1, h, w)])
    box = rand_inner_bbox(h, w, scale)
    out,lam = how(x, torch.tensor([1,0]), box)
    assert out.mean((1,2,3)).tolist() == pytest.approx([1-lam, lam], abs=1e-4)
    assert lam == pytest.approx(1 - box[2]*box[3]/(h*w))
    assert x[0].sum() == 0 and x[1].sum() == h*w

@few
@given(st.integers(0, 2**31-1), st.integers(1, 6), st.floats(0, 1))
def test_linear_nets_mix_anywhere(seed, n, lam):
    torch.manual_seed(seed)
    net,x,perm = nn.Sequential(nn.Linear(5,7), nn.Linear(7,4), nn.Linear(4,2)), torch.randn(n,5), torch.randperm(n)
    for layer in net:
        with mix_at_layer(layer, lam, perm): inside = net(x)
        assert torch.allclose(inside, net(blend(x, lam, perm)), atol=1e-5)
        assert not layer._forward_hooks

losses = [CrossEntropyLossFlat(), LabelSmoothingCrossEntropy(),
          nn.CrossEntropyLoss(weight=torch.tensor([1.,2,3])), F.cross_entropy]

@every
@pytest.mark.parametrize('loss', losses)
def test_every_loss(make, loss):
    learn = fit(learner(make(), loss_func=loss))
    assert learn.loss_func is loss and getattr(loss, 'reduction', 'mean') == 'mean'
    assert all(p.isfinite().all() for p in learn.model.parameters())

@every
def test_batch_of_one(make): assert fit(learner(make(), n=4, bs=3)).recorder.losses[-1].isfinite()

@every
def test_soft_targets_and_numbers(make):
    for y,loss in (torch.rand(7,3).softmax(1), nn.CrossEntropyLoss()), (torch.randn(7,3), nn.MSELoss()):
        assert fit(learner(make(), y=y, loss_func=loss)).recorder.losses[-1].isfinite()

@every
def test_pickles(make):
    cb = make()
    assert type(pickle.loads(pickle.dumps(cb))) is type(cb)

@every
def test_pictures_in_memory_stay_whole(make):
    x = torch.randn(7,3,4,4)
    before = x.clone()
    fit(learner(make(), x=x))
    assert torch.equal(x, before)

@every
def test_prediction_is_not_mixed(make):
    learn = fit(learner(make(), n=6), lr=0.)
    x = torch.stack([o[0] for o in learn.dls.valid.dataset])
    with learn.no_bar(): pred,_ = learn.get_preds(ds_idx=0)
    assert torch.allclose(pred, learn.model(x).softmax(1), atol=1e-6)

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

class Stop(nn.Module):
    "Ctrl-C within the forward pass"
    def forward(self, x): raise KeyboardInterrupt

def test_an_interrupted_pass_leaves_nothing():
    learn = learner(ManifoldMixup())
    learn.model.insert(2, Stop())
    with pytest.raises(KeyboardInterrupt): fit(learn)
    assert not [m for m in learn.model.modules() if m._forward_hooks or 'forward' in vars(m)]

def test_layers_must_be_of_the_model():
    with pytest.raises(ValueError, match='not part of the model'): fit(learner(ManifoldMixup(layers=[nn.Linear(1, 1)])))
