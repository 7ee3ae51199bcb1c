"""Run Keras's own tests of its recurrent layers, and write what came out.

    python tests/conformance/run_keras_tests.py outcomes.json

First on Keras as it is, then with the bridge on. The file holds for each way what became of every
test and how often which kernel ran.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections import Counter
from pathlib import Path

import keras_tests


def main(target: Path) -> None:
    found = {"keras": {"outcomes": keras_tests.run(), "kernels": {}}}
    kernels: Counter[str] = Counter()
    _enable_and_count(kernels)
    found["bridge"] = {"outcomes": keras_tests.run(), "kernels": kernels}
    target.write_text(json.dumps(found))


def _enable_and_count(kernels: Counter[str]) -> None:
    from gatewise import errors
    from gatewise import keras as bridge
    from gatewise.keras import loop
    from gatewise.kernels import choose

    fused = loop._fused

    def counted(layer, specification, x, weights, state, mask, training):
        request = loop.Request.of(x, weights, specification, mask)
        kernels[f"{specification.cell} {choose(request).kernel}"] += 1
        return fused(layer, specification, x, weights, state, mask, training)

    loop._fused = counted
    warnings.simplefilter("ignore", errors.FallbackWarning)
    bridge.enable()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
