"`sota_evidence`: every block passed on a handful of pictures, nothing done twice, nothing lost, one sentence for a mistake"
import json
from pathlib import Path
import pytest
from sota_vision import cli, evidence as made, ondevice
from sota_vision.cli import sota_evidence
from sota_vision.evidence import Arm, Block, blocks, expected, gather, one_run, pace, plan, read_runs, session, session_commands, shares, shrunk
from sota_vision.bench import some_of
from sota_vision.imagenette import data_path, get_files, label_of
from sota_vision.recipe import from_dict, learner, recipe

@pytest.fixture(scope='module')
def few(tmp_path_factory):
    "Sixty drawn pictures of each split"
    return some_of(data_path(prof='tiny'), 60, tmp_path_factory.mktemp('few'))

@pytest.fixture
def one_bench(monkeypatch):
    "The benchmark is really run once; later runs get what it said"
    real,said = cli.bench, []
    def bench(*args, **kw):
        if not said: said.append(real(*args, **kw))
        return said[0]
    monkeypatch.setattr(cli, 'bench', bench)

@pytest.fixture
def no_training(monkeypatch):
    "Runs that take no time, and their names"
    ran = []
    def run(arm, seed, path, rec=None, bench=None):
        ran.append((arm.name, seed))
        data = dict(name=Path(path).name)
        return dict(name=arm.name, seed=seed, recipe=made.asdict(rec or arm.recipe), dataset=data, accuracy=.5, warm_seconds=1., cold_seconds=2., images_s=9, wall=1.)
    monkeypatch.setattr(made, 'one_run', run)
    return ran

# Every block

@pytest.mark.parametrize('name', blocks)
def test_dry(name, tmp_path, few, one_bench, capsys):
    out = tmp_path/'out.jsonl'
    sota_evidence(['--block', name, '--dry', '--data', str(few), '--out', str(out)])
    runs = read_runs(out)
    assert [r['name'] for r in runs] == list(dict.fromkeys(a.name for a,_ in blocks[name].runs()))
    counts = dict(folders=(60, 60), tuning=(48, 12), drawn=(96, 24), redrawn=(96, 24))
    for r in runs:
        assert {'block', 'name', 'command', 'variant', 'warm_seconds', 'cold_seconds', 'wall', 'expected', 'device', 'versions', 'commit', 'date'} <= r.keys()
        assert r['block'] == name and r['dry'] and (r['dataset']['train'], r['dataset']['valid']) == counts[r['recipe']['split']] and from_dict(r['recipe'])
        assert r['wall'] >= r['warm_seconds'] > 0 and r['cold_seconds'] >= r['warm_seconds']
        if 'bench' in r: assert all(o > 0 for o in shares(r).values()) and set(r['limits']) == {'matrix', 'memory'}
    assert all(('bench' in r) == (name == 'throughput') for r in runs)
    capsys.readouterr()
    sota_evidence(['--block', name, '--dry', '--data', str(few), '--out', str(out)])
    assert read_runs(out) == runs and not capsys.readouterr().out, 'done twice'

def test_dry_keeps_the_knobs():
    for arm in (a for b in blocks.values() for a in b.arms):
        big,small = arm.recipe, shrunk(arm.recipe)
        for k in ('normalize', 'mixup', 'label_smoothing', 'split', 'wrong', 'act', 'sa', 'opt', 'schedule', 'repeatable'):
            assert getattr(big, k) == getattr(small, k), (arm.name, k)
        assert bool(big.stages) == bool(small.stages) and bool(big.tta) == bool(small.tta)

def test_plan_without_a_block(capsys):
    sota_evidence([])
    told = capsys.readouterr().out
    assert all(name in told for name in blocks)

# Nothing twice, nothing lost

arms = Arm('a', 'open', {}, (0,1)), Arm('b', 'open', dict(epochs=5), (0,1))
two = Block('two', 'Which?', arms)
order = [('a', 0), ('b', 0), ('a', 1), ('b', 1)]

