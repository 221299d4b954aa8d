"Test time augmentation: equal to `learn.tta` where both see the same views, one decode per picture, nothing left changed"
import pickle, random
from collections import Counter
import numpy as np, pytest, torch
import fastai.vision.core
from fastai.vision.all import (Flatten, ImageDataLoaders, IntToFloatTensor, Learner, Normalize, PILImage, ProgressCallback, RandTransform,
    Resize, TensorImage, TfmdDL, Datasets, Transform, aug_transforms, first, imagenet_stats, load_learner, nn, noop, plt, set_seed)
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from sota_vision.tta import combine, plot_views, tta, view_batches, view_preds

kinds = ('random', 'flip', 'corners', 'scales')

class SameDraws(RandTransform):
    "Seed the k-th augmentation of a batch with its content and k"
    order = 1
    def __init__(self): super().__init__(); self.seen = Counter()
    def encodes(self, x:TensorImage):
        key = int(x.long().sum())
        set_seed(key + self.seen[key]); self.seen[key] += 1
        return x

class SoftmaxLoss(nn.CrossEntropyLoss):
    "A loss that says how to make probabilities"
    def activation(self, x): return x.softmax(-1)

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "Twenty-two noisy rectangles of two classes"
    path,rng = tmp_path_factory.mktemp('rectangles'), np.random.default_rng(0)
    for i in range(22):
        h,w = rng.integers(24, 60, 2)
        f = path/('train' if i%2 else 'val')/'ab'[i//2%2]/f'{i}.png'
        f.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8)).save(f)
    return path

def rectangles(folder, item_tfms=None, batch_tfms=None, **kwargs):
    tfms = [*(batch_tfms or aug_transforms(size=24, min_scale=.75)), Normalize.from_stats(*imagenet_stats)]
    return ImageDataLoaders.from_folder(folder, valid='val', item_tfms=item_tfms or Resize(32), batch_tfms=tfms, bs=4,
                                        num_workers=0, device='cpu', **kwargs)

@pytest.fixture(scope='module')
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), Flatten(), nn.Dropout(), nn.Linear(32, 2))

@pytest.fixture
def learn(folder, net): return Learner(rectangles(folder), net, loss_func=SoftmaxLoss()).remove_cb(ProgressCallback)

def same(folder, net):
    "A learner whose views depend on nothing but the pictures"
    dls = rectangles(folder, Resize(32, method='squish'), [SameDraws(), *aug_transforms(size=24, min_scale=.75)])
    return Learner(dls, net, loss_func=SoftmaxLoss()).remove_cb(ProgressCallback)

@pytest.mark.parametrize('n', [1, 4])
@pytest.mark.parametrize('theirs,ours', [({}, {}), (dict(beta=.6), dict(beta=.6)), (dict(use_max=True), dict(reduce='max'))])
def test_equals_fastai(folder, net, n, theirs, ours):
    want,targs = same(folder, net).tta(n=n, **theirs)
    got,got_targs = tta(same(folder, net), n=n, **ours)
    torch.testing.assert_close(got, torch.Tensor(want), atol=1e-5, rtol=0)
    assert (got_targs == targs).all()

def test_beta_none(folder, net):
    want,_ = same(folder, net).tta(beta=None)
    got,_ = tta(same(folder, net), beta=None)
    for a,b in zip(got, want): torch.testing.assert_close(a, torch.Tensor(b), atol=1e-5, rtol=0)

@pytest.mark.parametrize('views', ['flip', 'corners', 'scales'])
def test_usual_weights(learn, views):
    "Where nothing is drawn every view weighs the same; whoever names a weight gets it, `None` included"
    probs,_ = view_preds(learn, views=views)
    for ours,want in (({}, combine(probs, 'mean')), (dict(beta=.6), combine(probs, 'weighted', .6)), (dict(beta=None), combine(probs, 'weighted', None))):
        torch.testing.assert_close(tta(learn, views=views, **ours)[0], want)

def test_views_differ(folder, net):
    probs,_ = view_preds(same(folder, net), n=3)
    assert all((a-b).abs().max() > 1e-5 for i,a in enumerate(probs) for b in probs[:i])

