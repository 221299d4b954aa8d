"A bundle as ONNX and as a program of `torch.export` gives the numbers of the bundle, for any number of pictures"
import json
import pytest, torch
from sota_vision.cli.export import sota_export
from sota_vision.data.folders import scan
from sota_vision.data.sources import data_path
from sota_vision.recipes import recipe
from sota_vision.sharing.bundle import load_bundle, save_bundle
from sota_vision.sharing.export import PixelNet, export_onnx, export_program
from sota_vision.train import fit

pytestmark = pytest.mark.slow

missing = "no ONNX here: pip install 'sota_vision[onnx]'"

@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    made = fit(recipe('baseline', 'quick', epochs=1), scan(data_path(prof='quick')), bar=False)
    return save_bundle(made, tmp_path_factory.mktemp('saved')/'bundle')

@pytest.fixture
def bundle(saved):
    return load_bundle(saved, 'cpu')

@pytest.fixture
def pixels(): return torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(0))

def said(bundle, pixels):
    "What the net says, normalized here with the statistics that the bundle names"
    mean,std = (torch.tensor(bundle.facts['statistics'][k]).view(3, 1, 1) for k in ('mean', 'std'))
    with torch.no_grad(): return bundle.net((pixels-mean)/std).softmax(-1)

def test_a_bundle_stays_where_it_is(bundle):
    "A bundle on a GPU goes on there, though a graph is made on the CPU"
    assert not {*map(id, PixelNet(bundle).net.parameters())} & {*map(id, bundle.net.parameters())}

@pytest.mark.parametrize('n', [1, 2, 7])
def test_onnx(bundle, pixels, n, tmp_path):
    pytest.importorskip('onnxscript', reason=missing)
    runtime = pytest.importorskip('onnxruntime', reason=missing)
    session = runtime.InferenceSession(export_onnx(bundle, tmp_path/'net.onnx'))
    got, = session.run(['probabilities'], dict(pixels=pixels[:n].numpy()))
    torch.testing.assert_close(torch.tensor(got), said(bundle, pixels[:n]), atol=1e-4, rtol=0)
    assert json.loads(session.get_modelmeta().custom_metadata_map['sota_vision'])['labels'] == bundle.labels
    assert [o.name for o in tmp_path.iterdir()] == ['net.onnx']

@pytest.mark.parametrize('n', [1, 2, 7])
def test_program(bundle, pixels, n, tmp_path):
    loaded = torch.export.load(export_program(bundle, tmp_path/'net.pt2'))
    torch.testing.assert_close(loaded.module()(pixels[:n]), said(bundle, pixels[:n]), atol=1e-5, rtol=0)

@pytest.mark.parametrize('write, name', [
    (export_onnx, 'net.pt'), (export_program, 'net.onnx'), (export_program, 'none/net.pt2')])
def test_names(bundle, tmp_path, write, name):
    if write is export_onnx: pytest.importorskip('onnxscript', reason=missing)
    with pytest.raises(ValueError, match='must end in|no folder'): write(bundle, tmp_path/name)
    assert not list(tmp_path.iterdir())

@pytest.mark.parametrize('write, name', [(export_onnx, 'net.onnx'), (export_program, 'net.pt2')])
def test_what_says_something_else_is_not_written(bundle, tmp_path, monkeypatch, write, name):
    "As an exporter with a fault would"
    if write is export_onnx: pytest.importorskip('onnxscript', reason=missing)
    monkeypatch.setattr('torch.export.export', lambda net, *args, real=torch.export.export, **kwargs:
                        real(Shifted(net), *args, **kwargs))
    with pytest.raises(ValueError, match='differs from the bundle'): write(bundle, tmp_path/name)
    assert not list(tmp_path.iterdir())

class Shifted(torch.nn.Module):
    "A net that is off by a little"
    def __init__(self, net):
        super().__init__()
        self.net = net
    def forward(self, pixels): return self.net(pixels)+.001

# The command

@pytest.mark.parametrize('to, name', [('onnx', 'net.onnx'), ('torch', 'net.pt2')])
def test_command(saved, tmp_path, capsys, monkeypatch, to, name):
    if to == 'onnx': pytest.importorskip('onnxscript', reason=missing)
    monkeypatch.chdir(tmp_path)
    sota_export([str(saved), '--to', to])
    assert capsys.readouterr().out.startswith(f'{name}: (pictures, 3, 32, 32)') and (tmp_path/name).is_file()

@pytest.mark.parametrize('args, words', [
    ('BUNDLE', '--to'), ('BUNDLE --to tflite', 'tflite'), ('BUNDLE --to torch --out net.onnx', 'must end in .pt2'),
    ('BUNDLE --to onnx --out none/net.onnx', 'no folder'), ('BUNDLE --to torch --out mine.pt2', 'is there already'),
    ('nowhere --to torch', 'no bundle at'), ('weights.pth --to torch', 'is a program'),
    ('hf://a/b/c --to torch', 'owner/name')])
def test_one_sentence(saved, tmp_path, capsys, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'mine.pt2').write_text('mine')
    with pytest.raises(SystemExit) as e: sota_export(args.replace('BUNDLE', str(saved)).split())
    err = capsys.readouterr().err
    assert e.value.code == 2 and err.count('\n') == 1 and err.startswith('sota_export: ') and words in err
    assert [o.name for o in tmp_path.iterdir()] == ['mine.pt2'] and (tmp_path/'mine.pt2').read_text() == 'mine'
