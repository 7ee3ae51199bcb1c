"""The layers around the recurrence against the real Keras: outputs, masks and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewise import layers

pytestmark = [
    pytest.mark.usefixtures("float64"),
    # Keras's own variables do not know NumPy 2's copy argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
HYPOTHESIS = settings(
    max_examples=100,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


LAYERS: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "repeat": ("RepeatVector", {"n": 3}, (2, 4)),
    "reshape": ("Reshape", {"target_shape": (3, -1)}, (2, 12)),
    "permute": ("Permute", {"dims": (2, 1)}, (2, 5, 3)),
    "permute three": ("Permute", {"dims": (3, 1, 2)}, (2, 5, 3, 4)),
    "flatten": ("Flatten", {}, (2, 5, 3)),
    "flatten one": ("Flatten", {}, (2,)),
    "layer norm": ("LayerNormalization", {}, (3, 5, 4)),
    "layer norm plain": ("LayerNormalization", {"center": False, "scale": False}, (3, 4)),
    "max": ("MaxPooling1D", {"pool_size": 3}, (2, 8, 3)),
    "max same": ("MaxPooling1D", {"pool_size": 3, "strides": 2, "padding": "same"}, (2, 8, 3)),
    "average": ("AveragePooling1D", {"pool_size": 2, "strides": 1}, (2, 8, 3)),
    "global max": ("GlobalMaxPooling1D", {"keepdims": True}, (2, 5, 3)),
    "global average": ("GlobalAveragePooling1D", {}, (2, 5, 3)),
    "spatial dropout": ("SpatialDropout1D", {"rate": 0.5}, (2, 5, 3)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_outputs_and_gradients(assert_as_keras: Callable[..., None], kind: str) -> None:
    name, arguments, shape = LAYERS[kind]
    theirs = getattr(keras.layers, name)(dtype="float64", **arguments)
    ours = getattr(layers, name)(**arguments)
    assert_as_keras(ours, theirs, numbers(*shape), tolerance=CLOSE)
    their_shape = theirs.compute_output_shape((None, *shape[1:]))
    assert tuple(ours.compute_output_shape((None, *shape[1:]))) == tuple(their_shape)


@HYPOTHESIS
@given(
    filters=st.sampled_from([2, 4]),
    kernel_size=st.integers(1, 4),
    padding=st.sampled_from(["valid", "same", "causal"]),
    strides=st.integers(1, 3),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
    steps=st.integers(7, 10),
    activation=st.sampled_from([None, "relu", "tanh"]),
)
def test_convolutions(
    assert_as_keras: Callable[..., None],
    filters: int,
    kernel_size: int,
    padding: str,
    strides: int,
    dilation: int,
    groups: int,
    bias: bool,
    steps: int,
    activation: str | None,
) -> None:
    arguments: dict[str, Any] = {
        "filters": filters,
        "kernel_size": kernel_size,
        "padding": padding,
        "strides": strides,
        # Neither Keras nor the textbooks define both at once.
        "dilation_rate": dilation if strides == 1 else 1,
        "groups": groups,
        "use_bias": bias,
        "activation": activation,
    }
    theirs = keras.layers.Conv1D(dtype="float64", **arguments)
    assert_as_keras(layers.Conv1D(**arguments), theirs, numbers(2, steps, 4), tolerance=CLOSE)


MERGES: dict[str, tuple[str, dict[str, Any], list[tuple[int, ...]]]] = {
    "add": ("Add", {}, [(2, 5, 3)] * 3),
    "add stretched": ("Add", {}, [(2, 5, 3), (2, 1, 3)]),
    "subtract": ("Subtract", {}, [(2, 3)] * 2),
    "multiply": ("Multiply", {}, [(2, 5, 3)] * 3),
    "average": ("Average", {}, [(2, 5, 3)] * 3),
    "maximum": ("Maximum", {}, [(2, 5, 3)] * 3),
    "minimum": ("Minimum", {}, [(2, 5, 3)] * 3),
    "concatenate": ("Concatenate", {}, [(2, 5, 3), (2, 5, 4)]),
    "concatenate in time": ("Concatenate", {"axis": 1}, [(2, 5, 3), (2, 4, 3)]),
    "dot": ("Dot", {"axes": 1}, [(2, 4), (2, 4)]),
    "dot of sequences": ("Dot", {"axes": (2, 2)}, [(2, 5, 4), (2, 3, 4)]),
    "dot in time": ("Dot", {"axes": (2, 1)}, [(2, 5, 3), (2, 3, 4)]),
    "cosine": ("Dot", {"axes": -1, "normalize": True}, [(2, 4), (2, 4)]),
    "attention": ("Attention", {}, [(2, 5, 4), (2, 3, 4)]),
    "attention, key": ("Attention", {"use_scale": True}, [(2, 5, 4), (2, 3, 6), (2, 3, 4)]),
    "concat attention": (
        "Attention",
        {"use_scale": True, "score_mode": "concat"},
        [(2, 5, 4), (2, 3, 4)],
    ),
    "additive": ("AdditiveAttention", {}, [(2, 5, 4), (2, 3, 6), (2, 3, 4)]),
    "additive, plain": ("AdditiveAttention", {"use_scale": False}, [(2, 5, 4), (2, 3, 4)]),
}


def merge(layer: Any, parts: list[np.ndarray], **call: Any) -> list[np.ndarray]:
    """Return the outputs, and the gradients of a fixed function of them by the parts."""
    tensors = [torch.tensor(part, requires_grad=True) for part in parts]
    result = layer(tensors, **call)
    outputs = list(result) if isinstance(result, tuple) else [result]
    total = sum((output * output.detach().cos()).sum() for output in outputs)
    variables = [
        getattr(one, "value", one) for one in getattr(layer, "weights", layer.parameters())
    ]
    found = torch.autograd.grad(total, [*tensors, *variables])
    return [one.detach().numpy() for one in (*outputs, *found)]


def same_weights(ours: Any, theirs: Any, shapes: list[tuple[int, ...]]) -> None:
    ours.build(shapes)
    theirs.build(shapes)
    weights = [numbers(*weight.shape) for weight in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)


@pytest.mark.parametrize("kind", MERGES)
def test_merging(kind: str) -> None:
    name, arguments, shapes = MERGES[kind]
    theirs = getattr(keras.layers, name)(dtype="float64", **arguments)
    ours = getattr(layers, name)(**arguments)
    same_weights(ours, theirs, shapes)
    parts = [numbers(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    for our, their in zip(merge(ours, parts), merge(theirs, parts), strict=True):
        np.testing.assert_allclose(our, their, **CLOSE)
    opened = [(None, *shape[1:]) for shape in shapes]
    assert tuple(ours.compute_output_shape(opened)) == tuple(theirs.compute_output_shape(opened))
    masks = [
        torch.arange(2 * s[1]).reshape(2, s[1]) % 3 > 0 if len(s) > 2 else None for s in shapes
    ]
    if all(mask is not None for mask in masks) and name not in ("Dot", "Attention"):
        if name != "AdditiveAttention" and len({s[1] for s in shapes}) > 1:
            return
        parts = [torch.tensor(part) for part in parts]
        mine, other = ours.compute_mask(parts, masks), theirs.compute_mask(parts, masks)
        assert mine.tolist() == other.tolist()


@pytest.mark.parametrize("kind", ["Attention", "AdditiveAttention"])
@HYPOTHESIS
@given(
    scale=st.booleans(),
    causal=st.booleans(),
    masked=st.sampled_from(["none", "query", "value", "both"]),
    # Keras warns of a softmax over one value.
    sizes=st.tuples(st.integers(1, 5), st.integers(2, 5), st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 99),
)
def test_attention_with_masks(
    kind: str, scale: bool, causal: bool, masked: str, sizes: tuple[int, ...], seed: int
) -> None:
    queries, values, features, batch = sizes
    theirs = getattr(keras.layers, kind)(use_scale=scale, dtype="float64")
    ours = getattr(layers, kind)(use_scale=scale)
    shapes = [(batch, queries, features), (batch, values, features)]
    same_weights(ours, theirs, shapes)
    parts = [numbers(*shape, seed=seed + place) for place, shape in enumerate(shapes)]
    drawn = np.random.default_rng(seed)
    of_query = torch.tensor(drawn.random((batch, queries)) < 0.7)
    of_value = torch.tensor(drawn.random((batch, values)) < 0.7)
    of_value[:, 0] = True
    mask = [
        of_query if masked in ("query", "both") else None,
        of_value if masked in ("value", "both") else None,
    ]
    tensors = [torch.tensor(part) for part in parts]
    handed_on = [layer.compute_mask(tensors, mask) for layer in (ours, theirs)]
    assert (handed_on[0] is None) == (handed_on[1] is None)
    if handed_on[0] is not None:
        assert handed_on[0].tolist() == handed_on[1].tolist()
    call = {"mask": mask, "return_attention_scores": True, "use_causal_mask": causal}
    for our, their in zip(merge(ours, parts, **call), merge(theirs, parts, **call), strict=True):
        np.testing.assert_allclose(our, their, **CLOSE)


@HYPOTHESIS
@given(
    # Keras cannot mask a single feature.
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(2, 5)),
    masked=st.booleans(),
    momentum=st.sampled_from([0.0, 0.5, 0.99]),
    seed=st.integers(0, 99),
)
def test_batch_normalization_in_training(
    shape: tuple[int, int, int], masked: bool, momentum: float, seed: int
) -> None:
    theirs = keras.layers.BatchNormalization(momentum=momentum, dtype="float64")
    ours = layers.BatchNormalization(momentum=momentum).train()
    ours.build(shape)
    theirs.build(shape)
    mask = torch.tensor(np.random.default_rng(seed).random(shape[:2]) < 0.6) if masked else None
    for step in range(3):
        x = torch.tensor(numbers(*shape, seed=seed + step), requires_grad=True)
        z = x.detach().clone().requires_grad_()
        our, their = ours(x, mask=mask), theirs(z, training=True, mask=mask)
        np.testing.assert_allclose(our.detach(), their.detach(), **CLOSE)
        (our**3).sum().backward()
        (their**3).sum().backward()
        np.testing.assert_allclose(x.grad, z.grad, rtol=1e-7, atol=1e-8)
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, **CLOSE)
    x = torch.tensor(numbers(*shape, seed=seed))
    np.testing.assert_allclose(ours.eval()(x).detach(), theirs(x).detach(), **CLOSE)


def test_the_moving_averages_are_never_trained() -> None:
    layer = layers.BatchNormalization(input_shape=(3,))
    layer.build((None, 3))
    layer.trainable = False
    layer.trainable = True
    assert [p.requires_grad for p in layer.parameters()] == [True, True, False, False]


def test_global_average_looks_at_real_steps_only(assert_as_keras: Callable[..., None]) -> None:
    mask = np.array([[1, 1, 0, 0, 0], [1, 0, 1, 0, 1]], dtype=bool)
    theirs = keras.layers.GlobalAveragePooling1D(dtype="float64")
    assert_as_keras(layers.GlobalAveragePooling1D(), theirs, numbers(2, 5, 3), mask=mask)


INNER: dict[str, tuple[dict[str, Any], int]] = {
    "Dense": ({"units": 3, "activation": "tanh"}, 3),
    "LSTM": ({"units": 3}, 4),
    "GRU": ({"units": 2, "return_sequences": True}, 4),
    "Flatten": ({}, 4),
    "LayerNormalization": ({}, 3),
    "GlobalMaxPooling1D": ({}, 4),
}


@HYPOTHESIS
@given(
    inner=st.sampled_from(sorted(INNER)),
    sizes=st.tuples(*(st.integers(1, 3) for _ in range(4))),
    masked=st.booleans(),
    seed=st.integers(0, 99),
)
def test_time_distributed(
    assert_as_keras: Callable[..., None],
    inner: str,
    sizes: tuple[int, ...],
    masked: bool,
    seed: int,
) -> None:
    arguments, axes = INNER[inner]
    theirs = keras.layers.TimeDistributed(
        getattr(keras.layers, inner)(**arguments, dtype="float64"), dtype="float64"
    )
    ours = layers.TimeDistributed(getattr(layers, inner)(**arguments))
    # In Keras a mask of the outer steps does not fit a recurrent layer inside.
    masked = masked and inner not in ("LSTM", "GRU")
    mask = np.random.default_rng(seed).random(sizes[:2]) < 0.6 if masked else None
    x = numbers(*sizes[:axes], seed=seed)
    assert_as_keras(ours, theirs, x, mask=mask, seed=seed, tolerance=CLOSE)
    described = ours.get_config()
    assert layers.TimeDistributed.from_config(described).get_config() == described


def test_spatial_dropout_drops_whole_features() -> None:
    y = layers.SpatialDropout1D(0.5, seed=3).train()(torch.ones(8, 4, 16))
    assert set(y.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(y, y[:, :1].expand_as(y))


@pytest.mark.parametrize("name", sorted({one[0] for one in [*LAYERS.values(), *MERGES.values()]}))
def test_configurations_come_back(name: str) -> None:
    arguments = next(a for n, a, _ in [*LAYERS.values(), *MERGES.values()] if n == name)
    layer = getattr(layers, name)(**arguments)
    assert layers.get_layer_class(name).from_config(layer.get_config()).get_config() == (
        layer.get_config()
    )
