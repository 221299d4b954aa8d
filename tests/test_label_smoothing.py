"Label smoothing on random inputs: its targets, its loss, its gradient, its margin"
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from fastai.callback.mixup import MixUp
from fastai.data.core import DataLoaders
from fastai.vision.all import Learner
from hypothesis import given, settings, strategies as st
from torch import nn

from sota_vision.label_smoothing import LabelSmoothing, optimal_margin, plot_label_smoothing, smooth_targets

quick = settings(max_examples=40, deadline=None, derandomize=True)
epsilons = st.floats(0, .99)
classes = st.integers(2, 12)
seeds = st.integers(0, 10_000)

def batch(seed, n, *more, scale=3.):
    "Six items of `n` classes: logits, class indices, class weights, probabilities as targets"
    torch.manual_seed(seed)
    logits = scale*torch.randn(6, n, *more, dtype=torch.double)
    return logits, torch.randint(0, n, (6, *more)), torch.rand(n)+.1, torch.randn(6, n, *more).double().softmax(1)

@quick
@given(seeds, classes, epsilons)
def test_targets_are_probabilities(seed, n, eps):
    _,y,_,soft = batch(seed, n)
    q = smooth_targets(y, n, eps)
    torch.testing.assert_close(q.sum(1), torch.ones(6))
    torch.testing.assert_close(q.gather(1, y[:,None])[:,0], torch.full((6,), 1-eps+eps/n))
    torch.testing.assert_close(smooth_targets(F.one_hot(y, n).float(), n, eps), q)
    torch.testing.assert_close(smooth_targets(soft, n, eps).sum(1), torch.ones(6).double())

def test_the_chapters_numbers():
    torch.testing.assert_close(smooth_targets(torch.tensor(1), 5), torch.tensor([.02, .92, .02, .02, .02]))
    torch.testing.assert_close(smooth_targets(torch.tensor(0), 10)[:2], torch.tensor([.91, .01]))

@quick
@given(seeds, classes, epsilons, st.sampled_from(['mean', 'sum', 'none']), st.booleans(),
       st.sampled_from(['plain', 'ignored', 'soft']), st.sampled_from([(), (3,4)]))
def test_loss_is_the_cross_entropy_of_smoothed_targets(seed, n, eps, reduction, weighted, kind, more):
    z,y,w,soft = batch(seed, n, *more)
    w = w.double() if weighted else None
    if kind == 'ignored': y.view(-1)[::3] = -100
    loss = LabelSmoothing(eps, weight=w, reduction=reduction)(z, soft if kind == 'soft' else y)
    counts = y != -100
    q = soft if kind == 'soft' else F.one_hot(y.where(counts, 0), n).movedim(-1, 1).double()
    weights = torch.ones(n).double() if w is None else w.float().double()
    each = -(weights.view(1, n, *[1]*len(more)) * smooth_targets(q, n, eps) * z.log_softmax(1)).sum(1)
    if kind != 'soft': each = each.where(counts, 0)
    total = each.numel() if kind == 'soft' else weights[y.where(counts, 0)].where(counts, 0).sum()
    want = dict(none=each, sum=each.sum(), mean=each.sum()/total)[reduction]
    torch.testing.assert_close(loss, want)

@quick
@given(seeds, classes, epsilons)
def test_gradient_is_softmax_minus_target_and_bounded(seed, n, eps):
    z,y,_,_ = batch(seed, n, scale=300.)
    z.requires_grad_()
    LabelSmoothing(eps, reduction='sum')(z, y).backward()
    torch.testing.assert_close(z.grad, z.softmax(1) - smooth_targets(y, n, eps), check_dtype=False, atol=1e-6, rtol=0)
    assert z.grad.abs().max() <= 1

@quick
@given(seeds, classes, epsilons)
def test_mixed_losses_are_the_loss_of_mixed_targets(seed, n, eps):
    z,y,_,_ = batch(seed, n)
    each = LabelSmoothing(eps, reduction='none')
    y1,lam = y.flip(0), torch.linspace(0, 1, 6).double()
    mixed = F.one_hot(y1, n).double().lerp(F.one_hot(y, n).double(), lam[:,None])
    torch.testing.assert_close(each(z, y1).lerp(each(z, y), lam), each(z, mixed))

