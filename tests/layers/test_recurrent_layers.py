"""What the recurrent layers do beyond Keras's numbers."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from gatewise import layers
from gatewise.cells import Specification
from gatewise.kernels import recording

CELLS = ["LSTM", "GRU", "SimpleRNN"]


def built(cell: str, units: int = 3, features: int = 2, **arguments: Any) -> Any:
    torch.manual_seed(1)
    layer = getattr(layers, cell)(units, **arguments)
    layer.build((None, None, features))
    return layer


def copier(**arguments: Any) -> layers.SimpleRNN:
    """A linear layer of 50 units, h' = W x + U h, with W = 0 and U = 1 or the other way round."""
    return layers.SimpleRNN(50, activation="linear", use_bias=False, **arguments)


@pytest.mark.parametrize("seed", [None, 3])
def test_input_dropout_is_one_mask_for_all_steps(seed: int | None) -> None:
    torch.manual_seed(0)
    layer = copier(
        dropout=0.4,
        seed=seed,
        kernel_initializer="identity",
        recurrent_initializer="zeros",
        return_sequences=True,
    ).train()
    y = layer(torch.ones(20, 6, 50))  # (B, T, H), which is the mask itself
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert set(y.unique().tolist()) == {0.0, (torch.ones(()) / 0.6).item()}
    # 1000 draws: five standard deviations of a share of 0.4 are 0.077.
    assert abs((y[:, 0] == 0).float().mean().item() - 0.4) < 0.077
    assert not torch.equal(y[0], y[1])
    assert not torch.equal(y, layer(torch.ones(20, 6, 50)))
    assert torch.equal(layer.eval()(torch.ones(2, 6, 50)), torch.ones(2, 6, 50))


@pytest.mark.parametrize("seed", [None, 3])
def test_recurrent_dropout_is_one_mask_for_all_steps(seed: int | None) -> None:
    torch.manual_seed(0)
    layer = copier(
        recurrent_dropout=0.5,
        seed=seed,
        kernel_initializer="zeros",
        recurrent_initializer="identity",
        return_sequences=True,
    ).train()
    y = layer(torch.zeros(20, 4, 50), initial_state=torch.ones(20, 50))
    mask = y[:, 0]
    assert set(mask.unique().tolist()) == {0.0, 2.0}
    for t in range(4):
        assert torch.equal(y[:, t], mask ** (t + 1))
    assert torch.equal(layer.eval()(torch.zeros(20, 4, 50), initial_state=[torch.ones(20, 50)]),
                       torch.ones(20, 4, 50))  # fmt: skip


def test_seeded_dropout_repeats_itself() -> None:
    x = torch.randn(3, 5, 2)
    first, second = (
        built("LSTM", dropout=0.5, recurrent_dropout=0.5, seed=11).train() for _ in range(2)
    )
    one, two = first(x), first(x)
    torch.rand(7)  # the global generator has no say
    assert torch.equal(second(x), one)
    assert torch.equal(second(x), two)
    assert not torch.equal(one, two)
    first.noise.calls.zero_()
    assert torch.equal(first(x), one)
    assert torch.equal(built("LSTM", dropout=0.5, recurrent_dropout=0.5, seed=11).train()(x), one)
    assert not torch.equal(built("LSTM", dropout=0.5, seed=12).train()(x), one)


def test_unseeded_dropout_follows_the_global_generator() -> None:
    layer, x = built("GRU", dropout=0.5, recurrent_dropout=0.5).train(), torch.randn(3, 5, 2)
    torch.manual_seed(5)
    one, two = layer(x), layer(x)
    torch.manual_seed(5)
    assert torch.equal(layer(x), one)
    assert not torch.equal(one, two)


@pytest.mark.parametrize("cell", CELLS)
def test_the_padding_does_not_matter(cell: str) -> None:
    layer = built(cell, return_sequences=True)
    x = torch.randn(3, 5, 2)
    mask = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1]])
    expected = layer(torch.where(mask.bool().unsqueeze(-1), x, 3.0), mask=mask)
    poisoned = torch.where(mask.bool().unsqueeze(-1), x, torch.nan).requires_grad_()
    y = layer(poisoned, mask=mask.numpy())
    assert torch.equal(y, expected)
    y.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in layer.parameters())
    assert torch.isfinite(poisoned.grad).all()


