"Each check meets the stub kindly, tells plausible wrong answers what is wrong, and passes the solution of the notebook"
import ast, math, random
from pathlib import Path
import nbformat, pytest, torch
import torch.nn.functional as F
from fastai.vision.all import TensorImage, np
from torch import nn, tensor
import sota_vision.exercises as ex

nbs = Path(__file__).resolve().parents[1]/'nbs'
solutions = sorted((nbs/'solutions').glob('*.ipynb'))
checks = {o.removeprefix('check_'): getattr(ex, o) for o in ex.__all__ if o.startswith('check_')}

def code(file): return [o.source for o in nbformat.read(file, as_version=4).cells if o.cell_type == 'code']
def asked(file): return [o[6:o.index('(')] for o in code(file) if o.startswith('check_')]

def defined(cells):
    "What the imports and functions of `cells` define, functions that could be run more than once"
    names = {}
    for cell in cells:
        keep = [o for o in ast.parse(cell).body if isinstance(o, (ast.Import, ast.ImportFrom, ast.FunctionDef))]
        exec(compile(ast.Module(keep, []), '<solutions>', 'exec'), names)
    return names

solved = {name: fs[name] for file in solutions for fs in [defined(code(file))] for name in asked(file)}
def by(name, **changes):
    "The solution `name`, with its answer changed"
    def changed(*args): return changes['to'](solved[name](*args))
    return changed

# Stubs

stub = pytest.mark.parametrize('file', [nbs/o.name for o in solutions], ids=[o.stem for o in solutions])

@stub
def test_lesson_and_solutions(file):
    cells = code(file)
    names = asked(file)
    assert len(names) >= 3 and names == asked(nbs/'solutions'/file.name), 'a lesson has its three exercises, and its solutions the same'
    for name in names:
        text, = [o for o in cells if o.startswith(f'def {name}(')]
        function, = ast.parse(text).body
        want, = [o for c in code(nbs/'solutions'/file.name) if f'def {name}(' in c for o in ast.parse(c).body if getattr(o, 'name', '') == name]
        assert [o.arg for o in function.args.args] == [o.arg for o in want.args.args]
        assert text.rstrip().endswith('raise NotImplementedError') and ast.get_docstring(function)

def test_all_solved(): assert set(solved) == set(checks)

@pytest.mark.parametrize('name', checks)
def test_stub(name):
    def stub(*args): raise NotImplementedError
    got = checks[name](stub)
    assert not got.ok and not got.written and name in got.says and repr(got).startswith('…')

@pytest.mark.parametrize('name', checks)
def test_nothing_back(name):
    def empty(*args): pass
    got = checks[name](empty)
    assert not got.ok and got.written

@pytest.mark.parametrize('name', checks)
def test_solution(name):
    got = checks[name](solved[name])
    assert got.ok, got.says
    assert repr(got).startswith('✓ Right')

# Plausible wrong answers, and a few words of what is said to them

def inception(w, h, area=(.08, 1), ratio=(.75, 4/3), by_side=False):
    while True:
        a = random.uniform(area[0]**.5, 1)**2 if by_side else random.uniform(*area)
        r = random.uniform(*ratio)
        bw,bh = round((a*w*h*r)**.5), round((a*w*h/r)**.5)
        if bw <= w and bh <= h: break
    left,top = random.randint(0, w-bw), random.randint(0, h-bh)
    return left, top, left+bw, top+bh

def folded(conv, mean, std, times=False, bias=True):
    new = solved['fold'](conv, mean, std)
    s,old = tensor(std).view(3, 1, 1), conv.bias
    if times: new.weight = nn.Parameter(conv.weight*s)
    if not bias: new.bias = nn.Parameter(torch.zeros(conv.out_channels) if old is None else old.clone())
    return new

def folded_in_place(conv, mean, std):
    conv.weight.data /= tensor(std).view(3, 1, 1)
    return conv

def moved(net, batches):
    net.train()
    opt = torch.optim.SGD(net.parameters(), .1)
    for b in batches[:5]: opt.zero_grad(); net(b).square().mean().backward(); opt.step()
    return net.eval()

