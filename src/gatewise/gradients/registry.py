"""From what a user writes as `gradient=` to an algorithm, and to plain data and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewise.errors import InputError, UnsupportedError, unknown_name
from gatewise.gradients.artbp import ARTBP
from gatewise.gradients.bptt import BPTT
from gatewise.gradients.contract import GradientAlgorithm
from gatewise.gradients.eprop import EProp
from gatewise.gradients.rtrl import RTRL
from gatewise.gradients.snap import SnAp1
from gatewise.gradients.tbptt import TBPTT

ALGORITHMS: dict[str, type[GradientAlgorithm]] = {
    algorithm.__name__: algorithm for algorithm in (BPTT, TBPTT, ARTBP, RTRL, SnAp1, EProp)
}

_DEFAULTS: dict[str, GradientAlgorithm] = {"bptt": BPTT(), "tbptt": TBPTT(k1=20)}


def get(given: str | GradientAlgorithm | Mapping[str, Any] | None) -> GradientAlgorithm:
    """Return the algorithm that `given` names or is; None is exact backpropagation through time.

    "bptt" is `BPTT()`, "tbptt" is `TBPTT(k1=20)`. What `serialize` wrote is read as well.

    >>> get("tbptt").k2
    20
    """
    if given is None:
        return _DEFAULTS["bptt"]
    if isinstance(given, GradientAlgorithm):
        return given
    if isinstance(given, str):
        if given not in _DEFAULTS:
            raise _unknown(given)
        return _DEFAULTS[given]
    if isinstance(given, Mapping):
        if given.get("class_name") not in ALGORITHMS:
            raise unknown_name("gradient", given.get("class_name"), ALGORITHMS)
        return ALGORITHMS[given["class_name"]].from_config(given["config"])
    if isinstance(given, type) and issubclass(given, GradientAlgorithm):
        raise InputError(
            f"gradient is the class {given.__name__}; give an object: {given.__name__}(...)."
        )
    raise InputError(
        'gradient expected "bptt", "tbptt" or an object of gatewise.gradients '
        f"({', '.join(ALGORITHMS)}) but got {given!r}."
    )


def serialize(algorithm: GradientAlgorithm) -> dict[str, Any]:
    """Return the class name and arguments of an algorithm, as plain data for `get`.

    >>> get(serialize(TBPTT(20, 40))) == TBPTT(20, 40)
    True
    """
    if ALGORITHMS.get(type(algorithm).__name__) is not type(algorithm):
        raise UnsupportedError(
            f"A file can name the gradients {', '.join(ALGORITHMS)}, and this is "
            f"{type(algorithm).__name__}."
        )
    return {"class_name": type(algorithm).__name__, "config": algorithm.get_config()}


def _unknown(given: str) -> Exception:
    """Return the error for a name, with the class to write where there is one."""
    for name in ALGORITHMS:
        if name.lower() == given.lower().replace("-", "").replace("_", ""):
            return InputError(
                f"gradient={given!r} has arguments: give an object of gatewise.gradients, such as "
                f"{name}({'mean_length=20' if name == 'ARTBP' else ''})."
            )
    return unknown_name("gradient", given, _DEFAULTS)
