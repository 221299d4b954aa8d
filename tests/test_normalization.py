"Statistics of channels: exact however pictures are cut into batches, wherever their values lie"
import pytest, torch
from hypothesis import given, settings, strategies as st
from sota_vision.data.statistics import channel_stats
from sota_vision.normalization import NormalizeLayer

cuts = st.lists(st.integers(1, 9), min_size=1, max_size=6)

@settings(max_examples=60, deadline=None)
@given(cuts=cuts, channels=st.integers(1, 4), side=st.integers(1, 7),
       offset=st.sampled_from([0, -3, 1e3, 1e6]), seed=st.integers(0, 999))
def test_exact(cuts, channels, side, offset, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(sum(cuts), channels, side, side+1, generator=rng, dtype=torch.double) + offset
    mean,std = channel_stats(x.split(cuts))
    assert torch.allclose(torch.tensor(mean).double(), x.mean((0,2,3)).float().double(), rtol=1e-6)
    assert torch.allclose(torch.tensor(std), x.std((0,2,3), correction=0).float(), rtol=1e-5, atol=1e-8)

@settings(max_examples=30, deadline=None)
@given(cuts=cuts, seed=st.integers(0, 999))
def test_batches_and_pictures_agree(cuts, seed):
    x = torch.randint(0, 256, (sum(cuts), 3, 4, 5), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    want = channel_stats([x])
    for source in x.split(cuts), list(x), [(o, 'label') for o in x], x.double()/255:
        got = channel_stats(source)
        for a,b in zip(want, got): assert a == pytest.approx(b, rel=1e-9, abs=1e-12)

@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), channels=st.integers(1, 4))
def test_own_statistics_normalize(seed, channels):
    x = torch.rand(6, channels, 8, 8, generator=torch.Generator().manual_seed(seed))
    mean,std = channel_stats([NormalizeLayer(*channel_stats([x]))(x)])
    assert mean == pytest.approx([0]*channels, abs=1e-5) and std == pytest.approx([1]*channels, abs=1e-5)

def test_missing_file():
    with pytest.raises(ValueError, match='no such picture.png'): channel_stats(['no such picture.png'])

def test_empty_picture():
    with pytest.raises(ValueError, match='channel_stats wants pictures'): channel_stats([torch.zeros(3, 0, 4)])
