"`sota_bench`: complete on a handful of pictures, honest about who lost, one sentence for a mistake; no time is tested"
import gc, json, weakref
import numpy as np
import pytest, torch
from sota_vision.cli.bench import load_benchmarks, sota_bench
from sota_vision.data.folders import scan
from sota_vision.data.sources import data_path
from sota_vision.recipes import recipe

pytestmark = pytest.mark.slow

benchmarks = load_benchmarks()
growth,loaders,report = benchmarks.growth, benchmarks.loaders, benchmarks.report

plain = 'plain fastai'
peers = dict(
    loaders={plain, 'torchvision v2', 'timm', 'ours, warm', 'ours, cold'}, epoch={plain, 'ours'},
    tta={plain, 'ours, fastai loaders', 'ours, image cache'}, growth={plain, 'ours, warm'})
small = ['--quick', '--profile', 'tiny', '--pictures', '48', '--bs', '12']

@pytest.fixture(scope='module')
def split(): return scan(data_path(prof='tiny')).some(40)

@pytest.fixture(scope='module')
def quick(tmp_path_factory):
    "The folder with what a quick run writes"
    out = tmp_path_factory.mktemp('out')
    sota_bench([*small, '--out', str(out/'b.json'), '--figure', str(out/'b.png')])
    return out

def test_every_peer_has_its_turns(quick):
    turns = report.read_report(quick/'b.json').turns
    assert {part: set(o['peer']) for part,o in turns.groupby('part')} == peers
    measured = turns[turns['note'] != 'not installed']
    assert (measured['value'] > 0).all()
    assert (measured.groupby(['part', 'setting', 'peer'])['round'].agg(list).map(tuple) == (0, 1)).all()
    assert set(measured[measured['part'].isin(['epoch', 'tta'])]['unit']) == {'s'}
    assert set(measured[measured['part'].isin(['loaders', 'growth'])]['unit']) == {'images/s'}

def test_the_file_says_where_it_comes_from(quick):
    about = json.loads((quick/'b.json').read_text(encoding='utf-8'))['about']
    assert {'recipe', 'options', 'workers', 'load', 'dataset', 'device', 'versions', 'commit', 'date'} <= about.keys()
    assert about['dataset']['train'] == about['dataset']['valid'] == 48
    assert about['recipe']['bs'] == 12 and about['options']['rounds'] == 2

def test_caches_grow_as_predicted(quick):
    turns = report.read_report(quick/'b.json').turns
    grown = turns[(turns['part'] == 'growth') & (turns['peer'] == 'ours, warm')]
    assert set(grown['pictures'].dropna()) == {24, 48} and set(grown['size'].dropna()) == {48, 96}
    assert (grown['build'] > 0).all() and np.allclose(grown['stored'], grown['predicted'], rtol=.02)

def test_the_order_rotates(quick):
    tta = report.read_report(quick/'b.json').turns.query('part == "tta"')
    first,second = (tta[tta['round'] == i]['peer'].tolist() for i in (0, 1))
    assert second == first[1:] + first[:1]

def test_figure(quick): assert (quick/'b.png').read_bytes().startswith(b'\x89PNG')

