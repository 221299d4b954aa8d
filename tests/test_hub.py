"A bundle goes to the Hub and comes back; what is not right there is one sentence; nothing but a bundle is fetched"
import hashlib, json, os, pickle, re, shutil, subprocess, sys
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
import pytest, torch
from PIL import Image
from sota_vision.cli.predict import sota_predict
from sota_vision.data.folders import scan
from sota_vision.data.sources import data_path
from sota_vision.recipes import recipe
from sota_vision.sharing.bundle import load_bundle, save_bundle
from sota_vision.sharing.hub import open_bundle, pull_from_hub, push_to_hub
from sota_vision.train import fit

hub = pytest.importorskip('huggingface_hub', reason="no Hub here: pip install 'sota_vision[hub]'")
parts = {'README.md', 'bundle.json', 'weights.safetensors'}

known = dict(
    create='/api/repos/create', validate='/api/validate-yaml', preupload='/api/models/(.+)/preupload/main',
    batch=r'/(.+)\.git/info/lfs/objects/batch', store='/stored/(.+)', commit='/api/models/(.+)/commit/main',
    resolve='/(.+)/resolve/([^/]+)/(.+)')      # what is asked for → path of a request

class StandIn(BaseHTTPRequestHandler):
    "What pushing and pulling need of the Hub's HTTP interface; `server` holds the repositories"
    protocol_version = 'HTTP/1.1'
    def log_message(self, *args): pass

    def answer(self, code, body=b'', **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for k,v in (headers | {'Content-Length': len(body)}).items(): self.send_header(k.replace('_', '-'), v)
        self.end_headers()
        if self.command != 'HEAD': self.wfile.write(body)

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        if self.server.broken: return self.answer(*self.server.broken)
        if self.command == 'POST' and self.headers.get('Authorization') != 'Bearer good':
            return self.answer(401, dict(error='Invalid username or password.'))
        for name,pattern in known.items():
            if m := re.fullmatch(pattern, self.path.partition('?')[0]):
                self.server.asked.append(m[0])
                return getattr(self, name)(body, *m.groups())
        self.answer(404, dict(error=f'the stand-in knows no {self.path}'))
    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def create(self, body):
        asked = json.loads(body)
        name = f'{asked["organization"] or "somebody"}/{asked["name"]}'
        there = name in self.server.repos
        if not there:
            self.server.repos[name] = {}
            self.server.visible[name] = asked.get('visibility') or ('private' if asked.get('private') else 'public')
        url = f'{self.server.url}/{name}'
        self.answer(409 if there else 200, dict(url=url, name=name, error='You already created this model repo'))

    def validate(self, body): self.answer(200, dict(errors=[], warnings=[]))

    def preupload(self, body, repo):
        files = [dict(path=o['path'], shouldIgnore=False,
                      uploadMode='lfs' if o['path'].endswith('.safetensors') else 'regular')
                 for o in json.loads(body)['files']]
        self.answer(200, dict(files=files))

    def batch(self, body, repo):
        objects = [o | dict(actions=dict(upload=dict(href=f'{self.server.url}/stored/{o["oid"]}')))
                   for o in json.loads(body)['objects']]
        self.answer(200, dict(transfer='basic', objects=objects))

    def store(self, body, oid):
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.stored[oid] = body
        self.answer(200)

    def commit(self, body, repo):
        for line in map(json.loads, body.decode().splitlines()):
            v = line['value']
            if line['key'] == 'file': self.server.repos[repo][v['path']] = b64decode(v['content'])
            if line['key'] == 'lfsFile': self.server.repos[repo][v['path']] = self.server.stored[v['oid']]
        sha = self.server.commit_of(repo)
        self.answer(200, dict(commitUrl=f'{self.server.url}/{repo}/commit/{sha}', commitOid=sha, pullRequestUrl=None))

    def resolve(self, body, repo, revision, name):
        files = self.server.repos.get(repo)
        if files is None: return self.answer(404, X_Error_Code='RepoNotFound')
        sha = self.server.commit_of(repo)
        if revision not in ('main', sha): return self.answer(404, X_Error_Code='RevisionNotFound')
        if name not in files: return self.answer(404, X_Error_Code='EntryNotFound', X_Repo_Commit=sha)
        etag = f'"{hashlib.sha256(files[name]).hexdigest()}"'
        self.answer(200, files[name], ETag=etag, X_Repo_Commit=sha)

class Server(ThreadingHTTPServer):
    "The stand-in on a port of its own"
    def __init__(self):
        super().__init__(('127.0.0.1', 0), StandIn)
        self.url = f'http://127.0.0.1:{self.server_port}'
        self.repos,self.visible,self.stored,self.asked,self.broken = {}, {}, {}, [], None
    def commit_of(self, repo):
        "Forty hexadecimal digits that change with the files"
        return hashlib.sha1(b''.join(k.encode()+v for k,v in sorted(self.repos[repo].items()))).hexdigest()

def use(monkeypatch, url):
    "Make `url` the Hub, as the variable HF_ENDPOINT does before the package is imported"
    monkeypatch.setattr(hub.constants, 'ENDPOINT', url)
    monkeypatch.setattr(hub.constants, 'HUGGINGFACE_CO_URL_TEMPLATE', url+'/{repo_id}/resolve/{revision}/{filename}')

@pytest.fixture
def server(monkeypatch, tmp_path):
    "A Hub without repositories, where the token `good` may write; the cache is empty, and nobody is logged in"
    with Server() as made:
        Thread(target=made.serve_forever, args=(.01,), daemon=True).start()
        use(monkeypatch, made.url)
        monkeypatch.setattr(hub.constants, 'HF_HUB_CACHE', str(tmp_path/'cache'))
        monkeypatch.setattr(hub.constants, 'HF_TOKEN_PATH', str(tmp_path/'none'))
        monkeypatch.setattr(hub.constants, 'HF_HUB_DISABLE_XET', True)  # the stand-in speaks the older protocol
        monkeypatch.setenv('HF_TOKEN', 'good')
        monkeypatch.setattr('time.sleep', lambda seconds: None)     # between tries
        yield made
        made.shutdown()

@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    made = fit(recipe('baseline', 'quick', epochs=1), scan(data_path(prof='quick')), bar=False)
    return save_bundle(made, tmp_path_factory.mktemp('saved')/'bundle')

@pytest.fixture
def pushed(server, bundle):
    push_to_hub(bundle, 'somebody/sketches')
    return server.repos['somebody/sketches']

@pytest.fixture
def picture(tmp_path):
    Image.effect_mandelbrot((60, 50), (-2, -1.5, 1, 1.5), 50).convert('RGB').save(tmp_path/'picture.png')
    return tmp_path/'picture.png'

def refusal(call, *args, **kwargs):
    "The one sentence that `call` ends in"
    with pytest.raises(ValueError) as e: call(*args, **kwargs)
    said = str(e.value)
    assert '\n' not in said and 20 < len(said) < 500
    return said

# There and back

def test_there_and_back(server, bundle, pushed):
    assert {k: v for k,v in pushed.items() if k != '.gitattributes'} == {o: (bundle/o).read_bytes() for o in parts}
    want,got = load_bundle(bundle), load_bundle(pull_from_hub('somebody/sketches'))
    assert got.facts == want.facts
    assert all(map(torch.equal, want.net.state_dict().values(), got.net.state_dict().values()))

def test_private_unless_asked_for(server, bundle, pushed):
    push_to_hub(bundle, 'somebody/open', private=False)
    assert server.visible == {'somebody/sketches': 'private', 'somebody/open': 'public'}

def test_only_a_bundle_goes_out(server, bundle, tmp_path):
    "The folder of a run holds more, and what lies beside a bundle stays here"
    shutil.copytree(bundle, tmp_path/'run/bundle')
    for name in 'run/validation.csv', 'run/bundle/secret.txt', 'run/bundle/weights.pth': (tmp_path/name).write_text('x')
    push_to_hub(tmp_path/'run', 'somebody/run')
    assert parts == server.repos['somebody/run'].keys()

def test_pushed_again(server, bundle, pushed):
    "A repository that is there gets another commit; a damaged bundle does not go out"
    before = dict(pushed)
    assert push_to_hub(bundle, 'somebody/sketches').startswith(server.url)
    assert pushed == before

def test_a_damaged_bundle_stays_here(server, bundle, tmp_path):
    (tmp_path/'bundle').mkdir()
    for o in parts: (tmp_path/'bundle'/o).write_bytes((bundle/o).read_bytes()[:-1])
    assert 'bundle.json' in refusal(push_to_hub, tmp_path/'bundle', 'somebody/damaged')
    assert not server.asked

def test_without_a_network_the_cache_is_enough(server, pushed):
    first = pull_from_hub('somebody/sketches')
    server.broken = 503, b'down'
    assert pull_from_hub('somebody/sketches') == first

def test_a_revision(server, pushed):
    sha = server.commit_of('somebody/sketches')
    assert open_bundle(f'hf://somebody/sketches@{sha}').labels == open_bundle('hf://somebody/sketches').labels
    assert 'has no such revision' in refusal(open_bundle, 'hf://somebody/sketches@v9')

# Checked as any bundle is

class Trap:
    "Unpickling one writes a file"
    def __init__(self, file): self.file = file
    def __reduce__(self): return Path.touch, (self.file,)

def test_nothing_but_a_bundle_is_fetched(server, pushed, tmp_path):
    pushed |= {'export.pkl': pickle.dumps(Trap(tmp_path/'sprung')), 'modeling.py': b'1/0'}
    folder = pull_from_hub('somebody/sketches')
    assert {o.name for o in folder.iterdir()} == parts-{'README.md'} and not (tmp_path/'sprung').exists()

def test_a_pickle_in_place_of_weights(pushed, tmp_path):
    facts = json.loads(pushed['bundle.json'])
    pushed['weights.safetensors'] = pickle.dumps(Trap(tmp_path/'sprung'))
    facts['checksums']['weights.safetensors'] = hashlib.sha256(pushed['weights.safetensors']).hexdigest()
    pushed['bundle.json'] = json.dumps(facts).encode()
    assert 'weights.safetensors cannot be used' in refusal(pull_from_hub, 'somebody/sketches')
    assert not (tmp_path/'sprung').exists()

@pytest.mark.parametrize('name', sorted(parts-{'README.md'}))
def test_a_changed_byte(server, pushed, name):
    data = pushed[name]
    pushed[name] = data[:99]+bytes([data[99]^1])+data[100:]
    assert name in refusal(pull_from_hub, 'somebody/sketches')
    if name == 'bundle.json': assert not [o for o in server.asked if 'resolve' in o and 'weights' in o]

@pytest.mark.parametrize('name', sorted(parts-{'README.md'}))
def test_no_bundle(pushed, name):
    del pushed[name]
    assert 'it is no bundle' in refusal(pull_from_hub, 'somebody/sketches')

# One sentence

def test_no_repository(server):
    assert 'no repository somebody/nothing' in refusal(pull_from_hub, 'somebody/nothing')

@pytest.mark.parametrize('name', ['a/b/c', '', '/', '../x', 'somebody/..', 'a b/c', 'x'*200, 'é/è', 'a/b\n'])
@pytest.mark.parametrize('way', ['push', 'pull'])
def test_names(server, bundle, name, way):
    said = refusal(pull_from_hub, name) if way == 'pull' else refusal(push_to_hub, bundle, name)
    assert 'write owner/name' in said and not server.asked

@pytest.mark.parametrize('token', ['', 'wrong'])
def test_no_token_that_may_write(server, bundle, monkeypatch, token):
    monkeypatch.setenv('HF_TOKEN', token)
    assert 'hf auth login' in refusal(push_to_hub, bundle, 'somebody/sketches')
    assert not server.repos

@pytest.mark.parametrize('way', ['push', 'pull'])
def test_no_network(bundle, server, monkeypatch, way):
    use(monkeypatch, 'http://127.0.0.1:9')
    said = refusal(pull_from_hub, 'a/b') if way == 'pull' else refusal(push_to_hub, bundle, 'a/b')
    assert '127.0.0.1:9' in said and 'look at the network' in said

answers = dict(down=(503, b'down'), html=(200, b'<html>'), empty=(200, b''), list=(200, []), teapot=(418, {}),
               forbidden=(403, dict(error='no')), object=(200, {}))
@pytest.mark.parametrize('kind', answers)
@pytest.mark.parametrize('way', ['push', 'pull'])
def test_strange_answers(server, bundle, kind, way):
    server.broken = answers[kind]
    said = refusal(pull_from_hub, 'a/b') if way == 'pull' else refusal(push_to_hub, bundle, 'a/b')
    assert server.url in said

def test_without_the_package(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    for call in (pull_from_hub, 'a/b'), (push_to_hub, bundle, 'a/b'):
        assert "pip install 'sota_vision[hub]'" in refusal(*call)

# The command

def test_predict(server, pushed, bundle, picture, capsys):
    sota_predict(['hf://somebody/sketches', str(picture)])
    there = capsys.readouterr().out
    sota_predict([str(bundle), str(picture)])
    assert there == capsys.readouterr().out != ''
    with pytest.raises(SystemExit) as e: sota_predict(['hf://somebody/nothing', str(picture)])
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.splitlines()[-1].startswith('sota_predict: no repository somebody/nothing')

def test_predict_in_a_process_of_its_own(server, pushed, picture, tmp_path):
    "As a user has it: another place by HF_ENDPOINT, nothing but the answer on the output"
    root = str(Path(__file__).resolve().parents[1])
    env = os.environ | dict(PYTHONPATH=root, HF_ENDPOINT=server.url, HF_HOME=str(tmp_path/'home'))
    code = 'from sota_vision.cli.predict import sota_predict; sota_predict()'
    done = subprocess.run([sys.executable, '-c', code, 'hf://somebody/sketches', picture], env=env, capture_output=True)
    assert done.returncode == 0 and done.stdout.count(b'\n') == 1, done.stderr
