"The built site (`make site`) in Chromium: every widget moves, every question answers, nothing is asked of another host"
import os, threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import pytest
from test_browser import browser, need  # noqa: F401

root = Path(__file__).resolve().parents[1]
site = Path(os.environ.get('SOTA_VISION_SITE', root/'_docs'))
axe = Path(os.environ.get('SOTA_VISION_AXE', root/'build/axe/node_modules/axe-core/axe.min.js'))
pages = sorted(o.relative_to(site).as_posix() for o in site.rglob('*.html') if '_static' not in o.parts)
lessons = [o for o in pages if o[:2].isdigit() or o.startswith(('bonus/', 'playground'))]
alive = [o for o in lessons if 'class="sv-' in (site/o).read_text(encoding='utf-8')]
built = pytest.mark.skipif(not pages, reason=f'no site in {site}: make site')
each_page = pytest.mark.parametrize('name', pages)
each_lesson = pytest.mark.parametrize('name', alive)
each_width = pytest.mark.parametrize('width', [1280, 360])

class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

@pytest.fixture(scope='module')
def address():
    "Where the site is served"
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()

class Visit:
    "A page, and what it asked for and complained about"
    def __init__(self, page, host):
        self.page,self.faults,self.bytes = page,[],0
        page.on('console', lambda m: self.faults.append(m.text) if m.type == 'error' else None)
        page.on('pageerror', lambda e: self.faults.append(str(e)))
        page.on('requestfailed', lambda r: self.faults.append(f'failed: {r.url}'))
        page.on('request', lambda r: self.asked(r.url, host))
        page.on('requestfinished', lambda r: self.count(r))

    def asked(self, url, host):
        if not url.startswith((host, 'data:', 'blob:')): self.faults.append(f'asked {url}')

    def count(self, request): self.bytes += request.sizes()['responseBodySize']

@pytest.fixture
def visit(browser, address):    # noqa: F811
    "A function: (page, width, scheme) → `Visit`; at the end none may have complained"
    made = []
    def open_page(name, width=1280, scheme='light', base=address):
        context = browser.new_context(viewport=dict(width=width, height=900), color_scheme=scheme)
        made.append((context, Visit(context.new_page(), base)))
        made[-1][1].page.goto(f'{base}/{name}', wait_until='networkidle')
        return made[-1][1]
    yield open_page
    for context,v in made:
        context.close()
        assert not v.faults, v.faults

shown = "w => [...w.querySelectorAll('.sv-screen, .sv-error')].map(e => e.innerHTML).join()"

def changed(widget, was):
    "Does the widget show something else than `was`, now or soon?"
    for _ in range(40):
        if widget.evaluate(shown) != was: return True
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

@built
@each_width
@each_lesson
def test_widgets_move(visit, name, width):
    page = visit(name, width).page
    for i in range(page.locator('.sv-widget').count()):
        widget = page.locator('.sv-widget').nth(i)
        for way in by_keyboard, by_mouse:
            moved = 0
            for k in range(widget.locator('input, select').count()):
                was = widget.evaluate(shown)
                way(widget.locator('input, select').nth(k))
                moved += changed(widget, was)
            assert moved, f'widget {i} of {name} never changed {way.__name__}'
        for picture in widget.locator('img, svg, canvas, [role=img]').all():
            words = picture.evaluate("e => e.closest('[aria-label]')?.ariaLabel || e.alt")
            assert words, f'a picture of widget {i} has no words'

@built
@each_page
@each_width
def test_page_fits(visit, name, width):
    page = visit(name, width).page
    assert page.evaluate('document.documentElement.scrollWidth') <= width, f'{name} is wider than {width} px'

@built
@each_lesson
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

@built
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

@built
def test_a_result_seen_first_makes_a_prediction_late(visit):
    page = visit('08_mixup.html').page
    page.locator('.sv-outcome summary').first.click()
    form = page.locator('.sv-prediction').first
    for field,value in zip(form.locator('input').all(), ('-1', '1')): field.fill(value)
    form.locator('button').click()
    assert 'will not be counted' in form.inner_text()

@built
def test_a_lesson_read_to_its_end_counts(visit):
    page = visit('09_cross_entropy.html').page
    page.evaluate('scrollTo(0, document.body.scrollHeight)')
    page.wait_for_function('JSON.parse(localStorage.getItem("sota_vision") || "{}").read?.["09_cross_entropy"]')

@built
def test_widgets_move_from_disk(visit):
    page = visit('03_presizing.html', base=site.resolve().as_uri()).page
    widget = page.locator('.sv-widget').first
    was = widget.evaluate(shown)
    by_keyboard(widget.locator('input').first)
    assert changed(widget, was)
    assert widget.locator('img').evaluate('async i => { await i.decode(); return i.naturalWidth }') > 100

@built
def test_search_finds(visit):
    page = visit('search.html?q=mixup').page
    page.wait_for_selector('#search-results li a')

@built
def test_the_first_lesson_and_the_site_are_small(visit):
    assert visit('00_imagenette.html').bytes < 1.5e6
    assert sum(o.stat().st_size for o in site.rglob('*') if o.is_file()) < 60e6
    assert max((o.stat().st_size for o in (site/'_static'/'frames').glob('*.webp')), default=0) < 150_000

@built
@each_page
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_accessible(visit, name, scheme):
    need(axe.exists(), f'no {axe}: npm install --prefix build/axe axe-core')
    page = visit(name, scheme=scheme).page
    page.add_script_tag(path=axe)
    found = page.evaluate('axe.run(document, {resultTypes: ["violations"]})')['violations']
    grave = [o for o in found if o['impact'] in ('serious', 'critical')]
    bad = [f"{o['id']}: {[n['html'][:160] for n in o['nodes'][:3]]}" for o in grave]
    assert not bad, bad
