"Lesson 05, progressive resizing: what a schedule costs, a staircase, and strength that grows with the size"
import numpy as np
from . import right, wrong

# What a schedule costs

@right('relative_pixels')
def cost(schedule):
    sizes = np.repeat([s for _,s in schedule], [n for n,_ in schedule])
    return (sizes**2).mean()/sizes[-1]**2

@wrong('relative_pixels', 'four times')
def sides_instead_of_areas(schedule): return sum(n*s for n,s in schedule)/sum(n for n,_ in schedule)/schedule[-1][1]

@wrong('relative_pixels', 'divide')
def pixels(schedule): return sum(n*s*s for n,s in schedule)

@wrong('relative_pixels', 'saved')
def savings(schedule): return 1-cost(schedule)

@wrong('relative_pixels', 'count each')
def stages_of_equal_length(schedule): return sum(s*s for _,s in schedule)/len(schedule)/schedule[-1][1]**2

# A staircase

@right('staircase')
def stairs(epochs, sizes):
    each,over = divmod(epochs, len(sizes))
    return tuple((each+1 if i < over else each, s) for i,s in enumerate(sizes))

@wrong('staircase', 'must be used')
def without_remainder(epochs, sizes): return [(epochs//len(sizes), s) for s in sizes]

@wrong('staircase', 'the sizes')
def size_first(epochs, sizes): return [(s, n) for n,s in stairs(epochs, sizes)]

@wrong('staircase', 'whole numbers')
def fractions(epochs, sizes): return [(epochs/len(sizes), s) for s in sizes]

@wrong('staircase', 'pairs')
def one_stage(epochs, sizes): return [(epochs, sizes[-1])]

@wrong('staircase', 'go to the large')
def remainder_last(epochs, sizes):
    each,over = divmod(epochs, len(sizes))
    return [(each + (i >= len(sizes)-over), s) for i,s in enumerate(sizes)]

# Strength that grows with the size

@right('tan_le')
def not_rounded(stages, small, large, weak, strong):
    return np.stack([np.linspace(small, large, stages), np.linspace(weak, strong, stages)], 1)

@wrong('tan_le', 'does not reach')
def a_step_too_many(stages, small, large, weak, strong):
    return [(small+(large-small)*i/stages, weak+(strong-weak)*i/stages) for i in range(stages)]

@wrong('tan_le', 'strength falls')
def falling(stages, small, large, weak, strong): return not_rounded(stages, small, large, strong, weak)

@wrong('tan_le', 'the strength does not')
def constant_strength(stages, small, large, weak, strong): return not_rounded(stages, small, large, weak, weak)

@wrong('tan_le', 'pairs')
def sizes_only(stages, small, large, weak, strong): return [small, large]

@wrong('tan_le', 'this order')
def strength_first(stages, small, large, weak, strong):
    return not_rounded(stages, small, large, weak, strong)[:,::-1].copy()
