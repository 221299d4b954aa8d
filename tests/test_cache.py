"The image cache survives what a disk and a killed process do to it, and names what it cannot read"
import hashlib, json, os, random, signal, sys, time, warnings
from contextlib import nullcontext
from pathlib import Path
import numpy as np
import psutil, pytest, torch
from PIL import Image
from sota_vision.data.cache import DeviceImageCache, make_cache, part_prefix, presized
from sota_vision.data.images import read_image

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

def made(files, folder): return make_cache(files, presize, folder, bar=False)
def names(folder): return sorted(o.name for o in folder.iterdir())

def digest(cache):
    arrays = cache.pixels, cache.shapes, cache.crop_offsets
    return hashlib.sha256(b''.join(np.ascontiguousarray(o).tobytes() for o in arrays)).hexdigest()

def by_hand(files):
    "What a cache of `files` must hold, without any cache"
    return hashlib.sha256(b''.join(presized(read_image(f), presize)[0].tobytes() for f in files)).hexdigest()

def content(cache): return hashlib.sha256(cache.pixels.tobytes()).hexdigest()

@pytest.fixture
def pictures(tmp_path): return draw(tmp_path/'own', 12)

# What happens to processes: each is a fork of this one, so that importing is paid for once

def child(f, *args):
    "Run `f` in a process of its own; its id"
    if pid := os.fork(): return pid
    try: f(*args); os._exit(0)
    except BaseException: os._exit(1)

def make_and_tell(files, folder, answer, right):
    "Make a cache, then write down whether its content is `right` and what warnings were given"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        same = digest(made(files, folder)) == right
    answer.write_text(json.dumps(dict(right=same, said=[str(o.message) for o in said])))

needs_fork = pytest.mark.skipif(not hasattr(os, 'fork'), reason='this system cannot fork')

@pytest.fixture(scope='module')
def many(tmp_path_factory): return draw(tmp_path_factory.mktemp('many'), 150)

@needs_fork
@pytest.mark.slow
def test_killed_at_any_moment(many, tmp_path):
    "After each of ten kills: nothing that looks like a cache is less than one, and the next process has the right one"
    t0 = time.perf_counter()
    right = digest(made(many, tmp_path/'fresh'))
    took,(name,),hits = time.perf_counter()-t0, names(tmp_path/'fresh'), 0
    for i in range(10):
        folder = tmp_path/f'killed{i}'
        pid = child(made, many, folder)
        time.sleep(random.uniform(0, took))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        left = names(folder) if folder.exists() else []
        hits += bool(left) and name not in left
        assert {n for n in left if not n.startswith(part_prefix)} <= {name}
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            assert digest(made(many, folder)) == right
    assert hits, 'no kill fell into the writing'

@needs_fork
def test_two_at_once(many, tmp_path):
    right = digest(made(many, tmp_path/'fresh'))
    pids = [child(make_and_tell, many, tmp_path/'two', tmp_path/f'answer{i}', right) for i in range(2)]
    assert [os.waitpid(p, 0)[1] for p in pids] == [0, 0] and names(tmp_path/'two') == names(tmp_path/'fresh')
    for i in range(2): assert json.loads((tmp_path/f'answer{i}').read_text()) == dict(right=True, said=[])

@needs_fork
def test_full_disk(many, tmp_path):
    "One sentence, a cache in memory, nothing left behind"
    right = digest(made(many, tmp_path/'fresh'))
    def limited():
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        make_and_tell(many, tmp_path/'full', tmp_path/'answer', right)
    assert os.waitpid(child(limited), 0)[1] == 0
    answer = json.loads((tmp_path/'answer').read_text())
    assert answer['right'] and names(tmp_path/'full') == []
    assert len(answer['said']) == 1 and 'cannot keep the decoded pictures' in answer['said'][0]

# Files that come, go and change

