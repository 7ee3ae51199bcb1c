"""What happens over time as text that fits 80 columns: the gradient's way back, and the gates.

Answers come first, in words; the numbers that carry them follow.
"""

from __future__ import annotations

import math

import numpy as np

from gatewise.cells import KEEPERS
from gatewise.inspect.activity import GateActivity, SetActivity, Signal
from gatewise.inspect.flow import GradientFlow, SetFlow
from gatewise.inspect.layout import bar, columns, joined, number, paragraph, shortened

_BAR_WIDTH = 64
_UNITS_SHOWN = 3


def render_gradient_flow(measure: GradientFlow) -> str:
    """Return how the gradient flows back: the answer in words, then each set over t and lag."""
    lines = paragraph(f"Does the gradient reach back through time? {flow_verdict(measure)}")
    lines += paragraph(
        f"Measured on {measure.batch} samples, loss {number(measure.loss)}. The lag k of a "
        "gradient is how many real steps it has gone back from the step where it entered the layer."
    )
    for one in measure.sets:
        lines += ["", *_flow_lines(one)]
    return "\n".join(lines)


def flow_verdict(measure: GradientFlow) -> str:
    """Say in a sentence how far back the gradient reaches."""
    if not measure.sets:
        return "The forward pass runs no recurrent layer."
    parts = []
    for verdict, words in (
        ("exploding", "It explodes in {}."),
        ("vanishing", "It vanishes in {}."),
        ("no gradient", "None reaches {}."),
        ("one step", "There is one step only in {}."),
        ("fine", "Yes, to the first step, in {}."),
    ):
        names = [one.name for one in measure.sets if one.verdict == verdict]
        if names:
            few = joined(names) if len(names) <= 4 else f"{len(names)} weight sets"
            parts.append(words.format(few))
    return " ".join(parts)


def _flow_lines(one: SetFlow) -> list[str]:
    lines = paragraph(
        f"{shortened(one.name, 40)} ({one.kind}): {one.verdict}, T = {one.steps}"
        + (f"; {flow_facts(one)}" if one.verdict != "no gradient" else "")
    )
    if one.cure:
        lines += paragraph(one.cure, "  cure   ")
    if one.verdict == "no gradient":
        return lines
    for name, state in one.states.items():
        steps = np.nan_to_num(state.by_step, nan=0.0)
        lines.append(f"  d{name} over t  {bar(steps, _BAR_WIDTH)}")
    header = ["lag k", *(f"‖∂L/∂{name}‖" for name in one.states), "left"]
    rows = [
        [
            f"{lag}",
            *(number(float(state.by_lag[lag])) for state in one.states.values()),
            _percent(float(one.left[lag])),
        ]
        for lag in _shown_lags(len(one.by_lag))
    ]
    return [*lines, *columns([header, *rows], "rrrr")]


def flow_facts(one: SetFlow) -> str:
    """Say how a set's gradient falls with lag, in a few words."""
    if one.verdict == "exploding":
        return f"it grows to {number(one.growth)} times what entered the layer"
    if one.verdict == "one step":
        return "no way back to measure"
    every = number(one.half_life)
    half = (
        f"it halves every {'step' if every == '1' else f'{every} steps'}"
        if math.isfinite(one.half_life)
        else "it does not fall with lag"
    )
    gone = (
        f", a thousandth after {one.reach} of {len(one.by_lag)}"
        if one.verdict == "vanishing"
        else ""
    )
    steps = "step keeps" if one.suggested_k2 == 1 else "steps keep"
    return f"{half}{gone}; {one.suggested_k2} {steps} 90% of it (suggested k2)"


def _percent(part: float) -> str:
    """Return a share in few characters.

    >>> _percent(1.0), _percent(0.0123), _percent(3.0e-7)
    ('100%', '1.2%', '3e-05%')
    """
    return f"{100 * part:.0f}%" if part >= 0.995 else f"{100 * part:.2g}%"


def _shown_lags(number_of_lags: int) -> list[int]:
    """Return 0, 1, 2, 4, 8 … and the last lag.

    >>> _shown_lags(20)
    [0, 1, 2, 4, 8, 16, 19]
    """
    powers = [1 << exponent for exponent in range(number_of_lags.bit_length())]
    return sorted({lag for lag in (0, *powers, number_of_lags - 1) if 0 <= lag < number_of_lags})


