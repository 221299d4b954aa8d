"The store survives what a disk and a killed process do to it; its loaders have the face of fastai's"
import hashlib, json, os, subprocess, sys, time
from pathlib import Path
import numpy as np
import pytest, torch
from fastai.vision.all import Callback, ClassificationInterpretation, load_learner
from PIL import Image
from sota_vision.bench import some_of, store_bytes
from sota_vision.imagenette import data_path, get_dls, get_files
from sota_vision.mixup import Mixup
from sota_vision.normalization import with_stats
from sota_vision.ondevice import Autocast, CudaStore, DataWait, NoSync, _part, make_store, presized, store_dls
from sota_vision.progressive import ProgressiveResize
from sota_vision.recipe import _Compiled, fit, recipe
from sota_vision.training import make_learner, seeded
from sota_vision.tta import tta

root = Path(__file__).resolve().parents[1]
presize = 256   # more than most of the pictures have, so that writing takes a moment

def draw(folder, n, seed=0):
    "`n` JPEGs of many shapes, laid out like Imagenette's training pictures"
    rng = np.random.default_rng(seed)
    for i in range(n):
        f = folder/'train'/f'class{i%3}'/f'{i}.jpg'
        f.parent.mkdir(parents=True, exist_ok=True)
        w,h = map(int, rng.integers(40, 200, 2))
        Image.fromarray(rng.integers(0, 256, (h//8+2, w//8+2, 3), np.uint8)).resize((w, h), Image.BICUBIC).save(f)
    return sorted(folder.rglob('*.jpg'))

def made(files, folder): return make_store(files, presize, folder=folder, bar=False)
def names(folder): return sorted(o.name for o in folder.iterdir())
def digest(store): return hashlib.sha256(b''.join(np.ascontiguousarray(o).tobytes() for o in (store.pixels, store.shapes, store.begins))).hexdigest()

def by_hand(files):
    "What a store of `files` must hold, without any store"
    return hashlib.sha256(b''.join(presized(f, presize)[0].tobytes() for f in files)).hexdigest()

def content(store): return hashlib.sha256(store.pixels.tobytes()).hexdigest()

@pytest.fixture
def pictures(tmp_path): return draw(tmp_path/'own', 12)

# What happens to processes: one of them forks the others, so that importing is paid for once

forks = r'''
import json, os, random, resource, signal, sys, time, warnings
from pathlib import Path
from test_ondevice import digest, made, names
data,work = map(Path, sys.argv[1:])
files = sorted(data.rglob('*.jpg'))

def child(f, *args):
    "Run `f` in a process of its own; its id"
    if pid := os.fork(): return pid
    try: f(*args); os._exit(0)
    except BaseException as e: print(repr(e), file=sys.stderr, flush=True); os._exit(1)

def make(folder, answer=None):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        right = digest(made(files, folder)) == fresh
    if answer: answer.write_text(json.dumps(dict(right=right, said=[str(o.message) for o in said])))

def limited(folder, answer):
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
    make(folder, answer)

start = time.perf_counter()
fresh = digest(made(files, work/'fresh'))
took,killed = time.perf_counter()-start, []
for i in range(10):
    folder = work/f'killed{i}'
    pid = child(make, folder)
    time.sleep(random.uniform(0, took))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    left = names(folder) if folder.exists() else []
    make(folder, work/'answer')
    killed.append(dict(left=left, after=names(folder)) | json.loads((work/'answer').read_text()))

pids = [child(make, work/'two', work/f'two{i}') for i in range(2)]
two = [os.waitpid(p, 0)[1] for p in pids]
full = os.waitpid(child(limited, work/'full', work/'limited'), 0)[1]
print(json.dumps(dict(killed=killed, exits=[*two, full], store=names(work/'fresh')[0], two=names(work/'two'), full=names(work/'full'),
                      answers={o: json.loads((work/o).read_text()) for o in ('two0', 'two1', 'limited')})))
'''

@pytest.fixture(scope='module')
def forked(tmp_path_factory):
    "What became of stores that were killed, made twice at once, and made on a disk that takes files of 1 MiB"
    if not hasattr(os, 'fork'): pytest.skip('this system cannot fork')
    data,work = tmp_path_factory.mktemp('many')/'data', tmp_path_factory.mktemp('work')
    draw(data, 150)
    env = os.environ | {'PYTHONPATH': os.pathsep.join([str(root), str(root/'tests')])}
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', forks, str(data), str(work)], env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])

def test_killed_at_any_moment(forked):
    "After each of ten kills: nothing that looks like a store is less than one, and the next process has the right one"
    for o in forked['killed']:
        assert {n for n in o['left'] if not n.startswith(_part)} <= {forked['store']}, o
        assert o['right'] and forked['store'] in o['after'] and not o['said'], o
    assert any(o['left'] and forked['store'] not in o['left'] for o in forked['killed']), 'no kill fell into the writing'

def test_two_at_once(forked):
    assert forked['exits'][:2] == [0, 0] and forked['two'] == [forked['store']]
    assert all(forked['answers'][o] == dict(right=True, said=[]) for o in ('two0', 'two1')), forked['answers']

def test_full_disk(forked):
    "One sentence, a store in memory, nothing left behind"
    answer = forked['answers']['limited']
    assert forked['exits'][2] == 0 and answer['right'] and forked['full'] == []
    assert len(answer['said']) == 1 and 'cannot keep the decoded pictures' in answer['said'][0] and '\n' not in answer['said'][0]

# Files that come, go and change

def test_second_time_from_disk(pictures, tmp_path):
    first = made(pictures, tmp_path/'stores')
    before = (tmp_path/'stores'/names(tmp_path/'stores')[0]/'pixels').stat().st_mtime_ns
    again = made(pictures, tmp_path/'stores')
    assert digest(first) == digest(again) and content(again) == by_hand(pictures)
    assert (tmp_path/'stores'/names(tmp_path/'stores')[0]/'pixels').stat().st_mtime_ns == before

def test_changed_file(pictures, tmp_path):
    made(pictures, tmp_path/'stores')
    stale = names(tmp_path/'stores')
    Image.new('RGB', (77, 99), (10, 200, 30)).save(pictures[3])
    store = made(pictures, tmp_path/'stores')
    assert content(store) == by_hand(pictures)
    assert len(names(tmp_path/'stores')) == 1 and names(tmp_path/'stores') != stale

def test_same_size_other_time(pictures, tmp_path):
    "A file of the same length, written again: its time tells"
    made(pictures, tmp_path/'stores')
    was,other = pictures[0].read_bytes(), bytearray(pictures[0].read_bytes())
    other[-3] ^= 1
    pictures[0].write_bytes(other)
    os.utime(pictures[0], ns=(time.time_ns(), time.time_ns()+1_000_000_000))
    assert len(other) == len(was) and content(made(pictures, tmp_path/'stores')) == by_hand(pictures)

def test_added_and_removed_file(pictures, tmp_path):
    made(pictures, tmp_path/'stores')
    first = names(tmp_path/'stores')
    more = [*pictures, *draw(tmp_path/'more', 1, seed=1)]
    for files in more, pictures[1:]:
        store = made(files, tmp_path/'stores')
        assert len(store) == len(files) and content(store) == by_hand(files)
    assert len(names(tmp_path/'stores')) == 3 and first[0] in names(tmp_path/'stores')     # a list of its own is a store of its own

def test_leftovers(pictures, tmp_path):
    "What a killed process left goes after an hour, what may still be written stays"
    for name,age in (_part+'old', 4000), (_part+'new', 10):
        (tmp_path/'stores'/name).mkdir(parents=True)
        os.utime(tmp_path/'stores'/name, (time.time()-age,)*2)
    made(pictures, tmp_path/'stores')
    left = names(tmp_path/'stores')
    assert _part+'new' in left and _part+'old' not in left

def test_forgotten_and_foreign(pictures, tmp_path):
    "A month later our own store goes; what else lies in that folder is none of our business, however old"
    made(pictures[:5], tmp_path)
    own, = [o for o in tmp_path.iterdir() if o.name.startswith('own-')]
    others = [tmp_path/'thesis', tmp_path/'own-256px-0123456789ab-0123456789ab']
    for o in others: o.mkdir(); (o/'chapter.txt').write_text('mine')
    for o in (own, *others): os.utime(o, (0, 0))
    made(pictures, tmp_path)
    assert not own.exists() and all((o/'chapter.txt').read_text() == 'mine' for o in others)

def test_folder_like_a_pattern(tmp_path):
    "Brackets in a folder's name: the stale store goes all the same"
    files = draw(tmp_path/'pets [2024]', 6)
    made(files, tmp_path/'stores')
    os.utime(files[0], (0, 0))
    made(files, tmp_path/'stores')
    assert len(names(tmp_path/'stores')) == 1

@pytest.mark.parametrize('harm', [lambda o: (o/'table.npy').unlink(), lambda o: (o/'table.npy').write_bytes(b''), lambda o: (o/'pixels').write_bytes(b'abc')],
                         ids=['no table', 'empty table', 'short pixels'])
def test_damaged_store(harm, pictures, tmp_path):
    "It is made anew, and nobody has to know"
    good = digest(made(pictures, tmp_path/'stores'))
    store, = (tmp_path/'stores').iterdir()
    harm(store)
    assert digest(made(pictures, tmp_path/'stores')) == good and names(tmp_path/'stores') == [store.name]

# A disk or a picture that is not as it should be

def test_no_folder_to_write(pictures, tmp_path):
    (tmp_path/'file').write_text('mine')
    with pytest.warns(UserWarning, match='cannot keep the decoded pictures') as said: store = made(pictures, tmp_path/'file/stores')
    assert len(said) == 1 and content(store) == by_hand(pictures) and (tmp_path/'file').read_text() == 'mine'

@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may write anywhere')
def test_forbidden_folder(pictures, tmp_path):
    (tmp_path/'stores').mkdir(mode=0o500)
    with pytest.warns(UserWarning, match='cannot keep the decoded pictures'): store = made(pictures, tmp_path/'stores')
    assert content(store) == by_hand(pictures)

def cut(f, n): f.write_bytes(f.read_bytes()[:n])
def scratched_png(f):
    Image.effect_noise((90, 60), 50).save(f, 'PNG')
    data = bytearray(f.read_bytes())
    data[60:90] = bytes(30)
    f.write_bytes(data)

def broken_png(f):
    "A second chunk of pixels whose header makes no sense"
    Image.effect_noise((400, 300), 50).save(f, 'PNG')
    data = f.read_bytes()
    second = data.index(b'IDAT', data.index(b'IDAT')+4)
    f.write_bytes(data[:second] + b'\0\1\2\3' + data[second+4:])

damages = dict(empty=lambda f: cut(f, 0), header=lambda f: cut(f, 30), half=lambda f: cut(f, f.stat().st_size//2),
               text=lambda f: f.write_text('not a picture'), png=scratched_png, chunk=broken_png)

@pytest.mark.parametrize('kind', damages)
def test_damaged_picture(kind, pictures, tmp_path):
    damages[kind](pictures[7])
    with pytest.raises(ValueError) as e: made(pictures, tmp_path/'stores')
    assert str(pictures[7]) in str(e.value) and '\n' not in str(e.value)
    assert names(tmp_path/'stores') == []

@pytest.mark.parametrize('draft', [False, True])
@pytest.mark.parametrize('side', [20, 64, 100, 256])
def test_predicted_bytes(side, draft, pictures, tmp_path):
    store = make_store(pictures, side, draft, tmp_path/'stores', False)
    assert store_bytes(pictures, side, draft) == store.pixels.size == sum(o.stat().st_size for o in (tmp_path/'stores').rglob('pixels'))

def test_huge_picture(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(ValueError, match='cannot be read as a picture'): made(pictures, tmp_path/'stores')

# The face of fastai's loaders

@pytest.fixture(scope='module')
def some(tmp_path_factory): return some_of(data_path(prof='tiny'), 80, tmp_path_factory.mktemp('some'))

@pytest.fixture
def dls(some, tmp_path): return store_dls(8, 32, some, presize=40, stores=tmp_path/'stores', bar=False)

def quiet(learn, f):
    with learn.no_bar(), learn.no_logging(): return f()

def test_trains(dls):
    "Progressive resizing and mixup at once: sizes as asked, and the net learns"
    seeded(0)
    sizes = []
    learn = make_learner(dls, 'xresnet10', cbs=[ProgressiveResize(((1, 24), (2, 32))), Mixup(.2)])
    learn.model.register_forward_hook(lambda m, x, y: sizes.append((m.training, x[0].shape[-1])))
    quiet(learn, lambda: learn.fit_one_cycle(3, 5e-3))
    assert [s for t,s in sizes if t] == [24]*10 + [32]*20
    losses = [v[0] for v in learn.recorder.values]
    assert losses[-1] < losses[0] and np.isfinite(losses).all()

def test_tta(dls):
    learn = make_learner(dls, 'xresnet10')
    plain,targs = learn.get_preds()
    probs,ys = quiet(learn, lambda: tta(learn, 2, seed=0))
    theirs,_ = quiet(learn, lambda: learn.tta(n=2))
    assert probs.shape == theirs.shape == plain.shape == (80, 10) and torch.equal(ys, torch.as_tensor(targs))
    torch.testing.assert_close(probs.sum(1), torch.ones(80))
    assert not torch.equal(probs, plain)        # the views differ

def test_finds_and_shows(dls):
    learn = make_learner(dls, 'xresnet10')
    found = quiet(learn, lambda: learn.lr_find(num_it=12, show_plot=False))
    assert 0 < found.valley < 10
    dls.show_batch(max_n=4); learn.show_results(max_n=4)
    interp = ClassificationInterpretation.from_learner(learn)
    assert interp.confusion_matrix().sum() == 80
    interp.plot_top_losses(4)

def test_asked_about_other_pictures(dls, some, tmp_path):
    "`test_dl` and `predict`, for pictures in the store and for some that are not"
    learn,files = make_learner(dls, 'xresnet10'), get_files(some)[1]
    new = tmp_path/'new.png'
    Image.open(files[0]).save(new)      # the same pixels, read one by one
    stored,_ = learn.get_preds(dl=dls.test_dl(files[:9]))
    mixed,_ = learn.get_preds(dl=dls.test_dl([new, *files[1:9]]))
    torch.testing.assert_close(stored, mixed, atol=.02, rtol=0)
    name,i,probs = learn.predict(files[0])
    assert name == dls.vocab[int(i)]
    torch.testing.assert_close(probs, stored[0], atol=.02, rtol=0)

def grey_levels(a, b): return (255*.23*(torch.as_tensor(a)-torch.as_tensor(b)).abs()).max().item()

def agree(path, stores, size, presize):
    "Largest difference between the store's validation pictures and fastai's, in grey levels, and how many were compared"
    ours,theirs = store_dls(20, size, path, presize=presize, stores=stores, bar=False), get_dls(20, size, path, presize=presize, workers=0)
    pairs = [(a[0], b[0], torch.equal(torch.as_tensor(a[1]), torch.as_tensor(b[1]))) for a,b in zip(ours.valid, theirs.valid)]
    assert all(o for *_,o in pairs)
    return max(grey_levels(a, b) for a,b,_ in pairs), sum(len(a) for a,*_ in pairs)

def test_validation_as_fastai(some, tmp_path):
    worst,n = agree(some, tmp_path/'stores', 32, 40)
    assert worst <= 1 and n == 80

@pytest.mark.parametrize('size, presize', [(64, 80), (128, 160), (96, 96)])
def test_validation_as_fastai_on_photos(photos, size, presize, tmp_path):
    worst,n = agree(some_of(photos, 120, tmp_path/'some'), tmp_path/'stores', size, presize)
    assert worst <= 1 and n == 120

def test_export_leaves_the_pictures_behind(dls, some, tmp_path):
    "A model that is given away carries no photo of those it learned from, and still predicts"
    def size(loaders):
        learn = make_learner(loaders, 'xresnet10', path=tmp_path)
        learn.export('net.pkl')
        return (tmp_path/'net.pkl').stat().st_size
    assert size(dls) < size(get_dls(8, 32, some, presize=40, workers=0)) + 50_000 < size(dls) + dls.train.store.pixels.size
    assert load_learner(tmp_path/'net.pkl').predict(get_files(some)[1][0])[0] in dls.vocab

class _Stop(Callback):
    def after_batch(self): raise KeyboardInterrupt

def test_interrupted(dls):
    "A fit that broke off leaves the next one nothing to stumble over"
    learn = make_learner(dls, 'xresnet10', cbs=[NoSync(), DataWait(), Autocast(), _Compiled()])
    loss,metrics = learn.recorder.loss, list(learn._metrics)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(torch, 'compile', lambda f: f)
        with pytest.raises(KeyboardInterrupt): quiet(learn, lambda: learn.fit(1, cbs=_Stop()))
        quiet(learn, lambda: learn.fit(1))
    assert learn.recorder.loss is loss and list(learn._metrics) == metrics and 'forward' not in vars(learn.model)
    assert not learn.model._forward_pre_hooks and not learn.model._forward_hooks

# On a GPU

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')

@cuda
def test_same_squares_on_the_card(pictures, tmp_path):
    store = made(pictures, tmp_path/'stores')
    there = CudaStore(store, 'cuda')
    for rand in (False, True):
        squares = [(torch.manual_seed(0), o.squares([*range(12)], rand))[1].cpu() for o in (store, there)]
        assert torch.equal(*squares)

@cuda
def test_same_net_twice_on_the_card(some, tmp_path):
    runs = [fit(recipe('best', 'tiny', epochs=2), some, 3, False, tmp_path).run for _ in range(2)]
    assert runs[0]['epochs'] == runs[1]['epochs']

@cuda
def test_statistics_follow_the_net(some):
    loaders = get_dls(8, 32, some, presize=40, workers=0, device='cpu')
    net = make_learner(loaders, 'xresnet10').model.cpu()
    assert with_stats(net, loaders)(torch.rand(2, 3, 32, 32)).shape == (2, 10)
