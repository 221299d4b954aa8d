"Pretrained nets: weights from a server on this machine, a bundle that needs none, one sentence without a network"
import hashlib, json, threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
import pytest, torch
from fastai.callback.core import Callback
from torchvision import models
from sota_vision.cli.predict import sota_predict
from sota_vision.cli.train import sota_train
from sota_vision.data.folders import scan
from sota_vision.data.sources import data_path
from sota_vision.pretrained import check_net, find_net, net_stats, torchvision_nets, vision_net
from sota_vision.recipes import recipe
from sota_vision.sharing.bundle import load_bundle, save_bundle
from sota_vision.sharing.predict import predict
from sota_vision.train import fit

pytestmark = pytest.mark.slow

class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

@pytest.fixture(scope='module')
def served(tmp_path_factory):
    "A folder that a server shows, its address, and in it weights of a squeezenet1_1, named as torch.hub checks them"
    folder = tmp_path_factory.mktemp('weights')
    torch.manual_seed(0)
    weights = models.squeezenet1_1().state_dict()
    torch.save(weights, folder/'made.pth')
    named = f'squeezenet1_1-{hashlib.sha256((folder/"made.pth").read_bytes()).hexdigest()[:8]}.pth'
    (folder/'made.pth').rename(folder/named)
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f'http://127.0.0.1:{server.server_port}', named, weights
    server.shutdown()

@pytest.fixture
def hub(served, tmp_path, monkeypatch):
    "torchvision asks the server of this test, and nothing is kept from before"
    _,address,named,weights = served
    which = models.SqueezeNet1_1_Weights.DEFAULT
    monkeypatch.setattr(which, '_value_', replace(which.value, url=f'{address}/{named}'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path/'torch'))
    return weights

@pytest.fixture
def no_hub(tmp_path, monkeypatch):
    which = models.SqueezeNet1_1_Weights.DEFAULT
    monkeypatch.setattr(which, '_value_', replace(which.value, url='http://127.0.0.1:9/squeezenet1_1-00000000.pth'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path/'torch'))

small = ['--profile', 'quick', '--pretrained', '--epochs', '1', '--size', '32', '--presize', '40']
def settings(**changes): return recipe('baseline', 'quick', pretrained=True, epochs=1, arch='squeezenet1_1', **changes)

def test_a_run_and_what_is_left_of_it(hub, tmp_path, monkeypatch, capsys):
    "Trained by the command, loaded without any weights to download, the same answers"
    sota_train([*small, '--arch', 'squeezenet1_1', '--out', str(tmp_path/'run')])
    run = json.loads((tmp_path/'run/run.json').read_text())
    assert run['recipe']['arch'] == 'squeezenet1_1' and run['recipe']['pretrained'] is True
    assert 'SqueezeNet1_1_Weights.IMAGENET1K_V1 of torchvision' in run['pretrained']
    assert 'squeezenet1_1, 32 px, pretrained' in capsys.readouterr().out
    monkeypatch.setattr(torch.hub, 'load_state_dict_from_url', None)
    monkeypatch.setattr('torchvision.models._api.load_state_dict_from_url', None)
    bundle = load_bundle(tmp_path/'run')
    assert bundle.facts['statistics']['mean'] == pytest.approx(net_stats('squeezenet1_1')[0])
    assert 'It began with the weights' in (tmp_path/'run/bundle/README.md').read_text()
    sota_predict([str(tmp_path/'run'), str(scan(data_path(prof='quick')).valid[0])])
    assert '%' in capsys.readouterr().out

def test_small_pictures_first(hub):
    "The sizes are those of the epochs after the frozen one"
    seen = []
    class Sizes(Callback):
        def before_batch(self):
            if self.training and self.iter == 0: seen.append(self.x.shape[-1])
    asked = replace(settings(), size=48, presize=56, stages=((1, 32), (1, 48)), epochs=2)
    run = fit(asked, scan(data_path(prof='quick')), cbs=[Sizes()], bar=False).run
    assert seen == [32, 32, 48] and len(run['epochs']) == 2

def test_it_begins_with_the_trained_weights(hub):
    "With no learning rate to speak of, the body is the one that was served"
    learn = fit(settings(lr=1e-30, wd=0.), bar=False).learn
    body = {k: v.cpu() for k,v in learn.model[0].state_dict().items()}
    want = [v for k,v in hub.items() if k.startswith('features.')]
    torch.testing.assert_close([*body.values()], want, atol=1e-20, rtol=0)

def test_bundle_equals_the_learner(hub, tmp_path):
    made = fit(settings(), bar=False)
    files = made.learn.dls.valid_ds.items[:10]
    with made.learn.no_bar(): want,_ = made.learn.get_preds(dl=made.learn.dls.test_dl(files))
    got = predict(load_bundle(save_bundle(made, tmp_path/'bundle')), files)
    torch.testing.assert_close(got, want.cpu(), atol=1e-5, rtol=0)

def test_early_layers_move_least(hub):
    "Their rates are smaller in the fit of the whole net"
    rates = []
    class Note(Callback):
        def before_step(self): rates.append([o['lr'] for o in self.opt.hypers])
    fit(settings(), bar=False, cbs=[Note()])
    assert rates[-1][0] < rates[-1][-1]/50

