"""What training needs of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from gatewise.training.compiled import Compiled
    from gatewise.training.history import History

Shape = tuple[int | None, ...]


class Trainable(Protocol):
    """A model as the training loop sees it; `gatewise.models.Model` is one."""

    name: str
    training: bool
    compiled: Compiled | None
    history: History | None
    stop_training: bool

    @property
    def built(self) -> bool: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def takes_ids(self) -> bool: ...
    @property
    def output_shape(self) -> Shape | None: ...

    def build(self, input_shape: Sequence[int | None]) -> None: ...
    def shape_of_data(self, x: Tensor) -> Shape: ...
    def cast_input(self, x: Tensor) -> Tensor: ...
    def forward_with_mask(
        self, x: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]: ...
    def regularization(self) -> Tensor | None: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def train(self, mode: bool = True) -> nn.Module: ...
    def eval(self) -> nn.Module: ...
