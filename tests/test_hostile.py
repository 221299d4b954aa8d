"A hundred inputs that nobody should give: a result or one sentence, exit code 2, nothing written"
import io, os
from pathlib import Path
import numpy as np
import pytest
from PIL import Image
from sota_vision.cli.report import sota_report
from sota_vision.cli.train import read_pictures, sota_train
from sota_vision.data.overview import overview, overview_text
from sota_vision.recipe import Recipe

tiny = Recipe(arch='xresnet10', size=8, presize=8, epochs=1, bs=2)

def drawn(kind='PNG', seed=0):
    "The bytes of a small picture"
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 16, 3)).astype(np.uint8)).save(data, kind)
    return data.getvalue()

pictures = [drawn(seed=i) for i in range(12)]

def put(root, *names):
    "Pictures called `names` in `root`, each another one"
    for i,name in enumerate(names):
        (root/name).parent.mkdir(parents=True, exist_ok=True)
        (root/name).write_bytes(pictures[i%12])

flat = [f'{c}/{i}.png' for c in ('cat', 'dog') for i in range(5)]

@pytest.fixture
def pets(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    put(tmp_path/'pets', *flat)
    return tmp_path/'pets'

def files_in(folder): return {o: o.stat().st_mtime_ns for o in folder.rglob('*') if o.is_file()}

def one_sentence(capsys, command, *words):
    with pytest.raises(SystemExit) as e: command([str(o) for o in words])
    err = capsys.readouterr().err.splitlines()
    assert e.value.code == 2 and err and err[-1].startswith(f'{command.__name__}: '), err
    assert 'Traceback' not in ''.join(err), err
    return err[-1]

# Flags

flags = [
    '--runs 0', '--runs -1', '--runs 1.5', '--runs 1000000000', '--runs many', '--seed -1', '--seed 1e3',
    '--seed 99999999999999999999', '--epochs 0', '--epochs -5', '--epochs 1000000000', '--epochs 1e9', '--epochs nan',
    '--size 0', '--size 1', '--size -1', '--size 1000000', '--presize 1', '--bs 0', '--bs 1', '--bs -2',
    '--bs 1000000000000', '--bs 11', '--lr 0', '--lr -1', '--lr nan', '--lr inf', '--lr fast', '--wd -1',
    '--mixup -1', '--mixup inf',
    '--label-smoothing 1', '--label-smoothing -0.1', '--label-noise 2', '--tta -1', '--tta 1000000', '--patience -1',
    '--min-scale 0', '--min-scale 2', '--arch alexnet', '--opt sgd', '--act tanh', '--split all',
    '--stages 1', '--stages 0x0',
    '--stages 1x-3', '--stages 9x64,9x64', '--precision fp8', '--profile huge', '--recipe nowhere',
    '--recipe /', '--unknown 1',
    '--split-seed -1', '--resume nowhere', '--resume .', '--out file.txt', '--out file.txt/below',
    '--data nowhere', '--data file.txt']

@pytest.mark.parametrize('words', flags)
def test_flags(words, pets, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('file.txt').write_text('mine')
    given = words.split()
    if '--resume' not in words and '--data' not in words: given += ['--data', 'pets']
    before = files_in(tmp_path)
    one_sentence(capsys, sota_train, *given)
    after = files_in(tmp_path)
    assert {k: v for k,v in after.items() if tmp_path/'cache' not in k.parents} == before
    assert not Path('runs', '1').exists()

deep = '['*100_000
recipes = dict(deep=deep, text='hello', list='[]', unknown='{"colour": 1}', wrong='{"epochs": "many"}',
               nan='{"lr": NaN}',
               null='{"arch": null}', huge='{"epochs": 1e400}', stages='{"stages": [[1]]}', binary='\0\1\2')

@pytest.mark.parametrize('name', recipes)
def test_recipes(name, pets, tmp_path, capsys):
    (tmp_path/'mine.json').write_text(recipes[name])
    one_sentence(capsys, sota_train, '--data', pets, '--recipe', tmp_path/'mine.json', '--out', tmp_path/'out')
    assert not (tmp_path/'out').exists()

# Folders

def two_ways(root): put(root, *(f'{p}/{o}' for p in ('train', 'valid', 'Val') for o in flat))
def a_loop(root):
    put(root, *flat)
    (root/'cat/again').symlink_to(root, target_is_directory=True)
    (root/'cat/itself.png').symlink_to('itself.png')
def a_pipe(root):
    put(root, *flat)
    os.mkfifo(root/'cat/pipe.png')
def a_device(root):
    put(root, *flat)
    (root/'cat/zero.png').symlink_to('/dev/zero')
def strange_names(root):
    put(root, *flat, 'cat/a\nb.png', 'cat/\x1b[2J.png', 'cat/-.png', 'cat/$(x).png', 'dog/'+'ä'*100+'.png')
def no_utf8(root):
    put(root, *flat)
    Path(os.fsdecode(os.fsencode(root/'cat')+b'/caf\xe9.png')).write_bytes(pictures[0])

folders = {     # name → (what makes the folder, words of the sentence, or None for a result)
    'empty': (lambda root: root.mkdir(), 'is empty'),
    'one class': (lambda root: put(root, *flat[:5]), 'needs two or more'),
    'loose': (lambda root: put(root, '1.png', '2.png'), 'no class folders'),
    'beside': (lambda root: put(root, *flat, '1.png'), 'lies beside the class folders'),
    'two ways': (two_ways, 'both'), 'loop': (a_loop, None), 'strange': (strange_names, None),
    'no utf-8': (no_utf8, None),
    'upper case': (lambda root: put(root, *(f'{p}/{o}' for p in ('TRAIN', 'Testing') for o in flat)), None),
    'nested': (lambda root: put(root, *flat, 'cat/wild/old/9.png'), None),
    'unknown class': (lambda root: put(root, *(f'train/{o}' for o in flat), 'val/fox/1.png'), 'no net can learn it'),
    'two spellings': (lambda root: put(root, *(f'{c}/{i}.png' for c in ('e\u0301', '\u00e9') for i in range(5))),
                      'are one class'),
    'single pictures': (lambda root: put(root, 'cat/1.png', 'dog/1.png'), 'for validation'),
    'hidden': (lambda root: put(root, *flat, '.git/1.png', 'cat/.thumb.png', '__MACOSX/cat/1.png'), None)}
if hasattr(os, 'mkfifo'): folders |= {'pipe': (a_pipe, None), 'device': (a_device, None)}

@pytest.mark.parametrize('name', folders)
def test_folders(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    make,words = folders[name]
    make(tmp_path/'pets')
    if words: assert words in one_sentence(capsys, sota_train, '--data', tmp_path/'pets', '--out', tmp_path/'out')
    else:
        split,cache = read_pictures(tmp_path/'pets', tiny, False, 0)
        about = overview(split, cache)
        text = overview_text(about)
        assert about == overview(split)
        assert split.classes == ['cat', 'dog'] and len(split.files) >= 10 and text.replace('\n', '').isprintable()
    assert not (tmp_path/'out').exists()

# Tables

rows = [f'pets/{o},{o[:3]}' for o in flat]
tables = {
    'good': (rows, None), 'semicolons': ([o.replace(',', ';') for o in rows], None),
    'names': (['path,label', *rows], None), 'crlf': ([o+'\r' for o in rows], None),
    'split': ([f'{o},{"val" if "4" in o else "TRAIN"}' for o in rows], None),
    'empty': ([], 'is empty'), 'one column': ([o[:5] for o in rows], 'one column'),
    'climbs': ([*rows, '../../secret.png,cat'], 'climbs out'), 'ghost': ([*rows, 'ghost.png,cat'], 'cannot be found'),
    'twice': ([*rows, 'pets/cat/0.png,dog'], 'something else'), 'short': ([*rows, 'pets/cat/0.png'], 'cells'),
    'no label': ([*rows, 'pets/cat/1.png,'], 'is empty'), 'binary': (['\0\0,\0'], 'no text'),
    'maybe': ([f'{o},maybe' for o in rows], 'unknown split'),
    'two splits': ([f'{o},{"val" if "4" in o else "test"}' for o in rows], 'keep one'),
    'quote': ([*rows, '"pets/cat/1.png,cat'], 'cells')}

@pytest.mark.parametrize('name', tables)
def test_tables(name, pets, tmp_path, capsys):
    lines,words = tables[name]
    (tmp_path/'table.csv').write_text('\n'.join(lines), newline='')
    if words: assert words in one_sentence(capsys, sota_train, '--data', tmp_path/'table.csv', '--out', tmp_path/'out')
    else: assert len(read_pictures(tmp_path/'table.csv', tiny, False, 0)[0].files) == 10

# Pictures

bad = {f'{kind.lower()} {i} tenths': (f'bad.{kind.lower()}', drawn(kind)[:len(drawn(kind))*i//10])
       for kind in ('PNG', 'BMP', 'GIF') for i in range(0, 10, 2)}
bad |= {'zip': ('bad.jpg', b'PK\3\4'+bytes(100)), 'page': ('bad.png', b'<html></html>'),
        'program': ('bad.jpg', b'%!PS-Adobe'),
        'zeros': ('bad.tif', bytes(500)), 'pickle': ('bad.webp', b'\x80\x04cos\nsystem\n')}

def test_all_unreadable_at_once(pets, tmp_path, capsys):
    for i,(name,data) in enumerate(bad.values()): (pets/'cat'/f'{i}-{name}').write_bytes(data)
    names = {f'{i}-{name}' for i,(name,_) in enumerate(bad.values())}
    for words in ([], ['--loader', 'fastai']):
        said = one_sentence(capsys, sota_train, '--data', pets, '--out', tmp_path/'out', *words)
        assert all(o in said for o in names) and not (tmp_path/'out').exists()
    split,_ = read_pictures(pets, tiny, True, 0)
    assert {f.name for f in split.unreadable} == names and len(split.files) == 10
    assert all(o in overview_text(overview(split)) for o in names)

# Folders of runs

damaged = {'nothing': {}, 'deep': {'run.json': deep}, 'list': {'run.json': '[]'},
           'old': {'run.json': '{"accuracy": 1}'},
           'text': {'run.json': 'accuracy'}, 'start': {'start.json': deep}, 'start list': {'start.json': '[]'},
           'start empty': {'start.json': '{}'}}

@pytest.mark.parametrize('name', damaged)
def test_damaged_runs(name, tmp_path, capsys):
    (tmp_path/'run').mkdir()
    for file,text in damaged[name].items(): (tmp_path/'run'/file).write_text(text)
    before = files_in(tmp_path)
    one_sentence(capsys, sota_report, tmp_path/'run')
    one_sentence(capsys, sota_train, '--resume', tmp_path/'run')
    assert files_in(tmp_path) == before
