"The ledger: nothing lost, nothing twice, and verdicts that err no more often than they say"
import json, multiprocessing, os, random, signal, subprocess, sys, time
from dataclasses import replace
from pathlib import Path
import numpy as np
import psutil
import pytest
from scipy.stats import binom, ttest_1samp
from sota_vision.data.sources import data_path
from sota_vision.experiments.arms import pack_bits
from sota_vision.experiments.compare import interval
from sota_vision.experiments.ledger import (Claim, Ledger, Regime, Rule, judge, planned_jobs, power, run_claims,
    run_key, says, verdict_table)

base = dict(arch='xresnet10', size=32, presize=40, bs=8, epochs=1)
pair = Claim('pair', 'More epochs are better.', 'nowhere', dict(one={}, two=dict(epochs=2)),
             dict(synthetic=Regime(base, tuple(range(8)), 4)), Rule('two', 'one', smallest=.01), 'Yes.')
other = replace(pair, id='other', arms=dict(one={}, three=dict(epochs=3)), rule=Rule('three', 'one'))
runs_of_both = 3*8

@pytest.fixture(scope='module')
def pictures(): return data_path(None, 'quick')

def pretend(job, split):
    "A run that takes no time"
    rng = np.random.default_rng([job.seed, job.recipe.epochs])
    return dict(accuracy=float(.8+.01*rng.normal()), log_loss=.5, seconds=1., dataset=dict(train=80, valid=60))

class Counted:
    "A runner that remembers what it ran"
    def __init__(self): self.ran = []
    def __call__(self, job, split):
        self.ran.append((job.recipe.epochs, job.seed))
        return pretend(job, split)

def silent(sentence): pass

# Nothing twice

def test_shared_runs_are_run_once_and_seed_by_seed(tmp_path, pictures):
    run = Counted()
    run_claims([pair, other], 'synthetic', tmp_path/'l', pictures, runner=run, say=silent)
    assert run.ran[:4] == [(1, 0), (2, 0), (1, 1), (2, 1)] and len(run.ran) == len(set(run.ran)) == runs_of_both
    run_claims([other, pair], 'synthetic', tmp_path/'l', pictures, runner=run, say=silent)
    assert len(run.ran) == runs_of_both

def test_other_pictures_are_other_runs(tmp_path, pictures):
    from shutil import copytree
    run = Counted()
    run_claims([pair], 'synthetic', tmp_path/'l', pictures, seeds=1, runner=run, say=silent)
    copytree(pictures, tmp_path/'copy')
    run_claims([pair], 'synthetic', tmp_path/'l', tmp_path/'copy', seeds=1, runner=run, say=silent)
    assert len(run.ran) == 2, 'a copy under another name holds the same pictures'
    next((tmp_path/'copy'/'val').glob('*/*')).unlink()
    run_claims([pair], 'synthetic', tmp_path/'l', tmp_path/'copy', seeds=1, runner=run, say=silent)
    assert len(run.ran) == 4

def test_a_shared_run_has_the_views_of_all_claims_that_were_named():
    asks = [replace(pair, id=v, views=('plain', v)) for v in ('mirror', 'corners')]
    assert all(j.views == ('plain', 'mirror', 'corners') for j in planned_jobs([pair, *asks], 'synthetic'))
    assert all(j.views == ('plain', 'mirror') for j in planned_jobs([pair, asks[0]], 'synthetic'))
    assert all(j.views == () for j in planned_jobs([pair], 'synthetic'))

# Nothing lost

def slow(job, split):
    "A run of a few milliseconds"
    time.sleep(.02)
    return pretend(job, split)

def work_on(file, pictures): run_claims([pair, other], 'synthetic', file, pictures, runner=slow, say=silent)

@pytest.mark.slow
def test_kill_loses_at_most_the_run_in_flight(tmp_path, pictures):
    "Killed at ten random moments, each time all earlier lines are there, whole, and the rest is done later"
    file,rng,before = tmp_path/'ledger', random.Random(0), 0
    for _ in range(10):
        worker = multiprocessing.get_context('fork').Process(target=work_on, args=(file, pictures))
        worker.start()
        while worker.is_alive() and len(Ledger(file).runs) <= before: time.sleep(.001)  # it has begun to write
        time.sleep(rng.uniform(0, .005))
        worker.kill()
        worker.join()
        ledger = Ledger(file)
        assert len(ledger.runs) > before and len(ledger.problems) <= 1
        before = len(ledger.runs)
    work_on(file, pictures)
    ledger = Ledger(file)
    assert len(ledger.runs) == runs_of_both
    lines = [json.loads(o) for o in file.read_text(encoding='utf-8').splitlines() if o.endswith('}')]
    assert len(lines) == runs_of_both, 'a run was done twice'