def test_a_peer_that_is_not_installed_keeps_its_row(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(loaders, 'find_spec', {}.get)
    sota_bench([*small, '--rounds', '1', '--parts', 'loaders', '--out', str(tmp_path/'b.json')])
    row, = [o for o in capsys.readouterr().out.splitlines() if o.split()[:1] == ['timm']]
    assert row.endswith('not installed')
    assert [r['value'] for r in report.read_report(tmp_path/'b.json').runs if r['peer'] == 'timm'] == [None]
    assert [o.name for o in tmp_path.iterdir()] == ['b.json']

# Report

def turn(peer, value, unit='images/s', **what):
    return dict(part='loaders', setting='48 px', round=0, peer=peer, value=value, unit=unit) | what

def test_ratios_stay_in_their_round():
    runs = [turn(plain, 2., 's'), turn('ours', 1., 's'), turn(plain, 8., 's', round=1), turn('ours', 2., 's', round=1)]
    assert report.ratios(report.Report({}, runs).turns).tolist() == [1, 2, 1, 4]

def test_table():
    runs = [turn(plain, 100.), turn('ours', 300.), turn('timm', None, note='not installed')]
    table = report.Report({}, runs).table.loc['loaders', '48 px']
    assert table.index.tolist() == [plain, 'ours', 'timm']
    assert table.loc['ours', f'× {plain}'] == 3 and table.loc['timm', 'note'] == 'not installed'

def test_says_what_lost():
    lost = report.Report({}, [turn(plain, 10.), turn('timm', 30.), turn('ours, cold', 20.)])
    assert lost.slower == ['slower than timm: ours, cold (loaders, 48 px): 0.67 times its speed']
    assert report.Report({}, [turn(plain, 10.), turn('ours', 20.)]).slower == []
    assert report.Report({}, [turn(plain, 10., 's'), turn('ours', 20., 's')]).slower != []     # seconds: less is better

def test_the_records_that_lesson_14_shows_are_read():
    from sota_vision.experiments.results import results_folder
    cpu,gpu = (report.read_report(results_folder/f'bench_{o}.json').table for o in ('cpu', 'gpu_128'))
    assert cpu.loc[('epoch', 'xresnet14, 64 px, 3000 pictures', 'ours'), f'× {plain}'] > 1
    assert (gpu.loc['epoch'].xs('ours', level='peer')[f'× {plain}'] > 1).all()

def test_something_else_is_no_benchmark(tmp_path):
    (tmp_path/'wrong.json').write_text('{"runs": []}')
    with pytest.raises(ValueError, match='holds no benchmark'): report.read_report(tmp_path/'wrong.json')

# Mistakes

def complaint(capsys, *args):
    "The one line that `sota_bench` leaves with"
    with pytest.raises(SystemExit) as e: sota_bench(['--profile', 'tiny', *map(str, args)])
    out,err = capsys.readouterr()
    assert e.value.code == 2 and not out and err.count('\n') == 1 and err.startswith('sota_bench: '), err
    return err

@pytest.mark.parametrize('args, words', [
    (('--parts', 'speed'), "'speed'"), (('--rounds', 0), 'rounds=0'), (('--pictures', 0), '0 train pictures'),
    (('--pictures', 9), '9 train pictures'), (('--bs', 0), 'bs=0'), (('--bs', 900), 'bs=900'),
    (('--size', 0), 'size=0'),
    (('--figure', 'figure.txt'), 'figure.txt'), (('--out', 'b.txt'), 'b.txt'),
    (('--data', 'nowhere'), 'no folder at nowhere')])
def test_a_mistake_is_one_sentence(args, words, capsys): assert words in complaint(capsys, *args)

def test_nowhere_to_write(tmp_path, capsys):
    assert str(tmp_path/'no') in complaint(capsys, '--out', tmp_path/'no/b.json')
    (tmp_path/'b.png').mkdir()
    assert 'is a folder' in complaint(capsys, '--figure', tmp_path/'b.png')

def test_unknown_option(split):
    with pytest.raises(ValueError, match='no option called round: there are rounds, batches, '):
        benchmarks.bench(split, recipe(prof='tiny', bs=8), round=5)

# Nothing is left

def test_caches_go_when_a_run_fails(split, tmp_path, monkeypatch):
    def fails(*args): raise ValueError('here')
    monkeypatch.setattr(benchmarks, 'xdg_cache_home', lambda: tmp_path)
    monkeypatch.setattr(benchmarks, 'epoch_peers', fails)
    with pytest.raises(ValueError, match='here'):
        benchmarks.bench(split, recipe(prof='tiny', bs=8), ['loaders', 'epoch'], rounds=1, batches=4)
    assert not list((tmp_path/'sota_vision').iterdir())

def test_a_new_cache_is_closed_and_removed(split, tmp_path, monkeypatch):
    "Nobody reads it any more when its folder is removed, or Windows would refuse"
    caches,make = [],loaders.make_cache
    def watched(*args):
        caches.append(weakref.ref((cache := make(*args)).pixels))
        return cache
    monkeypatch.setattr(loaders, 'make_cache', watched)
    rec = recipe(prof='tiny', bs=8)
    assert loaders.cold(rec, split, tmp_path)['value'] > 0 and growth.new_cache(rec, split, tmp_path, 4)['value'] > 0
    gc.collect()
    assert [o() for o in caches] == [None, None] and not list(tmp_path.iterdir())

# Instruments

def test_peak_memory():
    pytest.importorskip('psutil')
    with growth.PeakMemory() as peak:
        block = np.ones(64_000_000, np.uint8)
        peak.done.wait(.2)
        del block
    assert 60e6 < peak.bytes < 100e6

@pytest.mark.parametrize('kind', ['cpu', 'cuda', 'mps'])
def test_the_clock_waits_for_the_device(kind, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda device: asked.append('cuda'))
    monkeypatch.setattr(torch.mps, 'synchronize', lambda: asked.append('mps'))
    loaders.now(kind)
    assert asked == ([] if kind == 'cpu' else [kind])

def test_turns():
    order = [name for _,name,_ in benchmarks.turns(dict(a=1, b=2, c=3), 4)]
    assert ''.join(order) == 'abc' 'bca' 'cab' 'abc'
