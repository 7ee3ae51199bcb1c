"""The folder of one run: `model.safetensors`, `history.csv` and `run.toml`, which repeats it."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatewise.errors import InputError

MODEL = "model.safetensors"
HISTORY = "history.csv"
RUN = "run.toml"
BACKUP = "backup.safetensors"  # while the run lasts, or after it was stopped

Tables = Mapping[str, Mapping[str, Any]]


def choose_folder(out: Path | None, stem: str) -> Path:
    """Return `out`, which must be new or empty, or a free name after the data.

    Raises `InputError` for a folder that holds something and for a file in its place.
    """
    if out is None:
        out = Path(f"{stem}-run")
        number = 1
        while out.exists() and _is_taken(out):
            number += 1
            out = Path(f"{stem}-run-{number}")
    elif out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file. Name a folder; it is made if it is missing.")
    elif out.exists() and _is_taken(out):
        raise InputError(
            f"--out {out} is not empty (it holds {next(iter(out.iterdir())).name}). Name a new "
            "folder, or empty this one: nothing is overwritten."
        )
    return out


def _is_taken(path: Path) -> bool:
    return not path.is_dir() or any(path.iterdir())


def require_unfinished(folder: Path) -> None:
    """Raise `InputError` unless the folder holds a run that was stopped before its end."""
    if not (folder / RUN).is_file():
        raise InputError(f"--resume {folder}: there is no {RUN}. Give the folder of a run.")
    if (folder / MODEL).exists() and not (folder / BACKUP).exists():
        raise InputError(
            f"--resume {folder}: this run is complete. To do it again: gatewise train --repeat "
            f"{folder / RUN}."
        )


def write_run(path: Path, tables: Tables) -> None:
    """Write tables of text, numbers, truth values and lists of these as TOML; None is left out."""
    lines: list[str] = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {_toml(value)}" for key, value in table.items() if value is not None]
        lines.append("")
    path.write_text("\n".join(lines), encoding="utf-8")


def read_run(path: Path) -> dict[str, dict[str, Any]]:
    """Return the tables of a `run.toml`, or raise `InputError` that says what is wrong with it."""
    if path.is_dir():
        path = path / RUN
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist. Give a run.toml of a run.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is no run.toml: {error}. Give the file that `gatewise train` wrote."
        ) from error
    wanted = {"data", "settings", "run"}
    if not wanted <= found.keys() or not all(isinstance(found[name], dict) for name in wanted):
        raise InputError(
            f"{path} is no run.toml: it lacks {', '.join(sorted(wanted - found.keys()))}. "
            "Give the file that `gatewise train` wrote."
        )
    return found


def write_history(path: Path, history: Mapping[str, list[float]]) -> None:
    """Write a row an epoch: its number from 1 and every loss and metric in full precision."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", *history])
        for epoch, values in enumerate(zip(*history.values(), strict=True), start=1):
            writer.writerow([epoch, *map(repr, values)])


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's contents, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _toml(value: Any) -> str:
    """Return one value as TOML writes it.

    >>> _toml('a "b"'), _toml(True), _toml([1, 2.0]), _toml(1e-5)
    ('"a \\\\"b\\\\""', 'true', '[1, 2.0]', '1e-05')
    """
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for one character that JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else f"{'-' * (value < 0)}inf"
    return json.dumps(value)
