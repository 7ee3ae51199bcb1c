"""CTC against the real Keras, its masks as lengths, and training with it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gatewise
from gatewise import layers, losses
from gatewise.errors import InputError, UnsupportedError

pytestmark = pytest.mark.usefixtures("keras_in_float64")

LABELS = np.array([[1, 2, 0], [2, 2, 1], [3, 0, 0]])


@settings(
    max_examples=100,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    batch=st.integers(1, 4),
    steps=st.integers(5, 9),
    longest=st.integers(1, 3),
    classes=st.integers(2, 5),
    weighted=st.booleans(),
    seed=st.integers(0, 999),
)
def test_as_keras(
    batch: int, steps: int, longest: int, classes: int, weighted: bool, seed: int
) -> None:
    numbers = np.random.default_rng(seed)
    labels = np.zeros((batch, longest), dtype=int)
    for row in labels:
        count = numbers.integers(1, longest + 1)
        row[:count] = numbers.integers(1, classes, count)
    outputs = numbers.normal(size=(batch, steps, classes))
    weight = torch.tensor(numbers.random(batch)) if weighted else None
    found = []
    for loss in (losses.CTC(), keras.losses.CTC(dtype="float64")):
        p = torch.tensor(outputs, requires_grad=True)
        value = loss(torch.tensor(labels), p, sample_weight=weight)
        value.backward()
        found.append((value.item(), p.grad.numpy()))
    # Keras on torch takes means in float32.
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=3e-7)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=3e-7, atol=1e-12)


def test_masked_steps_at_the_end_do_not_count() -> None:
    outputs = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(7) < torch.tensor([[5], [7], [4]])
    alone = [
        losses.CTC()(torch.tensor(LABELS[i : i + 1]), outputs[i : i + 1, : int(mask[i].sum())])
        for i in range(3)
    ]
    spoiled = outputs.masked_fill(~mask.unsqueeze(-1), 1e30)
    found = losses.CTC()(torch.tensor(LABELS), spoiled, mask=mask)
    assert found.item() == pytest.approx(torch.stack(alone).mean().item(), rel=1e-6)
    with pytest.raises(InputError, match="padding at the end"):
        losses.CTC()(torch.tensor(LABELS), outputs, mask=mask.flip(1))


@pytest.mark.parametrize(
    ("labels", "outputs", "message"),
    [
        (torch.ones(3, 2), torch.zeros(3, 4), "return_sequences=True"),
        (torch.full((3, 2), 4), torch.zeros(3, 5, 4), "class ids from 1 to 3"),
        (torch.ones(3, 6), torch.zeros(3, 5, 4), "6 labels for a series of 5 steps"),
    ],
)
def test_labels_that_do_not_fit(labels: torch.Tensor, outputs: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        losses.CTC().check(labels, outputs)


def test_fit_learns_with_it_and_a_truncated_gradient_is_refused() -> None:
    gatewise.utils.set_random_seed(0)
    model = gatewise.Sequential(
        [layers.LSTM(8, return_sequences=True, input_shape=(None, 2)), layers.Dense(4)]
    )
    x = np.random.default_rng(0).normal(size=(3, 8, 2)).astype("float32")
    model.compile(optimizer=gatewise.optimizers.Adam(0.05), loss="ctc")
    history = model.fit(x, LABELS, epochs=60, verbose=0).history["loss"]
    assert history[-1] < 0.1 * history[0]
    model.compile(optimizer="adam", loss="ctc", gradient="tbptt")
    with pytest.raises((UnsupportedError, InputError)):
        model.fit(x, LABELS, verbose=0)
