"""From what a user writes as `gradient=` to an algorithm, and to plain data and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewise.errors import InputError, UnsupportedError, unknown_name
from gatewise.gradients.artbp import ARTBP
from gatewise.gradients.bptt import BPTT
from gatewise.gradients.contract import GradientAlgorithm
from gatewise.gradients.eprop import EProp
from gatewise.gradients.notation import parse
from gatewise.gradients.rtrl import RTRL
from gatewise.gradients.snap import SnAp1
from gatewise.gradients.tbptt import TBPTT

ALGORITHMS: dict[str, type[GradientAlgorithm]] = {
    algorithm.__name__: algorithm for algorithm in (BPTT, TBPTT, ARTBP, RTRL, SnAp1, EProp)
}


def get(given: str | GradientAlgorithm | Mapping[str, Any] | None) -> GradientAlgorithm:
    """Return the algorithm that `given` names or is; None is exact backpropagation through time.

    A name is what `notation.parse` reads: "bptt", "tbptt" (which is `TBPTT(k1=20)`), "snap1:5".
    What `serialize` wrote is read as well.

    >>> get("tbptt").k2, get("tbptt:20,40").k2
    (20, 40)
    """
    if given is None:
        return BPTT()
    if isinstance(given, GradientAlgorithm):
        return given
    if isinstance(given, str):
        return parse(given)
    if isinstance(given, Mapping):
        if given.get("class_name") not in ALGORITHMS:
            raise unknown_name("gradient", given.get("class_name"), ALGORITHMS)
        return ALGORITHMS[given["class_name"]].from_config(given["config"])
    if isinstance(given, type) and issubclass(given, GradientAlgorithm):
        raise InputError(
            f"gradient is the class {given.__name__}; give an object: {given.__name__}(...)."
        )
    raise InputError(
        'gradient expected a name such as "bptt" or "tbptt:20" or an object of gatewise.gradients '
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