def test_several_processes_share_the_runs(tmp_path, pictures):
    "Three at once: all runs are done, none twice"
    file,context = tmp_path/'ledger', multiprocessing.get_context('fork')
    workers = [context.Process(target=work_on, args=(file, pictures)) for _ in range(3)]
    for o in workers: o.start()
    for o in workers: o.join()
    assert len(Ledger(file).runs) == len(file.read_text().splitlines()) == runs_of_both

def die(job, split):
    "A run that the system kills, as it does when memory is short"
    os.kill(os.getpid(), signal.SIGKILL)

def endless(job, split):
    "A run that says which process it is in and does not end"
    print(os.getpid(), flush=True)
    time.sleep(600)

def leave(job, split):
    time.sleep(random.uniform(0, .02))
    raise RuntimeError('out of memory')

@pytest.mark.slow
def test_workers(tmp_path, pictures):
    "A call with two workers does all runs, none twice, counts failures, says so when one is killed, and can go on"
    file = tmp_path/'ledger'
    failed = run_claims([pair], 'synthetic', file, pictures, runner=leave, say=silent, workers=2)
    assert failed == 2*len(pair.seeds('synthetic'))
    with pytest.raises(RuntimeError, match='SIGKILL.*call this again'):
        run_claims([pair], 'synthetic', file, pictures, runner=die, say=silent, workers=2)
    assert run_claims([pair, other], 'synthetic', file, pictures, runner=slow, say=silent, workers=2) == 0
    assert len(Ledger(file).runs) == len(file.read_text().splitlines()) == runs_of_both

def endless_work(file, pictures):
    run_claims([pair], 'synthetic', file, pictures, runner=endless, say=silent, workers=2)

@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux ends a process with its parent')
def test_no_worker_outlives_the_call(tmp_path, pictures):
    program = ('from pathlib import Path; from tests.test_ledger import endless_work; '
               f'endless_work(Path({str(tmp_path/"ledger")!r}), Path({str(pictures)!r}))')
    parent = subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE, text=True,
                              cwd=Path(__file__).parents[1])
    with parent.stdout as lines: workers = [psutil.Process(int(lines.readline())) for _ in range(2)]
    parent.kill()
    parent.wait()
    gone,alive = psutil.wait_procs(workers, timeout=30)
    assert not alive

@pytest.mark.parametrize('cut', [1, 5, 60])
def test_line_that_was_cut_off(cut, tmp_path, pictures):
    file,said,run = tmp_path/'ledger', [], Counted()
    run_claims([pair], 'synthetic', file, pictures, seeds=2, runner=run, say=silent)
    file.write_bytes(file.read_bytes()[:-cut])
    run_claims([pair], 'synthetic', file, pictures, seeds=2, runner=run, say=said.append)
    whole_again = cut == 1  # only the end of the line was lost
    assert len(run.ran) == 4 + (not whole_again) and len(Ledger(file).runs) == 4
    assert (said[:1] == ['ledger, line 4: no run of this version, skipped']) != whole_again

@pytest.mark.parametrize('damage',
                         ['mine', '[1]', '{"a": 1}',
                          '{"recipe": {"setting": 1}, "seed": 0, "variant": "", "subset": [], "scale": "synthetic"}'])
def test_damaged_line(damage, tmp_path, pictures):
    file = tmp_path/'ledger'
    run_claims([pair], 'synthetic', file, pictures, seeds=2, runner=pretend, say=silent)
    lines = file.read_text(encoding='utf-8').splitlines()
    file.write_text('\n'.join([*lines[:2], damage, *lines[2:]])+'\n', encoding='utf-8')
    assert Ledger(file).problems == ['ledger, line 3: no run of this version, skipped'] and len(Ledger(file).runs) == 4
    run_claims([pair], 'synthetic', file, pictures, seeds=3, runner=pretend, say=silent)
    assert damage in file.read_text(encoding='utf-8') and len(Ledger(file).runs) == 6

