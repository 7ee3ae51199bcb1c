"""Gates computed again on the way back: the same bits, and fewer numbers in between."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import gatewise
from gatewise import gradients, layers
from gatewise.cells import Specification
from gatewise.errors import InputError, UnsupportedError
from gatewise.kernels import Request, choose, cpu, recompute, recording, recurrent

CELLS: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {}),
    ("GRU", {}),
    ("GRU", {"reset_after": False}),
    ("SimpleRNN", {}),
]
each_cell = pytest.mark.parametrize(("name", "keywords"), CELLS, ids=str)
KERNELS = [
    "reference",
    pytest.param(
        "cpu", marks=pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())
    ),
]
BATCH, STEPS, INPUTS, UNITS = 5, 7, 3, 9


@pytest.fixture(autouse=True)
def few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompute, "_FEWEST_ROWS", 2)
    monkeypatch.setattr(recompute, "_FEWEST_STEPS", 1)
    assert [part.stop for part in recompute.parts(BATCH, STEPS)] == [3, 5]


def layer_of(name: str, mode: str | None, **keywords: Any) -> Any:
    torch.manual_seed(0)
    layer = getattr(layers, name)(
        UNITS, return_sequences=True, return_state=True, recompute=mode, **keywords
    )
    layer.build((None, None, INPUTS))
    return layer


def gradients_of(layer: Any, mask: Tensor | None, given_state: bool) -> list[Tensor]:
    """Return outputs, final state and every gradient of a loss over all of them."""
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(2)  # of the dropout
    x = torch.randn(BATCH, STEPS, INPUTS, generator=generator, requires_grad=True)
    states = len(layer.specification.states)
    state = [torch.randn(BATCH, UNITS, generator=generator) for _ in range(states)]
    leaves = [x, *layer.parameters()]
    if given_state:
        leaves += [part.requires_grad_() for part in state]
    results = layer(x, mask=mask, initial_state=state if given_state else None)
    sent = [torch.randn(result.shape, generator=generator) for result in results]
    return [*results, *torch.autograd.grad(results, leaves, sent)]


@each_cell
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("given_state", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"go_backwards": True}, {"dropout": 0.3, "recurrent_dropout": 0.4, "seed": 3}],
    ids=str,
)
def test_every_gradient_has_the_same_bits(
    name: str, keywords: Any, kernel: str, given_state: bool, masked: bool, options: Any
) -> None:
    generator = torch.Generator().manual_seed(4)
    mask = torch.rand(BATCH, STEPS, generator=generator) > 0.4 if masked else None
    options = {"use_kernel": kernel, **keywords, **options}
    found, expected = (
        gradients_of(layer_of(name, mode, **options).train(), mask, given_state)
        for mode in ("gates", None)
    )
    for one, other in zip(found, expected, strict=True):
        if kernel == "cpu":
            assert torch.equal(one, other)
        else:  # torch's products do not promise a row the same bits
            assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)


def held(layer: Any, steps: int) -> int:
    """Return how many numbers autograd holds for a step and row, the weights' own apart."""
    numbers: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        numbers[tensor.data_ptr()] = tensor.numel()
        return tensor

    x = torch.zeros(BATCH, steps, INPUTS, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    for weight in layer.parameters():
        numbers.pop(weight.data_ptr())
    return round(sum(numbers.values()) / (BATCH * steps))


@pytest.mark.parametrize(
    ("name", "keywords", "plain"),
    [(*cell, plain) for cell, plain in zip(CELLS, (6, 5, 4, 2), strict=True)],
    ids=str,
)
def test_one_number_a_unit_is_kept_instead_of_all_gates(
    name: str, keywords: Any, plain: int
) -> None:
    steps = 50
    assert held(layer_of(name, None, **keywords), steps) == INPUTS + plain * UNITS
    assert held(layer_of(name, "gates", **keywords), steps) == INPUTS + UNITS


@each_cell
def test_second_derivative(name: str, keywords: Any) -> None:
    def second(layer: Any) -> list[Tensor]:
        layer = layer.double()
        x = torch.linspace(-1, 1, 2 * 20 * INPUTS, dtype=torch.float64).view(2, 20, INPUTS)
        x.requires_grad_()
        leaves = [x, *layer.parameters()]
        first = torch.autograd.grad(layer(x)[0].square().sum(), leaves, create_graph=True)
        penalty = torch.stack([grad.square().sum() for grad in first]).sum()
        return list(torch.autograd.grad(penalty, leaves))

    found, expected = (second(layer_of(name, mode, **keywords)) for mode in ("gates", None))
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-12)
        assert one.abs().sum() > 0


@pytest.mark.parametrize("frozen", ["weights", "input"])
def test_what_is_frozen_gets_no_gradient(frozen: str) -> None:
    layer = layer_of("GRU", "gates").requires_grad_(frozen != "weights")
    x = torch.ones(BATCH, STEPS, INPUTS, requires_grad=frozen != "input")
    layer(x)[0].sum().backward()
    assert (x.grad is None) == (frozen == "input")
    assert (layer.kernel.grad is None) == (frozen == "weights")


def test_truncated_backpropagation_runs_over_it() -> None:
    found = []
    for mode in ("gates", None):
        torch.manual_seed(0)
        layer = layers.LSTM(UNITS, return_sequences=True, recompute=mode)
        model = layers_model(layer)
        x, y = torch.randn(BATCH, STEPS, INPUTS), torch.randn(BATCH, STEPS, 1)
        gradients.backward(model, x, y, gradient=gradients.TBPTT(3))
        found.append(layer.kernel.grad)
    assert torch.equal(*found)


def layers_model(layer: Any) -> Any:
    model = gatewise.Sequential([layers.Input((None, INPUTS)), layer, layers.Dense(1)])
    model.compile(loss="mse")
    return model


def test_recording_still_shows_the_gates() -> None:
    layer = layer_of("LSTM", "gates")
    with recording() as records:
        layer(torch.ones(1, 3, INPUTS))[0].sum().backward()
    assert records[0].gates is not None and records[0].gates.shape == (1, 3, 4 * UNITS)
    assert records[0].gate_cotangents is not None


def test_what_it_cannot_serve_is_refused() -> None:
    with pytest.raises(InputError, match=r'recompute expected None or "gates" but got \'all\''):
        layers.LSTM(3, recompute="all")
    with pytest.raises(UnsupportedError, match="do not know the activations elu and sigmoid"):
        layers.LSTM(3, activation="elu", recompute="gates")
    with pytest.raises(UnsupportedError, match="elu"):
        recurrent(
            torch.ones(1, 2, 1), [torch.ones(1, 1, requires_grad=True), torch.ones(1, 1)], None,
            specification=Specification("simple_rnn", "elu"), recompute="gates",
        )  # fmt: skip
    layer = layer_of("GRU", "gates")
    x = torch.ones(2, 3, INPUTS)
    with pytest.raises(UnsupportedError, match=r"no rule under torch\.func"):
        torch.func.grad(lambda x: layer(x)[0].sum())(x)


def test_cudnn_keeps_its_gates() -> None:
    request = Request(Specification("lstm"), "cuda", torch.float32, recompute="gates")
    assert choose(request).kernel != "cudnn"
    assert "cuDNN keeps its gates" in choose(request).reason


def test_a_layer_file_names_it() -> None:
    layer = layers.LSTM(3, recompute="gates")
    assert layers.LSTM.from_config(layer.get_config()).recompute == "gates"
