"""A layer that is moved or converted before it has weights remembers it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gatewise.layers import LSTM, Bidirectional, Dense, Dropout, TimeDistributed
from gatewise.models import Model, Sequential

# A device that every machine has and whose tensors hold no numbers.
ELSEWHERE = "meta"


def program() -> Sequential:
    return Sequential([Bidirectional(LSTM(4)), Dropout(0.5), Dense(1)])


def test_an_unbuilt_model_is_built_where_it_was_moved() -> None:
    model = program().to(ELSEWHERE)
    assert model.device.type == ELSEWHERE
    model.build((None, None, 3))
    assert {parameter.device.type for parameter in model.parameters()} == {ELSEWHERE}
    assert program().device.type == "cpu"


def test_an_unbuilt_model_is_built_in_the_type_it_was_converted_to() -> None:
    model = program().double()
    assert model.dtype == torch.float64
    x, y = torch.randn(4, 5, 3, dtype=torch.float64), torch.randn(4, 1, dtype=torch.float64)
    model.compile(loss="mse")
    model.fit(x, y, epochs=1, verbose=0)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}


def feedforward() -> Sequential:
    return Sequential([TimeDistributed(Dense(4)), Dropout(0.5), Dense(1)])


@pytest.mark.parametrize("make", [lambda: Dense(4), lambda: TimeDistributed(Dense(4)), feedforward])
def test_weights_come_to_where_the_data_is(make: Any) -> None:
    layer = make()
    assert layer(torch.ones(2, 5, 3, device=ELSEWHERE)).device.type == ELSEWHERE
    assert {parameter.device.type for parameter in layer.parameters()} == {ELSEWHERE}


def test_weights_come_to_the_data_in_a_model_of_ones_own() -> None:
    class Own(Model):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = Dense(4), Dense(1)

        def call(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x))

    model = Own()
    assert model(torch.ones(2, 5, 3, device=ELSEWHERE)).device.type == ELSEWHERE


def test_a_move_changes_no_initial_weight() -> None:
    torch.manual_seed(0)
    plain = LSTM(4)
    plain.build((None, None, 3))
    torch.manual_seed(0)
    moved = LSTM(4).to("cpu")
    moved.build((None, None, 3))
    assert torch.equal(plain.kernel, moved.kernel)
    assert moved.to(torch.float64).kernel.dtype == torch.float64
