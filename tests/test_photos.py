"A short run on some of the real photos, where there are any"
import json
from sota_vision.bench import some_of
from sota_vision.cli import sota_train

def test_train_on_photos(photos, tmp_path):
    some = some_of(photos, 1000, tmp_path/'some')
    sota_train(['--data', str(some), '--profile', 'cpu', '--arch', 'xresnet10', '--epochs', '4', '--bs', '32', '--tta', '2', '--out', str(tmp_path/'out')])
    run = json.loads((tmp_path/'out/run.json').read_text(encoding='utf-8'))
    assert run['dataset']['train'] == run['dataset']['valid'] == 1000
    assert len(run['epochs']) == 4 and run['epochs'][-1]['accuracy'] == run['accuracy']
    assert run['accuracy'] > .2, 'ten classes: guessing reaches 0.1'
    assert {'tta_accuracy', 'versions', 'device', 'commit', 'date'} <= run.keys()