def test_second_time_from_disk(pictures, tmp_path):
    first = made(pictures, tmp_path/'caches')
    before = (tmp_path/'caches'/names(tmp_path/'caches')[0]/'pixels').stat().st_mtime_ns
    again = made(pictures, tmp_path/'caches')
    assert digest(first) == digest(again) and content(again) == by_hand(pictures)
    assert (tmp_path/'caches'/names(tmp_path/'caches')[0]/'pixels').stat().st_mtime_ns == before

def test_changed_file(pictures, tmp_path):
    made(pictures, tmp_path/'caches')
    stale = names(tmp_path/'caches')
    Image.new('RGB', (77, 99), (10, 200, 30)).save(pictures[3])
    cache = made(pictures, tmp_path/'caches')
    assert content(cache) == by_hand(pictures)
    assert len(names(tmp_path/'caches')) == 1 and names(tmp_path/'caches') != stale

def test_same_size_other_time(pictures, tmp_path):
    "A file of the same length, written again: its time tells"
    made(pictures, tmp_path/'caches')
    was,other = pictures[0].read_bytes(), bytearray(pictures[0].read_bytes())
    other[-3] ^= 1
    pictures[0].write_bytes(other)
    os.utime(pictures[0], ns=(time.time_ns(), time.time_ns()+1_000_000_000))
    assert len(other) == len(was) and content(made(pictures, tmp_path/'caches')) == by_hand(pictures)

def test_added_and_removed_file(pictures, tmp_path):
    made(pictures, tmp_path/'caches')
    first = names(tmp_path/'caches')
    more = [*pictures, *draw(tmp_path/'more', 1, seed=1)]
    for files in more, pictures[1:]:
        cache = made(files, tmp_path/'caches')
        assert len(cache) == len(files) and content(cache) == by_hand(sorted(files))
    assert len(names(tmp_path/'caches')) == 3 and first[0] in names(tmp_path/'caches')

def test_leftovers(pictures, tmp_path):
    "What a killed process left goes after an hour, what may still be written stays"
    for name,age in (part_prefix+'old', 4000), (part_prefix+'new', 10):
        (tmp_path/'caches'/name).mkdir(parents=True)
        os.utime(tmp_path/'caches'/name, (time.time()-age,)*2)
    (tmp_path/'caches'/(part_prefix+'slow')/'cache').mkdir(parents=True)     # begun two hours ago, written to just now
    (tmp_path/'caches'/(part_prefix+'slow')/'cache/pixels').write_bytes(b'abc')
    for o in 'cache', '': os.utime(tmp_path/'caches'/(part_prefix+'slow')/o, (time.time()-7200,)*2)
    made(pictures, tmp_path/'caches')
    left = names(tmp_path/'caches')
    assert {part_prefix+'new', part_prefix+'slow'} < {*left} and part_prefix+'old' not in left

def test_forgotten_and_foreign(pictures, tmp_path):
    "A month later our own cache goes; what else lies in that folder is none of our business, however old"
    made(pictures[:5], tmp_path)
    own, = [o for o in tmp_path.iterdir() if o.name.startswith('train-')]
    others = [tmp_path/'thesis', tmp_path/'train-256px-0123456789ab-0123456789ab']
    for o in others: o.mkdir(); (o/'chapter.txt').write_text('mine')
    for o in (own, *others): os.utime(o, (0, 0))
    made(pictures, tmp_path)
    assert not own.exists() and all((o/'chapter.txt').read_text() == 'mine' for o in others)

def test_folder_like_a_pattern(tmp_path):
    "Brackets in a folder's name: the stale cache goes all the same"
    files = draw(tmp_path/'pets [2024]', 6)
    made(files, tmp_path/'caches')
    os.utime(files[0], (0, 0))
    made(files, tmp_path/'caches')
    assert len(names(tmp_path/'caches')) == 1

@pytest.mark.parametrize('harm', [
    lambda o: (o/'table.npz').unlink(), lambda o: (o/'table.npz').write_bytes(b''),
    lambda o: (o/'pixels').write_bytes(b'abc')], ids=['no table', 'empty table', 'short pixels'])