def test_goes_on_bit_for_bit(hub, tmp_path):
    "Whether it was killed in the frozen epoch, after it, or in the fit of the whole net"
    class Kill(Callback):
        order = 200
        def __init__(self, at): self.at,self.n = at, 0
        def before_batch(self):
            self.n += self.training
            if self.n == self.at: raise KeyboardInterrupt
    few = replace(settings(bs=32), epochs=2)
    whole = fit(few, bar=False)
    n = len(whole.learn.dls.train)
    for at in n+1, 2*n+1:
        with pytest.raises(KeyboardInterrupt): fit(few, bar=False, checkpoint=tmp_path/f'{at}.pt', cbs=[Kill(at)])
        again = fit(few, bar=False, checkpoint=tmp_path/f'{at}.pt')
        assert again.run['epochs'] == whole.run['epochs']
        assert all(map(torch.equal, again.learn.model.parameters(), whole.learn.model.parameters()))

def mistake(capsys, *args):
    "The one line that `sota_train` leaves with"
    with pytest.raises(SystemExit) as e: sota_train([str(o) for o in args])
    said = [o for o in capsys.readouterr().err.splitlines() if o.startswith('sota_train: ') or 'Traceback' in o]
    assert e.value.code == 2 and len(said) == 1, said   # beside the progress of a download
    return said[0]

def test_no_network(no_hub, tmp_path, capsys):
    said = mistake(capsys, *small, '--arch', 'squeezenet1_1', '--out', tmp_path/'run')
    assert 'no trained weights' in said and 'TORCH_HOME' in said and not (tmp_path/'run').exists()

def test_damaged_weights(served, hub, tmp_path, capsys):
    "What comes is checked before it is used"
    folder,_,named,_ = served
    whole = (folder/named).read_bytes()
    (folder/named).write_bytes(whole[:-1000]+bytes(1000))
    try: assert 'no trained weights' in mistake(capsys, *small, '--arch', 'squeezenet1_1', '--out', tmp_path/'run')
    finally: (folder/named).write_bytes(whole)

@pytest.mark.parametrize('args, words', [
    ('--arch resnet_18', 'resnet18'), ('--arch xresnet18', 'resnet18'), ('--arch hf_hub:some/net', 'close to it are'),
    ('--arch vit_b_16', 'vit_b'), ('--arch shufflenet_v2_x1_0', 'close to it are'), ('--sa', 'sa=True'),
    ('--act mish', "act='mish'"), ('--schedule flat_cos', "schedule='flat_cos'"), ('--arch vgg11 --size 16', 'size=224')
])
def test_what_cannot_be(args, words, tmp_path, capsys):
    assert words in mistake(capsys, *small, *args.split(), '--out', tmp_path/'run') and not (tmp_path/'run').exists()

def test_from_scratch_knows_no_such_net(tmp_path, capsys):
    assert "arch='resnet18'" in mistake(capsys, '--profile', 'quick', '--arch', 'resnet18', '--out', tmp_path/'run')

families = ['alexnet', 'convnext_tiny', 'densenet121', 'efficientnet_b0', 'mobilenet_v3_small', 'resnet18',
            'resnext50_32x4d', 'squeezenet1_1', 'swin_t', 'vgg11', 'wide_resnet50_2']
@pytest.mark.parametrize('name', families)
def test_the_body_is_all_but_the_head(name):
    "fastai cuts the net where its classifier begins, and not before"
    check_net(name, 96)
    with torch.device('meta'): whole,cut = getattr(models, name)(), vision_net(name, 10, 96)
    head = ('classifier', 'fc', 'head')
    want = sum(p.numel() for k,p in whole.named_parameters() if not k.startswith(head))
    assert sum(p.numel() for p in cut[0].parameters()) == want
    assert name in torchvision_nets and find_net(name) == 'torchvision'

@pytest.fixture
def timm_served(served, monkeypatch):
    "The smallest nets of timm, their weights on the server of this test"
    timm = pytest.importorskip('timm', reason='timm is an extra')
    folder,address,*_ = served
    plain = timm.get_pretrained_cfg
    def cfg(name, *args, **kwargs):
        return replace(plain(name, *args, **kwargs), hf_hub_id=None, url=f'{address}/{name}.pth')
    for name in 'test_vit', 'test_resnet': torch.save(timm.create_model(name).state_dict(), folder/f'{name}.pth')
    for module in 'timm', 'timm.models._builder': monkeypatch.setattr(f'{module}.get_pretrained_cfg', cfg)

@pytest.mark.parametrize('name', ['test_vit', 'test_resnet'])
def test_a_net_of_timm(name, timm_served, tmp_path, monkeypatch):
    "With its own statistics, for pictures of a size it was not made for, and back from a bundle"
    monkeypatch.setenv('TORCH_HOME', str(tmp_path/'torch'))
    made = fit(replace(settings(), arch=name, size=48, presize=56), bar=False)
    assert made.run['pretrained'].startswith(f'{name}.r160_in1k of timm')
    bundle = load_bundle(save_bundle(made, tmp_path/'bundle'))
    assert bundle.facts['statistics']['mean'][0] == .5    # timm's; ImageNet's would be .485
    files = made.learn.dls.valid_ds.items[:10]
    with made.learn.no_bar(): want,_ = made.learn.get_preds(dl=made.learn.dls.test_dl(files))
    torch.testing.assert_close(predict(bundle, files), want.cpu(), atol=1e-5, rtol=0)
