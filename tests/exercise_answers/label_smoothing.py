"Lesson 10, label smoothing: the lowest possible loss, and another prior"
import math
import torch
import torch.nn.functional as F
from . import right, wrong

# The lowest possible loss

def smoothed(eps, n): return torch.tensor([1-eps+eps/n] + [eps/n]*(n-1))

@right('lowest_loss')
def entropy(eps, n): return torch.special.entr(smoothed(eps, n)).sum()

@wrong('lowest_loss', 'wrong classes')
def right_class_only(eps, n): return -math.log(1-eps+eps/n)

@wrong('lowest_loss', 'sign')
def negative(eps, n): return -entropy(eps, n)

@wrong('lowest_loss', 'right one too')
def shared_by_the_others(eps, n): return torch.special.entr(torch.tensor([1-eps] + [eps/(n-1)]*(n-1))).sum()

@wrong('lowest_loss', 'bits')
def in_bits(eps, n): return entropy(eps, n)/math.log(2)

@wrong('lowest_loss', 'logarithm of 0')
def nan_at_zero(eps, n):
    q = smoothed(eps, n)
    return -(q*q.log()).sum()

# Another prior

@right('prior_loss')
def as_a_float(logits, targets, prior, eps):
    soft = (1-eps)*F.one_hot(targets, logits.shape[1]) + eps*prior
    return -(soft*logits.log_softmax(1)).sum(1).mean().item()

@wrong('prior_loss', 'no effect')
def plain(logits, targets, prior, eps): return F.cross_entropy(logits, targets)

@wrong('prior_loss', 'not used')
def uniform_prior(logits, targets, prior, eps): return F.cross_entropy(logits, targets, label_smoothing=eps)

@wrong('prior_loss', 'take the mean')
def summed(logits, targets, prior, eps): return len(logits)*as_a_float(logits, targets, prior, eps)

@wrong('prior_loss', 'do not divide')
def divided_by_classes(logits, targets, prior, eps): return as_a_float(logits, targets, prior/len(prior), eps)
