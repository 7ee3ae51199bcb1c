"""The ledger: which parameters a model has, gate by gate, and what each count is made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

from torch import Tensor, nn

from gatewise.cells import WeightSet, split_weight
from gatewise.cells.weights import NORM_WEIGHTS
from gatewise.inspect.counting import Convention, Sizes, conventions, product
from gatewise.inspect.showing import Shown
from gatewise.inspect.walk import Place, module_name, named_layers, once, walk
from gatewise.inspect.weights import SYMBOLS, counted_sets, source_parameters
from gatewise.kernels import Choice, Request, choose
from gatewise.layers import Layer, Masking
from gatewise.layers.quantization import scales_of


@dataclass(frozen=True)
class GateWeight(Shown):
    """One gate's part of W, U or b: its shape, its count, and whether it is trained."""

    gate: str
    name: str
    shape: tuple[int, ...]
    count: int
    trainable: bool

    @property
    def symbol(self) -> str:
        """W, U or b."""
        return SYMBOLS[self.name]


@dataclass(frozen=True)
class SetLedger(Shown):
    """One set of weights, used by every time step of one cell.

    ``layer`` and ``label`` name it ("bidirectional", "forward"). ``units`` is H and
    ``output_size`` the size of the h that recurs: smaller only where it is projected. ``count`` is
    what the module's own parameters hold; ``bias_rows`` is 2 where the cell keeps one bias for the
    input product and one for the recurrent product, ``norm_rows`` how many weights of H numbers
    layer normalization has. ``kernel`` and ``kernel_reason`` say what
    computes the layer and why.
    """

    layer: str
    label: str
    cell: str
    gates: tuple[str, ...]
    input_size: int
    units: int
    output_size: int
    bias_rows: int
    reset_after: bool
    weights: tuple[GateWeight, ...]
    count: int
    bytes: int
    dtype: str
    kernel: str
    kernel_reason: str
    norm_rows: int = 0

    @property
    def trainable(self) -> bool:
        """Whether every weight of the set is trained."""
        return all(weight.trainable for weight in self.weights)

    @property
    def formula(self) -> str:
        """The count with the numbers put in.

        ``4·(128·100 + 128·128) + 4·128 = 117,248`` is G·(H·I + H·H) + G·H: for each of G gates a W,
        a U and a b.
        """
        return f"{self.sizes.formula(self.bias_rows)} = {self.count:,}"

    @property
    def sizes(self) -> Sizes:
        """The sizes from which every count follows."""
        peepholes = sum(weight.name == "peephole" for weight in self.weights)
        return Sizes(
            self.cell,
            self.input_size,
            self.units,
            self.output_size,
            self.reset_after,
            peepholes,
            self.norm_rows,
        )

    @property
    def conventions(self) -> tuple[Convention, ...]:
        """The count of the same layer under Keras, PyTorch, cuDNN and ONNX."""
        return conventions(self.sizes, self.bias_rows > 0)

    @property
    def multiply_adds(self) -> int:
        """The multiply-adds of the matrix products of one time step of one sample."""
        return self.sizes.multiply_adds

    @property
    def torch_count(self) -> int:
        """How many parameters torch.nn.LSTM, GRU or RNN of the same sizes has."""
        return self._torch_sizes.count(self.bias_rows + self._extra_bias_rows)

    @property
    def torch_formula(self) -> str:
        """PyTorch's count of the same layer with the numbers put in."""
        rows = self.bias_rows + self._extra_bias_rows
        return f"{self._torch_sizes.formula(rows)} = {self.torch_count:,}"

    @property
    def torch_reason(self) -> str:
        """Why PyTorch's count differs, or that it does not."""
        gates, units = len(self.gates), self.units
        if self._torch_sizes != self.sizes:
            return (
                "PyTorch has the plain cells alone, without peepholes, coupled gates or layer "
                "normalization"
            )
        if self.bias_rows == 0:
            return "the same: neither has a bias"
        if self.bias_rows == 2:
            return "the same: both keep two biases for each gate"
        reason = (
            f"PyTorch keeps two biases for each gate (bias_ih and bias_hh), "
            f"{product(gates, units)} = {gates * units:,} more"
        )
        if self.cell == "gru" and not self.reset_after:
            return f"{reason}; its GRU resets after the recurrent product"
        return f"{reason}; only their sum matters"

    @property
    def _torch_sizes(self) -> Sizes:
        """The sizes of torch's own layer, which has no variants of the LSTM."""
        cell = "lstm" if self.cell == "cifg" else self.cell
        return replace(self.sizes, cell=cell, peepholes=0, norm_rows=0)

    @property
    def _extra_bias_rows(self) -> int:
        return 1 if self.bias_rows == 1 else 0


