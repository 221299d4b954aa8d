"What makes training fast leaves nothing behind: applied twice, interrupted anywhere, exported and loaded"
import numpy as np
import pytest, torch
from torch.nn import functional as F
from fastai.vision.all import (Adam, AvgLoss, Callback, CrossEntropyLossFlat, DataLoaders, Datasets, L, Learner,
    accuracy, error_rate, load_learner, nn, params)
from fastai.callback.channelslast import ChannelsLast
from sota_vision.callbacks import DataWait
from sota_vision.mixing import ManifoldMixup
from sota_vision.speed import Autocast, DeferMetrics, FusedAdam, fast_cbs
from sota_vision.train import CompileNet

def make_net():
    block = nn.Sequential(nn.Conv2d(3, 8, 3, 2))
    return nn.Sequential(block, nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(8, 4))

@pytest.fixture(autouse=True)
def quick_compile(monkeypatch):
    "A compiled net is the net itself: compiling takes a minute"
    monkeypatch.setattr(torch, 'compile', lambda forward: forward)

pictures = torch.rand(24, 3, 12, 12, generator=torch.Generator().manual_seed(0))
def picture(i): return pictures[i]
def label(i): return i % 4

@pytest.fixture
def dls():
    datasets = Datasets(range(24), [[picture], [label]], splits=[range(24), range(24)])
    return datasets.dataloaders(bs=8, shuffle=False, device='cpu', num_workers=0)

def make_learner(dls, tmp_path, cbs=(), **kwargs):
    torch.manual_seed(0)
    return Learner(dls, make_net(), CrossEntropyLossFlat(), metrics=[accuracy, error_rate], path=tmp_path,
                   cbs=list(cbs), **kwargs)

def fit(learn, epochs=1, **kwargs):
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs, 1e-2, **kwargs)

def answer_type(learn):
    "What type of number the last layer computes"
    kinds = []
    hook = learn.model[-1].register_forward_hook(lambda m, i, out: kinds.append(out.dtype))
    with torch.no_grad(): learn.model(torch.rand(2, 3, 12, 12))
    hook.remove()
    return kinds[0]