@pytest.mark.parametrize("cell", CELLS)
def test_the_last_output_is_the_final_state(cell: str) -> None:
    layer = built(cell, return_state=True)
    last, *states = layer(torch.randn(2, 4, 2))
    assert torch.equal(last, states[0])
    assert len(states) == len(layer.specification.states)


@pytest.mark.parametrize("cell", CELLS)
def test_going_on_from_a_state_is_the_whole_series(cell: str) -> None:
    layer, x = built(cell, return_sequences=True, return_state=True), torch.randn(2, 7, 2)
    whole, *_ = layer(x)
    first, *states = layer(x[:, :3])
    second, *_ = layer(x[:, 3:], initial_state=states)
    torch.testing.assert_close(torch.cat((first, second), dim=1), whole)


@pytest.mark.parametrize("cell", CELLS)
def test_time_order(cell: str) -> None:
    layer, x = built(cell, go_backwards=True, return_sequences=True), torch.randn(2, 5, 2)
    assert torch.equal(layer(x), layer(x, time_order=True).flip(1))


def test_a_callable_activation_runs_as_the_equation() -> None:
    named, x = built("LSTM"), torch.randn(2, 4, 2)
    own = built("LSTM", activation=lambda x: torch.tanh(x) * 1.0)
    torch.testing.assert_close(own(x), named(x))
    assert own.choice().kernel == "reference"
    assert "lambda" in own.choice().reason


def test_the_choice_and_its_reason() -> None:
    layer = built("GRU", use_kernel="reference", recurrent_dropout=0.5)
    assert layer.choice(mask=True, training=True).kernel == "reference"
    assert layer.choice().reason == "asked for by name"
    with recording() as records:
        layer(torch.randn(2, 3, 2))
    assert [record.specification for record in records] == [Specification("gru")]


def test_input_of_other_types_is_cast_to_the_weights() -> None:
    layer = built("LSTM")
    x = np.arange(12).reshape(2, 3, 2)
    expected = layer(torch.tensor(x, dtype=torch.float32))
    assert expected.dtype == torch.float32
    for other in (x, x.astype("float64"), x.astype("float16")[:, :, ::-1][:, :, ::-1], x.tolist()):
        assert torch.equal(layer(other), expected)
    assert layer.double()(torch.tensor(x)).dtype == torch.float64


def test_weights_are_made_in_the_default_type(float64: None) -> None:
    assert {weight.dtype for weight in built("LSTM").parameters()} == {torch.float64}


def test_the_forget_bias_starts_at_one() -> None:
    assert built("LSTM", 2).bias.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert built("LSTM", 2, unit_forget_bias=False).bias.tolist() == [0] * 8


@pytest.mark.parametrize(
    ("cell", "arguments", "count"),
    [
        ("LSTM", {}, 117_248),
        ("LSTM", {"use_bias": False}, 116_736),
        ("GRU", {}, 3 * (128 * 100 + 128 * 128 + 2 * 128)),
        ("GRU", {"reset_after": False}, 3 * (128 * 100 + 128 * 128 + 128)),
        ("SimpleRNN", {}, 128 * 100 + 128 * 128 + 128),
    ],
)
def test_parameter_counts(cell: str, arguments: dict[str, Any], count: int) -> None:
    assert built(cell, 128, 100, **arguments).count_params() == count


def test_the_first_data_builds() -> None:
    layer = layers.LSTM(3, trainable=False)
    assert not layer.built
    layer(torch.zeros(2, 4, 5))
    assert layer.build_shape == (None, 4, 5)
    assert list(layer.state_dict()) == ["kernel", "recurrent_kernel", "bias"]
    assert not any(weight.requires_grad for weight in layer.parameters())
    layer.trainable = True
    assert all(weight.requires_grad for weight in layer.parameters())


