"Write what the ledger says into the prose of notebooks that quote it: `make quotes`"
import json, re
from pathlib import Path
from sota_vision.experiments.claims import claim_verdicts
from sota_vision.experiments.ledger import pictures_of, quote

root = Path(__file__).resolve().parents[1]
scales = {pictures: scale for scale,pictures in pictures_of.items()}
quoted = re.compile(r'\[(?P<id>[a-z0-9-]+), (?P<pictures>' + '|'.join(scales) + r'): '
                    r'(?P<says>\?|no verdict yet, \d+ of \d+ seeds|[^][]*\[[^][]*\], [\w ]+)\]\('
                    r'(?P<target>[^)]*15_evidence\.ipynb)\)')

def found(text):
    "What `text` quotes, as matches with the groups id, pictures, says and target"
    return list(quoted.finditer(text))

def verdict(match):
    "The verdict that a quotation is about"
    v, = [v for v in claim_verdicts(match['id'], scale=scales[match['pictures']]) if v.claim.id == match['id']]
    return v

def renewed(text):
    "`text` with every quotation as the ledger has it now"
    return quoted.sub(lambda m: f"[{m['id']}, {m['pictures']}: {quote(verdict(m))}]({m['target']})", text)

def notebooks(): return sorted(o for o in (root/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in o.parts)

def main():
    for file in notebooks():
        book = json.loads(file.read_text(encoding='utf-8'))
        for cell in (o for o in book['cells'] if o['cell_type'] == 'markdown'):
            old = ''.join(cell['source'])
            if (new := renewed(old)) == old: continue
            for a,b in zip(found(old), found(new)):
                same = a['says'].split(', ')[-1].split()[0] == b['says'].split(', ')[-1].split()[0]
                change = '' if same else ', a new verdict: read the sentence again'
                if a[0] != b[0]: print(f"{file.relative_to(root)}: {a['says']} → {b['says']}{change}")
            cell['source'] = new.splitlines(True)
        file.write_text(json.dumps(book, indent=1, ensure_ascii=False)+'\n', encoding='utf-8')

if __name__ == '__main__': main()
