"""The figures hold the numbers that were measured, and are told apart without colour."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from gatewise.errors import InputError, UnsupportedError
from gatewise.inspect import (
    GateActivity,
    GradientFlow,
    SharingMeasure,
    measure_gates,
    measure_gradient_flow,
    measure_sharing,
)
from gatewise.layers import GRU, LSTM, Bidirectional, Dense, SimpleRNN
from gatewise.models import Sequential
from gatewise.plots import (
    plot_contributions,
    plot_gates,
    plot_gradient_flow,
    plot_history,
    plot_saturation,
)

pytest.importorskip("matplotlib")


def compiled(*layers: Any) -> Sequential:
    model = Sequential([*layers, Dense(1)])
    model.compile(loss="mse", optimizer="sgd")
    return model


@pytest.fixture(scope="module")
def batch() -> tuple[Sequential, np.ndarray, np.ndarray, np.ndarray]:
    model = compiled(Bidirectional(GRU(3, return_sequences=True), input_shape=(None, 2)), LSTM(4))
    x = np.random.default_rng(0).normal(size=(3, 6, 2))
    return model, x, np.ones((3, 1)), np.arange(6) < np.array([[4], [6], [3]])


def drawn(figure: Any) -> None:
    """Draw the figure as a PNG; a warning, e.g. of a layout that does not fit, is an error."""
    page = io.BytesIO()
    figure.savefig(page, format="png", dpi=50)
    assert page.getvalue().startswith(b"\x89PNG")


def test_gradient_flow_draws_what_was_measured(batch: Any) -> None:
    model, x, y, mask = batch
    measure = measure_gradient_flow(model, x, y, mask=mask)
    figure = plot_gradient_flow(measure)
    drawn(figure)
    assert len(figure.axes) == 6
    one, axes = measure.sets[2], figure.axes[4]
    for line, state in zip(axes.lines, one.states.values(), strict=True):
        shown = np.asarray(line.get_ydata(), dtype=float)
        np.testing.assert_array_equal(shown, np.where(state.by_step > 0, state.by_step, np.nan))
    assert len({line.get_linestyle() for line in axes.lines}) == 2
    assert axes.get_title("left") == f"lstm: {one.verdict}"
    assert f"k2 = {one.suggested_k2}" in {text.get_text() for text in figure.axes[5].texts}


def test_the_heat_maps_leave_padding_blank(batch: Any) -> None:
    model, x, _, mask = batch
    measure = measure_gates(model, x, mask=mask, sample=2, units=[0, 2])
    figure = plot_gates(measure, "lstm")
    drawn(figure)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(images) == 6
    for image, (name, signal) in zip(images, measure["lstm"].signals.items(), strict=True):
        shown = np.ma.getdata(image.get_array())
        blank = np.ma.getmaskarray(image.get_array())
        np.testing.assert_array_equal(blank, np.broadcast_to(~mask[2], (2, 6)))
        np.testing.assert_array_equal(shown[~blank], signal.values.T[~blank])
        assert image.axes.get_title("left") == name
        if name in "ifo":
            assert image.get_clim() == (0.0, 1.0)
    assert len(plot_gates(measure).axes) == 4 + 4  # z, r, candidate, h, and a bar beside each


def test_a_map_s_lightness_grows_evenly() -> None:
    from matplotlib import colormaps

    from gatewise.plots.canvas import HEAT, SIGNED

    for name in (HEAT, SIGNED):
        colours = colormaps[name](np.linspace(0, 1, 64))[:, :3]
        assert (np.diff(colours @ [0.299, 0.587, 0.114]) > 0).all()


def test_saturation_has_a_point_for_each_unit_and_gate(batch: Any) -> None:
    model, x, *_ = batch
    measure = measure_gates(model, x)
    figure = plot_saturation(measure)
    drawn(figure)
    lstm = measure["lstm"]
    points = figure.axes[2].lines
    for line, gate in zip(points, "ifo", strict=False):
        np.testing.assert_array_equal(line.get_xdata(), lstm.signals[gate].above)
        np.testing.assert_array_equal(line.get_ydata(), lstm.signals[gate].below)
    assert len({line.get_marker() for line in points[:3]}) == 3


def test_contributions_are_those_of_the_measure(batch: Any) -> None:
    model, x, y, _ = batch
    measure = measure_sharing(model, x, y)
    figure = plot_contributions(measure)
    drawn(figure)
    for axes, one in zip(figure.axes, measure.sets, strict=True):
        heights = [bar.get_height() for bar in axes.patches]
        np.testing.assert_allclose(heights, one.uses[0].totals)
        parts = [np.asarray(line.get_ydata()) for line in axes.lines]
        np.testing.assert_allclose(np.sqrt(sum(part**2 for part in parts)), heights, rtol=1e-6)


def test_history_shows_training_and_validation() -> None:
    values = {"loss": [3.0, 2.0, 1.0], "val_loss": [3.0, 1.0, 2.0], "lstm/growth": [1.0, 1.0, 1.0]}
    figure = plot_history(values)
    drawn(figure)
    [axes] = figure.axes
    training, validation, best = axes.lines
    assert list(training.get_xdata()) == [1, 2, 3] and list(training.get_ydata()) == values["loss"]
    assert list(validation.get_ydata()) == values["val_loss"]
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([2], [1.0])
    drawn(plot_history({"loss": [1.0], "val_loss": [np.nan]}))  # no best epoch to mark
    model = compiled(LSTM(2, input_shape=(None, 1)))
    history = model.fit(np.ones((4, 3, 1)), np.ones((4, 1)), epochs=2, verbose=0)
    drawn(plot_history(history))


def test_bad_use_gets_a_clear_error(batch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, *_ = batch
    for plot, empty in (
        (plot_gradient_flow, GradientFlow((), 0.0, 0)),
        (plot_gates, GateActivity((), 0)),
        (plot_saturation, GateActivity((), 0)),
        (plot_contributions, SharingMeasure((), 0.0, 0, "float32")),
    ):
        with pytest.raises(InputError, match="runs no recurrent layer"):
            plot(empty)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="kept all samples"):
        plot_gates(measure_gates(model, x, sample=None))
    with pytest.raises(InputError, match="kept no unit"):
        plot_gates(measure_gates(model, x, units=[]))
    with pytest.raises(InputError, match="No weight set is called 'x'"):
        plot_gates(measure_gates(model, x), "x")
    with pytest.raises(InputError, match="a simple RNN has none"):
        plot_saturation(measure_gates(compiled(SimpleRNN(2, input_shape=(None, 2))), x))
    with pytest.raises(InputError, match="holds no epoch"):
        plot_history({})
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'gatewise\[plot\]'"):
        plot_history({"loss": [1.0]})
