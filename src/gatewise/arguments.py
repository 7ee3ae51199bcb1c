"""A constructor's arguments: an error for one that does not exist, with the nearest that does."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from gatewise.errors import UnknownArgumentError


class KnownArguments:
    """The base of what is constructed with Keras's arguments: an unknown one is named, with a cure.

    >>> class Scheme(KnownArguments):
    ...     def __init__(self, rate=0.1): ...
    >>> Scheme(rates=0.2)
    Traceback (most recent call last):
    gatewise.errors.UnknownArgumentError: Scheme has no argument 'rates'. Did you mean 'rate'? It \
takes rate.
    """

    argument_cures: ClassVar[Mapping[str, str]] = {}
    """What serves in place of arguments that Keras has."""

    def __new__(cls, *arguments: Any, **keywords: Any) -> Self:
        """Refuse unknown arguments with a message that says what there is."""
        check_keywords(cls, keywords, cls.argument_cures)
        return super().__new__(cls)


def check_keywords(cls: type, keywords: Mapping[str, Any], cures: Mapping[str, str]) -> None:
    """Raise `UnknownArgumentError` for a keyword that the constructor of `cls` does not take."""
    if not keywords:
        return
    accepted, open_ended = accepted_keywords(cls)
    if open_ended or keywords.keys() <= accepted:
        return
    name = next(key for key in keywords if key not in accepted)
    known = sorted(accepted)
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    if name in cures:
        hint = f" {cures[name]}"
    raise UnknownArgumentError(
        f"{cls.__name__} has no argument {name!r}.{hint} It takes {', '.join(known)}."
    )


def accepted_keywords(cls: type) -> tuple[frozenset[str], bool]:
    """Return the names of a constructor's arguments, and whether it takes any others."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    open_ended = any(one.kind is one.VAR_KEYWORD for one in parameters)
    return frozenset(one.name for one in parameters), open_ended