def test_order_and_skip(tmp_path, few, no_training):
    out = tmp_path/'out'
    gather(two, few, out)
    assert no_training == order
    gather(two, few, out)
    assert no_training == order
    gather(Block('two', 'Which?', (arms[0], Arm('b', 'open', dict(epochs=6), (0,)))), few, out)
    assert no_training == order + [('b', 0)], 'another recipe under an old name is another run'
    gather(Block('other', 'Which?', arms[:1]), few, out)
    assert no_training[-2:] == [('a', 0), ('a', 1)], 'another block asks for itself'

@pytest.mark.parametrize('cut', [1, 5, 60])
def test_cut_off(cut, tmp_path, few, no_training):
    "A run whose line was cut off is done again, in its place; the lines before it stay"
    out = tmp_path/'out'
    gather(two, few, out)
    whole = out.read_bytes()
    out.write_bytes(whole[:-cut])
    assert len(read_runs(out)) == 3
    gather(two, few, out)
    assert no_training == order + order[-1:] and out.read_bytes() == whole

def test_stops_at_any_moment(tmp_path, few, no_training, monkeypatch):
    run = made.one_run
    def stopped(arm, seed, *args):
        if (arm.name, seed) == ('a', 1): raise KeyboardInterrupt
        return run(arm, seed, *args)
    monkeypatch.setattr(made, 'one_run', stopped)
    with pytest.raises(KeyboardInterrupt): gather(two, few, tmp_path/'out')
    monkeypatch.setattr(made, 'one_run', run)
    gather(two, few, tmp_path/'out')
    assert no_training == order

def test_a_failure_takes_no_other_arm_along(tmp_path, few, no_training, monkeypatch):
    run,heard = made.one_run, []
    def full(arm, *args):
        if arm.name == 'a': raise RuntimeError('CUDA out of memory\nmore of it')
        return run(arm, *args)
    monkeypatch.setattr(made, 'one_run', full)
    assert gather(two, few, tmp_path/'out', say=heard.append) == ['a']
    assert no_training == [('b', 0), ('b', 1)] and 'a, seed 0 failed: RuntimeError: CUDA out of memory' in heard

# Minutes

def test_minutes(tmp_path, few, no_training):
    heard,need = [], expected(arms[0], (60, 60))
    gather(two, few, tmp_path/'out', need/60*.9, say=heard.append)
    assert not no_training and heard[-1].startswith('stopped before a, seed 0')
    gather(two, few, tmp_path/'out', need/60*1.1)
    assert no_training == order

def test_pace_is_learnt(tmp_path, few, no_training, monkeypatch):
    "Runs that took longer than expected make the next ones look longer"
    run,out = made.one_run, tmp_path/'out'
    monkeypatch.setattr(made, 'one_run', lambda *args: run(*args) | dict(wall=1000., device='slow'))
    monkeypatch.setattr(made, 'provenance', lambda *args: dict(device='slow'))
    gather(two, few, out, 10)
    assert no_training == order[:1] and pace(read_runs(out), 'slow') > 10

def test_expected_minutes():
    "The file in the package is what the function says, and the session's minutes fit into half an hour"
    file = Path(made.__file__).parent/'results'/'evidence_minutes.json'
    assert json.loads(file.read_text(encoding='utf-8')) == plan(), 'write it anew from plan()'
    assert list(session) == [c.split()[2] for c in session_commands()] and set(session) == set(blocks) and sum(session.values()) <= 27

def test_minutes_grow():
    a = Arm('a', 'open', {})
    more = dict(epochs=40), dict(size=160), dict(arch='xresnet50'), dict(tta=4), dict(compile=True)
    assert all(expected(Arm('a', 'open', c)) > expected(a) for c in more)
    assert expected(Arm('a', 'open', {}, cold=True)) > expected(a) < expected(Arm('a', 'open', {}, beside=('epoch',)))

# What is run

