"""fit, evaluate and predict: sources of data, order, history, and the state they leave."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import gatewise
from gatewise.callbacks import Callback, LambdaCallback
from gatewise.errors import InputError, UnsupportedError
from gatewise.layers import LSTM, Dense, Dropout, Embedding
from gatewise.models import Sequential
from gatewise.optimizers import SGD, RMSprop
from gatewise.utils import set_random_seed


def task(samples: int = 37, steps: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return series whose label is whether the first channel's sum is positive."""
    x = np.random.default_rng(0).normal(size=(samples, steps, 3)).astype("float32")
    return x, (x[:, :, 0].sum(axis=1) > 0).astype("float32")


def classifier(dropout: float = 0.0, **compiling: Any) -> Sequential:
    model = Sequential(
        [LSTM(8, input_shape=(None, 3)), Dropout(dropout), Dense(1, activation="sigmoid")]
    )
    model.compile(
        **{"loss": "binary_crossentropy", "optimizer": "adam", "metrics": ["accuracy"]} | compiling
    )
    return model


def lines() -> Sequential:
    """Return a model that changes nothing: a learning rate of 0 and a weight of 1."""
    model = Sequential([Dense(1, use_bias=False, input_shape=(1,))])
    model.set_weights([np.ones((1, 1))])
    model.compile(loss="mse", optimizer=SGD(0.0))
    return model


