"""Embedding: a vector for each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gatewise.errors import InputError
from gatewise.layers import initializers, regularizers
from gatewise.layers.layer import Layer, Shape, as_tensor, checked_shape, positive


class Embedding(Layer):
    """Look up a vector for each token id.

        y[..., :] = embeddings[x]

    Input (B, T) of whole numbers from 0 to ``input_dim`` - 1, result (B, T, output_dim). With
    ``mask_zero`` id 0 is padding, and the steps that hold it are masked. Ids given as floats are
    cut to whole numbers, as in Keras. ``input_length`` is accepted and changes nothing. The one
    weight is ``embeddings`` (input_dim, output_dim); ``weights`` gives its first value.

    Raises ``InputError`` for an id outside the vocabulary (compiled models leave that to torch).

    >>> import torch
    >>> layer = Embedding(3, 2, embeddings_initializer="ones", mask_zero=True)
    >>> ids = torch.tensor([[2, 1, 0]])
    >>> layer(ids).shape, layer.compute_mask(ids).tolist()
    (torch.Size([1, 3, 2]), [[True, True, False]])
    """

    embeddings: nn.Parameter

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: initializers.InitializerLike = "uniform",
        embeddings_regularizer: regularizers.RegularizerLike | None = None,
        *,
        activity_regularizer: regularizers.RegularizerLike | None = None,
        mask_zero: bool = False,
        weights: Any = None,
        input_length: int | None = None,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(
            input_shape=input_shape,
            name=name,
            trainable=trainable,
            activity_regularizer=activity_regularizer,
        )
        self.input_dim = positive("Embedding", "input_dim", input_dim)
        self.output_dim = positive("Embedding", "output_dim", output_dim)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.mask_zero = bool(mask_zero)
        self.supports_masking = self.mask_zero
        if weights is not None:
            self.build((None, None))
            wrapped = isinstance(weights, list) and len(weights) == 1
            self.set_weights(weights if wrapped else [weights])

    def create_weights(self, input_shape: Shape) -> None:
        shape = (self.input_dim, self.output_dim)
        self.add_weight(
            "embeddings", shape, self.embeddings_initializer, self.embeddings_regularizer
        )

    def forward(self, x: Tensor) -> Tensor:
        ids = self._ids(x)
        if ids.device.type != "cpu" and not torch.compiler.is_compiling():
            # A bad id on an accelerator kills the process's context, so look before.
            self._check(ids)
        try:
            return functional.embedding(ids, self.embeddings)
        except IndexError:
            self._check(ids)
            raise

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return self._ids(x) != 0 if self.mask_zero else None

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        return (*checked_shape(input_shape), self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": regularizers.serialize(self.embeddings_regularizer),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "mask_zero": self.mask_zero,
        }

    def _ids(self, x: Any) -> Tensor:
        """Return the ids as whole numbers; ``receive`` would make them the weights' type."""
        if not isinstance(x, Tensor):
            x = as_tensor(x, like=self.embeddings if self.built else None)
        if not self.built:
            self.build(tuple(x.shape))
        return x if x.dtype in (torch.int32, torch.int64) else x.long()

    def _check(self, ids: Tensor) -> None:
        """Name the first id outside the vocabulary, if there is one."""
        if ids.numel() == 0:
            return
        smallest, largest = torch.stack(ids.aminmax()).tolist()
        if smallest >= 0 and largest < self.input_dim:
            return
        position = ((ids < 0) | (ids >= self.input_dim)).nonzero()[0].tolist()
        raise InputError(
            f"Embedding {self.name!r} got the token id {int(ids[tuple(position)])} at position "
            f"{tuple(position)}, outside its vocabulary of {self.input_dim}: ids from 0 to "
            f"{self.input_dim - 1} are accepted. "
            "Raise input_dim, or map unknown tokens to a known id."
        )
