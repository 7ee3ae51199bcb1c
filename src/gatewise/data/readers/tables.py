"""CSV and Parquet files, read piece by piece; what is too much for memory goes to a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from gatewise.data.readers import spool
from gatewise.data.readers.columns import Pieces, Table
from gatewise.data.readers.files import head_of_text, open_bytes, wrong_encoding
from gatewise.errors import InputError

_DELIMITERS = ",;\t|"
_ROWS = 65536  # of a piece of a Parquet file


def header_of(path: Path) -> list[str]:
    """Return the names of a table's columns; raise `InputError` for names that cannot be used."""
    if path.suffix.lower() == ".parquet":
        with _parquet(path) as file:
            names = list(file.schema_arrow.names)
    else:
        names = _csv_header(path)[0]
    _check_names(path, names)
    return names


def read_table(path: Path, names: Collection[str], texts: Collection[str]) -> Table:
    """Return the columns `names` of a table; those also in `texts` stay as they are written."""
    parquet = path.suffix.lower() == ".parquet"
    limit = spool.IN_MEMORY // max(len(names), 1)
    pieces = {name: Pieces(name, text=name in texts, limit=limit) for name in names}
    rows = 0
    for batch in _parquet_batches(path, names) if parquet else _csv_batches(path, names):
        rows += batch.num_rows
        for name, piece in pieces.items():
            piece.add(batch.column(name))

    def place(row: int) -> str:
        return f"row {row + 1}" if parquet else _line_of(path, row)

    if not rows:
        raise InputError(f"{path.name} has a header but no rows. Export it again.")
    columns = {}
    for name in names:
        piece = pieces.pop(name)  # and is freed as soon as the column is whole
        columns[name] = piece.column(
            lambda row, name=name: f"{path.name}, {place(row)}, column {name!r}"
        )
    return Table(path.name, columns, rows, place)


def _check_names(path: Path, names: list[str]) -> None:
    for at, name in enumerate(names):
        if not name.strip() or name == "__index_level_0__":
            raise InputError(
                f"{path.name}: column {at + 1} has no name; perhaps it is an index. Name it or "
                "remove it (pandas: index=False when saving)."
            )
        if name in names[:at]:
            raise InputError(
                f"{path.name}: the column name {name!r} occurs twice. Rename one of the two."
            )


def _csv_header(path: Path) -> tuple[list[str], str]:
    """Return the column names and the delimiter."""
    head = head_of_text(path)
    first = next((line for line in head.splitlines() if line.strip()), "")
    if not first:
        raise InputError(f"{path.name} holds only blank lines. The first line names the columns.")
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        names = next(csv.reader([first], delimiter=delimiter))
    except csv.Error as error:
        raise InputError(f"{path.name}: the first line cannot be read: {error}.") from error
    return names, delimiter


def _csv_batches(path: Path, names: Collection[str]) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import csv as arrow

    header, delimiter = _csv_header(path)
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            reader = arrow.open_csv(
                stream,
                read_options=arrow.ReadOptions(use_threads=False),
                parse_options=arrow.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=arrow.ConvertOptions(
                    # All as text at first: guessed types would depend on where a piece ends.
                    column_types={name: pa.string() for name in header},
                    include_columns=list(names),
                ),
            )
            yield from reader
    except UnicodeDecodeError:
        raise wrong_encoding(path) from None
    except (pa.ArrowException, OSError, KeyError) as error:
        raise _csv_error(path, delimiter, len(header), error) from error


def _csv_error(path: Path, delimiter: str, width: int, error: Exception) -> InputError:
    """Return what is wrong with a CSV file, with the line if it can be found."""
    if isinstance(error, MemoryError):
        raise error
    text = " ".join(str(error).split())
    if "UTF8" in text:
        return wrong_encoding(path)
    for row, (line, fields) in enumerate(_records(path, delimiter)):
        if len(fields) != width:
            return InputError(
                f"{path.name}, line {line}: {len(fields)} fields, but the header names {width}. "
                "Correct the line; perhaps the file was cut off or a quotation mark is not closed."
                if row
                else f"{path.name}: the header cannot be read. {text}."
            )
    return InputError(f"{path.name} is no readable table: {text[:200]}. Export it again.")


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the last line and the fields of each record, the header first."""
    with open_bytes(path) as file:
        lines = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")
        reader = csv.reader(lines, delimiter=delimiter)
        try:
            for fields in reader:
                if fields:
                    yield reader.line_num, fields
        except csv.Error:
            return


def _line_of(path: Path, row: int) -> str:
    delimiter = _csv_header(path)[1]
    for index, (line, _) in enumerate(_records(path, delimiter)):
        if index == row + 1:
            return f"line {line}"
    return f"row {row + 1}"


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        return parquet.ParquetFile(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _parquet_error(path, error) from error


def _parquet_error(path: Path, error: Exception) -> InputError:
    if isinstance(error, MemoryError):
        raise error
    return InputError(
        f"{path.name} is no whole Parquet file: {' '.join(str(error).split())[:200]}. "
        "Write or download it again."
    )


def _parquet_batches(path: Path, names: Collection[str]) -> Iterator[Any]:
    import pyarrow as pa

    with _parquet(path) as file:
        for name in names:
            _check_type(path, name, file.schema_arrow.field(name).type)
        try:
            for batch in file.iter_batches(batch_size=_ROWS, columns=list(names)):
                yield pa.RecordBatch.from_arrays(
                    [_plain(batch.column(name)) for name in names], names=list(names)
                )
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _parquet_error(path, error) from error


def _check_type(path: Path, name: str, kind: Any) -> None:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    text = types.is_string(kind) or types.is_large_string(kind)
    other = types.is_boolean(kind) or types.is_timestamp(kind) or types.is_date(kind)
    if not (numeric or text or other or types.is_null(kind)):
        raise InputError(
            f"{path.name}, column {name!r}: values of type {kind}. Accepted are numbers, texts, "
            "true and false, and, for the time, dates."
        )


def _plain(array: Any) -> Any:
    """Return a column as strings, numbers, or microseconds."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    array.validate(full=True)  # a file may claim that any bytes are UTF-8
    if types.is_large_string(array.type) or types.is_null(array.type):
        return array.cast(pa.string())
    if types.is_timestamp(array.type) or types.is_date(array.type):
        return array.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    return array
