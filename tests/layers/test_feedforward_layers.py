"""Dense, Activation, Dropout, Embedding, Masking and Input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch.func import functional_call, grad, vmap

from gatewise import layers
from gatewise.errors import InputError

KERAS = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@KERAS
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (2, 5, 4), (2, 3, 2, 4)])
@pytest.mark.parametrize("activation", [None, "sigmoid", "softmax", "leaky_relu"])
@pytest.mark.parametrize("use_bias", [False, True])
def test_dense_is_keras(
    assert_as_keras: Callable[..., None],
    shape: tuple[int, ...],
    activation: str | None,
    use_bias: bool,
) -> None:
    assert_as_keras(
        layers.Dense(3, activation, use_bias),
        keras.layers.Dense(3, activation, use_bias, dtype="float64"),
        np.random.default_rng(1).normal(size=shape),
    )


@KERAS
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["relu", "elu", "softplus", "hard_sigmoid", "exponential"])
def test_activation_is_keras(assert_as_keras: Callable[..., None], name: str) -> None:
    x = np.random.default_rng(2).normal(size=(3, 4, 5))
    hard = {"tolerance": {"rtol": 1e-6, "atol": 1e-6}} if name == "hard_sigmoid" else {}
    ours, theirs = layers.Activation(name), keras.layers.Activation(name, dtype="float64")
    assert_as_keras(ours, theirs, x, **hard)


@KERAS
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("mask_zero", [False, True])
def test_embedding_is_keras(assert_as_keras: Callable[..., None], mask_zero: bool) -> None:
    ids = np.random.default_rng(3).integers(0, 7, size=(3, 5))
    ours = layers.Embedding(7, 4, mask_zero=mask_zero)
    theirs = keras.layers.Embedding(7, 4, mask_zero=mask_zero, dtype="float64")
    assert_as_keras(ours, theirs, ids)
    mask, expected = ours.compute_mask(torch.tensor(ids)), theirs.compute_mask(torch.tensor(ids))
    assert (mask is None) == (expected is None) == (not mask_zero)
    assert mask is None or torch.equal(mask, expected)


@KERAS
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_masking_is_keras(assert_as_keras: Callable[..., None], value: float) -> None:
    x = np.random.default_rng(4).normal(size=(3, 5, 2))
    x[0, 2:] = value
    x[1, 1, 0] = value  # one feature alone is no padding
    ours = layers.Masking(value)
    theirs = keras.layers.Masking(value, dtype="float64")
    assert_as_keras(ours, theirs, x)
    mask = ours.compute_mask(torch.tensor(x))
    assert torch.equal(mask, theirs.compute_mask(torch.tensor(x)))
    assert mask.tolist() == [[True, True, False, False, False], [True] * 5, [True] * 5]


def test_masks_pass_where_steps_stay() -> None:
    x, mask = torch.zeros(2, 3, 4), torch.tensor([[True, True, False]] * 2)
    for passing in (layers.Dense(2), layers.Dropout(0.5), layers.Activation("relu")):
        assert passing.compute_mask(x, mask) is mask
    assert layers.LSTM(2, return_sequences=True).compute_mask(x, mask) is mask
    assert layers.LSTM(2).compute_mask(x, mask) is None
    assert layers.Bidirectional(layers.LSTM(2)).compute_mask(x, mask) is None
    assert layers.Embedding(3, 2).compute_mask(torch.zeros(2, 3, dtype=torch.int64), mask) is None


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.uint8, torch.float32])
def test_embedding_takes_any_number_type(dtype: torch.dtype) -> None:
    layer = layers.Embedding(5, 2)
    ids = torch.tensor([[1, 4, 0]])
    assert torch.equal(layer(ids.to(dtype)), layer(ids))
    assert torch.equal(layer(ids.to(dtype).numpy()), layer(ids))


def test_embedding_starts_from_given_weights() -> None:
    matrix = np.arange(6.0).reshape(3, 2)
    for weights in (matrix, [matrix]):
        layer = layers.Embedding(3, 2, weights=weights, trainable=False)
        assert layer(torch.tensor([[2]])).tolist() == [[[4.0, 5.0]]]
        assert not layer.embeddings.requires_grad


def test_embedding_gradients_of_single_samples() -> None:
    layer, ids = layers.Embedding(5, 2), torch.tensor([[1, 1, 2], [0, 4, 4]])
    layer(ids)

    def loss(weights: dict[str, torch.Tensor], sample: torch.Tensor) -> torch.Tensor:
        return functional_call(layer, weights, (sample,)).sum()

    each = vmap(grad(loss), in_dims=(None, 0))(dict(layer.named_parameters()), ids)
    expected = [[0, 2, 1, 0, 0], [1, 0, 0, 0, 2]]
    assert each["embeddings"][:, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("ids", "bad", "position"),
    [
        ([[0, 4], [5, 9]], "5", "(1, 0)"),
        ([[0, -1], [5, 0]], "-1", "(0, 1)"),
        ([5], "5", "(0,)"),
    ],
)
def test_embedding_names_an_id_outside_the_vocabulary(
    ids: list[Any], bad: str, position: str
) -> None:
    with pytest.raises(InputError) as raised:
        layers.Embedding(5, 2)(torch.tensor(ids))
    assert str(raised.value) == (
        f"Embedding 'embedding' got the token id {bad} at position {position}, outside its "
        "vocabulary of 5: ids from 0 to 4 are accepted. "
        "Raise input_dim, or map unknown tokens to a known id."
    )


@pytest.mark.parametrize("seed", [None, 9])
def test_dropout_keeps_the_mean(seed: int | None) -> None:
    torch.manual_seed(1)
    layer, x = layers.Dropout(0.25, seed=seed).train(), torch.ones(100, 100)
    y = layer(x)
    assert set(y.unique().tolist()) == {0.0, (torch.ones(()) / 0.75).item()}
    # 10,000 draws: five standard deviations of a share of 0.25 are 0.0217.
    assert abs((y == 0).double().mean().item() - 0.25) < 0.0217
    assert not torch.equal(y, layer(x))
    assert torch.equal(layer.eval()(x), x)


def test_dropout_takes_the_whole_range() -> None:
    x = torch.ones(3, 4)
    assert torch.equal(layers.Dropout(0).train()(x), x)
    for seed in (None, 1):
        assert torch.equal(layers.Dropout(1.0, seed=seed).train()(x), torch.zeros(3, 4))


def test_dropout_noise_shape() -> None:
    y = layers.Dropout(0.5, noise_shape=(None, 1, None), seed=1).train()(torch.ones(8, 5, 8))
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert 0 < (y == 0).float().mean().item() < 1


def test_seeded_dropout_is_independent_of_the_place() -> None:
    """Neighbours, rows and calls are uncorrelated, whatever the seed."""
    for seed in (0, 1, 2**40):
        layer = layers.Dropout(0.5, seed=seed).train()
        calls = torch.stack([layer(torch.ones(64, 64)) for _ in range(2)]) - 1  # ±1
        count = 64 * 63
        for product in (
            calls[0, :, 1:] * calls[0, :, :-1],
            calls[0, 1:] * calls[0, :-1],
            calls[0, 1:] * calls[1, 1:],
        ):
            assert abs(product.sum().item()) < 5 * count**0.5


def test_dropout_gradient_is_its_mask() -> None:
    layer, x = layers.Dropout(0.5, seed=3).train(), torch.ones(4, 6, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_input_is_a_shape() -> None:
    shape = layers.Input((None, 100), batch_size=32)
    assert shape.batch_shape == (32, None, 100)
    assert layers.Input([28]).batch_shape == (None, 28)
    assert layers.Input.from_config(shape.get_config()).get_config() == shape.get_config()


@pytest.mark.parametrize(
    ("layer", "given", "expected"),
    [
        (layers.Dense(3), (None, None, 4), (None, None, 3)),
        (layers.Embedding(9, 4), (None, None), (None, None, 4)),
        (layers.Dropout(0.1), (None, 7), (None, 7)),
        (layers.Masking(), (None, 5, 2), (None, 5, 2)),
        (layers.LSTM(3), (None, None, 2), (None, 3)),
        (layers.LSTM(3, return_sequences=True), (None, None, 2), (None, None, 3)),
        (
            layers.LSTM(3, return_sequences=True, return_state=True),
            (4, 5, 2),
            ((4, 5, 3), (4, 3), (4, 3)),
        ),
        (layers.GRU(3, return_state=True), (4, 5, 2), ((4, 3), (4, 3))),
        (layers.Bidirectional(layers.GRU(3)), (None, 5, 2), (None, 6)),
        (layers.Bidirectional(layers.GRU(3), "sum"), (None, 5, 2), (None, 3)),
        (layers.Bidirectional(layers.GRU(3), None), (None, 5, 2), ((None, 3), (None, 3))),
        (
            layers.Bidirectional(layers.GRU(3, return_state=True)),
            (None, 5, 2),
            ((None, 6), (None, 3), (None, 3)),
        ),
    ],
)
def test_output_shapes(layer: Any, given: Any, expected: Any) -> None:
    assert layer.compute_output_shape(given) == expected