def seen(net, batches):
    net.train()
    for b in batches: net(b)
    return net.eval()

def cut(x, side, each=True, inside=False, channels=3, fill=0., corner=False, diagonal=False):
    x = x.clone()
    for im in x if each else [x]:
        i,j = (random.randint(0, n-side) if inside else random.randint(0, n-1)-side//2 for n in x.shape[-2:])
        if diagonal: j = i
        if corner: i,j = i+side//2,j+side//2
        im[..., :channels, max(i,0):i+side, max(j,0):j+side] = fill
    return x

def cut_in_place(x, side):
    x[..., :side, :side] = 0
    return x

def named_groups(net):
    ps = dict(net.named_parameters())
    return [p for n,p in ps.items() if not n.endswith('bias')], [p for n,p in ps.items() if n.endswith('bias')]

def entropy(p): return torch.special.entr(p).sum(-1)
def ten(x, size): return solved['ten_crop'](x, size)
def disc(x, perm, row, col, r): return solved['round_patch'](x, perm, row, col, r)
def seeds(diffs, half, quantile): return max(2, math.ceil((quantile*np.std(diffs, ddof=1)/half)**2))

wrong = dict(
    name_label=[(lambda p: p.name.split('_')[0], 'several words'), (lambda p: p.stem.rpartition('_')[0], 'blanks'), (lambda p: p.parent.name, 'folder'),
        (lambda p: ' '.join(p.stem.split('_')[:-1][:2]), 'several words')],
    presize_for=[(lambda size, angle, scale: math.ceil(size*ex.fill_zoom(angle)/scale), 'area'), (lambda size, angle, scale: size, 'ask for more'),
        (lambda size, angle, scale: int(size*ex.fill_zoom(angle)/scale**.5), 'a pixel too few'),
        (lambda size, angle, scale: math.ceil(size*(abs(math.cos(angle))+abs(math.sin(angle)))/scale**.5), 'radians')],
    inception_box=[(lambda w, h: inception(w, h, by_side=True), 'not the side'), (lambda w, h: inception(w, h, ratio=(.5, 2)), 'between 3/4 and 4/3'),
        (lambda w, h: inception(w, h, ratio=(1, 1)), 'only'), (lambda w, h: inception(h, h), 'other areas'), (lambda w, h: inception(w, h, area=(.01, 1)), 'stops at 8'),
        (lambda w, h: inception(w, h, area=(.3, 1)), 'goes down to 8'), (lambda w, h: [*inception(w, h)[:2], w+9, h], 'beyond'),
        (lambda w, h: [*inception(w, h)[2:], *inception(w, h)[:2]], 'upside down'), (lambda w, h: 7, 'four numbers'),
        (lambda w, h: (lambda l, t, r, b: (0, t, r-l, b))(*inception(w, h)), 'leave a part')],
    top_k=[(lambda z, y, k: (z.argmax(1) == y).float().mean(), 'k=1'), (lambda z, y, k: (z.topk(k).indices == y[:,None]).float().mean(), 'all the guesses'),
        (lambda z, y, k: (z.topk(k).indices == y[:,None]).any(1).sum(), 'how many')],
    layer_rates=[(np.linspace, 'constant step'), (lambda low, high, n: np.geomspace(high, low, n), 'other way'),
        (lambda low, high, n: [low*(high/low)**(i/n) for i in range(n)], 'not high yet'), (lambda low, high, n: [low, high], 'shape (2,)')],
    sgdr=[(lambda t, first, mult, low, high: solved['sgdr'](t, first, 1, low, high), 'as long as the first'),
        (lambda t, first, mult, low, high: low + (high-low)*(1+math.cos(math.pi*min(t/first, 1)))/2, 'starts again'),
        (lambda t, first, mult, low, high: solved['sgdr'](t, first, min(mult, 2), low, high), 'is wanted'),
        (lambda t, first, mult, low, high: high - (high-low)*(t%first)/first, 'is wanted')],
    undo=[(lambda x, m, s: (x-tensor(m).view(3, 1, 1))/tensor(s).view(3, 1, 1), 'second time'), (lambda x, m, s: (x+tensor(m).view(3, 1, 1))*tensor(s).view(3, 1, 1), 'order'),
        (lambda x, m, s: x.mul_(tensor(s).view(3, 1, 1)).add_(tensor(m).view(3, 1, 1)), 'changed'), (lambda x, m, s: x*tensor(s)+tensor(m), 'must match')],
    fold=[(lambda c, m, s: folded(c, m, s, bias=False), 'the bias is not'), (lambda c, m, s: folded(c, m, s, times=True), 'divide the weights'),
        (folded_in_place, 'is changed'), (lambda c, m, s: nn.Sequential(c), 'Sequential')],
    adabn=[(lambda net, batches: net, 'training mode only'), (lambda net, batches: solved['adabn'](net, batches).train(), 'left in training'), (moved, 'weights have moved'),
        (seen, 'old averages')],
    pixel_share=[(lambda s: sum(n*k for n,k in s)/sum(n for n,_ in s)/s[-1][1], 'four times'), (lambda s: sum(n*k*k for n,k in s), 'divide'),
        (lambda s: 1-solved['pixel_share'](s), 'saved'), (lambda s: sum(k*k for _,k in s)/len(s)/s[-1][1]**2, 'count each')],
    staircase=[(lambda n, sizes: [(n//len(sizes), s) for s in sizes], 'must be used'), (lambda n, sizes: [(s, e) for e,s in solved['staircase'](n, sizes)], 'the sizes'),
        (lambda n, sizes: [(n/len(sizes), s) for s in sizes], 'whole numbers'), (lambda n, sizes: [(n, sizes[-1])], 'pairs'),
        (lambda n, sizes: [(n//len(sizes) + (i >= len(sizes) - n%len(sizes)), s) for i,s in enumerate(sizes)], 'go to the large')],
    tan_le=[(lambda m, a, b, p, q: [(a+(b-a)*i/m, p+(q-p)*i/m) for i in range(m)], 'not arrived'), (lambda m, a, b, p, q: solved['tan_le'](m, a, b, q, p), 'strength falls'),
        (lambda m, a, b, p, q: solved['tan_le'](m, a, b, p, p), 'the strength does not'), (lambda m, a, b, p, q: [a, b], 'pairs'), (lambda m, a, b, p, q: [(y, x) for x,y in solved['tan_le'](m, a, b, p, q)], 'this order')],
    geometric=[(lambda p: p.mean(0), 'arithmetic'), (lambda p: p.log().mean(0).exp(), 'sum to 1'), (lambda p: p.prod(0)/p.prod(0).sum(-1, True), 'the product'),
        (lambda p: F.normalize(p.prod(0)**(1/len(p)), p=1, dim=-1), 'too small')],
    ten_crop=[(lambda x, n: ten(x, n)[:5], 'ten views'), (lambda x, n: ten(x, n)[:5]*2, 'mirror'), (lambda x, n: [*ten(x, n)[:5], *(o.flip(-2) for o in ten(x, n)[:5])], 'mirror'),
        (lambda x, n: [ten(x, n)[i] for i in (1, 1, 2, 3, 4, 6, 6, 7, 8, 9)], 'centre'), (lambda x, n: [ten(x, n)[i] for i in (0, 1, 2, 3, 3, 5, 6, 7, 8, 8)], 'lower right')],
    disagreement=[(lambda p: entropy(p.mean(0)), 'one term'), (lambda p: entropy(p).mean(0), 'whether they differ'), (lambda p: -solved['disagreement'](p), 'sign'),
        (lambda p: -(p.mean(0)*p.mean(0).log()).sum(-1) + (p*p.log()).sum(-1).mean(0), '0·log 0'), (lambda p: solved['disagreement'](p)/math.log(2), 'bits')],
    mixed_target=[(lambda a, b, lam, eps, n: solved['mixed_target'](b, a, lam, eps, n), 'first class'), (lambda a, b, lam, eps, n: solved['mixed_target'](a, b, lam, 0, n), 'not smoothed'),
        (lambda a, b, lam, eps, n: solved['mixed_target'](a, b, lam, eps, n)*(1-eps) + eps/n, 'twice')],
    round_patch=[(lambda x, p, i, j, r: (disc(x, p, i, j, r)[0], 1-math.pi*r*r/x[0,0].numel()), 'πr²'), (lambda x, p, i, j, r: (disc(x, p, i, j, r)[0], 1-disc(x, p, i, j, r)[1]), 'kept'),
        (lambda x, p, i, j, r: disc(x, p, j, i, r), 'row and column'), (lambda x, p, i, j, r: (x.copy_(disc(x, p, i, j, r)[0]), disc(x, p, i, j, r)[1]), 'changed'),
        (lambda x, p, i, j, r: disc(x, p, i, j, r)[0], 'two things'), (lambda x, p, i, j, r: (disc(x[p], p.argsort(), i, j, r)[0], disc(x, p, i, j, r)[1]), 'inside and outside')],
    cutout=[(lambda x, n: cut(x, n, inside=True), 'lies inside'), (lambda x, n: cut(x, n, each=False), 'for each'), (lambda x, n: cut(x, n, corner=True), 'not a corner'), (lambda x, n: cut(x, n, diagonal=True), 'diagonal'), (lambda x, n: cut(x, n, channels=1), 'channels'),
        (lambda x, n: cut(x, n, fill=.5), 'outside of the square'), (lambda x, n: cut(x, n//2), 'side of 4'), (cut_in_place, 'changed'), (lambda x, n: x.clone(), 'no pixel')],
    lowest_loss=[(lambda eps, n: -math.log(1-eps+eps/n), 'wrong classes'), (lambda eps, n: -solved['lowest_loss'](eps, n), 'sign'),
        (lambda eps, n: entropy(tensor([1-eps]+[eps/(n-1)]*(n-1))), 'right one too'),
        (lambda eps, n: -sum(q*np.log(q) for q in [np.float64(1-eps+eps/n)]+[np.float64(eps/n)]*(n-1)), 'logarithm of 0')],
    prior_loss=[(lambda z, y, u, eps: F.cross_entropy(z, y), 'no say'), (lambda z, y, u, eps: F.cross_entropy(z, y, label_smoothing=eps), 'not used'),
        (lambda z, y, u, eps: 7*solved['prior_loss'](z, y, u, eps), 'mean'), (lambda z, y, u, eps: solved['prior_loss'](z, y, u/4, eps), 'do not divide')],
    temperature=[(lambda z, y: 1/solved['temperature'](z, y), '1/T'), (lambda z, y: 1., 'not moved'), (lambda z, y: z.std().item(), 'is wanted')],
    differing=[(lambda a, b: {k: v for k,v in vars(b).items() if v != vars(a)[k]}, 'both values'), (lambda a, b: {k: (v, vars(b)[k]) for k,v in vars(a).items()}, 'equal in both'),
        (lambda a, b: solved['differing'](b, a), 'wrong way'), (lambda a, b: list(solved['differing'](a, b)), 'a list'), (lambda a, b: {}, 'not named')],
    seeds_needed=[(lambda d, half: seeds(d, half, 1.96), 'normal'), (lambda d, half: solved['seeds_needed'](d, half)-1, 'one too few'),
        (lambda d, half: seeds(d, half, ex.student_t.ppf(.975, len(d)-1)), 'the t of the pilot')],
    decay_groups=[(named_groups, 'γ and β'), (lambda net: (solved['decay_groups'](net)[0], []), 'neither list'), (lambda net: (list(net.parameters()), list(net.parameters())), 'twice'),
        (lambda net: solved['decay_groups'](net)[::-1], 'decays'), (lambda net: list(net.parameters())[:3], 'two things')],
    store_bytes=[(lambda sizes, p: 3*p*p*len(sizes), 'middle squares'), (lambda sizes, p: sum(p*p*max(o)/min(o) for o in sizes), 'three channels'),
        (lambda sizes, p: sum(3*w*h for w,h in sizes), 'as they are'), (lambda sizes, p: 4*solved['store_bytes'](sizes, p), 'float32')],
    shear_map=[(lambda s: solved['shear_map'](s).transpose(1, 2), 'columns slide'), (lambda s: solved['shear_map'](-s), 'wrong sign'),
        (lambda s: solved['shear_map'](s)-torch.eye(3), 'identity')],
    roofline=[(lambda work, peak, band: max(peak, work*band), 'slower part'), (lambda work, peak, band: peak, 'slower part'),
        (lambda work, peak, band: work*band, 'slower part'), (lambda work, peak, band: min(peak, band/work), 'do not divide')])

def test_each_has_wrong_answers(): assert set(wrong) == set(checks) and all(len(o) >= 2 for o in wrong.values())

@pytest.mark.parametrize('name,answer,words', [(k, f, w) for k,fs in wrong.items() for f,w in fs])
def test_wrong(name, answer, words):
    got = checks[name](answer)
    assert not got.ok and got.written and words in got.says, got
    assert '\n' not in got.says and len(got.says) < 300, 'one sentence'

# Ways to be right, and to stop

@pytest.mark.parametrize('name,change', [('top_k', float), ('layer_rates', tensor), ('layer_rates', np.array), ('lowest_loss', tensor), ('temperature', tensor), ('seeds_needed', float),
    ('undo', TensorImage), ('ten_crop', torch.stack), ('mixed_target', torch.Tensor.tolist), ('geometric', torch.Tensor.double), ('presize_for', float), ('staircase', tuple),
    ('round_patch', list), ('decay_groups', list), ('prior_loss', torch.Tensor.item), ('cutout', TensorImage), ('tan_le', np.array), ('disagreement', torch.Tensor.numpy)])
def test_other_forms(name, change):
    got = checks[name](by(name, to=change))
    assert got.ok, got.says

def test_torchvision_crops():
    from torchvision.transforms import RandomResizedCrop
    def crop(w, h):
        top,left,bh,bw = RandomResizedCrop.get_params(torch.empty(3, h, w), (.08, 1), (3/4, 4/3))
        return left, top, left+bw, top+bh
    assert checks['inception_box'](crop).ok

def test_from_json():
    import json
    from sota_vision.recipe import to_json
    def differing(a, b):
        a,b = (json.loads(to_json(o)) for o in (a, b))
        return {k: [a[k], b[k]] for k in a if a[k] != b[k]}
    assert checks['differing'](differing).ok

def test_lbfgs():
    def temperature(logits, targets):
        t = torch.zeros(1, requires_grad=True)
        opt = torch.optim.LBFGS([t], max_iter=50)
        def loss():
            opt.zero_grad()
            loss = F.cross_entropy(logits/t.exp(), targets)
            loss.backward()
            return loss
        opt.step(loss)
        return t.exp()
    assert checks['temperature'](temperature).ok

def test_exact_sizes():
    def exact(m, a, b, p, q): return [(a + (b-a)*i/(m-1), p + (q-p)*i/(m-1)) for i in range(m)]
    assert checks['tan_le'](exact).ok, 'sizes that are not rounded are right as well'

def stopping(x, mean, std):
    return x/[][0]

def test_exception():
    says = checks['undo'](stopping).says
    assert says == f'it stopped in line {stopping.__code__.co_firstlineno+1}, `return x/[][0]` with IndexError: list index out of range'

def test_not_implemented_by_torch():
    def unable(eps, n): raise NotImplementedError("'log' is not there for 'Half'")
    got = checks['lowest_loss'](unable)
    assert got.written and "'log' is not there" in got.says

def test_wrong_arguments(): assert 'TypeError' in checks['lowest_loss'](solved['fold']).says

def test_result_instead_of_function(): assert 'check_undo(undo)' in checks['undo'](torch.zeros(3)).says

def test_chance_is_left_alone():
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    want = torch.rand(2), np.random.rand(2), random.random()
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    checks['cutout'](solved['cutout']), checks['inception_box'](solved['inception_box'])
    got = torch.rand(2), np.random.rand(2), random.random()
    assert all(np.array_equal(a, b) for a,b in zip(want, got))

def test_interrupt():
    def endless(eps, n): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): checks['lowest_loss'](endless)
