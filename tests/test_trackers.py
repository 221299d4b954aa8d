"`sota_train --tracker`: what TensorBoard and Weights & Biases are told, and one sentence where they are not installed"
import json, sys
import pytest
from sota_vision.cli.train import sota_train
from sota_vision.trackers import trackers

quick = ['--profile', 'quick', '--epochs', '2', '--out']

def test_tensorboard(tmp_path):
    pytest.importorskip('tensorboard', reason='tensorboard is an extra')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    sota_train([*quick, str(tmp_path/'run'), '--tracker', 'tensorboard'])
    log = EventAccumulator(str(tmp_path/'run/tensorboard/1')).Reload()
    run = json.loads((tmp_path/'run/run.json').read_text())
    assert [o.value for o in log.Scalars('accuracy')] == pytest.approx([o['accuracy'] for o in run['epochs']])
    assert len(log.Scalars('train_loss')) == len(log.Scalars('lr_0')) >= 2

def test_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip('wandb', reason='wandb is an extra')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    sota_train([*quick, str(tmp_path/'run'), '--tracker', 'wandb'])
    assert list((tmp_path/'run/wandb').glob('offline-run-*/*.wandb')) and (tmp_path/'run/run.json').exists()

@pytest.mark.parametrize('name', trackers)
def test_the_same_net(name, tmp_path, monkeypatch):
    "Nobody who watches changes what is learned"
    pytest.importorskip(name, reason=f'{name} is an extra')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    sota_train([*quick, str(tmp_path/'plain')])
    sota_train([*quick, str(tmp_path/'watched'), '--tracker', name])
    one,two = [json.loads((tmp_path/o/'run.json').read_text())['epochs'] for o in ('plain', 'watched')]
    assert one == two

def test_wandb_without_a_key(tmp_path, monkeypatch, capsys):
    pytest.importorskip('wandb', reason='wandb is an extra')
    for k in ('WANDB_API_KEY', 'NETRC'): monkeypatch.delenv(k, raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('WANDB_MODE', 'online')
    with pytest.raises(SystemExit) as e: sota_train([*quick, str(tmp_path/'run'), '--tracker', 'wandb'])
    assert e.value.code == 2 and 'Weights & Biases cannot be used' in capsys.readouterr().err.splitlines()[-1]

@pytest.mark.parametrize('name', trackers)
def test_missing_package(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f'fastai.callback.{name}', raising=False)
    with pytest.raises(SystemExit) as e: sota_train([*quick, str(tmp_path/'run'), '--tracker', name])
    said = capsys.readouterr().err
    assert e.value.code == 2 and said.count('\n') == 1 and "pip install 'sota_vision[trackers]'" in said
    assert not (tmp_path/'run').exists()

def test_unknown_tracker(tmp_path, capsys):
    with pytest.raises(SystemExit) as e: sota_train([*quick, str(tmp_path/'run'), '--tracker', 'paper'])
    assert e.value.code == 2 and "'paper'" in capsys.readouterr().err
