"""What `import gatewise` brings with it, and what waits until it is asked for."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import gatewise
early = [name for name in sys.modules if name.startswith("gatewise.inspect")]
assert not early, early
assert gatewise.callbacks.Diagnose.__name__ == "Diagnose"
assert gatewise.inspect.measure_gates.__module__ == "gatewise.inspect.activity"
"""


def test_the_inspector_is_imported_when_it_is_first_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