class Watched(Sequential):
    """Keeps every input that it is called with."""

    def __init__(self) -> None:
        super().__init__([Dense(1, input_shape=(1,))])
        self.seen: list[list[float]] = []
        self.compile(loss="mse", optimizer=SGD(0.0))

    def forward_with_mask(
        self, x: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        if self.training:
            self.seen.append(x[:, 0].tolist())
        return super().forward_with_mask(x, mask)


def test_it_learns() -> None:
    set_random_seed(0)
    x, y = task(200)
    model = classifier(optimizer=RMSprop(0.01))
    history = model.fit(x, y, epochs=40, verbose=0)
    assert history.history["accuracy"][-1] > 0.9 > history.history["accuracy"][0]
    assert model.history is history
    assert history.params["epochs"] == 40
    assert history.params["steps"] == 7
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("shuffle", [True, False])
def test_equal_seeds_give_equal_bits(shuffle: bool) -> None:
    x, y = task()
    runs = []
    for seed in (1, 1, 2):
        set_random_seed(seed)
        model = classifier(dropout=0.5)
        history = model.fit(x, y, epochs=3, batch_size=8, shuffle=shuffle, verbose=0).history
        runs.append((history, model.get_weights()))
    first, again, other = runs
    assert first[0] == again[0] != other[0]
    assert all(np.array_equal(a, b) for a, b in zip(first[1], again[1], strict=True))


def test_every_epoch_sees_every_sample_once_in_a_new_order() -> None:
    model = Watched()
    x = np.arange(10.0)[:, None]
    model.fit(x, x, epochs=2, batch_size=4, verbose=0)
    assert [len(batch) for batch in model.seen] == [4, 4, 2] * 2
    one, two = (list(chain(*model.seen[at : at + 3])) for at in (0, 3))
    assert sorted(one) == sorted(two) == list(range(10))
    assert one != two != list(range(10))
    model.seen.clear()
    model.fit(x, x, batch_size=4, shuffle=False, verbose=0)
    assert list(chain(*model.seen)) == list(range(10))


def test_validation_split_takes_the_last_part_before_shuffling() -> None:
    model = Watched()
    x = np.arange(10.0)[:, None]
    model.fit(x, x, validation_split=0.25, verbose=0)
    assert sorted(model.seen[0]) == list(range(7))


def test_validation_data_and_frequency() -> None:
    model = lines()
    x = np.array([[1.0], [2.0]])
    history = model.fit(
        x, x * 0, epochs=5, validation_data=(x * 2, x * 0), validation_freq=2, verbose=0
    )
    assert history.history["loss"] == [2.5] * 5
    assert history.history["val_loss"] == [10.0] * 2
    weighted = model.fit(
        x, x * 0, validation_data=(x, x * 0, np.array([1.0, 0.0])), validation_freq=[1], verbose=0
    )
    assert weighted.history["val_loss"] == [0.5]
    from_loader = model.fit(
        x, x * 0, validation_data=DataLoader(TensorDataset(torch.ones(3, 1), torch.zeros(3))),
        verbose=0,
    )  # fmt: skip
    assert from_loader.history["val_loss"] == [1.0]


def test_initial_epoch_and_stopping() -> None:
    x, y = task(8)
    model = classifier()
    assert model.fit(x, y, epochs=5, initial_epoch=3, verbose=0).epoch == [3, 4]
    seen: list[int] = []

    def stop(step: int, logs: Any) -> None:
        seen.append(step)
        model.stop_training = True

    history = model.fit(
        x, y, epochs=9, batch_size=2, callbacks=LambdaCallback(on_train_batch_end=stop), verbose=0
    )
    assert seen == [0]
    assert history.epoch == [0]
    assert model.fit(x, y, epochs=2, verbose=0).epoch == [0, 1]


def test_hooks_come_in_order_and_logs_of_a_batch_are_read_when_wanted() -> None:
    calls: list[str] = []
    values: list[dict[str, float]] = []

    class Listener(Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            calls.append("train begin")

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            calls.append(f"epoch {epoch} begin")

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            calls.append(f"batch {batch} begin")

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            calls.append(f"batch {batch} end")
            values.append(dict(logs))

        def on_test_begin(self, logs: Any = None) -> None:
            calls.append("test begin")

        def on_test_end(self, logs: Any = None) -> None:
            calls.append("test end")

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            calls.append(f"epoch {epoch} end " + " ".join(logs))

        def on_train_end(self, logs: Any = None) -> None:
            calls.append("train end " + " ".join(logs))

    x, y = task(4)
    history = classifier().fit(
        x, y, batch_size=2, validation_data=(x, y), callbacks=[Listener()], verbose=0
    )
    assert calls == [
        "train begin", "epoch 0 begin", "batch 0 begin", "batch 0 end", "batch 1 begin",
        "batch 1 end", "test begin", "test end",
        "epoch 0 end loss accuracy val_loss val_accuracy",
        "train end loss accuracy val_loss val_accuracy",
    ]  # fmt: skip
    assert values[-1]["loss"] == history.history["loss"][0]


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.y = torch.tensor(x), torch.tensor(y)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]


class Stream(IterableDataset[Any]):
    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs

    def __iter__(self) -> Iterator[Any]:
        return iter([self.pairs[index] for index in range(len(self.pairs))])


def test_arrays_tensors_datasets_and_loaders_train_alike() -> None:
    x, y = task(10)
    pairs = Pairs(x, y)
    sources: list[tuple[Any, Any, dict[str, int]]] = [
        (x, y, {"batch_size": 4}),
        (torch.tensor(x), torch.tensor(y), {"batch_size": 4}),
        (x.astype("float64"), y.astype("int64"), {"batch_size": 4}),
        (pairs, None, {"batch_size": 4}),
        (Stream(pairs), None, {"batch_size": 4}),
        (DataLoader(pairs, batch_size=4), None, {}),
        (list(x), list(y), {"batch_size": 4}),
    ]
    found = []
    for data, labels, size in sources:
        set_random_seed(3)
        model = classifier()
        history = model.fit(data, labels, epochs=2, shuffle=False, verbose=0, **size)
        found.append((history.history["loss"], model.evaluate(data, labels, verbose=0, **size)))
        assert model.predict(data, verbose=0).shape == (10, 1)
    for other in found[1:]:
        np.testing.assert_allclose(other[0], found[0][0], rtol=1e-6)
        np.testing.assert_allclose(other[1], found[0][1], rtol=1e-6)


def test_a_datasets_third_item_is_the_sample_weight() -> None:
    x, y = torch.ones(4, 1), torch.zeros(4)
    weighted = TensorDataset(x, y, torch.tensor([4.0, 0.0, 0.0, 0.0]))
    assert lines().evaluate(weighted, verbose=0) == 1.0
    assert lines().evaluate(TensorDataset(x * 2, y), verbose=0) == 4.0
    assert lines().evaluate(x, y, sample_weight=[0, 0, 0, 2], verbose=0) == 0.5


def test_steps_per_epoch_go_on_where_the_last_epoch_stopped() -> None:
    model = Watched()
    x = np.arange(5.0)[:, None]
    model.fit(x, x, epochs=3, steps_per_epoch=2, batch_size=2, shuffle=False, verbose=0)
    assert model.seen == [[0, 1], [2, 3], [4], [0, 1], [2, 3], [4]]
    assert model.evaluate(x, x, batch_size=1, steps=2, return_dict=True, verbose=0).keys() == {
        "loss"
    }
    once = iter([(torch.ones(2, 1), torch.ones(2, 1))])
    with pytest.raises(InputError, match="ran out before 3 steps"):
        model.fit(once, steps_per_epoch=3, verbose=0)


def test_batches_of_the_size_that_makes_the_steps() -> None:
    model = Watched()
    x = np.arange(10.0)[:, None]
    model.fit(x, x, steps_per_epoch=2, validation_split=0.2, shuffle=False, verbose=0)
    assert model.seen == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_the_optimizer_is_bound_as_soon_as_it_can_be() -> None:
    model = Sequential([LSTM(2), Dense(1)])
    model.compile(loss="mse", optimizer="adam")
    assert model.optimizer is None
    model.build((None, None, 3))
    assert model.optimizer is not None
    assert len(model.optimizer.param_groups[0]["params"]) == 5


def test_a_compiled_model_is_what_the_inspector_takes() -> None:
    x, y = task(6)
    model = classifier()
    model.fit(x, y, verbose=0)
    weights = model.get_weights()
    sharing = gatewise.inspect.measure_sharing(model, x, y)
    assert all(one.relative_error < 1e-5 for one in sharing.sets)
    assert gatewise.inspect.measure_training(model, x, y)
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))


