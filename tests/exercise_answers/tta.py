"Lesson 07, test-time augmentation: another mean, ten crops, and when the views disagree"
import math
import torch
import torch.nn.functional as F
from torchvision.transforms.v2.functional import ten_crop as torchvision_ten_crop
from . import right, wrong

# Another mean

@right('geometric')
def in_float64(probs): return probs.double().log().mean(0).softmax(-1)

@wrong('geometric', 'arithmetic')
def arithmetic(probs): return probs.mean(0)

@wrong('geometric', 'sum to 1')
def not_normalized(probs): return probs.log().mean(0).exp()

@wrong('geometric', 'the product')
def product(probs): return probs.prod(0)/probs.prod(0).sum(-1, True)

@wrong('geometric', 'too small')
def root_of_the_product(probs): return F.normalize(probs.prod(0)**(1/len(probs)), p=1, dim=-1)

# Ten crops

@right('ten_crop')
def of_torchvision(x, size): return torch.stack(torchvision_ten_crop(x, [size, size]))

def views(x, size): return torchvision_ten_crop(x, [size, size])    # four corners, centre; then their mirror images

@wrong('ten_crop', 'ten views')
def without_mirror(x, size): return views(x, size)[:5]

@wrong('ten_crop', 'mirror')
def twice_the_same(x, size): return views(x, size)[:5]*2

@wrong('ten_crop', 'mirror')
def upside_down(x, size): return [*views(x, size)[:5], *(v.flip(-2) for v in views(x, size)[:5])]

@wrong('ten_crop', 'centre')
def without_centre(x, size): return [views(x, size)[i] for i in (0, 0, 1, 2, 3, 5, 5, 6, 7, 8)]

@wrong('ten_crop', 'lower right')
def without_lower_right(x, size): return [views(x, size)[i] for i in (4, 0, 1, 2, 2, 9, 5, 6, 7, 7)]

# When the views disagree

def entropy(probs): return torch.special.entr(probs).sum(-1)

@right('disagreement')
def as_an_array(probs): return (entropy(probs.mean(0))-entropy(probs).mean(0)).numpy()

@wrong('disagreement', 'a term is missing')
def entropy_of_the_mean(probs): return entropy(probs.mean(0))

@wrong('disagreement', 'whether they differ')
def mean_of_the_entropies(probs): return entropy(probs).mean(0)

@wrong('disagreement', 'sign')
def negative(probs): return entropy(probs).mean(0)-entropy(probs.mean(0))

@wrong('disagreement', '0·log 0')
def nan_at_zero(probs):
    mean = probs.mean(0)
    return (probs*probs.log()).sum(-1).mean(0) - (mean*mean.log()).sum(-1)

@wrong('disagreement', 'bits')
def in_bits(probs): return (entropy(probs.mean(0))-entropy(probs).mean(0))/math.log(2)
