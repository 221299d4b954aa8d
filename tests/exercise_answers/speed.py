"Lesson 14, speed: the size of an image cache, a shear, and the roofline"
import torch
from . import right, wrong

# How large is an image cache?

@right('cache_bytes')
def in_bytes(sizes, presize): return sum(3*presize**2*max(s)/min(s) for s in sizes)

@wrong('cache_bytes', 'center crops')
def squares(sizes, presize): return 3*presize**2*len(sizes)

@wrong('cache_bytes', 'three channels')
def one_channel(sizes, presize): return in_bytes(sizes, presize)/3

@wrong('cache_bytes', 'as they are')
def original_size(sizes, presize): return sum(3*w*h for w,h in sizes)

@wrong('cache_bytes', 'float32')
def as_float32(sizes, presize): return 4*in_bytes(sizes, presize)

# One more matrix

@right('shear_map')
def as_a_product(s): return torch.eye(3) + s[:,None,None]*torch.tensor([[0., 1, 0], [0, 0, 0], [0, 0, 0]])

@wrong('shear_map', 'columns slide')
def transposed(s): return as_a_product(s).transpose(1, 2)

@wrong('shear_map', 'wrong sign')
def other_direction(s): return as_a_product(-s)

@wrong('shear_map', 'identity')
def without_identity(s): return as_a_product(s)-torch.eye(3)

# The roofline

@right('roofline')
def lower_limit(intensity, peak, bandwidth): return peak if intensity > peak/bandwidth else intensity*bandwidth

@wrong('roofline', 'slower part')
def higher_limit(intensity, peak, bandwidth): return max(peak, intensity*bandwidth)

@wrong('roofline', 'slower part')
def arithmetic_only(intensity, peak, bandwidth): return peak

@wrong('roofline', 'slower part')
def memory_only(intensity, peak, bandwidth): return intensity*bandwidth

@wrong('roofline', 'do not divide')
def divided(intensity, peak, bandwidth): return min(peak, bandwidth/intensity)