def test_failure_takes_no_other_run_along(tmp_path, pictures):
    def full(job, split):
        if job.recipe.epochs == 1: raise RuntimeError('CUDA out of memory\nmore of it')
        return pretend(job, split)
    said = []
    failed = run_claims([pair], 'synthetic', tmp_path/'l', pictures, seeds=2, runner=full, say=said.append)
    assert failed == 2 and 'RuntimeError: CUDA out of memory' in said[0] and len(Ledger(tmp_path/'l').runs) == 2

def test_minutes(tmp_path, pictures):
    "A run that would not end in time is not begun"
    def long(job, split):
        time.sleep(.3)
        return pretend(job, split)
    said = []
    run_claims([pair], 'synthetic', tmp_path/'l', pictures, seeds=1, runner=long, say=silent)
    run_claims([pair], 'synthetic', tmp_path/'l', pictures, minutes=.1/60, runner=long, say=said.append)
    assert len(Ledger(tmp_path/'l').runs) == 2 and said[-1].startswith('stopped before ')

def test_views_are_those_of_one_net(tmp_path, pictures):
    "A run that is repeated for further views counts whole: no view of the first net beside one of the second"
    def asked(accuracy, *views):
        def run(job, split):
            return pretend(job, split) | dict(accuracy=accuracy, views={v: dict(accuracy=accuracy) for v in views})
        return run
    wants = [replace(pair, views=views) for views in (('plain',), ('plain', 'mirror'))]
    for claim,accuracy in zip(wants, (.8, .9)):
        run_claims([claim], 'synthetic', tmp_path/'l', pictures, seeds=1, say=silent,
                   runner=asked(accuracy, *claim.views))
    ledger = Ledger(tmp_path/'l')
    for claim in wants:
        run = ledger.get(claim.job('one', 0, 'synthetic'), 'synthetic')
        assert {run['accuracy'], *(o['accuracy'] for o in run['views'].values())} == {.9}
    ledger.add(run | dict(accuracy=.7, views={}))
    assert Ledger(tmp_path/'l').get(wants[1].job('one', 0, 'synthetic'), 'synthetic')['accuracy'] == .9

def test_views_of_one_claim_stay_when_another_asks_for_its_own(tmp_path, pictures):
    ran = []
    def runner(job, split):
        ran.append(job.views)
        return pretend(job, split) | dict(views={v: dict(accuracy=.8) for v in job.views})
    wants = [replace(pair, id=v, views=('plain', v)) for v in ('mirror', 'corners')]
    for claim in wants*2: run_claims([claim], 'synthetic', tmp_path/'l', pictures, seeds=1, runner=runner, say=silent)
    assert ran == [('plain', 'mirror')]*2 + [('plain', 'corners', 'mirror')]*2
    ledger = Ledger(tmp_path/'l')
    assert all(ledger.get(c.job(arm, 0, 'synthetic'), 'synthetic') for c in wants for arm in c.arms)

def test_a_run_that_is_written_in_part(tmp_path, pictures, monkeypatch):
    "A full disk is told, and the line is known for what it is"
    run_claims([pair], 'synthetic', tmp_path/'l', pictures, seeds=1, runner=pretend, say=silent)
    import builtins
    class Full:
        def __init__(self, f): self.f = f
        def __enter__(self): return self
        def __exit__(self, *_): self.f.close()
        def __getattr__(self, name): return getattr(self.f, name)
        def write(self, data): return self.f.write(data[:100])
    real = builtins.open
    ledger,run = Ledger(tmp_path/'l'), next(iter(Ledger(tmp_path/'l').runs.values()))
    monkeypatch.setattr(builtins, 'open', lambda *a, **k: Full(real(*a, **k)))
    with pytest.raises(OSError, match='only a part'): ledger.add(run | dict(seed=7))
    monkeypatch.undo()
    assert len(Ledger(tmp_path/'l').problems) == 1 and len(Ledger(tmp_path/'l').runs) == 2

def test_nowhere_to_write_is_told_before_the_first_run(tmp_path, pictures):
    run = Counted()
    with pytest.raises(FileNotFoundError):
        run_claims([pair], 'synthetic', tmp_path/'no/l', pictures, seeds=1, runner=run, say=silent)
    assert run.ran == []

