"""From what a user passes as `x` and `y` to batches of tensors.

There are three sources: arrays, ragged series, and loaders. All give `Batch`es; arrays and series
know which rows of the caller's data a batch holds, so that predictions can be put back in order and
an error can name the sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gatewise.data import bucket_batches, check_finite, pad_tensors
from gatewise.errors import InputError
from gatewise.training.class_weights import weigh_classes
from gatewise.training.several import Several
from gatewise.training.trainable import Trainable


class Batch(NamedTuple):
    """Tensors of one step, with the rows of the caller's data that they come from, if known."""

    x: Tensor
    y: Tensor | None = None
    sample_weight: Tensor | None = None
    mask: Tensor | None = None  # (B, T), True at real steps
    rows: Sequence[int] | None = None
    begins: Tensor | None = None  # (B,), in a chunk of a stream: True where a series begins

    def to(self, device: torch.device) -> Batch:
        """Return the batch on the device."""
        if self.x.device == device and (self.y is None or self.y.device == device):
            return self
        return self.map(lambda tensor: tensor.to(device))._replace(rows=self.rows)

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return the function's results for every tensor."""
        return Batch(
            _reaching(self.x, function),
            None if self.y is None else _reaching(self.y, function),
            None if self.sample_weight is None else function(self.sample_weight),
            None if self.mask is None else function(self.mask),
            begins=None if self.begins is None else function(self.begins),
        )


def _check_each(value: Any, name: str, mask: Tensor | None = None) -> None:
    """Raise `NonFiniteError` for the first NaN or infinity in a tensor, or in one of several."""
    if isinstance(value, Several):
        for number, part in enumerate(value.parts):
            check_finite(part, name=f"{name}[{number}]")
    elif value is not None:
        check_finite(value, mask, name=name)


