"""Keras's recurrent layers as subclasses whose loop over time runs on gatewise's kernels.

They are Keras's in everything else: arguments, weights, states, configs. A file must load where
gatewise is not installed, so the classes give Keras's module as their own: Keras writes that name
into the file, and reads it back as its own layer.
"""

from __future__ import annotations

from typing import Any

import keras

from gatewise.keras import loop


class LSTM(keras.layers.LSTM):
    """`keras.layers.LSTM` on gatewise's kernels.

    >>> LSTM(4, return_sequences=True)(keras.ops.ones((2, 7, 3))).shape
    torch.Size([2, 7, 4])
    """

    __module__ = "keras.layers"

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool | None = False
    ) -> loop.Result:
        keras_loop = loop.KERAS_LOOPS[keras.layers.LSTM]
        return loop.run(self, keras_loop, sequences, initial_state, mask, training)


class GRU(keras.layers.GRU):
    """`keras.layers.GRU` on gatewise's kernels.

    >>> GRU(4)(keras.ops.ones((2, 7, 3))).shape
    torch.Size([2, 4])
    """

    __module__ = "keras.layers"

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool | None = False
    ) -> loop.Result:
        keras_loop = loop.KERAS_LOOPS[keras.layers.GRU]
        return loop.run(self, keras_loop, sequences, initial_state, mask, training)


class SimpleRNN(keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN` on gatewise's kernels.

    >>> SimpleRNN(4)(keras.ops.ones((2, 7, 3))).shape
    torch.Size([2, 4])
    """

    __module__ = "keras.layers"

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool | None = False
    ) -> loop.Result:
        keras_loop = loop.KERAS_LOOPS[keras.layers.SimpleRNN]
        return loop.run(self, keras_loop, sequences, initial_state, mask, training)


class Bidirectional(keras.layers.Bidirectional):
    """`keras.layers.Bidirectional` that keeps a gatewise layer one of gatewise's.

    Keras copies the layer through its config, which names Keras's class.

    >>> type(Bidirectional(LSTM(4)).backward_layer) is LSTM
    True
    """

    __module__ = "keras.layers"

    def __init__(self, layer: keras.Layer, *args: Any, **kwargs: Any) -> None:
        ours = {kind.__name__: kind for kind in (LSTM, GRU, SimpleRNN) if type(layer) is kind}
        with keras.saving.custom_object_scope(ours):
            super().__init__(layer, *args, **kwargs)

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> Bidirectional:
        with keras.saving.custom_object_scope(CUSTOM_OBJECTS):
            return super().from_config(config, custom_objects=custom_objects)


CUSTOM_OBJECTS: dict[str, type[keras.Layer]] = {
    kind.__name__: kind for kind in (LSTM, GRU, SimpleRNN, Bidirectional)
}
"""For ``keras.saving.load_model(..., custom_objects=)``: reads what these wrote as these again.

A file that Keras's own layers wrote is read as Keras's; :func:`gatewise.keras.enable` serves both.
"""
