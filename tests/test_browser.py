"The lessons as a reader meets them: JupyterLab and the playground in a real browser, at the scale of the profile `quick`"
import json, os, re, secrets, shutil, socket, subprocess, sys, time
from pathlib import Path
from urllib.request import urlopen
import pytest

root = Path(__file__).resolve().parents[1]
nbs = root/'nbs'
lessons = sorted(o.name for o in nbs.glob('[0-9][0-9]_*.ipynb'))
patience = float(os.environ.get('SOTA_VISION_PATIENCE', 240))   # seconds that one lesson may take here
flags = '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'

def need(ok, what):
    "Skip with `what` unless `ok`; fail where a browser was promised, as in CI"
    if not ok and os.environ.get('SOTA_VISION_NEED_BROWSER'): pytest.fail(what)
    if not ok: pytest.skip(what)

@pytest.fixture(scope='session')
def browser():
    "Chromium, driven by Playwright"
    try: from playwright.sync_api import sync_playwright
    except ImportError: need(False, "no Playwright here: pip install 'sota_vision[dev]'")
    path = os.environ.get('SOTA_VISION_BROWSER') or next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    need(path, 'no Chromium here: install one (Debian: apt install chromium) or name it in SOTA_VISION_BROWSER')
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, args=flags.split())
        yield chromium
        chromium.close()

# Servers, on a copy of the notebooks

settings = {
    'notebook-extension/tracker': {'windowingMode': 'none'},    # every cell is in the page, not only those in sight
    'apputils-extension/notification': {'fetchNews': 'false', 'checkForUpdates': False},
    'docmanager-extension/plugin': {'autosave': False}}

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

def serve(folder, *command, alive):
    "Start `command` in `folder`, on a port and with a token of its own; yields its address when `alive` answers"
    port,token = free_port(),secrets.token_hex(8)
    for name,values in settings.items():
        file = folder/f'settings/@jupyterlab/{name}.jupyterlab-settings'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    env = os.environ | dict(SOTA_VISION_PROFILE='quick', OMP_NUM_THREADS='1', JUPYTERLAB_SETTINGS_DIR=str(folder/'settings'),
        JUPYTER_CONFIG_DIR=str(folder/'config'), IPYTHONDIR=str(folder/'ipython'), PYTHONWARNINGS='ignore', PYTHONPATH=os.pathsep.join(
            filter(None, (str(root), os.environ.get('PYTHONPATH')))), PATH=os.pathsep.join((str(Path(sys.executable).parent), os.environ['PATH'])))
    env.pop('SOTA_VISION_DATA', None)
    with open(folder/'server.log', 'w') as log:
        server = subprocess.Popen([sys.executable, '-m', *(o.format(port=port, token=token) for o in command)], cwd=folder, env=env, stdout=log, stderr=log)
    try:
        for _ in range(120):
            try: urlopen(f'http://127.0.0.1:{port}/{alive.format(token=token)}', timeout=60).close(); break
            except OSError: time.sleep(.5)
            assert server.poll() is None, (folder/'server.log').read_text()[-2000:]
        else: pytest.fail(f'the server never answered: {(folder/"server.log").read_text()[-2000:]}')
        yield f'http://127.0.0.1:{port}', token
    finally:
        server.terminate()
        try: server.wait(30)
        except subprocess.TimeoutExpired: server.kill()

