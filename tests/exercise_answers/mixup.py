"Lesson 08, mixup: two kinds of soft targets, a round patch, and Cutout"
import math, random
import torch
import torch.nn.functional as F
from fastai.torch_core import TensorImage
from . import right, wrong

# Two kinds of soft targets at once

def target(a, b, lam, eps, n):
    mixed = lam*F.one_hot(torch.tensor(a), n) + (1-lam)*F.one_hot(torch.tensor(b), n)
    return (1-eps)*mixed + eps/n

@right('mixed_target')
def as_a_list(a, b, lam, eps, n): return target(a, b, lam, eps, n).tolist()

@wrong('mixed_target', 'first class')
def swapped(a, b, lam, eps, n): return target(b, a, lam, eps, n)

@wrong('mixed_target', 'not smoothed')
def only_mixed(a, b, lam, eps, n): return target(a, b, lam, 0, n)

@wrong('mixed_target', 'ε is applied twice')
def smoothed_twice(a, b, lam, eps, n): return (1-eps)*target(a, b, lam, eps, n) + eps/n

@wrong('mixed_target', 'sums to more than 1')
def epsilon_added_again(a, b, lam, eps, n): return target(a, b, lam, eps, n) + eps/n

# A round patch

def disc(x, row, col, radius):
    h,w = x.shape[-2:]
    return torch.hypot(torch.arange(h)[:,None]-row + 0., torch.arange(w)-col + 0.) <= radius

@right('round_patch')
def patched(x, perm, row, col, radius):
    inside = disc(x, row, col, radius)
    return [torch.where(inside, x[perm], x), (~inside).float().mean().item()]

@wrong('round_patch', 'πr²')
def by_formula(x, perm, row, col, radius):
    return patched(x, perm, row, col, radius)[0], 1-math.pi*radius**2/x[0,0].numel()

@wrong('round_patch', 'not the fraction that is pasted')
def lambda_of_the_other(x, perm, row, col, radius):
    mixed,lam = patched(x, perm, row, col, radius)
    return mixed, 1-lam

@wrong('round_patch', 'row and column')
def transposed(x, perm, row, col, radius): return patched(x, perm, col, row, radius)

@wrong('round_patch', 'is changed')
def in_place(x, perm, row, col, radius):
    mixed,lam = patched(x, perm, row, col, radius)
    return x.copy_(mixed), lam

@wrong('round_patch', 'two things')
def without_lambda(x, perm, row, col, radius): return patched(x, perm, row, col, radius)[0]

@wrong('round_patch', 'inside and outside')
def inside_out(x, perm, row, col, radius):
    inside = disc(x, row, col, radius)
    return torch.where(inside, x, x[perm]), inside.float().mean()

@wrong('round_patch', 'is black')
def black(x, perm, row, col, radius): return x*~disc(x, row, col, radius), patched(x, perm, row, col, radius)[1]

# Cutout

def offset(n, side, inside): return random.randint(0, n-side) if inside else random.randint(0, n-1)-side//2

def cut(x, side, inside=False, channels=3, fill=0., shift=0, diagonal=False):
    "Squares cut out of a copy of `x`; by default as in the paper"
    x = x.clone()
    for im in x:
        i,j = (offset(n, side, inside)+shift for n in x.shape[-2:])
        if diagonal: j = i
        im[:channels, max(i,0):max(i+side,0), max(j,0):max(j+side,0)] = fill
    return x

@right('cutout')
def as_images(x, side): return TensorImage(cut(x, side))

@wrong('cutout', 'lies inside')
def always_inside(x, side): return cut(x, side, inside=True)

@wrong('cutout', 'for each of them')
def one_square_for_all(x, side):
    i,j = (offset(n, side, False) for n in x.shape[-2:])
    x = x.clone()
    x[..., max(i,0):i+side, max(j,0):j+side] = 0
    return x

@wrong('cutout', 'not a corner')
def pixel_as_corner(x, side): return cut(x, side, shift=side//2)

@wrong('cutout', 'diagonal')
def on_the_diagonal(x, side): return cut(x, side, diagonal=True)

@wrong('cutout', 'channels')
def red_only(x, side): return cut(x, side, channels=1)

@wrong('cutout', 'outside of the square')
def grey_square(x, side): return cut(x, side, fill=.5)

@wrong('cutout', 'side of 4')
def half_the_side(x, side): return cut(x, side//2)

@wrong('cutout', 'is changed')
def zeros_in_place(x, side):
    x[..., :side, :side] = 0
    return x

@wrong('cutout', 'no pixel')
def copy_only(x, side): return x.clone()
