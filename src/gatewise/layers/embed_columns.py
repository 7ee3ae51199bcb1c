"""Columns of numbers and of categories side by side: the categories become vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gatewise.errors import InputError
from gatewise.layers import initializers
from gatewise.layers.layer import Layer, RankError, Shape, checked_shape, positive, sizes


class EmbedColumns(Layer):
    """Look up a vector for the category in each of the last K channels; the others pass unchanged.

        y = [x[..., :-K], embeddings_1[x[..., -K]], …, embeddings_K[x[..., -1]]]

    Input (B, T, I), whose last K channels hold whole numbers from 0 to ``categories[k]`` - 1;
    result (B, T, I - K + Σ ``widths``). The weights are ``embeddings_k`` (categories[k],
    widths[k]). Raises ``InputError`` for a number that is no category.

    >>> layer = EmbedColumns([3, 2], [4, 2])
    >>> layer(torch.tensor([[[0.5, 2.0, 1.0]]])).shape
    torch.Size([1, 1, 7])
    """

    supports_masking = True

    def __init__(
        self,
        categories: Sequence[int],
        widths: Sequence[int],
        embeddings_initializer: initializers.InitializerLike = "uniform",
        *,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(input_shape=input_shape, name=name, trainable=trainable)
        if len(categories) != len(widths) or not len(categories):
            raise InputError(
                f"EmbedColumns needs a width for each column of categories, but got {categories} "
                f"and {widths}."
            )
        self.categories = [positive("EmbedColumns", "categories", one) for one in categories]
        self.widths = [positive("EmbedColumns", "widths", one) for one in widths]
        self.embeddings_initializer = initializers.get(embeddings_initializer)

    def create_weights(self, input_shape: Shape) -> None:
        for at, shape in enumerate(zip(self.categories, self.widths, strict=True)):
            self.add_weight(f"embeddings_{at + 1}", shape, self.embeddings_initializer)

    def check_input_shape(self, shape: Shape) -> None:
        columns = len(self.categories)
        if len(shape) != 3 or (shape[-1] is not None and shape[-1] < columns):
            raise RankError(
                f"EmbedColumns expected input (B, T, I) with its last {columns} channels "
                f"categories, but got {sizes(shape)}.",
                shape=shape,
                layer=self,
            )

    def forward(self, x: Tensor) -> Tensor:
        x = self.receive(x)
        numbers = x.shape[-1] - len(self.categories)
        blocks = [x[..., :numbers]]
        for at, count in enumerate(self.categories):
            ids = x[..., numbers + at].long()
            if not torch.compiler.is_compiling():
                self._check(ids, at, count)
            blocks.append(functional.embedding(ids, getattr(self, f"embeddings_{at + 1}")))
        return torch.cat(blocks, dim=-1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        shape = checked_shape(input_shape)
        self.check_input_shape(shape)
        width = shape[-1]
        changed = sum(self.widths) - len(self.categories)
        return (*shape[:-1], None if width is None else width + changed)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "categories": self.categories,
            "widths": self.widths,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
        }

    def _check(self, ids: Tensor, column: int, count: int) -> None:
        if ids.numel() and (ids.min() < 0 or ids.max() >= count):
            wrong = ids[(ids < 0) | (ids >= count)][0]
            raise InputError(
                f"{self.name} got the category {int(wrong)} in column {column + 1} of "
                f"{len(self.categories)}: accepted are 0 to {count - 1}."
            )
