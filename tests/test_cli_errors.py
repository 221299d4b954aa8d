"`sota_train` and a user's mistake: one sentence, exit code 2, no run written down"
import errno, io, json, os, shutil, signal, subprocess, sys, warnings
from dataclasses import replace
from pathlib import Path
import pytest
from PIL import Image
from sota_vision.cli.core import command, error_sentence, guard
from sota_vision.cli.train import sota_train
from sota_vision.data.folders import scan
from sota_vision.recipes import recipe
from sota_vision.train import check_batch

def tree(path, *files):
    "A folder `path` that holds tiny pictures called `files`"
    path.mkdir(parents=True, exist_ok=True)
    for f in files:
        (path/f).parent.mkdir(parents=True, exist_ok=True)
        if f.endswith('.png'): Image.new('RGB', (16, 16)).save(path/f)
        else: (path/f).touch()
    return path

def mistake(capsys, *args):
    "The one line that `sota_train` leaves with"
    with pytest.raises(SystemExit) as e: sota_train([str(o) for o in args])
    err = capsys.readouterr().err
    assert e.value.code == 2, err
    assert err.count('\n') == 1 and err.endswith('\n') and err.startswith('sota_train: '), err
    return err

train = 'train/cat/1.png', 'train/dog/1.png'
@pytest.fixture
def data(tmp_path): return tree(tmp_path/'data', *train, 'val/cat/1.png')

folders = dict(
    empty=((), 'is empty'),
    single=(('train/cat/1.png', 'val/cat/1.png'), 'holds 1 class folder'),
    bare=((*train, 'train/fox/note.txt', 'val/cat/1.png'), 'holds no pictures'),
    bare_val=((*train, 'val/cat/note.txt'), 'holds no pictures'),
    no_val=((*train, 'vall/cat/1.png'), 'no val/: give vall/ that name'),
    no_train=(('val/cat/1.png', 'val/dog/1.png'), 'no train/'),
    twice=((*train, 'val/cat/1.png', 'Test/cat/1.png'), 'both Test/ and val/'),
    no_folders=(('1.png', '2.png'), 'pictures and no class folders'),
    loose=((*train, 'train/2.png', 'val/cat/1.png'), 'lies beside the class folders'),
    unknown=((*train, 'val/fox/1.png'), 'no net can learn it'))

@pytest.mark.parametrize('name', folders)
def test_folder(name, tmp_path, capsys):
    files,words = folders[name]
    err = mistake(capsys, '--profile', 'tiny', '--data', tree(tmp_path/'data', *files), '--out', tmp_path/'out')
    assert words in err and str(tmp_path/'data') in err
    assert not list(tmp_path.rglob('run.json'))

def test_what_is_no_picture_may_lie_anywhere(tmp_path):
    "Lists, hidden folders and folders of notes are nobody's mistake"
    notes = 'list.csv', 'train/list.csv', 'train/cat/notes/1.txt', 'train/cat/.thumbs/1.png', 'train/.old/1.png'
    split = scan(tree(tmp_path/'data', *train, 'val/cat/1.png', *notes))
    assert (len(split.train), len(split.valid), split.classes) == (2, 1, ['cat', 'dog'])

def test_missing_folder(tmp_path, capsys):
    assert str(tmp_path/'nowhere') in mistake(capsys, '--data', tmp_path/'nowhere', '--out', tmp_path/'out')
    assert not (tmp_path/'out').exists()

def test_empty_name_of_the_folder(tmp_path, capsys, monkeypatch):
    "It is not the folder that one happens to be in"
    monkeypatch.chdir(tree(tmp_path/'data', *train, 'val/cat/1.png'))
    assert 'data folder is empty' in mistake(capsys, '--profile', 'tiny', '--data', '', '--out', tmp_path/'out')

