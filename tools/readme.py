"Make `README.md` from `nbs/index.ipynb`; pictures of its outputs go to `nbs/images`"
import posixpath, re
from pathlib import Path
import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config

root = Path(__file__).resolve().parents[1]
images = 'nbs/images'
head = '<!-- Made from nbs/index.ipynb: edit that, then `make readme`. -->\n\n'
shown = ['image/png', 'image/svg+xml', 'text/markdown', 'text/html', 'text/plain']

def from_root(m):
    "The link `m` of a notebook in `nbs`, as seen from the root"
    if re.match(r'[a-z]+:|[#/]', m[2]): return m[0]
    return m[1] + posixpath.normpath(posixpath.join('nbs', m[2]))

def page(nb):
    "Do as the directives of each cell say, and turn its links"
    nb.cells = [c for c in nb.cells if not re.match(r'#\|\s*(hide|default_exp)\s*($|\w+\s*$)', c.source, re.M)]
    for c in nb.cells:
        if c.cell_type == 'markdown': c.source = re.sub(r'(\]\(|(?:src|href)=")([^)"\s]+)', from_root, c.source)
        else:
            directives = ''.join(re.findall(r'^#\|.*\n?', c.source, re.M))
            c.metadata |= {'directives': directives, 'transient': {'remove_source': 'echo: false' in directives}}
            c.source = re.sub(r'^#\|.*\n?', '', c.source, flags=re.M)
    return nb

def build():
    "Every file the page is made of: its path from the root and its bytes"
    nb = page(nbformat.read(root/'nbs/index.ipynb', as_version=4))
    exporter = MarkdownExporter(config=Config(NbConvertBase={'display_data_priority': shown}))
    text,made = exporter.from_notebook_node(nb, {'output_files_dir': images, 'unique_key': 'index'})
    text = re.sub(r'<style.*?</style>\n?', '', text, flags=re.S)
    for i,c in enumerate(nb.cells):
        alt = re.search(r'^#\|\s*fig-alt:\s*(.+)', c.metadata.get('directives', ''), re.M)
        if alt: text = re.sub(rf'!\[\w+\]\((?={images}/index_{i}_)', f'![{alt[1]}](', text)
    text = re.sub(r'\n{3,}', '\n\n', re.sub(r'[ \t]+$', '', text, flags=re.M))
    pictures = {Path(k).as_posix(): v for k,v in made['outputs'].items()}
    return {'README.md': (head + text.strip() + '\n').encode()} | pictures

if __name__ == '__main__':
    for old in (root/images).glob('index_*'): old.unlink()
    for name,data in build().items():
        (root/name).parent.mkdir(exist_ok=True)
        (root/name).write_bytes(data)
