"""The variants of LSTM and GRU as layers: with everything that a recurrent layer can do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gatewise
from gatewise.cells import input_product, scan
from gatewise.errors import InputError, UnsupportedError
from gatewise.gradients import ARTBP, BPTT, RTRL, TBPTT, EProp, SnAp1, backward
from gatewise.initializers import Chrono, OrthogonalGates
from gatewise.inspect import measure_parameters, measure_sharing, render_sharing
from gatewise.interchange.torch import to_torch
from gatewise.kernels import cpu
from gatewise.layers import GRU, LSTM, Bidirectional, Dense, SimpleRNN
from gatewise.layers.noise import NoiseSource

OPTIONS: dict[str, dict[str, Any]] = {
    "peephole": {"peephole": True},
    "coupled gates": {"coupled_gates": True},
    "cell clip": {"cell_clip": 0.1},
    "zoneout": {"zoneout": (0.1, 0.3)},
    "weight dropout": {"weight_dropout": 0.4},
    "all": {
        "peephole": True,
        "coupled_gates": True,
        "cell_clip": 0.2,
        "zoneout": (0.2, 0.0),
        "weight_dropout": 0.3,
        "dropout": 0.2,
        "recurrent_dropout": 0.2,
    },
}
X = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[1, 1, 0, 1, 1, 0], [1] * 6, [0, 1, 1, 1, 0, 0]]).bool()

each_option = pytest.mark.parametrize("name", OPTIONS)


def made(name: str, kind: Any = LSTM, **more: Any) -> Any:
    """Return a built layer of 5 units, its weights drawn, none of them zero."""
    options = OPTIONS[name]
    if kind is GRU:
        options = {key: options[key] for key in ("weight_dropout", "zoneout") if key in options}
        if "zoneout" in options:
            options["zoneout"] = options["zoneout"][0]
    layer = kind(5, **options, seed=3, **more)
    layer.build((None, None, 4))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5)
    return layer


def of_equation(layer: Any, x: Tensor, mask: Tensor | None) -> Tensor:
    """The outputs by the equation in inference."""
    noise = layer.rates.draw(layer.noise, x, layer.state_sizes, training=False)
    state = [torch.zeros(len(x), layer.units, dtype=x.dtype) for _ in layer.specification.states]
    weights = layer.weight_list()
    product = input_product(x, weights, mask, layer.specification)
    return scan(product, weights, state, mask, noise, layer.specification).outputs


@pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())
@pytest.mark.parametrize("kind", [LSTM, GRU])
@each_option
def test_every_option_runs_in_the_fused_kernel(name: str, kind: Any) -> None:
    for mask in (None, MASK):
        layer = made(name, kind, return_sequences=True)
        assert layer.kernel_choice(X, mask).kernel == "cpu"
        assert layer.train().kernel_choice(X, mask).kernel == "cpu"
        result, expected = layer.eval()(X, mask=mask), of_equation(layer, X, mask)
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


@each_option
def test_configuration_file_and_weights_come_back(name: str, tmp_path: Path) -> None:
    layer = made(name)
    again = LSTM.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    model = gatewise.Sequential([LSTM(5, **OPTIONS[name], input_shape=(None, 4)), Dense(1)])
    model.save(tmp_path / "model.gatewise")
    loaded = gatewise.models.load_model(tmp_path / "model.gatewise")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


@each_option
def test_bidirectional_is_both_directions(name: str) -> None:
    layer = Bidirectional(LSTM(5, **OPTIONS[name], return_sequences=True)).eval()
    outputs = layer(X)
    backward_outputs = of_equation(layer.backward_layer, X, None)
    torch.testing.assert_close(outputs[..., :5], of_equation(layer.forward_layer, X, None))
    torch.testing.assert_close(outputs[..., 5:], backward_outputs)


@pytest.mark.parametrize("kind", [LSTM, GRU])
@each_option
def test_a_stream_has_the_bits_of_the_whole(name: str, kind: Any) -> None:
    layer = made(name, kind, return_sequences=True).eval()
    stream = layer.stream(batch=3)
    whole = layer(X)
    steps = torch.stack([stream.step(X[:, t]) for t in range(X.shape[1])], dim=1)
    assert torch.equal(steps, whole)
    stream.reset()
    pieces = [stream.steps(X[:, :1]), stream.steps(X[:, 1:])]
    assert torch.equal(torch.cat(pieces, dim=1), whole)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
    stream.reset()
    assert torch.equal(stream.step(X[:, 0]), whole[:, 0])  # the weights of when it was opened


@each_option
def test_recompute_gives_the_same_bits(name: str) -> None:
    grads = []
    for recompute in (None, "gates"):
        layer = made(name, return_sequences=True, recompute=recompute).train()
        layer(X, mask=MASK).square().sum().backward()
        grads.append([weight.grad for weight in layer.parameters()])
    for one, other in zip(*grads, strict=True):
        assert torch.equal(one, other)


@each_option
def test_compiled_training_draws_the_same_noise(name: str) -> None:
    torch.compiler.reset()
    results = []
    for way in (
        lambda layer: layer,
        lambda layer: torch.compile(layer, backend="aot_eager", fullgraph=True),
    ):
        layer = made(name, return_sequences=True).train()
        outputs = way(layer)(X)
        outputs.square().sum().backward()
        results.append([outputs.detach(), *(weight.grad for weight in layer.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@each_option
def test_export(name: str) -> None:
    layer = made(name).eval()
    exported = torch.export.export(layer, (X,)).module()
    torch.testing.assert_close(exported(X), layer(X))


def model_of(name: str, **more: Any) -> Any:
    """Return a compiled model in double precision; no noise in it."""
    options = {key: value for key, value in OPTIONS[name].items() if "dropout" not in key}
    model = gatewise.Sequential(
        [LSTM(5, **options, return_sequences=True, input_shape=(None, 4), **more), Dense(1)]
    )
    model.compile(loss="mse")
    model.double().eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in model.parameters():
            draw = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight.copy_(draw * 0.5)
    return model


def gradients(model: Any, gradient: Any) -> list[Tensor]:
    y = torch.randn(3, 6, 1, generator=torch.Generator().manual_seed(5)).double()
    model.zero_grad()
    backward(model, X.double(), y, gradient=gradient)
    return [weight.grad.clone() for weight in model.parameters()]


def assert_same(ours: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@each_option
def test_exact_gradient_algorithms_agree(name: str) -> None:
    model = model_of(name)
    expected = gradients(model, BPTT())
    assert_same(gradients(model, BPTT(checkpoint="sqrt")), expected)
    assert_same(gradients(model, TBPTT(6)), expected)
    if "zoneout" not in OPTIONS[name]:
        for every in (1, 4):
            assert_same(gradients(model, RTRL(every=every)), expected)
    torch.manual_seed(0)
    assert all(grad.isfinite().all() for grad in gradients(model, ARTBP(mean_length=3)))


@pytest.mark.parametrize("every", [1, 4])
@each_option
def test_traces_are_exact_where_units_do_not_mix(name: str, every: int) -> None:
    """SnAp-1 where every gate's U is diagonal, e-prop where U is zero."""
    model = model_of(name)
    U = model.layers[0].recurrent_kernel
    with torch.no_grad():
        U.mul_(torch.eye(5).repeat(1, U.shape[1] // 5))
    diagonal = U.detach() != 0
    expected, found = gradients(model, BPTT()), gradients(model, SnAp1(every=every))
    for grads in (expected, found):
        grads[1] = grads[1][diagonal]  # beside the diagonal a weight mixes units
    assert_same(found, expected)
    with torch.no_grad():
        U.zero_()
    expected, found = gradients(model, BPTT()), gradients(model, EProp(every=every))
    assert_same(found, expected)


@each_option
def test_the_inspector_knows_every_weight(name: str) -> None:
    model = model_of(name)
    (ledger, *_) = measure_parameters(model).layers
    (one,) = ledger.sets
    assert one.count == ledger.count == sum(w.numel() for w in model.layers[0].parameters())
    assert one.formula.endswith(f"= {one.count:,}")
    assert sum(weight.count for weight in one.weights) == one.count
    y = torch.zeros(3, 6, 1).double()
    sharing = measure_sharing(model, X.double(), y)
    assert max(sharing.sets[0].rounding_errors.values()) < 1e-12
    assert len(render_sharing(sharing)) > 100
    lines: list[str] = []
    model.summary(gates=True, print_fn=lines.append)
    shown = "\n".join(lines)
    assert f"{one.count:,}" in shown
    options = OPTIONS[name]
    if options.get("peephole"):
        assert "p" in shown.split("gate", 1)[1].split("\n", 1)[0].split()
        assert {"peephole"} <= {weight.name for weight in one.weights if weight.gate == "o"}
        assert not any(w.name == "peephole" for w in one.weights if w.gate == "g")
    kept = {one.library for one in one.conventions if one.count is not None}
    if options.get("coupled_gates"):
        assert kept == set()
    elif options.get("peephole"):
        assert kept == {"ONNX"}
    else:
        assert kept == {"Keras", "PyTorch", "cuDNN", "ONNX"}


def test_zoneout_keeps_a_share_in_inference_and_units_in_training() -> None:
    layer = made("zoneout", return_sequences=True, return_state=True)
    noise = layer.rates.draw(layer.noise, X, (5, 5), training=False)
    assert noise.zoneout_h.unique().item() == pytest.approx(0.1)
    assert noise.zoneout_c.unique().item() == pytest.approx(0.3)
    assert noise.zoneout_h.untyped_storage().nbytes() == 5 * 4  # not one number a step
    wide = torch.zeros(50, 40, 1)
    drawn = layer.rates.draw(layer.noise, wide, (30, 30), training=True)
    assert set(drawn.zoneout_h.unique().tolist()) == {0.0, 1.0}
    assert drawn.zoneout_h.mean().item() == pytest.approx(0.1, abs=0.01)
    assert drawn.zoneout_c.mean().item() == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rate", [1e-12, 0.15, 0.999])
def test_native_masks_are_the_counted_ones(dtype: torch.dtype, rate: float) -> None:
    """To the bit those of the integer hash in torch, which runs where a graph is traced."""
    like = torch.zeros((), dtype=dtype)
    native = NoiseSource(7).marks((3, 50, 17), rate, like)
    traced = torch.compile(NoiseSource(7).marks, backend="eager", fullgraph=True)
    assert torch.equal(native, traced((3, 50, 17), rate, like))
    dropout = torch.compile(NoiseSource(7), backend="eager", fullgraph=True)
    assert torch.equal(NoiseSource(7)((3, 50, 17), rate, like), dropout((3, 50, 17), rate, like))
    torch.manual_seed(1)
    first = NoiseSource(None).marks((4, 5), 0.5, like)
    second = NoiseSource(None).marks((4, 5), 0.5, like)
    torch.manual_seed(1)
    assert torch.equal(NoiseSource(None).marks((4, 5), 0.5, like), first)
    assert not torch.equal(first, second)


def test_weight_dropout_drops_the_same_weights_at_every_step() -> None:
    layer = made("weight dropout", return_sequences=True).train()
    layer(X).square().sum().backward()
    dropped = layer.recurrent_kernel.grad == 0
    assert 0.2 < dropped.float().mean() < 0.6
    calls = [made("weight dropout").train()(X) for _ in range(2)]
    assert torch.equal(*calls)  # the seed repeats them
    again = made("weight dropout").train()
    assert not torch.equal(again(X), again(X))
    assert torch.equal(again.eval()(X), again(X))


@pytest.mark.parametrize("gradient", [TBPTT(2), TBPTT(2, 4), SnAp1(), EProp(), BPTT("sqrt")])
@pytest.mark.parametrize("name", ["zoneout", "weight dropout", "all"])
def test_algorithms_in_pieces_train_with_noise(name: str, gradient: Any) -> None:
    options = {**OPTIONS[name], "dropout": 0.0}
    model = gatewise.Sequential(
        [LSTM(5, **options, return_sequences=True, input_shape=(None, 4)), Dense(1)]
    )
    model.compile(loss="mse", optimizer="adam", gradient=gradient)
    history = model.fit(X, torch.zeros(3, 6, 1), epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_chrono_spreads_the_memory() -> None:
    for kind, options, keeper in (
        (LSTM, {}, 1), (LSTM, {"coupled_gates": True}, 0), (GRU, {}, 0),
        (GRU, {"reset_after": False}, 0),
    ):  # fmt: skip
        layer: Any = kind(400, bias_initializer=Chrono(50, seed=1), **options)
        layer.build((None, None, 2))
        bias = layer.bias.detach()
        row = bias if bias.dim() == 1 else bias[0]
        gates = row.reshape(-1, 400)
        kept = gates[keeper]
        spans = kept.exp()
        assert spans.min() >= 1 and spans.max() <= 49
        assert spans.mean().item() == pytest.approx(25, abs=2)
        others = [gate for n, gate in enumerate(gates) if n != keeper]
        if len(gates) == 4:
            assert torch.equal(others.pop(0), -kept)
        assert not torch.stack(others).any()
        assert bias.dim() == 1 or not bias[1].any()
        assert kind.from_config(layer.get_config()).bias_initializer == Chrono(50, seed=1)


def test_orthogonal_gates() -> None:
    for kind in (LSTM, GRU, SimpleRNN):
        layer: Any = kind(6, recurrent_initializer=OrthogonalGates(gain=2.0, seed=1))
        layer.build((None, None, 2))
        parts = layer.recurrent_kernel.detach().split(6, dim=1)
        for part in parts:
            torch.testing.assert_close(part @ part.T, 4 * torch.eye(6))
        assert len({round(part[0, 0].item(), 6) for part in parts}) == len(parts)


def test_what_makes_no_sense_is_refused_with_the_reason() -> None:
    for arguments, message in (
        ({"cell_clip": -1.0}, "positive number"),
        ({"zoneout": 1.0}, "below 1"),
        ({"zoneout": (0.1, 0.1, 0.1)}, "one for each of h, c"),
        ({"weight_dropout": 1.0}, "below 1"),
        ({"coupled_gates": True, "recurrent_activation": "relu"}, "between 0 and 1"),
    ):
        with pytest.raises(InputError, match=message):
            LSTM(3, **arguments)
    with pytest.raises(InputError, match="one for each of h,"):
        GRU(3, zoneout=(0.1, 0.2))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="simple_rnn has none"):
        SimpleRNN(3, bias_initializer=Chrono(9))
    for lag in (None, 2, math.inf):
        with pytest.raises(InputError, match="max_lag"):
            Chrono(lag)
    with pytest.raises(InputError, match="bias of an LSTM or GRU"):
        Dense(3, bias_initializer=Chrono(9), input_shape=(2,)).build((None, 2))
    with pytest.raises(InputError, match="recurrent layer"):
        Dense(3, kernel_initializer=OrthogonalGates()).build((None, 2))
    with pytest.raises(UnsupportedError, match="zoneout"):
        RTRL().supports(gatewise.Sequential([LSTM(3, zoneout=0.1, input_shape=(None, 2))]))
    for name in ("peephole", "coupled gates", "cell clip"):
        with pytest.raises(UnsupportedError, match="which torch's module has not"):
            to_torch(made(name))
