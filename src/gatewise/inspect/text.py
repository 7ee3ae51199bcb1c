"""The measures as text that fits 80 columns, in a terminal or a file.

What happens over time is in :mod:`gatewise.inspect.text_dynamics`; nothing else here renders.
Answers come first, in words; the numbers that carry them follow.
"""

from __future__ import annotations

import io
import itertools
import math
import shutil

import numpy as np

from gatewise.errors import InputError
from gatewise.inspect.layout import (
    bar,
    columns,
    joined,
    number,
    paragraph,
    shape_text,
    shortened,
    size_text,
)
from gatewise.inspect.parameters import LayerLedger, ParameterLedger, SetLedger
from gatewise.inspect.sharing import SetSharing, SharingMeasure, Use
from gatewise.inspect.training import SetTraining, TrainingMeasure, WeightTraining
from gatewise.inspect.walk import full_name
from gatewise.inspect.weights import SYMBOLS

_BAR_WIDTH = 72


def render_summary(ledger: ParameterLedger, width: int | None = None) -> str:
    """Return the table of layers, output shapes and counts, as Keras's `summary` shows it.

    ``width`` is the length of a line; by default it follows the terminal, at most 88.
    """
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    width = width or min(88, shutil.get_terminal_size().columns - 4)
    if width < 32:
        raise InputError(f"A summary needs lines of at least 32 characters but got {width}.")
    branched = any(layer.fed_by is not None for layer in ledger.layers)
    edges = [0.0, 0.3, 0.56, 0.7, 1.0] if branched else [0.0, 0.45, 0.8, 1.0]
    sizes = [int(end * width) - int(start * width) for start, end in itertools.pairwise(edges)]
    name, shape, count, fed = [*sizes, 0][:4]
    table = Table(
        # rich counts a column without its padding and borders.
        Column("Layer (type)", width=name - 3),
        Column("Output Shape", width=shape - 4),
        Column("Param #", width=count - 3, justify="right"),
        *([Column("Connected to", width=fed - 3)] if branched else []),
        width=width,
        show_lines=True,
    )
    for layer in ledger.layers:
        parameters = f"{layer.count:,}" if layer.built else f"{layer.count:,} (unbuilt)"
        # Text, not str: square brackets in a name are no markup.
        table.add_row(
            Text(f"{layer.name} ({layer.kind})"),
            Text(_output_shape(layer)),
            Text(parameters),
            *([Text(", ".join(layer.fed_by or ()) or "-")] if branched else []),
        )
    console = Console(
        file=(drawn := io.StringIO()),
        width=width,
        color_system=None,
        force_terminal=False,
        force_jupyter=False,
        legacy_windows=False,
    )
    console.print(table)
    totals = (
        ("Total", ledger.count, ledger.bytes),
        ("Trainable", ledger.trainable_count, ledger.trainable_bytes),
        ("Non-trainable", ledger.frozen_count, ledger.frozen_bytes),
    )
    lines = [f" {what} params: {n:,} ({size_text(size)})" for what, n, size in totals]
    return "\n".join([f'Model: "{ledger.name}"', drawn.getvalue().rstrip("\n"), *lines])


def render_gates(ledger: ParameterLedger) -> str:
    """Return each recurrent weight set gate by gate, with the formula behind its count."""
    blocks = ["\n".join(_set_lines(one, layer)) for layer in ledger.layers for one in layer.sets]
    if not blocks:
        return "No recurrent layer: no gates."
    return "\n\n".join(blocks)


def render_conventions(ledger: ParameterLedger) -> str:
    """Return each recurrent set's count under Keras, PyTorch, cuDNN and ONNX, and its cost."""
    blocks = []
    for one in (one for layer in ledger.layers for one in layer.sets):
        lines = paragraph(
            f"{shortened(full_name(one.layer, one.label), 40)}: {one.count:,} parameters, "
            f"{one.multiply_adds:,} multiply-adds a time step and sample"
        )
        for convention in one.conventions:
            head = f"  {convention.library:<7}  "
            if convention.count is None:
                lines += paragraph(convention.remark, head)
            else:
                text = f"{convention.formula} = {convention.count:,}; {convention.remark}"
                lines += paragraph(text, head)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) or "No recurrent layer: no conventions differ."


def _output_shape(layer: LayerLedger) -> str:
    if layer.output_shape is None:
        return "?"
    if any(isinstance(size, tuple) for size in layer.output_shape):
        return f"[{', '.join(str(shape) for shape in layer.output_shape)}]"
    inner = ", ".join(str(size) for size in layer.output_shape)
    return f"({inner},)" if len(layer.output_shape) == 1 else f"({inner})"


