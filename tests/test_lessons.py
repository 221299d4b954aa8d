"`sota_lessons`: copies that hold together, nothing of the reader's lost, one sentence for a mistake"
import json, re, subprocess
import pytest
from sota_vision.cli.lessons import copy_lessons, series_files, series_folder, sota_lessons

def mistake(capsys, *args):
    "The one line that `sota_lessons` leaves with"
    with pytest.raises(SystemExit) as e: sota_lessons([str(o) for o in args])
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1 and err.startswith('sota_lessons: '), err
    return err

def read(nb): return json.loads(nb.read_text(encoding='utf-8'))

def broken_links(folder):
    "Links to notebooks or pictures in `folder` that lead nowhere: (notebook, target)"
    for nb in folder.rglob('*.ipynb'):
        for c in read(nb)['cells']:
            if c['cell_type'] != 'markdown': continue
            for target in re.findall(r'(?:\]\(|src=")([\w/.-]+\.(?:ipynb|png))', ''.join(c['source'])):
                if not (nb.parent/target).exists(): yield nb.relative_to(folder).as_posix(), target

@pytest.fixture(scope='module')
def copied(tmp_path_factory):
    folder = tmp_path_factory.mktemp('lessons')/'mine'
    copy_lessons(folder, solutions=True, bare=True, clean=True)
    return folder

def test_bytes(copied):
    for o in series_files(True): assert (copied/o).read_bytes() == (series_folder()/o).read_bytes()

def test_every_notebook_is_copied(copied):
    there = {o.relative_to(series_folder()) for o in series_folder().rglob('*.ipynb') if o.parent.name[0] != '.'}
    assert there == {o for o in series_files(True) if o.suffix == '.ipynb'}

def test_links(copied):
    lost = list(broken_links(copied))
    assert not lost, f'links that lead nowhere: {lost}'

def test_links_without_solutions(tmp_path):
    copy_lessons(tmp_path)
    lost = [target for _,target in broken_links(tmp_path) if 'solutions/' not in target]
    assert not lost, lost

@pytest.mark.parametrize('name', ['bare', 'clean'])
def test_stripped_copies(copied, name):
    stripped = sorted((copied/name).glob('*.ipynb'))
    assert [o.name for o in stripped] == sorted(o.name for o in copied.glob('[0-9][0-9]_*.ipynb'))
    for o in stripped:
        mine,lesson = ([c for c in read(p)['cells'] if c['cell_type'] == 'code'] for p in (o, copied/o.name))
        assert len(mine) == len(lesson) and not any(c['outputs'] for c in mine)
        assert any(c['source'] for c in mine) == (name == 'bare')
        assert o.stat().st_size < (copied/o.name).stat().st_size

@pytest.mark.parametrize('name', ['bare', 'clean'])
def test_stripped_copies_are_notebooks(copied, name):
    nbformat = pytest.importorskip('nbformat')
    nbformat.validate(nbformat.read(copied/name/'08_mixup.ipynb', as_version=4))

def test_force_keeps(tmp_path):
    copy_lessons(tmp_path)
    mine,own = tmp_path/'04_normalization.ipynb', tmp_path/'figures'/'mine.png'
    own.parent.mkdir(); own.write_bytes(b'drawn by me')
    for text in ('first', 'second'):
        mine.write_text(text)
        copy_lessons(tmp_path, force=True)
    assert (tmp_path/'04_normalization.yours.ipynb').read_text() == 'first'
    assert (tmp_path/'04_normalization.yours2.ipynb').read_text() == 'second'
    assert mine.read_bytes() == (series_folder()/mine.name).read_bytes() and own.read_bytes() == b'drawn by me'
    assert len([o for o in tmp_path.rglob('*') if 'yours' in o.name]) == 2, 'what does not differ is left alone'

def test_refuses(tmp_path, capsys):
    (tmp_path/'notes.txt').write_text('mine')
    assert 'is not empty' in mistake(capsys, tmp_path, '--no-lab')
    assert 'is a file' in mistake(capsys, tmp_path/'notes.txt', '--no-lab')
    assert 'notes.txt is a file' in mistake(capsys, tmp_path/'notes.txt'/'below', '--no-lab', '--force')
    assert [o.name for o in tmp_path.iterdir()] == ['notes.txt'] and (tmp_path/'notes.txt').read_text() == 'mine'

def test_an_empty_folder_will_do(tmp_path, capsys):
    sota_lessons([str(tmp_path), '--no-lab'])
    assert (tmp_path/'index.ipynb').exists() and capsys.readouterr().out.endswith(f'notebooks in {tmp_path}\n')

def test_without_jupyter(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('sota_vision.cli.lessons.find_spec', {}.get)
    assert "pip install 'sota_vision[lab]'" in mistake(capsys, tmp_path/'new')
    assert not (tmp_path/'new').exists()

@pytest.fixture
def jupyterlab(monkeypatch):
    "Pretends that JupyterLab ran; calling it sets the exit code, and gives the list of calls"
    calls = []
    def ends_with(code):
        def run(cmd, cwd):
            calls.append((cmd[1:], str(cwd)))
            return subprocess.CompletedProcess(cmd, code)
        monkeypatch.setattr('sota_vision.cli.lessons.find_spec', bool)
        monkeypatch.setattr(subprocess, 'run', run)
        return calls
    return ends_with

def test_opens_jupyterlab(tmp_path, jupyterlab):
    calls = jupyterlab(0)
    sota_lessons([str(tmp_path)])
    assert calls == [(['-m', 'jupyterlab', 'index.ipynb'], str(tmp_path))]

def test_ends_as_jupyterlab_does(tmp_path, jupyterlab):
    jupyterlab(3)
    with pytest.raises(SystemExit) as e: sota_lessons([str(tmp_path)])
    assert e.value.code == 3
