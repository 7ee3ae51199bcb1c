"""Broken files: nothing but a `GatewiseError` may come out of the readers and what follows them."""

from __future__ import annotations

import gzip
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from gatewise.data import SeriesPreprocessor, baselines, prepare, read, read_like, score, split
from gatewise.errors import GatewiseError

_NUMBERS = [b"nan", b"inf", b"-1e308", b"1e309", b"1,5", b"9" * 40, b"2024-02-30"]
_SIGNS = [b"", b"x", b"NA", b"?", b":", b",", b'"', b"\n", b"\r", b"train", b"@data\n"]
_CELLS = [*_NUMBERS, *_SIGNS, b"\xff", b"\x00", b"\xc3"]


def _long_table() -> bytes:
    rows = ["id,when,a,b,kind,label,part"]
    for series in range(8):
        part = ("train", "train", "validation", "test")[series // 2]
        for step in range(4):
            kind = "up" if (series + step) % 3 else "down"
            rows.append(f"s{series},{step},{step * 0.5},{-series},{kind},c{series % 2},{part}")
    return "\n".join(rows).encode() + b"\n"


def _text_table() -> bytes:
    rows = [f'"some text, no {i}",{"ab"[i % 2]}' for i in range(12)]
    return ("text,label\n" + "\n".join(rows)).encode()


def _ts() -> bytes:
    header = "@problemName p\n@timeStamps false\n@classLabel true a b\n@data\n"
    rows = [f"1,2.5,{i}:0,3,{i}:{'ab'[i % 2]}" for i in range(8)]
    return (header + "\n".join(rows)).encode()


def _stamped_ts() -> bytes:
    header = "@timeStamps true\n@classLabel true a b\n@data\n"
    rows = [f"(0,1),(2024-01-01 10:00:00,{i}):(0,3),(2024-01-01 10:00:00,?):{'ab'[i % 2]}"
            for i in range(8)]  # fmt: skip
    return (header + "\n".join(rows)).encode()


def _npz() -> bytes:
    file = io.BytesIO()
    x = np.arange(80, dtype=np.float32).reshape(8, 5, 2)
    np.savez(file, x=x, lengths=np.array([5, 4, 3, 2, 1, 5, 5, 5]), y=np.arange(8) % 2)
    return file.getvalue()


def _parquet() -> bytes:
    file = io.BytesIO()
    pa.parquet.write_table(pa.csv.read_csv(io.BytesIO(_long_table())), file)
    return file.getvalue()


def _forecast_table() -> bytes:
    rows = [f"2024-{1 + i // 28:02d}-{1 + i % 28:02d},{(i * 7) % 12},{i}" for i in range(50)]
    return ("day,level,other\n" + "\n".join(rows)).encode()


FILES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "long.csv": (_long_table(), {"series": "id", "time": "when", "missing": "mask"}),
    "long.parquet": (_parquet(), {"series": "id", "time": "when", "missing": "forward-fill"}),
    "long.csv.gz": (gzip.compress(_long_table(), mtime=0), {"series": "id", "time": "when"}),
    "text.csv": (_text_table(), {"unit": "character"}),
    "series.ts": (_ts(), {}),
    "stamped.ts": (_stamped_ts(), {"missing": "mask"}),
    "arrays.npz": (_npz(), {}),
    "tags.csv": (_long_table(), {"series": "id", "target": "kind", "part": "part"}),
    "numbers.csv": (_long_table(), {"series": "id", "target": "b", "missing": "mask"}),
    "level.csv": (_forecast_table(), {"time": "day", "horizon": 2, "missing": "mask"}),
}


def _mutated(content: bytes, chance: random.Random) -> bytes:
    """Return the content with one to three things wrong with it."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(content) + 1)
        kinds: list[Callable[[], bytes]] = [
            lambda at=at, content=content: content[:at],
            lambda at=at, content=content: content[at:],
            lambda at=at, content=content: (
                content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :]
            ),
            lambda at=at, content=content: (
                content[:at] + chance.choice(_CELLS) + content[at + chance.randint(0, 6) :]
            ),
            lambda content=content: b"\n".join(_shuffled(content.split(b"\n"), chance)),
            lambda content=content: _with_other_cell(content, chance),
        ]
        # The first two destroy most: they come less often.
        content = chance.choices(kinds, weights=[1, 1, 3, 5, 2, 8])[0]()
    return content


def _shuffled(lines: list[bytes], chance: random.Random) -> list[bytes]:
    at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[at] = lines[other]
    return lines


def _with_other_cell(content: bytes, chance: random.Random) -> bytes:
    lines = content.split(b"\n")
    at = chance.randrange(len(lines))
    cells = lines[at].split(b",")
    cells[chance.randrange(len(cells))] = chance.choice(_CELLS)
    lines[at] = b",".join(cells)
    return b"\n".join(lines)


def _use(path: Path, options: dict[str, Any]) -> str | None:
    """Do with the file all that training would; return why it was refused, if it was."""
    try:
        data = read(path, **options)
        data.describe()
        parts = split(data, seed=1)
        preprocessor = prepare(parts.train)
        for part in (parts.train, parts.validation):
            preprocessor(part)
            preprocessor.targets(part)
        answers = baselines(parts.train, parts.validation)
        for answer in answers.values():
            score(parts.validation, answer)
        preprocessor(read_like(path, preprocessor))
    except GatewiseError as error:
        return str(error)
    return None


def _predict(path: Path, trained: SeriesPreprocessor) -> str | None:
    """Do with the file what prediction and evaluation would; return why it was refused."""
    try:
        data = read_like(path, trained)
        trained(data)
        if data.y is not None:
            trained.targets(data)
    except GatewiseError as error:
        return str(error)
    return None


def _fuzz(tmp_path: Path, name: str, seeds: range) -> None:
    content, options = FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    assert _use(path, options) is None
    trained = prepare(split(read(path, **options)).train)
    refused = 0
    for seed in seeds:
        path.write_bytes(_mutated(content, random.Random(f"{name} {seed}")))
        try:
            reason = _use(path, options)
            new_reason = _predict(path, trained)
        except Exception as error:
            raise AssertionError(f"{name}, seed {seed}: {error!r}") from error
        for text in (reason, new_reason):
            fit_to_print = text is None or (len(text) > 20 and "\n" not in text)
            assert fit_to_print, f"{name}, seed {seed}: {text!r}"
        refused += reason is not None
    assert refused


@pytest.mark.parametrize("name", FILES)
def test_broken_files_give_our_errors_alone(tmp_path, name):
    _fuzz(tmp_path, name, range(50))


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_many_broken_files_give_our_errors_alone(tmp_path, name):
    _fuzz(tmp_path, name, range(1000, 1300))
