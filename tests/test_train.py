"One run: one scan, each picture decoded once, nothing left behind, one sentence where it cannot go on"
import json, os
from collections import Counter
from dataclasses import replace
import numpy as np
import pytest, torch
from fastai.vision.all import Callback, load_learner
from PIL import Image
from sota_vision import train
from sota_vision.cli.train import advice
from sota_vision.data import cache
from sota_vision.data.folders import scan
from sota_vision.data.sources import data_path
from sota_vision.recipe import Recipe
from sota_vision.recipes import recipe
from sota_vision.train import fit, learner, loaders_for

@pytest.fixture(scope='module')
def base(): return scan(data_path(prof='quick'))

small = recipe('progressive', 'quick', tta=1, label_smoothing=.1)

@pytest.mark.parametrize('split', ['folders', 'tuning', 'random', 'random_per_stage'])
def test_one_scan_and_each_picture_once(split, base, tmp_path, monkeypatch):
    "A run lists no folder twice and decodes no picture twice, whatever validates"
    listed,decoded,walk,read = Counter(), Counter(), os.scandir, cache.read_file
    def scandir(path='.'):
        listed[str(path)] += 1
        return walk(path)
    def read_file(source):
        decoded[str(source)] += 1
        return read(source)
    monkeypatch.setattr(os, 'scandir', scandir)
    monkeypatch.setattr(cache, 'read_file', read_file)
    result = fit(replace(small, split=split), base.root, bar=False, caches=tmp_path/'caches')
    inside = {k: n for k,n in listed.items() if k.startswith(str(base.root))}
    assert inside and set(inside.values()) == {1}
    assert set(decoded) == set(map(str, base.files)) and set(decoded.values()) == {1}
    assert len(list((tmp_path/'caches').iterdir())) == 1 and result.run['dataset']['name'] == base.name

def test_the_record_is_complete(base):
    run = json.loads(json.dumps(fit(small, base, seed=1, bar=False).run, allow_nan=False))
    assert {'recipe', 'seed', 'accuracy', 'loss', 'epochs', 'seconds', 'images_s', 'data_wait', 'tta_accuracy',
            'dataset', 'device', 'versions', 'commit', 'date'} <= run.keys()
    assert Recipe(**run['recipe']) == small and run['dataset']['train'] == len(base.train)

def test_same_seed_same_net(base):
    runs = [fit(small, base, seed=3, bar=False) for _ in range(2)]
    assert runs[0].run['epochs'] == runs[1].run['epochs']
    for a,b in zip(*(o.learn.model.state_dict().values() for o in runs)): assert torch.equal(a, b)

@pytest.mark.parametrize('split', ['folders', 'random_per_stage'])
def test_an_export_holds_no_picture(split, base, tmp_path):
    result = fit(replace(small, split=split, tta=0), base, bar=False)
    result.learn.path = tmp_path
    result.learn.export('net.pkl')
    weights = sum(p.numel()*p.element_size() for p in result.learn.model.state_dict().values())
    data = (tmp_path/'net.pkl').read_bytes()
    assert len(data) < weights + 200_000 and not any(f.name.encode() in data for f in base.train)
    assert load_learner(tmp_path/'net.pkl').predict(base.valid[0])[0] in base.classes

def test_divergence_says_where(base):
    with pytest.raises(ValueError, match=r'the loss is .* in epoch \d, batch \d+: training has diverged'):
        fit(replace(small, lr=1e30, precision='fp32', tta=0), base, bar=False)

@pytest.mark.parametrize('size', [2, 3, 7])
def test_tiny_pictures(size, base):
    "Two pixels are few, and no reason to fall over"
    assert 0 <= fit(Recipe(arch='xresnet10', size=size, presize=8, epochs=1, bs=16), base, bar=False).accuracy <= 1

@pytest.mark.parametrize('wrong', [
    dict(size=1, presize=8), dict(bs=1), dict(bs=True), dict(size=64.0), dict(lr=float('nan'))])
def test_values_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=f'{next(iter(wrong))}='): Recipe(**wrong)

class Stop(Callback):
    "Ctrl-C in the second batch"
    def after_batch(self):
        if self.iter == 1: raise KeyboardInterrupt

def test_interrupted_and_begun_again(base, monkeypatch):
    "A fit that broke off leaves the next one nothing to stumble over"
    monkeypatch.setattr(torch, 'compile', lambda f: f)
    rec = replace(small, compile=True, stages=())
    learn = learner(rec, loaders_for(rec, base, bar=False)[0])
    with learn.no_bar(), learn.no_logging():
        with pytest.raises(KeyboardInterrupt): learn.fit(1, cbs=Stop())
        learn.fit(1)
    assert 'forward' not in vars(learn.model) and not learn.model._forward_pre_hooks and not learn.model._forward_hooks
    assert not torch.is_autocast_enabled('cpu')

def test_pixels_that_need_care(tmp_path):
    "Sixteen bits, transparency, palettes and orientation come through training as the same pictures"
    rng = np.random.default_rng(0)
    for part in ('train', 'val'):
        for c in 'ab':
            (tmp_path/part/c).mkdir(parents=True)
            for i,mode in enumerate(('I;16', 'RGBA', 'P', 'L', 'CMYK', 'LA')):
                grey = rng.integers(0, 255, (20, 30), dtype=np.uint8)
                if mode == 'I;16': im = Image.fromarray(grey.astype(np.uint16)*257)
                else: im = Image.fromarray(grey).convert('RGB').convert(mode)
                im.save(tmp_path/part/c/f'{i}.{"tif" if mode == "CMYK" else "png"}')
    short = Recipe(arch='xresnet10', size=16, presize=16, epochs=1, bs=4)
    assert fit(short, tmp_path, bar=False).run['dataset']['train'] == 12

@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_same_net_twice_on_the_card(base, tmp_path):
    runs = [fit(recipe('best', 'quick'), base, 3, False, tmp_path).run for _ in range(2)]
    assert runs[0]['epochs'] == runs[1]['epochs']

def test_commit_is_told_in_a_checkout():
    said = train.commit()
    assert said is None or len(said.split('-')[0]) >= 7

def test_advice_for_few_pictures():
    "Who has few pictures learns that five epochs of them are few steps, and what to do"
    few = Recipe(bs=64, epochs=5)
    assert '10 steps are few' in advice(few, 145) and '--epochs 100 makes 200' in advice(few, 145)
    assert advice(few, 60), 'a last batch that is dropped leaves none, and is no reason to fail'
    assert not advice(few, 10_000) and not advice(replace(few, pretrained=True, arch='resnet18'), 145)