def test_damaged_cache(harm, pictures, tmp_path):
    "It is made anew, and nobody has to know"
    good = digest(made(pictures, tmp_path/'caches'))
    cache, = (tmp_path/'caches').iterdir()
    harm(cache)
    assert digest(made(pictures, tmp_path/'caches')) == good and names(tmp_path/'caches') == [cache.name]

# A disk or a picture that is not as it should be

def test_no_folder_to_write(pictures, tmp_path):
    (tmp_path/'file').write_text('mine')
    with pytest.warns(UserWarning, match='cannot keep the decoded pictures') as said:
        cache = made(pictures, tmp_path/'file/caches')
    assert len(said) == 1 and content(cache) == by_hand(pictures) and (tmp_path/'file').read_text() == 'mine'

def test_without_a_disk_they_are_decoded_once(pictures, tmp_path):
    "As long as somebody holds them; a changed picture is another one"
    (tmp_path/'file').write_text('mine')
    with pytest.warns(UserWarning, match='cannot keep'): cache = made(pictures, tmp_path/'file/caches')
    assert made(pictures, tmp_path/'file/caches') is cache
    os.utime(pictures[0], (0, 0))
    with pytest.warns(UserWarning, match='cannot keep'): assert made(pictures, tmp_path/'file/caches') is not cache

def test_damaged_cache_is_closed_before_it_is_removed(pictures, tmp_path, monkeypatch):
    "Windows removes no file that somebody has open"
    made(pictures, tmp_path/'caches')
    cache, = (tmp_path/'caches').iterdir()
    (cache/'pixels').write_bytes(bytes((cache/'pixels').stat().st_size))
    held,replace = [], Path.replace
    def watched(self, target):
        if self == cache: held.extend(o.path for o in psutil.Process().memory_maps() if str(cache) in o.path)
        return replace(self, target)
    monkeypatch.setattr(Path, 'replace', watched)
    made(pictures, tmp_path/'caches')
    assert held == []

@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may write anywhere')
def test_forbidden_folder(pictures, tmp_path):
    (tmp_path/'caches').mkdir(mode=0o500)
    with pytest.warns(UserWarning, match='cannot keep the decoded pictures'): cache = made(pictures, tmp_path/'caches')
    assert content(cache) == by_hand(pictures)

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
    with pytest.raises(ValueError) as e: made(pictures, tmp_path/'caches')
    assert str(pictures[7]) in str(e.value) and '\n' not in str(e.value)
    assert names(tmp_path/'caches') == []

