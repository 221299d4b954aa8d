"Training batches of everybody, without a net"
import gc, itertools, tempfile, time
from functools import partial
from importlib.util import find_spec
import torch
from fastai.vision.all import defaults, imagenet_stats
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2
from sota_vision.data.cache import make_cache
from sota_vision.data.loaders import cached_loaders
from sota_vision.imagenette import get_dls

def fastai_dls(recipe, split):
    "Plain fastai: a worker process per core, augmentation in whole batches"
    return get_dls(recipe.bs, recipe.size, split, presize=recipe.presize, min_scale=recipe.min_scale,
                   workers=defaults.cpus)

def only(samples, files):
    "Those (file, class) pairs of a folder that belong to the split"
    return [s for s in samples if s[0] in files]

def torchvision_dl(recipe, split, cuda):
    "torchvision v2: each picture by itself in the workers, with fastai's kinds of augmentation"
    def sometimes(t): return v2.RandomApply([t], p=.75)
    tfms = v2.Compose([
        v2.RandomResizedCrop(recipe.size, scale=(recipe.min_scale, 1)), v2.RandomHorizontalFlip(),
        sometimes(v2.RandomAffine(10, scale=(1, 1.1), interpolation=v2.InterpolationMode.BILINEAR)),
        v2.RandomPerspective(.2, p=.75), sometimes(v2.ColorJitter(.2, .2)),
        v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*imagenet_stats)])
    data = ImageFolder(split.root/'train', tfms)
    data.samples = only(data.samples, {str(f) for f in split.train})
    return DataLoader(data, recipe.bs, shuffle=True, drop_last=True, num_workers=defaults.cpus, pin_memory=cuda)

def timm_dl(recipe, split, cuda):
    "timm's loader, which crops, flips and changes colors, but neither rotates nor warps; None if timm is not installed"
    if not find_spec('timm'): return None
    from timm.data import create_dataset, create_loader
    data = create_dataset('', root=str(split.root/'train'))
    data.reader.samples = only(data.reader.samples, {str(f) for f in split.train})
    return create_loader(data, (3, recipe.size, recipe.size), recipe.bs, is_training=True,
                         scale=(recipe.min_scale, 1.), color_jitter=.2,
                         num_workers=defaults.cpus, use_prefetcher=cuda, pin_memory=cuda, persistent_workers=False)

def cached_dl(recipe, split, folder):
    "Ours: from an image cache in `folder`, made if it is not there"
    cache = make_cache(split.train, recipe.presize, folder, False)
    split = type(split)(split.root, split.train, split.train[:1], split.classes)    # nobody validates here
    return cached_loaders(split, cache, recipe.bs, recipe.size, recipe.min_scale).train

def now(device):
    "Seconds, read when `device` has done all that was queued"
    kind = torch.device(device).type
    if kind == 'cuda': torch.cuda.synchronize(device)
    if kind == 'mps': torch.mps.synchronize()
    return time.perf_counter()

def images_per_second(
    dl,                 # Any loader; yields (pictures, …)
    device,             # Where the batches go
    batches:int=None    # Stop after so many; None: at the end
) -> float:             # Images per second
    "How fast `dl` delivers, from its second batch on: nobody pays for starting processes (which favours the others)"
    it = iter(dl)
    next(it)[0].to(device)
    t0,n = now(device),0
    for b in itertools.islice(it, batches): n += len(b[0].to(device, non_blocking=True))
    return n/(now(device)-t0)

def warm(dl, device, batches): return dict(value=images_per_second(dl, device, batches), unit='images/s')

def cold(recipe, split, tmp):
    "A cache made anew, then one epoch from it"
    with tempfile.TemporaryDirectory(dir=tmp, prefix='new-', ignore_cleanup_errors=True) as folder:
        t0 = time.perf_counter()
        dl = cached_dl(recipe, split, folder)
        n = sum(len(b[0]) for b in dl)
        value = n/(now(dl.device)-t0)
        del dl; gc.collect()    # Windows deletes no file that somebody still reads
    return dict(value=value, unit='images/s', note='cache made, then one epoch')

def loader_peers(recipe, split, tmp, batches):
    "Name → function that measures once"
    dl = fastai_dls(recipe, split).train
    cuda = dl.device.type == 'cuda'
    dls = {'plain fastai': dl, 'torchvision v2': torchvision_dl(recipe, split, cuda),
           'timm': timm_dl(recipe, split, cuda), 'ours, warm': cached_dl(recipe, split, tmp/'warm')}
    for o in dls.values(): o and images_per_second(o, dl.device, 2)
    peers = {name: o and partial(warm, o, dl.device, batches) for name,o in dls.items()}
    return peers | {'ours, cold': partial(cold, recipe, split, tmp)}
