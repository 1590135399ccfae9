"""The tests of knownline; those of samerun, whose helpers they use, are in samerun/tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "samerun/tests"))
