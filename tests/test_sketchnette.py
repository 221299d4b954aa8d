"The synthetic sample: exact filling, the same picture anywhere, a folder that is whole or absent"
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image
from sota_vision.data.sketchnette import sample
from sota_vision.data.sketchnette.canvas import coverage
from sota_vision.data.sketchnette.sample import sketch, sketch_classes, sketchnette

corner = st.tuples(st.integers(-20, 60), st.integers(-20, 60))
rings = st.lists(corner, min_size=3, max_size=7)

def edges_of(ring):
    p = np.array(ring, dtype=np.int64)
    return np.hstack([p, np.roll(p, -1, 0)])

def winding_number(ring, x, y):
    "How often `ring` goes around a pixel, by a walk along its edges"
    turns = 0
    for (x0,y0),(x1,y1) in zip(ring, ring[1:] + ring[:1]):
        if (y0 <= y) != (y1 <= y) and x0 + (y - y0)*(x1 - x0)//(y1 - y0) <= x: turns += 1 if y1 > y0 else -1
    return turns

@settings(max_examples=60, deadline=None)
@given(rings)
def test_coverage_is_the_winding_number(ring):
    inside = coverage(edges_of(ring), 0, 0, 40, 40)
    for y in range(0, 40, 3):
        for x in range(0, 40, 3): assert inside[y,x] == (winding_number(ring, x, y) != 0)

@settings(max_examples=20, deadline=None)
@given(rings)
def test_a_window_shows_a_part_of_the_whole(ring):
    whole = coverage(edges_of(ring), 0, 0, 40, 40)
    assert (coverage(edges_of(ring), 7, 11, 30, 25) == whole[11:25,7:30]).all()

@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(sketch_classes)), st.integers(0, 10**6), st.integers(1, 70), st.integers(1, 70))
def test_any_seed_and_size(wnid, seed, w, h):
    im = sketch(wnid, seed, (w,h))
    assert (im.mode, im.size) == ('RGB', (w,h))
    assert im.tobytes() == sketch(sketch_classes[wnid], seed, (w,h)).tobytes()

@pytest.mark.parametrize('wnid', sketch_classes)
def test_sizes_and_ratios(wnid):
    for i in range(4):
        w,h = sketch(wnid, i).size
        assert 150 <= min(w, h) <= 340 and .58 < w/h < 1.72

def bytes_of(path): return {o.relative_to(path): o.read_bytes() for o in path.rglob('*.JPEG')}

def visible(folder): return [o.name for o in folder.iterdir() if not o.name.startswith('.')]

def test_larger_sample_contains_the_smaller(tmp_path):
    small, large = bytes_of(sketchnette(10, 10, 3, tmp_path)), bytes_of(sketchnette(20, 10, 3, tmp_path))
    assert len(small) == 20 and small.items() <= large.items()

def test_every_file_is_a_whole_picture(tmp_path):
    files = list(sketchnette(20, 10, 3, tmp_path).rglob('*.JPEG'))
    for f in files: Image.open(f).load()
    assert len(files) == 30

def test_splits_and_seeds_differ(tmp_path):
    a, b = bytes_of(sketchnette(10, 10, 3, tmp_path)), bytes_of(sketchnette(10, 10, 4, tmp_path))
    assert len({*a.values(), *b.values()}) == 40

def test_several_processes_draw_the_same(tmp_path):
    alone, together = sketchnette(30, 10, 5, tmp_path/'a', workers=1), sketchnette(30, 10, 5, tmp_path/'b', workers=3)
    assert bytes_of(alone) == bytes_of(together)

def test_a_process_that_has_drawn_ends(tmp_path):
    "It does not wait for its idle workers, as a test runner's processes did for five minutes"
    process = multiprocessing.get_context('spawn').Process(target=sketchnette, args=(200, 100, 6, tmp_path, 2))
    process.start()
    process.join(60)
    ended = process.exitcode
    process.kill()
    assert ended == 0

def test_two_processes_ask_at_once(tmp_path):
    with ProcessPoolExecutor(2, multiprocessing.get_context('spawn')) as pool:
        a, b = [pool.submit(sketchnette, 20, 10, 5, tmp_path) for _ in range(2)]
        assert a.result() == b.result()
    assert visible(tmp_path) == [a.result().name] and len(bytes_of(tmp_path)) == 30

def test_the_second_waits_for_the_first(tmp_path, monkeypatch):
    drawn, draw = [], sample.sketch
    def counted(*args):
        drawn.append(args)
        return draw(*args)
    monkeypatch.setattr(sample, 'sketch', counted)
    with ThreadPoolExecutor(2) as pool: paths = list(pool.map(lambda _: sketchnette(20, 10, 5, tmp_path), range(2)))
    assert len(drawn) == 30 and paths[0] == paths[1] and len(bytes_of(paths[0])) == 30

def test_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(im, file): raise OSError('no space left')
    monkeypatch.setattr(sample, 'save_jpeg', full)
    with pytest.raises(OSError, match='no space left'): sketchnette(10, 10, path=tmp_path)
    assert not visible(tmp_path)

def test_process_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*args): raise OSError('no space left')
    monkeypatch.setattr(sample, 'draw_file', full)
    with pytest.raises(OSError, match='no space left'): sketchnette(10, 10, path=tmp_path, workers=2)
    assert not visible(tmp_path)

def test_mistakes(tmp_path):
    (tmp_path/'file').touch()
    with pytest.raises(OSError, match='cannot write into'): sketchnette(10, 10, path=tmp_path/'file')
    with pytest.raises(ValueError, match='n_valid is 9'): sketchnette(10, 9, path=tmp_path)
    with pytest.raises(ValueError, match='no class'): sketch('')
    with pytest.raises(ValueError, match='size is'): sketch('tench', 0, (0,5))
