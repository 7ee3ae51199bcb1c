"""Do two modules compute the same? Their outputs, states and gradients on a probe, compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from gatewise.errors import GatewiseError

TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-10}
"""The largest relative error that passes: rounding, in another order, stays well below it."""

_BATCH, _STEPS, _LENGTHS = 3, 7, (4, 7, 1)
# A tensor whose entries cancel to nothing is noise: measured against this part of the largest one.
_FLOOR = 1e-3


class DisagreementError(GatewiseError):
    """A replacement computes something else than the module that it should stand for."""


@dataclass(frozen=True)
class Difference:
    """The largest relative error between two modules, and the tensor in which it occurred."""

    error: float
    where: str

    def __str__(self) -> str:
        return f"{self.error:.1e} in {self.where}"


def compare_layers(original: nn.Module, replacement: nn.Module) -> Difference:
    """Compare two recurrent layers on random sequences, padded and packed, without their dropout.

    Compares outputs, final states and the gradients of input, initial state and every parameter.
    The layers' own ``.grad`` and the global random state stay as they are.
    """
    differences = []
    for packed in (False, True):
        expected, found = (_layer_tensors(layer, packed) for layer in (original, replacement))
        differences.append(largest_difference(expected, found))
    return max(differences, key=lambda difference: difference.error)


def model_tensors(model: nn.Module, probe: Any) -> dict[str, Tensor]:
    """Return a model's floating outputs and parameter gradients on a probe batch, in eval mode."""
    arguments, keywords = _call(probe)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.is_cuda})
    with ExitStack() as stack:
        stack.enter_context(_evaluating(model))
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(torch.enable_grad())
        # cuDNN refuses a backward pass in eval mode.
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        torch.manual_seed(0)
        found = list(_floating(model(*arguments, **keywords)))
        outputs = {f"output {number}": tensor.detach() for number, tensor in enumerate(found)}
        return outputs | _gradients(found, parameters)


def largest_difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Difference:
    """Return the largest |expected - found|, each relative to the largest entry of its tensor.

    >>> largest_difference({"h": torch.tensor([1.0, 4.0])}, {"h": torch.tensor([1.0, 5.0])})
    Difference(error=0.25, where='h')
    """
    worst = Difference(0.0, "nothing")
    if expected.keys() != found.keys():
        odd = sorted(expected.keys() ^ found.keys())
        return Difference(float("inf"), f"{odd[0]}, which only one of them has")
    floor = _FLOOR * max((_magnitude(tensor) for tensor in expected.values()), default=0.0)
    for name, reference in expected.items():
        other = found[name]
        if reference.shape != other.shape or not torch.equal(
            reference.isfinite(), other.isfinite()
        ):
            return Difference(float("inf"), name)
        gap = _magnitude(reference.double() - other.double())
        error = gap / max(_magnitude(reference), floor) if gap else 0.0
        if error > worst.error or worst.where == "nothing":
            worst = Difference(error, name)
    return worst


def _layer_tensors(layer: nn.Module, packed: bool) -> dict[str, Tensor]:
    """Return a recurrent layer's outputs, final states and gradients on a random probe."""
    settings: Any = layer
    leaves = {name: p.detach().requires_grad_() for name, p in layer.named_parameters()}
    weight = next(iter(leaves.values()))
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        return values.to(weight).requires_grad_()

    rows = settings.num_layers * (2 if settings.bidirectional else 1)
    first, second = (_BATCH, _STEPS) if settings.batch_first else (_STEPS, _BATCH)
    probes = {"input": draw(first, second, settings.input_size)}
    probes["h_0"] = draw(rows, _BATCH, settings.proj_size or settings.hidden_size)
    if isinstance(layer, nn.LSTM) or getattr(layer, "cell", None) == "lstm":
        probes["c_0"] = draw(rows, _BATCH, settings.hidden_size)
    x: Tensor | PackedSequence = probes["input"]
    if packed:
        x = pack_padded_sequence(
            x, torch.tensor(_LENGTHS), settings.batch_first, enforce_sorted=False
        )
    state = tuple(probes[name] for name in ("h_0", "c_0") if name in probes)
    with _evaluating(layer), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        output, final = torch.func.functional_call(
            layer, leaves, (x, state if len(state) == 2 else state[0])
        )
        found = list(_floating((output, final)))
        names = ("the output", "the final h", "the final c")
        values = {name: tensor.detach() for name, tensor in zip(names, found, strict=False)}
        return values | _gradients(found, probes | leaves)


def _gradients(outputs: list[Tensor], leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradients of a fixed random weighting of the outputs, of the leaves in it."""
    generator = torch.Generator().manual_seed(1)
    terms = []
    for output in outputs:
        weighting = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output)
        if output.requires_grad:
            terms.append((output * weighting).sum())
    if not terms or not leaves:
        return {}
    gradients = torch.autograd.grad(
        torch.stack(terms).sum(), list(leaves.values()), allow_unused=True
    )
    pairs = zip(leaves, gradients, strict=True)
    return {f"the gradient of {name}": grad for name, grad in pairs if grad is not None}


def _floating(value: Any) -> Iterator[Tensor]:
    """Yield the floating tensors inside what a model returned."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, PackedSequence):
        yield value.data
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _floating(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _floating(part)


def _call(probe: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the positional and keyword arguments that a probe stands for."""
    if isinstance(probe, Mapping):
        return (), probe
    if isinstance(probe, tuple) and not isinstance(probe, PackedSequence):
        return probe, {}
    return (probe,), {}


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Switch every module to eval mode, and each back to its own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _magnitude(tensor: Tensor) -> float:
    finite = tensor[tensor.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0
