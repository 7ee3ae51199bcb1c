"""What can go wrong, by kind: one base error and few subclasses.

Every message says what was wrong, what was received, what is accepted and how to mend it.
"""

from __future__ import annotations

import difflib
import dis
import sys
from collections.abc import Iterable, Mapping
from types import FrameType


class GatewiseError(Exception):
    """The base of every error that gatewise raises on purpose."""


class InputError(GatewiseError, ValueError):
    """Data or an argument has the wrong shape, type or value."""


class UnknownNameError(GatewiseError, ValueError):
    """A name (of a loss, an optimizer, a layer …) that gatewise does not know."""


class UnknownArgumentError(GatewiseError, TypeError):
    """A constructor was given an argument that it does not have."""


class UnsupportedError(GatewiseError, NotImplementedError):
    """A combination that cannot be honoured; the message names the alternative."""


class NonFiniteError(GatewiseError, ArithmeticError):
    """NaN or infinity where a finite number is needed."""


class ModelFileError(GatewiseError):
    """A model file that is corrupted, truncated, foreign or does not fit."""


class FallbackWarning(UserWarning):
    """Something slower than what was possible runs; the message says why and gives the cure."""


class TruncationWarning(UserWarning):
    """A truncated gradient loses much of what the exact one holds; the message says how much."""


def unknown_name(what: str, given: object, choices: Iterable[str]) -> UnknownNameError:
    """Return the error for an unknown name, with the nearest known one suggested.

    >>> print(unknown_name("loss", "crosentropy", ["mse", "crossentropy"]))
    Unknown loss 'crosentropy'. Did you mean 'crossentropy'? Known: crossentropy, mse.
    """
    known = sorted(choices)
    by_lower = {name.lower(): name for name in known}
    nearest = difflib.get_close_matches(str(given).lower(), by_lower, n=1)
    hint = f" Did you mean {by_lower[nearest[0]]!r}?" if nearest else ""
    return UnknownNameError(f"Unknown {what} {given!r}.{hint} Known: {', '.join(known)}.")


def missing(
    module: str, name: str, choices: Iterable[str], instead: Mapping[str, str] | None = None
) -> AttributeError | ImportError:
    """Return the error for a name that a module does not have, with the nearest ones it has.

    `instead` says for known names what serves in their place. For a module's `__getattr__` alone:
    in `from module import name` an ImportError is due, for there Python drops the message of an
    AttributeError.

    >>> print(missing("gatewise.layers", "Conv2D", ["Conv1D", "LSTM"]))
    gatewise.layers has no 'Conv2D'. The nearest is Conv1D. There are: Conv1D, LSTM.
    >>> print(missing("gatewise", "ops", ["layers"], {"ops": "Use torch."}))
    gatewise has no 'ops'. Use torch. There are: layers.
    """
    known = sorted(choices)
    if name.startswith("_"):
        return AttributeError(f"module {module!r} has no attribute {name!r}")
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" The nearest is {nearest[0]}." if nearest else ""
    if instead and name in instead:
        hint = f" {instead[name]}"
    kind = ImportError if _is_import_from(sys._getframe(2)) else AttributeError
    return kind(f"{module} has no {name!r}.{hint} There are: {', '.join(known)}.")


def _is_import_from(frame: FrameType) -> bool:
    """Return whether a frame stands at `from … import …`."""
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] == "IMPORT_FROM"
