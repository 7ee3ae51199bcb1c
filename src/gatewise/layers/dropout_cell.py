"""Dropout for a recurrent cell of the user's own: one mask for all time steps of a series."""

from __future__ import annotations

from torch import Tensor

from gatewise.layers.noise import NoiseSource


class DropoutRNNCell:
    """A mixin for a cell of your own that drops inputs or states, the same ones at every step.

    The cell sets ``dropout``, ``recurrent_dropout`` (rates) and ``seed_generator``
    (a :class:`NoiseSource`), and multiplies by the masks in training. ``RNN`` forgets them after
    each series.

    >>> import torch
    >>> from gatewise.layers import Layer
    >>> class Sum(Layer, DropoutRNNCell):
    ...     dropout, recurrent_dropout, state_size = 0.5, 0.0, 2
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.seed_generator = NoiseSource(seed=1)
    ...     def call(self, x, states, training=False):
    ...         x = x * self.get_dropout_mask(x) if training else x
    ...         return x + states[0], [x + states[0]]
    >>> from gatewise.layers import RNN
    >>> RNN(Sum())(torch.ones(1, 3, 2), training=True).tolist()
    [[0.0, 6.0]]
    """

    dropout: float
    recurrent_dropout: float
    seed_generator: NoiseSource
    _dropout_mask: Tensor | None = None
    _recurrent_dropout_mask: Tensor | None = None

    def get_dropout_mask(self, step_input: Tensor) -> Tensor | None:
        """Return the mask of the inputs (B, I), drawn at the first step; None without dropout."""
        if self._dropout_mask is None and self.dropout > 0:
            self._dropout_mask = self._drawn(step_input, self.dropout)
        return self._dropout_mask

    def get_recurrent_dropout_mask(self, step_input: Tensor) -> Tensor | None:
        """Return the mask of the state (B, H), drawn at the first step; None without dropout."""
        if self._recurrent_dropout_mask is None and self.recurrent_dropout > 0:
            self._recurrent_dropout_mask = self._drawn(step_input, self.recurrent_dropout)
        return self._recurrent_dropout_mask

    def reset_dropout_mask(self) -> None:
        """Forget the mask of the inputs."""
        self._dropout_mask = None

    def reset_recurrent_dropout_mask(self) -> None:
        """Forget the mask of the state."""
        self._recurrent_dropout_mask = None

    def _drawn(self, like: Tensor, rate: float) -> Tensor:
        return self.seed_generator(tuple(like.shape), rate, like)
