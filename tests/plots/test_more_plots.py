"""Unrolled network, coloured text, attention and predictions; and the palette's own test."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from gatewise.errors import InputError
from gatewise.inspect import (
    AttentionMeasure,
    AttentionWeights,
    GateActivity,
    SharingMeasure,
    measure_gates,
    measure_sharing,
)
from gatewise.inspect.layout import number
from gatewise.layers import GRU, LSTM, Bidirectional, Dense
from gatewise.models import Sequential
from gatewise.plots import (
    plot_attention,
    plot_contributions,
    plot_forecast,
    plot_gates,
    plot_gradient_flow,
    plot_residuals,
    plot_saturation,
    plot_text,
    plot_unrolled,
)
from gatewise.plots.canvas import COLOURS

pytest.importorskip("matplotlib")

MASK = np.array([[True] * 5, [True] * 3 + [False] * 2])


@pytest.fixture(scope="module")
def model() -> Sequential:
    model = Sequential(
        [Bidirectional(LSTM(3, return_sequences=True), input_shape=(None, 2)), GRU(2), Dense(1)]
    )
    model.compile(loss="mse", optimizer="sgd")
    return model


X = np.random.default_rng(0).normal(size=(2, 5, 2)).astype("float32")


def drawn(figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=40)
    return file.getvalue()


def texts(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_weights_of_variants_are_drawn_by_name() -> None:
    layer = LSTM(4, projection=2, layer_norm=True, peephole=True, input_shape=(None, 2))
    model = Sequential([layer, Dense(1)])
    model.compile(loss="mse", optimizer="sgd")
    x = np.random.default_rng(0).normal(size=(3, 6, 2))
    measure = measure_sharing(model, x, np.ones((3, 1)))
    legend = plot_contributions(measure).axes[0].get_legend()
    assert {"W", "p", "projection"} <= {text.get_text() for text in legend.get_texts()}


def test_the_unrolled_network_has_one_box_of_weights_and_the_measured_parts(
    model: Sequential,
) -> None:
    measure = measure_sharing(model, X, np.ones((2, 1)))
    one = measure["bidirectional (backward)"]
    figure = plot_unrolled(measure, one.name)
    drawn(figure)
    count = sum(gradient.size for gradient in one.gradients.values())
    found = texts(figure)
    assert found.count(f"W U b: one set, {count:,} numbers, for all 5 steps") == 1
    assert [text for text in found if text in "01234" and text] == list("01234")
    for total in one.uses[0].totals:
        assert number(float(total)) in found
    long = measure_sharing(model, np.zeros((1, 40, 2)) + 0.1, np.ones((1, 1)))
    assert "16 of 40 steps" in texts(plot_unrolled(long))
    with pytest.raises(InputError, match="no unrolled network"):
        plot_unrolled(SharingMeasure((), 0.0, 0, "float32"))


def test_a_text_is_coloured_by_the_state_of_a_unit(model: Sequential) -> None:
    measure = measure_gates(model, X, mask=MASK, sample=1, units=[1])
    tokens = ["the", "$x$", "<b>"]
    figure = plot_text(measure, tokens, 1, signal="c")
    drawn(figure)
    assert texts(figure) == tokens
    from matplotlib import colormaps

    values = measure.sets[0].signals["c"].values[:3, 0]
    top = np.abs(values).max()
    for patch, value in zip(figure.axes[0].patches, values, strict=True):
        expected = colormaps["cividis"]((value + top) / (2 * top))
        np.testing.assert_allclose(patch.get_facecolor(), expected, atol=0.02)
    for call, match in (
        (lambda: plot_text(measure, ["one"], 1), "1 tokens for 3 real steps"),
        (lambda: plot_text(measure, tokens, 2), r"units=\[2\]"),
        (lambda: plot_text(measure, tokens, 1, signal="z"), "no signal 'z'. It has: i, f, g"),
        (lambda: plot_text(measure_gates(model, X, sample=None), tokens, 1), "one sample"),
        (lambda: plot_text(GateActivity((), 0), tokens, 1), "runs no recurrent layer"),
    ):
        with pytest.raises(InputError, match=match):
            call()


def test_the_map_of_attention_holds_the_weights() -> None:
    weights = np.array([[[0.25, 0.75], [1.0, 0.0]]])
    measure = AttentionMeasure((AttentionWeights("a", "Attention", 1, 1, weights, None, None),), 1)
    figure = plot_attention(measure, queries=["q", "$r$"], values=["v", "w"])
    drawn(figure)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), weights[0])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["q", "$r$"]
    with pytest.raises(InputError, match="1 names for 2 values"):
        plot_attention(measure, values=["v"])
    with pytest.raises(InputError, match="sample=1 is not in a batch of 1"):
        plot_attention(measure, sample=1)


def test_predictions_are_drawn_beside_the_truth() -> None:
    truth, told = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0])
    figure = plot_residuals(truth, told, "a_$b$")
    drawn(figure)
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_ydata(), told)
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == 3
    windows = [("one", np.zeros(4), truth, told)]
    figure = plot_forecast(windows)
    drawn(figure)
    came, forecast = figure.axes[0].lines[1:3]
    np.testing.assert_array_equal(came.get_ydata(), truth)
    np.testing.assert_array_equal(forecast.get_ydata(), told)
    with pytest.raises(InputError, match="one length"):
        plot_residuals(truth, told[:2])
    with pytest.raises(InputError, match="at least one window"):
        plot_forecast([])


# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision
# deficiency" (2009), at full severity.
DEFICIENCIES = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


def lightness_and_colour(linear: np.ndarray) -> np.ndarray:
    """Return CIE L*a*b* of linear sRGB."""
    matrix = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = np.clip(matrix @ linear, 0, None) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("deficiency", [None, *DEFICIENCIES])
def test_lines_are_told_apart_by_colour_blind_eyes(deficiency: str | None) -> None:
    from matplotlib.colors import to_rgb

    eye = np.eye(3) if deficiency is None else np.array(DEFICIENCIES[deficiency])
    seen = []
    for colour in COLOURS:
        rgb = np.array(to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        seen.append(lightness_and_colour(np.clip(eye @ linear, 0, 1)))
    # A difference of 10 is told apart at a glance; 2.3 is just noticeable.
    assert min(np.linalg.norm(one - other) for one, other in combinations(seen, 2)) > 10


def test_the_two_lines_of_most_figures_differ_in_a_greyscale_print() -> None:
    from matplotlib.colors import to_rgb

    from gatewise.plots.canvas import DASHES

    grey = [float(np.dot(to_rgb(colour), [0.299, 0.587, 0.114])) for colour in COLOURS]
    assert abs(grey[0] - grey[1]) > 0.08
    assert len(set(DASHES)) == len(COLOURS)


@pytest.mark.parametrize(
    ("plot", "call"),
    [
        (plot_gates, r"measure_gates\(model, x\)"),
        (plot_saturation, r"measure_gates\(model, x\)"),
        (partial(plot_text, tokens=["a"], unit=0), r"measure_gates\(model, x\)"),
        (plot_gradient_flow, r"measure_gradient_flow\(model, x, y\)"),
        (plot_contributions, r"measure_sharing\(model, x, y\)"),
        (plot_unrolled, r"measure_sharing\(model, x, y\)"),
        (plot_attention, r"measure_attention\(model, x\)"),
    ],
)
def test_a_plot_of_a_model_says_what_to_measure_first(
    plot: Callable[[Any], object], call: str, model: Sequential
) -> None:
    with pytest.raises(
        InputError, match=rf"but got a Sequential. Measure first: plot_\w+\({call}\)"
    ):
        plot(model)
