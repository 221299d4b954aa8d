"`sota_serve`: the numbers of `sota_predict`, a sentence for whatever is no picture, fifty requests at once, a page"
import base64, http.client, io, json, os, random, re, socket, struct, subprocess, sys, zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import psutil, pytest, torch
from PIL import Image
pytest.importorskip('fastapi', reason="no FastAPI here: pip install 'sota_vision[serve]'")
from sota_vision.cli.serve import sota_serve
from sota_vision.data.folders import scan
from sota_vision.data.sources import data_path
from sota_vision.recipes import recipe
from sota_vision.sharing.bundle import load_bundle, save_bundle
from sota_vision.sharing.predict import predict
from sota_vision.train import fit

root = Path(__file__).resolve().parents[1]

@pytest.fixture(scope='module')
def files(): return [str(o) for o in scan(data_path(prof='quick')).valid[:10]]

@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    made = fit(recipe('baseline', 'quick', epochs=1), scan(data_path(prof='quick')), bar=False)
    return save_bundle(made, tmp_path_factory.mktemp('saved')/'bundle')

@pytest.fixture(scope='module')
def server(bundle, tmp_path_factory):
    "A server in a process of its own, its port, and what it writes beside its answers"
    code = 'from sota_vision.cli.serve import sota_serve; sota_serve()'
    env = os.environ | dict(PYTHONWARNINGS='ignore', OMP_NUM_THREADS='1',
                            PYTHONPATH=os.pathsep.join(filter(None, (str(root), os.environ.get('PYTHONPATH')))))
    command = [sys.executable, '-c', code, bundle, '--port', '0', '--max-bytes', '300000', '--max-pixels', '1000000']
    log = tmp_path_factory.mktemp('server')/'log'
    with open(log, 'wb') as f: process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=f, text=True)
    try: yield process, int(process.stdout.readline().rsplit(':', 1)[1]), log
    finally:
        process.kill()
        process.wait()

def ask(server, body=b'', path='/predict', method='POST', **headers):
    "Status and what is said; a refusal is JSON with one sentence"
    link = http.client.HTTPConnection('127.0.0.1', server[1], timeout=60)
    try:
        link.request(method, path, body, {k.replace('_', '-'): v for k,v in headers.items()})
        got = link.getresponse()
        said = json.loads(got.read())
    finally: link.close()
    if got.status != 200: assert list(said) == ['error'] and '\n' not in said['error'] and said['error'], said
    return got.status, said

def png(size=(20, 10), mode='RGB'):
    Image.new(mode, size).save(out := io.BytesIO(), 'PNG')
    return out.getvalue()

def form(data, name='file', file='a.jpg'):
    "A form as curl -F writes it, and its type"
    head = f'--xx\r\nContent-Disposition: form-data; name="{name}"' + (f'; filename="{file}"' if file else '')
    return f'{head}\r\n\r\n'.encode()+data+b'\r\n--xx--\r\n', 'multipart/form-data; boundary=xx'

@pytest.mark.parametrize('views', [0, 3])
def test_as_predict(server, bundle, files, views):
    there = load_bundle(bundle)
    for f,want in zip(files[:3], predict(there, files[:3], views)):
        status,said = ask(server, Path(f).read_bytes(), f'/predict?views={views}')
        assert status == 200 and len(said['views']) == views+1
        got = torch.tensor([said['probabilities'][o] for o in there.labels])
        torch.testing.assert_close(got, want, atol=1e-5, rtol=0)

def test_form(server, files):
    data = Path(files[0]).read_bytes()
    body,kind = form(data)
    assert ask(server, body, Content_Type=kind) == ask(server, data)

def test_about(server, bundle):
    assert ask(server, path='/bundle', method='GET')[1]['labels'] == load_bundle(bundle).labels

