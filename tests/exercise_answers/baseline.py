"Lesson 01, the baseline: top-k accuracy, and warm restarts"
import math
from . import right, wrong

# Accuracy with more than one answer

@right('top_k')
def as_a_float(logits, targets, k): return (logits.topk(k).indices == targets[:,None]).any(1).float().mean().item()

@wrong('top_k', 'k=1')
def only_the_largest(logits, targets, k): return (logits.argmax(1) == targets).float().mean()

@wrong('top_k', 'not of all predictions')
def mean_over_answers(logits, targets, k): return (logits.topk(k).indices == targets[:,None]).float().mean()

@wrong('top_k', 'how many there are')
def counted(logits, targets, k): return (logits.topk(k).indices == targets[:,None]).any(1).sum()

# Warm restarts

def cosine(progress, low, high): return low + (high-low)*(1+math.cos(math.pi*progress))/2

@right('sgdr')
def restarts(t, first, mult, low, high):
    while t >= first: t,first = t-first,first*mult
    return cosine(t/first, low, high)

@wrong('sgdr', 'as long as the first')
def equal_periods(t, first, mult, low, high): return restarts(t, first, 1, low, high)

@wrong('sgdr', 'starts again')
def without_restart(t, first, mult, low, high): return cosine(min(t/first, 1), low, high)

@wrong('sgdr', 'is expected')
def mult_of_two_at_most(t, first, mult, low, high): return restarts(t, first, min(mult, 2), low, high)

@wrong('sgdr', 'is expected')
def straight_line(t, first, mult, low, high): return high - (high-low)*(t%first)/first
