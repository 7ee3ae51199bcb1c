"""Several tensors become one: sums, products, concatenation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from gatewise.errors import InputError
from gatewise.layers.layer import Layer, Shape, as_tensor


class Merge(Layer):
    """The base of the layers that are called on a list of tensors."""

    takes_mask = False
    supports_masking = True

    def receive_all(self, x: Any) -> list[Tensor]:
        """Return the parts as tensors of one type, or raise the error that says what is wrong."""
        if not isinstance(x, (list, tuple)) or len(x) < 2:
            got = f"{len(x)} tensor" if isinstance(x, (list, tuple)) else type(x).__name__
            raise InputError(
                f"{type(self).__name__} takes a list of at least two tensors but got {got}: "
                f"{type(self).__name__}()([a, b])."
            )
        parts = [part if isinstance(part, Tensor) else as_tensor(part, None) for part in x]
        self.build([tuple(part.shape) for part in parts])
        kind = reduce(torch.promote_types, (part.dtype for part in parts))
        return [part.to(kind) for part in parts]

    def forward(self, x: Any) -> Tensor:
        return self.merged(self.receive_all(x))

    def merged(self, parts: list[Tensor]) -> Tensor:
        """Return one tensor for all parts."""
        raise NotImplementedError

    def check_input_shape(self, shape: Any) -> None:
        self.compute_output_shape(shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        ranks = {len(shape) for shape in input_shape}
        if len(ranks) > 1:
            raise self._misfit(input_shape, "they differ in the number of axes")
        return tuple(
            self._broadcast(sizes, input_shape) for sizes in zip(*input_shape, strict=True)
        )

    def compute_mask(self, x: Any, mask: Any = None) -> Tensor | None:
        """Return where any part has a real step; none if a part has no mask, as in Keras."""
        if mask is None or any(one is None for one in mask):
            return None
        return reduce(torch.logical_or, mask)

    def _broadcast(self, sizes: tuple[int | None, ...], shapes: Any) -> int | None:
        known = {size for size in sizes if size not in (None, 1)}
        if len(known) > 1:
            raise self._misfit(shapes, f"the sizes {sorted(known)} do not go together")  # pyright: ignore
        if known:
            return known.pop()
        return None if None in sizes else 1

    def _misfit(self, shapes: Any, why: str) -> InputError:
        listed = " and ".join(str(tuple(shape)) for shape in shapes)
        return InputError(f"{type(self).__name__} cannot merge {listed}: {why}.")


class Add(Merge):
    """The sum of tensors, a size of 1 stretched.

    >>> Add()([torch.ones(2), torch.ones(2)])
    tensor([2., 2.])
    """

    def merged(self, parts: list[Tensor]) -> Tensor:
        return reduce(torch.add, parts)


class Subtract(Merge):
    """The difference of two tensors."""

    def check_input_shape(self, shape: Any) -> None:
        if len(shape) != 2:
            raise InputError(f"Subtract takes exactly two tensors but got {len(shape)}.")
        super().check_input_shape(shape)

    def merged(self, parts: list[Tensor]) -> Tensor:
        return parts[0] - parts[1]


class Multiply(Merge):
    """The product of tensors, number by number.

    As in Keras a masked step of a tensor leaves the others' product as it is; where all are masked
    the result is zero.
    """

    takes_mask = True

    def forward(self, x: Any, mask: Any = None) -> Tensor:
        parts = self.receive_all(x)
        if mask is None:
            return reduce(torch.mul, parts)
        masks = _wide(parts, mask)
        product = reduce(
            torch.mul,
            (
                part if one is None else torch.where(one, part, 1)
                for part, one in zip(parts, masks, strict=True)
            ),
        )
        known = [one for one in masks if one is not None]
        if len(known) < len(masks):
            return product
        return torch.where(reduce(torch.logical_or, known), product, 0)


class Average(Merge):
    """The mean of tensors."""

    def merged(self, parts: list[Tensor]) -> Tensor:
        return reduce(torch.add, parts) / len(parts)


class Maximum(Merge):
    """The largest of the tensors' numbers at each place, of the steps that are not masked."""

    takes_mask = True

    def forward(self, x: Any, mask: Any = None) -> Tensor:
        return _chosen(torch.maximum, self.receive_all(x), mask)


class Minimum(Merge):
    """The smallest of the tensors' numbers at each place, of the steps that are not masked."""

    takes_mask = True

    def forward(self, x: Any, mask: Any = None) -> Tensor:
        return _chosen(torch.minimum, self.receive_all(x), mask)


def _chosen(choose: Callable[[Tensor, Tensor], Tensor], parts: list[Tensor], masks: Any) -> Tensor:
    """Return one of the tensors' numbers at each place; a masked step does not take part."""
    if masks is None:
        return reduce(choose, parts)
    pairs = zip(parts, _wide(parts, masks), strict=True)
    result, real = next(pairs)
    for part, mask in pairs:
        if mask is not None:
            part = torch.where(mask, part, result)
        if real is not None:
            result = torch.where(real, result, part)
        real = None if mask is None or real is None else mask | real
        result = choose(result, part)
    return result