def _set_lines(one: SetLedger, layer: LayerLedger) -> list[str]:
    trained = {weight.trainable for weight in one.weights}
    status = (
        "trainable" if trained == {True} else "frozen" if trained == {False} else "partly frozen"
    )
    again = (
        f" The layer stands at {layer.places} places and counts once." if layer.places > 1 else ""
    )
    name = full_name(one.layer, one.label)
    head = f"{shortened(name, 40)}: one set, used by every time step; {status}.{again}"
    names = [name for name in SYMBOLS if any(weight.name == name for weight in one.weights)]
    rows = [["gate", *(text for name in names for text in (SYMBOLS[name], ""))]]
    for gate in one.gates:
        row = [gate]
        for name in names:
            found = [w for w in one.weights if w.name == name and w.gate == gate]
            if not found:
                row += ["", ""]  # a gate without a peephole
                continue
            [weight] = found
            twice = weight.count == 2 * math.prod(weight.shape)
            shape = f"2 of {shape_text(weight.shape)}" if twice else shape_text(weight.shape)
            frozen = "" if weight.trainable or trained == {False} else " frozen"
            row += [shape, f"{weight.count:,}{frozen}"]
        rows.append(row)
    return [
        *paragraph(head),
        *columns(rows, "l" + "rr" * len(names)),
        *paragraph(one.formula, "  count    "),
        *paragraph(f"{one.torch_formula}; {one.torch_reason}", "  PyTorch  "),
        *paragraph(f"{one.bytes:,} ({size_text(one.bytes)}, {one.dtype})", "  bytes    "),
        *paragraph(f"{one.kernel}: {one.kernel_reason}", "  kernel   "),
    ]


def render_training(measure: TrainingMeasure) -> str:
    """Return what backpropagation trains: the answer in words, then each gate's numbers."""
    steps = max(one.steps for one in measure.sets)
    lines = paragraph(f"Trained by backpropagation? {training_verdict(measure)}")
    lines += paragraph(
        f"Measured on {measure.batch} samples: the gradient of their loss, {number(measure.loss)}, "
        f"goes back through up to T = {steps} time steps; then one step of {measure.optimizer} is "
        "taken. All norms are L2; dropout is off, and the model itself is not changed."
    )
    for one in measure.sets:
        lines += ["", *_training_lines(one)]
    if measure.others:
        header = ["other weights", "", "gradient", "weight", "step", "relative", "status"]
        rows = [[shortened(weight.name, 18), *_training_cells(weight)] for weight in measure.others]
        lines += ["", *columns([header, *rows], "lrrrrrl", indent=0), *_reasons(measure.others)]
    return "\n".join(lines)


def training_verdict(measure: TrainingMeasure) -> str:
    """Say in a sentence whether backpropagation trains every gate's weights."""
    weights = [weight for one in measure.sets for weight in one.weights]
    trained = sum(weight.status == "trained" for weight in weights)
    few = len(measure.sets) <= 4
    where = (
        joined([one.name for one in measure.sets]) if few else f"{len(measure.sets)} weight sets"
    )
    if trained == len(weights):
        return f"Yes: W, U and b of every gate of {where} get a gradient, and one step moves them."
    counts = joined(
        [
            f"{count} {status}"
            for status in ("frozen", "dead")
            if (count := sum(weight.status == status for weight in weights))
        ]
    )
    if trained:
        return f"In part: {trained} of {len(weights)} gate weights are trained, {counts}."
    return f"No: of the {len(weights)} gate weights of {where}, {counts}."


def _training_lines(one: SetTraining) -> list[str]:
    used = "not used" if one.uses == 0 else f"T = {one.steps}"
    again = f", used {one.uses} times in one pass" if one.uses > 1 else ""
    header = ["gate", "", "", "gradient", "weight", "step", "relative", "status"]
    rows = [
        [weight.gate, SYMBOLS[weight.name], *_training_cells(weight)]
        for weight in sorted(one.weights, key=lambda weight: _gate_order(one, weight))
    ]
    return [
        *paragraph(f"{shortened(one.name, 40)} ({one.kind}), {used}{again}"),
        *columns([header, *rows], "llrrrrrl"),
        *_reasons(one.weights),
    ]


def _gate_order(one: SetTraining, weight: WeightTraining) -> int:
    gates = [other.gate for other in one.weights]
    return gates.index(weight.gate)


def _training_cells(weight: WeightTraining) -> list[str]:
    ratio = weight.step_ratio
    relative = "from 0" if ratio == float("inf") else f"{100 * ratio:.2g}%"
    return [
        shape_text(weight.shape),
        number(weight.gradient_norm),
        number(weight.weight_norm),
        number(weight.step_norm),
        relative,
        weight.status,
    ]


