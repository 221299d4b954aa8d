"Lesson 03, presizing: how large to presize, and the crop that trained Inception"
import math, random
import torch
from torchvision.transforms import RandomResizedCrop
from sota_vision.presizing import fill_zoom
from . import right, wrong

# How large to presize

@right('presize_for')
def as_a_float(size, angle, scale): return float(math.ceil(size*fill_zoom(angle)/scale**.5))

@wrong('presize_for', 'fraction of the area')
def scale_as_side(size, angle, scale): return math.ceil(size*fill_zoom(angle)/scale)

@wrong('presize_for', 'ask for more')
def size_itself(size, angle, scale): return size

@wrong('presize_for', 'one pixel too few')
def rounded_down(size, angle, scale): return int(size*fill_zoom(angle)/scale**.5)

@wrong('presize_for', 'radians')
def degrees_as_radians(size, angle, scale):
    return math.ceil(size*(abs(math.cos(angle))+abs(math.sin(angle)))/scale**.5)

# The crop that trained Inception

def box(w, h, area=(.08, 1), ratio=(3/4, 4/3), uniform_side=False):
    "A random box; by default as in the paper"
    while True:
        a = random.uniform(area[0]**.5, 1)**2 if uniform_side else random.uniform(*area)
        r = random.uniform(*ratio)
        bw,bh = round((a*w*h*r)**.5), round((a*w*h/r)**.5)
        if bw <= w and bh <= h: break
    left,top = random.randint(0, w-bw), random.randint(0, h-bh)
    return left, top, left+bw, top+bh

@right('inception_box')
def of_torchvision(w, h):
    top,left,bh,bw = RandomResizedCrop.get_params(torch.empty(3, h, w), (.08, 1), (3/4, 4/3))
    return left, top, left+bw, top+bh

@wrong('inception_box', 'not the side')
def uniform_side(w, h): return box(w, h, uniform_side=True)

@wrong('inception_box', 'between 3/4 and 4/3')
def slim(w, h): return box(w, h, ratio=(.5, 2))

@wrong('inception_box', 'only')
def squares_only(w, h): return box(w, h, ratio=(1, 1))

@wrong('inception_box', 'other areas')
def ignores_the_width(w, h): return box(h, h)

@wrong('inception_box', 'stops at 8')
def tiny_boxes(w, h): return box(w, h, area=(.01, 1))

@wrong('inception_box', 'goes down to 8')
def large_boxes(w, h): return box(w, h, area=(.3, 1))

@wrong('inception_box', 'beyond')
def beyond_the_edge(w, h): return *box(w, h)[:2], w+9, h

@wrong('inception_box', 'upside down')
def corners_swapped(w, h):
    left,top,right,bottom = box(w, h)
    return right, bottom, left, top

@wrong('inception_box', 'four numbers')
def one_number(w, h): return 7

@wrong('inception_box', 'never reach a part')
def always_left(w, h):
    left,top,right,bottom = box(w, h)
    return 0, top, right-left, bottom

@wrong('inception_box', 'along the diagonal')
def one_offset_for_both(w, h):
    left,top,right,bottom = box(w, h)
    bw,bh = right-left,bottom-top
    start = random.randint(0, min(w-bw, h-bh))
    return start, start, start+bw, start+bh
