"A short run on some of the real photos, where there are any"
import json, shutil
import pytest
from sota_vision.cli import sota_train

def some_of(photos, folder, per_class):
    "A folder laid out like `photos`, with the first few pictures of every class"
    for sub,n in per_class.items():
        for wnid in (photos/sub).iterdir():
            (folder/sub/wnid.name).mkdir(parents=True)
            for f in sorted(wnid.iterdir())[:n]: shutil.copy(f, folder/sub/wnid.name)
    return folder

def test_train_on_photos(photos, tmp_path):
    some = some_of(photos, tmp_path/'some', dict(train=100, val=40))
    sota_train(['--data', str(some), '--profile', 'cpu', '--arch', 'xresnet10', '--epochs', '4', '--bs', '32', '--tta', '2', '--out', str(tmp_path/'out')])
    run = json.loads((tmp_path/'out/run.json').read_text(encoding='utf-8'))
    assert run['dataset']['train'] == 1000 and run['dataset']['valid'] == 400
    assert len(run['epochs']) == 4 and run['epochs'][-1]['accuracy'] == run['accuracy']
    assert run['accuracy'] > .2, 'ten classes: guessing reaches 0.1'
    assert {'tta_accuracy', 'versions', 'device', 'commit', 'date'} <= run.keys()
