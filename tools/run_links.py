"Give every lesson its links to Colab, Kaggle and Binder, and the cell that installs the package where it is missing"
import json, re
from pathlib import Path
from urllib.parse import quote

root = Path(__file__).resolve().parents[1]
repository = 'sota-vision/sota_vision'
cell_id = '1a57a11e'
install = '''#| hide
import importlib.util, subprocess, sys     # on a machine of Colab or Kaggle the package is not there yet
if not importlib.util.find_spec('sota_vision'):
    subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', 'sota_vision[lab]'], check=True)'''

def links(
    page:str    # Path of a notebook from the root
) -> str:       # A line of Markdown
    "Where a notebook can be run with one click"
    file = f'{repository}/blob/main/{page}'
    return (f'**Run it** in [Colab](https://colab.research.google.com/github/{file}) · '
            f'[Kaggle](https://kaggle.com/kernels/welcome?src=https://github.com/{file}) · '
            f'[Binder](https://mybinder.org/v2/gh/{repository}/main?labpath={quote(page, safe="")})')

def with_links(
    nb:dict,    # A notebook as read from its JSON
    page:str    # Its path from the root
) -> dict:      # The same, changed
    "Put links below the subtitle and the installing cell below the title"
    title,*rest = nb['cells']
    text = re.sub(r'\n\n\*\*Run it\*\* in .*', '', ''.join(title['source']))
    text = re.sub(r'^> .*$', lambda m: f'{m[0]}\n\n{links(page)}', text, count=1, flags=re.M)
    title['source'] = text.splitlines(True)
    cell = dict(cell_type='code', execution_count=None, id=cell_id, metadata=dict(jupyter=dict(source_hidden=True)),
                outputs=[], source=install.splitlines(True))
    nb['cells'] = [title, cell, *(c for c in rest if c.get('id') != cell_id)]
    return nb

if __name__ == '__main__':
    patterns = '[0-9][0-9]_*', 'bonus/*', 'playground'
    for file in sorted(o for p in patterns for o in root.glob(f'nbs/{p}.ipynb')):
        nb = with_links(json.loads(file.read_text(encoding='utf-8')), file.relative_to(root).as_posix())
        file.write_text(json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True)+'\n', encoding='utf-8')
