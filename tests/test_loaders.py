"What fastai's interface promises, kept by its own loaders and by those from the image cache alike"
import numpy as np
import pytest, torch
from fastai.vision.all import (
    ClassificationInterpretation, Normalize, PILImage, Resize, ResizeMethod, TensorImage, ToTensor, Transform,
    load_learner, Pipeline, TensorCategory)
from PIL import Image
from sota_vision.baseline import make_learner, set_seed
from sota_vision.data.folders import scan
from sota_vision.data.loaders import cached_dls
from sota_vision.data.sources import data_path
from sota_vision.imagenette import get_dls
from sota_vision.mixup import Mixup
from sota_vision.normalization import with_stats
from sota_vision.progressive import ProgressiveResize
from sota_vision.tta import tta

kinds = ['plain', 'cached']

@pytest.fixture(scope='module')
def some(): return scan(data_path(prof='quick')).some(60, 40)

@pytest.fixture
def loaders(tmp_path):
    "Function of (kind, bs, size, split, …): loaders of that kind"
    def made(kind, *args, **kw):
        if kind == 'plain': return get_dls(*args, workers=0, **kw)
        return cached_dls(*args, caches=tmp_path/'caches', bar=False, **kw)
    return made

@pytest.fixture(params=kinds)
def dls(request, loaders, some): return loaders(request.param, 8, 32, some, presize=40)

@pytest.fixture
def both(loaders, some): return [loaders(kind, 8, 32, some, presize=40) for kind in kinds]

@pytest.fixture
def own(tmp_path):
    "A folder of small pictures that a test may change"
    rng = np.random.default_rng(0)
    for part in ('train', 'val'):
        for c in 'ab':
            (tmp_path/'own'/part/c).mkdir(parents=True)
            for i in range(6):
                noise = rng.integers(0, 256, (40, 60, 3), np.uint8)
                Image.fromarray(noise).save(tmp_path/'own'/part/c/f'{i}.png')
    return tmp_path/'own'

def quiet(learn, f):
    with learn.no_bar(), learn.no_logging(): return f()

def alike(a, b, tol=1e-4): torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), atol=tol, rtol=0)

# Batches

