"One-cycle against fastai's own schedule; groups and heads on every family of xresnet"
import numpy as np
import pytest, torch
from fastai.callback.schedule import combined_cos
from hypothesis import given, settings, strategies as st
from torch import nn
from sota_vision.training import archs, make_net, new_head, one_cycle, split_net

@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 60), lr=st.floats(1e-6, 10), pct=st.floats(.05, .95), div=st.floats(1, 100), final=st.floats(1, 1e6))
def test_one_cycle(n, lr, pct, div, final):
    pct = np.float32(pct).item()
    lrs,moms = one_cycle(n, lr, pct, div, final)
    at = [i/n for i in range(n)]
    rate,mom = combined_cos(pct, lr/div, lr, lr/final), combined_cos(pct, .95, .85, .95)
    assert lrs == pytest.approx([rate(t) for t in at], rel=1e-3, abs=1e-5*lr)
    assert moms == pytest.approx([mom(t) for t in at], rel=1e-4)
    assert len(lrs) == n and lrs.max() <= lr*(1+1e-9) and (lrs > 0).all()

small = ['xresnet10', 'xresnet18', 'xresnet18_deeper', 'xse_resnet18', 'xresnext18']

@pytest.mark.parametrize('arch', small)
def test_groups(arch):
    net = new_head(make_net(arch, 4), 6)
    groups = split_net(net)
    assert [id(p) for g in groups for p in g] == [id(p) for p in net.parameters()]
    assert len(groups) == 3 and len(groups[-1]) == 2 and groups[-1][0].shape[0] == 6

def test_head_is_fresh():
    torch.manual_seed(0)
    net = make_net('xresnet10', 4)
    a,b = new_head(net, 4),new_head(net, 4)
    assert not torch.equal(a[-1].weight, b[-1].weight) and not torch.equal(a[-1].weight, net[-1].weight)
    assert all(torch.equal(p, q) and p is not q for p,q in zip(list(net.parameters())[:-2], a.parameters()))

def test_archs():
    assert {'xresnet10', 'xresnet18', 'xresnet34', 'xresnet50', 'xse_resnext50'} <= archs.keys()

@pytest.mark.parametrize('net', [nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Conv2d(3, 3, 1), nn.Linear(3, 2))])
def test_no_xresnet(net):
    with pytest.raises(ValueError, match='not an xresnet'): split_net(net)