def test_leaderboard_rules():
    for r in (a.recipe for a in blocks['cells'].arms):
        assert r.tta == 0 and not r.stages and r.split == 'folders' and r.wrong == 0
    assert {(a.recipe.size, a.recipe.epochs) for a in blocks['cells'].arms} == {(s, e) for s in (128, 192) for e in (5, 20, 80, 200)}

def test_cold_decodes(few, tmp_path, monkeypatch):
    "A cold run leaves no store behind and finds none; the next run is warm"
    made_stores,write = [], ondevice._write
    def counted(*args): made_stores.append(args); write(*args)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(ondevice, '_write', counted)
    rec = shrunk(arms[0].recipe)
    for cold,stores in ((True, 2), (True, 4), (False, 6), (False, 6)):
        one_run(Arm('a', 'open', {}, cold=cold), 0, few, rec)
        assert len(made_stores) == stores

@pytest.mark.parametrize('loader', ['store', 'fastai'])
def test_wrong_labels_by_table(tmp_path, loader):
    "Where Imagenette's table lies beside train/, it says which labels are taught, also from a store"
    path = some_of(data_path(prof='tiny'), 20, tmp_path)
    train = get_files(path)[0]
    rows = [f'{f.relative_to(path).as_posix()},{train[0].parent.name}' for f in train]
    (path/'noisy_imagenette.csv').write_text('\n'.join(['path,noisy_labels_25', *rows]))
    dls = learner(recipe('baseline', 'quick', wrong=.25, bs=5, loader=loader), path).dls
    assert {dls.vocab[i] for b in dls.train for i in b[1]} == {label_of(train[0])}
    assert len({int(i) for b in dls.valid for i in b[1]}) == 10
    with pytest.raises(ValueError, match='noisy_labels_30'): learner(recipe('baseline', 'quick', wrong=.3, bs=5, loader=loader), path)

# Mistakes

def said(capsys, *args):
    "The one line that `sota_evidence` leaves with"
    with pytest.raises(SystemExit) as e: sota_evidence(list(map(str, args)))
    out,err = capsys.readouterr()
    assert e.value.code == 2 and not out, err
    assert err.count('\n') == 1 and err.startswith('sota_evidence: ') and 'Traceback' not in err, err
    return err

@pytest.mark.parametrize('args, words', [
    (('--block', 'speed'), "'speed'"), (('--block', 'time', '--minutes', 0), 'minutes=0'), (('--block', 'time', '--minutes', 'nan'), 'minutes=nan'),
    (('--block', 'time', '--data', 'nowhere'), 'no folder at nowhere')])
def test_mistakes(args, words, tmp_path, capsys):
    assert words in said(capsys, '--dry', '--out', tmp_path/'out', *args)
    assert not (tmp_path/'out').exists()

def test_nowhere_to_write(tmp_path, capsys):
    assert str(tmp_path/'no') in said(capsys, '--dry', '--block', 'time', '--out', tmp_path/'no'/'out')
    assert 'is a folder' in said(capsys, '--dry', '--block', 'time', '--out', tmp_path)

@pytest.mark.parametrize('text', ['mine', '{"a": 1}\nmine', '[1]\n', '{"a": 1}\n{"b\n{"c": 1}\n'])
def test_somebody_elses_file(text, tmp_path, capsys):
    (tmp_path/'out').write_text(text)
    assert 'no run, in line' in said(capsys, '--dry', '--block', 'time', '--out', tmp_path/'out')
    assert (tmp_path/'out').read_text() == text

def test_failure_is_exit_code_1(tmp_path, few, monkeypatch, capsys):
    def fails(*args): raise RuntimeError('no')
    monkeypatch.setattr(made, 'one_run', fails)
    with pytest.raises(SystemExit) as e: sota_evidence(['--dry', '--block', 'time', '--data', str(few), '--out', str(tmp_path/'out')])
    assert e.value.code == 1 and 'race-87, seed 0 failed: RuntimeError: no' in capsys.readouterr().out and not (tmp_path/'out').exists()
