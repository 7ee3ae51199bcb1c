"""For `make sanitize`: Python finds the instrumented kernels instead of the installed ones.

Python imports a module of this name, where it finds one on its path, before anything else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType


class _Instrumented(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "gatewise._native":
            return None
        (built,) = Path(os.environ["GATEWISE_SANITIZED"]).glob("_native.*.so")
        return spec_from_file_location(fullname, built)


sys.meta_path.insert(0, _Instrumented())
