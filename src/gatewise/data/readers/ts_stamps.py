"""Series with time stamps in a .ts file: `(stamp,value),(stamp,value):…:label`."""

from __future__ import annotations

import re

import numpy as np

from gatewise.data.readers.columns import is_number
from gatewise.data.readers.times import seconds
from gatewise.errors import InputError

_PAIR = re.compile(r"\s*\(([^()]*),([^(),]*)\)\s*(?:,|$)")
_BETWEEN_CHANNELS = re.compile(r":(?![^()]*\))")  # a stamp such as 23:59:59 has colons of its own


def split_channels(line: str) -> list[str]:
    """Return what colons outside of parentheses separate.

    >>> split_channels("(2024-01-01 10:00:00,1),(2024-01-01 11:00:00,2):a")
    ['(2024-01-01 10:00:00,1),(2024-01-01 11:00:00,2)', 'a']
    """
    return _BETWEEN_CHANNELS.split(line)


def stamped_values(text: str, place: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the times and the values of one channel, in the order of time.

    Raises `InputError` for what is no pair, no time or no number, and for a time that occurs twice.

    >>> stamped_values("(1,2.5),(0,?)", "a.ts, line 9")
    (array([0., 1.]), array([nan, 2.5]))
    """
    times, values, at = [], [], 0
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is None:
            raise InputError(
                f"{place}, step {len(times) + 1}: {text[at : at + 40]!r} does not begin with a "
                "pair (time,value). With @timeStamps true, each step is one."
            )
        time, value = seconds(pair[1].strip()), pair[2].strip()
        if not np.isfinite(time):
            raise InputError(
                f"{place}, step {len(times) + 1}: {pair[1][:40]!r} is not a time. Accepted are "
                "numbers and dates such as 2024-03-31 23:59:59."
            )
        if not is_number(value) and value not in ("?", "NaN", "nan"):
            raise InputError(
                f"{place}, step {len(times) + 1}: {value[:40]!r} is not a number. Accepted are "
                "numbers, and '?' for a missing value."
            )
        times.append(time)
        values.append(float(value) if is_number(value) else np.nan)
        at = pair.end()
    if not times:
        raise InputError(f"{place}: a series of length 0. Remove the line.")
    order = np.argsort(times, kind="stable")
    ordered = np.array(times)[order]
    if (np.diff(ordered) == 0).any():
        twice = ordered[int((np.diff(ordered) == 0).argmax())]
        raise InputError(f"{place}: the time {twice:g} occurs twice. Remove one of the two.")
    return ordered, np.array(values)[order]
