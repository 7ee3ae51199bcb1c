"""Projection and layer normalization as arguments of the layers, together with everything else."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import torch
from torch import Tensor

from gatewise import gradients
from gatewise.errors import InputError, UnsupportedError
from gatewise.inspect import measure_gates, measure_gradient_flow, measure_parameters
from gatewise.inspect.contributions import step_contributions
from gatewise.kernels import cpu, recording
from gatewise.layers import GRU, LSTM, RNN, Bidirectional, Dense, Layer, LSTMCell
from gatewise.models import Sequential, load_model

OPTIONS: list[tuple[type[Layer], dict[str, Any]]] = [
    (LSTM, {"projection": 3}),
    (LSTM, {"layer_norm": True}),
    (LSTM, {"projection": 3, "layer_norm": True}),
    (GRU, {"layer_norm": True}),
]
each_option = pytest.mark.parametrize(("kind", "options"), OPTIONS)
each_precision = pytest.mark.parametrize("precision", ["float32", "bfloat16"])
needs_native = pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())


def built(kind: type[Layer], options: dict[str, Any], **arguments: Any) -> Any:
    torch.manual_seed(1)
    layer: Any = kind(7, input_shape=(None, 4), **options, **arguments)
    layer.build((None, None, 4))
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return layer


def series(batch: int = 3, steps: int = 6) -> Tensor:
    return torch.randn(batch, steps, 4, generator=torch.Generator().manual_seed(2))


def test_the_weights_and_their_number() -> None:
    layer = built(LSTM, {"projection": 3, "layer_norm": True})
    shapes = {name: tuple(weight.shape) for name, weight in layer.named_parameters()}
    assert shapes == {
        "kernel": (4, 28),
        "recurrent_kernel": (3, 28),
        "bias": (28,),
        "projection": (7, 3),
        "input_gain": (28,),
        "recurrent_gain": (28,),
        "cell_gain": (7,),
        "cell_bias": (7,),
    }
    fresh = LSTM(7, layer_norm=True)
    fresh.build((None, None, 4))
    assert all((gain == 1).all() for gain in (fresh.input_gain, fresh.recurrent_gain))
    assert (fresh.cell_gain == 1).all() and (fresh.cell_bias == 0).all()


@each_option
def test_shapes_and_states(kind: type[Layer], options: dict[str, Any]) -> None:
    layer = built(kind, options, return_sequences=True, return_state=True)
    outputs, *states = layer(series())
    shapes = [tuple(part.shape) for part in (outputs, *states)]
    assert list(layer.compute_output_shape((3, 6, 4))) == shapes
    assert torch.equal(outputs[:, -1], states[0])
    further = layer(series(), initial_state=states)
    assert not torch.equal(further[0], outputs)
    with pytest.raises(InputError, match="initial_state with h"):
        layer(series(), initial_state=[torch.ones(3, 5) for _ in states])


@needs_native
@each_option
@each_precision
def test_the_native_kernel_serves(
    kind: type[Layer], options: dict[str, Any], precision: str
) -> None:
    layer = built(kind, options)
    layer.precision = precision
    choice = layer.kernel_choice(series())
    assert choice.kernel == "cpu", choice.reason


@each_option
@each_precision
def test_a_stream_gives_the_bits_of_the_series(
    kind: type[Layer], options: dict[str, Any], precision: str
) -> None:
    layer, x = built(kind, options, return_sequences=True), series()
    layer.precision = precision
    stream = layer.stream(batch=3)
    steps = torch.stack([stream.step(x[:, t]) for t in range(x.shape[1])], dim=1)
    expected = layer(x)
    if cpu.available():
        assert torch.equal(steps, expected)
    torch.testing.assert_close(steps, expected)
    state = stream.state
    stream.reset()
    pieces = torch.cat([stream.steps(x[:, :2]), stream.steps(x[:, 2:])], dim=1)
    assert torch.equal(pieces, steps) or not cpu.available()
    torch.testing.assert_close(pieces, steps)
    stream.reset(rows=[1])
    assert all((part[1] == 0).all() for part in stream.state)
    stream.state = state
    assert all(torch.equal(one, two) for one, two in zip(stream.state, state, strict=True))


@each_option
def test_lengths_both_dropouts_and_both_directions(
    kind: type[Layer], options: dict[str, Any]
) -> None:
    x, mask = series(), torch.arange(6) < torch.tensor([[0], [4], [6]])
    for backwards, sequences in itertools.product([False, True], repeat=2):
        layer = built(
            kind, options, dropout=0.3, recurrent_dropout=0.3, seed=5, go_backwards=backwards,
            return_sequences=sequences,
        )  # fmt: skip
        layer.train()
        clean = layer(x, mask=mask)
        layer.noise.calls.zero_()
        dirty = layer(torch.where(mask.unsqueeze(-1), x, float("nan")), mask=mask)
        assert torch.equal(clean, dirty)
        assert not torch.equal(clean, layer.eval()(x, mask=mask))
    both = Bidirectional(built(kind, options, return_sequences=True))
    width = options.get("projection", 7)
    assert both(x, mask=mask).shape == (3, 6, 2 * width)
    assert tuple(both.compute_output_shape((3, 6, 4))) == (3, 6, 2 * width)


@each_option
def test_recompute_gives_the_same_gradients(kind: type[Layer], options: dict[str, Any]) -> None:
    grads = []
    for recompute in (None, "gates"):
        layer = built(kind, options, recompute=recompute)
        layer(series()).square().sum().backward()
        grads.append([weight.grad for weight in layer.parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


@each_option
def test_the_config_and_a_file_keep_the_options(
    kind: type[Layer], options: dict[str, Any], tmp_path: Any
) -> None:
    layer = built(kind, options)
    again = type(layer).from_config(json.loads(json.dumps(layer.get_config())))
    assert again.specification == layer.specification and again.output_size == layer.output_size
    model = Sequential([built(kind, options), Dense(1)])
    model.compile(loss="mse", optimizer="sgd")
    model.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert torch.equal(loaded(series()), model(series()))


@each_option
def test_a_ledger_counts_every_weight(kind: type[Layer], options: dict[str, Any]) -> None:
    model = Sequential([built(kind, options), Dense(1)])
    ledger = measure_parameters(model).layers[0]
    assert ledger.count == sum(weight.numel() for weight in model.layers[0].parameters())
    assert ledger.sets[0].count == ledger.count
    total = ledger.sets[0].formula.split(" = ")[0].replace("·", "*")
    assert eval(total) == ledger.count


@each_option
def test_the_steps_add_up_to_the_gradient(kind: type[Layer], options: dict[str, Any]) -> None:
    layer, mask = built(kind, options), torch.arange(6) < torch.tensor([[2], [4], [6]])
    with recording() as records:
        layer(series(), mask=mask).square().sum().backward()
    found = step_contributions(records[0], keep=False)
    assert set(found.sums) == {name for name, _ in layer.named_parameters()}
    for name, total in found.sums.items():
        torch.testing.assert_close(total.float(), getattr(layer, name).grad)
        assert found.sizes[name] >= total.norm().item() * (1 - 1e-6)


@each_option
def test_gates_and_flow_are_measured(kind: type[Layer], options: dict[str, Any]) -> None:
    model, x, y = trained(kind, options)
    activity = measure_gates(model, x).sets[0]
    assert all(len(signal.mean) == 7 for signal in activity.signals.values())
    flow = measure_gradient_flow(model, x, y).sets[0]
    assert set(flow.states) == set(model.layers[0].specification.states)
    # Nothing comes after the last step of c.
    assert all((state.by_step[:-1] > 0).all() for state in flow.states.values())


def test_a_cell_of_rnn_has_the_states_of_the_layer() -> None:
    cell = LSTMCell(7, projection=3, layer_norm=True)
    assert cell.state_size == [3, 7] and cell.output_size == 3
    assert RNN(cell, return_sequences=True)(series()).shape == (3, 6, 3)


def trained(kind: type[Layer], options: dict[str, Any]) -> tuple[Any, Tensor, Tensor]:
    model = Sequential([built(kind, options, return_sequences=True), Dense(1)]).double()
    model.compile(loss="mse", optimizer="sgd")
    return model, series().double(), torch.ones(3, 6, 1, dtype=torch.float64)


def gradients_of(kind: type[Layer], options: dict[str, Any], algorithm: Any) -> list[Tensor]:
    model, x, y = trained(kind, options)
    gradients.backward(model, x, y, gradient=algorithm)
    return [weight.grad for weight in model.parameters()]


@each_option
@pytest.mark.parametrize(
    "algorithm",
    [gradients.BPTT(checkpoint="sqrt"), gradients.TBPTT(6), gradients.RTRL(every=2)],
    ids=["checkpoints", "truncated", "rtrl"],
)
def test_exact_algorithms_give_the_exact_gradient(
    kind: type[Layer], options: dict[str, Any], algorithm: Any
) -> None:
    expected = gradients_of(kind, options, gradients.BPTT())
    for one, other in zip(gradients_of(kind, options, algorithm), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@each_option
@pytest.mark.parametrize("algorithm", [gradients.SnAp1(), gradients.EProp()])
def test_algorithms_of_single_units_are_refused(
    kind: type[Layer], options: dict[str, Any], algorithm: Any
) -> None:
    model, x, y = trained(kind, options)
    with pytest.raises(UnsupportedError, match=r"influence on itself.*projection|layer_norm"):
        gradients.backward(model, x, y, gradient=algorithm)


def test_what_makes_no_sense_is_refused_at_construction() -> None:
    for projection in (0, -1, 2.5, 4, 5):
        with pytest.raises(InputError, match="projection"):
            LSTM(4, projection=projection)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="Use reset_after=True"):
        GRU(4, reset_after=False, layer_norm=True)
