"Labels made wrong on purpose, and Imagenette's own table of them"
import csv
import os
from pathlib import Path

import pytest
import torch
from fastai.data.core import DataLoaders
from hypothesis import given, settings, strategies as st

from sota_vision.label_noise import flip_labels, noisy_labels, relabel

quick = settings(max_examples=40, deadline=None, derandomize=True)

@quick
@given(st.integers(0, 10_000), st.integers(2, 12), st.floats(0, 1), st.integers(0, 60))
def test_exactly_the_asked_fraction_is_wrong(seed, n_classes, share, n):
    labels = torch.randint(0, n_classes, (n,), generator=torch.Generator().manual_seed(seed))
    before = labels.clone()
    flipped = flip_labels(labels, share, n_classes, seed)
    assert (flipped != labels).sum() == round(share*n)
    assert torch.equal(flipped, flip_labels(labels, share, n_classes, seed))
    assert torch.equal(labels, before)
    assert n == 0 or (0 <= flipped.min() and flipped.max() < n_classes)

def test_all_other_classes_are_equally_likely():
    flipped = flip_labels(torch.zeros(9000, dtype=torch.long), 1, 10)
    assert flipped.bincount(minlength=10)[0] == 0
    assert (flipped.bincount(minlength=10)[1:] - 1000).abs().max() < 150

@pytest.mark.parametrize('labels, share, n_classes, says', [
    ([0, 1], 1.5, 2, '0 to 1'), ([0, 1], -.1, 2, '0 to 1'),
    ([0, 0], .5, 1, 'at least 2'), ([0, 7], .5, 5, '5 classes')])
def test_impossible_flips_get_a_sentence(labels, share, n_classes, says):
    with pytest.raises(ValueError, match=says): flip_labels(torch.tensor(labels), share, n_classes)

@pytest.fixture
def dls():
    pairs = [(torch.tensor([float(i)]), i % 3) for i in range(12)]
    dls = DataLoaders.from_dsets(pairs, pairs, bs=4, num_workers=1, device='cpu')
    dls.vocab = ['a', 'b', 'c']
    return dls

def test_relabel_changes_training_labels_only_also_in_worker_processes(dls):
    right = [i % 3 for i in range(12)]
    batches = list(relabel(dls, ['c']*12).train)
    assert torch.cat([y for _,y in batches]).tolist() == [2]*12
    assert sorted(torch.cat([x for x,_ in batches]).flatten().tolist()) == list(range(12))
    assert [y for _,y in relabel(dls, ['c']*12).valid_ds] == right
    assert [y for _,y in dls.train_ds] == right

def test_relabel_takes_indices_and_tensors(dls):
    assert [int(y) for _,y in relabel(dls, torch.arange(12) % 2).train_ds] == [0, 1]*6

@pytest.mark.parametrize('labels, says', [(['a']*2, '2 labels for 12'), (['zebra']*12, "'zebra' is not a class"),
                                          ([3]*12, '3 is not a class'), ([-1]*12, '-1 is not a class')])
def test_labels_that_do_not_fit_get_a_sentence(dls, labels, says):
    with pytest.raises(ValueError, match=says): relabel(dls, labels)

@pytest.fixture
def files(tmp_path):
    (tmp_path/'noisy_imagenette.csv').write_text(
        'path,noisy_labels_0,noisy_labels_50,is_valid\n'
        'train/n03028079/a.JPEG,n03028079,n03425413,False\n'
        'val/n03888257/b.JPEG,n03888257,n03888257,True\n')
    return [tmp_path/'train/n03028079/a.JPEG', tmp_path/'val/n03888257/b.JPEG']

def test_the_table_gives_the_label_of_its_column(files):
    assert noisy_labels(files) == ['n03425413', 'n03888257']
    assert noisy_labels(files, 'noisy_labels_0') == ['n03028079', 'n03888257']
    assert noisy_labels([]) == []

def test_what_the_table_does_not_have_gets_a_sentence(files):
    with pytest.raises(ValueError, match='choose one of noisy_labels_0, noisy_labels_50'):
        noisy_labels(files, 'noisy_labels_7')
    with pytest.raises(ValueError, match='is not in'): noisy_labels([files[0].with_name('c.JPEG')])
    elsewhere = files[0].parents[2]/'elsewhere/train/n03028079/a.JPEG'
    with pytest.raises(FileNotFoundError, match='use flip_labels'): noisy_labels([elsewhere])

photos = os.environ.get('SOTA_VISION_TEST_PHOTOS')

@pytest.mark.skipif(not photos, reason='SOTA_VISION_TEST_PHOTOS names no folder with Imagenette')
def test_imagenettes_own_table():
    table = Path(photos)/'noisy_imagenette.csv'
    if not table.exists(): pytest.skip('no noisy_imagenette.csv among the photos')
    with table.open(newline='') as f: files = [Path(photos)/r['path'] for r in csv.DictReader(f)]
    right = [f.parent.name for f in files]
    assert noisy_labels(files, 'noisy_labels_0') == right
    changed = {'train': [], 'val': []}
    for f,label,true in zip(files, noisy_labels(files), right): changed[f.parts[-3]].append(label != true)
    assert abs(sum(changed['train'])/len(changed['train']) - .5) < .01
    assert not any(changed['val'])
