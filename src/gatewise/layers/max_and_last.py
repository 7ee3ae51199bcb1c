"""A whole series as one vector: what stood out anywhere in it, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.errors import InputError
from gatewise.layers.layer import Layer, RankError, Shape, checked_shape, sizes
from gatewise.layers.masks import checked_mask


class MaxAndLast(Layer):
    """The largest value of each feature over the real time steps, beside the last state.

        y = [max_t x[t], x[last]]

    Input (B, T, F), result (B, 2·F). With ``directions=2`` the input is that of a
    ``Bidirectional(..., return_sequences=True)``: the second half of its features read backwards,
    so that their last state stands at the first real step. Evidence in the middle of a long series
    need not be carried to its end. A series without a real step gives zeros.

    >>> layer = MaxAndLast()
    >>> x = torch.tensor([[[1.0], [3.0], [2.0], [9.0]]])
    >>> layer(x, mask=torch.tensor([[True, True, True, False]])).tolist()
    [[3.0, 2.0]]
    """

    takes_mask = True

    def __init__(
        self,
        directions: int = 1,
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(input_shape=input_shape, name=name, trainable=trainable)
        if directions not in (1, 2):
            raise InputError(f"MaxAndLast(directions={directions!r}): a series is read in 1 or 2.")
        self.directions = directions

    def check_input_shape(self, shape: Shape) -> None:
        if len(shape) != 3 or (shape[-1] is not None and shape[-1] % self.directions):
            halves = ", F even" if self.directions == 2 else ""
            raise RankError(
                f"MaxAndLast expected input (B, T, F){halves} but got {sizes(shape)}. A recurrent "
                "layer before it needs return_sequences=True.",
                shape=shape,
                layer=self,
            )

    def forward(self, x: Tensor, mask: Any = None) -> Tensor:
        x = self.receive(x)
        steps, features = x.shape[1:]
        if mask is None:
            real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        else:
            real = checked_mask("MaxAndLast", mask, x)
        some = real.any(dim=1, keepdim=True)
        # Of an empty series no step counts; -inf would make its gradient NaN.
        largest = x.masked_fill(~real.unsqueeze(-1), -torch.inf).amax(dim=1)
        largest = torch.where(some, largest, 0)
        places = torch.arange(1, steps + 1, device=x.device)
        last = (real * places).argmax(dim=1)
        ends = [self._at(x, last)]
        if self.directions == 2:
            first = (real * places.flip(0)).argmax(dim=1)
            half = features // 2
            ends = [self._at(x[..., :half], last), self._at(x[..., half:], first)]
        return torch.cat([largest, torch.where(some, torch.cat(ends, dim=1), 0)], dim=1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = checked_shape(input_shape)
        self.check_input_shape(shape)
        return (shape[0], None if shape[2] is None else 2 * shape[2])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "directions": self.directions}

    @staticmethod
    def _at(x: Tensor, places: Tensor) -> Tensor:
        index = places[:, None, None].expand(-1, 1, x.shape[-1])
        return x.gather(1, index).squeeze(1)
