"""The choice of a batch source for what the user passed, with every check that can come early."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from gatewise.arrays import numbers, real
from gatewise.data import Stream, check_series, pad_tensors
from gatewise.errors import InputError, UnsupportedError
from gatewise.training.batches import Arrays, Batch, Loaded, Repeated, Series, labels_of, like
from gatewise.training.several import Several
from gatewise.training.streams import streamed
from gatewise.training.trainable import Trainable

Source = Arrays | Series | Loaded


@dataclass(frozen=True)
class Data:
    """What the user passed, as it came."""

    x: Any
    y: Any = None
    sample_weight: Any = None
    mask: Any = None
    class_weight: Mapping[int, float] | None = None


def source_of(
    model: Trainable,
    data: Data,
    *,
    labels: bool,
    batch_size: int | None = None,
    steps: int | None = None,
    shuffle: bool = False,
) -> Source:
    """Return the batches of the data, and build the model for them if it is not built yet."""
    if data.x is None:
        raise InputError("There is no x. Pass an array, a tensor, a list of series or a Dataset.")
    if isinstance(data.x, Stream):
        given = {name: getattr(data, name) for name in ("y", "sample_weight", "mask")}
        return streamed(model, data.x, {**given, "batch_size": batch_size}, labels=labels)
    if _is_loader(data.x):
        return _loaded(model, data, labels=labels, batch_size=batch_size, shuffle=shuffle)
    if labels and data.y is None:
        raise InputError("The labels y are missing: pass y beside x, or a Dataset of (x, y).")
    if model.several_inputs or len(model.output_names) > 1 or isinstance(data.x, Mapping):
        return sized(replace(_parts(model, data), shuffle=shuffle), batch_size, steps)
    source = _series(model, data) if _is_series(data.x) else _arrays(model, data)
    return sized(replace(source, shuffle=shuffle), batch_size, steps)


def sized(source: Source, batch_size: int | None, steps: int | None) -> Source:
    """Return the source in batches of this size: unless given, 32, or what makes so many steps."""
    if isinstance(source, Loaded):
        return source
    if batch_size is None:
        batch_size = math.ceil(len(source) / steps) if steps and steps > 0 else 32
    if not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size={batch_size!r} is not a size. Use a whole number from 1.")
    return replace(source, batch_size=batch_size)


def weighed(source: Source, data: Data, sparse: bool) -> Source:
    """Return the source with the user's class weights, if there are any."""
    if data.class_weight is None:
        return source
    if data.sample_weight is not None:
        raise InputError("Give class_weight or sample_weight, not both: multiply them yourself.")
    return source.weighing(data.class_weight, sparse)


def split(source: Source, share: float) -> tuple[Source, Source | None]:
    """Return the samples to train on and, as in Keras, the last `share` to validate on."""
    if not share:
        return source, None
    if not 0 < share < 1:
        raise InputError(f"validation_split={share!r} is not a share. Use a number from 0 to 1.")
    if isinstance(source, Loaded):
        raise InputError(
            "validation_split cannot split a Dataset or DataLoader. Pass validation_data."
        )
    at = math.floor(len(source) * (1.0 - share))
    if at in (0, len(source)):
        raise InputError(
            f"validation_split={share} of {len(source)} samples leaves one part empty. "
            "Pass more samples or another share."
        )
    return source.part(0, at), replace(source.part(at, len(source)), shuffle=False)


def limited(source: Source, steps: int | None) -> Source | Repeated:
    """Return the source cut or repeated to a number of steps an epoch, if one is asked for."""
    if steps is None:
        return source
    if steps < 1:
        raise InputError(f"{steps} steps leave nothing to do. Use a whole number from 1, or None.")
    return Repeated(source, steps)


