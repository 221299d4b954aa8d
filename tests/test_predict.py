"`sota_predict`: the numbers of the `Learner`, in three forms, and one sentence for what cannot be read"
import csv, io, json, os, subprocess, sys
from pathlib import Path
import pytest, torch
from fastai.vision.all import TensorImage, no_random
from PIL import Image
from sota_vision.cli.predict import sota_predict
from sota_vision.cli.train import sota_train
from sota_vision.data.folders import scan
from sota_vision.data.sources import data_path
from sota_vision.data.views import apply
from sota_vision.recipes import recipe
from sota_vision.sharing.bundle import load_bundle, save_bundle
from sota_vision.sharing.predict import predict
from sota_vision.train import fit
from sota_vision.tta import reduce_views

@pytest.fixture(scope='module')
def result(): return fit(recipe('baseline', 'quick', epochs=1), scan(data_path(prof='quick')), bar=False)

@pytest.fixture(scope='module')
def bundle(result, tmp_path_factory): return save_bundle(result, tmp_path_factory.mktemp('saved')/'bundle')

@pytest.fixture(scope='module')
def files(result): return [str(o) for o in result.learn.dls.valid_ds.items[:7]]

def said(capsys, *args):
    "What `sota_predict` writes"
    sota_predict([str(o) for o in args])
    return capsys.readouterr().out

def mistake(capsys, *args):
    "What it writes, and the one line that it leaves with"
    with pytest.raises(SystemExit) as e: sota_predict([str(o) for o in args])
    out,err = capsys.readouterr()
    assert e.value.code == 2 and err.count('\n') == 1 and err.startswith('sota_predict: '), err
    return out, err

def test_as_the_learner(result, bundle, files, capsys):
    with result.learn.no_bar(): want,_ = result.learn.get_preds(dl=result.learn.dls.test_dl(files))
    answers = json.loads(said(capsys, bundle, *files, '--json'))
    got = torch.tensor([list(o['probabilities'].values()) for o in answers])
    torch.testing.assert_close(got, want.cpu(), atol=1e-5, rtol=0)
    assert [o['label'] for o in answers] == [result.learn.dls.vocab[i] for i in want.argmax(1)]
    assert [o['file'] for o in answers] == files and list(answers[0]['probabilities']) == list(result.learn.dls.vocab)

def test_views_as_the_learner(result, bundle, files, capsys):
    "The same random numbers, the transforms and the net of the `Learner`"
    learn,there = result.learn, load_bundle(bundle)
    pipe,x = learn.dls.test_dl(files[:1]).after_batch, TensorImage(there.item(files[0])[None])
    with no_random(0), torch.no_grad():
        views = [apply(pipe, (x,), split_idx) for split_idx in (1, 0, 0, 0)]
        want = reduce_views(torch.stack([learn.model.eval()(o).softmax(-1) for o in views]))
    got = json.loads(said(capsys, bundle, files[0], '--json', '--tta', 3))[0]['probabilities']
    torch.testing.assert_close(torch.tensor([list(got.values())]), want.as_subclass(torch.Tensor), atol=1e-5, rtol=0)

@pytest.mark.parametrize('views', [0, 3])
def test_a_picture_does_not_depend_on_its_neighbours(bundle, files, views):
    there = load_bundle(bundle)
    together = predict(there, files, views, bs=3)
    alone = torch.cat([predict(there, [f], views) for f in files])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)

def test_csv(bundle, files, capsys):
    rows = list(csv.DictReader(io.StringIO(said(capsys, bundle, *files, '--csv'))))
    assert [o['file'] for o in rows] == files and len(rows[0]) == 4+10
    for o in rows:
        assert float(o['probability']) == max(float(v) for k,v in o.items() if k.startswith('probability of'))

def test_text(bundle, files, capsys):
    lines = said(capsys, bundle, *files).splitlines()
    assert [o.split('\t')[0] for o in lines] == files and all(o.endswith(' %') for o in lines)

def test_folder(bundle, tmp_path, capsys):
    for name in 'b.png', 'a.jpg', 'below/c.bmp', 'note.txt', '.hidden.png', '.git/d.png':
        (tmp_path/name).parent.mkdir(exist_ok=True)
        Image.new('RGB', (20, 10)).save(tmp_path/name) if name[-3:] != 'txt' else (tmp_path/name).write_text('')
    names = [os.path.relpath(o.split('\t')[0], tmp_path) for o in said(capsys, bundle, tmp_path).splitlines()]
    assert names == ['a.jpg', 'b.png', os.path.join('below', 'c.bmp')]
    (tmp_path/'empty').mkdir()
    assert 'holds no pictures' in mistake(capsys, bundle, tmp_path/'empty')[1]

