"Lesson 16, sharing: an unpickler that trusts nobody, a tensor read by hand"
import io, json, pickle
import numpy as np
import torch
from . import right, wrong

# An unpickler that trusts nobody

class Plain(pickle.Unpickler):
    def find_class(self, module, name): raise pickle.UnpicklingError(f'{module}.{name}')

@right('plain_loads')
def refuses_every_name(data): return Plain(io.BytesIO(data)).load()

@wrong('plain_loads', 'obeys first')
def trusts(data): return pickle.loads(data)

@wrong('plain_loads', 'obeys first')
def looks_afterwards(data):
    got = pickle.loads(data)
    if not isinstance(got, dict): raise pickle.UnpicklingError('no dictionary')
    return got

class NotOurs(pickle.Unpickler):
    def find_class(self, module, name):
        if module.split('.')[0] != 'builtins' and module != '__builtin__': raise pickle.UnpicklingError(module)
        return super().find_class(module, name)

@wrong('plain_loads', 'a function of Python itself')
def permits_builtins(data): return NotOurs(io.BytesIO(data)).load()

@wrong('plain_loads', 'refuses plain data')
def refuses_everything(data): raise pickle.UnpicklingError('no')

@wrong('plain_loads', 'is there a `return`')
def forgets_to_return(data): Plain(io.BytesIO(data)).load()

# A tensor read by hand

def header(data):
    n = int.from_bytes(data[:8], 'little')
    return json.loads(data[8:8+n]), 8+n

@right('read_tensor')
def with_numpy(data, name):
    about,end = header(data)
    count = (about[name]['data_offsets'][1]-about[name]['data_offsets'][0])//4
    numbers = np.frombuffer(data, '<f4', count, end+about[name]['data_offsets'][0])
    return torch.tensor(numbers.copy()).reshape(about[name]['shape'])

@wrong('read_tensor', 'the shape is lost')
def flat(data, name): return with_numpy(data, name).flatten()

@wrong('read_tensor', 'bytes of the header')
def offsets_from_the_start(data, name):
    about,_ = header(data)
    start,end = about[name]['data_offsets']
    return torch.frombuffer(bytearray(data[8+start:8+end]), dtype=torch.float32).view(about[name]['shape'])

@wrong('read_tensor', 'make a tensor')
def an_array(data, name): return with_numpy(data, name).numpy()

@wrong('read_tensor', 'F32')
def in_double(data, name): return with_numpy(data, name).double()
