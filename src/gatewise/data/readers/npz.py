"""Arrays from NumPy: `x` `(N, T, I)` or `(N, T)`, and if there are any `lengths` and `y`."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from gatewise.data.missing import handle_missing
from gatewise.data.readers.columns import Column
from gatewise.data.readers.labels import labels_of
from gatewise.data.readers.options import Options
from gatewise.data.series_data import Columns, SeriesData
from gatewise.errors import InputError


def read_npz(path: Path, options: Options) -> SeriesData:
    """Return the series of an .npz file; nothing in it is run (pickled objects are refused)."""
    arrays = _load(path)
    x = _x(path.name, arrays)
    lengths = _lengths(path.name, arrays, x)
    features = (
        ("value",) if x.shape[2] == 1 else tuple(f"channel {i + 1}" for i in range(x.shape[2]))
    )
    series, report = handle_missing(
        [x[row, :length] for row, length in enumerate(lengths)],
        features,
        options.missing,
        lambda row, step, channel: f"{path.name}, x[{row}, {step}, {channel}]",
    )
    horizon = options.horizon or 1 if options.forecasts else None
    labels = None
    if "y" in arrays and not options.forecasts:
        column, rows = _label_column(path.name, arrays["y"], lengths, x.shape[1])
        labels = labels_of(
            column, rows, options, lambda row: f"{path.name}, y, label {row}", _ids(len(x))
        )
    elif not (options.new or options.forecasts):
        raise InputError(
            f"{path.name} has no array y, the labels. It has: {', '.join(arrays)}. Add y, or give "
            "a horizon (--horizon) to forecast."
        )
    extra = [name for name in arrays if name not in ("x", "lengths", "y")]
    target = _targets(options, features) if options.forecasts else ("y",) if labels else ()
    return SeriesData(
        name=path.name,
        task="forecasting"
        if options.forecasts
        else labels.task
        if labels
        else options.task or "classification",
        x=series,
        y=labels.y if labels else None,
        ids=_ids(len(x)),
        features=features,
        columns=Columns(target=target),
        labels=labels.names if labels else (),
        horizon=horizon,
        window=options.window,
        missing=report,
        notes=(f"Arrays not used: {', '.join(extra)}.",) if extra else (),
    )


def _ids(count: int) -> list[str]:
    return [str(index) for index in range(count)]


def _targets(options: Options, features: tuple[str, ...]) -> tuple[str, ...]:
    for name in options.target:
        if name not in features:
            raise InputError(
                f"There is no channel {name!r} to forecast. Channels: {', '.join(features)}."
            )
    return options.target or features


def _load(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path.name} is no whole .npz file. Write it with numpy.savez(path, x=x, y=y)."
        )
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise InputError(
                f"{path.name} holds Python objects, which are not loaded since loading them runs "
                "code. Save plain arrays: pad series to one length and add lengths."
            ) from error
        raise _broken(path, error) from error
    except (
        OSError,
        EOFError,
        KeyError,
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        MemoryError,
        SyntaxError,
        TypeError,
        OverflowError,
        RuntimeError,
        UnicodeError,
    ) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: BaseException) -> InputError:
    return InputError(
        f"{path.name} cannot be read: {' '.join(str(error).split())[:200]}. Write it again with "
        "numpy.savez(path, x=x, y=y)."
    )


def _x(name: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    if "x" not in arrays:
        raise InputError(
            f"{name} has no array x, the series (N, T, I). It has: {', '.join(arrays) or 'none'}."
        )
    x = arrays["x"]
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiub":
        raise InputError(
            f"{name}: x holds {getattr(x, 'dtype', type(x))}, but only numbers are accepted."
        )
    if x.ndim not in (2, 3) or 0 in x.shape:
        raise InputError(
            f"{name}: x has shape {x.shape}, but series are (N, T, I) or (N, T), none of them 0. "
            "Transpose or reshape it."
        )
    x = x.astype(np.float64)
    return x[:, :, None] if x.ndim == 2 else x


def _lengths(name: str, arrays: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    count, steps = x.shape[:2]
    lengths = arrays.get("lengths")
    if lengths is None:
        return np.full(count, steps)
    if lengths.shape != (count,) or lengths.dtype.kind not in "iu":
        raise InputError(
            f"{name}: lengths has shape {lengths.shape} and type {lengths.dtype}, but x has "
            f"{count} series: give {count} whole numbers."
        )
    wrong = (lengths < 1) | (lengths > steps)
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"{name}: lengths[{row}] is {lengths[row]}, but x has {steps} steps: accepted are 1 "
            f"to {steps}. Remove series without steps."
        )
    return lengths.astype(np.int64)


def _label_column(
    name: str, y: np.ndarray, lengths: np.ndarray, steps: int
) -> tuple[Column, list[np.ndarray] | None]:
    """Return the labels as a column of texts, with the rows of each series if one a step."""
    count = len(lengths)
    if y.ndim == 2 and y.shape == (count, 1) and steps != 1:
        y = y[:, 0]
    if y.dtype.kind not in "fiubU" or y.shape not in ((count,), (count, steps)):
        raise InputError(
            f"{name}: y has shape {y.shape} and type {y.dtype}, but x has {count} series of up to "
            f"{steps} steps: y is ({count},), a label a series, or ({count}, {steps}), one a step. "
            "Labels are numbers or texts."
        )
    rows = None
    if y.ndim == 2:
        y = np.concatenate([labels[:length] for labels, length in zip(y, lengths, strict=True)])
        rows = np.split(np.arange(len(y)), np.cumsum(lengths)[:-1])
    if y.dtype.kind == "f" and np.array_equal(y, np.round(y)) and np.abs(y).max() < 2**53:
        y = y.astype(np.int64)  # so that the class of 3.0 is called 3
    names, codes = np.unique(y, return_inverse=True)
    return Column("y", codes=codes.astype(np.int64), names=tuple(str(one) for one in names)), rows