def test_a_folder_is_read_as_training_reads_it(bundle, tmp_path, capsys):
    "Links are followed, and what is passed over is said"
    for o in ('top', 'other'): (tmp_path/o).mkdir()
    for o in ('top/a.png', 'other/b.png'): Image.new('RGB', (20, 10)).save(tmp_path/o)
    (tmp_path/'top/noend').write_bytes((tmp_path/'top/a.png').read_bytes())
    try: (tmp_path/'top/link').symlink_to(tmp_path/'other', target_is_directory=True)
    except OSError: pytest.skip('this user may make no links')
    sota_predict([str(bundle), str(tmp_path/'top')])
    out,err = capsys.readouterr()
    assert len(out.splitlines()) == 2 and err == 'passed over: no ending 1\n'

def test_empty_names(bundle, files, capsys):
    assert 'bundle is empty' in mistake(capsys, '', files[0])[1]
    assert 'picture is empty' in mistake(capsys, bundle, '')[1]

def test_unreadable_pictures_cost_only_their_own_answer(bundle, files, tmp_path, capsys):
    bad = tmp_path/'bad.jpg'
    bad.write_bytes(b'PK\x03\x04'+bytes(100))
    out,err = mistake(capsys, bundle, files[0], bad, files[1], '--json')
    answers = json.loads(out)
    assert str(bad) in err and [('error' in o) for o in answers] == [False, True, False]
    out,err = mistake(capsys, bundle, bad, tmp_path/'nowhere.jpg', files[0])
    assert '2 of 3 pictures cannot be read' in err and len(out.splitlines()) == 1
    out,_ = mistake(capsys, bundle, bad, '--csv')
    assert 'cannot be read' in next(csv.DictReader(io.StringIO(out)))['error']

@pytest.mark.parametrize('args, words', [
    (['--tta', '-1'], 'tta=-1'), (['--tta', '1001'], 'tta=1001'),
    (['--bs', '0'], 'bs=0'), (['--json', '--csv'], 'choose one'),
    (['--tta', 'x'], "'x'"), (['--out', 'x'], '--out')])
def test_value(bundle, files, capsys, args, words): assert words in mistake(capsys, bundle, files[0], *args)[1]

def test_no_bundle(tmp_path, files, capsys):
    assert 'no bundle at' in mistake(capsys, tmp_path/'nowhere', files[0])[1]
    assert 'is a program' in mistake(capsys, 'export.pkl', files[0])[1]
    assert 'pictures' in mistake(capsys, tmp_path)[1]

@pytest.mark.slow
def test_names_that_are_no_text(bundle, tmp_path):
    "A file's name may hold any bytes, and the output be a pipe"
    name = os.fsencode(tmp_path)+b'/caf\xe9\n\x1b[1m.png'
    try: os.close(os.open(name, os.O_CREAT))
    except OSError: pytest.skip('this file system wants names in UTF-8')
    Image.new('RGB', (20, 10)).save(tmp_path/'a.png')
    os.replace(tmp_path/'a.png', name)
    code = 'from sota_vision.cli.predict import sota_predict; sota_predict()'
    env = os.environ | dict(PYTHONPATH=str(Path(__file__).resolve().parents[1]), PYTHONWARNINGS='ignore')
    for form in (), ('--json',), ('--csv',):
        done = subprocess.run([sys.executable, '-c', code, bundle, name, *form], env=env, capture_output=True)
        assert done.returncode == 0 and not done.stderr and done.stdout, done.stderr

def test_train_leaves_a_bundle(files, tmp_path, capsys):
    "The folder of a run is enough"
    sota_train(['--profile', 'quick', '--epochs', '1', '--out', str(tmp_path/'run')])
    capsys.readouterr()
    assert len(said(capsys, tmp_path/'run', *files).splitlines()) == len(files)
    run = json.loads((tmp_path/'run/run.json').read_text(encoding='utf-8'))
    assert load_bundle(tmp_path/'run').facts['metrics']['accuracy'] == run['accuracy']