def test_the_weights_frozen_before_or_after_compile_stay() -> None:
    x, y = task(8)
    model = classifier()
    before = model.get_weights()
    model.layers[0].trainable = False
    model.fit(x, y, verbose=0)
    after = model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(before[:3], after[:3], strict=True))
    assert not np.array_equal(before[3], after[3])
    model.layers[0].trainable = True
    model.fit(x, y, verbose=0)
    assert not np.array_equal(after[0], model.get_weights()[0])
    model.trainable = False
    with pytest.raises(InputError, match="Every weight of sequential is frozen"):
        model.fit(x, y, verbose=0)


def test_one_batch_at_a_time() -> None:
    x, y = task(6)
    model = classifier()
    tested = model.test_on_batch(x, y, return_dict=True)
    assert isinstance(tested, dict)
    trained = model.train_on_batch(x, y)
    assert isinstance(trained, list)
    assert trained == list(tested.values())
    assert model.test_on_batch(x, y) != trained
    assert np.array_equal(model.predict_on_batch(x), model.predict(x, verbose=0))
    assert not model.training


def test_unweighted_and_weighted_metrics() -> None:
    x = torch.tensor([[1.0], [3.0]])
    model = lines()
    model.compile(loss="mse", optimizer=SGD(0.0), metrics=["mae"], weighted_metrics=["mse"])
    values = model.evaluate(x, x * 0, sample_weight=[1.0, 0.0], return_dict=True, verbose=0)
    assert values == {"loss": 0.5, "mae": 2.0, "mse": 1.0}
    with pytest.raises(InputError, match="reported as 'mse'"):
        model.compile(loss="mse", metrics=["mse", "mse"])


