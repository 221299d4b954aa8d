"A run that was killed goes on bit for bit; a command that was interrupted says how far it came"
import json, os, signal, sys, time
from multiprocessing import get_context
from random import Random
import pytest, torch
from fastai.vision.all import Callback
from sota_vision.cli.train import sota_train
from sota_vision.data.folders import scan
from sota_vision.data.sources import data_path
from sota_vision.recipes import recipe
from sota_vision.train import fit

pytestmark = pytest.mark.slow

class Kill(Callback):
    "Raise Ctrl-C, or send a signal, within a batch of training"
    order = -50
    def __init__(self, epoch, batch, sig=None): self.at,self.sig = (epoch, batch), sig
    def after_batch(self):
        if not self.training or (self.epoch, self.iter) != self.at: return
        if self.sig is None: raise KeyboardInterrupt
        os.kill(os.getpid(), self.sig)

@pytest.fixture(scope='module')
def base(): return scan(data_path(prof='quick'))

recipes = dict(
    growing=recipe('best', 'quick', epochs=3, mixup=.3, class_weights=True, stages=((1, 24), (2, 32))),
    moving=recipe('progressive', 'quick', epochs=3, split='random_per_stage', stages=((1, 24), (2, 32)), opt='ranger',
                  schedule='flat_cos'),
    plain=recipe('baseline', 'quick', epochs=3, opt='adam', loader='fastai', tta=2))

@pytest.mark.parametrize('name', recipes)
def test_bit_for_bit(name, base, tmp_path):
    "After two epochs and a bit; and after the last one, when only the end was missing"
    whole = fit(recipes[name], base, bar=False)
    with pytest.raises(KeyboardInterrupt):
        fit(recipes[name], base, bar=False, checkpoint=tmp_path/'it.pt', cbs=[Kill(2, 1)])
    for again in [fit(recipes[name], base, bar=False, checkpoint=tmp_path/'it.pt') for _ in range(2)]:
        pairs = zip(whole.learn.model.state_dict().values(), again.learn.model.state_dict().values())
        assert all(torch.equal(a, b) for a,b in pairs)
        assert all(whole.run.get(k) == again.run.get(k) for k in ('epochs', 'accuracy', 'loss', 'tta_accuracy'))

def test_stops_early(base):
    run = fit(recipe('baseline', 'quick', epochs=9, lr=1e-9, patience=1), base, bar=False).run
    losses = [o['valid_loss'] for o in run['epochs']]
    assert len(losses) < 9 and losses[-1] >= min(losses[:-1])

@pytest.mark.parametrize('sig, code', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_and_on(sig, code, tmp_path, capsys, monkeypatch):
    "One sentence, that says how to go on; two runs at once have folders of their own; nothing is left but the results"
    from sota_vision import train
    real = train.learner
    def killed(*args):
        learn = real(*args)
        learn.add_cb(Kill(1, 1, sig))
        return learn
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, 'learner', killed)
    with pytest.raises(SystemExit) as e: sota_train(['--profile', 'quick', '--epochs', '2'])
    last = capsys.readouterr().err.splitlines()[-1]
    assert e.value.code == code and 'after 1 of 2 epochs: go on with sota_train --resume runs/1' in last
    monkeypatch.setattr(train, 'learner', real)
    sota_train(['--profile', 'quick', '--epochs', '2'])
    sota_train(['--resume', 'runs/1'])
    one,two = [json.loads((tmp_path/f'runs/{i}/run.json').read_text(encoding='utf-8')) for i in (1, 2)]
    assert one['epochs'] == two['epochs'] and one['confusion'] == two['confusion']
    assert not list(tmp_path.rglob('checkpoint.pt'))

@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no signal that kills at once')
def test_killed_at_twenty_random_moments(tmp_path):
    "With kill -9: every run completes, and not a bit differs from a run that was left alone"
    context = get_context('forkserver')     # its processes need not import torch again
    context.set_forkserver_preload(['sota_vision.train', 'sota_vision.scores', 'sota_vision.sharing.bundle'])
    def begin(folder):
        there = (folder/'start.json').exists()
        words = ['--resume', str(folder)] if there else ['--profile', 'quick', '--epochs', '4', '--out', str(folder)]
        process = context.Process(target=sota_train, args=(words,))
        process.start()
        return process
    def end(folder):
        process = begin(folder)
        process.join()
        assert process.exitcode == 0
        run = json.loads((folder/'run.json').read_text(encoding='utf-8'))
        return run['epochs'], run['confusion'], (folder/'bundle/weights.safetensors').read_bytes()

    end(tmp_path/'first')       # fills the cache
    t0 = time.perf_counter()
    whole = end(tmp_path/'whole')
    seconds,rng,kills,n = time.perf_counter()-t0, Random(0), 0, 0
    while kills < 20:
        folder = tmp_path/str(n)
        process = begin(folder)
        process.join(rng.uniform(0, seconds))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        if (folder/'run.json').exists():
            assert end(folder) == whole, f'run {n}, after {kills} kills in all'
            n += 1
    assert end(tmp_path/str(n)) == whole

def test_a_changed_folder_is_not_gone_on_with(base, tmp_path):
    fit(recipes['plain'], base, bar=False, checkpoint=tmp_path/'it.pt')
    with pytest.raises(ValueError, match='begin another run'):
        fit(recipes['plain'], base.without(base.train[:1]), bar=False, checkpoint=tmp_path/'it.pt')
