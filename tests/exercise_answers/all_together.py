"Lesson 13, all together: what was changed, how many seeds, and no bias decay"
import json, math
from statistics import stdev
import numpy as np
from scipy.stats import t as student_t
from sota_vision.recipe import to_json
from . import right, wrong

# What was changed?

@right('differing')
def from_json(a, b):
    a,b = json.loads(to_json(a)), json.loads(to_json(b))
    return {k: [a[k], b[k]] for k in a if a[k] != b[k]}

@wrong('differing', 'both values')
def new_values_only(a, b): return {k: v for k,v in vars(b).items() if v != vars(a)[k]}

@wrong('differing', 'equal in both')
def every_field(a, b): return {k: (v, vars(b)[k]) for k,v in vars(a).items()}

@wrong('differing', 'wrong way')
def swapped(a, b): return from_json(b, a)

@wrong('differing', 'a list')
def names_only(a, b): return list(from_json(a, b))

@wrong('differing', 'not named')
def nothing(a, b): return {}

# How many seeds?

def half_width(diffs, n): return student_t.ppf(.975, n-1)*stdev(diffs)/math.sqrt(n)

@right('seeds_needed')
def as_a_float(diffs, half): return float(next(n for n in range(2, 999) if half_width(diffs, n) <= half))

def by_formula(quantile, sd, half): return max(2, math.ceil((quantile*sd/half)**2))

@wrong('seeds_needed', 'normal')
def normal_distribution(diffs, half): return by_formula(1.96, stdev(diffs), half)

@wrong('seeds_needed', 'the t of the pilot')
def t_of_the_pilot(diffs, half): return by_formula(student_t.ppf(.975, len(diffs)-1), stdev(diffs), half)

@wrong('seeds_needed', 'one too few')
def one_too_few(diffs, half): return as_a_float(diffs, half)-1

@wrong('seeds_needed', 'pstdev')
def population_deviation(diffs, half): return as_a_float(np.array(diffs)*math.sqrt(1-1/len(diffs)), half)

@wrong('seeds_needed', 'to one side')
def whole_width(diffs, half): return as_a_float(diffs, half/2)

# No bias decay

@right('decay_groups')
def in_a_list(net):
    params = list(net.parameters())
    return [[p for p in params if p.ndim > 1], [p for p in params if p.ndim == 1]]

@wrong('decay_groups', 'γ and β')
def by_name(net):
    params = dict(net.named_parameters())
    return [p for n,p in params.items() if not n.endswith('bias')], [p for n,p in params.items() if n.endswith('bias')]

@wrong('decay_groups', 'neither list')
def nothing_in_the_second(net): return in_a_list(net)[0], []

@wrong('decay_groups', 'twice')
def everything_in_both(net): return list(net.parameters()), list(net.parameters())

@wrong('decay_groups', 'decays')
def swapped_groups(net): return in_a_list(net)[::-1]

@wrong('decay_groups', 'two things')
def one_list(net): return list(net.parameters())[:3]
