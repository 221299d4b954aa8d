"A bundle is what was saved or one sentence: changed bytes, pickles, other shapes, paths that climb out, damaged JSON"
import hashlib, io, json, os, pickle, random, shutil
from pathlib import Path
import pytest, safetensors.torch, torch
from sota_vision.checkpoint import StopEarly
from sota_vision.data.folders import scan
from sota_vision.data.sources import data_path
from sota_vision.recipes import recipe
from sota_vision.sharing.bundle import facts_checksum, load_bundle, save_bundle
from sota_vision.sharing.predict import predict
from sota_vision.train import fit

@pytest.fixture(scope='module')
def result(): return fit(recipe('baseline', 'quick', epochs=1, tta=1), scan(data_path(prof='quick')), bar=False)

@pytest.fixture(scope='module')
def saved(result, tmp_path_factory): return save_bundle(result, tmp_path_factory.mktemp('saved')/'bundle')

@pytest.fixture
def bundle(saved, tmp_path): return Path(shutil.copytree(saved, tmp_path/'bundle'))

def refusal(folder):
    "The one sentence that loading `folder` ends in"
    with pytest.raises(ValueError) as e: load_bundle(folder)
    said = str(e.value)
    assert '\n' not in said and len(said) < 800 and ': ' in said
    return said

def rewrite(folder, sign=True, **changes):
    "Change values in bundle.json; with sums that fit, unless not `sign`"
    facts = json.loads((folder/'bundle.json').read_text()) | changes
    sums = facts.get('checksums')
    if sign and isinstance(sums, dict):
        sums['weights.safetensors'] = hashlib.sha256((folder/'weights.safetensors').read_bytes()).hexdigest()
        sums['bundle.json'] = facts_checksum(facts)
    (folder/'bundle.json').write_text(json.dumps(facts))

# What was saved

def test_weights_come_back_to_the_last_bit(result, saved):
    there = load_bundle(saved)
    want = result.learn.model.state_dict()
    got = there.net.state_dict()
    assert want.keys() == got.keys() and all(torch.equal(want[k].cpu(), got[k].cpu()) for k in want)
    assert there.labels == list(result.learn.dls.vocab) and there.facts['metrics']['accuracy'] == result.accuracy
    assert not there.net.training

def test_the_training_folder_is_not_needed(saved, tmp_path, monkeypatch):
    "A bundle names no path, and predicts where nothing else is"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('SOTA_VISION_DATA', 'nowhere')
    text = (saved/'bundle.json').read_text()
    assert str(data_path(prof='quick').parent) not in text
    assert predict(load_bundle(saved), [torch.zeros(40, 50, 3, dtype=torch.uint8)]).shape == (1, 10)

@pytest.mark.parametrize('changes', [
    dict(normalize=False), dict(loader='fastai'), dict(act='mish', sa=True), dict(stages=((1, 24), (1, 32)), epochs=2)])
def test_every_kind_of_recipe(changes, tmp_path):
    "Predictions are those of the `Learner`, whatever was trained"
    made = fit(recipe('baseline', 'quick', **dict(epochs=1) | changes), scan(data_path(prof='quick')), bar=False)
    files = made.learn.dls.valid_ds.items[:20]
    with made.learn.no_bar(): want,_ = made.learn.get_preds(dl=made.learn.dls.test_dl(files))
    got = predict(load_bundle(save_bundle(made, tmp_path/'bundle')), files)
    torch.testing.assert_close(got, want.cpu(), atol=1e-5, rtol=0)

@pytest.mark.parametrize('cbs', [[], [StopEarly(1)]], ids=['patience', 'a callback of your own'])
def test_a_fit_that_stops_early(cbs, tmp_path):
    "Patience waits for the last size; whatever else ends a fit, the bundle has the size that was reached"
    many = dict(epochs=7, lr=1e-9) | ({} if cbs else dict(patience=1))
    asked = recipe('baseline', 'quick', stages=((3, 16), (4, 32)), **many)
    made = fit(asked, scan(data_path(prof='quick')), cbs=cbs, bar=False)
    folder = save_bundle(made, tmp_path/'bundle')
    size = load_bundle(folder).facts['size']
    epochs = len(made.run['epochs'])
    assert (epochs <= 3 and size == 16) if cbs else (4 < epochs < 7 and size == 32)
    files = made.learn.dls.valid_ds.items[:20]
    with made.learn.no_bar(): want,_ = made.learn.get_preds(dl=made.learn.dls.test_dl(files))
    torch.testing.assert_close(predict(load_bundle(folder), files), want.cpu(), atol=1e-5, rtol=0)