def _reaching(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return the function's result for a tensor, or for each of several."""
    return value.map(function) if isinstance(value, Several) else function(value)


class Batches(Protocol):
    """One epoch of batches each time it is iterated; `steps` is their number, if known."""

    @property
    def steps(self) -> int | None: ...
    def __iter__(self) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class Arrays:
    """Whole arrays: `x` (N, …) with labels, weights (N,) or (N, T) and mask (N, T)."""

    x: Tensor
    y: Tensor | None = None
    sample_weight: Tensor | None = None
    mask: Tensor | None = None
    batch_size: int = 32
    shuffle: bool = False

    @property
    def steps(self) -> int:
        """The number of batches."""
        return math.ceil(len(self) / self.batch_size)

    def __len__(self) -> int:
        return len(self.x)

    def __iter__(self) -> Iterator[Batch]:
        whole = Batch(self.x, self.y, self.sample_weight, self.mask)
        if not self.shuffle:
            for start in range(0, len(self), self.batch_size):
                rows = range(start, min(start + self.batch_size, len(self)))
                batch = whole.map(lambda tensor, rows=rows: tensor[rows.start : rows.stop])
                yield batch._replace(rows=rows)
            return
        for drawn in torch.randperm(len(self)).split(self.batch_size):
            batch = whole.map(
                lambda tensor, drawn=drawn: tensor.index_select(0, drawn.to(tensor.device))
            )
            yield batch._replace(rows=drawn.tolist())

    def example(self) -> Batch:
        """Return the first sample alone."""
        return Batch(self.x[:1], mask=None if self.mask is None else self.mask[:1])

    def part(self, start: int, stop: int) -> Arrays:
        """Return the samples from `start` to `stop`."""
        part = Batch(self.x, self.y, self.sample_weight, self.mask).map(lambda t: t[start:stop])
        return replace(self, x=part.x, y=part.y, sample_weight=part.sample_weight, mask=part.mask)

    def weighing(self, class_weight: Mapping[int, float], sparse: bool) -> Arrays:
        """Return the same samples, weighted by their classes."""
        assert self.y is not None
        if isinstance(self.y, Several):
            raise InputError("class_weight weighs the classes of one output; this model has more.")
        return replace(self, sample_weight=weigh_classes(self.y, class_weight, sparse, self.x))

    def check_finite(self) -> None:
        """Raise `NonFiniteError` for NaN or infinity at a real step of `x`, or in `y`."""
        if isinstance(self.x, Several) or isinstance(self.y, Several):
            _check_each(self.x, "x")
            _check_each(self.y, "y")
            _check_each(self.sample_weight, "sample_weight")
            return
        check_finite(self.x, self.mask)
        if self.y is not None:
            per_step = self.mask is not None and self.y.shape[:2] == self.mask.shape
            check_finite(self.y, self.mask if per_step else None, name="y")
        if self.sample_weight is not None:
            check_finite(self.sample_weight, name="sample_weight")


@dataclass(frozen=True)
class Series:
    """Ragged series (T_i, I) or (T_i,), batched by length; labels a series or a step.

    `y` and `sample_weight` are tensors with one row a series, or lists with one row a step.
    """

    x: list[Tensor]
    y: Tensor | list[Tensor] | None = None
    sample_weight: Tensor | list[Tensor] | None = None
    batch_size: int = 32
    shuffle: bool = False

    @property
    def steps(self) -> int:
        """The number of batches."""
        return math.ceil(len(self) / self.batch_size)

    def __len__(self) -> int:
        return len(self.x)

    def __iter__(self) -> Iterator[Batch]:
        lengths = [len(series) for series in self.x]
        if self.shuffle:
            groups = bucket_batches(lengths, self.batch_size)
        else:
            order = sorted(range(len(lengths)), key=lengths.__getitem__)
            starts = range(0, len(order), self.batch_size)
            groups = [order[start : start + self.batch_size] for start in starts]
        for rows in groups:
            x, mask = pad_tensors([self.x[row] for row in rows])
            yield Batch(x, _gather(self.y, rows), _gather(self.sample_weight, rows), mask, rows)

    def example(self) -> Batch:
        """Return the first series alone."""
        x, mask = pad_tensors(self.x[:1])
        return Batch(x, mask=mask)

    def part(self, start: int, stop: int) -> Series:
        """Return the series from `start` to `stop`."""
        y = None if self.y is None else self.y[start:stop]
        weight = None if self.sample_weight is None else self.sample_weight[start:stop]
        return replace(self, x=self.x[start:stop], y=y, sample_weight=weight)

    def weighing(self, class_weight: Mapping[int, float], sparse: bool) -> Series:
        """Return the same series, weighted by their classes."""
        assert self.y is not None
        if isinstance(self.y, Tensor):
            weight = weigh_classes(self.y, class_weight, sparse, self.x[0])
        else:
            weight = [
                weigh_classes(y[None], class_weight, sparse, x)[0]
                for x, y in zip(self.x, self.y, strict=True)
            ]
        return replace(self, sample_weight=weight)

    def check_finite(self) -> None:
        """Raise `NonFiniteError` for the first NaN or infinity."""
        check_finite(self.x)
        if self.y is not None:
            check_finite(self.y, name="y")
        if self.sample_weight is not None:
            check_finite(self.sample_weight, name="sample_weight")


def _gather(values: Tensor | list[Tensor] | None, rows: list[int]) -> Tensor | None:
    """Return the values of these rows; those of steps padded with zeros."""
    if values is None:
        return None
    if isinstance(values, Tensor):
        return values[rows]
    return pad_tensors([values[row] for row in rows])[0]


class Loaded:
    """The batches of a `DataLoader` or of another iterable: `x`, `(x, y)` or `(x, y, weight)`."""

    def __init__(self, loader: Iterable[Any], model: Trainable, *, labels: bool) -> None:
        self._loader = loader
        self._model = model
        self._labels = labels
        self._class_weight: tuple[Mapping[int, float], bool] | None = None
        self._check = False

    @property
    def steps(self) -> int | None:
        """The number of batches, None for a source without a length."""
        if not isinstance(self._loader, Sized):
            return None
        try:
            return len(self._loader)
        except TypeError:  # a DataLoader over an IterableDataset
            return None

    def __iter__(self) -> Iterator[Batch]:
        for number, item in enumerate(self._loader):
            batch = self._read(item)
            if self._check:
                _check_each(batch.x, f"x of batch {number}", batch.mask)
                _check_each(batch.y, f"y of batch {number}")
                _check_each(batch.sample_weight, f"sample_weight of batch {number}")
            yield batch

    def weighing(self, class_weight: Mapping[int, float], sparse: bool) -> Loaded:
        """Return the same batches, weighted by their classes."""
        weighed = Loaded(self._loader, self._model, labels=self._labels)
        weighed._class_weight = class_weight, sparse
        return weighed

    def check_finite(self) -> None:
        """Look at every batch when it comes."""
        self._check = True

    def _read(self, item: Any) -> Batch:
        parts = item if isinstance(item, Batch) else Batch(*_parts(item))
        y, weight = (parts.y, parts.sample_weight) if self._labels else (None, None)
        if self._labels and y is None:
            raise InputError(
                "The batches hold x alone, but labels are needed. Let the dataset return (x, y)."
            )
        x: Any = parts.x
        if self._model.several_inputs and not isinstance(x, Several):
            x = Several([torch.as_tensor(one) for one in self._model.parts_of(x)])
        x = self._model.cast_input(x if isinstance(x, Several) else torch.as_tensor(x))
        y = None if y is None else labels_of(self._model, y)
        weight = None if weight is None else like(torch.as_tensor(weight), self._model.dtype)
        if y is not None and len(y) != len(x):
            raise InputError(f"A batch holds {len(x)} samples of x but {len(y)} of y.")
        if self._class_weight is not None and y is not None:
            if weight is not None:
                raise InputError("Give class_weight or sample weights, not both.")
            weight = weigh_classes(y, *self._class_weight, x)
        return Batch(x, y, weight, parts.mask, begins=parts.begins)


class Repeated:
    """A given number of batches an epoch, running through the source again and again."""

    def __init__(self, source: Batches, steps: int) -> None:
        self._source = source
        self._rest: Iterator[Batch] = iter(())
        self.steps = steps

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self.steps):
            batch = next(self._rest, None)
            if batch is None:
                self._rest = iter(self._source)
                batch = next(self._rest, None)
            if batch is None:
                raise InputError(
                    f"The data ran out before {self.steps} steps and cannot be read again. Pass "
                    "a Dataset or DataLoader, or a smaller number of steps."
                )
            yield batch