def as_tensor(value: Any, name: str) -> Tensor:
    """Return an array or tensor of numbers as a tensor, without a copy where there can be none."""
    if isinstance(value, Tensor):
        return real(value.detach(), name)
    array = numbers(
        value, name, "Series of different lengths go into x as a list of arrays (T_i, I)."
    )
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    if any(stride < 0 for stride in array.strides) or not array.dtype.isnative:
        array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))
    with warnings.catch_warnings():
        # Training only reads: an array that may not be written, such as a memory map, serves.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _is_loader(x: Any) -> bool:
    if isinstance(x, (Dataset, DataLoader)):
        return True
    arrays = (np.ndarray, Tensor, Sequence, Mapping)
    return isinstance(x, Iterable) and not isinstance(x, arrays) and not hasattr(x, "__array__")


def _is_series(x: Any) -> bool:
    """Return whether `x` is a list of series, rather than one array."""
    if isinstance(x, np.ndarray):
        return x.dtype == object
    if isinstance(x, (str, bytes, Mapping, tuple)):
        raise InputError(
            f"x is a {type(x).__name__}, but a model has one input: an array, a tensor, a list of "
            "series (T_i, I), a Dataset or a DataLoader."
        )
    return isinstance(x, list) and bool(x) and np.ndim(x[0]) > 0


def _parts(model: Trainable, data: Data) -> Arrays:
    """Return the data of a model with several inputs or outputs, each a whole array."""
    given = model.parts_of(data.x)
    parts = [as_tensor(part, f"x[{number}]") for number, part in enumerate(given)]
    whole = model.several_inputs
    x: Any = model.cast_input(Several(parts) if whole else parts[0])
    if len(x) == 0:
        raise InputError("x holds no samples. Pass at least one.")
    y: Any = None
    if data.y is not None:
        names = model.output_names
        shaped = data.y if len(names) > 1 or isinstance(data.y, Mapping) else as_tensor(data.y, "y")
        y = labels_of(model, shaped)
        _same_length(len(x), "y", y)
    weight = data.sample_weight
    if isinstance(weight, (list, tuple, Mapping)) and len(model.output_names) > 1:
        raise UnsupportedError(
            "One sample_weight for each output is not offered. Pass one array, one weight a "
            "sample, and loss_weights in compile."
        )
    weight = None if weight is None else as_tensor(weight, "sample_weight").to(model.dtype)
    _same_length(len(x), "sample_weight", weight)
    if data.mask is not None and whole:
        raise UnsupportedError(
            "mask= has no place beside several inputs. Let Embedding(mask_zero=True) or Masking "
            "make the masks in the model."
        )
    return Arrays(x, y, weight, None if whole else _mask(data.mask, x))


def _arrays(model: Trainable, data: Data) -> Arrays:
    x = as_tensor(data.x, "x")
    if x.ndim == 0 or len(x) == 0:
        raise InputError(f"x has shape {tuple(x.shape)}: no samples. Pass at least one.")
    if model.takes_ids and x.ndim == 1:
        raise InputError(
            f"x has shape {tuple(x.shape)}, but this model takes token ids (B, T). Put a single "
            "series of ids in a list: [ids]."
        )
    if not model.built:
        model.build(model.shape_of_data(x))
    x = model.cast_input(x)
    y = None if data.y is None else like(as_tensor(data.y, "y"), model.dtype)
    weight = data.sample_weight
    weight = None if weight is None else as_tensor(weight, "sample_weight").to(model.dtype)
    for name, values in (("y", y), ("sample_weight", weight)):
        _same_length(len(x), name, values)
    return Arrays(x, y, weight, _mask(data.mask, x))


def _series(model: Trainable, data: Data) -> Series:
    if data.mask is not None:
        raise InputError(
            "A list of series needs no mask: the padding is masked by itself. Leave mask out, or "
            "pass one padded array with its mask."
        )
    x = check_series(list(data.x), dtype=None if model.takes_ids else model.dtype)
    if not model.built:
        model.build(model.shape_of_data(x[0][None]))
    per_step = len(model.output_shape or ()) >= 3
    y = _labels(data.y, x, per_step, "y", model.dtype)
    weight = _labels(data.sample_weight, x, False, "sample_weight", model.dtype)
    if weight is not None and not isinstance(weight, list):
        weight = weight.to(model.dtype)
    return Series(x, y, weight)