def huge_png():
    "A PNG of a few kilobytes that says it has nine hundred million pixels"
    def chunk(kind, data): return struct.pack('>I', len(data))+kind+data+struct.pack('>I', zlib.crc32(kind+data))
    head = struct.pack('>IIBBBBB', 30_000, 30_000, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n'+chunk(b'IHDR', head)+chunk(b'IDAT', zlib.compress(bytes(10**6)))+chunk(b'IEND', b'')

refused = dict(
    empty=(b'', 422), text=(b'hello', 415), zip=(b'PK\x03\x04'+bytes(99), 415), pickle=(b'\x80\x04K\x01.', 415),
    cut=(png((90, 90))[:60], 422), script=(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 415),
    svg=(b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415), many_pixels=(png((1001, 1000)), 413),
    huge=(huge_png(), 413), many_bytes=(bytes(300_001), 413), very_many=(bytes(20_000_000), 413))
@pytest.mark.parametrize('name', refused)
def test_refused(server, name):
    body,status = refused[name]
    assert ask(server, body)[0] == status

@pytest.mark.parametrize('kind, body', [
    ('multipart/form-data', b'abc'), ('multipart/form-data; boundary=xx', b'abc'),
    ('multipart/form-data; boundary=', b''), ('multipart/form-data; boundary=xx', form(b'abc', file='')[0]),
    ('multipart/form-data; boundary=xx', form(b'abc')[0]),
    ('multipart/form-data; boundary=xx', form(b'abc')[0][:40]), ('application/json', b'{"a": 1}')])
def test_forms_that_are_none(server, kind, body): assert 400 <= ask(server, body, Content_Type=kind)[0] < 500

@pytest.mark.parametrize('path, method, status', [
    ('/predict?views=-1', 'POST', 422), ('/predict?views=17', 'POST', 422), ('/predict?views=many', 'POST', 422),
    ('/predict?views=1e400', 'POST', 422), ('/predict?pictures=perhaps', 'POST', 422), ('/predict', 'GET', 405),
    ('/nowhere', 'POST', 404), ('/../../etc/passwd', 'GET', 404)])
def test_requests_that_cannot_be(server, path, method, status): assert ask(server, png(), path, method)[0] == status

def test_random_bodies(server, files):
    "Noise, damaged pictures and damaged forms: an answer or a sentence, and the server lives"
    rng = random.Random(0)
    whole = Path(files[0]).read_bytes()
    for i in range(150):
        n = rng.randrange(3000)
        noise,at = rng.randbytes(n), rng.randrange(len(whole))
        body = (noise, whole[:at]+noise+whole[at+n:], whole[:at])[i%3]
        kind = rng.choice(('image/jpeg', 'multipart/form-data; boundary=xx', 'text/plain'))
        status,_ = ask(server, body, Content_Type=kind)
        assert status == 200 or 400 <= status < 500
    assert ask(server, whole)[0] == 200

def test_bytes_that_are_no_http(server):
    for text in (b'\0'*1000, b'GET\r\n\r\n', b'POST /predict HTTP/1.1\r\nContent-Length: x\r\n\r\n'):
        with socket.create_connection(('127.0.0.1', server[1]), 60) as s:
            s.sendall(text)
            assert s.recv(100).startswith(b'HTTP/1.1 4')

def test_a_sender_who_goes_away(server, files):
    for _ in range(20):
        with socket.create_connection(('127.0.0.1', server[1]), 60) as s:
            s.sendall(b'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc')
    assert ask(server, Path(files[0]).read_bytes())[0] == 200
    assert 'Traceback' not in server[2].read_text()

def memory(process):
    "What the server has in memory, in megabytes"
    return psutil.Process(process.pid).memory_info().rss/1e6

def test_fifty_at_once(server, files):
    data = [Path(f).read_bytes() for f in files]
    want = [ask(server, o, '/predict?views=2')[1] for o in data]
    with ThreadPoolExecutor(50) as pool:
        def one(i): return ask(server, data[i%10], '/predict?views=2')
        list(pool.map(one, range(50)))
        before = memory(server[0])
        for i,(status,said) in enumerate(pool.map(one, range(300))): assert status == 200 and said == want[i%10]
    assert memory(server[0]) < before+150

# The command

def mistake(capsys, *args):
    "The one line that `sota_serve` leaves with"
    with pytest.raises(SystemExit) as e: sota_serve([str(o) for o in args])
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1 and err.startswith('sota_serve: '), err
    return err

@pytest.mark.parametrize('args, words', [
    (['--port', '-1'], 'port=-1'), (['--port', '70000'], 'port=70000'), (['--max-bytes', '0'], 'max_bytes=0'),
    (['--host', 'no such host'], '--host'), (['--max-pixels', '-5'], 'max_pixels=-5')])
def test_value(bundle, capsys, args, words): assert words in mistake(capsys, bundle, *args)

def test_a_port_that_is_taken(bundle, server, capsys):
    assert f':{server[1]} cannot be' in mistake(capsys, bundle, '--port', server[1])

def test_no_bundle(tmp_path, capsys): assert 'no bundle at' in mistake(capsys, tmp_path/'nowhere', '--port', 0)

def test_this_machine_alone(server):
    "Nobody else is let in unless that was asked for"
    sockets = psutil.Process(server[0].pid).net_connections()
    assert {o.laddr.ip for o in sockets if o.status == 'LISTEN'} == {'127.0.0.1'}

# The page

@pytest.fixture(scope='module')
def page(server, browser):
    "The page in Chromium, with whatever it complains of"
    page = browser.new_page()
    page.complaints,page.elsewhere = [], []
    page.on('pageerror', lambda e: page.complaints.append(str(e)))
    page.on('request', lambda r: page.elsewhere.append(r.url))
    page.goto(f'http://127.0.0.1:{server[1]}/')
    yield page
    page.close()

def test_a_picture_is_chosen(page, server, files):
    said = ask(server, Path(files[0]).read_bytes(), '/predict?views=4')[1]
    page.set_input_files('#file', files[0])
    page.wait_for_selector('#views figure')
    assert page.locator('#said').inner_text().startswith(said['label']+', ')
    assert page.locator('.bar').count() == 10 and page.locator('.bar span').first.inner_text() == said['label']
    votes = page.locator('#views figcaption').all_inner_texts()
    assert len(votes) == 5 and all(f'{v["name"]}: {v["label"]}, ' in o for v,o in zip(said['views'], votes))
    assert page.locator('#views img').first.evaluate('i => i.naturalWidth') == 32

def test_a_picture_is_dropped(page, files):
    data = base64.b64encode(Path(files[1]).read_bytes()).decode()
    page.evaluate('''data => {
        const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0)), moved = new DataTransfer()
        moved.items.add(new File([bytes], 'a.jpg', {type: 'image/jpeg'}))
        const drop = new DragEvent('drop', {dataTransfer: moved, bubbles: true, cancelable: true})
        document.querySelector('#drop').dispatchEvent(drop)
    }''', data)
    page.wait_for_function("document.querySelectorAll('#views figure').length == 5 && "
                           "!document.querySelector('#said').hasAttribute('role')")
    assert re.search(r', \d+\.\d %$', page.locator('#said').inner_text())

def test_what_is_no_picture_is_told(page, tmp_path):
    (tmp_path/'a.jpg').write_bytes(b'PK\x03\x04')
    page.set_input_files('#file', tmp_path/'a.jpg')
    alert = page.get_by_role('alert')
    alert.wait_for()
    page.wait_for_function("document.querySelector('#said').innerText.includes('no picture of a known format')")
    assert page.locator('#views figure').count() == 0
    assert not page.complaints and all(re.match(r'(http://127\.0\.0\.1:|data:|blob:)', o) for o in page.elsewhere)
