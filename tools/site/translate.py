"From a notebook for nbdev to one for Sphinx: directives become tags, links lead somewhere, pictures get words"
import ast, base64, html, io, json, posixpath, re
from pathlib import Path
from bs4 import BeautifulSoup
from nbformat.v4 import new_markdown_cell, new_output
from PIL import Image
from .docs import documented

root = Path(__file__).resolve().parents[2]
github = 'https://github.com/sota-vision/sota_vision'
tag_of = {'hide': 'remove-cell', 'default_exp': 'remove-cell', 'export': 'hide-input', 'exporti': 'hide-input',
          'exports': 'hide-input', 'echo: false': 'remove-input', 'code-fold: true': 'hide-input',
          'include: false': 'remove-cell', 'output: false': 'remove-output'}

def directives(
    source:str  # Of a code cell
) -> dict:      # Such as {'export': '', 'echo': 'false', 'fig-alt': 'A church'}
    "The lines of `source` that start with `#|`"
    found = re.findall(r'^#\|\s*([\w-]+)\s*:?[ \t]*(.*?)\s*$', source, re.M)
    return dict(found)

def tags(
    cell    # A code cell
) -> list:  # What myst-nb is to do with it
    "Directives and folded inputs of JupyterLab as tags"
    given = directives(cell.source)
    found = [tag_of.get(f'{k}: {v}', tag_of.get(k)) for k,v in given.items()]
    if cell.metadata.get('jupyter', {}).get('source_hidden'): found.append('hide-input')
    found = {o for o in found if o}
    if 'remove-input' in found: found.discard('hide-input')
    return sorted(found)

def defined(
    source:str  # Of a code cell
) -> list:      # Names, in their order
    "The public functions and classes that a cell defines at its top level"
    try: body = ast.parse(source).body
    except SyntaxError: return []    # a line of IPython's
    return [o.name for o in body if isinstance(o, (ast.FunctionDef, ast.ClassDef)) and o.name[0] != '_']

def titles(
    source:str  # Of a code cell that draws
) -> list:      # Words
    "What a figure is titled, as far as it stands in the code"
    try: tree = ast.parse(source)
    except SyntaxError: return []
    found = []
    for call in (o for o in ast.walk(tree) if isinstance(o, ast.Call)):
        name = getattr(call.func, 'attr', getattr(call.func, 'id', ''))
        told = [k.value for k in call.keywords if k.arg in ('title', 'titles', 'suptitle')]
        if name in ('set_title', 'suptitle', 'title'): told += call.args[:1]
        parts = [o.value for t in told for o in ast.walk(t) if isinstance(o, ast.Constant)]
        found += [o for o in parts if isinstance(o, str)]
    return [o.replace('\n', ' ').strip() for o in dict.fromkeys(found) if re.search(r'\w\w', o)]

def alt_text(
    source:str,     # Of the cell that draws
    heading:str     # Of the section it stands in
) -> str:           # One line
    "Words for a picture: what the author gave, else the titles in the code, else the section"
    given = directives(source).get('fig-alt')
    found = given or '; '.join(titles(source)) or f'the section “{heading}”'
    return found if given else f'Figure: {found}'

def proper(
    markup:str  # HTML as a notebook keeps it
) -> str:       # The same, fit for XML too
    "HTML whose every element is closed; without the style sheets that progress bars bring"
    soup = BeautifulSoup(markup, 'html.parser')
    for style in soup('style'):
        if 'progress' in style.text: style.decompose()
    plain = not any('color' in o.text for o in soup('style'))
    for table in soup('table'):
        del table['border']
        if plain: table['class'] = 'dataframe'      # which the theme has colours for, in the dark too
        first = table.find('tr')
        for th in first('th') if first else []:     # a heading without words says nothing to a screen reader
            if not th.text.strip(): th.name = 'td'
    return soup.decode(formatter='minimal').strip()

