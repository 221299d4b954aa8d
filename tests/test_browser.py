"The lessons as a reader meets them: JupyterLab and the playground in a real browser, at the profile `quick`"
import ast, json, os, re, secrets, shutil, socket, subprocess, sys, time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen
import pytest

pytestmark = pytest.mark.slow

root = Path(__file__).resolve().parents[1]
nbs = root/'nbs'
lessons = sorted(o.name for o in nbs.glob('[0-9][0-9]_*.ipynb'))
patience = float(os.environ.get('SOTA_VISION_PATIENCE', 240))   # seconds that one lesson may take here

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
    def before(name, first): return os.pathsep.join(filter(None, (str(first), os.environ.get(name))))
    env = os.environ | dict(
        SOTA_VISION_PROFILE='quick', SOTA_VISION_PREDICTIONS=str(folder/'predictions.json'),
        JUPYTERLAB_SETTINGS_DIR=str(folder/'settings'), JUPYTER_CONFIG_DIR=str(folder/'config'),
        IPYTHONDIR=str(folder/'ipython'), PYTHONWARNINGS='ignore', OMP_NUM_THREADS='1',
        PYTHONPATH=before('PYTHONPATH', root), PATH=before('PATH', Path(sys.executable).parent))
    env.pop('SOTA_VISION_DATA', None)
    words = [sys.executable, '-m', *(o.format(port=port, token=token) for o in command)]
    with open(folder/'server.log', 'w') as log:
        server = subprocess.Popen(words, cwd=folder, env=env, stdout=log, stderr=log)
    try:
        for _ in range(120):
            try: urlopen(f'http://127.0.0.1:{port}/{alive.format(token=token)}', timeout=60).close(); break
            except HTTPError: break     # it answers, though it has no such page
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
    words = ['jupyter', 'lab', '--no-browser', '--allow-root', '--ip=127.0.0.1', '--port={port}',
             '--IdentityProvider.token={token}', '--ServerApp.root_dir=nbs', '--LabApp.expose_app_in_browser=True']
    yield from serve(copied(tmp_path_factory, 'lab'), *words, alive='api?token={token}')

@pytest.fixture(scope='session')
def playground(tmp_path_factory, browser):
    "Address of the playground, served by Voilà"
    words = ['voila', 'nbs/playground.ipynb', '--no-browser', '--Voila.ip=127.0.0.1', '--port={port}']
    yield from serve(copied(tmp_path_factory, 'play'), *words, alive='nothing')

# What a reader does

def new_page(browser):
    "A fresh page that keeps what its widgets complain of"
    page = browser.new_context(viewport=dict(width=1280, height=900)).new_page()
    page.complaints = []
    def note(text, where=''):
        if re.search('widget|comm[_ ]', f'{text} {where}', re.I): page.complaints.append(text)
    page.on('console', lambda m: m.type == 'error' and note(m.text, m.location.get('url', '')))
    page.on('pageerror', lambda e: note(str(e)))
    return page

def opened(browser, lab, name):
    "A page with the notebook `name`, its kernel ready"
    page,(url,token) = new_page(browser),lab
    page.goto(f'{url}/doc/tree/{name}?token={token}', timeout=60_000)
    page.wait_for_function('window.jupyterapp?.shell?.currentWidget?.context?.isReady', timeout=60_000)
    page.evaluate('''async () => {
        const session = jupyterapp.shell.currentWidget.context.sessionContext
        for (let i = 0; session.session?.kernel?.status !== 'idle'; i++) {
            if (i > 900) throw new Error('no kernel: does the notebook name one?')
            await new Promise(r => setTimeout(r, 100))
        }
    }''')
    return page

def start(page):
    "Begin to run all cells"
    page.evaluate("() => { window.done = jupyterapp.commands.execute('notebook:run-all-cells') }")

def finished(page):
    "Wait for the last cell; source, number and error of every code cell"
    page.evaluate('limit => Promise.race([window.done, new Promise(r => setTimeout(r, limit))])', 1000*patience)
    return page.evaluate('''() => {
        const cells = Array.from(jupyterapp.shell.currentWidget.content.model.cells).map(c => c.toJSON())
        const errors = c => c.outputs.filter(o => o.output_type == 'error').map(o => o.ename + ': ' + o.evalue)
        return cells.filter(c => c.cell_type == 'code').map(c => ({
            source: [c.source].flat().join(''), count: c.execution_count, error: errors(c).join()}))
    }''')