def test_plain_is_validation(learn):
    want,_ = learn.get_preds()
    for kind in kinds: torch.testing.assert_close(view_preds(learn, views=kind)[0][0], torch.Tensor(want), atol=1e-5, rtol=0)

def test_training_pictures(learn):
    "In their own order, cut as validation cuts, and the dataset back in its training mood"
    probs,targs = view_preds(learn, views='flip', ds_idx=0)
    dl = learn.dls.test_dl(learn.dls.train_ds.items, with_labels=True)
    want,want_targs = learn.get_preds(dl=dl)
    torch.testing.assert_close(probs[0], torch.Tensor(want), atol=1e-5, rtol=0)
    assert (targs == want_targs).all() and learn.dls.train_ds.split_idx == 0

@pytest.fixture
def opened(monkeypatch):
    "Counts how often each file is opened"
    counts,load = Counter(), fastai.vision.core.load_image
    def counting(fn, *args, **kwargs):
        counts[fn] += 1
        return load(fn, *args, **kwargs)
    monkeypatch.setattr(fastai.vision.core, 'load_image', counting)
    return counts

@pytest.mark.parametrize('views', kinds)
def test_one_decode(learn, opened, views):
    dl = learn.dls.test_dl(learn.dls.valid_ds.items)
    opened.clear()
    tta(learn, views=views, dl=dl)
    assert opened == {f: 1 for f in learn.dls.valid_ds.items}

def test_fastai_decodes_five_times(learn, opened):
    learn.tta(n=4)
    assert set(opened.values()) == {5}

def test_no_labels(learn):
    dl = learn.dls.test_dl(learn.dls.valid_ds.items)
    for views in kinds:
        probs,targs = tta(learn, views=views, dl=dl, seed=0)
        assert targs is None
        assert torch.equal(probs, tta(learn, views=views, seed=0)[0])

def test_workers(learn):
    dl = learn.dls.valid.new(num_workers=1)
    for views in ('flip', 'corners'): assert torch.equal(tta(learn, views=views, dl=dl)[0], tta(learn, views=views)[0])

def test_corners_by_hand(learn):
    "Each corner is a square of the whole picture, through the same transforms"
    f = learn.dls.valid_ds.items[0]
    xs,_ = next(view_batches(learn.dls.test_dl([f]), views='corners', crop=.5))
    im = PILImage.create(f)
    (w,h),s = im.size, round(.5*min(im.size))
    for x,(l,t) in zip(xs[1:], ((0,0), (w-s,0), (0,h-s), (w-s,h-s))):
        want, = first(learn.dls.test_dl([PILImage.create(im.crop((l, t, l+s, t+s)))]))
        torch.testing.assert_close(x, want.as_subclass(torch.Tensor))

def test_scales(learn, folder, net):
    xs,_ = next(view_batches(learn.dls.valid, views='scales', scales=(.5, 1.5)))
    assert [x.shape[-1] for x in xs] == [24, 12, 36]
    bare = rectangles(folder, batch_tfms=[IntToFloatTensor()])
    xs,_ = next(view_batches(bare.valid, views='scales', scales=(.5, 1.5)))
    assert [x.shape[-1] for x in xs] == [32, 16, 48]
    assert torch.equal(next(view_batches(learn.dls.valid, views='scales'))[0][0], next(view_batches(learn.dls.valid, views='flip'))[0][0])

def test_batch_not_changed_in_place(net):
    "Pictures that are floats already: `IntToFloatTensor` divides them in place, once per view"
    pics = [TensorImage(torch.rand(3, 16, 16)*255) for _ in range(4)]
    dl = TfmdDL(Datasets(pics, tfms=[[noop]]), bs=2, after_batch=[IntToFloatTensor()], num_workers=0)
    (x,*rest),_ = next(view_batches(dl, n=3))
    for other in rest: torch.testing.assert_close(other, x)

def stop(*args): raise KeyboardInterrupt

