"Every kind of picture against an independent reading of its values, within 2 of 255; what cannot be right is refused"
import io, os, struct, zlib
import numpy as np
import pytest
from PIL import Image, ImageOps
from sota_vision.data.cache import make_cache
from sota_vision.data.images import read_image
from sota_vision.data.splits import Split
from sota_vision.imagenette import data_block

h,w = 6,8
rng = np.random.default_rng(0)
deep = rng.integers(0, 65536, (h, w, 4)).astype('>u2')
deep[0,0,:3] = 1000, 2000, 3000
part = deep/65535
bytes_ = rng.integers(0, 256, (h, w, 3)).astype(np.uint8)
bytes_[0,0] = 1, 2, 3

def png(depth, kind, rows, *extra):
    "A PNG file of w×h pixels, written without Pillow: `kind` 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA"
    def chunk(name, data): return struct.pack('>I', len(data))+name+data+struct.pack('>I', zlib.crc32(name+data))
    lines = zlib.compress(b''.join(b'\0'+o.tobytes() for o in rows))
    chunks = [(b'IHDR', struct.pack('>IIBBBBB', w, h, depth, kind, 0, 0, 0)), *extra, (b'IDAT', lines), (b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n'+b''.join(chunk(*o) for o in chunks)

def saved(im, kind, **settings):
    "`im` as the bytes of a file"
    f = io.BytesIO()
    im.save(f, kind, **settings)
    return f.getvalue()

def grey(x): return np.repeat(x[...,None]*255, 3, axis=2)
def on_white(rgb, alpha): return (rgb*alpha[...,None]+1-alpha[...,None])*255
def but(x, value): return np.where(np.arange(h*w).reshape(h, w, 1) == 0, value, x)   # another first pixel

def few_bits(depth, clear):
    "Grey and palette of 1, 2 or 4 bits, with and without transparency: (file, values) by name"
    v = rng.integers(0, 2**depth, (h, w))
    rows = [np.packbits(np.unpackbits(o.astype(np.uint8)[:,None], axis=1)[:,8-depth:].ravel()) for o in v]
    colours = rng.integers(0, 256, (2**depth, 3)).astype(np.uint8)
    alpha = rng.integers(0, 256, 2**depth).astype(np.uint8)
    if not clear:
        return {f'grey{depth}.png': (png(depth, 0, rows), grey(v/(2**depth-1))),
                f'palette{depth}.png': (png(depth, 3, rows, (b'PLTE', colours.tobytes())), colours[v])}
    extra = (b'PLTE', colours.tobytes()), (b'tRNS', alpha.tobytes())
    return {f'grey{depth}clear.png': (png(depth, 0, rows, (b'tRNS', b'\0\0')),
                                    np.where(v[...,None] == 0, 255, grey(v/(2**depth-1)))),
            f'palette{depth}clear.png': (png(depth, 3, rows, *extra), on_white(colours[v]/255, alpha[v]/255))}

def turned(orientation):
    "What a picture that carries this EXIF orientation shows, by the standard's own words"
    x = bytes_
    return {1: x, 2: x[:,::-1], 3: x[::-1,::-1], 4: x[::-1], 5: x.transpose(1, 0, 2), 6: np.rot90(x, -1),
            7: np.rot90(x, 2).transpose(1, 0, 2), 8: np.rot90(x)}[orientation]

def with_exif(orientation, kind, **settings):
    exif = Image.Exif()
    exif[0x112] = orientation
    return saved(Image.fromarray(bytes_), kind, exif=exif, **settings), turned(orientation)

def inks(kind, **settings):
    c,m,y,k = inked = np.array([30, 90, 200, 20])
    rgb = (1-inked[:3]/255)*(1-k/255)*255
    data = saved(Image.fromarray(np.tile(inked.astype(np.uint8), (h, w, 1)), 'CMYK'), kind, **settings)
    return data, np.tile(rgb, (h, w, 1))

def moving(kind, **settings):
    first,second = Image.new('RGB', (w, h), (200, 0, 0)), Image.new('RGB', (w, h), (0, 200, 0))
    return saved(first, kind, save_all=True, append_images=[second], **settings), np.tile((200, 0, 0), (h, w, 1))

def tiff(x): return saved(Image.fromarray(x), 'TIFF')
def white_is_zero(data): return data.replace(struct.pack('<HHII', 262, 3, 1, 1), struct.pack('<HHII', 262, 3, 1, 0))

twelve,dark = (deep[...,0]%4096).astype('>u2'), (deep[...,0]//400).astype('>u2')
kinds = {   # name → (bytes of the file, its values as computed here)
    'grey16.png': (png(16, 0, deep[...,0]), grey(part[...,0])),
    'dark16.png': (png(16, 0, dark), grey(dark/65535)),
    'rgb16.png': (png(16, 2, deep[...,:3]), part[...,:3]*255),
    'grey16alpha.png': (png(16, 4, deep[...,:2]), on_white(np.repeat(part[...,:1], 3, 2), part[...,1])),
    'rgb16alpha.png': (png(16, 6, deep), on_white(part[...,:3], part[...,3])),
    'grey16clear.png': (png(16, 0, deep[...,0], (b'tRNS', struct.pack('>H', 1000))), but(grey(part[...,0]), 255)),
    'rgb8clear.png': (png(8, 2, bytes_, (b'tRNS', struct.pack('>HHH', 1, 2, 3))), but(bytes_, 255)),
    'float.tif': (tiff(part[...,0].astype(np.float32)), grey(part[...,0])),
    'float255.tif': (tiff((part[...,0]*255).astype(np.float32)), grey(part[...,0])),
    'int32.tif': (tiff(deep[...,0].astype(np.int32)), grey(part[...,0])),
    'int32bytes.tif': (tiff(bytes_[...,0].astype(np.int32)), grey(bytes_[...,0]/255)),
    'grey16.tif': (tiff(deep[...,0].astype(np.uint16)), grey(part[...,0])),
    'white-is-zero16.tif': (white_is_zero(tiff(deep[...,0].astype(np.uint16))), grey(1-part[...,0])),
    'grey16.pgm': (b'P5 8 6 65535\n'+deep[...,0].tobytes(), grey(part[...,0])),
    'grey12.pgm': (b'P5 8 6 4095\n'+twelve.tobytes(), grey(twelve/4095)),
    'rgb16.ppm': (b'P6 8 6 65535\n'+deep[...,:3].tobytes(), part[...,:3]*255),
    'inks.tif': inks('TIFF'), 'inks.jpg': inks('JPEG', quality=100, subsampling=0),
    'moving.gif': moving('GIF'), 'moving.png': moving('PNG'), 'moving.webp': moving('WEBP', lossless=True)}
for d in (1, 2, 4): kinds |= few_bits(d, False) | few_bits(d, True)
for o in range(1, 9):
    kinds |= {f'turned{o}.png': with_exif(o, 'PNG'), f'turned{o}.tif': with_exif(o, 'TIFF'),
              f'turned{o}.webp': with_exif(o, 'WEBP', lossless=True)}

@pytest.mark.parametrize('name', kinds)
def test_values(name, tmp_path):
    "From a file, from its bytes, and from what Pillow opened"
    data,want = kinds[name]
    (tmp_path/name).write_bytes(data)
    for source in (tmp_path/name, data, Image.open(io.BytesIO(data))):
        got = np.asarray(read_image(source)).astype(float)
        assert got.shape == np.shape(want) and np.abs(got-want).max() <= 2

@pytest.fixture(scope='module')
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp('kinds')
    for label in 'ab':
        (folder/label).mkdir()
        for name,(data,_) in kinds.items(): (folder/label/name).write_bytes(data)
    return [folder/label/name for label in 'ab' for name in kinds]

def middles():
    "The center crop of each kind, (n, 6, 6, 3)"
    return [x[:,1:7] if np.shape(x)[1] > 6 else x[1:7] for _,x in kinds.values()]

def test_every_loader_shows_the_same(files, tmp_path):
    "The image cache, and fastai's own loaders"
    cache = make_cache(files, 6, tmp_path, bar=False)
    rows = [cache.row(f) for f in files[:len(kinds)]]
    cached = cache.crops(rows).permute(0, 2, 3, 1).numpy()
    split = Split(files[0].parent.parent, files[len(kinds):], files[:len(kinds)], ['a', 'b'])
    block = data_block(split, 6, 6, stats=None, aug=False)
    dls = block.dataloaders(split.files, bs=len(kinds), num_workers=0, device='cpu')
    plain = dls.valid.one_batch()[0].permute(0, 2, 3, 1).numpy()*255
    for name,want,a,b in zip(kinds, middles(), cached, plain):
        assert np.abs(a-want).max() <= 2, name
        assert np.abs(b-want).max() <= 2, name

def test_a_pixel_and_a_line(tmp_path):
    for size in ((1, 1), (1, 300), (300, 1)):
        Image.new('RGB', size, (7, 8, 9)).save(tmp_path/'small.png')
        assert np.asarray(read_image(tmp_path/'small.png')).reshape(-1, 3).tolist()[0] == [7, 8, 9]
        assert make_cache([tmp_path/'small.png'], 16, tmp_path/str(size), bar=False).crops([0]).shape == (1, 3, 16, 16)

nothing = {
    'clear16.png': png(16, 2, deep[...,:3], (b'tRNS', struct.pack('>HHH', 1000, 2000, 3000))),
    'beyond.tif': tiff(np.full((h, w), 1e6, np.float32)), 'below.tif': tiff(np.full((h, w), -1, np.int32)),
    'nan.tif': tiff(np.full((h, w), np.nan, np.float32)), 'zip.jpg': b'PK\3\4'+bytes(200), 'page.png': b'<html>',
    'empty.png': b'', 'program.jpg': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n',
    'huge.png': png(8, 0, []).replace(struct.pack('>II', w, h), struct.pack('>II', 30_000, 30_000))}
picture = saved(Image.fromarray(rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)), 'PNG')
nothing |= {f'tenth{i}.png': picture[:len(picture)*i//10] for i in range(1, 10)}

@pytest.mark.parametrize('name', nothing)
def test_refused_by_name(name, tmp_path):
    (tmp_path/name).write_bytes(nothing[name])
    with pytest.raises(ValueError, match=f'{name} cannot be read as a picture'): read_image(tmp_path/name)

@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='this system has no pipes in folders')
def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path/'1.png')
    with pytest.raises(ValueError, match='no regular file'): read_image(tmp_path/'1.png')

@pytest.mark.parametrize('turn', range(1, 9))
@pytest.mark.parametrize('tag', [struct.pack('<HHI4s', 0x11a, 2, 4, b'abc\0'), struct.pack('<HHIi', 0x100, 9, 1, -5)],
                         ids=['a resolution in letters', 'a negative width'])
def test_orientation_beside_a_malformed_tag(turn, tag):
    "What nobody needs may be wrong"
    def exif(*entries): return b'Exif\0\0II*\0'+struct.pack('<IH', 8, len(entries))+b''.join(entries)+bytes(4)
    orientation = struct.pack('<HHII', 0x112, 3, 1, turn)
    plain,odd = (saved(Image.fromarray(bytes_), 'PNG', exif=exif(*o)) for o in ([orientation], [tag, orientation]))
    want = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(plain))))
    for o in (plain, odd): assert np.array_equal(np.asarray(read_image(o)), want)
    assert want.shape[:2] == ((w, h) if turn > 4 else (h, w))

@pytest.mark.parametrize('white', [1, 255, 65535])
def test_floats_a_little_above_white(white):
    "As whoever resized them leaves them: they are clipped, and the picture does not turn black"
    x = np.linspace(0, 1, h*w, dtype=np.float32).reshape(h, w)*white
    want = np.asarray(read_image(x)).astype(int)
    x[-1,-1] *= 1.004
    assert np.abs(np.asarray(read_image(x)).astype(int)-want).max() <= 1 and want.max() == 255

@pytest.mark.parametrize('top', [250, 260, 65535])
def test_numbers_of_16_bits_have_one_white(top):
    "However dark a picture is, and of whatever shape"
    x = np.full((h, w), top, np.uint16)
    for o in (x, np.repeat(x[...,None], 3, axis=2)):
        assert np.abs(np.asarray(read_image(o)).astype(int)-top/257).max() <= 1