def run_cell(page, text):
    "Run the first code cell that holds `text`; the cell in the page"
    i = page.evaluate('''async text => {
        const book = jupyterapp.shell.currentWidget.content
        const holds = c => c.type == 'code' && c.sharedModel.getSource().includes(text)
        const i = Array.from(book.model.cells).findIndex(holds)
        book.activeCellIndex = i
        await jupyterapp.commands.execute('notebook:run-cell')
        return i
    }''', text)
    return page.locator('.jp-Notebook .jp-Cell').nth(i)

def run_until(page, text):
    "Run all cells down to the first one that holds `text`"
    page.evaluate('''async text => {
        const book = jupyterapp.shell.currentWidget.content
        const holds = c => c.type == 'code' && c.sharedModel.getSource().includes(text)
        book.activeCellIndex = Array.from(book.model.cells).findIndex(holds)
        await jupyterapp.commands.execute('notebook:run-all-above')
    }''', text)
    return run_cell(page, text)

def retype(page, text, code):
    "Type `code` over what the first cell with `text` holds, and run it"
    editor = run_cell(page, text).locator('.cm-content')
    editor.click()
    page.keyboard.press('ControlOrMeta+a')
    page.keyboard.insert_text(code)
    run_cell(page, code.split('\n')[0])

def closed(page):
    "Shut the kernel down and close the page"
    page.evaluate('jupyterapp.shell.currentWidget?.context.sessionContext.shutdown()')
    page.context.close()

@pytest.fixture(scope='session')
def running(request, browser, lab):
    "Gives the page of a lesson that runs; the next one has been started meanwhile, so that two kernels share two cores"
    wanted = [o.callspec.params['name'] for o in request.session.items if o.name.startswith('test_lesson[')]
    pages = {}
    def page_of(name):
        for o in wanted[wanted.index(name):][:2]:
            if o in pages: continue
            pages[o] = opened(browser, lab, o)
            start(pages[o])
        return pages[name]
    return page_of

def picture(widget):
    "The bytes of the picture in `widget`, as the browser has them"
    return widget.locator('img').evaluate('''async i => {
        const bytes = new Uint8Array(await (await fetch(i.src)).arrayBuffer())
        let hash = 0
        for (const x of bytes) hash = (31*hash + x) | 0
        return `${bytes.length}:${hash}`
    }''')

def changes(widget, before, limit=20):
    "Wait until the picture is another one than `before`; the seconds it took"
    start = time.perf_counter()
    while picture(widget) == before:
        assert time.perf_counter()-start < limit, 'the picture does not follow the control'
        time.sleep(.03)
    return time.perf_counter()-start

def size(widget):
    "Height of the widget's output in pixels, and how many elements it holds"
    return widget.evaluate('''w => {
        const o = w.closest('.jp-OutputArea') || w
        return [o.offsetHeight, o.querySelectorAll('*').length]
    }''')

def press(page, widget, key):
    "Press `key` on the first slider of `widget`"
    widget.locator('.noUi-handle').first.focus()
    page.keyboard.press(key)

def at_end(widget):
    "Does the first slider of `widget` stand at its right end?"
    handle = widget.locator('.noUi-handle').first
    return handle.get_attribute('aria-valuenow') == handle.get_attribute('aria-valuemax')

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
    there,back = ('ArrowRight', 'ArrowLeft') if not at_end(widget) else ('ArrowLeft', 'ArrowRight')
    press(page, widget, there)
    took = changes(widget, first)
    second = picture(widget)
    shoot(page, widget, f'{name}_moved', shots)
    press(page, widget, back)
    changes(widget, second)
    assert picture(widget) == first, f'{name}: moved there and back, the picture is another one'
    for key in (there, back)*2:
        now = picture(widget)
        press(page, widget, key)
        changes(widget, now)
    assert size(widget) == was, f'{name}: (height, elements) were {was}, after some moves they are {size(widget)}'
    return took

# The tests

def sources(name): return [''.join(c['source']) for c in json.loads((nbs/name).read_text(encoding='utf-8'))['cells']]

