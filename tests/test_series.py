"`sota_series`: one sentence for a mistake, and one lesson's failure is no other's"
from pathlib import Path
import pytest
nbformat = pytest.importorskip('nbformat')
from sota_vision.cli import series
from sota_vision.cli.series import execute, lessons, sota_series

root = Path(__file__).resolve().parents[1]

def lesson(path, *cells):
    "A notebook of code `cells` at `path`"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells]), path)
    return path

def mistake(capsys, *args):
    "The one line that `sota_series` leaves with"
    with pytest.raises(SystemExit) as e: sota_series([str(o) for o in args])
    out,err = capsys.readouterr()
    assert e.value.code == 2 and not out and err.count('\n') == 1 and err.startswith('sota_series: '), err
    return err

@pytest.fixture
def folder(tmp_path):
    for name in '00_one', '03_two', 'bonus/extra': lesson(tmp_path/f'nbs/{name}.ipynb', '1+1')
    return tmp_path/'nbs'

def test_lessons_in_order(folder):
    lesson(folder/'index.ipynb')
    assert [nb.stem for nb in lessons(folder)] == ['00_one', '03_two', 'extra']

@pytest.mark.parametrize('asked', ['3', '01', '03_two'])
def test_unknown_lesson(folder, tmp_path, capsys, asked):
    said = mistake(capsys, '--folder', folder, '--out', tmp_path/'out', '00', asked)
    assert f'no lesson {asked}: there are 00, 03, extra' in said
    assert not (tmp_path/'out').exists()

def test_only_those_asked_for(folder, tmp_path):
    sota_series(['extra', '--folder', str(folder), '--out', str(tmp_path/'out')])
    assert [o.name for o in (tmp_path/'out').iterdir()] == ['extra.ipynb']

@pytest.mark.parametrize('out', ['out', 'out/below'])
def test_out_is_a_file(folder, tmp_path, capsys, out):
    (tmp_path/'out').write_text('mine')
    assert f'{tmp_path/"out"} is a file' in mistake(capsys, '--folder', folder, '--out', tmp_path/out)
    assert (tmp_path/'out').read_text() == 'mine'

def test_no_lessons(tmp_path, capsys): assert 'no lessons in' in mistake(capsys, '--folder', tmp_path)

def test_without_jupyter(folder, capsys, monkeypatch):
    monkeypatch.setattr(series, 'nbformat', None)
    assert "pip install 'sota_vision[lab]'" in mistake(capsys, '--folder', folder)

def test_dead_kernel(tmp_path, capsys):
    "A kernel that dies takes nothing of the other lessons with it"
    lesson(tmp_path/'nbs/00_dies.ipynb', '6*7', 'import os; os._exit(1)')
    lesson(tmp_path/'nbs/01_lives.ipynb', "print('alive')")
    with pytest.raises(SystemExit) as e: sota_series(['--folder', str(tmp_path/'nbs'), '--out', str(tmp_path/'out')])
    out,err = capsys.readouterr()
    assert e.value.code == 1 and 'failed: 00_dies' in err
    assert 'DeadKernelError' in out+err
    lived = nbformat.read(tmp_path/'out/01_lives.ipynb', as_version=4)
    assert lived.cells[0].outputs[0].text == 'alive\n'
    kept = nbformat.read(tmp_path/'out/00_dies.ipynb', as_version=4)
    assert kept.cells[0].outputs[0].data == {'text/plain': '42'}

def test_kernel_that_never_came_up(tmp_path, monkeypatch):
    def refuses(*args, **kw): raise RuntimeError("Kernel didn't respond in 60 seconds")
    monkeypatch.setattr(series.NotebookClient, 'execute', refuses)
    nb = lesson(tmp_path/'00_one.ipynb', '1+1')
    assert execute(nb, tmp_path/'out.ipynb') == "RuntimeError: Kernel didn't respond in 60 seconds"
    assert (tmp_path/'out.ipynb').exists()
