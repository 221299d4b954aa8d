"The bonus losses against PyTorch, and what cross-entropy's picture shows"
import pytest
import torch
import torch.nn.functional as F
from fastai.vision.all import DataLoader, DataLoaders, Learner
from hypothesis import given, settings, strategies as st

from sota_vision.cross_entropy import plot_cross_entropy
from sota_vision.losses import bce_loss, focal_loss, hinge_loss, mse_loss

@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(2, 12), st.floats(0, 5))
def test_other_losses(seed, n, gamma):
    torch.manual_seed(seed)
    z,y = 3*torch.randn(6, n, dtype=torch.double), torch.randint(0, n, (6,))
    hot,ce = F.one_hot(y, n).double(), F.cross_entropy(z, y, reduction='none')
    torch.testing.assert_close(mse_loss(z, y), (z.softmax(1)-hot).pow(2).sum()/6)
    torch.testing.assert_close(bce_loss(z, y), F.binary_cross_entropy_with_logits(z, hot, reduction='sum')/6)
    torch.testing.assert_close(hinge_loss(z, y), F.multi_margin_loss(z, y)*n)
    torch.testing.assert_close(focal_loss(z, y, gamma), ((1-(-ce).exp())**gamma*ce).mean())

@pytest.mark.parametrize('gamma', [.1, .5, 1, 2])
def test_focal_loss_of_a_certain_picture(gamma):
    "A power below 1 has an infinite slope where p is 1"
    z = torch.tensor([[20., 0, 0], [1, 0, 0], [200, 0, 0]], requires_grad=True)
    focal_loss(z, torch.tensor([0, 1, 0]), gamma).backward()
    assert z.grad.isfinite().all() and z.grad[1].abs().sum() > 0

@pytest.mark.parametrize('loss', [mse_loss, bce_loss, focal_loss, hinge_loss])
def test_losses_as_fastai_asks(loss):
    "A loss of each picture, probabilities, and classes"
    z,y = torch.randn(6, 3), torch.randint(3, (6,))
    torch.testing.assert_close(loss(z, y, reduction='none').mean(), loss(z, y))
    torch.testing.assert_close(loss(z, y, reduction='sum'), 6*loss(z, y))
    items = list(zip(torch.randn(6, 3), y))
    dls = DataLoaders(DataLoader(items, bs=3), DataLoader(items, bs=3), device=torch.device('cpu'))
    learn = Learner(dls, torch.nn.Linear(3, 3), loss_func=loss)
    with learn.no_bar():
        got,_,classes,losses = learn.get_preds(with_decoded=True, with_loss=True)
    assert losses.shape == (6,) and torch.equal(classes, got.argmax(1))
    if loss is not hinge_loss: assert got.min() >= 0 and got.max() <= 1

def test_impossible_settings_get_a_sentence():
    z,y = torch.zeros(2, 3), torch.tensor([0, 1])
    with pytest.raises(ValueError, match='0 or more'): focal_loss(z, y, -1)
    with pytest.raises(ValueError, match='more than 0'): hinge_loss(z, y, 0)

def test_the_picture_of_cross_entropy_shows_autograds_gradient():
    z = torch.tensor([2., 4.5, -1., .5, 3.], requires_grad=True)
    F.cross_entropy(z, torch.tensor(4)).backward()
    bars = plot_cross_entropy(z.tolist(), 4).axes[2].patches
    assert [b.get_height() for b in bars] == pytest.approx(z.grad.tolist(), abs=1e-6)

@pytest.mark.parametrize('logits, target, says', [([1, 2], 2, '0 to 1'), ([1, 2], -1, '0 to 1'),
                                                  ([[1, 2]], 0, 'one number per class'), ([1], 0, 'at least two')])
def test_logits_that_cannot_be_drawn_get_a_sentence(logits, target, says):
    with pytest.raises(ValueError, match=says): plot_cross_entropy(logits, target)
