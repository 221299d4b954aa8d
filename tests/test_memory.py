"A GPU whose memory is too small for a batch: smaller batches, as many steps, said once and written down"
import pytest, torch
from fastai.callback.core import Callback
from sota_vision.recipes import recipe
from sota_vision.train import fit

pytestmark = pytest.mark.slow

class SmallMemory(Callback):
    "A net that `most` pictures fill the memory of; it counts the steps"
    def __init__(self, most): self.most,self.steps = most, 0
    def after_pred(self):
        if len(self.x) > self.most: raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')
    def after_step(self): self.steps += 1

@pytest.mark.parametrize('checkpoint', [False, True])
def test_smaller_batches(checkpoint, tmp_path, capsys):
    few,large,small = recipe('baseline', 'quick', epochs=1, bs=32), SmallMemory(32), SmallMemory(8)
    fit(few, bar=False, cbs=[large])
    run = fit(few, bar=False, cbs=[small], checkpoint=tmp_path/'checkpoint.pt' if checkpoint else None).run
    said = capsys.readouterr().out.splitlines()
    assert [o.split(':')[1][:13] for o in said] == [' 16 pictures ', ' 8 pictures i']
    assert run['bs_in_memory'] == 8 and run['recipe']['bs'] == 32 and small.steps == large.steps > 0

def test_goes_on_after_the_last_epoch(tmp_path, capsys):
    "Memory that suffices for small pictures only costs no epoch that was done"
    class Seen(SmallMemory):
        epochs = ()
        def before_epoch(self): self.epochs += (self.epoch,)
        def after_pred(self):
            if self.epoch: super().after_pred()
    few,seen = recipe('baseline', 'quick', epochs=2, bs=32), Seen(16)
    run = fit(few, bar=False, cbs=[seen], checkpoint=tmp_path/'checkpoint.pt').run
    assert len(run['epochs']) == 2 and seen.epochs == (0, 1, 0, 1) and capsys.readouterr().out.count('\n') == 1

def test_two_pictures_are_the_least():
    few = recipe('baseline', 'quick', epochs=1, bs=4)
    with pytest.raises(torch.OutOfMemoryError): fit(few, bar=False, cbs=[SmallMemory(1)])

def test_an_error_of_another_kind_is_not_tried_again():
    class Wrong(Callback):
        n = 0
        def after_pred(self):
            self.n += 1
            raise RuntimeError('sizes differ')
    wrong = Wrong()
    with pytest.raises(RuntimeError, match='sizes differ'): fit(recipe('baseline', 'quick'), bar=False, cbs=[wrong])
    assert wrong.n == 1
