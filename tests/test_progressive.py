"Randomised and corner cases of `sota_vision.progressive` that would crowd its notebook"
import pytest, torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from fastai.vision.all import (
    AffineCoordTfm, Callback, CancelFitException, ConvLayer, CrossEntropyLossFlat, DataLoaders, IntToFloatTensor, L,
    Learner, Normalize, RandomResizedCropGPU, TensorCategory, TensorImage, TfmdDL, accuracy, aug_transforms, first,
    imagenet_stats)
from PIL import Image
from sota_vision.cost import cost, macs, relative_cost
from sota_vision.data.loaders import cached_dls
from sota_vision.imagenette import get_dls
from sota_vision.progressive import ProgressiveResize, epoch_sizes, set_size
from sota_vision.teaching.figures import plot_stages

stages = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 300)), min_size=1, max_size=6)
rising = stages.map(lambda pairs: [(n, s) for (n, _), s in zip(pairs, sorted(s for _, s in pairs))])


def loader(tfms, n=20, split_idx=0):
    def picture(): return TensorImage(torch.randint(0, 255, (3, 40, 40), dtype=torch.uint8))
    items = L((picture(), TensorCategory(i % 2)) for i in range(n))
    items.split_idx = split_idx
    return TfmdDL(items, bs=10, num_workers=0, after_batch=[IntToFloatTensor(), *tfms], device=torch.device('cpu'))


def fastai_dls(**kwargs):
    "Loaders whose training and validation transforms are not the same objects"
    def tfms(): return [*aug_transforms(size=32, **kwargs), Normalize.from_stats(*imagenet_stats, cuda=False)]
    return DataLoaders(*(loader(tfms(), split_idx=i) for i in (0, 1)), device=torch.device('cpu'))


class Own:
    "A loader that is nobody's child"
    def __init__(self, size=24): self.size = size
    def __len__(self): return 2
    def set_size(self, size): self.size = size
    def __iter__(self):
        for _ in range(2): yield torch.rand(4, 3, self.size, self.size), torch.randint(0, 2, (4,))


class Rebuilt(DataLoaders):
    "Loaders that change their size by making new loaders"
    def set_size(self, size): self.loaders = [Own(size), Own(size)]


class Watch(Callback):
    def before_fit(self): self.seen = []
    def before_batch(self): self.seen.append((self.epoch, self.training, self.x.shape[-1]))


class Stop(Callback):
    def __init__(self, error): self.error = error
    def after_batch(self):
        if self.epoch == 1: raise self.error


def toy(dls):
    net = nn.Sequential(ConvLayer(3, 8, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    learn = Learner(dls, net, CrossEntropyLossFlat(), metrics=accuracy, cbs=Watch())
    learn.logger = print_nothing
    return learn.remove_cb(learn.progress) if hasattr(learn, 'progress') else learn


def print_nothing(*args): pass


def sides(dls): return [first(dl)[0].shape[-1] for dl in dls.loaders]


def walked(sizes): return [(e, t, s) for e, s in enumerate(sizes) for t in (False, True)]


@given(rising)
def test_every_epoch_has_the_size_of_its_stage(schedule):
    sizes = epoch_sizes(schedule)
    assert len(sizes) == sum(n for n, _ in schedule) and sizes == sorted(sizes)
    for n, s in schedule: assert sizes.count(s) >= n


@given(stages)
def test_a_size_that_falls_is_refused_wherever_it_falls(schedule):
    sizes = [s for _, s in schedule]
    if sizes == sorted(sizes): epoch_sizes(schedule)
    else:
        with pytest.raises(ValueError, match='the schedule falls from'): epoch_sizes(schedule)


@pytest.mark.parametrize('schedule, words', [
    ([], 'the schedule is empty'), ([(1, 32, 3)], 'is not an'), ([32], 'is not an'),
    ([(0, 32)], 'epochs in'), ([(1.5, 32)], 'epochs in'),
    ([(1, 0)], 'size in'), ([(1, -8)], 'size in'), ([(1, 32.5)], 'size in'), ([(1, 'big')], 'size in')])
def test_what_cannot_be_meant_gets_one_sentence(schedule, words):
    with pytest.raises(ValueError, match=words) as e: ProgressiveResize(schedule)
    assert '\n' not in str(e.value)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.sampled_from([1, 3, 5]), st.integers(1, 2), st.integers(8, 33),
       st.booleans())
def test_macs_are_half_of_pytorchs_flops(n_in, width, ks, stride, size, grouped):
    convs = nn.Conv2d(n_in, 2*width, ks, stride=stride), nn.Conv2d(2*width, 4*width, 1, groups=2 if grouped else 1)
    net = nn.Sequential(*convs, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16*width, 3))
    with FlopCounterMode(display=False) as counter, torch.no_grad(): net(torch.randn(1, n_in, size, size))
    assert 2*macs(net, size, n_in) == counter.get_total_flops()


def test_counting_leaves_the_net_alone():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    cost(net, [8, 12], bs=2, repeat=1)
    assert net.training and not net[0]._forward_hooks
    assert net[0].weight.device.type == 'cpu' and net[0].weight.grad is None
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_share_of_a_flat_schedule_is_one_and_of_a_small_start_is_less():
    costs = cost(nn.Sequential(nn.Conv2d(3, 4, 1)), [8, 12, 16], bs=2, repeat=1)
    assert relative_cost(costs, [(3, 12)]).tolist() == pytest.approx([1, 1, 1])
    part = relative_cost(costs, [(1, 8), (1, 16)])
    assert part.pixels == part.macs == pytest.approx((8*8 + 16*16) / (2*16*16))
    assert len(plot_stages(costs, [(1, 8), (1, 16)], Image.new("RGB", (20, 30))).axes) == 3
    with pytest.raises(ValueError, match='call cost with these sizes too'): relative_cost(costs, [(1, 4), (1, 16)])