def test_a_masked_sequence_output_counts_real_steps_only() -> None:
    ids = np.array([[1, 2, 0, 0], [2, 1, 2, 1]])
    y = np.zeros((2, 4, 1))
    y[0, 2:] = 1e6
    model = Sequential([Embedding(3, 4, mask_zero=True), LSTM(3, return_sequences=True), Dense(1)])
    model.compile(loss="mse", metrics=["mae"])
    spoiled = model.evaluate(ids, y, verbose=0)
    assert max(spoiled) < 1e3  # type: ignore[arg-type,type-var]
    y[0, 2:] = 0
    assert model.evaluate(ids, y, verbose=0) == spoiled


def test_an_explicit_mask_does_what_an_embeddings_mask_does() -> None:
    x, _ = task(4)
    y = np.random.default_rng(1).normal(size=(4, 5, 2))
    mask = np.arange(5) < np.array([[5], [1], [3], [2]])
    model = Sequential([LSTM(4, return_sequences=True, input_shape=(None, 3)), Dense(2)])
    model.compile(loss="mse", optimizer="sgd")
    first = model.evaluate(x, y, mask=mask, verbose=0)
    x[~mask], y[~mask] = np.nan, np.nan
    assert model.evaluate(x, y, mask=mask, verbose=0) == pytest.approx(first, rel=1e-6)
    assert np.isfinite(model.fit(x, y, mask=mask, epochs=2, verbose=0).history["loss"]).all()


def test_compile_refuses_what_it_cannot_honour() -> None:
    model = lines()
    for arguments, cure in [
        ({"steps_per_execution": 4}, "Leave it at 1"),
        ({"jit_compile": True}, "torch.compile"),
        ({"loss_weights": [1.0]}, "one"),
    ]:
        with pytest.raises(UnsupportedError, match=cure):
            model.compile(loss="mse", **arguments)  # type: ignore[arg-type]
    model.compile(loss="mse", gradient="bptt", run_eagerly=True, jit_compile=False)


def test_an_optimizer_of_torch_is_taken_as_it_is() -> None:
    x, y = task(8)
    model = classifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model.compile(loss="binary_crossentropy", optimizer=optimizer)
    before = model.get_weights()
    model.fit(x, y, verbose=0)
    assert model.optimizer is optimizer
    assert not np.array_equal(before[0], model.get_weights()[0])


def test_ctrl_c_leaves_a_whole_model() -> None:
    x, y = task(8)
    model = classifier()

    def interrupt(epoch: int, logs: Any = None) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=9, callbacks=[LambdaCallback(on_epoch_begin=interrupt)], verbose=0)
    assert model.history is not None
    assert model.history.epoch == [0, 1]
    assert not any(module.training for module in model.modules())
    assert np.isfinite(model.predict(x, verbose=0)).all()
    assert model.fit(x, y, verbose=0).epoch == [0]


def test_read_only_and_reversed_arrays_are_read() -> None:
    x, y = task(6)
    model = classifier()
    expected = model.predict(x[::-1].copy(), verbose=0)
    assert np.array_equal(model.predict(x[::-1], verbose=0), expected)
    x.setflags(write=False)
    y.setflags(write=False)
    model.fit(x, y, verbose=0)


@pytest.mark.parametrize("samples", [1, 2, 33])
def test_odd_numbers_of_samples_and_steps(samples: int) -> None:
    x, y = task(samples, steps=1)
    history = classifier().fit(x, y, verbose=0, batch_size=32)
    assert np.isfinite(history.history["loss"]).all()


def test_a_generator_builds_the_model_and_loses_no_batch() -> None:
    x = np.random.default_rng(0).normal(size=(7, 3)).astype("float32")
    y = x[:, :1]
    seen = []

    def batches():
        for row in range(7):
            seen.append(row)
            yield x[row : row + 1], y[row : row + 1]

    gatewise.utils.set_random_seed(0)
    model = Sequential([Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    steps = []
    counting = gatewise.callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: steps.append(b))
    model.fit(batches(), verbose=0, callbacks=[counting])
    assert seen == steps == list(range(7))
    empty = Sequential([Dense(1)])
    empty.compile(optimizer="sgd", loss="mse")
    with pytest.raises(InputError, match="gave no batch"):
        empty.fit(iter(()), verbose=0)