def test_others_may_read_it(saved):
    "A folder made in a temporary one would be its owner's alone"
    assert saved.stat().st_mode & 0o777 == 0o777 & ~umask()

def umask():
    now = os.umask(0)
    os.umask(now)
    return now

def test_nothing_is_overwritten(result, saved):
    before = (saved/'bundle.json').read_bytes()
    with pytest.raises(ValueError, match='is there already'): save_bundle(result, saved)
    assert (saved/'bundle.json').read_bytes() == before

def test_full_disk_leaves_nothing(result, tmp_path, monkeypatch):
    def full(self, *args, **kwargs): raise OSError(28, 'No space left on device', str(self))
    monkeypatch.setattr(Path, 'write_text', full)
    with pytest.raises(OSError): save_bundle(result, tmp_path/'bundle')
    assert not list(tmp_path.iterdir())

def test_weights_that_are_not_finite(result, tmp_path):
    broken = fit(recipe('baseline', 'quick', epochs=1), scan(data_path(prof='quick')), bar=False)
    next(broken.learn.model.parameters()).data[0] = float('nan')
    with pytest.raises(ValueError, match='not finite'): save_bundle(broken, tmp_path/'bundle')
    assert not list(tmp_path.iterdir())

# What was changed

def test_a_changed_byte(bundle):
    "Each of a hundred bytes, in both files: the sentence, or the very same values"
    want = load_bundle(bundle).facts
    rng = random.Random(0)
    for name in 'weights.safetensors', 'bundle.json':
        data = (bundle/name).read_bytes()
        for _ in range(50):
            i,bit = rng.randrange(len(data)), 1 << rng.randrange(8)
            (bundle/name).write_bytes(data[:i]+bytes([data[i]^bit])+data[i+1:])
            try: assert load_bundle(bundle).facts == want and data[i] in b' \n'
            except ValueError as e: assert name in str(e) and '\n' not in str(e)
        (bundle/name).write_bytes(data)
    load_bundle(bundle)