@quick
@given(st.floats(1e-6, .99), st.integers(2, 2000))
def test_gradient_is_zero_at_the_optimal_margin(eps, n):
    z = F.pad(torch.tensor([[optimal_margin(eps, n)]], dtype=torch.double), (0, n-1)).requires_grad_()
    F.cross_entropy(z, torch.tensor([0]), label_smoothing=eps).backward()
    assert z.grad.abs().max() < 1e-9

def test_hard_targets_have_no_finite_margin():
    assert optimal_margin(0, 10) == math.inf

def test_minus_infinity_where_nothing_is_asked():
    z,y = torch.tensor([[1., -math.inf, 2.]], requires_grad=True), torch.tensor([0])
    loss = LabelSmoothing(0)(z, y)
    torch.testing.assert_close(loss, F.cross_entropy(z, y))
    loss.backward()
    assert z.grad.isfinite().all()

def test_bfloat16_and_pickle():
    z,y,w,_ = batch(0, 5)
    loss = pickle.loads(pickle.dumps(LabelSmoothing(.2, weight=w)))
    assert loss(z.bfloat16(), y).dtype == torch.bfloat16
    torch.testing.assert_close(loss(z, y), F.cross_entropy(z, y, weight=w.double(), label_smoothing=.2))

def test_a_learner_finds_activation_and_decodes_and_mixup_may_stand_beside_it():
    torch.manual_seed(0)
    pairs = list(zip(torch.randn(30, 4), torch.randint(0, 3, (30,))))
    dls = DataLoaders.from_dsets(pairs, pairs, bs=8, num_workers=0, device='cpu')
    learn = Learner(dls, nn.Linear(4, 3), LabelSmoothing(), cbs=MixUp(.4))
    with learn.no_bar(), learn.no_logging():
        learn.fit(2, 1e-3)
        probs,_,predicted = learn.get_preds(with_decoded=True)
    assert learn.loss_func.reduction == 'mean'
    torch.testing.assert_close(probs.sum(1), torch.ones(30))
    assert torch.equal(predicted, probs.argmax(1))

@pytest.mark.parametrize('eps', [1, 1.5, -.1, math.nan])
def test_an_impossible_epsilon_gets_a_sentence(eps):
    for use in (LabelSmoothing, lambda e: smooth_targets(torch.tensor(1), 5, e), lambda e: optimal_margin(e, 10)):
        with pytest.raises(ValueError, match='0 ≤ ε < 1'): use(eps)

@pytest.mark.parametrize('weight', [[1., 2.], [2.], 2., [[1., 1., 1.]], [1.]*4])
@pytest.mark.parametrize('target', [torch.tensor([0, 1]), torch.full((2, 3), 1/3)])
def test_class_weights_that_do_not_fit_get_a_sentence(weight, target):
    with pytest.raises(ValueError, match='one for each of the 3 classes'):
        LabelSmoothing(weight=weight)(torch.zeros(2, 3), target)

def test_the_plot_shows_target_loss_and_gradient():
    fig = plot_label_smoothing(.1, 10, margin=8)
    z = torch.tensor([8.] + 9*[0.], requires_grad=True)
    loss = F.cross_entropy(z, torch.tensor(0), label_smoothing=.1)
    loss.backward()
    assert [b.get_height() for b in fig.axes[0].patches[:2]] == pytest.approx([.91, .01])
    assert fig.axes[1].lines[-1].get_ydata()[0] == pytest.approx(loss.item(), abs=1e-5)
    assert fig.axes[2].lines[2].get_ydata()[0] == pytest.approx(z.grad[0].item(), abs=1e-6)
    assert 'overconfident' in fig.axes[0].get_title()

@pytest.mark.parametrize('eps, n, margin', [(0, 10, 8), (.1, 2, -3), (.9, 1000, 20)])
def test_the_plot_at_the_edges(eps, n, margin):
    assert len(plot_label_smoothing(eps, n, margin).axes) == 3
