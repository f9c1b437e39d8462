"""The process of one script: ``python -m benchmarks.alone MODULE FOLDER [ARGUMENT …]`` runs it with its results in ``FOLDER``."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from benchmarks import record

if __name__ == "__main__":
    _, module, folder, *rest = sys.argv
    record.keep_in(Path(folder))
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__")