def _reasons(weights: tuple[WeightTraining, ...]) -> list[str]:
    """Say once for all weights that share it why they are not trained."""
    found: dict[tuple[str, str], list[str]] = {}
    for weight in weights:
        if weight.reason:
            name = f"{SYMBOLS[weight.name]} of {weight.gate}" if weight.gate else weight.name
            found.setdefault((weight.status, weight.reason), []).append(name)
    lines = []
    for (status, reason), names in found.items():
        which = joined(names) if len(names) < len(weights) or len(names) == 1 else "All"
        lines += paragraph(f"{which} {status}: {reason}.", "  ")
    return lines


def render_sharing(measure: SharingMeasure) -> str:
    """Return what the time steps share: the answer in words, each step's part, the contrast."""
    lines = paragraph(f"Shared by the time steps? {sharing_verdict(measure)}")
    for one in measure.sets:
        for position, use in enumerate(one.uses):
            lines += ["", *_use_lines(one, use, position)]
    lines += ["", "The contrast"]
    for sentence in _contrast(measure):
        lines += paragraph(sentence, "  - ")
    return "\n".join(lines)


def sharing_verdict(measure: SharingMeasure) -> str:
    """Say in a sentence whether the time steps share one set of weights, and how exactly."""
    if not any(len(use.contributing_steps) for one in measure.sets for use in one.uses):
        return (
            "This batch cannot tell: no gradient reaches a recurrent layer. "
            "measure_training says why."
        )
    error = f"{measure.relative_error:.1e}"
    if not measure.proved:
        return (
            f"Not shown: the contributions of the steps and the gradient that training uses differ "
            f"by {error} (relative). Weights that are also used outside their layer would do this."
        )
    steps = sorted({use.steps for one in measure.sets for use in one.uses})
    what = f"T = {steps[0]}" if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
    cancelling = (
        f"; the contributions nearly cancel, and the difference is {measure.rounding_error:.1e} "
        "of what they add up"
    )
    return (
        f"Yes: one set of W, U and b, used at every step. The contributions of the {what} "
        f"steps add up to the gradient that training uses, to {error} (relative, "
        f"{measure.dtype}{cancelling if measure.relative_error > 1e-5 else ''})."
    )


def _use_lines(one: SetSharing, use: Use, position: int) -> list[str]:
    which = f", use {position + 1} of {len(one.uses)}" if len(one.uses) > 1 else ""
    frozen = "; frozen, measured as if trained" if not one.trainable else ""
    count = len(use.contributing_steps)
    lines = paragraph(
        f"{shortened(one.name, 40)} ({one.kind}){which}: {count} of {use.steps} steps "
        f"contribute{frozen}"
    )
    if use.masked_steps:
        lines.append(f"  steps that are padding everywhere and add exactly 0: {use.masked_steps}")
    if count == 0:
        return lines
    first, last = (int(use.contributing_steps[end]) for end in (0, -1))
    named = [("first", first), ("last", last), ("largest", int(use.totals.argmax()))]
    lines.append(f"  {bar(use.totals, _BAR_WIDTH)}")
    lines += columns([[f"{name}, t = {t}: {number(use.totals[t])}" for name, t in named]])
    names = [name for name in SYMBOLS if name in use.norms]
    header = ["gate", *(f"{SYMBOLS[name]}, t = {first} → {last}" for name in names)]
    rows = [
        [gate, *(_first_to_last(use.norms[name].get(gate), first, last) for name in names)]
        for gate in one.gates
    ]
    return [*lines, *columns([header, *rows], "l" + "r" * len(names))]


def _first_to_last(norms: np.ndarray | None, first: int, last: int) -> str:
    if norms is None:
        return ""  # a gate without a peephole
    return f"{number(norms[first])} → {number(norms[last])}"


def _contrast(measure: SharingMeasure) -> list[str]:
    """Set what shares beside what does not: steps, layers, and layers used twice."""
    sentences = ["Time steps share: each step reads, and its gradient adds to, the same numbers."]
    alone = [one.name for one in measure.sets if not one.storage_shared_with]
    if len(alone) > 1:
        sentences.append(f"Layers do not: {joined(alone)} have a set each, no number in common.")
    elif len(measure.sets) == 1:
        sentences.append(
            f"Layers do not: a second layer after {measure.sets[0].name} would have its own set."
        )
    for one in measure.sets:
        if one.storage_shared_with:
            others = joined(list(one.storage_shared_with))
            sentences.append(f"Tied: {one.name} holds parameters of {others}.")
    for one in measure.used_again:
        sentences.append(
            f"A layer used again shares: {one.name} is used {len(one.uses)} times in one pass; "
            f"the contributions of all uses add up to its gradient, to {one.relative_error:.1e}."
        )
    return sentences
