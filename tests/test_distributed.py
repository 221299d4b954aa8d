"Two processes, or two machines, train one net: each picture once an epoch, one result, an error if one of them dies"
import json, os, shutil, signal, subprocess, sys, time
from pathlib import Path
import psutil, pytest
import distributed_job as train_alone
from sota_vision.cli.train import sota_train

here = Path(__file__).resolve().parent
scripts = Path(sys.executable).parent
pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(sys.platform == 'win32', reason='torchrun is tried on Linux and macOS')]

def torchrun(*words, nodes='--nproc_per_node 2', before=(), **env):
    "Start torchrun; its processes compute with one thread each"
    env = os.environ | dict(PYTHONPATH=str(here.parent), PYTHONWARNINGS='ignore', OMP_NUM_THREADS='1') | env
    command = [*before, shutil.which('torchrun', path=scripts), *nodes.split(), *map(str, words)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

def start(*words): return torchrun('--no-python', shutil.which('sota_train', path=scripts), *words)

def output(process, code=0):
    "What `process` and those it started said, when they have ended"
    said = process.communicate(timeout=300)[0]
    assert (process.returncode == 0) == (code == 0), said
    return said

def train_and_check(out, started):
    "What two processes said of their training, and what all must agree on"
    for o in started: output(o)
    said = [json.loads((out/f'{i}.json').read_text()) for i in (0, 1)]
    for epoch in zip(*(o['train'] for o in said)):
        assert len(set(sum(epoch, []))) == sum(map(len, epoch)) == 72       # of 80, in whole batches
    for epoch in zip(*(o['valid'] for o in said)): assert sorted(sum(epoch, [])) == [*range(59)]
    assert [o['sizes'] for o in said] == [[6]*12]*2
    for key in 'epochs', 'trained': assert said[0][key] == said[1][key]
    assert said[0]['epochs'][-1]['accuracy'] == pytest.approx(said[0]['again'])
    return said

@pytest.fixture(scope='module')
def together(tmp_path_factory):
    "What two processes said"
    out = tmp_path_factory.mktemp('together')
    said = train_and_check(out, [torchrun(here/'distributed_job.py', out)])
    assert len(list((out/'caches').iterdir())) == 2     # one image cache for each presize
    return said

def test_each_picture_once_and_the_same_numbers_everywhere(together): assert len(together) == 2

def test_as_one_process_with_the_same_batches(together):
    "The same global batches, the same weights"
    alone = train_alone.train_line()
    for o in together:
        assert o['line']['weights'] == pytest.approx(alone['weights'], abs=1e-5)
        assert o['line']['loss'] == pytest.approx(alone['loss'], rel=1e-4)

def test_two_machines(tmp_path, together):
    "Two network namespaces, each with an address and an image cache of its own, joined by a cable"
    if not (shutil.which('ip') and shutil.which('unshare')): pytest.skip('needs the programs ip and unshare')
    names = [f'sota{os.getpid()}{o}' for o in 'ab']
    def ip(*words): return subprocess.run(['ip', *' '.join(words).split()], capture_output=True, text=True)
    made = [ip('netns add', o) for o in names]
    try:
        if any(o.returncode for o in made): pytest.skip(f'no network namespaces here: {made[0].stderr.strip()}')
        made = ip('link add', 'v0 netns', names[0], 'type veth peer name v0 netns', names[1])
        if made.returncode: pytest.skip(f'no cable between two namespaces here: {made.stderr.strip()}')
        for i,o in enumerate(names, 1):
            for words in f'addr add 10.9.8.{i}/24 dev v0', 'link set v0 up', 'link set lo up': ip('-n', o, words)
        each = '--nnodes 2 --nproc_per_node 1 --master_addr 10.9.8.1 --master_port 29512 --node_rank'
        started = [torchrun(here/'distributed_job.py', tmp_path, nodes=f'{each} {i}', before=('ip', 'netns', 'exec', o),
                            GLOO_SOCKET_IFNAME='v0', XDG_CACHE_HOME=str(tmp_path/o)) for i,o in enumerate(names)]
        said = train_and_check(tmp_path, started)
        assert said[0]['line'] == together[0]['line']
    finally:
        for o in names: ip('netns del', o)

def test_a_process_dies_and_the_job_goes_on_later(tmp_path, capsys):
    "One is killed: the others end with an error; `--resume` goes on bit for bit, with as many processes only"
    whole,killed = tmp_path/'whole', tmp_path/'killed'
    words = ['--profile', 'quick', '--epochs', '4', '--device', 'cpu', '--out']
    said = output(start(*words, whole))
    assert said.count('seed 0: accuracy') == 1, said
    run = start(*words, killed)
    while not (killed/'checkpoint.pt').exists() and run.poll() is None: time.sleep(.02)
    second = [o for o in psutil.Process(run.pid).children(recursive=True) if o.environ().get('LOCAL_RANK') == '1']
    second[0].send_signal(signal.SIGKILL)
    said = output(run, 1)
    assert f'go on with sota_train --resume {killed}' in said and not (killed/'run.json').exists(), said
    with pytest.raises(SystemExit): sota_train(['--resume', str(killed)])
    assert 'made by 2 processes' in capsys.readouterr().err
    output(start('--resume', killed))
    one,two = [json.loads((o/'run.json').read_text(encoding='utf-8')) for o in (whole, killed)]
    assert one['epochs'] == two['epochs'] and one['confusion'] == two['confusion']
    assert one['device'].startswith('2 processes') and (killed/'bundle').is_dir()

@pytest.mark.parametrize('words, sentence', [
    (['--device', 'gpu'], 'it must be cpu, cuda'), (['--data', 'nowhere', '--device', 'cpu'], 'no folder at')])
def test_a_mistake_is_told_once(words, sentence, tmp_path):
    said = output(start('--profile', 'quick', '--out', tmp_path/'out', *words), 2)
    assert said.count('sota_train:') == said.count(sentence) == 1 and not (tmp_path/'out').exists(), said