def test_failure_without_words(tmp_path, pictures):
    said = []
    def fails(job, split): raise RuntimeError()
    assert run_claims([pair], 'synthetic', tmp_path/'l', pictures, seeds=1, runner=fails, say=said.append) == 2
    assert all(o.endswith('failed: RuntimeError: ') for o in said[-2:])

def test_pictures_of_a_verdict_do_not_depend_on_chance(tmp_path, pictures):
    "As many runs of two sets: the first one counts, whatever Python's hashes are"
    run_claims([pair], 'synthetic', tmp_path/'l', pictures, seeds=1, runner=pretend, say=silent)
    one = [json.loads(o) for o in (tmp_path/'l').read_text().splitlines()]
    for name in ('bbbb', 'aaaa', 'cccc'):
        for o in one: Ledger(tmp_path/f'{name}.l').add(o | dict(dataset=o['dataset'] | dict(fingerprint=name)))
    files = [tmp_path/f'{name}.l' for name in ('bbbb', 'aaaa', 'cccc')]
    code = ('import sys; from sota_vision.experiments.ledger import Ledger; '
            'print(Ledger(sys.argv[1], *sys.argv[2:]).pictures("synthetic"))')
    for chance in '123':
        got = subprocess.run([sys.executable, '-c', code, 'none', *files], capture_output=True, text=True,
                             env=os.environ | dict(PYTHONHASHSEED=chance))
        assert got.stdout.strip() == 'bbbb'

def test_all_pictures_cost_more_than_some(tmp_path, pictures):
    "What is known from runs on a few pictures foretells a run on all of them in proportion"
    few = replace(pair, regimes=dict(synthetic=Regime(base, (0, 1, 2), subset=(8, 6))))
    def short(job, split): return pretend(job, split) | dict(dataset=dict(train=8, valid=6))
    run_claims([few], 'synthetic', tmp_path/'l', pictures, seeds=1, runner=short, say=silent)
    ledger = Ledger(tmp_path/'l')
    for run in ledger.runs.values(): run['wall'] = 1.
    alone = few.job('one', 0, 'synthetic')
    one,all_ = (ledger.expected(replace(alone, seed=9, recipe=replace(alone.recipe, bs=4), subset=s), 'synthetic',
                                (800, 600)) for s in ((8, 6), ()))
    assert all_ == pytest.approx(100*one)

# Verdicts

def ledger_of(file, diffs, claim=pair, views=None):
    "A ledger in which `two` is better than `one` by `diffs`, a number a seed"
    ledger = Ledger(file)
    for seed,d in enumerate(diffs):
        for arm,accuracy in (('one', .8), ('two', .8+d)):
            job = claim.job(arm, seed, 'synthetic')
            run = dict(scale='synthetic', recipe=vars(job.recipe) | {}, variant='', subset=[], seed=seed,
                       accuracy=accuracy, dataset=dict(fingerprint='f', valid=400))
            ledger.runs[run_key(job, 'synthetic'), 'f'] = run
    return ledger

def first_verdict(diffs, looks, rule):
    "What somebody who looks whenever a look is planned ends with"
    for n,level in looks:
        found = says(rule, *interval(list(diffs[:n]), level))
        if found != 'undecided': return found
    return 'undecided'

