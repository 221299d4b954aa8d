"The web site in Chromium: every page fits, every widget moves, every question answers, and no other host is asked"
import os, re, subprocess, sys, threading, zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree
import pytest

pytestmark = pytest.mark.slow

root = Path(__file__).resolve().parents[1]
built = os.environ.get('SOTA_VISION_SITE')      # a folder: every page is looked at; None: a few, of a site built here
axe = Path(os.environ.get('SOTA_VISION_AXE', root/'build/axe/node_modules/axe-core/axe.min.js'))
texts = {o.relative_to(root/'nbs').with_suffix('.html').as_posix(): o.read_text(encoding='utf-8')
         for o in sorted((root/'nbs').rglob('*.ipynb')) if '.ipynb_checkpoints' not in o.parts}
pages = [*texts, 'results.html', 'progress.html', 'search.html']
few = ['index.html', '00_imagenette.html', '08_mixup.html', 'playground.html', 'solutions/08_mixup.html',
       'api/10_recipe.html', 'results.html', 'progress.html']
shown = pages if built else few
live = [o for o in shown if 'sota_vision.teaching.' in texts.get(o, '') and not o.startswith(('api/', 'solutions/'))]
each_page = pytest.mark.parametrize('name', shown)
each_live_page = pytest.mark.parametrize('name', live)

@pytest.fixture(scope='session')
def site(tmp_path_factory):
    "Folder of the site"
    if built: return Path(built)
    wanted = 'sphinx', 'myst_nb', 'sphinx_book_theme', 'latex2mathml', 'genanki'
    missing = [o for o in wanted if not find_spec(o)]
    if missing: pytest.skip(f'no {missing[0]} here: make .venv/site')
    folder = tmp_path_factory.mktemp('site')/'site'
    subprocess.run([sys.executable, '-W', 'ignore', '-m', 'tools.site', folder], cwd=root, check=True)
    return folder

class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

@pytest.fixture(scope='module')
def address(browser, site):
    "Where the site is served"
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()

class Visit:
    "A page, and what it asked for and complained about"
    def __init__(self, page, host):
        self.page,self.faults,self.finished = page,[],[]
        page.on('console', lambda m: self.faults.append(m.text) if m.type == 'error' else None)
        page.on('pageerror', lambda e: self.faults.append(str(e)))
        page.on('requestfailed', self.failed)
        page.on('request', lambda r: self.asked(r.url, host))
        page.on('requestfinished', lambda r: self.finished.append(r))

    def failed(self, request):
        "A frame that is given up for the next one, or since the page is closed, is no fault"
        given_up = request.failure == 'net::ERR_ABORTED' and '/frames/' in request.url
        if not given_up: self.faults.append(f'{request.failure}: {request.url}')

    def asked(self, url, host):
        if not url.startswith((host, 'data:', 'blob:')): self.faults.append(f'asked {url}')

    def bytes(self): return sum(o.sizes()['responseBodySize'] for o in self.finished)

@pytest.fixture
def visit(browser, address):
    "A function: (page, width, scheme) → `Visit`; at the end none may have complained"
    made = []
    def open_page(name, width=1280, scheme='light', base=address):
        context = browser.new_context(viewport=dict(width=width, height=900), color_scheme=scheme)
        made.append((context, Visit(context.new_page(), base)))
        made[-1][1].page.goto(f'{base}/{name}', wait_until='load')
        return made[-1][1]
    yield open_page
    for context,v in made:
        context.close()
        assert not v.faults, v.faults

shows = "w => [...w.querySelectorAll('.sv-screen, .sv-error')].map(e => e.innerHTML).join()"

def changed(widget, was):
    "Does the widget show something else than `was`, now or soon?"
    for _ in range(40):
        if widget.evaluate(shows) != was: return True
        widget.page.wait_for_timeout(50)
    return False

def by_keyboard(field):
    field.focus()
    last = field.evaluate("f => f.tagName === 'SELECT' ? f.selectedIndex === f.options.length-1 : f.value === f.max")
    field.page.keyboard.press(('ArrowUp' if last else 'ArrowDown') if field.evaluate("f => f.tagName === 'SELECT'") else
                              ('ArrowLeft' if last else 'ArrowRight'))

