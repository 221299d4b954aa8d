"The bonus losses against PyTorch, and what cross-entropy's picture shows"
import pytest
import torch
import torch.nn.functional as F
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
