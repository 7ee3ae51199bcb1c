"""Laying out plain text: columns, wrapped sentences, numbers, shapes and sizes."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

WIDTH = 80
_BLOCKS = "▁▂▃▄▅▆▇█"


def cell_width(text: str) -> int:
    """Return how many character cells a text takes in a terminal.

    >>> cell_width("gate"), cell_width("層")
    (4, 2)
    """
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def columns(rows: Sequence[Sequence[str]], right: str = "", indent: int = 2) -> list[str]:
    """Return rows as aligned lines; an "r" in ``right`` aligns the column of its place right."""
    widths = [max(map(cell_width, column)) for column in zip_longest(*rows, fillvalue="")]
    lines = []
    for row in rows:
        cells = []
        for position, cell in enumerate(row):
            space = " " * (widths[position] - cell_width(cell))
            to_right = right[position : position + 1] == "r"
            cells.append(space + cell if to_right else cell + space)
        lines.append((" " * indent + "  ".join(cells)).rstrip())
    return lines


def paragraph(text: str, first: str = "", rest: str | None = None) -> list[str]:
    """Return a sentence wrapped to the width, after ``first``, further lines after ``rest``."""
    rest = " " * cell_width(first) if rest is None else rest
    lines, line = [], first
    for word in text.split():
        space = "" if line in (first, rest) else " "
        if space and cell_width(line) + 1 + cell_width(word) > WIDTH:
            lines.append(line)
            line, space = rest, ""
        line += space + shortened(word, WIDTH - cell_width(rest))
    return [*lines, line]


def shortened(text: str, width: int) -> str:
    """Return text cut to a width, with an ellipsis where something is missing.

    >>> shortened("bidirectional", 6)
    'bidir…'
    """
    if cell_width(text) <= width:
        return text
    while cell_width(text) >= width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def joined(items: Sequence[str]) -> str:
    """Return names as a sentence lists them.

    >>> joined(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(part for part in (", ".join(items[:-1]), *items[-1:]) if part)


def number(value: float) -> str:
    """Return a measured number in few characters.

    >>> [number(value) for value in (0.0, 0.000123, 0.5, 117.25, float("inf"))]
    ['0', '1.2e-04', '0.5', '117', 'inf']
    """
    if value == 0:
        return "0"
    if 0.01 <= abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:.1e}" if abs(value) != float("inf") else "inf"


def shape_text(shape: Sequence[int | None]) -> str:
    """Return a weight's shape as a product.

    >>> shape_text((100, 128))
    '100×128'
    """
    return "×".join(str(size) for size in shape)


def size_text(size: float) -> str:
    """Return a number of bytes in the unit that suits it.

    >>> size_text(469_508)
    '458.50 KB'
    """
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} PB"


def bar(values: np.ndarray, width: int) -> str:
    """Return one character a value, its height the value; several values share one if they must.

    A character shows the largest value it stands for: `·` is exactly zero, and the highest is █.

    >>> bar(np.array([0.0, 1e-9, 0.5, 1.0]), 10)
    '·▁▄█'
    """
    groups = np.array_split(values, min(width, len(values)))
    heights = np.array([group.max() for group in groups])
    top = heights.max()
    return "".join(
        "·" if height == 0 else _BLOCKS[max(0, int(np.ceil(height / top * 8)) - 1)]
        for height in heights
    )
