"""No ordinary call falls to the reference path."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gatewise import layers
from gatewise.kernels import cpu, recording

pytestmark = pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())

OPTIONS: list[dict[str, Any]] = [
    {},
    {"return_sequences": True},
    {"return_sequences": True, "return_state": True},
    {"go_backwards": True},
    {"dropout": 0.2},
    {"recurrent_dropout": 0.2},
    {"activation": "relu"},
    {"use_bias": False},
    {"stateful": True},
    {"zero_output_for_mask": True, "return_sequences": True},
    {"recompute": "gates"},
]
CELLS = ["LSTM", "GRU", "SimpleRNN"]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_option_runs_natively(
    cell: str, options: dict[str, Any], training: bool, dtype: torch.dtype
) -> None:
    layer = getattr(layers, cell)(5, **options).train(training)
    layer.build((None, None, 3))
    layer.to(dtype)
    x = torch.ones(2, 4, 3, dtype=dtype)
    holes = torch.tensor([[True, False, True, True], [False, True, True, False]])
    states = [torch.ones(2, 5, dtype=dtype) for _ in layer.specification.states]
    for mask in (None, holes):
        for state in (None, states):
            choice = layer.kernel_choice(x, mask)
            assert choice.kernel == "cpu" and choice.reason == f"native, {cpu.isa()}"
            with recording() as records:  # what ran, not what was promised
                layer(x, mask=mask, initial_state=state)
            assert [record.kernel for record in records] == ["cpu"]


def test_the_answer_is_that_of_the_call() -> None:
    layer = layers.LSTM(5, activation="elu")
    choice = layer.kernel_choice(torch.ones(2, 4, 3))
    assert choice.kernel == "reference" and "elu" in choice.reason
    assert layers.LSTM(5).kernel_choice(torch.ones(2, 4, 3, device="meta")).kernel == "reference"
