"What every test may rely on: the synthetic sample, real photos where a place for them is named, and one browser"
import os, shutil
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

flags = ('--no-sandbox --disable-gpu --disable-quic --no-first-run '
         '--disable-background-networking --disable-component-update --disable-sync')

def need(ok, what):
    "Skip with `what` unless `ok`; fail where a browser was promised, as in CI"
    if not ok and os.environ.get('SOTA_VISION_NEED_BROWSER'): pytest.fail(what)
    if not ok: pytest.skip(what)

@pytest.fixture(scope='session')
def browser():
    "Chromium, driven by Playwright, which starts once in a process"
    try: from playwright.sync_api import sync_playwright
    except ImportError: need(False, "no Playwright here: pip install 'sota_vision[dev]'")
    found = map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))
    path = os.environ.get('SOTA_VISION_BROWSER') or next(filter(None, found), None)
    need(path, 'no Chromium here: install one (Debian: apt install chromium) or name it in SOTA_VISION_BROWSER')
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, args=flags.split())
        yield chromium
        chromium.close()
