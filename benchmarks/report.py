"From turns to a table, sentences and a figure"
import json
from pathlib import Path
import matplotlib.pyplot as plt
import pandas as pd
from sota_vision.train import write_whole

plain = 'plain fastai'
setting = ['part', 'setting']

def ratios(
    runs:pd.DataFrame,  # A row per turn: part, setting, peer, round, value, unit
    base:str=plain      # Whom to compare with
) -> pd.Series:         # A number per turn, above 1: faster than `base` in the same round; NaN where there is none
    "How many times as fast as `base` each turn was"
    speed = runs['value'].where(runs['unit'] == 'images/s', 1/runs['value'])
    of_base = speed.where(runs['peer'] == base).groupby([runs[k] for k in (*setting, 'round')]).transform('max')
    return speed/of_base

class Report:
    "What was measured: `about` (machine, versions, settings) and `runs`, a dict per turn"
    def __init__(self,
        about:dict, # Where the numbers come from, fit for JSON
        runs:list   # Turns, as `measure` returns them
    ):
        self.about,self.runs = about,runs
        first = (*setting, 'peer', 'round', 'value', 'unit', 'note')
        self.turns = pd.DataFrame(runs).reindex(columns=dict.fromkeys((*first, *(k for r in runs for k in r))))
        self.turns['value'] = self.turns['value'].astype(float)

    def save(self,
        file:Path   # Where to
    ):
        "Write all of it as JSON, whole or not at all"
        write_whole(Path(file), json.dumps(dict(about=self.about, runs=self.runs), indent=1, ensure_ascii=False)+'\n')

    @property
    def table(self) -> pd.DataFrame:
        "A row per peer: median, least and most over the rounds, and how many times as fast as plain fastai"
        times = f'× {plain}'
        groups = self.turns.assign(ratio=ratios(self.turns)).groupby([*setting, 'peer'], sort=False)
        return groups.agg(**{
            'median': ('value', 'median'), 'least': ('value', 'min'), 'most': ('value', 'max'),
            'unit': ('unit', 'first'),
            times: ('ratio', 'median'), 'its least': ('ratio', 'min'), 'its most': ('ratio', 'max'),
            'note': ('note', 'last')}).round(2)

    @property
    def slower(self) -> list:   # Sentences; empty where nothing of ours lost
        "Where one of ours was slower than another peer, by the median over the rounds"
        said = []
        for other in self.turns['peer'].unique():
            if other.startswith('ours'): continue
            compared = self.turns.assign(ratio=ratios(self.turns, other))
            lost = compared.groupby([*setting, 'peer'], sort=False)['ratio'].median()
            said += [f'slower than {other}: {peer} ({part}, {at}): {x:.2f} times its speed'
                     for (part,at,peer),x in lost.items() if peer.startswith('ours') and x < 1]
        return said

    def plot(self) -> plt.Figure:   # A panel per setting, and two for growth
        "Medians over the rounds; lines and bands reach from the least to the most"
        titles = dict(loaders='Training batches, loader alone', epoch='One epoch, validation included',
                      tta='TTA, four views and the plain one')
        measured = self.turns.dropna(subset='value')
        bars = [(part, at, o) for (part,at),o in measured.groupby(setting, sort=False) if part in titles]
        lines = [k for k in ('size', 'pictures') if k in self.turns]
        n = len(bars)+len(lines)
        rows,cols = -(-n//2), min(2, n)
        fig,axs = plt.subplots(rows, cols, figsize=(5*cols, 2.7*rows), layout='constrained', squeeze=False)
        for ax in axs.flat[n:]: ax.axis('off')
        for ax,(part,at,o) in zip(axs.flat, bars): self.bars(ax, o, f'{titles[part]}\n{at}')
        for ax,key in zip(axs.flat[len(bars):], lines): self.lines(ax, key)
        plt.close(fig)
        return fig

    def bars(self, ax, turns, title):
        x = turns.groupby('peer', sort=False)['value'].agg(['median', 'min', 'max'])
        reach = [x['median']-x['min'], x['max']-x['median']]
        colors = ['C1' if p.startswith('ours') else '0.6' for p in x.index]
        ax.barh(x.index, x['median'], xerr=reach, capsize=3, color=colors)
        ax.invert_yaxis()
        units = {'s': 'seconds (less is better)', 'images/s': 'images/s (more is better)'}
        ax.set(title=title, xlabel=units[turns['unit'].iloc[0]])

    def lines(self, ax, key):
        for peer,o in self.turns.dropna(subset=[key]).groupby('peer', sort=False):
            x = o.groupby(key)['value'].agg(['median', 'min', 'max'])
            color = 'C1' if peer.startswith('ours') else '0.5'
            ax.plot(x.index, x['median'], '-o', color=color, label=peer)
            ax.fill_between(x.index, x['min'], x['max'], color=color, alpha=.25, lw=0)
        title,label = dict(size=('Larger pictures', 'size (px)'), pictures=('More pictures', 'pictures'))[key]
        ax.set(title=title, xlabel=label, ylabel='images/s', ylim=(0, None))
        ax.legend(); ax.grid(alpha=.3)

def read_report(
    file:Path   # What `Report.save` wrote
) -> Report:    # The same; a `ValueError` if `file` is something else
    "A benchmark of earlier"
    try: return Report(**json.loads(Path(file).read_text(encoding='utf-8')))
    except (TypeError, ValueError, KeyError):
        raise ValueError(f'{file} holds no benchmark: write one with sota_bench --out') from None