@dataclass(frozen=True)
class LayerLedger(Shown):
    """One layer: its name, class, output shape, counts, and its recurrent weight sets.

    ``bytes`` counts the scales of a quantized layer too, and ``kind`` says that it is one.

    ``output_shape`` has None for sizes that depend on the data, and is itself None where the module
    does not tell. ``places`` is at how many places of the model the layer stands; its weights are
    counted once.
    """

    name: str
    kind: str
    output_shape: tuple[int | None, ...] | None
    count: int
    trainable_count: int
    bytes: int
    built: bool
    places: int
    sets: tuple[SetLedger, ...]
    fed_by: tuple[str, ...] | None = None
    """What feeds the layer, such as "lstm[0][1]"; None where it is the layer before it."""


@dataclass(frozen=True)
class ParameterLedger(Shown):
    """All parameters of a model; each parameter is counted once, however often it is used."""

    name: str
    layers: tuple[LayerLedger, ...]
    count: int
    trainable_count: int
    bytes: int
    trainable_bytes: int

    @property
    def frozen_count(self) -> int:
        """How many parameters are not trained."""
        return self.count - self.trainable_count

    @property
    def frozen_bytes(self) -> int:
        """The size of the parameters that are not trained."""
        return self.bytes - self.trainable_bytes


def measure_parameters(model: nn.Module) -> ParameterLedger:
    """Return the ledger of a model's parameters, layer by layer and gate by gate.

    Any `nn.Module` is taken. Recurrent layers of gatewise (and torch.nn's) are split into the W, U
    and b of each gate.

    >>> import torch
    >>> from gatewise import nn
    >>> ledger = measure_parameters(torch.nn.Sequential(nn.LSTM(100, 128, batch_first=True)))
    >>> ledger.layers[0].sets[0].formula
    '4·(128·100 + 128·128) + 2·4·128 = 117,760'
    """
    rows = _rows(model)
    layers: list[LayerLedger] = []
    masked = False
    connections = getattr(model, "connections", lambda: None)()
    for row in once(rows):
        places = sum(other.module is row.module for other in rows)
        ledger = _layer(row, places, masked)
        if connections is not None:
            ledger = replace(ledger, fed_by=tuple(connections.get(row.name, ())))
        layers.append(ledger)
        masked = masked or _makes_mask(row.module)
    parameters = _parameters_of(_Row("", model))
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return ParameterLedger(
        name=module_name(model),
        layers=tuple(layers),
        count=_count(parameters),
        trainable_count=_count(trained),
        bytes=_bytes([*parameters, *scales_of(model)]),
        trainable_bytes=_bytes(trained),
    )


@dataclass(frozen=True)
class _Row:
    """A line of the ledger: a layer, or what a container holds beside its children."""

    name: str
    module: nn.Module
    whole: bool = True


def _rows(model: nn.Module) -> list[_Row]:
    """Return the layers that get a line: a Keras-style model's own, or any module's innermost."""
    if isinstance(getattr(model, "layers", None), (list, tuple)):
        return [_Row(place.name, place.module) for place in named_layers(model)]
    return list(_innermost(model, ""))


def _innermost(module: nn.Module, name: str) -> Iterator[_Row]:
    children = named_layers(module)
    if not children or isinstance(module, Layer) or hasattr(module, "weight_sets"):
        yield _Row(name or module_name(module), module)
        return
    if any(parameter is not None for parameter in module._parameters.values()):
        yield _Row(name or module_name(module), module, whole=False)
    for child in children:
        yield from _innermost(child.module, f"{name}.{child.name}" if name else child.name)


