"`sota_train` and a user's mistake: one sentence, exit code 2, no run written down"
import os, subprocess, sys
from pathlib import Path
import pytest
from PIL import Image
from sota_vision.cli import sota_train
from sota_vision.imagenette import check_data, data_block, get_files

def tree(path, *files):
    "A folder `path` that holds tiny pictures called `files`"
    path.mkdir(parents=True, exist_ok=True)
    for f in files:
        (path/f).parent.mkdir(parents=True, exist_ok=True)
        if f.endswith('.png'): Image.new('RGB', (16, 16)).save(path/f)
        else: (path/f).touch()
    return path

def said(capsys, *args):
    "The one line that `sota_train` leaves with"
    with pytest.raises(SystemExit) as e: sota_train(list(map(str, args)))
    err = capsys.readouterr().err
    assert e.value.code == 2, err
    assert err.count('\n') == 1 and err.endswith('\n') and err.startswith('sota_train: ') and 'Traceback' not in err, err
    return err

train = 'train/cat/1.png', 'train/dog/1.png'
@pytest.fixture
def data(tmp_path): return tree(tmp_path/'data', *train, 'val/cat/1.png')

folders = dict(
    empty=((), 'is empty'),
    single=(('train/cat/1.png', 'val/cat/1.png'), 'holds 1 class folder'),
    bare=((*train, 'train/fox/note.txt', 'val/cat/1.png'), 'holds no pictures'),
    bare_val=((*train, 'val/cat/note.txt'), 'holds no pictures'),
    no_val=(train, 'no val/'),
    no_train=(('val/cat/1.png', 'val/dog/1.png'), 'no train/'),
    deep=((*train, 'train/cat/wild/2.png', 'val/cat/1.png'), 'lie too deep: move them up into'),
    only_deep=((*train, 'val/cat/wild/old/1.png'), 'lie too deep: move them up into'),
    loose=((*train, 'train/2.png', 'val/cat/1.png'), 'lies beside the class folders'),
    unknown=((*train, 'val/fox/1.png'), 'no net can learn it'))

@pytest.mark.parametrize('name', folders)
def test_folder(name, tmp_path, capsys):
    files,words = folders[name]
    err = said(capsys, '--profile', 'tiny', '--data', tree(tmp_path/'data', *files), '--out', tmp_path/'out')
    assert words in err and str(tmp_path/'data') in err
    assert not list(tmp_path.rglob('run.json'))

def test_what_is_no_picture_may_lie_anywhere(tmp_path):
    "Lists, hidden folders and folders of notes are nobody's mistake"
    path = tree(tmp_path/'data', *train, 'val/cat/1.png', 'list.csv', 'train/list.csv', 'train/cat/notes/1.txt', 'train/cat/.thumbs/1.png', 'train/.old/1.png')
    assert check_data(path) == path and list(map(len, get_files(path))) == [2, 1]

def test_loaders_hold_what_is_listed(tmp_path):
    "A picture that lies too deep or beside the class folders is neither counted nor trained on, and makes no class"
    path = tree(tmp_path/'data', *train, 'train/cat/wild/2.png', 'train/2.png', 'val/cat/1.png')
    files,dls = get_files(path), data_block(16, 16).dataloaders(path, bs=1)
    assert [list(o.items) for o in (dls.train, dls.valid)] == list(map(list, files)) and [len(o) for o in files] == [2, 1]
    assert list(dls.vocab) == ['cat', 'dog']

def test_missing_folder(tmp_path, capsys):
    assert str(tmp_path/'nowhere') in said(capsys, '--data', tmp_path/'nowhere', '--out', tmp_path/'out')
    assert not (tmp_path/'out').exists()

def test_missing_from_environment(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('SOTA_VISION_DATA', str(tmp_path/'nowhere'))
    assert 'no folder at' in said(capsys, '--profile', 'cpu', '--out', tmp_path/'out')

@pytest.mark.parametrize('args, words', [
    (('--arch', 'resnet1000'), "'resnet1000'"), (('--size', 0), 'size=0'), (('--bs', 0), 'bs=0'), (('--bs', -1), 'bs=-1'),
    (('--epochs', 0), 'epochs=0'), (('--presize', 0), 'presize=0'), (('--lr', 0), 'lr=0'), (('--profile', 'huge'), "'huge'"),
    (('--size', 96, '--presize', 48), 'presize=48'), (('--bs', 100_000), 'bs=100000')])
def test_value(args, words, data, tmp_path, capsys):
    profile = () if '--profile' in args else ('--profile', 'tiny')
    assert words in said(capsys, *profile, *args, '--data', data, '--out', tmp_path/'out')
    assert not list(tmp_path.rglob('run.json'))

def test_out_holds_a_run(data, tmp_path, capsys):
    run = tree(tmp_path/'out')/'run.json'
    run.write_text('{}')
    assert str(tmp_path/'out') in said(capsys, '--profile', 'tiny', '--data', data, '--out', tmp_path/'out')
    assert run.read_text() == '{}' and [o.name for o in (tmp_path/'out').iterdir()] == ['run.json']

def test_out_is_a_file(data, tmp_path, capsys):
    (tmp_path/'out').write_text('mine')
    err = said(capsys, '--profile', 'tiny', '--data', data, '--out', tmp_path/'out')
    assert str(tmp_path/'out') in err and 'is a file' in err
    assert (tmp_path/'out').read_text() == 'mine'

def test_exit_code(tmp_path):
    code = 'from sota_vision.cli import sota_train; sota_train()'
    cmd = [sys.executable, '-W', 'ignore', '-c', code, '--profile', 'tiny', '--data', str(tmp_path/'nowhere'), '--out', str(tmp_path/'out')]
    root = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(cmd, cwd=tmp_path, env=os.environ | {'PYTHONPATH': root}, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count('\n') == 1 and str(tmp_path/'nowhere') in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())
