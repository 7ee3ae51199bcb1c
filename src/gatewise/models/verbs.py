"""A model's `fit`, `evaluate` and `predict`, which take a whole set of data.

Each hands over to `gatewise.training`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gatewise import training
from gatewise.training import Callback, History

if TYPE_CHECKING:
    from gatewise.models.model import Model


def fit(
    model: Model,
    x: Any = None,
    y: Any = None,
    batch_size: int | None = None,
    epochs: int = 1,
    verbose: int | str = "auto",
    callbacks: Callback | Sequence[Callback] | None = None,
    validation_split: float = 0.0,
    validation_data: Any = None,
    shuffle: bool = True,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Any = None,
    initial_epoch: int = 0,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    validation_freq: int | Sequence[int] = 1,
    *,
    mask: Any = None,
) -> History:
    """Train by backpropagation through time; return the `History` of losses and metrics.

    `x` is an array or tensor `(N, T, I)` (or token ids `(N, T)`), a list of series
    `(T_i, I)` of different lengths (padded, masked and batched by length), or a `Dataset`
    or `DataLoader` whose items are `(x, y)` or `(x, y, sample_weight)`. The other arguments
    mean what they mean in Keras: `batch_size` is 32 unless given, `validation_split` takes
    the last part before shuffling, `class_weight` maps a class to its weight. `mask` (N, T)
    is True where a step of `x` is real; loss and metrics of a sequence output skip the
    other steps.

    The order of the samples is drawn from torch's global generator, so
    `gatewise.utils.set_random_seed` makes a run repeatable. A NaN or infinity in the input,
    the loss or the gradient stops training with a `NonFiniteError` that names the step and
    the first bad sample; the weights are then those from before that step. After Ctrl-C the
    model is whole, in inference mode, and `model.history` holds the epochs that finished.

    >>> import gatewise, numpy
    >>> from gatewise.layers import LSTM, Dense
    >>> gatewise.utils.set_random_seed(0)
    >>> model = gatewise.Sequential([LSTM(4, input_shape=(None, 2)), Dense(1)])
    >>> model.compile(optimizer="adam", loss="mse")
    >>> x = numpy.ones((8, 5, 2), dtype="float32")
    >>> history = model.fit(x, x[:, 0, :1], epochs=2, verbose=0)
    >>> history.epoch, sorted(history.history)
    ([0, 1], ['loss'])
    """
    return training.fit(
        model,
        training.Data(x, y, sample_weight, mask, class_weight),
        training.Plan(
            batch_size=batch_size,
            epochs=epochs,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            shuffle=shuffle,
            verbose=verbose,
        ),
        training.Validation(
            split=validation_split,
            data=validation_data,
            steps=validation_steps,
            batch_size=validation_batch_size or batch_size,
            frequency=validation_freq,
        ),
        callbacks,
    )


def evaluate(
    model: Model,
    x: Any = None,
    y: Any = None,
    batch_size: int | None = None,
    verbose: int | str = "auto",
    sample_weight: Any = None,
    steps: int | None = None,
    callbacks: Callback | Sequence[Callback] | None = None,
    return_dict: bool = False,
    *,
    mask: Any = None,
) -> float | list[float] | dict[str, float]:
    """Return the loss, followed by the metrics if there are any, over the given data.

    The arguments are `fit`'s. `return_dict=True` returns them by name.
    """
    data = training.Data(x, y, sample_weight, mask)
    results = training.evaluate(model, data, batch_size, steps, verbose, callbacks)
    if return_dict:
        return results
    values = list(results.values())
    return values if len(values) > 1 else values[0]


def predict(
    model: Model,
    x: Any,
    batch_size: int | None = None,
    verbose: int | str = "auto",
    steps: int | None = None,
    callbacks: Callback | Sequence[Callback] | None = None,
    *,
    mask: Any = None,
) -> Any:
    """Return the outputs for `x` as a NumPy array, in the order of `x`.

    For a list of series of different lengths and a model that returns sequences, the result
    is a list with one array `(T_i, …)` a series.
    """
    data = training.Data(x, mask=mask)
    return training.predict(model, data, batch_size, steps, verbose, callbacks)
