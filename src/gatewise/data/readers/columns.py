"""Columns of a table, put together from pieces: numbers, or texts as codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gatewise.data.readers.spool import IN_MEMORY, NumberSpool
from gatewise.errors import InputError

GAPS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")


@dataclass(frozen=True)
class Column:
    """A column: `numbers` with NaN in its gaps, or `codes` into `names` with -1 in its gaps."""

    name: str
    numbers: np.ndarray | None = field(default=None, repr=False)
    codes: np.ndarray | None = field(default=None, repr=False)
    names: tuple[str, ...] = ()

    def values(self) -> np.ndarray:
        """Return numbers, or codes as numbers, with NaN in the gaps: float64 `(rows,)`."""
        if self.numbers is not None:
            return self.numbers
        assert self.codes is not None
        return np.where(self.codes < 0, np.nan, self.codes).astype(np.float64)


@dataclass(frozen=True)
class Table:
    """A table in memory, with a way to say where a row stands in its file."""

    name: str
    columns: dict[str, Column] = field(repr=False)
    rows: int
    place: Callable[[int], str] = field(repr=False)

    def where(self, row: int, column: str) -> str:
        """Return the words for a cell: file, line and column."""
        return f"{self.name}, {self.place(row)}, column {column!r}"


class Pieces:
    """The pieces of one column, in order. With `text` even numbers stay as they are written.

    Numbers beyond `limit` bytes lie in a file.
    """

    def __init__(self, name: str, *, text: bool, limit: int = IN_MEMORY) -> None:
        self.name = name
        self._text = text
        self._spool = NumberSpool(limit)
        self._pieces: list[slice | np.ndarray] = []  # of numbers, or the codes of texts
        self._ids: dict[str, int] = {}

    def add(self, piece: Any) -> None:
        """Take the next piece, a pyarrow array of strings or numbers."""
        import pyarrow as pa
        import pyarrow.compute as compute

        if not pa.types.is_string(piece.type):
            if not self._text:
                numbers = np.asarray(piece.cast(pa.float64()).to_numpy(zero_copy_only=False))
                self._pieces.append(self._spool.add(numbers))
                return
            piece = piece.cast(pa.string())
        piece = compute.utf8_trim_whitespace(piece)  # type: ignore[attr-defined]
        values = pa.array(("",) if self._text else GAPS)
        gaps = compute.is_in(piece, value_set=values)  # type: ignore[attr-defined]
        piece = compute.if_else(gaps, pa.scalar(None, pa.string()), piece)  # type: ignore[attr-defined]
        if not self._text:
            try:
                numbers = piece.cast(pa.float64()).to_numpy(zero_copy_only=False)
                self._pieces.append(self._spool.add(np.asarray(numbers)))
                return
            except pa.ArrowInvalid:
                pass  # there is a text in it: whether it belongs there is decided at the end
        self._pieces.append(self._encode(piece))

    def _encode(self, piece: Any) -> np.ndarray:
        encoded = piece.dictionary_encode()
        known = [self._ids.setdefault(name, len(self._ids)) for name in encoded.dictionary.tolist()]
        table = np.array([*known, -1], dtype=np.int32)
        return table[encoded.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)]

    def _encode_numbers(self, values: np.ndarray) -> np.ndarray:
        """Return the codes of a piece that held numbers alone, in a column of categories."""
        found, at = np.unique(values, return_inverse=True)
        known = [
            -1 if np.isnan(one) else self._ids.setdefault(f"{one:.15g}", len(self._ids))
            for one in found
        ]
        return np.array(known, dtype=np.int32)[at]

    def column(self, where: Callable[[int], str]) -> Column:
        """Return the whole column; `where` names the place of a row for an error."""
        numbers = self._spool.array()
        if all(isinstance(piece, slice) for piece in self._pieces):
            return Column(self.name, numbers=numbers)
        if not self._text:
            self._refuse_a_stray_text(numbers, where)
        codes = [
            self._encode_numbers(numbers[piece]) if isinstance(piece, slice) else piece
            for piece in self._pieces
        ]
        return Column(self.name, codes=np.concatenate(codes), names=tuple(self._ids))

    def _refuse_a_stray_text(self, numbers: np.ndarray, where: Callable[[int], str]) -> None:
        """Raise for a column of mostly numbers: a text in it is a mistake and no category."""
        names = list(self._ids)
        numeric = np.array([is_number(name) for name in names], dtype=bool)
        cells = texts = start = 0
        stray: tuple[int, str] | None = None
        for piece in self._pieces:
            if isinstance(piece, slice):
                cells += int((~np.isnan(numbers[piece])).sum())
                start += piece.stop - piece.start
                continue
            known = piece >= 0
            wrong = np.zeros(len(piece), dtype=bool)
            wrong[known] = ~numeric[piece[known]]
            texts += int(wrong.sum())
            cells += int(known.sum())
            if stray is None and wrong.any():
                at = int(wrong.argmax())
                stray = (start + at, names[piece[at]])
            start += len(piece)
        if stray is None or texts * 2 > cells:
            return
        row, text = stray
        comma = is_number(text.replace(",", ".", 1))
        cure = "Write it with a decimal point." if comma else "Correct it, or leave the cell empty."
        raise InputError(
            f"{where(row)}: {text!r} is a text in a column of numbers. {cure} "
            f"{texts} of its {cells} cells are texts; a column of categories holds texts only."
        )


def is_number(text: str) -> bool:
    """Return whether a text reads as one number, as tables write them.

    >>> is_number("-1.5e3"), is_number("1,5"), is_number("1_000")
    (True, False, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text and text.isascii()
