"""The running values of an epoch: what waits to be counted, and what does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gatewise.callbacks import LambdaCallback
from gatewise.layers import Dense
from gatewise.metrics import MeanMetric
from gatewise.models import Sequential


class Noted(MeanMetric):
    """The mean of the predictions; keeps what it was told, and when."""

    def __init__(self) -> None:
        super().__init__("noted", lambda y_true, y_pred: y_pred.squeeze(-1))
        self.told: list[list[float]] = []

    def update(self, y_true: Any, y_pred: Any, mask: Any = None, sample_weight: Any = None) -> None:
        self.told.append(y_true.flatten().tolist())
        super().update(y_true, y_pred, mask, sample_weight)


def fitted(x: Any, y: Any = None, **arguments: Any) -> Noted:
    metric = Noted()
    model = Sequential([Dense(1, input_shape=(1,))])
    model.compile(loss="mse", metrics=[metric])
    model.fit(x, y, **{"batch_size": 2, "shuffle": False, "verbose": 0} | arguments)
    return metric


def test_every_batch_is_counted_in_order_by_the_end_of_an_epoch() -> None:
    x = np.arange(7, dtype="float32")[:, None]
    metric = fitted(x, x, epochs=2)
    epoch = [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0]]
    assert metric.told == epoch * 2


def test_the_first_batch_is_counted_at_once_and_the_others_when_a_metric_is_read() -> None:
    x = np.zeros((8, 1), "float32")
    counts: list[int] = []

    def look(step: int, logs: Any) -> None:
        if step == 2:
            _ = logs["noted"]
        counts.append(len(metric.told))

    metric = Noted()
    model = Sequential([Dense(1, input_shape=(1,))])
    model.compile(loss="mse", metrics=[metric])
    model.fit(x, x, batch_size=2, verbose=0, callbacks=LambdaCallback(on_train_batch_end=look))
    assert counts == [1, 1, 3, 3] and len(metric.told) == 4


def test_a_loader_may_fill_its_tensors_again() -> None:
    def batches() -> Any:
        y = torch.zeros(2, 1)
        for number in range(4):
            yield torch.zeros(2, 1), y.fill_(number)

    metric = fitted(batches(), batch_size=None)
    assert metric.told == [[number, number] for number in (0.0, 1.0, 2.0, 3.0)]


def test_large_batches_do_not_wait() -> None:
    x = np.zeros((6, 1), "float32")
    steps: list[int] = []
    metric = Noted()
    model = Sequential([Dense(40_000, input_shape=(1,))])
    metric.function = lambda y_true, y_pred: y_pred.mean(-1)
    model.compile(loss="mse", metrics=[metric])
    look = LambdaCallback(on_train_batch_end=lambda step, logs: steps.append(len(metric.told)))
    y = np.zeros((6, 40_000), "float32")
    model.fit(x, y, batch_size=2, verbose=0, callbacks=look)
    assert steps == [1, 2, 3]


class NotedBySample(Noted):
    """The same, of a metric that says that its samples do not depend on each other."""

    by_sample = True


def test_batches_that_waited_come_as_one_where_samples_stand_alone() -> None:
    x = np.arange(7, dtype="float32")[:, None]
    metric = NotedBySample()
    model = Sequential([Dense(1, input_shape=(1,))])
    model.compile(loss="mse", metrics=[metric, "mae"])
    plain = fitted(x, x)
    model.fit(x, x, batch_size=2, shuffle=False, verbose=0)
    assert metric.told == [[0.0, 1.0], [2.0, 3.0, 4.0, 5.0, 6.0]]
    assert len(plain.told) == 4


def test_a_mean_is_the_same_whether_its_batches_waited_or_not() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((50, 3, 2)).astype("float32")
    y = (random.random((50, 3, 1)) > 0.5).astype("float32")
    found = []
    for reads in (False, True):
        model = Sequential([Dense(1, input_shape=(3, 2), activation="sigmoid")])
        model.compile(loss="mse", metrics=["accuracy", "mae", "mse"])
        model.set_weights([np.full((2, 1), 0.3, "float32"), np.zeros(1, "float32")])
        look = LambdaCallback(
            on_train_batch_end=lambda step, logs, reads=reads: reads and dict(logs)
        )
        history = model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=look).history
        found.append([history[name][0] for name in ("accuracy", "mae", "mse")])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_weights_keep_batches_apart() -> None:
    x = np.arange(6, dtype="float32")[:, None]
    metric = NotedBySample()
    model = Sequential([Dense(1, input_shape=(1,))])
    model.compile(loss="mse", weighted_metrics=[metric])
    model.fit(x, x, batch_size=2, shuffle=False, verbose=0, sample_weight=np.ones(6, "float32"))
    assert metric.told == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
