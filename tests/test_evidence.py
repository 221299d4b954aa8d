"`sota_evidence`: a claim from a clean state to its verdict, nothing done twice, one sentence for a mistake"
import json
from functools import partial
import pytest
from sota_vision.cli.evidence import sota_evidence
from sota_vision.data.sketchnette.sample import sketchnette
from sota_vision.experiments import ledger
from sota_vision.experiments.claims import claim_table, claim_verdicts, claims, find_claims
from sota_vision.experiments.ledger import plot_verdicts
from sota_vision.recipe import from_dict

pytestmark = pytest.mark.slow

def said(capsys, *words):
    "What the command prints, on both streams, and its exit code"
    code = None
    try: sota_evidence(list(map(str, words)))
    except SystemExit as e: code = e.code
    return capsys.readouterr(), code

@pytest.fixture(scope='module')
def rehearsed(tmp_path_factory):
    "A ledger in which three claims were rehearsed"
    out = tmp_path_factory.mktemp('ledger')/'ledger.jsonl'
    sota_evidence(['run', 'mixup-wrong-labels', 'tta-gain', 'normalization-no-batch-norm', '--scale', 'quick', '--out',
                   str(out)])
    return out

def test_lines(rehearsed):
    "A run says everything about itself"
    runs = [json.loads(o) for o in rehearsed.read_text(encoding='utf-8').splitlines()]
    assert len(runs) == 3*(4+1+2)
    for r in runs:
        assert {'recipe', 'seed', 'scale', 'accuracy', 'log_loss', 'device', 'versions', 'dataset', 'commit', 'date',
                'wall'} <= r.keys()
        assert from_dict(r['recipe']) and {'name', 'train', 'valid', 'fingerprint'} <= r['dataset'].keys()
        assert ('memorized' in r) == (r['recipe']['label_noise'] > 0)
        assert 'diverged' in r or {'ece', 'seconds', 'epochs'} <= r.keys()
    assert sum('views' in r for r in runs) == 3

def test_nothing_twice(rehearsed, capsys):
    before = rehearsed.read_bytes()
    out,code = said(capsys, 'run', 'tta-gain', '--scale', 'quick', '--out', rehearsed)
    assert 'every run is there already' in out.out and code is None and rehearsed.read_bytes() == before

def test_no_warnings(tmp_path, monkeypatch, capfd):
    "Processes that train show no warning of a library, either"
    monkeypatch.delenv('PYTHONWARNINGS', raising=False)
    sota_evidence(['run', 'tta-gain', '--scale', 'quick', '--seeds', '2', '--workers', '2', '--out',
                   str(tmp_path/'ledger.jsonl')])
    out,err = capfd.readouterr()
    assert out.count('\n') == 2 and not err

def pretend(job, split):
    "A run that takes no time"
    return dict(accuracy=.5+.01*job.recipe.epochs+.001*job.seed, dataset=dict(train=100, valid=60))

def test_a_verdict_is_about_the_pictures_that_were_named(tmp_path, capsys, monkeypatch):
    "Installed, in a folder of one's own: the package's runs count for its pictures only, and are not done again"
    monkeypatch.setattr(ledger, 'ledger_file', lambda scale: tmp_path/'own.jsonl')
    monkeypatch.setattr(ledger, 'run_claims', partial(ledger.run_claims, runner=pretend))
    packaged, = claim_verdicts('depth', scale='synthetic')
    out,code = said(capsys, 'run', 'depth', '--workers', 1)
    assert code is None and not (tmp_path/'own.jsonl').exists()
    assert out.out.splitlines()[-1] == f'depth: {ledger.quote(packaged)}'
    own = sketchnette(100, 60, path=tmp_path)
    out,code = said(capsys, 'run', 'depth', '--workers', 1, '--data', own)
    with_own, = claim_verdicts('depth', scale='synthetic', data=own)
    assert with_own.seeds >= 4 and ledger.quote(with_own) != ledger.quote(packaged)
    assert out.out.splitlines()[-1] == f'depth: {ledger.quote(with_own)}'
    assert ledger.quote(claim_verdicts('depth', scale='synthetic')[0]) == ledger.quote(packaged)
    shown = said(capsys, 'show', 'depth', '--data', own)[0].out, said(capsys, 'show', 'depth')[0].out
    assert [f'{100*packaged.mean:+.2f}' in o for o in shown] == [False, True]

