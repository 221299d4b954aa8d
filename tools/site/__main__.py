"`python -m tools.site [folder]`: build the site and the EPUB, in `_docs` if nothing is said"
import sys
from pathlib import Path
from .build import build
from .translate import root

if __name__ == '__main__': build(Path(sys.argv[1] if len(sys.argv) > 1 else root/'_docs').resolve())
