"Lesson 11, calibration: temperature scaling"
import torch
import torch.nn.functional as F
from . import right, wrong

@right('temperature')
def by_optimizer(logits, targets):
    log_t = torch.zeros(1, requires_grad=True)
    opt = torch.optim.LBFGS([log_t], max_iter=50)
    def closure():
        opt.zero_grad()
        loss = F.cross_entropy(logits/log_t.exp(), targets)
        loss.backward()
        return loss
    opt.step(closure)
    return log_t.exp()

@wrong('temperature', '1/T')
def inverse(logits, targets): return 1/by_optimizer(logits, targets)

@wrong('temperature', 'not moved')
def always_one(logits, targets): return 1.

@wrong('temperature', 'is expected')
def deviation_of_the_logits(logits, targets): return logits.std().item()