def state(learn):
    "Everything that a fit must leave as it was"
    rec = learn.recorder
    return dict(
        autocast=[torch.is_autocast_enabled(o) for o in ('cpu', 'cuda')], answer=answer_type(learn),
        weights={p.dtype for p in learn.model.parameters()},
        hooks=[(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in learn.model.modules()],
        own_forward=[m for m in learn.model.modules() if 'forward' in vars(m)],
        recorder=[type(o) for o in (rec.loss, rec.smooth_loss, *learn.metrics)],
        own_accumulate=[o for o in (rec.loss, rec.smooth_loss, *learn.metrics) if 'accumulate' in vars(o)],
        optimizer=learn.opt_func, callbacks=sorted(map(str, learn.cbs)), default_dtype=torch.get_default_dtype())

features = dict(autocast=[Autocast], autocast_twice=[Autocast, Autocast], deferred_twice=[DeferMetrics, DeferMetrics],
                compiled=[CompileNet, Autocast], manifold=[ManifoldMixup],
                manifold_compiled=[ManifoldMixup, CompileNet, Autocast],
                all=[ChannelsLast, Autocast, DeferMetrics, DataWait])
each_feature = pytest.mark.parametrize('name', features)

class Interrupt(Callback):
    "Ctrl-C at one event of the second batch or epoch"
    order = 2000
    def __init__(self, event): setattr(self, event, self.interrupt)
    def interrupt(self): raise KeyboardInterrupt

events = ('before_fit before_epoch before_train before_batch after_pred after_loss before_backward before_step '
          'after_step after_batch after_train before_validate after_validate after_epoch after_fit').split()

@each_feature
def test_state_after_a_fit(name, dls, tmp_path):
    learn = make_learner(dls, tmp_path, [o() for o in features[name]])
    before = state(learn)
    for _ in range(2):
        fit(learn)
        assert state(learn) == before

@each_feature
@pytest.mark.parametrize('event', events)
def test_state_after_ctrl_c(name, event, dls, tmp_path):
    learn = make_learner(dls, tmp_path, [o() for o in features[name]])
    before = state(learn)
    with pytest.raises(KeyboardInterrupt): fit(learn, cbs=Interrupt(event))
    assert state(learn) == before
    fit(learn)
    assert state(learn) == before and np.isfinite(learn.recorder.values[-1]).all()

@each_feature
@pytest.mark.parametrize('error', [KeyboardInterrupt, ZeroDivisionError])
@pytest.mark.parametrize('where', ['net', 'loss', 'metric'])
def test_state_after_an_error(name, error, where, dls, tmp_path):
    def fails(*args): raise error('here')
    learn = make_learner(dls, tmp_path, [o() for o in features[name]])
    hook = learn.model[2].register_forward_hook(fails) if where == 'net' else None
    if where == 'loss': learn.loss_func = fails
    if where == 'metric': learn.metrics = [fails]
    with pytest.raises(error): fit(learn)
    if hook: hook.remove()
    learn.metrics = [accuracy, error_rate]
    assert state(learn) == state(make_learner(dls, tmp_path)) | dict(callbacks=sorted(map(str, learn.cbs)))

@each_feature
def test_only_for_one_fit(name, dls, tmp_path):
    "Callbacks handed to `fit` work there and are gone afterwards"
    learn = make_learner(dls, tmp_path)
    before,own = state(learn),set(vars(learn))
    fit(learn, cbs=[o() for o in features[name]])
    assert state(learn) == before and '_do_fit' not in set(vars(learn))-own

@each_feature
def test_export_after_ctrl_c(name, dls, tmp_path):
    "The exported net answers in float32, as the net itself does, and trains on"
    learn = make_learner(dls, tmp_path, [o() for o in features[name]])
    with pytest.raises(KeyboardInterrupt): fit(learn, cbs=Interrupt('after_batch'))
    learn.export('net.pkl')
    again = load_learner(tmp_path/'net.pkl')
    x = torch.rand(5, 3, 12, 12)
    assert torch.allclose(again.model.eval()(x), learn.model.eval()(x)) and answer_type(again) == torch.float32
    again.dls = dls
    fit(again)
    assert answer_type(again) == torch.float32

class ExportEachEpoch(Callback):
    def after_epoch(self):
        net = self.learn.model
        torch.save(net, self.path/'net.pth')

def test_a_net_saved_during_a_fit(dls, tmp_path):
    "It computes in float32 when it is loaded"
    learn = make_learner(dls, tmp_path, [Autocast(), ExportEachEpoch()])
    fit(learn)
    learn.model = torch.load(tmp_path/'net.pth', weights_only=False)
    assert answer_type(learn) == torch.float32

# bfloat16

class Seen(Callback):
    "Types of the last layer's numbers, of predictions and losses"
    def before_fit(self):
        self.kinds = set()
        self.hook = self.model[-1].register_forward_hook(lambda m, i, out: self.kinds.add(('net', out.dtype)))
    def after_loss(self):
        self.kinds |= {('prediction', self.pred.dtype), ('loss', self.loss.dtype)}
        self.kinds.add(('global', torch.is_autocast_enabled('cpu')))
    def after_fit(self): self.hook.remove()

@pytest.mark.parametrize('cbs', [[Autocast], [Autocast, Autocast], [ChannelsLast, Autocast, DeferMetrics]])
def test_bfloat16_in_the_forward_pass_only(cbs, dls, tmp_path):
    seen = Seen()
    fit(make_learner(dls, tmp_path, [o() for o in cbs]), cbs=seen)
    wanted = {('net', torch.bfloat16), ('prediction', torch.float32), ('loss', torch.float32), ('global', False)}
    assert seen.kinds == wanted

def test_a_device_given_as_a_string(dls, tmp_path):
    seen = Seen()
    for o in dls.loaders: o.device = 'cpu'
    fit(make_learner(dls, tmp_path, [Autocast()]), cbs=seen)
    assert ('net', torch.bfloat16) in seen.kinds

def test_bfloat16_in_a_compiled_net(dls, tmp_path, monkeypatch):
    "`CompileNet` and `Autocast` change the same forward pass, and both put it back"
    compiled = []
    monkeypatch.setattr(torch, 'compile', lambda f: compiled.append(f) or f)
    seen,learn = Seen(),make_learner(dls, tmp_path, [Autocast(), CompileNet()])
    fit(learn, cbs=seen)
    assert compiled and ('net', torch.bfloat16) in seen.kinds and not state(learn)['own_forward']

def test_predictions_after_the_fit_are_float32(dls, tmp_path):
    learn = make_learner(dls, tmp_path, [Autocast()])
    fit(learn)
    with learn.no_bar(): probs,_ = learn.get_preds()
    with torch.no_grad(): want = learn.model.eval()(pictures).softmax(1)
    torch.testing.assert_close(probs, want)

# Metrics

@pytest.mark.parametrize('cbs', [[DeferMetrics], [DeferMetrics, DeferMetrics], [DeferMetrics, Autocast]])
def test_deferred_metrics_are_the_same(cbs, dls, tmp_path):
    plain = make_learner(dls, tmp_path, [o() for o in cbs if o is not DeferMetrics])
    deferred = make_learner(dls, tmp_path, [o() for o in cbs])
    for learn in plain,deferred: fit(learn, 2)
    torch.testing.assert_close(torch.tensor(deferred.recorder.values), torch.tensor(plain.recorder.values))
    torch.testing.assert_close(torch.stack(deferred.recorder.losses), torch.stack(plain.recorder.losses))
    torch.testing.assert_close(deferred.recorder.smooth_loss.value, plain.recorder.smooth_loss.value)
    torch.testing.assert_close(deferred.smooth_loss, plain.smooth_loss)

class Halved(AvgLoss):
    "A metric of somebody else"
    def accumulate(self, learn): self.total,self.count = self.total + learn.loss.item()/2, self.count+1

def test_a_metric_with_its_own_ways_keeps_them(dls, tmp_path):
    values = []
    for cbs in [], [DeferMetrics()]:
        learn = make_learner(dls, tmp_path, cbs)
        learn.recorder.loss = Halved()
        fit(learn)
        values.append(learn.recorder.values[-1][1])
    assert values[0] == pytest.approx(values[1])

def test_the_learning_rate_finder_sees_losses(dls, tmp_path):
    learn = make_learner(dls, tmp_path, [DeferMetrics(), Autocast()])
    before = state(learn)
    with learn.no_bar(): found = learn.lr_find(num_it=12, show_plot=False)
    assert 0 < found.valley < 10 and state(learn) == before

# to_fast

def test_to_fast_twice(dls, tmp_path):
    learn = make_learner(dls, tmp_path).to_fast(bf16=True).to_fast(bf16=True)
    kinds = [type(o) for o in learn.cbs]
    assert all(kinds.count(o) == 1 for o in (ChannelsLast, Autocast))
    assert Autocast not in [type(o) for o in learn.to_fast(bf16=False).cbs]     # the last call counts
    fit(learn.to_fast(bf16=True))
    assert not torch.is_autocast_enabled('cpu')

@pytest.mark.parametrize('first', ['nothing', 'lr_find', 'fit', 'freeze'])
def test_to_fast_after_something_else(first, dls, tmp_path):
    "The fused optimizer from then on, what was frozen stays frozen, and the export works"
    learn = make_learner(dls, tmp_path, splitter=lambda m: L(m[:2], m[2:]).map(params))
    with learn.no_bar(), learn.no_logging():
        if first == 'lr_find': learn.lr_find(num_it=8, show_plot=False)
        if first == 'fit': learn.fit(1)
        if first == 'freeze': learn.freeze()
    learn.to_fast(bf16=True)
    trained = [p.requires_grad for p in learn.model.parameters()]
    fit(learn)
    assert isinstance(learn.opt, FusedAdam) and [p.requires_grad for p in learn.model.parameters()] == trained
    assert trained[0] == (first != 'freeze')
    learn.export('net.pkl')
    load_learner(tmp_path/'net.pkl')
    fit(learn)

def test_loaders_that_name_no_device():
    "As fastai makes them of a plain list"
    items = [(torch.randn(3, 8, 8), torch.tensor(i%2)) for i in range(8)]
    plain = DataLoaders.from_dsets(items, items, bs=4)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    learn = Learner(plain, net, loss_func=F.cross_entropy).to_fast(bf16=True)
    with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert learn.recorder.losses[-1].isfinite()

def test_to_fast_leaves_another_optimizer(dls, tmp_path):
    def sgd(params, lr): return Adam(params, lr, mom=.5)
    assert make_learner(dls, tmp_path, opt_func=sgd).to_fast().opt_func is sgd

def test_fast_on_a_gpu_defers_metrics():
    assert [type(o) for o in fast_cbs('cuda', bf16=True)] == [ChannelsLast, Autocast, DeferMetrics]
    assert [type(o) for o in fast_cbs('cpu', bf16=False, channels_last=False)] == []

# The optimizer

def steps(dls, tmp_path, opt_func, n=10, **kwargs):
    "Weights after a fit, without any other change"
    learn = make_learner(dls, tmp_path, opt_func=opt_func, **kwargs)
    fit(learn, n, wd=.5)
    return torch.cat([p.detach().flatten() for p in learn.model.parameters()])

@pytest.mark.parametrize('wd_bn_bias', [False, True])
def test_fused_adam_is_adam(wd_bn_bias, dls, tmp_path):
    "Strong weight decay, with and without norms and biases in it"
    plain,fused = (steps(dls, tmp_path, o, wd_bn_bias=wd_bn_bias) for o in (Adam, FusedAdam))
    torch.testing.assert_close(plain, fused, atol=1e-3, rtol=1e-3)

@pytest.mark.parametrize('wd_bn_bias', [False, True])
def test_fused_adam_is_adam_to_six_digits(wd_bn_bias, dls):
    "In double precision, where nothing but the formula counts; layer groups with rates of their own"
    def weights(opt_func):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).double()
        x,y = torch.randn(8, 6).double(), torch.arange(8)%3
        learn = Learner(dls, net, CrossEntropyLossFlat(), opt_func=opt_func, wd=.5, wd_bn_bias=wd_bn_bias,
                        splitter=lambda m: L(m[:2], m[2:]).map(params))
        learn.create_opt()
        learn.opt.set_hyper('lr', slice(1e-3, 1e-2))
        learn.opt.set_hyper('wd', .5)
        for _ in range(50):
            learn.loss_func(net(x), y).backward()
            learn.opt.step()
            learn.opt.zero_grad()
        assert len(learn.opt.param_lists) == 2
        return torch.cat([p.detach().flatten() for p in net.parameters()])
    torch.testing.assert_close(weights(FusedAdam), weights(Adam), atol=1e-6, rtol=1e-6)

def test_wd_bn_bias_matters(dls, tmp_path):
    plain,decayed = (steps(dls, tmp_path, FusedAdam, wd_bn_bias=o) for o in (False, True))
    assert (plain-decayed).abs().max() > 1e-2

def test_fused_adam_saves_and_loads(dls, tmp_path):
    learn = make_learner(dls, tmp_path, opt_func=FusedAdam)
    fit(learn)
    learn.save('half')
    again = make_learner(dls, tmp_path, opt_func=FusedAdam)
    again.load('half')
    for o in learn,again: torch.manual_seed(1); fit(o)
    for a,b in zip(learn.model.parameters(), again.model.parameters()): torch.testing.assert_close(a, b)

# Waiting

def test_waiting_is_a_share(dls, tmp_path):
    learn = make_learner(dls, tmp_path, [DataWait()])
    fit(learn, 2)
    assert 0 < learn.data_wait.waited < learn.data_wait.seconds and 0 < learn.data_wait.share < 1
