"Lesson 04, normalization: there and back, folded into a convolution, adapted to new pictures"
import torch
from fastai.torch_core import TensorImage
from torch import nn, tensor
from . import right, wrong

def channels(values): return tensor(values).view(3, 1, 1)

# There and back

@right('undo')
def as_an_image(x, mean, std): return TensorImage(x*channels(std) + channels(mean))

@wrong('undo', 'second time')
def normalized_again(x, mean, std): return (x-channels(mean))/channels(std)

@wrong('undo', 'order')
def same_order(x, mean, std): return (x+channels(mean))*channels(std)

@wrong('undo', 'must be added')
def mean_subtracted(x, mean, std): return x*channels(std) - channels(mean)

@wrong('undo', 'is changed')
def in_place(x, mean, std): return x.mul_(channels(std)).add_(channels(mean))

@wrong('undo', 'must match')
def without_reshaping(x, mean, std): return x*tensor(std) + tensor(mean)

# Folded into a convolution

def new_conv(conv, weight, bias):
    new = nn.Conv2d(3, conv.out_channels, conv.kernel_size, conv.stride, bias=bias is not None)
    new.weight = nn.Parameter(weight)
    if bias is not None: new.bias = nn.Parameter(bias)
    return new

def old_bias(conv): return torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.clone()
def weight_sum(conv, mean, std): return (conv.weight/channels(std)*channels(mean)).sum((1, 2, 3))

@right('fold')
def folded(conv, mean, std):
    return new_conv(conv, conv.weight/channels(std), old_bias(conv)-weight_sum(conv, mean, std))

@wrong('fold', 'the bias is not')
def only_weights(conv, mean, std): return new_conv(conv, conv.weight/channels(std), old_bias(conv))

@wrong('fold', 'divide the weights')
def times_deviation(conv, mean, std):
    return new_conv(conv, conv.weight*channels(std), old_bias(conv)-weight_sum(conv, mean, std))

@wrong('fold', 'give the new layer one')
def bias_only_if_there_was_one(conv, mean, std):
    bias = None if conv.bias is None else conv.bias-weight_sum(conv, mean, std)
    return new_conv(conv, conv.weight/channels(std), bias)

@wrong('fold', 'is changed')
def overwrites_the_old_layer(conv, mean, std):
    conv.weight.data /= channels(std)
    return conv

@wrong('fold', 'Sequential')
def wrapped(conv, mean, std): return nn.Sequential(conv)

# Adapted to new pictures

def batch_norms(net): return [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]

@right('adabn')
def adapted(net, batches):
    for bn in batch_norms(net): bn.reset_running_stats(); bn.momentum = None
    net.train()
    with torch.no_grad():
        for b in batches: net(b)
    return net.eval()

@wrong('adabn', 'training mode only')
def untouched(net, batches): return net

@wrong('adabn', 'left in training')
def not_set_to_eval(net, batches): return adapted(net, batches).train()

@wrong('adabn', 'weights have moved')
def trained(net, batches):
    net.train()
    opt = torch.optim.SGD(net.parameters(), .1)
    for b in batches[:5]:
        opt.zero_grad()
        net(b).square().mean().backward()
        opt.step()
    return net.eval()

@wrong('adabn', 'old averages')
def without_reset(net, batches):
    net.train()
    for b in batches: net(b)
    return net.eval()

@wrong('adabn', 'return the net')
def statistics_only(net, batches): return [adapted(net, batches)]
