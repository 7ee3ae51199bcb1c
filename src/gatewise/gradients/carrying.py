"""Carrying: a model that runs piece by piece begins each piece where the one before ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from gatewise.kernels import Pass, run, steering
from gatewise.layers.recurrent import Recurrent

States = tuple[Tensor, ...]
Way = Callable[[int, Pass], tuple[Tensor, States, States]]


def straight(place: int, given: Pass) -> tuple[Tensor, States, States]:
    """Run a pass as it is, and carry its final state."""
    outputs, final = run(given)
    return outputs, final, final


class Carried:
    """The states of a model's recurrent layers between two pieces.

    `begin` holds the states before the last piece, `end` those with which the next one begins, for
    each pass of the model (a layer that is applied twice has two). `way` runs a pass, given its
    number, and returns the outputs, the final state and the state to carry. No gradient crosses
    from piece to piece, unless what is carried stays `attached` to its graph.
    """

    def __init__(self, way: Way = straight, *, attached: bool = False) -> None:
        self._way = way
        self._attached = attached
        self.begin: list[list[Tensor]] = []
        self.end: list[list[Tensor]] = []

    @contextmanager
    def piece(self, *, leaves: bool = False) -> Iterator[None]:
        """Run the model in this block for the next piece.

        With `leaves` the states in `begin` collect their gradient.
        """
        self.begin, self.end, before = [], [], self.end
        with steering(lambda given: self._pass(given, before, leaves)):
            yield

    def start_over(self) -> None:
        """Let the next piece begin with the states that the model gives it."""
        self.end = []

    def forget(self, lanes: Tensor) -> None:
        """Let these series (B,) begin the next piece from zero."""
        self.end = [[cleared(state, lanes) for state in states] for states in self.end]

    def _pass(
        self, given: Pass, before: list[list[Tensor]], leaves: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        place = len(self.begin)
        if before:
            given = given._replace(state=before[place])
        if leaves:
            given = given._replace(state=[s.detach().requires_grad_() for s in given.state])
        self.begin.append(list(given.state))
        outputs, final, carried = self._way(place, given)
        self.end.append(list(carried if self._attached else [s.detach() for s in carried]))
        return outputs, final


def cleared(values: Tensor, lanes: Tensor) -> Tensor:
    """Return values (B, …) with zeros in the rows where `lanes` (B,) is True."""
    return values.masked_fill(lanes.reshape(-1, *(1,) * (values.dim() - 1)), 0)


@contextmanager
def same_noise(model: Any) -> Iterator[Callable[[], None]]:
    """Let every recurrent layer keep its dropout masks, which hold for a whole sequence.

    (Zoneout's belong to their time steps, and each piece draws its own.)

    The block gets a function to be called before each piece.
    """
    drawn: dict[nn.Module, list[Tensor]] = {}
    used: dict[nn.Module, int] = {}

    def repeat(module: nn.Module, _: Any, mask: Tensor) -> Tensor:
        masks, position = drawn.setdefault(module, []), used.get(module, 0)
        if position == len(masks):
            masks.append(mask)
        used[module] = position + 1
        return masks[position]

    hooks = [
        layer.noise.register_forward_hook(repeat)
        for layer in model.modules()
        if isinstance(layer, Recurrent)
    ]
    try:
        yield used.clear
    finally:
        for hook in hooks:
            hook.remove()
