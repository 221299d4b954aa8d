"One-cycle against fastai's own schedule, and the architectures"
import numpy as np
import pytest, torch
from fastai.callback.schedule import combined_cos
from hypothesis import given, settings, strategies as st
from sota_vision.baseline import archs, make_net, one_cycle

@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 60), lr=st.floats(1e-6, 10), pct=st.floats(.05, .95),
       div=st.floats(1, 100), final=st.floats(1, 1e6))
def test_one_cycle(n, lr, pct, div, final):
    pct = np.float32(pct).item()
    lrs,moms = one_cycle(n, lr, pct, div, final)
    at = [i/n for i in range(n)]
    rate,mom = combined_cos(pct, lr/div, lr, lr/final), combined_cos(pct, .95, .85, .95)
    assert lrs == pytest.approx([rate(t) for t in at], rel=1e-3, abs=1e-5*lr)
    assert moms == pytest.approx([mom(t) for t in at], rel=1e-4)
    assert len(lrs) == n and lrs.max() <= lr*(1+1e-9) and (lrs > 0).all()

def test_archs():
    assert {'xresnet10', 'xresnet18', 'xresnet34', 'xresnet50', 'xse_resnext50'} <= archs.keys()

@pytest.mark.parametrize('arch', ['xresnet10', 'xresnet14', 'xresnet18', 'xse_resnet18', 'xresnext18'])
def test_logits_for_any_size(arch):
    net = make_net(arch, 4).eval()
    for size in (32, 48): assert net(torch.zeros(2, 3, size, size)).shape == (2, 4)

def test_unknown_architecture():
    with pytest.raises(ValueError, match="unknown architecture 'resnet'"): make_net('resnet', 10)
