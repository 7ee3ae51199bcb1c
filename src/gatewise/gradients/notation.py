"""Algorithms in a word, for the command line and wherever a name is easier: "tbptt:20,40"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gatewise.errors import InputError, unknown_name
from gatewise.gradients.artbp import ARTBP
from gatewise.gradients.bptt import BPTT
from gatewise.gradients.contract import GradientAlgorithm
from gatewise.gradients.eprop import EProp
from gatewise.gradients.rtrl import RTRL
from gatewise.gradients.snap import SnAp1
from gatewise.gradients.tbptt import TBPTT


class _Form(NamedTuple):
    """How an algorithm is written: its arguments in their order, and the values if none is."""

    make: Callable[..., GradientAlgorithm]
    shown: str
    arguments: Mapping[str, Callable[[str], Any]]
    alone: tuple[Any, ...] | None = ()


def _or_word(word: str) -> Callable[[str], Any]:
    """Read this word, or a whole number."""
    return lambda text: text if text == word else int(text)


_EVERY = {"every": int}
FORMS = {
    "bptt": _Form(BPTT, "bptt, bptt:sqrt or bptt:STATES", {"checkpoint": _or_word("sqrt")}),
    "tbptt": _Form(
        TBPTT,
        "tbptt:K1 or tbptt:K1,K2 (K2 may be auto)",
        {"k1": int, "k2": _or_word("auto")},
        (20,),
    ),
    "artbp": _Form(
        ARTBP, "artbp:MEAN_LENGTH, such as artbp:20", {"mean_length": float, "alpha": float}, None
    ),
    "rtrl": _Form(RTRL, "rtrl or rtrl:EVERY", _EVERY),
    "snap1": _Form(SnAp1, "snap1 or snap1:EVERY", _EVERY),
    "eprop": _Form(EProp, "eprop or eprop:EVERY", _EVERY),
}


def parse(text: str) -> GradientAlgorithm:
    """Return the algorithm that is written as a name, a colon and its arguments.

    bptt, bptt:sqrt, bptt:STATES, tbptt:K1, tbptt:K1,K2, artbp:MEAN_LENGTH, rtrl:EVERY, snap1:EVERY,
    eprop:EVERY; where there may be no argument, "tbptt" is TBPTT(20) and EVERY is 1.

    >>> parse("tbptt:20,40") == TBPTT(20, 40), parse("snap1")
    (True, SnAp1(every=1))
    """
    name, colon, rest = text.partition(":")
    known = name.strip().lower().replace("-", "").replace("_", "")
    if known not in FORMS:
        raise unknown_name("gradient", name, FORMS)
    form = FORMS[known]
    given = [part.strip() for part in rest.split(",")] if colon else []
    if not given:
        if form.alone is None:
            raise InputError(f"The gradient {text!r} lacks an argument. Write {form.shown}.")
        return form.make(*form.alone)
    if len(given) > len(form.arguments):
        raise InputError(
            f"The gradient {text!r} has {len(given)} arguments, and {known} takes at most "
            f"{len(form.arguments)}. Write {form.shown}."
        )
    values = []
    for part, (argument, read) in zip(given, form.arguments.items(), strict=False):
        try:
            values.append(read(part))
        except ValueError as error:
            raise InputError(
                f"The gradient {text!r} has {part!r} as its {argument}, which is no number of that "
                f"kind. Write {form.shown}."
            ) from error
    return form.make(*values)


def write(algorithm: GradientAlgorithm) -> str:
    """Return an algorithm as `parse` reads it, as short as can be; of other classes the name.

    >>> write(TBPTT(20)), write(TBPTT(20, "auto")), write(SnAp1())
    ('tbptt:20', 'tbptt:20,auto', 'snap1')
    """
    known = algorithm.name.lower()
    if known not in FORMS or FORMS[known].make is not type(algorithm):
        return algorithm.name
    values = [str(_plain(getattr(algorithm, name))) for name in FORMS[known].arguments]
    # TBPTT(20) must not be left to the default of "tbptt", which may change.
    texts = [known] if known not in ("tbptt", "artbp") else []
    texts += [f"{known}:{','.join(values[:count])}" for count in range(1, len(values) + 1)]
    return next(text for text in texts if parse(text) == algorithm)


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