def labels_of(model: Trainable, given: Any) -> Any:
    """Return the labels as a tensor, or for a model with several outputs as one an output."""
    names = model.output_names
    if isinstance(given, Mapping):
        missing = [name for name in names if name not in given]
        if missing:
            raise InputError(
                f"y lacks the labels of '{missing[0]}': it has {', '.join(map(str, given))}, the "
                f"outputs are {', '.join(names)}."
            )
        given = [given[name] for name in names]
    elif len(names) == 1:
        return like(torch.as_tensor(given), model.dtype)
    if not isinstance(given, (list, tuple)) or len(given) != len(names):
        raise InputError(
            f"{model.name} has {len(names)} outputs ({', '.join(names)}). Pass y as a list in this "
            "order or a dictionary by these names."
        )
    parts = [like(torch.as_tensor(one), model.dtype) for one in given]
    return parts[0] if len(parts) == 1 else Several(parts)


def like(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return fractions in the model's type; whole numbers stay whole: they may be classes."""
    return values.to(dtype) if values.is_floating_point() else values


def _parts(item: Any) -> Sequence[Any]:
    """Return a loader's item as x, y, sample weight."""
    if isinstance(item, Tensor):
        return (item,)
    if isinstance(item, (tuple, list)) and 1 <= len(item) <= 3:
        return item
    raise InputError(
        f"A loader must give x, (x, y) or (x, y, sample_weight), but it gave {type(item).__name__}"
        + (f" of {len(item)} items." if isinstance(item, (tuple, list, dict)) else ".")
    )
