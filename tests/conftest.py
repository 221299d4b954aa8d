"What every test may rely on: the synthetic sample, and the real photos where a place for them is named"
import os
from pathlib import Path
import pytest

os.environ['SOTA_VISION_PROFILE'] = 'tiny'
os.environ.pop('SOTA_VISION_DATA', None)

@pytest.fixture(scope='session')
def photos():
    "Folder of real Imagenette photos, laid out `train/<wnid>` and `val/<wnid>`"
    path = os.environ.get('SOTA_VISION_TEST_PHOTOS')
    if not path: pytest.skip('SOTA_VISION_TEST_PHOTOS names no folder of real photos')
    assert (Path(path)/'train').is_dir(), f'SOTA_VISION_TEST_PHOTOS={path} holds no folder train'
    return Path(path)
