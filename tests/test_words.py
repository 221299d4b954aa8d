"The terms of the field, everywhere: words that stood for them once stay out of prose, help and names"
import json, re
from importlib import import_module
from pathlib import Path
import pytest

root = Path(__file__).parent.parent

# What not to write, as regular expressions, and what to write instead
terms = {
    'short numbers?': 'bfloat16, mixed precision', 'order of bytes': 'memory format', 'knobs?': 'setting',
    'leaves? zero out': 'excludes zero', 'holds? zero': 'contains zero', 'by heart': 'memorized', 'by lot': 'at random',
    'lots': 'batches', 'moods?': 'train or eval mode', 'same face': 'same interface', 'bills?': 'cost, relative cost',
    'strays?': 'varies', 'drawn (sample|split|view)s?': 'synthetic sample, random split, random view',
    'tilt(s|ed|ing)?': 'rotation, perspective warp', 'gaps? between (the )?logits': 'logit margin',
    'modest': 'underconfident', 'share right': 'accuracy', 'lighter picture': "the other image's weight",
    'parts? ways': 'differ', 'middle squares?': 'center crop'}

# Names that functions and classes had before they had the field's own
names = '''
    look_up draw_maps draw_light NoSync named wrong repeatable measured begun Arm Block gather moved shrunk
    multiply_adds ramp share seeded split_net Mixing cut_box above_0 middle_square turn_zoom arrived settle
    combine through ahead folded stack voice said twin still store squares begins places held placed sent'''.split()

def texts():
    "(where, text) of each cell without its outputs, and of each other file that somebody wrote"
    for file in sorted(root.glob('nbs/**/*.ipynb')):
        if '.ipynb_checkpoints' in file.parts: continue
        for i,c in enumerate(json.loads(file.read_text(encoding='utf-8'))['cells']):
            yield f'{file.relative_to(root)}, cell {i}', ''.join(c['source'])
    patterns = ('*.md', '*.ini', 'Makefile', 'runs/*.sh', 'tests/**/*.py', 'tools/**/*.py', 'tools/site/static/*.js',
                'benchmarks/*.py', 'sota_vision/sharing/*.html')
    for file in sorted(o for p in patterns for o in root.glob(p) if o != Path(__file__)):
        yield str(file.relative_to(root)), file.read_text(encoding='utf-8')

@pytest.fixture(scope='module')
def written(): return list(texts())

@pytest.mark.parametrize('term', terms)
def test_the_term_of_the_field(term, written):
    found = {where: m[0] for where,text in written if (m := re.search(rf'(?<![\w-]){term}(?![\w-])', text, re.I))}
    assert not found, f'write: {terms[term]}; {found}'

modules = sorted('.'.join(o.relative_to(root).with_suffix('').parts) for o in root.glob('sota_vision/**/[a-z]*.py'))

@pytest.mark.parametrize('module', modules)
def test_no_name_from_before(module):
    assert not {*names} & {*getattr(import_module(module), '__all__', ())}