def test_shapes_and_kinds(dls):
    x,y = dls.one_batch()
    assert x.shape == (8, 3, 32, 32) and x.dtype == torch.float32 and isinstance(x, TensorImage)
    assert y.shape == (8,) and y.dtype == torch.int64
    assert [len(o) for o in dls.loaders] == [60//8, 5] and dls.c == 10

def test_validation_pictures_are_the_same(both):
    for (a,ya),(b,yb) in zip(*(dls.valid for dls in both)):
        alike(a, b)
        assert torch.equal(torch.as_tensor(ya), torch.as_tensor(yb))

@pytest.mark.parametrize('size, presize', [(64, 80), (128, 160), (96, 96)])
def test_validation_photos_are_the_same(photos, loaders, size, presize):
    some = scan(photos).some(20, 60)
    pairs = [loaders(kind, 20, size, some, presize=presize).valid for kind in kinds]
    for (a,_),(b,_) in zip(*pairs): alike(a, b, 1/255/.22)

@pytest.mark.parametrize('aug', [True, False])
def test_with_and_without_augmentation(loaders, some, aug):
    pairs = [loaders(kind, 8, 32, some, presize=40, aug=aug) for kind in kinds]
    for (a,_),(b,_) in zip(*(dls.valid for dls in pairs)): alike(a, b)
    x = [torch.cat([b[0] for b in dls.train.new(shuffle=False, drop_last=False)]) for dls in pairs]
    assert x[0].shape == x[1].shape

def test_without_normalization(loaders, some):
    for kind in kinds:
        x = loaders(kind, 8, 32, some, presize=40, stats=None).one_batch()[0]
        assert 0 <= x.min() and x.max() <= 1

def test_classes_in_the_order_asked_for(loaders, some):
    asked = ['parachute', 'church']
    for kind in kinds: assert list(loaders(kind, 4, 32, some, presize=40, classes=asked).vocab) == asked

@pytest.mark.parametrize('kw, words', [
    (dict(bs=0), 'bs=0'), (dict(bs=10**6), 'take a smaller batch'),
    (dict(size=0), 'size=0'), (dict(presize=16), 'presize=16 is below size=32'), (dict(min_scale=0), 'min_scale=0'),
    (dict(classes=['church']), 'two or more'), (dict(classes=['church', 'unicorn']), "'unicorn'")])
@pytest.mark.parametrize('kind', kinds)
def test_mistakes(kind, kw, words, loaders, some):
    args = dict(bs=8, size=32, presize=40) | kw
    with pytest.raises(ValueError, match=words): loaders(kind, args.pop('bs'), args.pop('size'), some, **args)

@pytest.mark.parametrize('device', ['cpu', torch.device('cpu')])
@pytest.mark.parametrize('kind', kinds)
def test_device_by_name(kind, device, loaders, some):
    dls = loaders(kind, 8, 32, some, presize=40, device=device)
    assert torch.device(dls.device) == torch.device('cpu') and dls.one_batch()[0].device.type == 'cpu'

def test_size_beyond_the_presize(loaders, some):
    dls = loaders('cached', 8, 32, some, presize=40)
    with pytest.raises(ValueError, match='above presize=40'): dls.train.set_size(48)

# Other pictures, other transforms

def as_path(f): return f
def as_picture(f): return PILImage.create(f)
def as_array(f): return np.asarray(Image.open(f).convert('RGB'))
def as_grey_array(f): return np.asarray(Image.open(f).convert('L'))
def as_grey_picture(f): return Image.open(f).convert('L')
def as_palette(f): return Image.open(f).convert('P')

@pytest.mark.parametrize('given', [as_path, as_picture, as_array, as_grey_array, as_grey_picture, as_palette])
def test_predict(given, both):
    item = given(both[0].valid_ds.items[3])
    set_seed(0)
    model = make_learner(both[0], 'xresnet10').model
    answers = []
    for dls in both:
        learn = make_learner(dls, 'xresnet10')
        learn.model.load_state_dict(model.state_dict())
        name,i,probs = quiet(learn, lambda: learn.predict(item))
        assert name == dls.vocab[int(i)]
        answers.append(probs)
    alike(*answers)

def test_predict_after_the_file_was_replaced(own, loaders):
    for kind in kinds:
        learn = make_learner(loaders(kind, 4, 32, own, presize=40), 'xresnet10')
        file,white = own/'val/a/0.png', Image.new('RGB', (40, 40), 'white')
        white.save(file)
        alike(quiet(learn, lambda: learn.predict(file))[2], quiet(learn, lambda: learn.predict(white))[2])

def test_new_item_transforms_are_used(own, loaders):
    ramp = np.tile(np.linspace(0, 255, 120), (40, 1)).astype(np.uint8)
    for f in own.rglob('*.png'): Image.fromarray(ramp).convert('RGB').save(f)
    for kind in kinds:
        dls = loaders(kind, 4, 32, own, presize=32, stats=None)
        x = dls.valid.new(after_item=[Resize(32, ResizeMethod.Squish), ToTensor()]).one_batch()[0]
        assert x.min() < .05 and x.max() > .95     # a crop of the middle would have lost both ends

class Black(Transform):
    "An item transform of somebody else's"
    def encodes(self, x:PILImage): return PILImage.create(np.zeros((40, 40, 3), np.uint8))

def added(dls): dls.add_tfms([Black()], 'after_item')
def added_to_one(dls): dls.valid.after_item.add(Black())
def exchanged(dls): dls.valid.after_item = Pipeline([Black(), Resize(40), ToTensor()])
def added_to_the_dataset(dls): dls.valid_ds.tls[0].tfms.add(Black())
def own_items(dls):
    dls.valid.create_item = lambda i: (Black()(PILImage.create(dls.valid_ds.items[i])), TensorCategory(0))

@pytest.mark.parametrize('asked', [False, True], ids=['before the first batch', 'after it'])
@pytest.mark.parametrize('change', [added, added_to_one, exchanged, added_to_the_dataset, own_items])
def test_whatever_makes_the_items_is_used(change, asked, both):
    "However an item transform gets there, and whenever"
    for dls in both:
        if asked: dls.valid.one_batch()
        change(dls)
        x = dls.valid.one_batch()[0]
        alike(x, x.amax((0, 2, 3), keepdim=True).expand_as(x))     # black all over

def test_labels_changed_after_the_first_batch(both):
    for dls in both:
        dls.valid.one_batch()
        dls.valid_ds.tls[1].tfms = Pipeline([lambda o: TensorCategory(1)])
        assert set(dls.valid.one_batch()[1].tolist()) == {1}

def test_a_file_replaced_after_the_first_batch(own, loaders):
    "The next pass shows what is in the file now"
    for kind in kinds:
        dls = loaders(kind, 4, 32, own, presize=40)
        dls.valid.one_batch()
        Image.new('RGB', (40, 60), (9, 9, 9) if kind == 'plain' else (250, 9, 9)).save(dls.valid_ds.items[0])
        x = dls.valid.one_batch()[0][0]
        alike(x, x.amax((1, 2), keepdim=True).expand_as(x))

class Halved(Transform):
    "A batch transform of somebody else's, which expects pixels from 0 to 1"
    order = 40
    def encodes(self, x:TensorImage):
        assert 0 <= x.min() and x.max() <= 1
        return x/2

def test_added_batch_transforms_see_pixels(both):
    for dls in both: dls.add_tfms([Halved()], 'after_batch')
    for (a,_),(b,_) in zip(*(dls.valid for dls in both)): alike(a, b)

def test_test_dl(both):
    files = list(both[0].valid_ds.items[:9])
    batches = [[dls.test_dl(files, with_labels=labels).one_batch() for dls in both] for labels in (False, True)]
    for pair in batches:
        for a,b in zip(*pair): alike(a, b)

def test_normalizes_once(dls):
    assert [sum(isinstance(t, Normalize) for t in dl.after_batch.fs) for dl in dls.loaders] == [1, 1]
    net = make_learner(dls, 'xresnet10').model.cpu()
    assert with_stats(net, dls)(torch.rand(2, 3, 32, 32)).shape == (2, 10)

def test_pictures_are_shown_as_they_were(both, some):
    for dls in both:
        x,y = dls.valid.one_batch()
        back = dls.valid.after_batch.decode((x, y))[0]
        assert 0 <= back.min() and 200 < back.max() <= 255 and not back.is_floating_point()
        dls.show_batch(max_n=4)

def test_both_loaders_read_from_the_cache(loaders, some, monkeypatch):
    "Validation pictures are decoded once too, and so are those asked about again with `test_dl`"
    dls = loaders('cached', 8, 32, some, presize=40)
    def refuse(*args, **kw): raise AssertionError('a picture of the cache was opened')
    monkeypatch.setattr(Image, 'open', refuse)
    for dl in (*dls.loaders, dls.test_dl(list(some.valid[:9]), with_labels=True)):
        for _ in dl: pass

# On a learner

def test_trains(dls):
    "Progressive resizing and mixup at once: sizes as asked, and the net learns"
    set_seed(0)
    sizes = []
    learn = make_learner(dls, 'xresnet10', cbs=[ProgressiveResize(((1, 24), (2, 32))), Mixup(.2)])
    learn.model.register_forward_hook(lambda m, x, y: sizes.append((m.training, x[0].shape[-1])))
    quiet(learn, lambda: learn.fit_one_cycle(3, 5e-3))
    assert [s for t,s in sizes if t] == [24]*7 + [32]*14
    losses = [v[0] for v in learn.recorder.values]
    assert losses[-1] < losses[0] and np.isfinite(losses).all()

def test_views_averaged(dls):
    learn = make_learner(dls, 'xresnet10')
    plain,targs = learn.get_preds()
    probs,ys = quiet(learn, lambda: tta(learn, 2, seed=0))
    theirs,_ = quiet(learn, lambda: learn.tta(n=2))
    assert probs.shape == theirs.shape == plain.shape == (40, 10) and torch.equal(ys, torch.as_tensor(targs))
    alike(probs.sum(1), torch.ones(40))
    assert not torch.equal(probs, plain)        # the views differ

def test_finds_a_rate_and_shows_results(dls):
    learn = make_learner(dls, 'xresnet10')
    found = quiet(learn, lambda: learn.lr_find(num_it=7, show_plot=False))
    assert 0 < found.valley < 10
    learn.show_results(max_n=4)
    interp = ClassificationInterpretation.from_learner(learn)
    assert interp.confusion_matrix().sum() == 40
    interp.plot_top_losses(4)

def pickled_arrays(file):
    "Elements of the largest uint8 tensor or array in a pickle, read without running it"
    import zipfile
    with zipfile.ZipFile(file) as z: sizes = [o.file_size for o in z.infolist() if '/data/' in o.filename]
    return max(sizes, default=0)

def test_export_leaves_the_pictures_behind(dls, tmp_path):
    "A model that is given away holds weights, labels and transforms, no photo and no name of one"
    learn = make_learner(dls, 'xresnet10', path=tmp_path)
    learn.export('net.pkl')
    weights = sum(p.numel()*p.element_size() for p in learn.model.state_dict().values())
    assert (tmp_path/'net.pkl').stat().st_size < weights + 200_000
    largest = max(p.numel()*p.element_size() for p in learn.model.state_dict().values())
    assert pickled_arrays(tmp_path/'net.pkl') <= largest
    data = (tmp_path/'net.pkl').read_bytes()
    assert not any(f.name.encode() in data for f in dls.train_ds.items)
    loaded = load_learner(tmp_path/'net.pkl')
    assert quiet(loaded, lambda: loaded.predict(dls.valid_ds.items[0]))[0] in dls.vocab

@pytest.mark.parametrize('first', [True, False], ids=['the first picture', 'a later one'])
@pytest.mark.parametrize('kind', kinds)
def test_a_broken_picture_is_named(kind, first, own, loaders):
    broken = own/'train/a/0.png' if first else own/'train/b/3.png'
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(ValueError, match='cannot be read as a picture') as e:
        for _ in loaders(kind, 4, 32, own, presize=40).train: pass
    assert str(broken) in str(e.value)

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_statistics_follow_the_net(some):
    loaders = get_dls(8, 32, some, presize=40, workers=0, device='cpu')
    net = make_learner(loaders, 'xresnet10').model.cpu()
    assert with_stats(net, loaders)(torch.rand(2, 3, 32, 32)).shape == (2, 10)