def light(
    data:dict   # Of an output, by type
) -> dict:      # The same, or with a JPEG in place of a PNG
    "Photos and drawings as JPEG where that takes little more than half the bytes; plain charts stay as they are"
    png = base64.b64decode(data.get('image/png', ''))
    if not png: return data
    buffer = io.BytesIO()
    paper = Image.open(io.BytesIO(png)).convert('RGBA')
    Image.alpha_composite(Image.new('RGBA', paper.size, 'white'), paper).convert('RGB').save(
        buffer, 'jpeg', quality=90, subsampling=0, optimize=True)
    if len(buffer.getvalue()) > .6*len(png): return data
    others = {k: v for k,v in data.items() if k != 'image/png'}
    return others | {'image/jpeg': base64.b64encode(buffer.getvalue()).decode()}

def tidy_output(out):
    "An output without what a page has no use for; None: nothing is left"
    if 'data' not in out: return out
    out.data = light(out.data)
    if 'text/html' in out.data:
        out.data['text/html'] = proper(''.join(out.data['text/html']))
        if not re.sub(r'<!--.*?-->', '', out.data['text/html'], flags=re.S).strip(): return None
    out.metadata = {}
    return out

def link(
    target:str,     # As the notebook writes it
    page:str,       # Path of the notebook, from nbs
    pages:set       # Every file of nbs that the site holds
) -> str:           # A target that exists
    "Links within the site stay; those to other files of the repository lead to GitHub"
    if re.match(r'[a-z]+:|#', target) or not target: return target
    file,_,anchor = target.partition('#')
    path = posixpath.normpath(posixpath.join('nbs', posixpath.dirname(page), file))
    if path.removeprefix('nbs/') in pages: return target
    return f'{github}/blob/main/{path}' + (f'#{anchor}' if anchor else '')

def prose(source, page, pages):
    "Markdown with its links led somewhere"
    def turned(m): return m[1] + link(m[2], page, pages) + m[3]
    return re.sub(r'(\]\(|(?:src|href)=")([^)"\s]+)([)"])', turned, source)

def headings(source): return re.findall(r'^#+ (.*)$', re.sub(r'```.*?```', '', source, flags=re.S), re.M)

def title_of(nb):
    prose = (c.source for c in nb.cells if c.cell_type == 'markdown')
    return next((h for text in prose for h in headings(text)), 'untitled')

def element(
    kind:str,       # What the script of the page makes of it
    data:dict,      # What the script has to know
    inner:str=''    # HTML for readers without scripts
) -> str:           # HTML
    "An element that a script brings to life"
    return f'<div class="sv-{kind}" data-sv="{html.escape(json.dumps(data, ensure_ascii=False))}">{inner}</div>'

def html_output(markup): return new_output('display_data', data={'text/html': markup})

def translate(
    nb,             # A notebook, changed in place
    page:str,       # Its path, from nbs
    pages:set,      # Every file of nbs that the site holds
    shown:dict=None # Number of a cell → HTML that a script brings to life, after the picture or in place of the words
):                  # `nb`
    "Make `nb` a page of the site"
    heading,cells = title_of(nb), []
    solution,api = (page.startswith(f'{o}/') for o in ('solutions', 'api'))
    for i,c in enumerate(nb.cells):
        if c.cell_type == 'markdown':
            heading = (headings(c.source) or [heading])[-1]
            c.source = prose(c.source, page, pages)
            c.metadata = {}
            cells.append(c)
            continue
        found = tags(c)
        table = documented(c.source) if api and 'export' in directives(c.source) else ''
        outputs = [o for o in map(tidy_output, c.get('outputs', [])) if o]
        if markup := (shown or {}).get(i):
            pictures = [o for o in outputs if any(k.startswith('image/') for k in o.get('data', {}))]
            outputs = [*pictures, html_output(markup)]
        if solution and defined(c.source) and 'remove-cell' not in found: found = sorted({*found, 'hide-input'})
        options = dict(image=dict(alt=alt_text(c.source, heading)))
        if 'hide-input' in found:
            what = ', '.join(f'{o}' for o in defined(c.source)) or 'imports and preparations'
            options |= dict(code_prompt_show=f'Show the code: {what}', code_prompt_hide=f'Hide the code: {what}')
        c.source = re.sub(r'^#\|.*\n?', '', c.source, flags=re.M)
        c.outputs,c.metadata = outputs, dict(tags=found, mystnb=options)
        if table: cells.append(new_markdown_cell(table))
        cells.append(c)
    nb.cells = cells
    nb.metadata.pop('widgets', None)
    return nb
