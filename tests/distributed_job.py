"Started by torchrun in test_distributed.py: train in several processes, and note what each of them saw"
import json, os, sys
from pathlib import Path
import torch
from fastai.vision.all import Callback, DataLoaders, Learner, SGD, TfmdDL, accuracy, nn
from sota_vision.baseline import set_seed
from sota_vision.data.folders import scan
from sota_vision.data.sources import data_path
from sota_vision.distributed import Distributed, job, machine_first, processes, rank
from sota_vision.recipes import recipe
from sota_vision.train import fit
from torchvision import models

class Seen(Callback):
    "Which pictures each epoch went through, and how many each batch had"
    order = 12  # right after the share was taken
    def __init__(self): self.train,self.valid,self.sizes = [], [], []
    def note(self, where):
        get = self.learn.dl.get_idxs
        def noted():
            where.append(list(get()))
            return where[-1]
        self.learn.dl.get_idxs = noted
    def before_train(self): self.note(self.train)
    def before_validate(self): self.note(self.valid)
    def after_batch(self):
        if self.training: self.sizes.append(len(self.yb[0]))

def pictures():
    "The sample, with a number of validation pictures that two does not divide"
    split = scan(machine_first(lambda: data_path(prof='quick')))
    return split.without(split.valid[:1])

def train_net(caches):
    "Two epochs of a net with everything; in the first process also its accuracy, asked anew"
    seen = Seen()
    best = recipe('best', 'quick', bs=12, tta=0, stages=((1, 24), (1, 32)))
    result = fit(best, pictures(), seed=3, caches=caches, cbs=[seen])
    said = dict(train=seen.train, valid=seen.valid, sizes=seen.sizes, epochs=result.run['epochs'])
    if rank() == 0: said['again'] = float(accuracy(*result.learn.get_preds()))
    return said

def train_trained(out):
    "A trained net, first its head, then all of it; its weights lie where torch.hub keeps what it has downloaded"
    os.environ['TORCH_HOME'] = str(out/f'torch-{rank()}')
    kept = Path(torch.hub.get_dir())/'checkpoints'/Path(models.SqueezeNet1_1_Weights.DEFAULT.url).name
    kept.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(models.squeezenet1_1().state_dict(), kept)
    made = recipe('baseline', 'quick', pretrained=True, arch='squeezenet1_1', epochs=1, size=32, presize=40)
    result = fit(made, pictures(), bar=False, caches=out/'caches', checkpoint=out/'checkpoint.pt')
    return dict(epochs=result.run['epochs'], weights=[o.sum().item() for o in result.learn.model.parameters()])

def train_line():
    "A linear net on noise: its weights depend on nothing but the batches of all processes together"
    set_seed(5)
    x = torch.randn(50, 3)
    data = list(zip(x, x@torch.randn(3, 1)))
    bs = 8//processes()
    dls = DataLoaders(TfmdDL(data, bs=bs, shuffle=True, drop_last=True), TfmdDL(data, bs=bs))
    learn = Learner(dls, nn.Linear(3, 1), nn.MSELoss(), opt_func=SGD, cbs=Distributed() if processes() > 1 else None)
    with learn.no_bar(), learn.no_logging(): learn.fit(3, .1)
    weights = torch.cat([o.flatten() for o in learn.model.parameters()])
    return dict(weights=weights.tolist(), loss=learn.recorder.values[-1][1])

if __name__ == '__main__':
    out = Path(sys.argv[1])
    with job('cpu'):
        said = train_net(out/'caches') | dict(trained=train_trained(out), line=train_line())
        (out/f'{rank()}.json').write_text(json.dumps(said))