def _wide(parts: list[Tensor], masks: Any) -> list[Tensor | None]:
    """Return each mask (B, T) in the size of its tensor (B, T, I)."""
    return [
        None if mask is None else as_tensor(mask, part).unsqueeze(-1).expand(part.shape)
        for part, mask in zip(parts, masks, strict=True)
    ]


class Concatenate(Merge):
    """Tensors side by side along ``axis``, by default the features.

    >>> Concatenate()([torch.zeros(2, 5, 3), torch.zeros(2, 5, 4)]).shape
    torch.Size([2, 5, 7])
    """

    def __init__(
        self,
        axis: int = -1,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(input_shape=input_shape, name=name, trainable=trainable)
        self.axis = axis

    def merged(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts, dim=self.axis)

    def compute_output_shape(self, input_shape: Any) -> Shape:
        ranks = {len(shape) for shape in input_shape}
        if len(ranks) > 1:
            raise self._misfit(input_shape, "they differ in the number of axes")
        (rank,) = ranks
        if not -rank <= self.axis < rank:
            raise self._misfit(input_shape, f"there is no axis {self.axis}")
        along = self.axis % rank
        result: list[int | None] = []
        for place, sizes in enumerate(zip(*input_shape, strict=True)):
            if place == along:
                result.append(None if None in sizes else sum(sizes))
                continue
            known = set(sizes) - {None}
            if len(known) > 1:
                why = f"axis {place} has {sorted(known)}, and only axis {along} may differ"
                raise self._misfit(input_shape, why)
            result.append(known.pop() if known else None)
        return tuple(result)

    def compute_mask(self, x: Any, mask: Any = None) -> Tensor | None:
        """Return where any number of the result is of a real step; no mask counts as all real."""
        if mask is None or all(one is None for one in mask):
            return None
        full = []
        for part, one in zip(x, mask, strict=True):
            if one is None:
                full.append(torch.ones_like(part, dtype=torch.bool))
            else:
                wide = one.reshape(*one.shape, *(1 for _ in range(part.ndim - one.ndim)))
                full.append(wide.expand(part.shape))
        return torch.cat(full, dim=self.axis).any(dim=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class Dot(Merge):
    """The products of two tensors' vectors along ``axes``, sample by sample.

    ``axes`` is an axis of both or a pair; ``normalize`` makes the vectors length 1 first, for the
    cosine.

    >>> Dot(axes=(2, 2))([torch.ones(3, 5, 4), torch.ones(3, 6, 4)]).shape
    torch.Size([3, 5, 6])
    """

    def __init__(
        self,
        axes: int | Sequence[int],
        normalize: bool = False,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(input_shape=input_shape, name=name, trainable=trainable)
        self.axes = axes if isinstance(axes, int) else tuple(axes)
        if not isinstance(self.axes, int) and len(self.axes) != 2:
            raise InputError(f"Dot takes one axis or a pair of them but got axes={axes!r}.")
        self.normalize = bool(normalize)

    def merged(self, parts: list[Tensor]) -> Tensor:
        x, y = parts
        a, b = self._axes([part.ndim for part in parts])
        if self.normalize:
            x, y = (torch.nn.functional.normalize(t, dim=d, eps=1e-6) for t, d in ((x, a), (y, b)))
        x, y = x.movedim(a, -1), y.movedim(b, -1)
        left, right = x.shape[1:-1], y.shape[1:-1]
        flat_x = x.reshape(len(x), -1, x.shape[-1])
        flat_y = y.reshape(len(y), -1, y.shape[-1])
        result = (flat_x @ flat_y.transpose(1, 2)).reshape(len(x), *left, *right)
        return result if result.ndim > 1 else result[:, None]

    def compute_output_shape(self, input_shape: Any) -> Shape:
        if len(input_shape) != 2:
            raise InputError(f"Dot takes exactly two tensors but got {len(input_shape)}.")
        x, y = input_shape
        a, b = self._axes([len(x), len(y)])
        if x[a] is not None and y[b] is not None and x[a] != y[b]:
            raise self._misfit(input_shape, f"axes {a} and {b} have {x[a]} and {y[b]} numbers")
        rest = (*x[1:a], *x[a + 1 :], *y[1:b], *y[b + 1 :])
        return (x[0], *rest) if rest else (x[0], 1)

    def compute_mask(self, x: Any, mask: Any = None) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        axes = self.axes if isinstance(self.axes, int) else list(self.axes)
        return {**super().get_config(), "axes": axes, "normalize": self.normalize}

    def _axes(self, ranks: list[int]) -> tuple[int, int]:
        given = (self.axes, self.axes) if isinstance(self.axes, int) else self.axes
        found = []
        for axis, rank in zip(given, ranks, strict=True):
            if not -rank <= axis < rank or axis % rank == 0:
                raise InputError(
                    f"Dot(axes={self.axes}) needs an axis from 1 to {rank - 1}: 0 is the batch."
                )
            found.append(axis % rank)
        return found[0], found[1]
