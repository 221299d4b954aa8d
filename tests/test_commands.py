"Every command answers --help at once: it must not wait for torch"
import sys
from concurrent.futures import ProcessPoolExecutor
from configparser import ConfigParser
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
import pytest
from sota_vision.cli.train import sota_train

ini = ConfigParser(delimiters=['='])
ini.read(Path(__file__).resolve().parents[1]/'settings.ini', encoding='utf-8')
commands = dict(o.split('=') for o in ini['DEFAULT']['console_scripts'].split())   # name → 'module:function'
slow = {'torch', 'torchvision', 'fastai', 'pandas', 'matplotlib', 'scipy'}

def ask_for_help(place):
    "What the command at `place` prints when asked for --help, its exit code, and which slow packages that imported"
    module,name = place.split(':')
    with redirect_stdout(StringIO()) as said:
        try: getattr(import_module(module), name)(['--help'])
        except SystemExit as e: code = e.code
    return said.getvalue(), code, slow & set(sys.modules)

@pytest.mark.parametrize('name', commands)
def test_help(name):
    with ProcessPoolExecutor(1, get_context('spawn')) as pool:      # an interpreter of its own
        text,code,imported = pool.submit(ask_for_help, commands[name]).result()
    assert code == 0 and text.startswith(f'usage: {name} ')
    assert not imported, f'{name} --help imports {sorted(imported)}'

def test_help_names_the_image_cache(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setenv('COLUMNS', '1000')
    with pytest.raises(SystemExit): sota_train(['--help'])
    assert f'kept in {tmp_path/"sota_vision"/"images"}, 100 GiB at most' in capsys.readouterr().out