@pytest.mark.parametrize('name', lessons)
def test_lesson(name, running, shots):
    page = running(name)
    cells = finished(page)
    wrong = [(o['error'] or 'did not run', o['source'][:200]) for o in cells
             if o['error'] or (o['source'] and not o['count'])]
    assert not wrong, f'{name}: {wrong[:2]}'
    widgets = page.locator('.sota-explore')
    made = sum(bool(re.search(r'^(explore_|Explorer\()', o, re.M)) for o in sources(name))
    assert widgets.count() == made, f'{name} does not show all its widgets'
    took = [play(page, widgets.nth(i), f'{name[:2]}_{i}', shots) for i in range(widgets.count())]
    print(name, 'seconds from key to picture:', *(f'{o:.2f}' for o in took))
    assert not page.complaints, f'{name}: the console says {page.complaints[:3]}'
    closed(page)

def test_refusal(browser, lab):
    "A value that a function refuses puts its sentence in the picture's place, and the next good one brings it back"
    page = opened(browser, lab, 'api/34_teaching_explore.ipynb')
    run_until(page, 'lines = Explorer(')
    widget = page.locator('.sota-explore').filter(has_text='slope')
    was = size(widget)
    widget.locator('.noUi-handle').focus()
    for _ in range(3): page.keyboard.press('ArrowLeft')
    sentence = widget.get_by_role('alert')
    sentence.wait_for(timeout=20_000)
    assert sentence.inner_text() == 'slope is -0.5: it must be 0 or more'
    assert not widget.locator('img').is_visible()
    assert size(widget)[0] == was[0], 'the page jumps when a value is refused'
    page.keyboard.press('ArrowRight')
    widget.locator('img').wait_for(timeout=20_000)
    closed(page)

def test_quiz(browser, lab):
    "A question answered wrongly, then rightly"
    page = opened(browser, lab, '00_imagenette.ipynb')
    question = next(o for o in sources('00_imagenette.ipynb') if re.search(r'^Choice\(', o, re.M))
    run_cell(page, 'from sota_vision.teaching.quiz import')
    form = run_cell(page, question).locator('.sota-quiz')
    options = {k.arg: [ast.literal_eval(o) for o in k.value.keys] for k in ast.parse(question).body[-1].value.keywords}
    for kind,verdict in (('wrong', 'No. '), ('right', 'Right. ')):
        form.locator('label', has_text=options[kind][0]).click()
        form.get_by_role('button', name='Check').click()
        form.get_by_role('alert').filter(has_text=verdict).wait_for(timeout=20_000)
    assert not page.complaints, f'the console says {page.complaints[:3]}'
    closed(page)

def test_exercise(browser, lab):
    "An exercise as it is found, answered wrongly, answered rightly"
    page = opened(browser, lab, '00_imagenette.ipynb')
    for o in 'from sota_vision.data.folders import Split', 'from sota_vision.teaching.quiz import', 'def name_label(':
        run_cell(page, o)
    solution = next(o for o in sources('solutions/00_imagenette.ipynb') if 'def name_label(' in o)
    for code,verdict in ((None, '…'), ("def name_label(path): return path.stem", '✗'), (solution, '✓')):
        if code: retype(page, 'def name_label(', code)
        says = run_cell(page, 'check_name_label(name_label)').locator('.jp-OutputArea-output').inner_text()
        assert says.startswith(verdict), f'{code}: {says}'
    closed(page)

def test_playground(playground, browser, shots):
    page,(url,_) = new_page(browser),playground
    start = time.perf_counter()
    page.goto(url, timeout=1000*patience)
    wanted = sum(o.startswith('explore_') for o in sources('playground.ipynb'))
    page.locator('.sota-explore img').nth(wanted-1).wait_for(timeout=1000*patience)
    print(f'the playground was there after {time.perf_counter()-start:.0f} s')
    widgets = page.locator('.sota-explore')
    page.screenshot(path=shots/'playground.png', full_page=True)
    took = [play(page, widgets.nth(i), f'play_{i:02}', shots) for i in range(widgets.count())]
    print('seconds from key to picture:', *(f'{o:.2f}' for o in took))
    errors = page.locator('[data-mime-type="application/vnd.jupyter.stderr"]')
    assert not errors.count(), 'the playground shows an error'
    assert not page.complaints, f'the console says {page.complaints[:3]}'
    page.context.close()
