"Random inputs for every formula that lesson 06 claims"
import csv,math,os,pickle
from pathlib import Path

import pytest,torch
import torch.nn.functional as F
from hypothesis import given,settings,strategies as st
from sota_vision.losses import (LabelSmoothing,bce_loss,ece,flip_labels,focal_loss,hinge_loss,mse_loss,noisy_labels,
                                optimal_gap,relabel,smooth_targets)

quick = settings(max_examples=40, deadline=None, derandomize=True)
eps_ = st.floats(0, .99)
classes = st.integers(2, 12)
seeds = st.integers(0, 10_000)
reductions = st.sampled_from(('mean', 'sum', 'none'))

def batch(seed, n, *more, scale=3.):
    g = torch.Generator().manual_seed(seed)
    shape = (6, n, *more)
    logits = scale*torch.randn(shape, generator=g, dtype=torch.double)
    return logits, torch.randint(0, n, (6, *more), generator=g), torch.rand(n, generator=g)+.1, torch.randn(shape, generator=g).double().softmax(1)

@quick
@given(seeds, classes, eps_)
def test_targets(seed, n, eps):
    _,y,_,soft = batch(seed, n)
    q = smooth_targets(y, n, eps)
    torch.testing.assert_close(q.sum(1), torch.ones(6))
    torch.testing.assert_close(q.gather(1, y[:,None])[:,0], torch.full((6,), 1-eps+eps/n))
    torch.testing.assert_close(smooth_targets(F.one_hot(y, n).float(), n, eps), q)
    torch.testing.assert_close(smooth_targets(soft, n, eps).sum(1), torch.ones(6).double())

@quick
@given(seeds, classes, eps_, reductions, st.booleans(), st.sampled_from(('plain', 'ignored', 'soft')), st.sampled_from(((), (3,4))))
def test_smoothing_is_pytorchs(seed, n, eps, red, weighted, kind, more):
    z,y,w,soft = batch(seed, n, *more)
    w = w if weighted else None
    if kind == 'ignored': y.view(-1)[::3] = -100
    target = soft if kind == 'soft' else y
    a,b = z.clone().requires_grad_(), z.clone().requires_grad_()
    ours = LabelSmoothing(eps, weight=w, reduction=red)(a, target)
    ref = F.cross_entropy(b, target, weight=None if w is None else w.double(), reduction=red, label_smoothing=eps)
    torch.testing.assert_close(ours, ref)
    ours.sum().backward(); ref.sum().backward()
    torch.testing.assert_close(a.grad, b.grad)

@quick
@given(seeds, classes, eps_)
def test_gradient_is_softmax_minus_target_and_bounded(seed, n, eps):
    z,y,_,_ = batch(seed, n, scale=300.)
    z.requires_grad_()
    LabelSmoothing(eps, reduction='sum')(z, y).backward()
    torch.testing.assert_close(z.grad, z.softmax(1) - smooth_targets(y, n, eps), check_dtype=False, atol=1e-6, rtol=0)
    assert z.grad.abs().max() <= 1

@quick
@given(seeds, classes, eps_)
def test_two_losses_in_one_and_mixed_targets(seed, n, eps):
    z,y,_,_ = batch(seed, n)
    ls = LabelSmoothing(eps, reduction='none')
    torch.testing.assert_close(ls(z, y), (1-eps)*F.cross_entropy(z, y, reduction='none') - eps*z.log_softmax(1).mean(1))
    y1,lam = y.flip(0), torch.linspace(0, 1, 6).double()
    mixed = F.one_hot(y1, n).double().lerp(F.one_hot(y, n).double(), lam[:,None])
    torch.testing.assert_close(ls(z, y1).lerp(ls(z, y), lam), ls(z, mixed))

@quick
@given(st.floats(1e-6, .99), st.integers(2, 2000))
def test_gap_is_where_the_gradient_is_zero(eps, n):
    z = F.pad(torch.tensor([[optimal_gap(eps, n)]], dtype=torch.double), (0, n-1)).requires_grad_()
    F.cross_entropy(z, torch.tensor([0]), label_smoothing=eps).backward()
    assert z.grad.abs().max() < 1e-9