def render_gates_activity(measure: GateActivity) -> str:
    """Return what the gates do: the answer in words, then each set's gates, states and memory."""
    if not measure.sets:
        return "What do the gates do? Nothing: the forward pass runs no recurrent layer."
    lines = ["What do the gates do?"]
    for one in measure.sets:
        lines += paragraph(f"{shortened(one.name, 40)}: {activity_verdict(one)}", "  - ")
    for one in measure.sets:
        lines += ["", *_activity_lines(one, measure.batch)]
    lines += [
        "",
        *paragraph(
            "low, high: the share of values at which a gate is below 0.1 or above 0.9, a value "
            "beyond -0.9 or 0.9 (c: tanh(c)); stuck: units there at 95% of the steps or more."
        ),
    ]
    return "\n".join(lines)


def activity_verdict(one: SetActivity) -> str:
    """Say in a sentence what the gates of a weight set do."""
    if one.real_steps == 0:
        return "every step of this batch is padding."
    parts = []
    if one.memory is not None:
        median = float(np.median(one.memory))
        parts.append(f"the memory lasts {number(median)} steps (median of {one.size} units)")
    stuck = {name: len(units) for name, units in one.stuck_units.items() if len(units)}
    if stuck:
        worst = joined([f"{count} at {name}" for name, count in stuck.items()])
        parts.append(f"units whose gate hardly ever moves from one end: {worst}")
    elif one.stuck_units:
        parts.append("no gate is stuck at one end")
    dead = len(one.dead_units)
    parts.append(f"{dead} of {one.size} units are dead" if dead else "no unit is dead")
    return "; ".join(parts) + "."


def _activity_lines(one: SetActivity, batch: int) -> list[str]:
    lines = paragraph(
        f"{shortened(one.name, 40)} ({one.kind}): {one.size} units, {one.real_steps:,} real steps "
        f"of {batch} samples"
    )
    if one.real_steps == 0:
        return lines
    header = ["", "mean", "low", "high", "stuck", "distribution", "from … to"]
    rows = [_signal_row(signal) for signal in one.signals.values()]
    lines += columns([header, *rows], "lrrrrll")
    if one.memory is not None:
        lines += _memory_lines(one, one.memory)
    if len(one.dead_units):
        few = ", ".join(str(unit) for unit in one.dead_units[:12])
        more = ", …" if len(one.dead_units) > 12 else ""
        lines += paragraph(f"dead units (h never leaves 0): {few}{more}", "  ")
    return lines + _time_lines(one)


def _signal_row(signal: Signal) -> list[str]:
    none = signal.ends is None
    return [
        signal.name,
        number(float(signal.mean.mean())),
        "" if none else _percent(signal.below_share),
        "" if none else _percent(signal.above_share),
        "" if none else str(len(signal.stuck_units)),
        bar(signal.histogram.astype(float), len(signal.histogram)),
        f"{number(float(signal.edges[0]))} … {number(float(signal.edges[-1]))}",
    ]


def _memory_lines(one: SetActivity, memory: np.ndarray) -> list[str]:
    keeper = KEEPERS[one.cell]
    low, high = int(memory.argmin()), int(memory.argmax())
    return paragraph(
        f"memory 1/(1 - mean {keeper}), in steps: median {number(float(np.median(memory)))}, from "
        f"{number(float(memory[low]))} (unit {low}) to {number(float(memory[high]))} (unit {high})",
        "  ",
    )


def _time_lines(one: SetActivity) -> list[str]:
    """Draw the gate that keeps the memory, for the kept units of longest memory."""
    if one.memory is None or one.sample is None or not len(one.units):
        return []
    keeper = KEEPERS[one.cell]
    longest = np.argsort(-one.memory[one.units], kind="stable")[:_UNITS_SHOWN]
    lines = [f"  {keeper} over time, sample {one.sample} (· is padding)"]
    values = np.nan_to_num(one.signals[keeper].values, nan=0.0)
    # Every bar on the gate's own scale, from 0 to 1: an extra 1 sets it, and is cut off.
    for place in longest:
        drawn = bar(np.append(_squeezed(values[:, place], _BAR_WIDTH), 1.0), _BAR_WIDTH + 1)[:-1]
        lines.append(f"  unit {one.units[place]:<5} {drawn}")
    return lines


def _squeezed(values: np.ndarray, width: int) -> np.ndarray:
    """Return the largest of each group of neighbours, at most ``width`` of them."""
    return np.array([group.max() for group in np.array_split(values, min(width, len(values)))])
