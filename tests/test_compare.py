"Paired comparison: intervals with the stated coverage, none below three seeds, figures that join no arms"
import math
import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.stats import binom
from sota_vision.experiments.compare import Comparison, compare, interval, verdict
from sota_vision.experiments.results import load_results
from sota_vision.recipe import from_dict

def comparison(n):
    "Two arms, the second 2 points better, on `n` seeds"
    runs = [dict(arm=arm, seed=s, accuracy=.8+.02*(arm == 'b')+.001*s*(arm == 'b'), seconds=1.) for s in range(n)
            for arm in 'ab']
    return Comparison('letters', runs)

@pytest.mark.parametrize('n', [3, 5, 8])
def test_intervals_contain_the_truth(n):
    rng,repeat = np.random.default_rng(n), 1000
    outside = sum(not low < 1. < high for low,high in (interval(list(rng.normal(1., 2., n))) for _ in range(repeat)))
    assert binom.ppf(.001, repeat, .05) <= outside <= binom.ppf(.999, repeat, .05)

@pytest.mark.parametrize('diffs', [[], [.02], [.02, .021]])
def test_no_interval_below_three_seeds(diffs):
    assert interval(diffs) == (-math.inf, math.inf)
    assert verdict(diffs) == 'undecided'

def test_equal_differences():
    assert interval([.01]*3) == (.01, .01) and verdict([.01]*3) == 'helps' and verdict([0.]*3) == 'undecided'

def test_tables_print_no_interval_below_three_seeds():
    assert '[' not in comparison(2).table.loc['b', 'difference [95 %]']
    assert '[' in comparison(3).table.loc['b', 'difference [95 %]']

def test_no_line_joins_the_arms():
    "Each arm's marks stay in its own column"
    ax = comparison(4).plot().axes[0]
    for line in ax.lines: assert np.ptp(np.asarray(line.get_xdata(), dtype=float)) < .5
    plt.close('all')

def test_arms_take_turns():
    order = []
    def run(name):
        def seeded(seed):
            order.append((seed, name))
            return .5
        return seeded
    compare('turns', dict(a=run('a'), b=run('b')), [3, 1])
    assert order == [(3, 'a'), (3, 'b'), (1, 'a'), (1, 'b')]

def test_results_that_came_with_the_package():
    runs = load_results()
    assert all(from_dict(r['recipe']) for r in runs)
    with pytest.raises(FileNotFoundError,
                       match="no results called 'nothing': there are .*photos_cpu"): load_results('nothing')
