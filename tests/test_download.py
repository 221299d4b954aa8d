"`download` against a server of our own: all of it or nothing, and one sentence if nothing"
import errno, gzip, hashlib, io, os, shutil, socket, tarfile, threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
import pytest
from fastai.data.external import fastai_cfg, fastai_path
from sota_vision.cli.bench import sota_bench
from sota_vision.cli.train import sota_train
from sota_vision.data import download as fetching, sources
from sota_vision.data.download import download
from sota_vision.data.folders import scan
from sota_vision.data.sources import data_path, urls
from sota_vision.imagenette import get_dls
from sota_vision.profile import profile
from sota_vision.data.sketchnette.sample import sketchnette

def packed(*members, source=None):
    "A `.tgz` in memory: folder `source` as `small`, then `members` (name, link target or None)"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w:gz') as tar:
        if source: tar.add(source, 'small')
        for name,link in members:
            info = tarfile.TarInfo(name)
            if link: info.type,info.linkname = tarfile.SYMTYPE,link
            else: info.size = 4
            tar.addfile(info, None if link else io.BytesIO(b'evil'))
    return out.getvalue()

@pytest.fixture(scope='module')
def sample(): return sketchnette(20, 10)

@pytest.fixture(scope='module')
def good(sample): return packed(source=sample)

class Handler(SimpleHTTPRequestHandler):
    "Serve `server.files` from memory and remember what was asked for; `server.short` ends every answer too early"
    def do_GET(self):
        self.server.asked.append(self.path)
        body = self.server.files.get(self.path[1:])
        if body is None: return self.send_error(404)
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body[:len(body)//2] if self.server.short else body)
    def log_message(self, *args): pass

@pytest.fixture
def server(monkeypatch):
    for name in ('no_proxy', 'NO_PROXY'): monkeypatch.setenv(name, '127.0.0.1')
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        server.files,server.asked,server.short = {}, [], False
        server.url = f'http://127.0.0.1:{server.server_port}/small.tgz'
        threading.Thread(target=server.serve_forever, args=(.01,), daemon=True).start()
        yield server
        server.shutdown()

@contextmanager
def one_sentence(folder, *words, error=(OSError, ValueError)):
    "What is tried fails with one line that holds `words`, and leaves nothing in `folder`"
    with pytest.raises(error) as e: yield
    said = str(e.value)
    assert '\n' not in said and len(said) < 400, said
    for word in words: assert word in said, said
    assert not folder.exists() or not list(folder.iterdir()), f'left behind: {list(folder.iterdir())}'

def test_success_once(server, good, sample, tmp_path):
    server.files['small.tgz'] = good
    got = download(server.url, tmp_path)
    assert got == tmp_path/'small' and [o.name for o in tmp_path.iterdir()] == ['small']
    assert scan(got).root == got
    def read(p): return {f.relative_to(p).as_posix(): f.read_bytes() for f in p.rglob('*') if f.is_file()}
    assert read(got) == read(sample)
    assert download(server.url, tmp_path) == got and server.asked == ['/small.tgz'], 'the second call asked again'

def test_checksum_right(server, good, tmp_path):
    server.files['small.tgz'] = good
    check = len(good), hashlib.md5(good[:2**20]).hexdigest()
    assert download(server.url, tmp_path, check).is_dir()

def test_checksum_wrong(server, good, tmp_path):
    server.files['small.tgz'] = good
    with one_sentence(tmp_path, server.url, 'not the expected one', error=ValueError):
        download(server.url, tmp_path, (len(good), 'd41d8cd98f00b204e9800998ecf8427e'))
    with one_sentence(tmp_path, f'wanted {len(good)+1:,}', error=ValueError):
        download(server.url, tmp_path, (len(good)+1, hashlib.md5(good[:2**20]).hexdigest()))

def test_checksum_known(server, good, tmp_path, monkeypatch):
    server.files['small.tgz'] = good
    monkeypatch.setattr(fetching, 'read_checks', lambda o: {server.url: (1, 'x')})
    with one_sentence(tmp_path, 'not the expected one'): download(server.url, tmp_path)

def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))   # a port that is taken and where nobody listens
        url = f'http://127.0.0.1:{s.getsockname()[1]}/small.tgz'
        advice = 'check the network', 'synthetic sample', 'SOTA_VISION_PROFILE=tiny'
        with one_sentence(tmp_path, url, *advice, error=OSError): download(url, tmp_path)

