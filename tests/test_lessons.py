"`sota_lessons`: copies that hold together, nothing of the reader's lost, one sentence for a mistake"
import json, re, subprocess, sys
from pathlib import Path
import pytest
from sota_vision.lessons import copy_lessons, series_files, series_folder, sota_lessons

def said(capsys, *args):
    "The one line that `sota_lessons` leaves with"
    with pytest.raises(SystemExit) as e: sota_lessons(list(map(str, args)))
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1 and err.startswith('sota_lessons: '), err
    return err

def links(folder):
    "Every link to a notebook or a picture in `folder`: (notebook, target)"
    for nb in folder.rglob('*.ipynb'):
        for c in json.loads(nb.read_text(encoding='utf-8'))['cells']:
            if c['cell_type'] != 'markdown': continue
            for target in re.findall(r'(?:\]\(|src=")([\w/.-]+\.(?:ipynb|png))', ''.join(c['source'])): yield nb,target

@pytest.fixture(scope='module')
def copied(tmp_path_factory):
    folder = tmp_path_factory.mktemp('lessons')/'mine'
    copy_lessons(folder, solutions=True, bare=True, clean=True)
    return folder

def test_bytes(copied):
    for o in series_files(True): assert (copied/o).read_bytes() == (series_folder()/o).read_bytes()

def test_links(copied):
    found = list(links(copied))
    assert len(found) > 20, 'there are links to try'
    lost = [(nb.name, target) for nb,target in found if not (nb.parent/target).exists()]
    assert not lost, f'links that lead nowhere: {lost}'

def test_links_without_solutions(tmp_path):
    copy_lessons(tmp_path)
    lost = [target for nb,target in links(tmp_path) if not (nb.parent/target).exists()]
    assert all(o.startswith('solutions/') for o in lost), lost

@pytest.mark.parametrize('name', ['bare', 'clean'])
def test_twins(copied, name):
    twins = sorted((copied/name).glob('*.ipynb'))
    assert [o.name for o in twins] == sorted(o.name for o in copied.glob('[0-9][0-9]_*.ipynb'))
    for o in twins:
        mine,lesson = (json.loads(p.read_text(encoding='utf-8')) for p in (o, copied/o.name))
        code = [c for c in mine['cells'] if c['cell_type'] == 'code']
        assert len(code) == sum(c['cell_type'] == 'code' for c in lesson['cells']) and not any(c['outputs'] for c in code)
        assert any(c['source'] for c in code) == (name == 'bare')
        assert o.stat().st_size < (copied/o.name).stat().st_size

def test_twins_are_notebooks(copied):
    nbformat = pytest.importorskip('nbformat')
    for name in 'bare/05_mixup.ipynb', 'clean/05_mixup.ipynb': nbformat.validate(nbformat.read(copied/name, as_version=4))

def test_force_keeps(tmp_path):
    copy_lessons(tmp_path)
    mine,own = tmp_path/'02_normalization.ipynb', tmp_path/'figures'/'mine.png'
    own.parent.mkdir(); own.write_bytes(b'drawn by me')
    for text in ('first', 'second'):
        mine.write_text(text)
        copy_lessons(tmp_path, force=True)
    assert (tmp_path/'02_normalization.yours.ipynb').read_text() == 'first'
    assert (tmp_path/'02_normalization.yours2.ipynb').read_text() == 'second'
    assert mine.read_bytes() == (series_folder()/mine.name).read_bytes() and own.read_bytes() == b'drawn by me'
    assert len([o for o in tmp_path.rglob('*') if 'yours' in o.name]) == 2, 'what does not differ is left alone'

def test_refuses(tmp_path, capsys):
    (tmp_path/'notes.txt').write_text('mine')
    assert 'is not empty' in said(capsys, tmp_path, '--no-lab')
    assert 'is a file' in said(capsys, tmp_path/'notes.txt', '--no-lab')
    assert 'notes.txt is a file' in said(capsys, tmp_path/'notes.txt'/'below', '--no-lab', '--force')
    assert [o.name for o in tmp_path.iterdir()] == ['notes.txt'] and (tmp_path/'notes.txt').read_text() == 'mine'

def test_an_empty_folder_will_do(tmp_path, capsys):
    sota_lessons([str(tmp_path), '--no-lab'])
    assert (tmp_path/'index.ipynb').exists() and capsys.readouterr().out.endswith(f'notebooks in {tmp_path}\n')

def test_without_jupyter(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('sota_vision.lessons.find_spec', {}.get)
    assert "pip install 'sota_vision[lab]'" in said(capsys, tmp_path/'new')
    assert not (tmp_path/'new').exists()

@pytest.mark.parametrize('code', [0, 3])
def test_ends_as_jupyter_does(tmp_path, monkeypatch, code):
    monkeypatch.setattr('sota_vision.lessons.find_spec', bool)
    monkeypatch.setattr(subprocess, 'run', lambda *args, **kw: subprocess.CompletedProcess(args, code))
    try: sota_lessons([str(tmp_path)])
    except SystemExit as e: assert e.code == code != 0
    else: assert code == 0

def test_one_home_for_one_sentence():
    "All commands say a mistake with the same function"
    from sota_vision import cli, lessons, series
    assert cli.one_sentence is series.one_sentence is lessons.one_sentence

def test_starts_quickly():
    "The command must not wait for torch, which nothing in it needs"
    code = "import sys, sota_vision.lessons; sys.exit('torch' in sys.modules or 'fastai' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code], cwd=Path(__file__).parents[1]).returncode == 0
