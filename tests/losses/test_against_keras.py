"""Losses, their gradients and their reductions against the real Keras, in float64."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch

from gatewise import losses

pytestmark = pytest.mark.usefixtures("keras_in_float64")

CLASSES = {
    "binary": ("BinaryCrossentropy", [{}, {"from_logits": True}, {"label_smoothing": 0.2}]),
    "one-hot": ("CategoricalCrossentropy", [{}, {"from_logits": True}, {"label_smoothing": 0.2}]),
    "ids": (
        "SparseCategoricalCrossentropy",
        [{}, {"from_logits": True}, {"ignore_class": 2}, {"ignore_class": -1}],
    ),
    "real": ("MeanSquaredError", [{}]),
    "real ": ("MeanAbsoluteError", [{}]),
    "real  ": ("Huber", [{}, {"delta": 0.3}]),
    "positive": ("Poisson", [{}]),
    "distribution": ("KLDivergence", [{}]),
}
CASES = [
    pytest.param(kind.strip(), name, arguments, id=f"{name} {arguments}")
    for kind, (name, settings) in CLASSES.items()
    for arguments in settings
]
REDUCTIONS = ["sum_over_batch_size", "sum", "mean_with_sample_weight"]


def _draw(kind, leading, arguments, seed=0):
    """Return labels and predictions for a kind of loss, probabilities 0 and 1 among them."""
    random = np.random.default_rng(seed)
    shape = (*leading, 4)
    logits = random.normal(size=shape)
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    sigmoid = 1 / (1 + np.exp(-logits))
    sigmoid.flat[:4] = [0.0, 1.0, 1e-9, 1 - 1e-9]
    softmax[(0,) * len(leading)] = [0.0, 1.0, 0.0, 0.0]
    raw = arguments.get("from_logits", False)
    ids = random.integers(0, 4, size=leading)
    if arguments.get("ignore_class") == -1:
        ids.flat[-1] = -1
    return {
        "binary": (random.integers(0, 2, shape).astype(float), logits if raw else sigmoid),
        "one-hot": (np.eye(4)[np.abs(ids)], logits if raw else softmax),
        "ids": (ids, logits if raw else softmax),
        "real": (random.normal(size=shape), logits),
        "positive": (random.poisson(2.0, shape).astype(float), sigmoid),
        "distribution": (softmax[::-1].copy(), softmax),
    }[kind]


def _both(name, arguments, labels, predictions, mask=None, weight=None):
    """Return Keras's loss and gradient, and ours."""
    theirs = getattr(keras.losses, name)(**arguments)
    ours = getattr(losses, name)(**arguments)
    p_theirs = torch.tensor(predictions, requires_grad=True)
    p_ours = torch.tensor(predictions, requires_grad=True)
    labels = torch.tensor(labels)
    weight = None if weight is None else torch.tensor(weight)
    mask = None if mask is None else torch.tensor(mask)
    if mask is not None:
        keras.src.backend.set_keras_mask(p_theirs, mask)
    # Keras multiplies the mask into the weights that it is given, in place.
    a = theirs(labels, p_theirs, sample_weight=None if weight is None else weight.clone())
    b = losses.objective(ours, labels, p_ours, mask=mask, sample_weight=weight)
    a.backward()
    b.backward()
    return (a.item(), p_theirs.grad.numpy()), (b.item(), p_ours.grad.numpy())


# Keras on torch takes means in float32 whatever floatx is; only sums stay in float64.
DIVIDED = 3e-7


def _assert_equal(theirs, ours, tolerance=DIVIDED):
    assert ours[0] == pytest.approx(theirs[0], rel=tolerance, abs=1e-15)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=tolerance, atol=1e-15)
    if len(ours[1]) > 2:  # one or two rows may hold nothing but bounded probabilities
        assert np.abs(ours[1]).sum() > 0


def _tolerance(kind, reduction):
    summed = reduction == "sum" and kind in ("one-hot", "ids", "distribution")
    return 1e-12 if summed else DIVIDED