def _labels(
    values: Any, x: list[Tensor], per_step: bool, name: str, dtype: torch.dtype
) -> Tensor | list[Tensor] | None:
    """Return one label a series as a tensor, or one a step as a list of tensors."""
    if values is None:
        return None
    listed = isinstance(values, list) or (isinstance(values, np.ndarray) and values.dtype == object)
    if listed and len(values) and np.ndim(values[0]) > 0 and (per_step or name != "y"):
        _same_length(len(x), name, values)
        steps = [like(as_tensor(value, f"{name}[{i}]"), dtype) for i, value in enumerate(values)]
        for i, (series, label) in enumerate(zip(x, steps, strict=True)):
            if len(series) != len(label):
                raise InputError(
                    f"x[{i}] has {len(series)} steps but {name}[{i}] has {len(label)}. A model "
                    "that returns sequences needs one label a step."
                )
        return steps
    tensor = like(as_tensor(values, name), dtype)
    _same_length(len(x), name, tensor)
    return tensor


def _same_length(samples: int, name: str, values: Any) -> None:
    if values is None:
        return
    count = len(values) if getattr(values, "ndim", 1) else 0
    if count != samples:
        raise InputError(
            f"x has {samples} samples but {name} has {count}. Both need one row a sample."
        )


def _mask(mask: Any, x: Tensor) -> Tensor | None:
    if mask is None:
        return None
    tensor = as_tensor(mask, "mask")
    if tensor.shape != x.shape[:2]:
        raise InputError(
            f"mask has shape {tuple(tensor.shape)} but x has {tuple(x.shape)}: it must be "
            f"{tuple(x.shape[:2])}, True where a step of x is real."
        )
    return tensor.bool()


def _loaded(
    model: Trainable, data: Data, *, labels: bool, batch_size: int | None, shuffle: bool
) -> Loaded:
    for name in ("y", "sample_weight", "mask"):
        if getattr(data, name) is not None:
            raise InputError(
                f"x is a {type(data.x).__name__}, which gives (x, y) or (x, y, sample_weight) "
                f"itself. Leave {name} out."
            )
    loader = data.x
    if isinstance(loader, Dataset):
        ordered = isinstance(loader, IterableDataset) or not shuffle
        loader = DataLoader(
            loader, batch_size=batch_size or 32, shuffle=not ordered, collate_fn=_collate
        )
    elif batch_size is not None and isinstance(loader, DataLoader):
        raise InputError("A DataLoader has its own batch size. Leave batch_size out.")
    if model.built:
        return Loaded(loader, model, labels=labels)
    first, loader = _peeked(loader)
    source = Loaded(loader, model, labels=labels)
    model.build(model.shape_of_data(next(iter(Loaded([first], model, labels=labels))).x))
    return source


def _peeked(loader: Iterable[Any]) -> tuple[Any, Iterable[Any]]:
    """Return the first batch, and the batches with it: what can be read only once stays whole."""
    batches = iter(loader)
    try:
        first = next(batches)
    except StopIteration:
        raise InputError("The data gave no batch. Pass at least one sample.") from None
    return first, chain([first], batches) if batches is loader else loader


def _collate(items: list[Any]) -> Batch:
    """Stack the items of a dataset; series of different lengths are padded and masked."""
    rows = [item if isinstance(item, (tuple, list)) else (item,) for item in items]
    xs = [as_tensor(row[0], "x") for row in rows]
    if len({series.shape for series in xs}) == 1:
        x, mask = torch.stack(xs), None
    else:
        x, mask = pad_tensors(check_series(xs, dtype=xs[0].dtype))
    rest = [_stack([as_tensor(row[part], "y") for row in rows]) for part in range(1, len(rows[0]))]
    y, weight = [*rest, None, None][:2]
    return Batch(x, y, weight, mask)


def _stack(values: list[Tensor]) -> Tensor:
    """Return labels side by side, those of different lengths padded with zeros."""
    if len({value.shape for value in values}) == 1:
        return torch.stack(values)
    return pad_tensors(values)[0]
