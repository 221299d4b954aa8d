"`sota_bench`: complete on a handful of pictures, honest about who lost, one sentence for a mistake. No test asserts a time"
import json, os, shutil, time, weakref
from importlib.util import find_spec
import numpy as np
import pytest, torch
from sota_vision import bench as made
from sota_vision.bench import Bench, PeakMemory, bench, clock, growth_peers, loader_peers, parts, plain, ratios, read_bench, some_of, take_turns, turns
from sota_vision.cli import sota_bench
from sota_vision.imagenette import data_path, get_files
from sota_vision.recipe import recipe

loaders = {plain, 'torchvision v2', 'timm', 'ours, cold', 'ours, warm'}
peers = dict(loaders=loaders, epoch={plain, 'ours'}, tta={plain, 'ours, fastai loaders', 'ours, store'}, growth={plain, 'ours, warm'})

@pytest.fixture(scope='module')
def quick(tmp_path_factory):
    "What a quick run writes"
    out = tmp_path_factory.mktemp('out')
    sota_bench(['--quick', '--profile', 'tiny', '--pictures', '48', '--bs', '12', '--json', str(out/'b.json'), '--plot', str(out/'b.png')])
    return out

def test_every_peer(quick):
    result = read_bench(quick/'b.json')
    assert {p: {r['peer'] for r in result.runs if r['part'] == p} for p in parts} == peers
    for (part,setting),runs in result.groups().items():
        for peer in peers[part] - ({'timm'} if not find_spec('timm') else set()):
            mine = [r for r in runs if r['peer'] == peer]
            assert [r['round'] for r in mine] == [0, 1] and all(r['value'] > 0 for r in mine), (part, setting, peer)
            assert {r['unit'] for r in mine} == {'s' if part in ('epoch', 'tta') else 'images/s'}

def test_json_is_complete(quick):
    about = json.loads((quick/'b.json').read_text(encoding='utf-8'))['about']
    assert {'recipe', 'options', 'workers', 'load', 'dataset', 'device', 'versions', 'commit', 'date'} <= about.keys()
    assert about['dataset']['train'] == about['dataset']['valid'] == 48 and about['recipe']['bs'] == 12 and about['options']['rounds'] == 2

def test_growth_is_as_predicted(quick):
    grew = [r for r in read_bench(quick/'b.json').runs if r['part'] == 'growth' and r['peer'] != plain]
    assert grew and all(r['stored'] == r['predicted'] > 0 and r['build'] > 0 for r in grew)
    assert {r['pictures'] for r in grew if 'pictures' in r} == {24, 48} and {r['size'] for r in grew if 'size' in r} == {48, 96}

def test_rounds_are_interleaved(quick):
    runs = [r for r in read_bench(quick/'b.json').runs if r['part'] == 'tta']
    first,second = ([r['peer'] for r in runs if r['round'] == i] for i in (0, 1))
    assert second == first[1:] + first[:1] and [r['round'] for r in runs] == [0]*3 + [1]*3

def test_figure(quick): assert (quick/'b.png').read_bytes().startswith(b'\x89PNG')

def test_table_without_timm(monkeypatch, capsys, tmp_path):
    "A peer that is not installed keeps its row and says so; the rest is measured"
    monkeypatch.setattr(made, 'find_spec', {}.get)
    sota_bench(['--quick', '--profile', 'tiny', '--pictures', '48', '--bs', '12', '--rounds', '1', '--parts', 'loaders', '--json', str(tmp_path/'b.json')])
    out,runs = capsys.readouterr().out, read_bench(tmp_path/'b.json').runs
    row = [o for o in out.splitlines() if o.split()[:1] == ['timm']]
    assert len(row) == 1 and row[0].endswith('not installed')
    assert [r['value'] for r in runs if r['peer'] == 'timm'] == [None] and {r['peer'] for r in runs} == loaders
    assert not list(tmp_path.glob('*.part'))

def test_says_what_lost(monkeypatch, capsys):
    "Where ours was slower, the command says so in words; else that it was not"
    def invented(value): return lambda *args, **kw: Bench(dict(device='none', workers=1, load=None, dataset=dict(name='none'), versions=dict(torch='', fastai='')),
        [dict(part='loaders', setting='48 px', peer=p, round=0, value=v, unit='images/s') for p,v in ((plain, 10.), ('timm', 30.), ('ours, cold', value))])
    for value,words in (20., 'slower than timm: ours, cold (loaders, 48 px): 0.67 times its speed'), (40., 'nowhere slower than another peer'):
        monkeypatch.setattr('sota_vision.cli.bench', invented(value))
        sota_bench(['--profile', 'tiny'])
        assert capsys.readouterr().out.splitlines()[-1] == words

def said(capsys, *args):
    "The one line that `sota_bench` leaves with"
    with pytest.raises(SystemExit) as e: sota_bench(['--profile', 'tiny', *map(str, args)])
    out,err = capsys.readouterr()
    assert e.value.code == 2 and not out, err
    assert err.count('\n') == 1 and err.startswith('sota_bench: ') and 'Traceback' not in err, err
    return err