def test_404(server, tmp_path):
    with one_sentence(tmp_path, server.url, '404', 'synthetic sample', error=OSError): download(server.url, tmp_path)

def test_connection_ends_early(server, good, tmp_path):
    server.files['small.tgz'],server.short = good, True
    with one_sentence(tmp_path, server.url, 'could not download', error=OSError): download(server.url, tmp_path)

@pytest.mark.parametrize('cut', [0, 1, 50, 0.5, -10])
def test_truncated(server, good, tmp_path, cut):
    server.files['small.tgz'] = good[:int(cut*len(good)) if isinstance(cut, float) else cut]
    with one_sentence(tmp_path, server.url, 'damaged', error=ValueError): download(server.url, tmp_path)

page = b'<html>Please log in</html>'

@pytest.mark.parametrize('body', [page, gzip.compress(page)], ids=['html', 'gzipped html'])
def test_no_archive(server, tmp_path, body):
    server.files['small.tgz'] = body
    with one_sentence(tmp_path, server.url, 'damaged', error=ValueError): download(server.url, tmp_path)

def test_flipped_bytes(server, good, tmp_path):
    bad = bytearray(good)
    bad[len(bad)//2:len(bad)//2+64] = bytes(64)
    server.files['small.tgz'] = bytes(bad)
    with one_sentence(tmp_path, server.url, 'damaged', error=ValueError): download(server.url, tmp_path)

@pytest.mark.parametrize('member', [
    ('../evil', None), ('small/../../evil', None), ('small/link', '../../evil'), ('small/link', '/etc')])
def test_climbing(server, sample, tmp_path, member):
    server.files['small.tgz'] = packed(member, source=sample)
    with one_sentence(tmp_path/'data', server.url, 'outside its folder', member[0], error=ValueError):
        download(server.url, tmp_path/'data')
    assert not list(tmp_path.rglob('evil'))

def test_absolute(server, tmp_path):
    evil = tmp_path/'evil'
    server.files['small.tgz'] = packed((evil.as_posix(), None))
    with one_sentence(tmp_path/'data', server.url, error=ValueError): download(server.url, tmp_path/'data')
    assert not evil.exists()

def test_other_folder(server, sample, tmp_path):
    server.files['other.tgz'] = packed(source=sample)
    with one_sentence(tmp_path, 'no folder called other', error=ValueError):
        download(server.url.replace('small', 'other'), tmp_path)

def test_old_python(server, good, tmp_path, monkeypatch):
    server.files['small.tgz'] = good
    monkeypatch.delattr(tarfile, 'data_filter')
    with one_sentence(tmp_path, '3.10.12', error=OSError): download(server.url, tmp_path)

# Faults of this computer, which must not be taken for one of the network

def full(*args, **kw): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

class FullFile(io.BytesIO):
    "A file on a disk that has no room"
    def write(self, data): full()

def test_full_while_downloading(server, good, tmp_path, monkeypatch):
    server.files['small.tgz'] = good
    monkeypatch.setattr(fetching, 'open', lambda *args: FullFile(), raising=False)
    check = len(good), hashlib.md5(good[:2**20]).hexdigest()
    full = f'the disk of {tmp_path} is full'
    with one_sentence(tmp_path, full, f'{2*len(good):,} bytes', error=OSError): download(server.url, tmp_path, check)
    with one_sentence(tmp_path, f'{full}; make room', error=OSError): download(server.url, tmp_path)

def test_full_while_unpacking(server, good, tmp_path, monkeypatch):
    server.files['small.tgz'] = good
    monkeypatch.setattr(tarfile.TarFile, 'extractall', full)
    with one_sentence(tmp_path, f'the disk of {tmp_path} is full', error=OSError): download(server.url, tmp_path)

def test_not_writable(server, good, tmp_path, monkeypatch):
    server.files['small.tgz'] = good
    def refuse(*args, **kw): raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    monkeypatch.setattr(fetching.tempfile, 'TemporaryDirectory', refuse)
    why = f'could not write to {tmp_path} ({os.strerror(errno.EACCES)})'
    with one_sentence(tmp_path, why, 'FASTAI_HOME', error=OSError): download(server.url, tmp_path)

def test_below_a_file(server, tmp_path):
    (tmp_path/'file').touch()
    with pytest.raises(OSError, match='could not write to .*below') as e: download(server.url, tmp_path/'file'/'below')
    assert 'network' not in str(e.value) and not server.asked

# Two at a time

def meanwhile(monkeypatch, act):
    "While we unpack, another program does `act`"
    extract = tarfile.TarFile.extractall
    monkeypatch.setattr(tarfile.TarFile, 'extractall', lambda self, *args, **kw: (extract(self, *args, **kw), act()))

def test_two_at_once(server, good, sample, tmp_path, monkeypatch):
    server.files['small.tgz'] = good
    target = tmp_path/'small'
    meanwhile(monkeypatch, lambda: (shutil.copytree(sample, target), (target/'theirs').touch()))
    assert download(server.url, tmp_path) == target and (target/'theirs').exists()
    assert [o.name for o in tmp_path.iterdir()] == ['small'], 'ours went'

def test_a_file_in_the_way(server, good, tmp_path, monkeypatch):
    server.files['small.tgz'] = good
    meanwhile(monkeypatch, lambda: (tmp_path/'small').write_text('mine'))
    with pytest.raises(OSError, match='could not write to'): download(server.url, tmp_path)
    assert (tmp_path/'small').read_text() == 'mine'

# Where the pictures are

@pytest.fixture
def home(tmp_path, monkeypatch):
    "A fastai home of our own, and no way to the network"
    monkeypatch.setenv('FASTAI_HOME', str(tmp_path/'home'))
    monkeypatch.delenv('SOTA_VISION_DATA', raising=False)
    def refuse(url, *args): raise OSError(f'asked for {url}')
    monkeypatch.setattr(sources, 'download', refuse)
    fastai_cfg.cache_clear()
    yield fastai_path('data')
    fastai_cfg.cache_clear()

def test_finds_fastai(home, sample):
    with pytest.raises(OSError, match='imagenette2-160.tgz'): data_path(prof='cpu')
    large = shutil.copytree(sample, home/'imagenette2-320')
    assert data_path(prof='cpu') == large
    small = shutil.copytree(sample, home/'imagenette2-160')
    assert data_path(prof='cpu') == small, 'the smallest that is large enough'
    with pytest.raises(OSError, match='asked for .*imagenette2.tgz'): data_path(prof='gpu')
    whole = shutil.copytree(sample, home/'imagenette2')
    assert data_path(prof='gpu') == whole

def test_large_enough_for_the_recipe(home, sample, tmp_path, monkeypatch, capsys):
    "Pictures of 160 px are there; whoever resizes to more is not given them"
    small = shutil.copytree(sample, home/'imagenette2-160')
    assert data_path(prof='cpu') == data_path(prof='cpu', presize=160) == small
    with pytest.raises(OSError, match='asked for .*imagenette2-320.tgz'): data_path(prof='cpu', presize=224)
    monkeypatch.setenv('SOTA_VISION_PROFILE', 'cpu')
    with pytest.raises(OSError, match='asked for .*imagenette2-320.tgz'): get_dls(4, 224)
    training = ['--recipe', 'board-192-5', '--out', str(tmp_path/'out')]
    for command,args in (sota_train, training), (sota_bench, ['--size', '224']):
        with pytest.raises(SystemExit): command([*args, '--profile', 'cpu'])
        assert 'asked for' in (err := capsys.readouterr().err) and 'imagenette2-320.tgz' in err
    assert not (tmp_path/'out').exists()

def test_fastai_broken(home):
    (home/'imagenette2-160').mkdir(parents=True)
    with pytest.raises(ValueError, match='is empty'): scan(data_path(prof='cpu'))

def test_named_places(home, sample, tmp_path, monkeypatch):
    shutil.copytree(sample, home/'imagenette2-160')
    named,given = shutil.copytree(sample, tmp_path/'named'), shutil.copytree(sample, tmp_path/'given')
    monkeypatch.setenv('SOTA_VISION_DATA', str(named))
    assert data_path(prof='cpu') == named
    assert data_path(given, 'cpu') == given
    assert data_path(prof=replace(profile('tiny'), n_train=20, n_valid=10)) == sample, 'tiny draws its pictures'
    monkeypatch.setenv('SOTA_VISION_DATA', str(tmp_path/'nowhere'))
    with pytest.raises(FileNotFoundError, match='no folder at'): scan(data_path(prof='cpu'))

def test_urls():
    assert list(urls) == sorted(urls) and all(u.endswith('.tgz') for u in urls.values())
