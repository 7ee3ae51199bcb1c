"""A first look at a file: is it there, is it what its name says, can it be decoded?"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatewise.errors import InputError

_HEAD = 65536
_SIGNATURES = {
    b"PAR1": "a Parquet file: give it the ending .parquet",
    b"PK\x03\x04": "a zip archive or a spreadsheet: save it as CSV (or as .npz, if it is one)",
    b"\x1f\x8b": "compressed by gzip: give it the ending .gz",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet: save it as CSV",
    b"\x89HDF": "an HDF5 file: save it as Parquet, CSV or .npz",
    b"\xff\xfe": "text in UTF-16: save it in UTF-8",
    b"\xfe\xff": "text in UTF-16: save it in UTF-8",
}


def check_file(path: Path) -> None:
    """Raise `InputError` for a path that is missing, a folder, or empty."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder. Give a file in it.")
        size = path.stat().st_size
    except FileNotFoundError:
        raise InputError(f"{path} does not exist. Check the path.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be opened: {error}.") from error
    if size == 0:
        raise InputError(f"{path} is empty: 0 bytes. Export it again.")


@contextmanager
def open_bytes(path: Path) -> Iterator[gzip.GzipFile]:
    """Open a file for reading, unpacked if its name ends in .gz, with errors that name it."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rb") as file:
            yield file  # type: ignore[misc]
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{path.name} is not a whole gzip file: {error}. Compress or download it again."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}.") from error


def head_of_text(path: Path) -> str:
    """Return the beginning of a text file; raise `InputError` if it is no text in UTF-8."""
    with open_bytes(path) as file:
        head = file.read(_HEAD)
    for signature, verdict in _SIGNATURES.items():
        if head.startswith(signature):
            raise InputError(f"{path.name} is {verdict}.")
    if b"\x00" in head:
        raise InputError(
            f"{path.name} is not a text file: byte {head.index(0)} is NUL. "
            "Accepted are text tables in UTF-8, .parquet, .ts and .npz."
        )
    cut = head if len(head) < _HEAD else head[: head.rfind(b"\n") + 1] or head[:-4]
    try:
        return cut.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise wrong_encoding(path) from None


def wrong_encoding(path: Path) -> InputError:
    """Return the error that names the first line that is not UTF-8."""
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                wrong = line[error.start]
                return InputError(
                    f"{path.name}, line {number}: the byte 0x{wrong:02x} is not UTF-8. Save the "
                    f"file in UTF-8, e.g. iconv -f latin1 -t utf-8 {path.name}."
                )
    return InputError(f"{path.name} is not UTF-8. Save the file in UTF-8.")
