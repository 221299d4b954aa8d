"Build the site and the EPUB"
import os, re, shutil, subprocess, sys, warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import time
import nbformat
from nbformat.v4 import new_markdown_cell
from .deck import write_deck
from .pages import contents, lesson_list, progress_page, results_page
from .record import calls
from .translate import root, title_of, translate

here = Path(__file__).parent
nbs,work = root/'nbs', root/'build'/'site'
playground = 'playground.ipynb'
kept = 'What you predict on this site is kept in your browser: see [Your progress](progress.md).'

def read(page): return nbformat.read(nbs/page, as_version=4)

def live(page, static, skip):
    "In a process of its own: what a page asks and shows, see `elements`"
    import torch
    from .elements import elements
    warnings.filterwarnings('ignore')
    torch.set_num_threads(1)
    return elements(read(page), page, static, work/'net.pth', skip)

def widget_calls(page): return calls(read(page), lambda module: module == 'explore')

def workers():
    "Processes for whatever imports torch: it is imported once, they are copies"
    os.environ |= dict(MPLBACKEND='agg', SOTA_VISION_PROFILE=os.environ.get('SOTA_VISION_PROFILE', 'tiny'))
    context = get_context('forkserver')
    context.set_forkserver_preload(['sota_vision.teaching.explore', 'tools.site.elements'])
    return ProcessPoolExecutor(min(os.cpu_count() or 1, 4), context)

def live_pages(pages, static, pool):
    "Page → what `elements` found there; the playground shows the widgets of the lessons, and its own"
    shown = dict(zip(pages, pool.map(widget_calls, pages)))
    others = {name for page,names in shown.items() if page != playground for name in names.values()}
    order = sorted(pages, key=lambda o: (not shown[o], o))      # those that take longest first
    jobs = [pool.submit(live, o, static, others if o == playground else ()) for o in order]
    found = {o: job.result() for o,job in zip(order, jobs)}
    drawn = {e.name: e for page,es in found.items() if page != playground for e in es.values() if e.kind == 'widget'}
    found[playground] |= {i: drawn[name] for i,name in shown[playground].items() if name in drawn}
    return found

def write_source(folder, pages, found, extra):
    "The notebooks as Sphinx reads them, and the pages that no notebook is"
    for page in pages:
        shown = {i: e.markup for i,e in found.get(page, {}).items()}
        nb = translate(read(page), page, set(pages), shown)
        if page == 'index.ipynb': nb.cells.append(new_markdown_cell(contents(pages, extra)))
        if page == 'your_predictions.ipynb' and 'progress' in extra: nb.cells.insert(1, new_markdown_cell(kept))
        (folder/page).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(nb, folder/page)
    for name,text in extra.items(): (folder/f'{name}.md').write_text(text, encoding='utf-8')

def sphinx(builder, source, out, static):
    "Run Sphinx"
    trees = work/f'{builder}.trees'
    command = [sys.executable, '-m', 'sphinx', '-q', '-j', 'auto', '-b', builder, '-c', here, '-d', trees, source, out]
    if subprocess.run(command, env=os.environ | dict(SITE_STATIC=str(static))).returncode:
        sys.exit('Sphinx failed: see above')

def book(pages, extra):
    "The EPUB, which has no widgets to wait for, nor frames to carry"
    write_source(work/'epub', pages, {}, extra)
    sphinx('epub', work/'epub', work/'epub.out', here/'static')

def lighten(out):
    "Take away the scripts that only the search page has a use for, and the icons that the page has as a font as well"
    for page in out.rglob('*.html'):
        names = 'fontawesome' if page.name == 'search.html' else 'fontawesome|searchtools|language_data|searchindex'
        script = rf'\s*<script[^>]* src="[^"]*?(?:{names})\.js[^"]*"></script>'
        page.write_text(re.sub(script, '', page.read_text(encoding='utf-8')), encoding='utf-8')
    for file in (out/'_static'/'scripts').glob('fontawesome.js*'): file.unlink()

def build(out):
    "Everything below `out`"
    for o in (out, work): shutil.rmtree(o, ignore_errors=True)
    shutil.copytree(here/'static', work/'static')
    pages = sorted(o.relative_to(nbs).as_posix() for o in nbs.rglob('*.ipynb') if '.ipynb_checkpoints' not in o.parts)
    t = time()
    def said(what): print(f'{time()-t:6.1f} s  {what}', flush=True)
    silent = 'api/', 'solutions/', 'index.ipynb', 'your_predictions.ipynb'
    taught = [o for o in pages if not o.startswith(silent)]
    with workers() as pool:
        results = pool.submit(results_page).result()
        epub = pool.submit(book, pages, dict(results=results))
        found = live_pages(taught, work/'static', pool)
        epub.result()
    asked = {title_of(read(p)): [e for e in es.values() if e.card] for p,es in sorted(found.items())}
    cards = write_deck(work/'static'/'sota_vision.apkg', asked)
    said(f'{len(list((work/"static"/"frames").iterdir()))} frames, {cards} questions')
    extra = dict(results=results, progress=progress_page(lesson_list(found, read), cards))
    write_source(work/'html', pages, found, extra)
    sphinx('html', work/'html', work/'html.out', work/'static')
    shutil.move(work/'html.out', out)
    lighten(out)
    shutil.copy(work/'epub.out'/'sota_vision.epub', out/'_static'/'sota_vision.epub')
    (out/'.nojekyll').touch()
    said(f'pages and EPUB; {sum(o.stat().st_size for o in out.rglob("*") if o.is_file())/1e6:.0f} MB in {out}')
