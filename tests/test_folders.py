"Folders and tables as people have them: named from here, half emptied, from a phone or a Mac, on two drives"
import ntpath, os, pickle, shutil
from multiprocessing.context import set_spawning_popen
from unicodedata import normalize
import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import train_test_split
from sota_vision.cli.predict import picture_files
from sota_vision.cli.train import read_pictures
from sota_vision.data.cache import cache_name
from sota_vision.data.folders import scan
from sota_vision.data.overview import overview
from sota_vision.experiments.ledger import fingerprint
from sota_vision.files import cache_folder, path_from
from sota_vision.imagenette import data_block
from sota_vision.recipes import recipe
from sota_vision.train import loaders_for, pictures_key

@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch): monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'xdg'))

def draw(folder, **counts):
    "So many pictures of each class"
    rng = np.random.default_rng(0)
    for name,n in counts.items():
        (folder/name).mkdir(parents=True, exist_ok=True)
        for i in range(n): Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).save(folder/name/f'{i}.png')
    return folder

@pytest.mark.parametrize('way', ['.', './', '../own', 'link'])
def test_wherever_it_is_named_from_the_split_is_the_same(way, tmp_path, monkeypatch):
    "Names that differ in their first two letters only stay different"
    own = draw(tmp_path/'own', cats=10, bats=10, rats=10)
    whole = scan(own)
    if way == 'link': (own.parent/'elsewhere').mkdir(); shutil.copytree(own, own.parent/'elsewhere/own')
    monkeypatch.chdir(own.parent/'elsewhere/own' if way == 'link' else own)
    here = scan('.' if way == 'link' else way)
    def ends(files): return sorted('/'.join(f.absolute().parts[-2:]) for f in files)
    assert ends(here.valid) == ends(whole.valid) and ends(here.train) == ends(whole.train) and len(here.files) == 30

def test_class_whose_training_pictures_are_gone(tmp_path):
    own = draw(tmp_path/'own', a=10, b=2)
    gone = [f for f in scan(own).train if f.parent.name == 'b']
    for f in gone: f.unlink()
    with pytest.raises(ValueError, match="no training picture of the class 'b'.*add some"): scan(own)
    draw(own, b=4)
    assert scan(own).counts()['train']['b'] == 3

def test_random_split_without_a_class(tmp_path):
    split = scan(draw(tmp_path/'own', a=20, b=20, c=2))
    def trained(seed): return {*map(split.label_of, train_test_split(split.files, test_size=.2, random_state=seed)[0])}
    lost = [seed for seed in range(30) if trained(seed) < {*'abc'}]
    assert 0 < len(lost) < 30
    for seed in range(30):
        if seed not in lost: split.random(seed); continue
        with pytest.raises(ValueError, match="leaves the class 'c' no training picture"): split.random(seed)

def test_pictures_of_a_phone(tmp_path):
    "What was passed over is said where nothing else was found"
    own = draw(tmp_path/'own', a=5)
    (own/'b').mkdir()
    for i in range(3): (own/'b'/f'{i}.HEIC').write_bytes(b'x')
    said = 'passed over: ending .heic 3; convert what is a picture'
    with pytest.raises(ValueError, match=said): scan(own)
    with pytest.raises(ValueError, match=said): picture_files([own/'b'], {})
    shutil.rmtree(own/'a')
    with pytest.raises(ValueError, match=said): scan(own)

def test_link_to_a_folder_above(tmp_path):
    "It would bring what validates into training"
    own = draw(tmp_path/'own/train', a=4, b=4).parent
    draw(own/'val', a=2, b=2)
    try: (own/'train/a/up').symlink_to(own, target_is_directory=True)
    except OSError: pytest.skip('this system makes no links')
    assert scan(own).counts()['train'] == dict(a=4, b=4)