def test_show(rehearsed, capsys):
    out,code = said(capsys, 'show', 'mixup', 'tta', '--scale', 'quick', '--out', rehearsed)
    lines = out.out.splitlines()
    assert code is None and any(o.startswith('mixup-wrong-labels') and '3 of 3' in o for o in lines)
    assert any('no look yet' in o for o in lines)

def test_list(capsys):
    out,code = said(capsys, 'list')
    assert code is None and len(out.out.splitlines()) == len(claims)

def test_tables_say_what_is_missing(tmp_path, rehearsed):
    table = claim_table('tta-gain', 'quick', rehearsed)
    assert ('quick', 'net @ random 4') in table.index
    empty = claim_table('tta-gain', file=tmp_path/'none.jsonl')
    assert set(empty.index.get_level_values(0)) == set(claims['tta-gain'].regimes)
    assert (empty['runs missing'] == [len(r.seeds) for r in claims['tta-gain'].regimes.values()]).all()
    figure = plot_verdicts(claim_verdicts('tta-gain', file=tmp_path/'none.jsonl'))
    assert 'runs missing' in ' '.join(t.get_text() for t in figure.axes[0].texts)

# The claims

@pytest.mark.parametrize('id', claims)
def test_a_claim_is_whole(id):
    "Written beforehand: sentence, source, expectation, a rule about arms that exist, three seeds or more"
    c = claims[id]
    assert c.sentence.endswith('.') and c.chapter and c.expectation.endswith('.') and c.regimes and c.rule.smallest > 0
    for scale,regime in c.regimes.items():
        assert len(set(regime.seeds)) == len(regime.seeds) >= regime.least >= 3
        jobs = [c.job(arm, 0, scale) for arm in c.arms]
        assert len({(j.recipe, j.variant, j.subset) for j in jobs}) == len(jobs), 'two arms are the same'
        # a race may give up the last bit for speed
        assert all(j.recipe.tta == 0 and (j.recipe.deterministic or id == 'race') for j in jobs)

def test_rehearsal_keeps_the_techniques():
    for c in claims.values():
        scale = next(iter(c.regimes))
        for arm in c.arms:
            big,small = c.job(arm, 0, scale), c.job(arm, 0, 'quick')
            same = 'normalize', 'mixup', 'label_smoothing', 'split', 'label_noise', 'act', 'sa', 'opt', 'schedule'
            assert all(getattr(big.recipe, k) == getattr(small.recipe, k)
                       for k in same) and big.variant == small.variant
            assert bool(big.recipe.stages) == bool(small.recipe.stages)

def test_find():
    assert find_claims([]) == list(claims.values()) and [c.id for c in find_claims(['depth'])] == ['depth']
    assert [c.id for c in find_claims(['tta-max', 'depth', 'tta'])][:3] == ['tta-max', 'depth', 'tta-gain']
    with pytest.raises(ValueError, match="no claim called 'attention'"): find_claims(['attention'])

# Mistakes

@pytest.mark.parametrize('words, sentence', [
    (('run', 'attention'), "no claim called 'attention'"), (('run', 'tta', '--seeds', 0), 'seeds=0'),
    (('run', 'tta', '--seeds', 10**9), 'seeds=1000000000'),
    (('run', 'tta', '--minutes', 0), 'minutes=0'), (('run', 'tta', '--workers', 0), 'workers=0'),
    (('run', 'tta', '--minutes', 'nan'), 'minutes=nan'),
    (('run', 'staircase'), 'staircase-cache is not asked at the scale synthetic'),
    (('run', 'tta', '--scale', 'photos', '--data', 'nowhere'), 'no folder at nowhere'), (('guess',), "'guess'"),
    (('show', 'race'), 'race is not asked at the scale synthetic: choose --scale gpu'),
    (('run', 'tta', '--scale', 'large'), "'large'")])
def test_mistakes(words, sentence, tmp_path, capsys):
    out = tmp_path/'out.jsonl'
    streams,code = said(capsys, *words, '--out', out)
    assert code == 2 and not streams.out and streams.err.count('\n') == 1
    assert streams.err.startswith('sota_evidence: ') and sentence in streams.err
    assert not out.exists()

def test_nowhere_to_write(tmp_path, capsys):
    assert said(capsys, 'run', 'tta', '--out', tmp_path/'no'/'out')[1] == 2
    assert 'is a folder' in said(capsys, 'run', 'tta', '--out', tmp_path)[0].err