def by_mouse(field):
    if field.evaluate("f => f.tagName === 'SELECT'"):   # its list is drawn by the system, out of reach
        count = field.evaluate('f => f.options.length')
        field.select_option(index=(field.evaluate('f => f.selectedIndex')+count//2) % count)
    else:
        share = field.evaluate('f => (f.value-f.min)/(f.max-f.min)')
        box = field.bounding_box()
        field.click(position=dict(x=box['width']*(.9 if share < .6 else .1), y=box['height']/2))

@pytest.mark.parametrize('width', [1280, 360])
@each_live_page
def test_widgets_move(visit, name, width):
    widgets = visit(name, width).page.locator('.sv-widget').all()
    assert widgets or 'teaching.explore import' not in texts[name], f'{name} shows no widget'
    for i,widget in enumerate(widgets):
        moved = set()
        for way in by_keyboard, by_mouse:
            for label in reversed(widget.locator('.sv-control').all()):     # the first choose what the others mean
                was = widget.evaluate(shows)
                way(label.locator('input, select'))
                if changed(widget, was): moved |= {way.__name__, label.locator('span').inner_text()}
        wanted = {'by_keyboard', 'by_mouse', *widget.locator('.sv-control span').all_inner_texts()}
        assert moved == wanted, f'widget {i} of {name} does not follow {wanted-moved}'
        for label in widget.locator('.sv-control').all():
            assert label.evaluate('e => e.scrollWidth <= e.clientWidth'), f'a control of widget {i} is cut off'
        for picture in widget.locator('img, svg, canvas, [role=img]').all():
            words = picture.evaluate("e => e.closest('[aria-label]')?.ariaLabel || e.alt")
            assert words, f'a picture of widget {i} has no words'

@each_live_page
def test_questions_answer(visit, name):
    page = visit(name).page
    for form in page.locator('.sv-quiz').all():
        check,show = form.locator('button').all()
        check.click()
        assert form.locator('.sv-feedback').inner_text(), 'an empty answer gets no word'
        if form.locator('input[type=radio]').count(): form.locator('input[type=radio]').last.check()
        elif form.locator('input').count(): form.locator('input').fill('1e9')
        else: form.locator('textarea').fill('words')
        check.click()
        assert form.locator('.sv-feedback').inner_text().startswith(('Right.', 'No.', 'Compare with this.'))
        show.click()
        assert len(form.locator('.sv-feedback').inner_text()) > 20
        assert form.locator('.sv-state').inner_text().startswith('answered')
    for form in page.locator('.sv-prediction').all():
        for field,value in zip(form.locator('input[type=number]').all(), '01'): field.fill(value)
        for option in form.locator('input[type=radio]').all()[:1]: option.check()
        form.locator('button').click()
        assert form.locator('.sv-feedback').inner_text().startswith('Committed: ')
    for tick in page.locator('.sv-exercise input').all(): tick.check()
    done = [page.locator(f'.sv-{kind}').count() for kind in ('quiz', 'exercise', 'prediction')]
    for result in page.locator('.sv-outcome').all():
        assert re.search(r'Your prediction: .* (Hit|Missed)', result.inner_text())
    page.goto(page.url.replace(name, 'progress.html'))
    told = page.locator('.sv-progress tr', has=page.locator(f'a[href="{name}"]')).all_inner_texts()
    if told: assert [int(n or 0) for n in re.findall(r'(\d+) of \1|–', told[0])] == done, told

@pytest.mark.parametrize('typed', ['80', '80 %', '4/5', '4 / 5', '80,0', '+ 80 percent'])
def test_numbers_are_read_as_in_the_notebooks(visit, typed):
    "The question of the leak, whose answer is 80 %"
    page = visit('06_leakage.html').page
    form = page.locator('.sv-quiz', has=page.locator('input[type=text]')).first
    form.locator('input').fill(typed)
    form.locator('button').first.click()
    assert form.locator('.sv-feedback').inner_text().startswith('Right.')

def test_a_prediction_is_kept_and_counted(visit):
    page = visit('08_mixup.html').page
    form = page.locator('.sv-prediction').first
    form.locator('button').click()
    assert 'Not committed' in form.inner_text()
    for field,value in zip(form.locator('input').all(), ('-30', '15')): field.fill(value)
    form.locator('button').click()
    assert 'Committed: between −30 and 15 points' in form.inner_text()
    assert 'Hit' in page.locator('.sv-outcome').first.inner_text()
    page.reload()
    assert 'Your prediction: between −30 and 15' in page.locator('.sv-prediction').first.inner_text()
    page.goto(page.url.replace('08_mixup', 'progress'))
    assert '1 of 1 intervals' in page.locator('.sv-calibration').inner_text()
    with page.expect_download() as got: page.get_by_role('button', name='Export as a file').click()
    assert 'mixup_short' in Path(got.value.path()).read_text(encoding='utf-8')
    page.on('dialog', lambda d: d.accept())
    page.get_by_role('button', name='Clear').click()
    assert 'not made any' in page.locator('.sv-calibration').inner_text()
    assert page.evaluate('localStorage.getItem("sota_vision")') is None

def test_a_result_seen_first_makes_a_prediction_late(visit):
    page = visit('08_mixup.html').page
    page.locator('.sv-outcome summary').first.click()
    form = page.locator('.sv-prediction').first
    for field,value in zip(form.locator('input').all(), ('-1', '1')): field.fill(value)
    form.locator('button').click()
    assert 'will not be counted' in form.inner_text()

def test_a_lesson_read_to_its_end_counts(visit):
    page = visit('09_cross_entropy.html').page
    page.evaluate('scrollTo(0, document.body.scrollHeight)')
    page.wait_for_function('JSON.parse(localStorage.getItem("sota_vision") || "{}").read?.["09_cross_entropy"]')

def test_widgets_move_from_disk(visit, site):
    page = visit('03_presizing.html', base=site.resolve().as_uri()).page
    widget = page.locator('.sv-widget').first
    was = widget.evaluate(shows)
    by_keyboard(widget.locator('input').first)
    assert changed(widget, was)
    assert widget.locator('img').evaluate('async i => { await i.decode(); return i.naturalWidth }') > 100

def test_search_finds(visit):
    page = visit('search.html?q=mixup').page
    page.wait_for_selector('#search-results li a')

def test_the_first_lesson_is_small(visit):
    first = visit('00_imagenette.html')
    first.page.wait_for_load_state('networkidle')
    assert first.bytes() < 1.5e6

def test_the_site_is_small(site):
    assert sum(o.stat().st_size for o in site.rglob('*') if o.is_file()) < 60e6
    assert max(o.stat().st_size for o in (site/'_static'/'frames').iterdir()) < 150_000

@each_page
def test_page_fits(visit, name):
    page = visit(name).page
    for width in 1280, 360:
        for scheme in 'light', 'dark':
            page.set_viewport_size(dict(width=width, height=900))
            page.emulate_media(color_scheme=scheme)
            page.wait_for_selector(f'html[data-theme={scheme}]')
            wide = page.evaluate('document.documentElement.scrollWidth')
            assert wide <= width, f'{name} is {wide} px wide at {width} px, {scheme}'

@each_page
def test_page_is_accessible(visit, name):
    if not axe.exists(): (pytest.fail if built else pytest.skip)(f'no {axe}: make build/axe')
    for width,scheme in (1280, 'light'), (360, 'dark'):
        page = visit(name, width, scheme).page
        page.evaluate(axe.read_text(encoding='utf-8'))
        found = page.evaluate('axe.run(document, {resultTypes: ["violations"]})')['violations']
        grave = [o for o in found if o['impact'] in ('serious', 'critical')]
        bad = [f"{o['id']}: {[n['html'][:160] for n in o['nodes'][:3]]}" for o in grave]
        assert not bad, bad

# Files

def test_every_page_was_made(site):
    found = {o.relative_to(site).as_posix() for o in site.rglob('*.html') if '_static' not in o.parts}
    assert found == set(pages)

def leads_nowhere(targets, folder, names):
    "Those of `targets`, as written in a page of `folder`, that are neither among `names` nor elsewhere on the web"
    local = (re.split('[?#]', o)[0] for o in targets if not re.match(r'[a-z]+:|#', o))
    return sorted({o for o in local if o and os.path.normpath(os.path.join(folder, o)) not in names})

def test_links_and_pictures_are_there(site):
    names = {o.relative_to(site).as_posix() for o in site.rglob('*')}
    for page in pages:
        targets = re.findall(r'<[^>]* (?:href|src)="([^"]+)"', (site/page).read_text(encoding='utf-8'))
        assert not (lost := leads_nowhere(targets, os.path.dirname(page), names)), f'{page}: {lost}'

def test_the_epub_is_whole(site):
    with zipfile.ZipFile(site/'_static'/'sota_vision.epub') as book:
        names = set(book.namelist())
        assert book.infolist()[0].filename == 'mimetype' and not book.infolist()[0].compress_type
        assert {o.removesuffix('.html')+'.xhtml' for o in texts} <= names
        assert not [o for o in names if 'frames/' in o], 'a book has no widgets to show frames in'
        for name in names:
            if not name.endswith(('.xhtml', '.opf', '.ncx', '.xml')): continue
            found = [o.attrib for o in ElementTree.fromstring(book.read(name)).iter()]
            targets = [v for o in found for k,v in o.items() if k in ('href', 'src')]
            assert not (lost := leads_nowhere(targets, os.path.dirname(name), names)), f'{name}: {lost}'
