"""Loaders, an epoch, test time augmentation and growth, beside fastai, torchvision and timm, taking turns in one run.

The command `sota_bench` runs it, from a checkout or from the wheel, which carries this folder as
`sota_vision/_benchmarks`.
"""
import os, tempfile
from dataclasses import asdict
from pathlib import Path
from fastai.vision.all import default_device, defaults
from fastcore.xdg import xdg_cache_home
from sota_vision.train import provenance
from .epoch import epoch_peers
from .growth import growth_settings
from .loaders import loader_peers
from .report import Report
from .tta import tta_peers

parts = ('loaders', 'epoch', 'tta', 'growth')
defaults_of = dict(rounds=3, batches=60, views_of=320, base=500, times=(1, 2, 4), sizes=(64, 96, 128, 160, 192, 224))
quick = dict(rounds=2, batches=8, views_of=16, base=48, times=(1, 2), sizes=(48, 96))

def settings(part, recipe, split, tmp, o):
    "Yield (setting in words, name → function that measures once) for `part`"
    net = f'{recipe.arch}, {recipe.size} px'
    if part == 'loaders':
        peers = loader_peers(recipe, split, tmp, o['batches'])
        yield f'{recipe.presize} → {recipe.size} px, batches of {recipe.bs}', peers
    if part == 'epoch': yield f'{net}, {len(split.train)} pictures', epoch_peers(recipe, split, tmp)
    if part == 'tta': yield net, tta_peers(recipe, split, tmp, o['views_of'])
    if part == 'growth': yield from growth_settings(recipe, split, tmp, o)

def turns(
    peers:dict, # Name → function that measures once and returns `value`, `unit` and more; None: not installed
    rounds:int  # How often each of them has its turn
):              # Yields (round, name, function)
    "Who measures when: everyone once a round, each round starting with another one, since machines warm up and change"
    names = list(peers)
    for i in range(rounds):
        for name in names[i % len(names):] + names[:i % len(names)]: yield i, name, peers[name]

def measure(
    peers:dict,     # As in `turns`
    rounds:int,     # How often each of them has its turn
    say=print,      # Called with a sentence before each round
    **what          # Written beside each number, such as `part` and `setting`
) -> list:          # A dict per turn: `what`, peer, round, and what the peer returned
    "Let all of `peers` take turns"
    runs = []
    for i,name,peer in turns(peers, rounds):
        if len(runs) % len(peers) == 0: say(f'{", ".join(map(str, what.values()))}: round {i+1} of {rounds}')
        runs.append(dict(**what, peer=name, round=i) | (peer() if peer else dict(value=None, note='not installed')))
    return runs

def check(recipe, split, only, o):
    "One sentence for what cannot be measured"
    for name in o.keys()-defaults_of.keys():
        raise ValueError(f'no option called {name}: there are {", ".join(defaults_of)}')
    for part in set(only)-set(parts): raise ValueError(f'parts={part!r}: choose from {", ".join(parts)}')
    for k,least in dict(rounds=1, base=1, views_of=1, batches=4).items():
        if o[k] < least: raise ValueError(f'{k}={o[k]}: it must be {least} or more')
    if len(split.train) < 3*recipe.bs:
        raise ValueError(f'bs={recipe.bs}: {len(split.train)} training pictures make fewer than three batches: '
                         'take a smaller batch or more pictures')

def bench(
    split,              # The pictures, a `Split`
    recipe,             # Net, sizes and batch, a `Recipe`
    only:tuple=parts,   # Which of `parts`
    say=print,          # Called with a sentence before each round
    **options           # Some of `defaults_of`, such as `rounds` and the `batches` of a loader's turn
) -> Report:            # Every turn
    "Measure what `only` names, every peer once a round"
    o = defaults_of | options
    check(recipe, split, only, o)
    o['base'] = max(len(split.classes), min(o['base'], len(split.train)//max(o['times'])))
    about = dict(recipe=asdict(recipe), options=o, workers=defaults.cpus) | provenance(split, default_device())
    load = [os.getloadavg()[0]] if hasattr(os, 'getloadavg') else None  # how many processes wanted a core
    (folder := xdg_cache_home()/'sota_vision').mkdir(parents=True, exist_ok=True)
    runs = []
    with tempfile.TemporaryDirectory(dir=folder, prefix='bench-', ignore_cleanup_errors=True) as tmp:
        for part in only:
            for setting,peers in settings(part, recipe, split, Path(tmp), o):
                runs += measure(peers, o['rounds'], say, part=part, setting=setting)
    if load: load.append(os.getloadavg()[0])
    return Report(about | dict(load=load), runs)