def count_of(verdict, truth, rule, seeds=8, sd=.01, repeat=2000):
    "How often `verdict` comes out of that many repetitions, with planned looks after half of the seeds and after all"
    claim = replace(pair, rule=rule, regimes=dict(synthetic=Regime(base, tuple(range(seeds)), max(3, seeds//2))))
    diffs,final = np.random.default_rng(seeds).normal(truth, sd, (repeat, seeds)), ['undecided']*repeat
    for n,level in claim.looks('synthetic'):    # all repetitions at once, as `interval` does it for one
        lows,highs = ttest_1samp(diffs[:,:n], 0, axis=1).confidence_interval(level)
        final = [says(rule, *o) if f == 'undecided' else f for f,*o in zip(final, lows, highs)]
    return final.count(verdict)

@pytest.mark.parametrize('seeds', [3, 5, 8])
@pytest.mark.parametrize('verdict, truth, more', [
    ('supported', 0., 'more'), ('supported', 0., 'less'), ('supported', -.005, 'more'), ('refuted', .01, 'more'),
    ('refuted', -.01, 'less'),
    ('refuted', .02, 'more'), ('supported', .01, 'same'), ('supported', -.01, 'same'), ('refuted', 0., 'same')])
def test_false_verdicts(verdict, truth, more, seeds):
    "Whatever is true, at most 5 of 100 claims get a false verdict, all looks together"
    false = count_of(verdict, truth, Rule('two', 'one', more, .01), seeds)
    assert false <= binom.ppf(.999, 2000, .05)

def test_simulation_is_what_the_ledger_does(tmp_path):
    rng = np.random.default_rng(1)
    for n in (3, 4, 6, 8):
        for truth in (0., .01, .03):
            diffs = rng.normal(truth, .01, n)
            planned = [(k, level) for k,level in pair.looks('synthetic') if k <= n]
            verdict = judge(pair, 'synthetic', ledger_of(tmp_path/'l', diffs))
            assert verdict.says == first_verdict(diffs, planned, pair.rule)
            assert (verdict.low is None) == (n < 4) and verdict.missing == 2*(8-n)

@pytest.mark.parametrize('effect, seeds, stated', [(.02, 5, .91), (.02, 8, 1.), (.01, 8, .68), (.01, 5, .4)])
def test_power_at_the_sizes_used(effect, seeds, stated):
    "How often a true effect is found, with a standard deviation of one point; one look at 95 %"
    assert power(effect, .01, seeds) == pytest.approx(stated, abs=.02)
    rng = np.random.default_rng(seeds)
    lows = ttest_1samp(rng.normal(effect, .01, (2000, seeds)), 0, axis=1).confidence_interval().low
    found = (lows > 0).mean()
    assert found == pytest.approx(stated, abs=.04)

def test_between_looks_the_verdict_stands_still(tmp_path):
    four = [.03, .031, .029, .03]
    assert judge(pair, 'synthetic', ledger_of(tmp_path/'l', four)).says == 'supported'
    assert judge(pair, 'synthetic', ledger_of(tmp_path/'l', four+[-.5]*3)).says == 'supported'
    assert judge(pair, 'synthetic', ledger_of(tmp_path/'l', [.0, .05, .02, -.03]+[.03]*3)).seeds == 4

def test_no_interval_before_the_first_look(tmp_path):
    table = verdict_table([judge(pair, 'synthetic', ledger_of(tmp_path/'l', [.03]*n)) for n in (0, 1, 2, 3)])
    assert not table['difference [interval]'].str.contains(r'\[').any() and set(table['verdict']) == {'no look yet'}

def test_one_net_asked_twice_is_paired_by_picture(tmp_path):
    "Pictures are the pairs: false verdicts stay below 5 %, and a gain of two points is seen"
    asks = replace(pair, arms=dict(one={}), views=('plain', 'mirror'),
                   rule=Rule('one @ mirror', 'one @ plain', smallest=.002, by='picture'))
    def verdict(rng, gain, diverged=None):
        ledger = Ledger(tmp_path/'l')
        hard = rng.random(1500)     # some pictures are harder than others, for every net
        for seed in range(4):
            job = asks.job('one', seed, 'synthetic')
            views = {}
            for view,p in (('plain', .85), ('mirror', .85+gain)):
                correct = hard+.15*rng.normal(size=1500) < p
                views[view] = dict(accuracy=float(correct.mean()), correct=pack_bits(correct))
            run = dict(scale='synthetic', recipe=vars(job.recipe), variant='', subset=[], seed=seed, views=views,
                       accuracy=.85, dataset=dict(fingerprint='f', valid=1500))
            if seed == diverged: run = {k: v for k,v in run.items() if k != 'views'} | dict(diverged=2)
            ledger.runs[run_key(job, 'synthetic'), 'f'] = run
        return judge(asks, 'synthetic', ledger).says
    rng = np.random.default_rng(0)
    assert sum(verdict(rng, 0.) == 'supported' for _ in range(200)) <= binom.ppf(.999, 200, .05)
    assert sum(verdict(rng, .03) == 'supported' for _ in range(50)) > 40
    assert verdict(rng, .05, diverged=2) == 'supported'     # a net that diverged is as often correct either way