@pytest.mark.parametrize('args, words', [
    (('--parts', 'speed'), "'speed'"), (('--parts', ''), "''"), (('--rounds', 0), 'rounds=0'), (('--pictures', 0), 'pictures=0'), (('--pictures', 9), 'pictures=9'),
    (('--bs', 0), 'bs=0'), (('--bs', 200), 'bs=200'), (('--size', 0), 'size=0'), (('--plot', 'figure.txt'), 'figure.txt'),
    (('--profile', 'huge'), "'huge'"), (('--data', 'nowhere'), 'no folder at nowhere')])
def test_mistakes(args, words, capsys): assert words in said(capsys, *args)

@pytest.mark.parametrize('flag', ['--json', '--plot'])
def test_nowhere_to_write(flag, tmp_path, capsys):
    assert str(tmp_path/'no') in said(capsys, flag, tmp_path/'no/b.png')
    (tmp_path/'b.png').mkdir()
    assert 'is a folder' in said(capsys, flag, tmp_path/'b.png')

def test_nothing_is_left(tmp_path, monkeypatch):
    "Stores and smaller folders go when the run ends, also when it fails"
    monkeypatch.setattr(made, 'xdg_cache_home', lambda: tmp_path)
    def fails(*args): raise ValueError('no')
    monkeypatch.setattr(made, 'epoch_peers', fails)
    path = some_of(data_path(prof='tiny'), 48, tmp_path/'some')
    with pytest.raises(ValueError, match='no'): bench(path, recipe(prof='tiny', bs=8), ['loaders', 'epoch'], rounds=1, batches=4)
    assert not list((tmp_path/'sota_vision').iterdir())

def test_stores_are_let_go(tmp_path, monkeypatch):
    "When the folder of a store is removed nobody reads it any more, or Windows would refuse"
    stores,held,make,remove = [], [], made.make_store, shutil.rmtree
    def watched(*args):
        stores.append(weakref.ref((store := make(*args)).pixels))
        return store
    def removing(*args, **kw):
        held.extend(o for o in stores if o() is not None and not str(o().filename).startswith(str(tmp_path/'warm')))
        return remove(*args, **kw)
    rec,path = recipe(prof='tiny', bs=8), some_of(data_path(prof='tiny'), 40, tmp_path/'some')
    monkeypatch.setattr(made, 'make_store', watched)
    cold,grow = loader_peers(rec, path, tmp_path, 2)['ours, cold'], growth_peers(rec, path, tmp_path, 2)['ours, warm']
    monkeypatch.setattr(shutil, 'rmtree', removing)
    before = sorted(tmp_path.iterdir())
    for measure in cold, grow: assert measure()['value'] > 0
    assert len(stores) == 3 and not held and sorted(tmp_path.iterdir()) == before

def test_a_store_that_stays(tmp_path, monkeypatch):
    "Where the system does not let go of a file, the next turn makes its store anew all the same"
    rec,path,folders,make,unlink = recipe(prof='tiny', bs=8), some_of(data_path(prof='tiny'), 40, tmp_path/'some'), [], made.make_store, os.unlink
    cold,grow = loader_peers(rec, path, tmp_path, 2)['ours, cold'], growth_peers(rec, path, tmp_path, 2)['ours, warm']
    def refuses(name, **kw):
        if str(name).endswith('pixels'): raise OSError('somebody reads it')
        unlink(name, **kw)
    def watched(files, presize, draft, folder, bar):
        folders.append(folder)
        return make(files, presize, draft, folder, bar)
    monkeypatch.setattr(os, 'unlink', refuses)
    monkeypatch.setattr(made, 'make_store', watched)
    for measure in cold, cold, grow, grow: assert measure()['value'] > 0
    assert len(set(folders)) == 4 == len(list(tmp_path.glob('new-*/*/pixels')))

def test_peak_memory():
    with PeakMemory() as peak:
        block = np.ones(64_000_000, np.uint8)
        time.sleep(.2)
        del block
    if peak.bytes is None: pytest.skip('this system does not tell how much memory a process holds')
    assert 60e6 < peak.bytes < 100e6

@pytest.mark.parametrize('kind', ['cpu', 'cuda', 'mps'])
def test_clock_waits(kind, monkeypatch):
    "The clock is read when the device is done"
    asked = []
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda device: asked.append('cuda'))
    monkeypatch.setattr(torch.mps, 'synchronize', lambda: asked.append('mps'))
    assert clock(kind) <= time.perf_counter() and asked == [kind]*(kind != 'cpu')

def test_unknown_options():
    with pytest.raises(ValueError, match='no option called round, batch: there are rounds, batches, '): bench(data_path(prof='tiny'), recipe(prof='tiny'), round=5, batch=8)

def test_turns():
    assert turns('ab', 3) == [['a','b'], ['b','a'], ['a','b']]
    count = [sum(o[0] == p for o in turns('abcde', 10)) for p in 'abcde']
    assert count == [2]*5

def test_ratios_stay_in_their_round():
    runs = take_turns('x', '', {plain: lambda v=iter([2., 8.]): dict(value=next(v), unit='s'), 'ours': lambda v=iter([1., 2.]): dict(value=next(v), unit='s')}, 2)
    assert ratios(runs) == {plain: [1., 1.], 'ours': [2., 4.]}

def test_some_is_even(tmp_path):
    train,valid = get_files(some_of(data_path(prof='tiny'), 47, tmp_path))
    for files in train, valid:
        counts = [sum(f.parent.name == c for f in files) for c in {f.parent.name for f in files}]
        assert len(files) == 47 and len(counts) == 10 and max(counts)-min(counts) == 1