@pytest.mark.parametrize('name', ['weights.safetensors', 'bundle.json'])
@pytest.mark.parametrize('tenth', range(10))
def test_truncated(bundle, name, tenth):
    data = (bundle/name).read_bytes()
    (bundle/name).write_bytes(data[:len(data)*tenth//10])
    assert name in refusal(bundle)

class Trap:
    "Unpickling one writes a file"
    def __init__(self, file): self.file = file
    def __reduce__(self): return Path.touch, (self.file,)

def pickles(trap):
    "A program in the three forms that weights are handed round in"
    zipped = io.BytesIO()
    torch.save(trap, zipped)
    return pickle.dumps(trap), zipped.getvalue(), pickle.dumps(trap, protocol=0)

@pytest.mark.parametrize('form', range(3))
@pytest.mark.parametrize('name', ['weights.safetensors', 'bundle.json'])
def test_a_pickle_is_not_run(bundle, tmp_path, name, form):
    trap = tmp_path/'sprung'
    (bundle/name).write_bytes(pickles(Trap(trap))[form])
    if name != 'bundle.json': rewrite(bundle)
    assert name in refusal(bundle) and not trap.exists()

@pytest.mark.parametrize('name', ['export.pkl', 'weights.pth'])
def test_a_pickle_instead_of_a_bundle(tmp_path, name):
    (tmp_path/name).write_bytes(pickles(Trap(tmp_path/'sprung'))[0])
    assert 'is a program that runs' in refusal(tmp_path/name) and not (tmp_path/'sprung').exists()

@pytest.mark.parametrize('name', ['../../secret', '/etc/passwd', 'C:\\secret', 'weights.safetensors/../x'])
def test_a_path_that_climbs_out(bundle, name):
    sums = json.loads((bundle/'bundle.json').read_text())['checksums']
    rewrite(bundle, checksums={**sums, name: '0'*64})
    assert 'names a file' in refusal(bundle)

damaged = dict(empty='', list='[]', word='"bundle"', open='{"format": ', deep='['*100_000, twice='{"a": 1, "a": 2}',
               nan='{"a": NaN}', huge='{"a": 1e999}', digits='{"a": %s}' % ('9'*5000), bytes=b'\xff\xfe{}',
               mark=b'\xef\xbb\xbf{}', zeros=b'\0'*100)
@pytest.mark.parametrize('kind', damaged)
def test_damaged_json(bundle, kind):
    text = damaged[kind]
    (bundle/'bundle.json').write_bytes(text.encode() if isinstance(text, str) else text)
    assert 'bundle.json' in refusal(bundle)

values = [
    dict(format='pickle'), dict(version=2), dict(version=True),
    dict(labels=[]), dict(labels='cat'), dict(labels=['a']*10), dict(labels=[1]*10), dict(labels=list('abcdefghijk')),
    dict(labels=[f'{i}' for i in range(100_000)]), dict(labels={'a': 1}), dict(labels=[['a'], ['b']]),
    dict(size=0), dict(size=-1), dict(size=1e9), dict(size=10**12), dict(size='64'), dict(size=True), dict(size=None),
    dict(statistics={}), dict(statistics=dict(mean=[0]*3, std=[0]*3)), dict(statistics=dict(mean=[0]*3, std=[1e999]*3)),
    dict(statistics=dict(mean=[0]*3, std=[-1]*3)), dict(statistics=dict(mean=0, std=1)), dict(statistics=[1]),
    dict(statistics=dict(mean=['0']*3, std=[1]*3)),
    dict(architecture='resnet'), dict(architecture={}), dict(architecture=dict(arch='os.system', act='relu', sa=False)),
    dict(architecture=dict(arch=['xresnet10'], act='relu', sa=False)),
    dict(architecture=dict(arch='xresnet10', act='eval', sa=False)),
    dict(architecture=dict(arch='xresnet18', act='relu', sa=False)),
    dict(architecture=dict(arch='xresnet10', act='relu', sa=1)),
    dict(preprocessing=None), dict(preprocessing=dict(presize=0, loader='cached', min_scale=.5)),
    dict(preprocessing=dict(presize=48, loader='exec', min_scale=.5)),
    dict(preprocessing=dict(presize=48, loader='cached', min_scale=2)),
    dict(preprocessing=dict(presize=10**9, loader='cached', min_scale=.5)),
    dict(preprocessing=dict(presize=48, loader=[], min_scale=.5)),
    dict(checksums=None), dict(checksums=[])]
@pytest.mark.parametrize('sign', [True, False])
@pytest.mark.parametrize('changes', values, ids=lambda o: str(o)[:40])
def test_values_that_cannot_be(bundle, changes, sign):
    rewrite(bundle, sign, **changes)
    refusal(bundle)

@pytest.mark.parametrize('key', 'format version labels architecture size statistics preprocessing checksums'.split())
def test_what_is_lacking(bundle, key):
    facts = json.loads((bundle/'bundle.json').read_text())
    del facts[key]
    (bundle/'bundle.json').write_text(json.dumps(facts))
    refusal(bundle)

def other_weights():
    "Name → what may be done to the tensors of a bundle"
    def drop(w): del w[next(iter(w))]
    def add(w): w['extra'] = torch.zeros(1)
    def reshape(w): w['0.0.weight'] = w['0.0.weight'][:1].clone()
    def halve(w): w['0.0.weight'] = w['0.0.weight'].half()
    def spoil(w): w['0.0.weight'][0] = float('inf')
    return dict(drop=drop, add=add, reshape=reshape, halve=halve, spoil=spoil)

@pytest.mark.parametrize('how', other_weights())
def test_weights_of_another_net(bundle, how):
    file = bundle/'weights.safetensors'
    weights = safetensors.torch.load_file(file)
    other_weights()[how](weights)
    file.write_bytes(safetensors.torch.save(weights))
    rewrite(bundle)
    assert 'weights.safetensors cannot be used' in refusal(bundle)

def test_nothing_there(tmp_path):
    assert 'no bundle at' in refusal(tmp_path/'nowhere')
    assert 'holds no bundle.json' in refusal(tmp_path)

@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes in the file system here')
@pytest.mark.parametrize('name', ['weights.safetensors', 'bundle.json'])
def test_what_would_never_end(bundle, name):
    "A pipe and a device are not read"
    for make in (os.mkfifo, lambda o: os.symlink('/dev/zero', o)):
        (bundle/name).unlink()
        make(bundle/name)
        assert 'no regular file' in refusal(bundle)
