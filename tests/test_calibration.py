"Calibration error and log-loss against plain loops, and what is no probability"
import math

import matplotlib.pyplot as plt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from scipy.stats import binomtest

from sota_vision.calibration import ece, log_loss, plot_reliability, reliability

quick = settings(max_examples=40, deadline=None, derandomize=True)

def predictions(seed, n=6, classes=5):
    torch.manual_seed(seed)
    return (2*torch.randn(n, classes)).double().softmax(1), torch.randint(0, classes, (n,))

@quick
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 20))
def test_ece_against_a_loop(seed, classes, bins):
    probs,targets = predictions(seed, classes=classes)
    rows = [(max(p), p.index(max(p)) == t) for p,t in zip(probs.tolist(), targets.tolist())]
    inside = [[r for r in rows if i/bins < r[0] <= (i+1)/bins] for i in range(bins)]
    assert math.isclose(ece(probs, targets, bins), sum(abs(sum(c-ok for c,ok in b)) for b in inside)/6, abs_tol=1e-9)

@quick
@given(st.integers(0, 10_000))
def test_log_loss_is_cross_entropy(seed):
    probs,targets = predictions(seed)
    assert math.isclose(log_loss(probs, targets), F.cross_entropy(probs.log(), targets).item(), abs_tol=1e-6)

def test_log_loss_of_an_impossible_label_is_finite():
    assert 80 < log_loss(torch.tensor([[1., 0.]]), torch.tensor([1])) < 100

def test_ece_of_four_predictions():
    p80 = torch.tensor([[.8, .2]]*4)
    assert ece(p80, torch.tensor([0, 0, 0, 1])) == pytest.approx(.05)
    assert ece(p80.flip(1), torch.tensor([1, 1, 1, 1])) == pytest.approx(.2)

def test_bins_count_every_picture_once():
    probs,targets = predictions(3, n=200)
    count,correct,confidence = reliability(probs, targets, 10)
    assert count.sum() == 200
    assert correct.sum() == (probs.argmax(1) == targets).sum()
    assert ((confidence == 0) == (count == 0)).all()

def test_certainty_falls_into_the_last_bin():
    count,_,confidence = reliability(torch.tensor([[1., 0.]]), torch.tensor([0]), 10)
    assert count.tolist() == [0]*9 + [1] and confidence[-1] == 1

@pytest.mark.parametrize('use', [ece, log_loss, plot_reliability])
@pytest.mark.parametrize('not_probabilities', [
    torch.tensor([[2., -1.], [0., 3.]]), torch.tensor([[.8, .2], [.5, .5]]).log(),
    torch.tensor([[.8, .2], [math.nan, .5]]), torch.tensor([[.9, .9], [.5, .5]])])
def test_logits_are_refused(use, not_probabilities):
    with pytest.raises(ValueError, match='apply softmax first'): use(not_probabilities, torch.tensor([0, 1]))

@pytest.mark.parametrize('use', [ece, log_loss, plot_reliability])
@pytest.mark.parametrize('targets', [[0], [0, 2], [-1, 0], [[1, 0], [0, 1]]])
def test_targets_that_do_not_fit_are_refused(use, targets):
    with pytest.raises(ValueError, match='do not fit'): use(torch.tensor([[.8, .2], [.5, .5]]), torch.tensor(targets))

def test_a_diagram_needs_a_bin():
    with pytest.raises(ValueError, match='at least 1'): ece(torch.tensor([[.8, .2]]), torch.tensor([0]), bins=0)

def test_the_diagram_draws_wilsons_interval():
    probs,targets = torch.tensor([[.8, .2]]*4), torch.tensor([0, 0, 0, 1])
    fig,ax = plt.subplots()
    assert plot_reliability(probs, targets, ax=ax, title='four predictions') is fig
    ci = binomtest(3, 4).proportion_ci(method='wilson')
    (segment,) = ax.containers[1][2][0].get_segments()
    assert sorted(segment[:,1]) == pytest.approx([ci.low, ci.high], abs=1e-6)
    assert 'ECE 5.0 %' in ax.get_title() and 'accuracy 75 %' in ax.get_title()
