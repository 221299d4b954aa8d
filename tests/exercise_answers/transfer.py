"Lesson 02, transfer learning: a learning rate for each layer group"
import numpy as np
import torch
from . import right, wrong

@right('layer_rates')
def as_an_array(low, high, n): return np.geomspace(low, high, n)

@right('layer_rates')
def as_a_tensor(low, high, n): return torch.tensor(np.geomspace(low, high, n))

@wrong('layer_rates', 'constant step')
def evenly_spaced(low, high, n): return np.linspace(low, high, n)

@wrong('layer_rates', 'other way')
def falling(low, high, n): return np.geomspace(high, low, n)

@wrong('layer_rates', 'not high yet')
def a_step_too_many(low, high, n): return [low*(high/low)**(i/n) for i in range(n)]

@wrong('layer_rates', 'shape (2,)')
def both_ends(low, high, n): return [low, high]