@pytest.mark.parametrize('forms', [('NFC', 'NFD'), ('NFD', 'NFC')])
def test_accents_of_a_mac(forms, tmp_path):
    "A table and the names of files spell é in two ways"
    table,disk = (normalize(o, 'é') for o in forms)
    own = draw(tmp_path/'own', **{disk: 4, 'b': 4})
    rows = [f'{table if o != "b" else "b"}/{i}.png,{o != "b"}' for o in ('é', 'b') for i in range(4)]
    (own/'t.csv').write_text('\n'.join(['path,label', *rows]), encoding='utf-8')
    assert len(scan(own/'t.csv').files) == 8

@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_first_line_of_excel(end, tmp_path):
    own = draw(tmp_path/'own', a=3, b=3)
    rows = ['sep=;', 'path;label', *(f'{o}/{i}.png;{o}, or so' for o in 'ab' for i in range(3))]
    (own/'t.csv').write_text(end.join(rows), encoding='utf-8', newline='')
    assert scan(own/'t.csv').classes == ['a, or so', 'b, or so']
    (own/'t.csv').write_text(end.join([*rows, 'a/9.png']), encoding='utf-8', newline='')
    with pytest.raises(ValueError, match=r'line 9: 1 cells'): scan(own/'t.csv')

def test_table_of_another_drive(tmp_path, monkeypatch):
    "Windows has no way from one drive to the other"
    draw(tmp_path/'d', a=5, b=5)
    (tmp_path/'c').mkdir()
    rows = [f'{tmp_path}/d/{o}/{i}.png,{o}' for o in 'ab' for i in range(5)]
    (tmp_path/'c/t.csv').write_text('\n'.join(['path,label', *rows]))
    assert fingerprint(scan(tmp_path/'c/t.csv'))
    real = os.path.relpath
    def relpath(path, start=os.curdir):
        if '/d/' in str(path) and '/c' in str(start): return ntpath.relpath('D:\\a.png', 'C:\\t')
        return real(path, start)
    def commonpath(paths): return ntpath.commonpath(['C:\\a', 'D:\\b'])
    monkeypatch.setattr(os.path, 'relpath', relpath)
    monkeypatch.setattr(os.path, 'commonpath', commonpath)
    split = scan(tmp_path/'c/t.csv')
    assert split.counts() == dict(train=dict(a=4, b=4), valid=dict(a=1, b=1))
    assert pictures_key(split) and fingerprint(split) and cache_name(split.files, 8).startswith('pictures-8px-')
    assert overview(split) and path_from(split.train[0], split.root) == str(split.train[0])

@pytest.mark.parametrize('deep', [False, True])
def test_a_loaders_process_takes_the_labels(deep, tmp_path):
    "As they are sent where processes are not forked: to Windows, a Mac, Python 3.14"
    own = draw(tmp_path/'own', **({'a/1': 5, 'b/2': 5} if deep else dict(a=5, b=5)))
    if not deep:
        rows = [f'{o}/{i}.png,is {o}' for o in 'ab' for i in range(5)]
        (own/'t.csv').write_text('\n'.join(['path,label', *rows]))
    split = scan(own if deep else own/'t.csv')
    ds = data_block(split, 8, 9).dataloaders(split.files, bs=2, path=split.root).train_ds
    try:
        set_spawning_popen(object())
        sent = pickle.dumps(ds)
    finally: set_spawning_popen(None)
    assert [int(y) for _,y in pickle.loads(sent)] == [int(y) for _,y in ds]
    assert str(own).encode() not in pickle.dumps(split.label_of)    # nor does an exported `Learner` tell them

def test_lost_pictures_are_decoded_once(tmp_path):
    "A table names some that are not there: the cache that the command makes is the one that the fit opens"
    own = draw(tmp_path/'own', a=6, b=6)
    rows = [f'{o}/{i}.png,{o}' for o in 'ab' for i in range(8)]
    (own/'t.csv').write_text('\n'.join(['path,label', *rows]))
    (own/'b/0.png').write_bytes(b'damaged')
    asked = recipe('baseline', 'quick', bs=4)
    split,cache = read_pictures(own/'t.csv', asked, True, 0)
    assert len(split.unreadable) == 5 and len(cache) == len(split.files) == 11
    loaders_for(asked, split, bar=False)
    assert len([*cache_folder().iterdir()]) == 1
