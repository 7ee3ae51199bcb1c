"""What lies between the inputs and the outputs of a functional model, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gatewise.errors import InputError
from gatewise.layers import Input
from gatewise.layers.symbol import Call, Symbol, symbols_in


@dataclass(frozen=True)
class Graph:
    """The calls in the order in which they run, and the layers in Keras's order.

    Keras sorts the layers by their distance from the outputs, the furthest first; of equally far
    ones, that which is met first on the way back from the outputs. `get_weights` follows it.

    `beginnings` are the calls of the `InputLayer`s; an input cut from the middle of another graph
    gets a new one.
    """

    inputs: list[Symbol]
    beginnings: list[Call]
    calls: list[Call]
    layers: list[Any]


def traced(inputs: Any, outputs: Any) -> Graph:
    """Return the graph, or raise `InputError` for one that does not hang together."""
    starts, ends = _symbols(inputs, "inputs"), _symbols(outputs, "outputs")
    beginnings = [
        one.call if isinstance(one, Input) else Input(one.shape[1:]).call for one in starts
    ]
    return _Tracer(starts, beginnings).trace(ends)


class _Tracer:
    """One walk back from the outputs."""

    def __init__(self, starts: list[Symbol], beginnings: list[Call]) -> None:
        self._starts = starts
        self._beginnings = beginnings
        self._begin = {id(one): call for one, call in zip(starts, beginnings, strict=True)}
        self._met: dict[int, tuple[int, Any]] = {}
        self._calls: list[Call] = []

    def trace(self, ends: list[Symbol]) -> Graph:
        for end in ends:
            self._walk_back(end)
        reached = {id(source) for call in self._calls for source in call.sources}
        for start in self._starts:
            if id(start) not in reached | set(map(id, ends)):
                raise InputError(f"No output depends on the input {start!r}. Leave it out.")
        return Graph(self._starts, self._beginnings, self._calls, self._sorted_layers())

    def _walk_back(self, end: Symbol) -> None:
        """Append the calls that lead to a symbol; by a stack: a graph may be deep."""
        stack = [(end, False)]
        while stack:
            symbol, visited = stack.pop()
            call = self._origin(symbol)
            if visited:
                if call not in self._calls:
                    self._calls.append(call)
                continue
            if call in self._calls:
                continue
            self._met.setdefault(id(call.layer), (len(self._met), call.layer))
            if call in self._beginnings:
                continue
            if not call.sources:
                raise InputError(
                    f"The outputs depend on the input '{call.layer.name}', which is not among the "
                    "inputs. Model(inputs, outputs) needs every Input that leads to an output."
                )
            stack.append((symbol, True))
            stack.extend((source, False) for source in reversed(call.sources))

    def _origin(self, symbol: Symbol) -> Call:
        return self._begin.get(id(symbol), symbol.call)

    def _sorted_layers(self) -> list[Any]:
        of_call: dict[int, int] = {}
        of_layer: dict[int, int] = {}
        for call in [*reversed(self._calls), *self._beginnings]:
            depth = max(of_call.get(id(call), 0), of_layer.get(id(call.layer), 0))
            of_layer[id(call.layer)] = of_call[id(call)] = depth
            for source in call.sources:
                parent = id(self._origin(source))
                of_call[parent] = max(of_call.get(parent, 0), depth + 1)
        met = self._met
        layers = [layer for _, layer in met.values()]
        return sorted(layers, key=lambda one: (-of_layer[id(one)], met[id(one)][0]))


def _symbols(given: Any, what: str) -> list[Symbol]:
    found = list(symbols_in(given))
    if not found:
        raise InputError(
            f"{what} must be an Input or what a layer called on one returned, or a list or "
            f"dictionary of these, but got {given!r}."
        )
    return found