def copied(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp(name)
    shutil.copytree(nbs, folder/'nbs', ignore=shutil.ignore_patterns('.ipynb_checkpoints'))
    return folder

@pytest.fixture(scope='session')
def lab(tmp_path_factory, browser):
    "Address and token of a JupyterLab"
    yield from serve(copied(tmp_path_factory, 'lab'), 'jupyter', 'lab', '--no-browser', '--allow-root', '--ip=127.0.0.1', '--port={port}',
        '--IdentityProvider.token={token}', '--ServerApp.root_dir=nbs', '--LabApp.expose_app_in_browser=True', alive='api?token={token}')

# What a reader does

@pytest.fixture
def page(browser):
    "A fresh page that keeps what its widgets complain of"
    context = browser.new_context(viewport=dict(width=1280, height=900))
    page = context.new_page()
    page.complaints = []
    def note(text, where=''):
        if re.search('widget|comm[_ ]', f'{text} {where}', re.I): page.complaints.append(text)
    page.on('console', lambda m: m.type == 'error' and note(m.text, m.location.get('url', '')))
    page.on('pageerror', lambda e: note(str(e)))
    yield page
    context.close()

def opened(page, lab, name):
    "Open the notebook `name` and wait for its kernel"
    url,token = lab
    page.goto(f'{url}/doc/tree/{name}?token={token}', timeout=60_000)
    page.wait_for_function('window.jupyterapp?.shell?.currentWidget?.context?.isReady', timeout=60_000)
    page.evaluate('''async () => {
        const session = jupyterapp.shell.currentWidget.context.sessionContext
        await session.ready
        while (session.session?.kernel?.status !== 'idle') await new Promise(r => setTimeout(r, 100))
    }''')

def run_all(page):
    "Run all cells; the state of every code cell afterwards"
    page.evaluate('''async limit => Promise.race([jupyterapp.commands.execute('notebook:run-all-cells'), new Promise(r => setTimeout(r, limit))])''', 1000*patience)
    return page.evaluate('''() => Array.from(jupyterapp.shell.currentWidget.content.model.cells).map(c => c.toJSON()).filter(c => c.cell_type == 'code')
        .map(c => ({source: [c.source].flat().join(''), count: c.execution_count,
                    error: c.outputs.filter(o => o.output_type == 'error').map(o => o.ename + ': ' + o.evalue).join()}))''')

def closed(page):
    "Shut the kernel down, so that it does not stand beside the next one"
    page.evaluate('jupyterapp.shell.currentWidget.context.sessionContext.shutdown()')

def picture(widget):
    "The bytes of the picture in `widget`, as the browser has them"
    return widget.locator('img').evaluate('''async i => { const b = new Uint8Array(await (await fetch(i.src)).arrayBuffer())
        let h = 0; for (const x of b) h = (31*h + x) | 0; return `${b.length}:${h}` }''')

def changes(widget, before, limit=20):
    "Wait until the picture is another one than `before`; the seconds it took"
    start = time.perf_counter()
    while picture(widget) == before:
        assert time.perf_counter()-start < limit, 'the picture does not follow the control'
        time.sleep(.03)
    return time.perf_counter()-start

def size(widget):
    "Height of the widget's output in pixels, and how many elements it holds"
    return widget.evaluate('''w => { const o = w.closest('.jp-OutputArea') || w; return [o.offsetHeight, o.querySelectorAll('*').length] }''')

def press(page, widget, key):
    "Press `key` on the first control of `widget` that can be moved, and say which"
    for control in ('.noUi-handle', 'select:not([multiple])', 'select[multiple]'):
        if (found := widget.locator(control)).count():
            found.first.focus()
            page.keyboard.press(key if control == '.noUi-handle' else {'ArrowRight': 'ArrowDown', 'ArrowLeft': 'ArrowUp'}[key])
            return control

def shoot(page, widget, name, shots):
    "Screenshots of `widget` in a wide and in a narrow window"
    for width in (1280, 800):
        page.set_viewport_size(dict(width=width, height=900))
        page.wait_for_timeout(150)
        widget.scroll_into_view_if_needed()
        widget.screenshot(path=shots/f'{name}_{width}.png')
    page.set_viewport_size(dict(width=1280, height=900))

@pytest.fixture(scope='session')
def shots(tmp_path_factory):
    "Folder for screenshots"
    folder = Path(os.environ.get('SOTA_VISION_SHOTS') or tmp_path_factory.mktemp('shots'))
    folder.mkdir(parents=True, exist_ok=True)
    return folder

def play(page, widget, name, shots):
    "Move a control of `widget` there and back: the picture follows, its place stays, nothing piles up"
    first,was = picture(widget),size(widget)
    shoot(page, widget, f'{name}_default', shots)
    press(page, widget, 'ArrowRight')
    took = changes(widget, first)
    second = picture(widget)
    shoot(page, widget, f'{name}_moved', shots)
    press(page, widget, 'ArrowLeft')
    changes(widget, second)
    assert picture(widget) == first, f'{name}: moved there and back, the picture is another one'
    for key in ('ArrowRight', 'ArrowLeft')*2:
        now = picture(widget)
        press(page, widget, key)
        changes(widget, now)
    assert size(widget) == was, f'{name}: (height, elements) were {was}, after some moves they are {size(widget)}'
    return took

# The tests

@pytest.mark.parametrize('name', lessons)
def test_lesson(name, lab, page, shots):
    opened(page, lab, name)
    cells = run_all(page)
    wrong = [(o['error'] or 'did not run', o['source'][:200]) for o in cells if o['error'] or (o['source'] and not o['count'])]
    assert not wrong, f'{name}: {wrong[:2]}'
    widgets = page.locator('.sota-explore')
    if 'explore' in ''.join(o['source'] for o in cells): assert widgets.count(), f'{name} shows no widget'
    took = [play(page, widgets.nth(i), f'{name[:2]}_{i}', shots) for i in range(widgets.count())]
    print(name, 'seconds from key to picture:', *(f'{o:.2f}' for o in took))
    assert not page.complaints, f'{name}: the console says {page.complaints[:3]}'
    closed(page)
