"""A model drawn as a graph: layers called on symbols, several inputs and outputs, shared layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from gatewise.errors import InputError
from gatewise.layers import Embedding, Input, InputLayer, Layer, Symbol
from gatewise.layers.symbol import is_shape, mapped, symbols_in
from gatewise.models.describing import describe_layer, make_layer, model_kind
from gatewise.models.graph import Graph, traced
from gatewise.models.masks import mask_after, mask_of_each
from gatewise.models.model import Model
from gatewise.models.naming import name_in
from gatewise.models.steps import (
    Slot,
    Step,
    arrangement,
    as_json,
    filled,
    from_json,
    rebuilt,
    slots_in,
)
from gatewise.training import Several


@model_kind
class Functional(Model):
    """The model between `inputs` and `outputs`; `Model(inputs, outputs)` makes one.

    Both are what `Input` or a layer called on symbols returned, or a list or dictionary of these.
    `layers` stand in Keras's order, inputs among them. A layer used at several places has one set
    of weights. A part of a model is a model again: `Model(model.inputs,
    model.get_layer("lstm").output)` shares the layers, trained or not. Masks travel along the
    graph: each layer is given the mask of its first argument and says which belongs to its result.

    Call it on a tensor, or on a list or dictionary of them as `inputs` is; `fit` takes arrays in
    the same arrangement.

    >>> from gatewise.layers import LSTM, Concatenate, Dense, Input
    >>> words, facts = Input((None, 8), name="words"), Input((3,), name="facts")
    >>> joined = Concatenate()([LSTM(4)(words), facts])
    >>> model = Model([words, facts], Dense(1)(joined))
    >>> model.output_shape, [layer.name for layer in model.layers]
    ((None, 1), ['words', 'lstm', 'facts', 'concatenate', 'dense'])
    >>> model([torch.zeros(2, 5, 8), torch.zeros(2, 3)]).shape
    torch.Size([2, 1])
    """

    def __init__(
        self, inputs: Any, outputs: Any, name: str | None = None, trainable: bool = True
    ) -> None:
        super().__init__(name=name or "functional")
        graph = traced(inputs, outputs)
        self._taken, self._given = inputs, outputs
        self._starts, self._ends = graph.inputs, list(symbols_in(outputs))
        self._input_layers: list[InputLayer] = [call.layer for call in graph.beginnings]
        self._order: list[str] = []
        for layer in graph.layers:
            layer.name = name_in(self, layer)
            self._order.append(layer.name)
            self.add_module(layer.name, layer)
            layer.train(False)
        self._steps, slots = self._planned(graph)
        # By place and not by the symbol's id, which a copy of the model would not have.
        self._end_slots = [slots[id(end)] for end in self._ends]
        self._ids = [self._takes_ids(start, slots[id(start)]) for start in self._starts]
        if not trainable:
            self.trainable = False

    def _planned(self, graph: Graph) -> tuple[list[Step], dict[int, int]]:
        names = {id(self._modules[name]): name for name in self._order}
        slots = {id(start): number for number, start in enumerate(graph.inputs)}
        steps = []
        for call in graph.calls:
            for symbol in call.results:
                slots.setdefault(id(symbol), len(slots))
            arguments, keywords = (
                mapped(part, lambda symbol: Slot(slots[id(symbol)]))
                for part in (call.arguments, dict(call.keywords))
            )
            results = tuple(slots[id(symbol)] for symbol in call.results)
            steps.append(Step(names[id(call.layer)], arguments, keywords, results))
        return steps, slots

    # The graph.

    @property
    def layers(self) -> list[Layer | Model]:
        """The layers in Keras's order, each once, the inputs among them."""
        return [self._modules[name] for name in self._order]  # pyright: ignore[reportReturnType]

    @property
    def inputs(self) -> list[Symbol]:
        """The symbols that the model begins with."""
        return list(self._starts)

    @property
    def outputs(self) -> list[Symbol]:
        """The symbols that the model ends with."""
        return list(self._ends)

    @property
    def input_names(self) -> list[str]:
        """The keys of a dictionary of inputs: its own, or the inputs' names."""
        if isinstance(self._taken, Mapping):
            return list(self._taken)
        return [layer.name for layer in self._input_layers]

    @property
    def output_names(self) -> list[str]:
        """The keys of a dictionary of outputs: its own, or the names of the last layers."""
        if isinstance(self._given, Mapping):
            return list(self._given)
        names = [symbol.call.layer.name for symbol in self._ends]
        return [
            name if names.count(name) == 1 else f"{name}_{names[:place].count(name)}"
            for place, name in enumerate(names)
        ]

    @property
    def input_shape(self) -> Any:
        """The input's shape with its batch axis; a list of them for several inputs."""
        shapes = [start.shape for start in self._starts]
        return shapes[0] if self._one_in else shapes

    @property
    def output_shape(self) -> Any:
        """The output's shape with its batch axis; a list of them for several outputs."""
        shapes = [end.shape for end in self._ends]
        return shapes[0] if self._one_out else shapes

    @property
    def built(self) -> bool:
        """A drawn model has its weights."""
        return True

    def build(self, input_shape: Any) -> None:
        """Do nothing: the weights were made when the model was drawn."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the output's shape for inputs of this shape, or of these."""
        given = [input_shape] if is_shape(input_shape) else self._listed(input_shape)
        shapes: dict[int, Any] = {slot: tuple(shape) for slot, shape in enumerate(given)}
        for step in self._steps:
            layer = self._modules[step.name]
            made = layer.compute_output_shape(filled(step.arguments[0], shapes))  # pyright: ignore
            made = [made] if is_shape(made) else made
            shapes |= dict(zip(step.results, made, strict=False))
        ends = [shapes[end] for end in self._end_slots]
        return ends[0] if self._one_out else tuple(ends)

    def connections(self) -> dict[str, list[str]] | None:
        """Return what each layer is fed by, `lstm[0][1]` the second result of the first call.

        None where each layer is fed by the one before it, and there is nothing to tell.
        """
        if not self._is_branched():
            return None
        origin = {slot: f"{layer.name}[0][0]" for slot, layer in enumerate(self._input_layers)}
        seen: dict[str, int] = {}
        found: dict[str, list[str]] = {name: [] for name in self._order}
        for step in self._steps:
            number = seen[step.name] = seen.get(step.name, -1) + 1
            found[step.name] += [origin[slot.number] for slot in slots_in(step)]
            for place, slot in enumerate(step.results):
                origin.setdefault(slot, f"{step.name}[{number}][{place}]")
        return found

    def _is_branched(self) -> bool:
        fed = [[slot.number for slot in slots_in(step)] for step in self._steps]
        chain = [0, *(step.results[0] for step in self._steps)]
        return len(self._starts) > 1 or fed != [[slot] for slot in chain[:-1]]

    # Running.

    def forward(self, x: Any, mask: Any = None, *, training: bool | None = None) -> Any:
        """Return the output for `x`, arranged as `outputs` is; `mask` is one, or one an input."""
        given = self.received(x)
        results = super().forward(given, mask, training=training)  # pyright: ignore
        return self.arranged(results.parts) if isinstance(results, Several) else results

    def forward_with_mask(self, x: Any, mask: Any = None) -> tuple[Any, Any]:
        """Return the output and its mask; of several inputs and outputs, each as `Several`.

        Several inputs come as that, or as a tuple.
        """
        parts = x.parts if isinstance(x, Several) else x if isinstance(x, tuple) else (x,)
        if len(parts) != len(self._starts):
            raise InputError(
                f"{self.name} has {len(self._starts)} inputs ({', '.join(self.input_names)}) but "
                f"got {len(parts)}."
            )
        given = mask if isinstance(mask, (list, tuple)) else (mask,)
        masks: dict[int, Any] = dict(enumerate((*given, *(None for _ in parts[len(given) :]))))
        values: dict[int, Any] = dict(enumerate(parts))
        for step in self._steps:
            results, of_each = self._run(step, values, masks)
            values |= dict(zip(step.results, results, strict=True))
            masks |= dict(zip(step.results, of_each, strict=True))
        ends = self._end_slots
        if self._one_out:
            return values[ends[0]], masks[ends[0]]
        return Several([values[end] for end in ends]), [masks[end] for end in ends]

    def _run(
        self, step: Step, values: dict[int, Any], masks: dict[int, Any]
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Return the results of one call and the mask of each."""
        layer: Any = self._modules[step.name]
        x, *rest = filled(step.arguments, values)
        keywords = filled(step.keywords, values)
        mask = filled(step.arguments[0], masks)
        if isinstance(mask, (list, tuple)) and all(one is None for one in mask):
            mask = None
        if isinstance(layer, Model):
            given = Several(x) if isinstance(x, (list, tuple)) else x
            result, made = layer.forward_with_mask(given, keywords.get("mask", mask))
            result = result.parts if isinstance(result, Several) else result
        else:
            if layer.takes_mask:
                keywords.setdefault("mask", mask)
            result = layer(x, *rest, **keywords)
            made = mask_after(layer, x, keywords.get("mask", mask))
        results = tuple(result) if isinstance(result, (list, tuple)) else (result,)
        return results, mask_of_each(made, results)

    # Data.

    @property
    def takes_ids(self) -> bool:
        """Whether the (first) input is token ids, not numbers."""
        return self._ids[0]

    @property
    def several_inputs(self) -> bool:
        """Whether data comes as a list or dictionary, one array an input."""
        return not self._one_in

    def cast_input(self, x: Any) -> Any:
        """Return `x` in the model's type; token ids stay integers."""
        if isinstance(x, Several):
            pairs = zip(x.parts, self._ids, strict=True)
            return Several([self._cast(part, ids) for part, ids in pairs])
        return self._cast(x, self._ids[0])

    def parts_of(self, x: Any) -> list[Any]:
        """Return the inputs in the model's order, from a list or a dictionary."""
        found = self._listed(x)
        if len(found) != len(self._starts):
            raise InputError(
                f"{self.name} has {len(self._starts)} inputs ({', '.join(self.input_names)}) but "
                f"got {len(found)}."
            )
        return found

    def arranged(self, parts: Sequence[Any]) -> Any:
        """Return several outputs in the arrangement of `outputs`."""
        by_symbol = {id(end): part for end, part in zip(self._ends, parts, strict=True)}
        return mapped(self._given, lambda symbol: by_symbol[id(symbol)])

    def received(self, x: Any) -> Any:
        """Return the data as the model runs on it: a tensor, or `Several` in the inputs' order."""
        if not self.several_inputs and not isinstance(x, Mapping):
            one = x[0] if isinstance(x, (list, tuple)) and len(x) == 1 else x
            return one if isinstance(one, Tensor) else torch.as_tensor(np.asarray(one))
        parts = [
            part if isinstance(part, Tensor) else torch.as_tensor(np.asarray(part))
            for part in self.parts_of(x)
        ]
        return self.cast_input(Several(parts)) if self.several_inputs else parts[0]

    def _listed(self, x: Any) -> list[Any]:
        if len(self._starts) == 1 and not isinstance(x, (Mapping, Several)):
            return [x[0] if isinstance(x, (list, tuple)) and len(x) == 1 else x]
        if isinstance(x, Several):
            return list(x.parts)
        if isinstance(x, Mapping):
            missing = [name for name in self.input_names if name not in x]
            if missing:
                raise InputError(
                    f"{self.name} needs the inputs {', '.join(self.input_names)}, but "
                    f"'{missing[0]}' is missing: there is only {', '.join(map(str, x))}."
                )
            return [x[name] for name in self.input_names]
        if isinstance(x, (list, tuple)):
            return list(x)
        raise InputError(
            f"{self.name} has several inputs ({', '.join(self.input_names)}). Pass a list in this "
            f"order or a dictionary by these names, not a {type(x).__name__}."
        )

    @property
    def _one_in(self) -> bool:
        return isinstance(self._taken, Symbol) or (
            len(self._starts) == 1 and not isinstance(self._taken, Mapping)
        )

    @property
    def _one_out(self) -> bool:
        return len(self._ends) == 1 and not isinstance(self._given, Mapping)

    def _takes_ids(self, start: Symbol, number: int) -> bool:
        if isinstance(start, Input) and start.dtype is not None:
            return "int" in start.dtype
        slot = Slot(number)
        readers = [self._modules[s.name] for s in self._steps if s.arguments[0] == slot]
        return any(
            reader.takes_ids if isinstance(reader, Model) else isinstance(reader, Embedding)
            for reader in readers
        )

    def _cast(self, x: Tensor, ids: bool) -> Tensor:
        return x if ids and not x.is_floating_point() else x.to(self.dtype)

    # Files.

    def get_config(self) -> dict[str, Any]:
        """Return the layers and how they are connected as JSON values; `from_config` reads them.

        A tensor's place is written {"slot": number}: the inputs come first, then the results of
        each call.
        """
        return {
            "name": self.name,
            "layers": {name: describe_layer(self._modules[name], name) for name in self._order},  # pyright: ignore
            "inputs": arrangement(self._taken, [layer.name for layer in self._input_layers]),
            "calls": [
                {
                    "layer": step.name,
                    "arguments": as_json(step.arguments, step.name),
                    "keywords": as_json(step.keywords, step.name),
                    "results": list(step.results),
                }
                for step in self._steps
            ],
            "outputs": arrangement(self._given, [{"slot": end} for end in self._end_slots]),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return a new model with the layers of `get_config`; its weights start anew."""
        layers = {name: make_layer(stored) for name, stored in config["layers"].items()}
        symbols: dict[int, Symbol] = {}

        def begun(name: Any) -> Symbol:
            layer = layers[name]
            if not isinstance(layer, InputLayer):
                raise InputError(f"'{name}' stands where an input should, but is none.")
            symbols[len(symbols)] = Input.of(layer)
            return symbols[len(symbols) - 1]

        inputs = rebuilt(config["inputs"], begun)
        for call in config["calls"]:
            arguments, keywords = (
                from_json(call[part], symbols) for part in ("arguments", "keywords")
            )
            result = layers[call["layer"]](*arguments, **keywords)
            made = result if isinstance(result, tuple) else (result,)
            symbols |= dict(zip(call["results"], made, strict=True))
        outputs = rebuilt(config["outputs"], lambda stored: symbols[stored["slot"]])
        return cls(inputs, outputs, name=config["name"])