@pytest.mark.parametrize('kwargs', [
    dict(), dict(min_scale=.75), dict(flip_vert=True, max_warp=0.), dict(max_rotate=0., max_warp=0., max_zoom=1.)])
def test_train_and_valid_change_together(kwargs):
    dls = fastai_dls(**kwargs)
    for size in (24, 40, 16):
        set_size(dls, size)
        assert sides(dls) == [size, size]


def test_the_transforms_show_the_size_they_have():
    dls = fastai_dls(min_scale=.75)
    set_size(dls, 24)
    tfm, = [t for t in dls.valid.after_batch.fs if isinstance(t, (AffineCoordTfm, RandomResizedCropGPU)) and t.size]
    assert "'size': (24, 24)" in tfm.name


@pytest.mark.parametrize('bad', [
    [], object(), DataLoaders(), DataLoaders(loader([])), torch.utils.data.DataLoader(list(range(4)))])
def test_loaders_without_a_size_get_one_sentence(bad):
    with pytest.raises(ValueError, match='nothing in this .* sets a size'): set_size(bad, 32)


def test_nothing_changes_unless_all_loaders_can():
    dls = DataLoaders(loader(aug_transforms(size=32)), loader([], split_idx=1))
    with pytest.raises(ValueError, match='nothing in this DataLoaders'): set_size(dls, 16)
    assert sides(dls) == [32, 40]


def test_a_mixed_pair_of_loaders():
    dls = DataLoaders(loader(aug_transforms(size=32)), Own())
    set_size(dls, 16)
    assert sides(dls) == [16, 16]


def test_the_training_loaders_method_does_not_stand_for_all():
    dls = DataLoaders(Own(), Own())
    assert hasattr(dls, 'set_size')
    set_size(dls, 16)
    assert sides(dls) == [16, 16]


@pytest.mark.parametrize('make', [fastai_dls, lambda: DataLoaders(Own(), Own(), device=torch.device('cpu')),
                                  lambda: Rebuilt(Own(), Own(), device=torch.device('cpu'))])
def test_a_fit_walks_its_schedule_and_ends_at_the_last_size(make):
    learn, schedule = toy(make()), [(1, 12), (2, 16), (1, 24)]
    learn.fit_one_cycle(4, cbs=ProgressiveResize(schedule))
    assert sorted(set(learn.watch.seen)) == walked([12, 16, 16, 24])
    assert sides(learn.dls) == [24, 24]


def test_a_fit_resumed_later_starts_at_the_size_of_its_epoch():
    learn = toy(fastai_dls())
    learn.fit_one_cycle(3, cbs=ProgressiveResize([(1, 12), (1, 16), (1, 24)]), start_epoch=2)
    assert sorted(set(learn.watch.seen)) == [(2, False, 24), (2, True, 24)]


@pytest.mark.parametrize('error', [KeyboardInterrupt, CancelFitException, RuntimeError('out of memory')])
def test_an_interrupted_fit_leaves_the_size_it_had_reached(error):
    learn = toy(fastai_dls())
    try: learn.fit(3, cbs=[ProgressiveResize([(1, 12), (1, 16), (1, 24)]), Stop(error)])
    except (KeyboardInterrupt, RuntimeError): pass
    assert sides(learn.dls) == [16, 16]
    learn.fit(1, cbs=ProgressiveResize([(1, 20)]))
    assert sides(learn.dls) == [20, 20]


def test_only_training_moves_the_size():
    learn = toy(fastai_dls())
    learn.add_cb(ProgressiveResize([(1, 12), (1, 16)]))
    learn.validate()
    learn.get_preds()
    learn.lr_find(num_it=5, show_plot=False)
    assert sides(learn.dls) == [32, 32]


@pytest.mark.parametrize('epochs', [1, 3])
def test_a_fit_of_another_length_stops_before_it_trains(epochs):
    learn = toy(fastai_dls())
    with pytest.raises(ValueError, match=f'the schedule lasts 2 epochs, the fit {epochs}'):
        learn.fit(epochs, cbs=ProgressiveResize([(1, 12), (1, 16)]))
    assert learn.watch.seen == [] and sides(learn.dls) == [32, 32]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "Sixteen pictures of 48 px of two classes, half to train on"
    root = tmp_path_factory.mktemp('pictures')
    for i, part in enumerate(('train', 'val')):
        for j, label in enumerate(('dark', 'light')):
            (root/part/label).mkdir(parents=True)
            for k in range(4): Image.new('RGB', (48, 48), (60*i+10*k, 120*j, 90)).save(root/part/label/f'{k}.png')
    return root


@pytest.mark.parametrize('make', [get_dls, cached_dls])
def test_a_size_above_the_presize_is_refused(make, folder, tmp_path):
    own = dict(caches=tmp_path, bar=False) if make is cached_dls else dict(workers=0)
    dls = make(4, 32, folder, presize=40, device='cpu', **own)
    set_size(dls, 40)
    with pytest.raises(ValueError, match='size=41 is above presize=40') as e: set_size(dls, 41)
    assert '\n' not in str(e.value) and sides(dls) == [40, 40]


def test_a_schedule_beyond_the_presize_stops_before_it_trains(folder, tmp_path):
    learn = toy(cached_dls(4, 32, folder, presize=40, device='cpu', caches=tmp_path, bar=False))
    with pytest.raises(ValueError, match='size=128 is above presize=40'):
        learn.fit(2, cbs=ProgressiveResize([(1, 32), (1, 128)]))
    assert learn.watch.seen == [] and sides(learn.dls) == [32, 32]
