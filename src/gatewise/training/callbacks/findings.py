"""What keeps a model from learning, found in one measured training step and said in words.

A healthy step moves a weight by about a thousandth of its size (Karpathy, Stanford's CS231n notes,
"Ratio of weights:updates"); gates that never leave their ends pass no gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from gatewise.inspect.activity import SetActivity
from gatewise.inspect.flow import SetFlow
from gatewise.inspect.passes import SetPass

LARGE_STEP = 0.2
"""A step that moves a weight matrix by this part of its norm is too large."""

LARGE_INPUT = 10.0
"""A feature whose root mean square is above this is not scaled."""

MANY_DEAD = 0.1
"""The part of a layer's units that may be dead before a warning."""

MANY_STUCK = 0.5
"""The part of a layer's units whose gate may be stuck before a warning."""

HUGE = 1e6
"""A state, gradient or weight beyond this is on its way to infinity, far from healthy ones."""

Finding = tuple[str, str, str]
"""What kind of trouble, where, and the words that name it with its cure."""


def of_flow(flows: tuple[SetFlow, ...], trained: set[str]) -> Iterator[Finding]:
    """Find gradients that explode or vanish on their way back, in layers that train."""
    for flow in flows:
        if flow.verdict == "exploding":
            words = f"grows to {flow.growth:.3g} times what entered it"
        elif flow.verdict == "vanishing":
            words = f"is below a thousandth after {flow.reach} of {len(flow.by_lag)} steps"
        else:
            continue
        if flow.layer in trained:
            yield (
                flow.verdict,
                flow.name,
                f"the gradient in {flow.name} is {flow.verdict}: going back it {words}. "
                f"{flow.cure}",
            )


def of_units(activities: tuple[SetActivity, ...]) -> Iterator[Finding]:
    """Find units that are dead and gates that are stuck at one end."""
    for activity in activities:
        dead = len(activity.dead_units)
        if activity.real_steps and dead > MANY_DEAD * activity.size:
            yield (
                "dead",
                activity.name,
                f"{dead} of {activity.size} units of {activity.name} are dead: their h never "
                "leaves 0. Lower the learning rate, scale the input, or use tanh in place of relu.",
            )
        stuck = {
            gate: len(units)
            for gate, units in activity.stuck_units.items()
            if activity.real_steps and len(units) > MANY_STUCK * activity.size
        }
        if stuck:
            which = ", ".join(f"{count} at {gate}" for gate, count in stuck.items())
            yield (
                "saturated",
                activity.name,
                f"gates of {activity.name} hardly ever leave one end, where no gradient passes "
                f"({which}, of {activity.size} units). Scale the input, lower the learning rate, "
                "or start from smaller weights.",
            )


def of_input(passes: list[SetPass]) -> Iterator[Finding]:
    """Find data that reach a layer unscaled."""
    for one in passes:
        # What needs a gradient was computed by a layer; only data can be scaled.
        if one.record.x.requires_grad or not one.real.any():
            continue
        sizes = one.record.x[one.real].double().square().mean(dim=0).sqrt()  # (I,)
        worst = int(sizes.argmax())
        if sizes[worst] > LARGE_INPUT:
            yield (
                "input",
                one.place.name,
                f"the input of {one.place.name} is not scaled: feature {worst} has values around "
                f"{sizes[worst].item():.3g}. Use gatewise.data.StandardScaler.fit(x) on the "
                "training series.",
            )


def of_step(ratios: dict[str, float]) -> Iterator[Finding]:
    """Find a learning rate that moves a weight by too much of its size."""
    large: list[str] = [name for name, ratio in ratios.items() if ratio > LARGE_STEP]
    if large:
        worst = max(large, key=lambda name: ratios[name])
        yield (
            "step",
            "",
            f"the learning rate is too large: one step moved {worst} by {ratios[worst]:.0%} of its "
            "size, where about 0.1% is healthy. Divide the learning rate by 10 or more.",
        )


def of_overflow(
    passes: Iterable[SetPass], activities: Iterable[SetActivity], weights: Mapping[str, Tensor]
) -> Iterator[Finding]:
    """Find what is on its way to infinity, and the loss to NaN; name the largest of each kind."""
    states = [
        (float(signal.largest.max(initial=0.0)), f"{state} of {activity.name}")
        for activity in activities
        for state, signal in activity.signals.items()
        if state in ("h", "c")
    ]
    gradients = [
        (_largest(one.record.gate_cotangents), f"the gradient in {one.place.name}")
        for one in passes
        if one.record.gate_cotangents is not None
    ]
    matrices = [(_largest(weight), f"the weight {name}") for name, weight in weights.items()]
    for kind, sizes in (("states", states), ("gradients", gradients), ("weights", matrices)):
        over = [(size, where) for size, where in sizes if not size <= HUGE]
        if over:
            size, where = max(over, key=lambda one: (one[0] != one[0], one[0]))
            yield (
                f"NaN from {kind}",
                "",
                f"NaN in the making: {where} reaches {size:.3g}, and the loss will soon be no "
                "number. Lower the learning rate, bound the gradient (clipnorm=1.0 in the "
                "optimizer), scale input and targets, and use tanh in place of relu.",
            )


def _largest(values: Tensor) -> float:
    return values.detach().abs().max().item() if values.numel() else 0.0
