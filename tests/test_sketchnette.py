"The drawn sample: exact filling, the same picture anywhere, a folder that is whole or absent"
import subprocess, sys
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image
from sota_vision import sketchnette as sk

spot = st.tuples(st.integers(-20, 60), st.integers(-20, 60))

def ring_edges(ring):
    p = np.array(ring, dtype=np.int64)
    return np.hstack([p, np.roll(p, -1, 0)])

@settings(max_examples=60, deadline=None)
@given(st.lists(spot, min_size=3, max_size=7))
def test_coverage_is_the_winding_number(ring):
    "Each pixel against a walk around the ring, edge by edge, in plain Python"
    got = sk.coverage(ring_edges(ring), 0, 0, 40, 40)
    for y in range(0, 40, 3):
        for x in range(0, 40, 3):
            turns = 0
            for (x0,y0),(x1,y1) in zip(ring, ring[1:] + ring[:1]):
                if (y0 <= y) != (y1 <= y) and x0 + (y - y0)*(x1 - x0)//(y1 - y0) <= x: turns += 1 if y1 > y0 else -1
            assert got[y,x] == (turns != 0)

@settings(max_examples=20, deadline=None)
@given(st.lists(spot, min_size=3, max_size=7))
def test_a_window_shows_a_part_of_the_whole(ring):
    whole = sk.coverage(ring_edges(ring), 0, 0, 40, 40)
    assert (sk.coverage(ring_edges(ring), 7, 11, 30, 25) == whole[11:25,7:30]).all()

@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(sk.sketch_classes)), st.integers(0, 10**6), st.integers(1, 70), st.integers(1, 70))
def test_any_seed_and_size(wnid, seed, w, h):
    im = sk.sketch(wnid, seed, (w,h))
    assert (im.mode, im.size) == ('RGB', (w,h))
    assert im.tobytes() == sk.sketch(sk.sketch_classes[wnid], seed, (w,h)).tobytes()

@pytest.mark.parametrize('wnid', sk.sketch_classes)
def test_sizes_and_ratios(wnid):
    for i in range(4):
        w,h = sk.sketch(wnid, i).size
        assert 150 <= min(w, h) <= 340 and .58 < w/h < 1.72

def test_larger_sample_holds_the_smaller(tmp_path):
    small, large = sk.sketchnette(10, 10, 3, tmp_path), sk.sketchnette(20, 10, 3, tmp_path)
    for f in small.rglob('*.JPEG'): assert f.read_bytes() == (large/f.relative_to(small)).read_bytes()
    for f in large.rglob('*.JPEG'): Image.open(f).verify()

def test_splits_and_seeds_differ(tmp_path):
    a, b = sk.sketchnette(10, 10, 3, tmp_path), sk.sketchnette(10, 10, 4, tmp_path)
    files = [f.read_bytes() for o in (a, b) for f in o.rglob('*.JPEG')]
    assert len(set(files)) == len(files) == 40

def test_two_at_once(tmp_path):
    code = f'from sota_vision.sketchnette import sketchnette; sketchnette(20, 10, 5, {str(tmp_path)!r})'
    runs = [subprocess.Popen([sys.executable, '-c', code]) for _ in range(2)]
    assert [o.wait() for o in runs] == [0, 0]
    assert [o.name for o in tmp_path.iterdir()] == [sk.sketchnette(20, 10, 5, tmp_path).name]
    assert len(list(tmp_path.rglob('*.JPEG'))) == 30

def test_nothing_half_drawn(tmp_path, monkeypatch):
    def full(im, file): raise OSError('no space left')
    monkeypatch.setattr(sk, '_save', full)
    with pytest.raises(OSError, match='no space left'): sk.sketchnette(10, 10, path=tmp_path)
    assert not list(tmp_path.iterdir())

def test_errors(tmp_path):
    (tmp_path/'file').touch()
    with pytest.raises(OSError, match='cannot write into'): sk.sketchnette(10, 10, path=tmp_path/'file')
    with pytest.raises(ValueError, match='n_valid is 9'): sk.sketchnette(10, 9, path=tmp_path)
    with pytest.raises(ValueError, match='no class'): sk.sketch('')
    with pytest.raises(ValueError, match='size is'): sk.sketch('tench', 0, (0,5))
