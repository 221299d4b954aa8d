"A short run on real photos, where there are any"
import json
import pytest
from sota_vision.data.folders import scan
from sota_vision.recipes import recipe
from sota_vision.train import fit

pytestmark = pytest.mark.slow

def test_train_on_photos(photos, tmp_path):
    some = scan(photos).some(1000)
    short = recipe('baseline', 'cpu', arch='xresnet10', epochs=4, bs=32, tta=2)
    fit(short, some, bar=False, caches=tmp_path).save(tmp_path/'out')
    run = json.loads((tmp_path/'out/run.json').read_text(encoding='utf-8'))
    assert run['dataset']['train'] == run['dataset']['valid'] == 1000
    assert len(run['epochs']) == 4 and run['epochs'][-1]['accuracy'] == run['accuracy']
    assert run['accuracy'] > .2, 'ten classes: guessing reaches 0.1'
    assert {'tta_accuracy', 'versions', 'device', 'commit', 'date'} <= run.keys()