@quick
@given(seeds, classes, st.floats(0, 5))
def test_other_losses(seed, n, gamma):
    z,y,_,_ = batch(seed, n)
    hot = F.one_hot(y, n).double()
    ce = F.cross_entropy(z, y, reduction='none')
    torch.testing.assert_close(mse_loss(z, y), (z.softmax(1)-hot).pow(2).sum()/6)
    torch.testing.assert_close(bce_loss(z, y), F.binary_cross_entropy_with_logits(z, hot, reduction='sum')/6)
    torch.testing.assert_close(hinge_loss(z, y), F.multi_margin_loss(z, y)*n)
    torch.testing.assert_close(focal_loss(z, y, gamma), ((1-(-ce).exp())**gamma*ce).mean())

@quick
@given(seeds, classes, st.integers(1, 20))
def test_ece_against_a_loop(seed, n, bins):
    z,y,_,_ = batch(seed, n)
    rows = [(max(p), p.index(max(p)) == t) for p,t in zip(z.softmax(1).tolist(), y.tolist())]
    inside = [[r for r in rows if i/bins < r[0] <= (i+1)/bins] for i in range(bins)]
    assert math.isclose(ece(z.softmax(1), y, bins), sum(abs(sum(c-ok for c,ok in b)) for b in inside)/6, abs_tol=1e-9)

@quick
@given(seeds, classes, st.floats(0, 1), st.integers(0, 60))
def test_flips(seed, n, share, m):
    y = torch.randint(0, n, (m,), generator=torch.Generator().manual_seed(seed))
    flipped = flip_labels(y, share, n, seed)
    assert (flipped != y).sum() == round(share*m) and torch.equal(flipped, flip_labels(y, share, n, seed))
    assert m == 0 or (0 <= flipped.min() and flipped.max() < n)

def test_minus_infinity_where_nothing_is_asked():
    z,y = torch.tensor([[1., -math.inf, 2.]], requires_grad=True), torch.tensor([0])
    loss = LabelSmoothing(0)(z, y)
    torch.testing.assert_close(loss, F.cross_entropy(z, y))
    loss.backward()
    assert z.grad.isfinite().all()

def test_bfloat16_and_pickle():
    z,y,w,_ = batch(0, 5)
    loss = pickle.loads(pickle.dumps(LabelSmoothing(.2, weight=w)))
    assert loss(z.bfloat16(), y).dtype == torch.bfloat16
    torch.testing.assert_close(loss(z, y), F.cross_entropy(z, y, weight=w.double(), label_smoothing=.2))

def test_relabel_in_worker_processes():
    from fastai.data.core import DataLoaders
    pairs = [(torch.tensor([float(i)]), i % 3) for i in range(12)]
    dls = DataLoaders.from_dsets(pairs, pairs, bs=4, num_workers=1, device='cpu')
    dls.vocab = ['a', 'b', 'c']
    new = relabel(dls, ['c']*12)
    got = [b for b in new.train]
    assert torch.cat([y for _,y in got]).tolist() == [2]*12
    assert sorted(torch.cat([x for x,_ in got]).flatten().tolist()) == list(range(12))
    assert [y for _,y in new.valid_ds] == [y for _,y in pairs] == [y for _,y in dls.train_ds]

photos = os.environ.get('SOTA_VISION_TEST_PHOTOS')

@pytest.mark.skipif(not photos, reason='SOTA_VISION_TEST_PHOTOS names no folder with Imagenette')
def test_imagenettes_own_table():
    root = Path(photos)
    if not (root/'noisy_imagenette.csv').exists(): pytest.skip('no noisy_imagenette.csv among the photos')
    with (root/'noisy_imagenette.csv').open(newline='') as f: rows = list(csv.DictReader(f))
    files = [root/r['path'] for r in rows]
    right = [f.parent.name for f in files]
    assert noisy_labels(files, 'noisy_labels_0') == right
    half = [a != b for a,b,f in zip(noisy_labels(files), right, files) if f.parts[-3] == 'train']
    assert abs(sum(half)/len(half) - .5) < .01
    assert all(a == b for a,b,f in zip(noisy_labels(files), right, files) if f.parts[-3] == 'val')
