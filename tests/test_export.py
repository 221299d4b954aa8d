"A bundle as ONNX and as a program of `torch.export` gives the numbers of the bundle, for any number of pictures"
import json
import pytest, torch
from sota_vision.data.folders import scan
from sota_vision.data.sources import data_path
from sota_vision.recipes import recipe
from sota_vision.sharing.bundle import load_bundle, save_bundle
from sota_vision.sharing.export import export_onnx, export_program
from sota_vision.train import fit

missing = "no ONNX here: pip install 'sota_vision[onnx]'"

@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    made = fit(recipe('baseline', 'quick', epochs=1), scan(data_path(prof='quick')), bar=False)
    return load_bundle(save_bundle(made, tmp_path_factory.mktemp('saved')/'bundle'), 'cpu')

@pytest.fixture
def pixels(): return torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(0))

def said(bundle, pixels):
    "What the net says, normalized here with the statistics that the bundle names"
    mean,std = (torch.tensor(bundle.facts['statistics'][k]).view(3, 1, 1) for k in ('mean', 'std'))
    with torch.no_grad(): return bundle.net((pixels-mean)/std).softmax(-1)

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
