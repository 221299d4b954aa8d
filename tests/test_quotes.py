"What prose quotes from the ledger is what the ledger says, and every technique's lesson shows its claims"
import json, re, runpy
from pathlib import Path
import pytest
from sota_vision.experiments.claims import claims, find_claims

root = Path(__file__).resolve().parents[1]
tool = runpy.run_path(str(root/'tools/quotes.py'))
found,renewed = tool['found'], tool['renewed']

def prose(file):
    "The text of a notebook's Markdown cells, or of a file"
    text = file.read_text(encoding='utf-8')
    if file.suffix != '.ipynb': return text
    return '\n\n'.join(''.join(o['source']) for o in json.loads(text)['cells'] if o['cell_type'] == 'markdown')

files = {o.relative_to(root).as_posix(): o for o in [*tool['notebooks'](), root/'README.md']}
quoting = [name for name,file in files.items() if found(prose(file))]

@pytest.mark.parametrize('name', quoting)
def test_quotations_are_the_ledgers(name):
    text = prose(files[name])
    stale = [(a[0], b[0]) for a,b in zip(found(text), found(renewed(text))) if a[0] != b[0]]
    assert not stale, f'{name}: the ledger says otherwise: run make quotes, and read the sentences again'

def test_a_link_to_evidence_that_quotes_a_claim_is_a_quotation():
    "A misspelt claim, or brackets that are not understood, would be checked by nobody"
    for name,file in files.items():
        for text in re.findall(r'\[((?:[^][]|\[[^][]*\])*)\]\([^)]*15_evidence\.ipynb\)', prose(file)):
            if re.search(r'\d|, (drawings|photos)', text):
                assert found(f'[{text}](15_evidence.ipynb)'), f'{name}: not understood: {text}'
                assert text.split(',')[0] in claims, f'{name}: no claim is called {text.split(",")[0]}'

def test_a_stale_number_is_noticed():
    right = renewed('Views pay ([tta-gain, drawings: ?](15_evidence.ipynb)).')
    assert '[tta-gain, drawings: +' in right and renewed(right) == right
    wrong = re.sub(r'\+\d+\.\d', '+99.9', right, count=1)
    assert wrong != right and renewed(wrong) == right

def test_two_quotations_in_a_paragraph_stay_apart():
    text = ('One ([tta-gain, drawings: ?](15_evidence.ipynb)) and [two](07_tta.ipynb), '
            '[tta-max, drawings: ?](15_evidence.ipynb).')
    assert len(found(renewed(text))) == 2 and ' and [two](07_tta.ipynb), ' in renewed(text)

shown = {'01_baseline': ('finder', 'epochs', 'depth'), '02_transfer': ('progressive-transfer',),
         '03_presizing': ('presizing',),
         '04_normalization': ('normalization', 'chapter-normalization', 'statistics-mismatch'),
         '05_progressive': ('progressive', 'chapter-progressive'), '06_leakage': ('leakage',),
         '07_tta': ('tta', 'chapter-views'), '08_mixup': ('mixup', 'chapter-mixup'),
         '10_label_smoothing': ('smoothing-short', 'chapter-smoothing', 'smoothing-long'),
         '11_calibration': ('smoothing-calibration',),
         '12_label_noise': ('mixup-wrong-labels', 'smoothing-wrong-labels'),
         '13_all_together': ('staircase', 'laptop', 'whole', 'ranks')}

@pytest.mark.parametrize('lesson', shown)
def test_a_lesson_shows_the_claims_of_its_technique(lesson):
    book = json.loads((root/f'nbs/{lesson}.ipynb').read_text(encoding='utf-8'))
    code = '\n'.join(''.join(o['source']) for o in book['cells'] if o['cell_type'] == 'code')
    asked = re.findall(r"'([a-z0-9-]+)'", ' '.join(re.findall(r'claim_summary\(([^)]*)\)', code)))
    there = {c.id for c in find_claims(asked)} if asked else set()
    missing = {c.id for c in find_claims(shown[lesson])} - there
    assert not missing, f'{lesson} does not show {sorted(missing)}'