@pytest.mark.parametrize('views', kinds)
@pytest.mark.parametrize('interrupt', [False, True])
def test_left_as_found(learn, views, interrupt):
    learn.model.train(); learn.model[5].eval()
    learn.dls.valid.after_batch.split_idx = None
    modes = [m.training for m in learn.model.modules()]
    cbs,tfms = list(learn.cbs), str([vars(t) for t in learn.dls.valid.after_batch.fs])
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    if interrupt:
        hook = learn.model[-1].register_forward_pre_hook(stop)
        with pytest.raises(KeyboardInterrupt): tta(learn, views=views, seed=1, ds_idx=0)
        hook.remove()
    else: tta(learn, views=views, seed=1, ds_idx=0)
    assert [m.training for m in learn.model.modules()] == modes
    assert list(learn.cbs) == cbs and learn.dls.train_ds.split_idx == 0 and learn.dls.valid.after_batch.split_idx is None
    assert str([vars(t) for t in learn.dls.valid.after_batch.fs]) == tfms
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == state

def test_seed(learn):
    a,b,c = (tta(learn, seed=s)[0] for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)

def exportable():
    "Some versions of plum-dispatch cannot pickle a transform made from a function"
    try: return bool(pickle.dumps(Transform(PILImage.create)))
    except TypeError: return False

@pytest.mark.skipif(not exportable(), reason='this plum-dispatch cannot pickle transforms, so fastai cannot export')
def test_loaded(learn, tmp_path):
    learn.export(tmp_path/'net.pkl')
    loaded,files = load_learner(tmp_path/'net.pkl'), learn.dls.valid_ds.items
    for views in kinds:
        got,none = tta(loaded, views=views, dl=loaded.dls.test_dl(files, num_workers=0), seed=0)
        torch.testing.assert_close(got, tta(learn, views=views, seed=0)[0], atol=1e-5, rtol=0)
        assert none is None

def test_bare_module(learn):
    torch.testing.assert_close(tta(learn.model, views='flip', dl=learn.dls.valid)[0], tta(learn, views='flip')[0])

def test_figure(learn):
    for views,n in zip(kinds, (4, 2, 5, 4)):
        fig = plot_views(learn, learn.dls.valid_ds.items[0], views=views)
        assert len(fig.axes) == n+1 if views != 'random' else len(fig.axes) == 6
        plt.close(fig)

@given(arrays(np.float32, st.tuples(st.integers(2, 6), st.integers(1, 4), st.integers(2, 5)), elements=st.floats(0, 1, width=32)),
       st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_combine(p, beta):
    p = torch.from_numpy(p)
    aug = p[1:].mean(0)
    torch.testing.assert_close(combine(p, beta=beta), beta*p[0] + (1-beta)*aug, atol=1e-5, rtol=0)
    torch.testing.assert_close(combine(p, 'mean'), combine(p, beta=1/len(p)), atol=1e-5, rtol=0)
    torch.testing.assert_close(combine(p, 'max'), torch.maximum(p[0], p[1:].amax(0)))
    assert (combine(p, 'max') >= combine(p, beta=beta) - 1e-5).all()

@pytest.mark.parametrize('wrong,says', [(dict(n=0), 'n=0'), (dict(n=2.5), 'n=2.5'), (dict(views='up'), "unknown views 'up'"),
    (dict(reduce='vote'), "unknown reduce 'vote'"), (dict(beta=-.1), 'beta=-0.1'), (dict(beta=1.1), 'beta=1.1'),
    (dict(views='corners', crop=0), 'crop=0'), (dict(views='scales', scales=(1, 0)), 'scales=(1, 0)'), (dict(dl=[]), 'not a fastai loader')])
def test_wrong_values(learn, wrong, says):
    with pytest.raises(ValueError) as e: tta(learn, **wrong)
    assert says in str(e.value) and '\n' not in str(e.value)

def test_nothing_to_see(learn):
    with pytest.raises(ValueError, match='holds no pictures'): tta(Learner(learn.dls.new_empty(), learn.model, loss_func=SoftmaxLoss()))
    with pytest.raises(ValueError, match='pass dl'): tta(learn.model)