def test_huge_picture(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(ValueError, match='12 pictures cannot be read'): made(pictures, tmp_path/'caches')
    with pytest.raises(ValueError, match='has more than 200 pixels; save it smaller'): read_image(pictures[0])

def test_zeroed_pixels(pictures, tmp_path):
    "Damage that keeps every length is found by the checksum"
    good = digest(made(pictures, tmp_path/'caches'))
    cache, = (tmp_path/'caches').iterdir()
    (cache/'pixels').write_bytes(bytes((cache/'pixels').stat().st_size))
    assert digest(made(pictures, tmp_path/'caches')) == good

def test_all_broken_pictures_are_named(pictures, tmp_path):
    for i in (0, 4, 9): pictures[i].write_bytes(b'')
    with pytest.raises(ValueError, match='3 pictures cannot be read') as e: made(pictures, tmp_path/'caches')
    assert all(str(pictures[i]) in str(e.value) for i in (0, 4, 9))

@pytest.mark.parametrize('name', [b'caf\xe9.png', 'Ärger 東京.png'.encode()], ids=['latin-1', 'utf-8'])
def test_names_of_files(name, tmp_path):
    file = os.fsdecode(os.fsencode(tmp_path)+b'/'+name)
    try: Image.new('RGB', (9, 9), (1, 2, 3)).save(file, 'PNG')
    except OSError: pytest.skip('this file system takes no such name')
    for _ in range(2): assert made([file], tmp_path/'caches')[0].tolist() == [[[1, 2, 3]]*presize]*presize

def test_pictures_anywhere(tmp_path):
    "Pictures need no folder of classes above them"
    Image.new('RGB', (9, 9)).save(tmp_path/'a.png')
    assert len(made([tmp_path/'a.png'], tmp_path/'caches')) == 1

@pytest.mark.parametrize('size', [(1, 40), (40, 1), (1, 1)])
@pytest.mark.parametrize('side', [49, 98, 103])
def test_one_pixel_wide(size, side, tmp_path):
    "Where short/presize*presize is a little below 1"
    Image.new('RGB', size, (1, 2, 3)).save(tmp_path/'thin.png')
    cache = make_cache([tmp_path/'thin.png'], side, tmp_path/'caches', bar=False)
    assert cache.crops([0])[0].flatten(1).unique(dim=1).flatten().tolist() == [1, 2, 3]

def test_folder_with_a_long_name(tmp_path):
    folder = tmp_path/('x'*240)
    folder.mkdir()
    Image.new('RGB', (9, 9)).save(folder/'a.png')
    with warnings.catch_warnings(action='error') if sys.version_info >= (3, 11) else nullcontext():
        made([folder/'a.png'], tmp_path/'caches')
    assert len(names(tmp_path/'caches')) == 1

def test_a_strip_is_kept_in_part(tmp_path):
    Image.new('RGB', (3000, 2)).save(tmp_path/'strip.png')
    cache = make_cache([tmp_path/'strip.png'], 8, tmp_path/'caches', bar=False)
    assert cache[0].shape == (8, 32, 3) and cache.crops([0], rand=True).shape == (1, 3, 8, 8)

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_same_crops_on_the_card(pictures, tmp_path):
    cache = made(pictures, tmp_path/'caches')
    there = DeviceImageCache(cache, 'cuda')
    for rand in (False, True):
        crops = [(torch.manual_seed(0), o.crops([*range(12)], rand))[1].cpu() for o in (cache, there)]
        assert torch.equal(*crops)

@pytest.fixture
def thousands(pictures, tmp_path):
    "So many that processes read them; one in twelve is damaged"
    pictures[5].write_bytes(b'no picture')
    files = [tmp_path/'many'/f'{i:04}.jpg' for i in range(5520)]
    files[0].parent.mkdir()
    for i,f in enumerate(files): f.hardlink_to(pictures[i%12])
    files += [tmp_path/'many'/f'{i}.png' for i in range(6000, 6010)]
    for f in files[-10:]: Image.new('L', (30, 20)).save(f)
    return files

def test_thousands_are_read_by_processes_and_hold_the_same(thousands, tmp_path):
    "Nothing depends on who decodes: the pixels are in order, what cannot be read is named, no random number is used up"
    before = torch.get_rng_state()
    cache = make_cache(thousands, 8, tmp_path/'caches', bar=False, skip=True)
    assert torch.equal(before, torch.get_rng_state())
    assert cache.unreadable == thousands[5:5520:12]
    for i in (*[i for i in range(0, 5520, 227) if i%12 != 5], 5523, 5529):
        file = thousands[i]
        with Image.open(file) as im: written = im.size, im.mode
        assert np.array_equal(cache[i], presized(read_image(file), 8)[0]) and cache.size_and_mode(file) == written
    with pytest.raises(ValueError, match='460 pictures cannot be read'):
        make_cache(thousands, 8, tmp_path/'caches', bar=False)

@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux reads by processes')
@pytest.mark.parametrize('sign', [signal.SIGKILL, signal.SIGTERM])
def test_no_process_stays_behind(sign, thousands, tmp_path):
    pid = child(make_cache, [o for o in thousands if o.stat().st_size > 20], presize, tmp_path/'caches', False)
    # results are on their way when some have arrived
    while not any(f.stat().st_size > 5e6 for f in (tmp_path/'caches').rglob('pixels')): time.sleep(.01)
    assert (workers := psutil.Process(pid).children())
    os.kill(pid, sign)
    os.waitpid(pid, 0)
    assert not psutil.wait_procs(workers, timeout=20)[1]
