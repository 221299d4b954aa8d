"The formulas of mixup on random inputs, and the callback beside other losses, targets and interruptions"
import pickle
import pytest, torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn
from fastai.basics import Callback, DataLoader, DataLoaders, Learner
from fastai.losses import CrossEntropyLossFlat, LabelSmoothingCrossEntropy
from fastai.callback.mixup import MixUp
from sota_vision.mix_weights import sample_lambda
from sota_vision.mixup import Mixup, blend, mixed_loss

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
    _,y,_,perm = drawn(seed, n)
    target = blend(F.one_hot(y, 5).float(), lam, perm)
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
@given(st.floats(1e-12, 1e3), st.sampled_from(['paper', 'fastai']), seeds)
def test_lambda_in_range(alpha, how, seed):
    torch.manual_seed(seed)
    lam = sample_lambda(50, alpha, how)
    assert lam.shape == (50,) and lam.dtype == torch.float32
    assert (lam >= (0 if how == 'paper' else 0.5)).all() and (lam <= 1).all()

def per_batch(): return Mixup(how='paper', per_item=False)
every = [Mixup, per_batch]

@pytest.mark.parametrize('make', every)
@pytest.mark.parametrize('loss', [
    CrossEntropyLossFlat(), LabelSmoothingCrossEntropy(),
    nn.CrossEntropyLoss(weight=torch.tensor([1.,2,3])), F.cross_entropy])
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

@pytest.mark.parametrize('n', [3, 4, 5])
def test_a_second_target_follows_its_picture(n):
    "Rows are picked, whatever the shape of a target"
    box = torch.arange(4.*n).reshape(n, 4)
    items = [(o, i, b) for o,i,b in zip(torch.randn(n, 3, 4, 4), torch.randint(3, (n,)), box)]
    dls = DataLoaders(*[DataLoader(items, bs=n, n_inp=1)]*2, device=torch.device('cpu'))
    dls.n_inp,seen = 1, []
    class Seen(Callback):
        def after_batch(self): seen.append((self.yb[1], self.mixup.other[1]))
    class Both:
        reduction = 'mean'
        def __call__(self, pred, y, box): return F.cross_entropy(pred, y, reduction=self.reduction)
    fit(Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), loss_func=Both(), cbs=[Mixup(how='paper'), Seen()]))
    rows = {tuple(o) for o in box.tolist()}
    assert seen and all(tuple(o) in rows for pair in seen for part in pair for o in part.tolist())

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

def test_prediction_is_not_mixed():
    learn = fit(learner(Mixup(), n=6), lr=0.)
    x = torch.stack([o[0] for o in learn.dls.valid.dataset])
    with learn.no_bar(): pred,_ = learn.get_preds(ds_idx=0)
    assert torch.allclose(pred, learn.model(x).softmax(1), atol=1e-6)

class Interrupt(Callback):
    "Ctrl-C in the second batch"
    def after_pred(self):
        if self.iter == 1: raise KeyboardInterrupt

def test_an_interrupted_fit_keeps_the_loss():
    learn = learner(Mixup(), Interrupt())
    loss = learn.loss_func
    with pytest.raises(KeyboardInterrupt): fit(learn)
    assert learn.loss_func is loss

class Unmixed(Mixup):
    "λ = 1: every picture is itself"
    def draw(self, n): return torch.ones(1)

def weights(learn): return torch.cat([p.detach().flatten() for p in learn.model.parameters()])

def test_class_weights():
    "Without mixing the callback must train as the weighted loss alone does"
    loss = CrossEntropyLossFlat(weight=torch.tensor([1.,5.,0.2]))
    torch.testing.assert_close(weights(fit(learner(Unmixed(), loss_func=loss))), weights(fit(learner(loss_func=loss))))

def test_soft_targets_equal_labels():
    labels = torch.randint(3, (7,))
    hard = fit(learner(Mixup(), y=labels))
    soft = fit(learner(Mixup(), y=F.one_hot(labels, 3).float(), loss_func=nn.CrossEntropyLoss()))
    torch.testing.assert_close(weights(hard), weights(soft))

def test_equals_fastai():
    torch.testing.assert_close(weights(fit(learner(Mixup(.4), n=8, bs=4))), weights(fit(learner(MixUp(.4), n=8, bs=4))))

def test_validation_is_plain():
    learn = fit(learner(Mixup()), lr=0.)
    x,y = zip(*learn.dls.valid.dataset)
    unmixed = F.cross_entropy(learn.model(torch.stack(x)), torch.stack(y)).item()
    assert learn.recorder.values[-1][1] == pytest.approx(unmixed, abs=1e-5)

class HeavierFirst(Callback):
    "The label that stays in `yb` has the larger weight"
    run_valid = False
    def after_loss(self): assert (self.mixup.lam >= .5).all()

def test_the_heavier_label_stays(): fit(learner(Mixup(how='paper'), HeavierFirst()))

@pytest.mark.parametrize('alpha', [0, -.4, float('nan'), float('inf')])
def test_wrong_alpha(alpha):
    for make in (Mixup, lambda a: sample_lambda(alpha=a)):
        with pytest.raises(ValueError, match='needs a positive number'): make(alpha)

def test_wrong_values():
    with pytest.raises(ValueError, match="choose 'paper' or 'fastai'"): Mixup(how='gamma')
    with pytest.raises(ValueError, match='one-hot'): blend(torch.arange(4), .3, torch.arange(4))
    with pytest.raises(ValueError, match='4 items need as many partners and weights'):
        blend(torch.rand(4), torch.rand(2), torch.arange(4))

@pytest.mark.parametrize('alpha', [1e-6, 5e-3, .4, 4])
def test_moments_of_beta(alpha):
    torch.manual_seed(0)
    lam = sample_lambda(100_000, alpha, 'paper')
    assert lam.mean().item() == pytest.approx(.5, abs=.01)
    assert lam.var().item() == pytest.approx(1/(4*(2*alpha+1)), abs=.01)

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('make', every)
def test_fp16_on_the_gpu(make):
    learn = learner(make(), n=64, bs=8)
    learn.dls.to(torch.device('cuda'))
    learn.model.cuda()
    assert fit(learn.to_fp16()).recorder.losses[-1].isfinite()