def test_missing_from_environment(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('SOTA_VISION_DATA', str(tmp_path/'nowhere'))
    assert 'no folder at' in mistake(capsys, '--profile', 'cpu', '--out', tmp_path/'out')

@pytest.mark.parametrize('args, words', [
    ('--arch resnet1000', "'resnet1000'"), ('--size 0', 'size=0'), ('--bs 0', 'bs=0'), ('--bs -1', 'bs=-1'),
    ('--bs many', "'many'"), ('--epochs 0', 'epochs=0'), ('--presize 0', 'presize=0'), ('--lr 0', 'lr=0'),
    ('--profile huge', "'huge'"), ('--size 96 --presize 48', 'presize=48'), ('--bs 100000', 'bs=100000'),
    ('--stages 3-48', "'3-48' is no schedule"), ('--seed -1', 'seed=-1'), ('--runs 0', 'runs=0'),
    ('--colour red', '--colour'), ('--recipe nowhere.json', "'nowhere.json'")])
def test_value(args, words, data, tmp_path, capsys):
    profile = () if '--profile' in args else ('--profile', 'tiny')
    assert words in mistake(capsys, *profile, *args.split(), '--data', data, '--out', tmp_path/'out')
    assert not list(tmp_path.rglob('run.json'))

def test_out_holds_a_run(data, tmp_path, capsys):
    run = tree(tmp_path/'out')/'run.json'
    run.write_text('{}')
    assert str(tmp_path/'out') in mistake(capsys, '--profile', 'tiny', '--data', data, '--out', tmp_path/'out')
    assert run.read_text() == '{}' and [o.name for o in (tmp_path/'out').iterdir()] == ['run.json']

written = [(o, k) for o in ('out', 'out/seed-1') for k in ('validation.csv', 'weights.pth', 'checkpoint.pt', 'bundle')]

@pytest.mark.parametrize('folder, name', [('out', 'start.json'), *written])
def test_nothing_that_is_there_is_replaced(folder, name, data, tmp_path, capsys):
    "Whatever a run would write, in its folder or in one of a seed"
    (tree(tmp_path/folder)/name).write_text('mine')
    err = mistake(capsys, '--profile', 'tiny', '--data', data, '--out', tmp_path/'out', '--runs', 2)
    assert 'name another folder' in err and (tmp_path/folder/name).read_text() == 'mine'

@pytest.mark.parametrize('out', [(), ('--out', 'a/b/c')])
def test_a_mistake_leaves_no_folder(out, data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mistake(capsys, '--profile', 'tiny', '--data', data, '--bs', 999, *out)
    assert [o.name for o in tmp_path.iterdir()] == ['data']

def test_results_are_no_class(tmp_path, capsys, monkeypatch):
    "Among folders of classes a folder of results would be one of them; beside train/ it is none"
    flat = tree(tmp_path/'flat', 'cat/1.png', 'dog/1.png')
    monkeypatch.chdir(flat)
    assert 'name one outside it' in mistake(capsys, '--profile', 'tiny', '--data', '.')
    assert sorted(o.name for o in flat.iterdir()) == ['cat', 'dog']
    monkeypatch.chdir(tree(tmp_path/'data', *train, 'val/cat/1.png'))
    assert 'bs=999' in mistake(capsys, '--profile', 'tiny', '--data', '.', '--bs', 999)

@pytest.mark.parametrize('flags', ['--runs 3', '--seed 7', '--recipe mixup', '--profile gpu', '--skip-unreadable',
                                   '--split-seed 3', '--lr .1', '--data x', '--tracker wandb'])
def test_resume_takes_no_other_settings(flags, tmp_path, capsys):
    assert 'leave the other flags out' in mistake(capsys, '--resume', tmp_path, *flags.split())

@pytest.mark.parametrize('split, count', [('folders', 20), ('tuning', 16), ('random', 24), ('random_per_stage', 24)])
def test_a_batch_is_filled_by_what_trains(split, count, tmp_path):
    pictures = scan(tree(tmp_path, *(f'{p}/{c}/{i}.png' for p,n in (('train', 10), ('val', 5)) for c in 'ab'
                                     for i in range(n))))
    r = recipe('baseline', 'quick', split=split, stages=((1, 24), (1, 32)), bs=count)
    check_batch(r, pictures)
    with pytest.raises(ValueError, match=f'the {count} training pictures'):
        check_batch(replace(r, bs=count+1), pictures)

@pytest.mark.parametrize('name, code', [('SIGINT', 130), ('SIGTERM', 143)])
def test_a_signal_of_which_a_library_makes_another_error(name, code, capsys):
    number = getattr(signal, name)
    usual = signal.default_int_handler if name == 'SIGINT' else signal.SIG_DFL
    before = signal.signal(number, usual)   # a shell that starts us behind itself has SIGINT ignored
    try:
        with pytest.raises(SystemExit) as e, guard('it'):
            try: signal.raise_signal(number)
            except KeyboardInterrupt: raise RecursionError('too deep') from None
    finally: signal.signal(number, before)
    assert e.value.code == code and capsys.readouterr().err in ('it: interrupted\n', 'it: terminated\n')

def test_streams_that_lack_a_character(monkeypatch):
    "A console of Windows, or a redirected stream of one"
    out = io.TextIOWrapper(io.BytesIO(), encoding='cp1252')
    monkeypatch.setattr(sys, 'stdout', out)
    @command
    def says(): print('→ 猫 é')
    says([])
    out.flush()
    assert out.buffer.getvalue().decode('cp1252').strip() == '\\u2192 \\u732b é'

def test_a_full_disk_is_said():
    assert error_sentence(OSError(errno.ENOSPC, 'No space left on device')).startswith('No space left on device: ')

def test_out_is_a_file(data, tmp_path, capsys):
    (tmp_path/'out').write_text('mine')
    err = mistake(capsys, '--profile', 'tiny', '--data', data, '--out', tmp_path/'out')
    assert str(tmp_path/'out') in err and 'is a file' in err
    assert (tmp_path/'out').read_text() == 'mine'

def test_diverged(tmp_path, capsys):
    "A loss that is no number is said with its epoch, and no result is written"
    out = str(tmp_path/'out')
    with pytest.raises(SystemExit) as e: sota_train(['--profile', 'quick', '--lr', '1e30', '--out', out])
    last = capsys.readouterr().err.splitlines()[-1]
    assert e.value.code == 2 and last.startswith('sota_train: ') and 'epoch 1' in last
    assert not list(tmp_path.rglob('run.json'))

def test_recipe_with_a_byte_order_mark(tmp_path):
    "As Windows' editors write it"
    fields = dict(arch='xresnet10', size=32, presize=48, bs=16, epochs=1)
    (tmp_path/'mine.json').write_text(json.dumps(fields), 'utf-8-sig')
    sota_train(['--profile', 'quick', '--recipe', str(tmp_path/'mine.json'), '--out', str(tmp_path/'out')])
    assert json.loads((tmp_path/'out/run.json').read_text(encoding='utf-8'))['recipe']['arch'] == 'xresnet10'

@pytest.mark.slow
def test_exit_code(tmp_path):
    cmd = [shutil.which('sota_train', path=Path(sys.executable).parent), '--profile', 'tiny']
    cmd += ['--data', str(tmp_path/'nowhere'), '--out', str(tmp_path/'out')]
    env = os.environ | dict(PYTHONPATH=str(Path(__file__).resolve().parents[1]), PYTHONWARNINGS='ignore')
    done = subprocess.run(cmd, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count('\n') == 1 and str(tmp_path/'nowhere') in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())

def test_warnings_of_libraries(recwarn):
    "A user can do nothing about them; what our own say stays, and so does all outside of commands"
    def warn(*modules):
        for o in modules: warnings.warn_explicit(o, UserWarning, 'file.py', 1, o)
    with guard('demo'):
        warn('fastai.vision.core', 'torch', 'PIL.Image', 'timm.models', 'sota_vision.data.cache', 'torches')
    warn('torch.nn')
    assert [str(o.message) for o in recwarn] == ['sota_vision.data.cache', 'torches', 'torch.nn']
