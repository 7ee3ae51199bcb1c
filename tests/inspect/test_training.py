"""What one training step does to each gate, against a step taken by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatewise.nn
from gatewise import losses, optimizers
from gatewise.cells import split_gates
from gatewise.errors import InputError
from gatewise.inspect import TrainingMeasure, measure_training
from gatewise.layers import GRU, LSTM, Dense, Dropout, Embedding, SimpleRNN
from gatewise.models import Sequential

OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "torch sgd": lambda model: torch.optim.SGD(model.parameters(), lr=0.1),
    "torch momentum": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    "torch rmsprop": lambda model: torch.optim.RMSprop(model.parameters()),
    "torch adam": lambda model: torch.optim.Adam(model.parameters()),
    "sgd": lambda model: optimizers.SGD().bind(model.named_parameters()),
    "rmsprop": lambda model: optimizers.RMSprop().bind(model.named_parameters()),
    "adam clipped": lambda model: optimizers.Adam(clipnorm=0.01).bind(model.named_parameters()),
}


class Classifier(nn.Module):
    """A recurrent layer and a dense one, called with and without a mask."""

    def __init__(self, recurrent: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.head = Dense(2)
        self.to(x.dtype)
        self(x)
        self.to(x.dtype)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.head(self.recurrent(x, mask=mask))


class Torchlike(nn.Module):
    """Two layers of gatewise.nn, each with two biases."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = gatewise.nn.LSTM(3, 4, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0][:, -1]


def data(*shape: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    x = torch.randn(*shape, dtype=torch.float64)
    return x, torch.randn(shape[0], 2, dtype=torch.float64)


def step_by_hand(model: nn.Module, x: Tensor, y: Tensor, optimizer: Any) -> dict[str, Any]:
    """Take the step on a copy; return gradient, weight and step of each parameter."""
    model, optimizer = copy.deepcopy((model, optimizer))
    model.eval()
    model.zero_grad()
    losses.objective(losses.get("mse"), y, model(x)).backward()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    optimizer.step()
    return {
        name: (gradients[name], before[name], p.detach() - before[name])
        for name, p in model.named_parameters()
    }


@pytest.mark.parametrize("layer", [LSTM, GRU, SimpleRNN])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradient_weight_and_step_are_those_of_a_step_by_hand(name: str, layer: type) -> None:
    x, y = data(3, 5, 4)
    model = Classifier(layer(6, dropout=0.5, recurrent_dropout=0.5), x)
    optimizer = OPTIMIZERS[name](model)
    for _ in range(2):  # so that the optimizer's state matters
        optimizer.zero_grad()
        losses.objective(losses.get("mse"), y, model(x)).backward()
        optimizer.step()
    expected = step_by_hand(model, x, y, optimizer)

    measure = measure_training(model, x, y, loss="mse", optimizer=optimizer)

    [one] = measure.sets
    assert len(one.weights) == 3 * len({weight.gate for weight in one.weights})
    for weight in one.weights:
        norms = [
            split_gates(part, one.cell)[weight.gate].norm().item()
            for part in expected[f"recurrent.{weight.name}"]
        ]
        assert weight.status == "trained"
        assert weight.gradient_norm == pytest.approx(norms[0], rel=1e-10)
        assert weight.weight_norm == pytest.approx(norms[1], rel=1e-10)
        assert weight.step_norm == pytest.approx(norms[2], rel=1e-7)
        assert weight.step_ratio == pytest.approx(norms[2] / norms[1], rel=1e-7)
    for weight in measure.others:
        assert weight.gate == ""
        norms = [part.norm().item() for part in expected[weight.name]]
        assert [weight.gradient_norm, weight.weight_norm] == pytest.approx(norms[:2], rel=1e-10)
        assert weight.step_norm == pytest.approx(norms[2], rel=1e-7)
    assert [weight.name for weight in measure.others] == ["head.kernel", "head.bias"]


def test_two_biases_have_the_gradient_of_their_sum_and_move_together() -> None:
    torch.manual_seed(2)
    model = Torchlike().double()
    x, y = torch.randn(3, 5, 3).double(), torch.randn(3, 4).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = step_by_hand(model, x, y, optimizer)
    measure = measure_training(model, x, y, loss="mse", optimizer=optimizer)
    one = measure["lstm (layer 1)"]
    [bias] = [w for w in one.weights if w.name == "bias" and w.gate == "g"]
    gradient = expected["lstm.bias_ih_l1"][0][8:12]
    assert bias.gradient_norm == pytest.approx(gradient.norm().item(), rel=1e-10)
    assert bias.step_norm == pytest.approx(0.2 * gradient.norm().item(), rel=1e-10)
    assert measure.others == ()


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "sgd"])
def test_a_compiled_model_moves_as_train_on_batch_moves_it(optimizer: str) -> None:
    torch.manual_seed(3)
    model = Sequential(
        [Embedding(9, 4, mask_zero=True), LSTM(5, kernel_regularizer="l2"), Dense(1)]
    )
    model.build((None, None))
    model.compile(optimizer=optimizer, loss="mse")
    ids, y = np.array([[1, 2, 3, 0], [4, 5, 0, 0]]), np.array([1.0, -1.0])
    model.train_on_batch(ids, y)
    measure = measure_training(model, ids, y, sample_weight=np.array([1.0, 3.0]))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    loss = model.train_on_batch(ids, y, sample_weight=np.array([1.0, 3.0]))
    moved = {name: p.detach() - before[name] for name, p in model.named_parameters()}

    assert measure.loss == pytest.approx(loss, rel=1e-6)
    for weight in measure.sets[0].weights:
        part = split_gates(moved[f"lstm.{weight.name}"], "lstm")[weight.gate]
        assert weight.step_norm == pytest.approx(part.norm().item(), rel=1e-3)
        assert weight.step_norm > 0
    for weight in measure.others:
        assert weight.step_norm == pytest.approx(moved[weight.name].norm().item(), rel=1e-3)
    assert measure.optimizer.lower() == optimizer