def _layer(row: _Row, places: int, masked: bool) -> LayerLedger:
    parameters = _parameters_of(row)
    built = _is_built(row.module)
    found = _sets(row, masked) if built and row.whole else []
    scales = scales_of(row.module) if row.whole else []
    return LayerLedger(
        name=row.name,
        kind=type(row.module).__name__ + (", int8" if scales else ""),
        output_shape=_output_shape(row.module) if built else None,
        count=_count(parameters),
        trainable_count=_count(p for p in parameters if p.requires_grad),
        bytes=_bytes([*parameters, *scales]),
        built=built,
        places=places,
        sets=tuple(found),
    )


def _sets(row: _Row, masked: bool) -> list[SetLedger]:
    """Return the weight sets of a layer; of all recurrent layers, if it is itself a model."""
    return [
        _set(place, weights, masked)
        for place in once(walk(row.module, row.name))
        if _is_built(place.module)
        for weights in counted_sets(place.module)
    ]


def _set(place: Place, weights: WeightSet, masked: bool) -> SetLedger:
    sources = source_parameters(place.module, weights)
    parameters = [parameter for group in sources.values() for parameter in group]
    specification = weights.specification
    kernel = weights.weights["kernel"]
    bias = weights.weights.get("bias")
    choice = _choice(place.module, weights, parameters[0], masked)
    units = kernel.shape[1] // len(specification.gates)
    return SetLedger(
        layer=place.name,
        label=weights.label,
        cell=specification.cell,
        gates=specification.gates,
        input_size=kernel.shape[0],
        units=units,
        output_size=weights.weights["recurrent_kernel"].shape[0],
        bias_rows=0 if bias is None else round(bias.sum().item() / kernel.shape[1]),
        reset_after=specification.reset_after,
        weights=tuple(_gate_weights(weights, sources)),
        count=_count(parameters),
        bytes=_bytes([*parameters, *_scales(place.module, weights)]),
        dtype=str(parameters[0].dtype).removeprefix("torch."),
        kernel=choice.kernel,
        kernel_reason=choice.reason,
        norm_rows=sum(
            round(weight.sum().item()) // units
            for name, weight in weights.weights.items()
            if name in NORM_WEIGHTS
        ),
    )


def _scales(module: nn.Module, weights: WeightSet) -> list[Tensor]:
    """Return what stands beside the weights of a quantized set: they are no parameters."""
    buffers = dict(module.named_buffers())
    names = [f"{source}_scale" for sources in weights.sources.values() for source in sources]
    return [buffers[name] for name in names if name in buffers]


def _gate_weights(
    weights: WeightSet, sources: dict[str, list[nn.Parameter]]
) -> Iterator[GateWeight]:
    for name in SYMBOLS:
        if name not in weights.weights:
            continue
        trainable = all(parameter.requires_grad for parameter in sources[name])
        for gate, part in split_weight(name, weights.weights[name], weights.specification).items():
            count = round(part.sum().item())
            yield GateWeight(gate, name, tuple(part.shape), count, trainable)


def _choice(module: nn.Module, weights: WeightSet, parameter: nn.Parameter, masked: bool) -> Choice:
    if not hasattr(module, "weight_sets"):
        return Choice("torch", f"torch.nn.{type(module).__name__}'s own")
    choice = getattr(module, "choice", None)
    if choice is not None:
        return choice(parameter.dtype, parameter.device, mask=masked)
    device = parameter.device.type
    request = Request(weights.specification, device, parameter.dtype, masked, units=weights.units)
    return choose(request)


def _output_shape(layer: nn.Module) -> tuple[int | None, ...] | None:
    """Return what the layer says it puts out for the input that it was built for."""
    shape = getattr(layer, "output_shape", None)
    if shape is None and getattr(layer, "build_shape", None) is not None:
        shape = cast(Any, layer).compute_output_shape(layer.build_shape)
    return None if shape is None else tuple(shape)


def _is_built(module: nn.Module) -> bool:
    lazy = any(nn.parameter.is_lazy(parameter) for parameter in module.parameters())
    return getattr(module, "built", True) is not False and not lazy


def _makes_mask(layer: nn.Module) -> bool:
    """Return whether the layer starts a mask, which the recurrent layers after it then see."""
    return isinstance(layer, Masking) or getattr(layer, "mask_zero", False)


def _parameters_of(row: _Row) -> list[nn.Parameter]:
    parameters = row.module.parameters(recurse=row.whole)
    return [parameter for parameter in parameters if not nn.parameter.is_lazy(parameter)]


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