def test_weight_sets() -> None:
    layer = built("GRU")
    layer(torch.randn(2, 4, 2)).sum().backward()
    (weights,), (gradients,) = layer.weight_sets(), layer.weight_sets(lambda weight: weight.grad)
    assert weights.weights["kernel"] is layer.kernel
    assert gradients.weights["bias"] is layer.bias.grad
    assert (weights.label, weights.units, weights.input_size) == ("", 3, 2)
    assert weights.sources["bias"] == ("bias",)
    assert list(built("GRU", use_bias=False).weight_sets()[0].weights) == [
        "kernel",
        "recurrent_kernel",
    ]


def test_regularization_counts_what_trains() -> None:
    layer = built(
        "LSTM", kernel_regularizer="l2", recurrent_regularizer="l1", bias_initializer="ones"
    )
    expected = 0.01 * layer.kernel.square().sum() + 0.01 * layer.recurrent_kernel.abs().sum()
    torch.testing.assert_close(layer.regularization(), expected)
    layer.trainable = False
    assert layer.regularization() is None
    assert built("LSTM").regularization() is None


def network() -> nn.Sequential:
    torch.manual_seed(3)
    model = nn.Sequential(
        layers.Embedding(10, 4),
        layers.LSTM(5, return_sequences=True, dropout=0.3, recurrent_dropout=0.3, seed=4),
        layers.Bidirectional(layers.GRU(3, go_backwards=False)),
        layers.Dropout(0.4, seed=5),
        layers.Dense(2, activation="softmax"),
    )
    model(torch.zeros(1, 1, dtype=torch.int64))
    return model


@pytest.mark.parametrize("training", [False, True])
def test_compiles_as_one_graph(training: bool) -> None:
    torch.compiler.reset()
    eager = network().train(training)
    compiled_network = copy.deepcopy(eager)
    compiled = torch.compile(compiled_network, fullgraph=True, backend="aot_eager")
    ids = torch.randint(0, 10, (3, 6))
    for _ in range(2):
        expected, got = eager(ids), compiled(ids)
        torch.testing.assert_close(got, expected)
        (expected**2).sum().backward()
        (got**2).sum().backward()
    for ours, theirs in zip(eager.parameters(), compiled_network.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad, ours.grad)


def test_compiles_with_masks_and_states() -> None:
    torch.compiler.reset()
    layer = built("LSTM", return_sequences=True, return_state=True, go_backwards=True)
    x, state = torch.randn(3, 5, 2), [torch.randn(3, 3), torch.randn(3, 3)]
    mask = torch.rand(3, 5) > 0.5
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for got, expected in zip(compiled(x, mask, state), layer(x, mask, state), strict=True):
        torch.testing.assert_close(got, expected)


def test_exports_with_any_batch_and_time() -> None:
    model, ids = network(), torch.randint(0, 10, (3, 6))
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
    program = torch.export.export(model, (ids,), dynamic_shapes=(({0: batch, 1: time}),))
    longer = torch.randint(0, 10, (5, 11))
    torch.testing.assert_close(program.module()(longer), model(longer))


def test_gradients_of_single_samples() -> None:
    layer, x = built("LSTM"), torch.randn(4, 5, 2)
    weights = dict(layer.named_parameters())

    def loss(weights: dict[str, torch.Tensor], sample: torch.Tensor) -> torch.Tensor:
        return functional_call(layer, weights, (sample.unsqueeze(0),)).square().sum()

    each = vmap(grad(loss), in_dims=(None, 0))(weights, x)
    for i in range(4):
        alone = torch.autograd.grad(loss(weights, x[i]), list(weights.values()))
        for name, expected in zip(weights, alone, strict=True):
            torch.testing.assert_close(each[name][i], expected)


def test_copies_are_independent() -> None:
    layer, x = built("LSTM", dropout=0.5, seed=2).train(), torch.randn(2, 4, 2)
    layer(x)
    copied, pickled = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
    expected = layer(x)
    assert torch.equal(copied(x), expected)
    assert torch.equal(pickled(x), expected)
    with torch.no_grad():
        copied.kernel.zero_()
    assert layer.kernel.abs().sum() > 0