@pytest.mark.parametrize(("kind", "name", "arguments"), CASES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("leading", [(1,), (7,), (3, 5), (2, 1)])
def test_plain(kind, name, arguments, reduction, leading):
    arguments = {**arguments, "reduction": reduction}
    _assert_equal(
        *_both(name, arguments, *_draw(kind, leading, arguments)), _tolerance(kind, reduction)
    )


@pytest.mark.parametrize(("kind", "name", "arguments"), CASES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_with_sample_weights(kind, name, arguments, reduction):
    arguments = {**arguments, "reduction": reduction}
    weight = np.array([0.0, 2.0, 0.5, 1.0, 3.0, 1.0, 0.25])
    _assert_equal(
        *_both(name, arguments, *_draw(kind, (7,), arguments), weight=weight),
        _tolerance(kind, reduction),
    )


@pytest.mark.parametrize(("kind", "name", "arguments"), CASES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_with_a_mask_of_steps(kind, name, arguments, reduction, weighted):
    arguments = {**arguments, "reduction": reduction}
    mask = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=bool)
    weight = np.random.default_rng(1).uniform(size=(3, 5)) if weighted else None
    _assert_equal(
        *_both(name, arguments, *_draw(kind, (3, 5), arguments), mask, weight),
        _tolerance(kind, reduction),
    )


def test_one_label_column_against_one_output_column():
    random = np.random.default_rng(0)
    p = random.uniform(size=(6, 1))
    y = random.integers(0, 2, 6)
    _assert_equal(*_both("BinaryCrossentropy", {}, y, p))
    _assert_equal(*_both("BinaryCrossentropy", {}, y[:, None], p))
    _assert_equal(*_both("MeanSquaredError", {}, y, p, weight=random.uniform(size=6)))
    ids = random.integers(0, 3, (6, 1))
    p = random.dirichlet(np.ones(3), 6)
    _assert_equal(*_both("SparseCategoricalCrossentropy", {}, ids, p))


def test_labels_without_the_last_axis_of_a_sequence():
    random = np.random.default_rng(0)
    p, y = random.uniform(size=(3, 5, 1)), random.integers(0, 2, (3, 5))
    theirs, ours = _both("BinaryCrossentropy", {}, y, p)
    _assert_equal(theirs, ours)
    # With a mask Keras wants the axis written out; ours gives the same with and without it.
    mask = random.uniform(size=(3, 5)) < 0.6
    theirs, with_axis = _both("BinaryCrossentropy", {}, y[..., None], p, mask)
    _assert_equal(theirs, with_axis)
    without = losses.objective(
        losses.BinaryCrossentropy(), torch.tensor(y), torch.tensor(p), mask=torch.tensor(mask)
    )
    assert without.item() == pytest.approx(theirs[0], rel=DIVIDED)


@pytest.mark.parametrize(("kind", "name", "arguments"), CASES)
def test_per_step_losses_in_float32(kind, name, arguments):
    keras.config.set_floatx("float32")
    labels, predictions = _draw(kind, (3, 5), arguments)
    labels = torch.tensor(labels)
    labels = labels.float() if labels.is_floating_point() else labels
    predictions = torch.tensor(predictions).float()
    theirs = getattr(keras.losses, name)(reduction=None, **arguments)(labels, predictions)
    ours = getattr(losses, name)(**arguments).per_step(labels, predictions)
    assert ours.shape == (3, 5)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


NAMES = [
    "mse",
    "MSE",
    "mae",
    "MAE",
    "bce",
    "BCE",
    "kld",
    "KLD",
    "huber",
    "poisson",
    "Huber",
    "Poisson",
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "mean_squared_error",
    "mean_absolute_error",
    "kl_divergence",
    "KLDivergence",
    "BinaryCrossentropy",
    "SparseCategoricalCrossentropy",
    "MeanSquaredError",
]


@pytest.mark.parametrize("name", NAMES)
def test_keras_s_names(name):
    theirs = keras.losses.get(name)
    expected = theirs.__name__ if callable(theirs) and hasattr(theirs, "__name__") else theirs.name
    ours = losses.get(name)
    assert ours.name.removesuffix("_loss") == expected.removesuffix("_loss")
