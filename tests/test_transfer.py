"Groups and heads on every family of xresnet"
import pytest, torch
from torch import nn
from sota_vision.baseline import make_net
from sota_vision.transfer import new_head, splitter

families = pytest.mark.parametrize('arch', [
    'xresnet10', 'xresnet14', 'xresnet18', 'xresnet18_deeper', 'xse_resnet18', 'xresnext18'])

@families
def test_groups_hold_every_parameter_once(arch):
    net = new_head(make_net(arch, 4), 6)
    groups = splitter(net)
    assert [id(p) for group in groups for p in group] == [id(p) for p in net.parameters()]

@families
def test_head_is_the_last_group(arch):
    early,late,head = splitter(new_head(make_net(arch, 4), 6))
    assert early and late and [tuple(p.shape)[0] for p in head] == [6, 6]

@families
def test_answers_for_the_new_classes(arch):
    with torch.no_grad(): assert new_head(make_net(arch, 4), 6).eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 6)

def test_head_is_fresh():
    net = make_net('xresnet10', 4)
    first,second = new_head(net, 4), new_head(net, 4)
    assert not torch.equal(first[-1].weight, net[-1].weight) and not torch.equal(first[-1].weight, second[-1].weight)

def test_body_is_a_copy():
    net = make_net('xresnet10', 4)
    moved = new_head(net, 6)
    with torch.no_grad(): moved[0][0].weight.zero_()
    assert net[0][0].weight.abs().sum() > 0 and net[-1].out_features == 4

def test_body_keeps_its_weights():
    net = make_net('xresnet10', 4)
    moved = new_head(net, 6)
    assert all(torch.equal(p, q) for p,q in zip(list(net.parameters())[:-2], moved.parameters()))

def test_no_classes():
    with pytest.raises(ValueError, match='n_out=0'): new_head(make_net('xresnet10', 4), 0)

def test_no_linear_layer_at_the_end():
    with pytest.raises(ValueError, match='ends in ReLU'): new_head(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), 3)

def test_linear_layer_without_a_body():
    with pytest.raises(ValueError, match='not an xresnet'): splitter(nn.Sequential(nn.Linear(2, 2)))

def test_convolution_without_stages():
    with pytest.raises(ValueError, match='not an xresnet'): splitter(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Linear(3, 2)))