def test_series_of_different_lengths_are_padded_and_masked() -> None:
    torch.manual_seed(4)
    model = Sequential([LSTM(4, input_shape=(None, 2)), Dropout(0.5), Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    series = [np.ones((3, 2), "float32"), np.ones((5, 2), "float32")]
    x = np.ones((2, 5, 2), "float32")
    x[0, 3:] = np.nan
    mask = np.array([[True] * 3 + [False] * 2, [True] * 5])
    y = np.array([0.0, 1.0])
    assert measure_training(model, series, y) == measure_training(model, x, y, mask=mask)


def snapshot(model: Any) -> dict[str, Any]:
    """Return copies of everything that a measure must not change."""
    parameters = dict(model.named_parameters())
    return {
        "weights": {name: p.detach().clone() for name, p in parameters.items()},
        "gradients": {name: p.grad.clone() for name, p in parameters.items()},
        "trained": {name: p.requires_grad for name, p in parameters.items()},
        "optimizer": copy.deepcopy(model.optimizer.state_dict()),
        "modes": [module.training for module in model.modules()],
        "random": torch.get_rng_state(),
    }


def assert_same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    elif isinstance(one, Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


def test_the_model_and_its_optimizer_stay_bit_for_bit_as_they_were() -> None:
    torch.manual_seed(5)
    model = Sequential(
        [LSTM(4, input_shape=(None, 3), dropout=0.5, return_sequences=True), GRU(3), Dense(1)]
    )
    model.compile(optimizer="adam", loss="mse")
    x, y = torch.randn(4, 5, 3), torch.randn(4, 1)
    model.train_on_batch(x, y)
    model.train()
    before = snapshot(model)
    first = measure_training(model, x, y)
    assert_same(before, snapshot(model))
    assert first == measure_training(model, x, y)  # and the numbers repeat


def statuses(measure: TrainingMeasure, index: int = 0) -> dict[tuple[str, str], str]:
    return {(weight.name, weight.gate): weight.status for weight in measure.sets[index].weights}


def reasons(measure: TrainingMeasure, index: int = 0) -> set[str]:
    return {weight.reason for weight in measure.sets[index].weights}


def measured(model: nn.Module, x: Any, y: Tensor) -> TrainingMeasure:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return measure_training(model, x, y, loss="mse", optimizer=optimizer)


def test_a_frozen_layer_is_named() -> None:
    x, y = data(3, 5, 4)
    model = Classifier(LSTM(4, trainable=False), x)
    measure = measured(model, x, y)
    assert set(statuses(measure).values()) == {"frozen"}
    assert reasons(measure) == {"requires_grad is False (the layer has trainable=False)"}
    assert {weight.step_norm for weight in measure.sets[0].weights} == {0.0}
    assert {weight.status for weight in measure.others} == {"trained"}


def test_a_layer_that_the_optimizer_does_not_hold_is_frozen() -> None:
    x, y = data(3, 5, 4)
    model = Classifier(LSTM(4), x)
    optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1)
    measure = measure_training(model, x, y, loss="mse", optimizer=optimizer)
    assert reasons(measure) == {"the optimizer does not hold it"}
    assert set(statuses(measure).values()) == {"frozen"}


def test_a_learning_rate_of_zero_trains_nothing() -> None:
    x, y = data(3, 5, 4)
    model = Classifier(LSTM(4), x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    measure = measure_training(model, x, y, loss="mse", optimizer=optimizer)
    assert reasons(measure) == {"the step is too small to change it (is the learning rate 0?)"}


def test_one_step_from_a_zero_state_trains_neither_f_nor_u() -> None:
    x, y = data(3, 1, 4)
    measure = measured(Classifier(LSTM(4), x), x, y)
    for (name, gate), status in statuses(measure).items():
        dead = gate == "f" or name == "recurrent_kernel"
        assert status == ("dead" if dead else "trained")
    assert reasons(measure) == {
        "",
        "one real step from a zero state: f has nothing to keep yet",
        "one real step from a zero state: U multiplies zeros",
    }


def test_one_step_from_a_zero_state_trains_no_reset_gate() -> None:
    x, y = data(3, 1, 4)
    measure = measured(Classifier(GRU(4), x), x, y)
    assert statuses(measure)["kernel", "r"] == "dead"
    assert "one real step from a zero state: r has nothing to reset yet" in reasons(measure)


def test_a_batch_without_a_real_step_trains_nothing() -> None:
    x, y = data(3, 5, 4)
    mask = torch.zeros(3, 5, dtype=torch.bool)
    measure = measured(Classifier(LSTM(4), x), (x, mask), y)
    assert set(statuses(measure).values()) == {"dead"}
    assert reasons(measure) == {"every step of this batch is masked"}


def test_a_relu_below_zero_is_dead() -> None:
    x, y = data(3, 5, 4)
    layer = SimpleRNN(4, activation="relu")
    model = Classifier(layer, x)
    assert layer.bias is not None
    nn.init.constant_(layer.bias, -100.0)
    measure = measured(model, x, y)
    assert set(statuses(measure).values()) == {"dead"}
    assert reasons(measure) == {
        "no gradient passes the gate: relu is flat here, or what it gates has none"
    }


def test_an_input_of_zeros_trains_no_w() -> None:
    x, y = data(3, 5, 4)
    measure = measured(Classifier(SimpleRNN(4), x), torch.zeros_like(x), y)
    assert statuses(measure)["kernel", "h"] == "dead"
    assert "x is zero at every step that counts" in reasons(measure)


def test_a_layer_that_the_loss_does_not_reach_is_dead() -> None:
    class Idle(nn.Module):
        def __init__(self, call: bool) -> None:
            super().__init__()
            self.call = call
            self.idle = gatewise.nn.LSTM(4, 3, batch_first=True)
            self.used = gatewise.nn.GRU(4, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            if self.call:
                self.idle(x)
            return self.used(x)[0][:, -1]

    x, y = data(3, 5, 4)
    called, skipped = (measured(Idle(call).double(), x, y) for call in (True, False))
    assert reasons(called) == {"the loss does not depend on this layer's output"}
    assert reasons(skipped) == {"the forward pass does not run this layer"}
    assert skipped.sets[0].uses == 0
    assert set(statuses(skipped, 1).values()) == {"trained"}


def test_bad_use_gets_a_clear_error() -> None:
    x, y = data(3, 5, 4)
    model = Classifier(LSTM(4), x)
    with pytest.raises(InputError, match=r"Classifier has no optimizer.*compile"):
        measure_training(model, x, y, loss="mse")
    with pytest.raises(InputError, match="'sgd' is not an optimizer that can take a step"):
        measure_training(model, x, y, loss="mse", optimizer="sgd")
    foreign = torch.optim.SGD(nn.Linear(1, 1).parameters())
    with pytest.raises(InputError, match="SGD given holds no parameter of this Classifier"):
        measure_training(model, x, y, loss="mse", optimizer=foreign)
    measure = measured(model, x, y)
    with pytest.raises(InputError, match=r"No weight set is called 'x'. Known: 'recurrent'"):
        measure["x"]


def test_an_unbound_optimizer_of_gatewise_is_bound_to_the_copy() -> None:
    x, y = data(3, 5, 4)
    model = Classifier(LSTM(4), x)
    adam = optimizers.Adam()
    measure = measure_training(model, x, y, loss="mse", optimizer=adam)
    bound = adam.bind(model.named_parameters())
    assert measure == measure_training(model, x, y, loss="mse", optimizer=bound)
