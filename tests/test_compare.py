"Paired comparison: intervals with the stated coverage, none below three seeds"
import math
import numpy as np
import pytest
from scipy.stats import binom
from sota_vision.experiments.compare import interval, paired_table
from sota_vision.experiments.results import load_results
from sota_vision.recipe import from_dict

@pytest.mark.parametrize('n', [3, 5, 8])
def test_intervals_contain_the_truth(n):
    rng,repeat = np.random.default_rng(n), 1000
    outside = sum(not low < 1. < high for low,high in (interval(list(rng.normal(1., 2., n))) for _ in range(repeat)))
    assert binom.ppf(.001, repeat, .05) <= outside <= binom.ppf(.999, repeat, .05)

@pytest.mark.parametrize('diffs', [[], [.02], [.02, .021]])
def test_no_interval_below_three_seeds(diffs):
    assert interval(diffs) == (-math.inf, math.inf)

def test_equal_differences(): assert interval([.01]*3) == (.01, .01)

def test_tables_print_no_interval_below_three_seeds():
    def shown(n): return paired_table(dict(a=[.8]*n, b=[.82+.001*s for s in range(n)])).loc['b', 'difference [95 %]']
    assert '[' not in shown(2) and '[' in shown(3)

def test_runs_without_a_partner_are_an_error():
    with pytest.raises(ValueError, match="'b' has 1 runs, the first arm 2"): paired_table(dict(a=[.5, .6], b=[.5]))

def test_results_that_came_with_the_package():
    runs = load_results()
    assert all(from_dict(r['recipe']) for r in runs)
    with pytest.raises(FileNotFoundError,
                       match="no results called 'nothing': there are .*photos_cpu"): load_results('nothing')
