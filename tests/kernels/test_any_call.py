"""Any call: random sizes, masks, strides and options, against the equations and for the same bits.

`make sanitize` runs these with every access checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gatewise.activations import KERNEL_NAMES
from gatewise.cells import GATES, STATES, Noise, Specification
from gatewise.kernels import cpu, ops

pytestmark = pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())

MASKS = ["none", "lengths", "left padding", "holes", "nothing real"]
LAYOUTS = ["dense", "transposed", "in the middle of more"]
names = st.sampled_from(KERNEL_NAMES)
# Gates without a bound let h grow beyond all.
gates = st.sampled_from([name for name in KERNEL_NAMES if name not in ("linear", "relu")])


@dataclass(frozen=True)
class Call:
    """One call, as hypothesis draws it."""

    specification: Specification
    sizes: tuple[int, int, int, int]  # B, T, I, H
    projected: int  # P is this, and at most H
    bias: bool
    mask: str
    dropout: bool
    zoneout: tuple[bool, bool]
    cotangents: bool  # of the outputs; the final state always has one
    scale: bool
    path: str
    reduce: str
    seed: int


def specified(
    cell: str,
    activation: str,
    gate: str,
    reset: bool,
    reverse: bool,
    peephole: bool,
    clipped: bool,
    projection: bool,
    layer_norm: bool,
) -> Specification:
    """Return a specification, with those of the options that its cell can have."""
    remembers = "c" in STATES[cell]
    normalizable = remembers or (cell == "gru" and reset)
    return Specification(
        cell, activation, gate, reset, reverse,
        peephole=peephole and remembers, cell_clip=0.7 if clipped and remembers else None,
        projection=projection and remembers, layer_norm=layer_norm and normalizable,
    )  # fmt: skip


calls = st.builds(
    Call,
    st.builds(
        specified,
        st.sampled_from(sorted(GATES)),
        names,
        gates,
        *[st.booleans() for _ in range(6)],
    ),
    st.tuples(st.integers(1, 19), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 40),
    bias=st.booleans(),
    mask=st.sampled_from(MASKS),
    dropout=st.booleans(),
    zoneout=st.tuples(st.booleans(), st.booleans()),
    cotangents=st.booleans(),
    scale=st.booleans(),
    path=st.sampled_from(ops.PATHS),
    reduce=st.sampled_from(ops.REDUCTIONS),
    seed=st.integers(0, 99),
)
layouts = st.tuples(*[st.sampled_from(LAYOUTS) for _ in range(3)])  # of x, W and U
whatever = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def own_threads_and_nan_where_nothing_was_written() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


@given(calls, layouts)
@whatever
def test_any_call_equals_the_equations(call: Call, layout: tuple[str, str, str]) -> None:
    found, expected = (run(call, kernel, layout, torch.float64) for kernel in ("cpu", "reference"))
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-9, atol=1e-9, msg=lambda text, n=name: f"{n}: {text}"
        )


@given(calls, layouts, st.integers(1, 5))
@whatever
def test_strides_and_threads_change_no_bit(
    call: Call, layout: tuple[str, str, str], threads: int
) -> None:
    torch.set_num_threads(1)
    expected = run(call, "cpu", ("dense",) * 3, torch.float32)
    torch.set_num_threads(threads)
    for name, value in run(call, "cpu", layout, torch.float32).items():
        assert torch.equal(value, expected[name]), name


def run(
    call: Call, kernel: str, layout: tuple[str, str, str], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Run the way forward and back; every result by name."""
    random = torch.Generator().manual_seed(call.seed)
    batch, steps, inputs, units = call.sizes
    columns = len(call.specification.gates) * units
    hidden = min(call.projected, units) if call.specification.projection else units
    widths = (hidden, units)[: len(call.specification.states)]
    # There is no diagonal through a projection.
    path = "cell" if call.path == "diagonal" and call.specification.projection else call.path

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64).to(dtype)

    x = laid_out(draw(batch, steps, inputs), layout[0])
    weights = [
        laid_out(draw(inputs, columns) / inputs**0.5, layout[1]),
        laid_out(draw(hidden, columns) / (2 * hidden**0.5), layout[2]),
    ]
    if call.bias:
        weights.append(draw(*((2, columns) if call.specification.two_biases else (columns,))))
    if call.specification.peephole:
        weights.append(draw(len(call.specification.peepholes), units))
    if call.specification.projection:
        weights.append(draw(units, hidden) / units**0.5)
    if call.specification.layer_norm:
        of_cell = (units, units) if len(widths) == 2 else ()
        weights += [draw(size) for size in (columns, columns, *of_cell)]
    state = [draw(batch, width) for width in widths]
    mask = mask_of(call.mask, batch, steps, random)
    if mask is not None:
        x[~mask] = float("nan")
    shares = [
        torch.rand(batch, steps, width, generator=random, dtype=torch.float64).to(dtype)
        for width in widths
    ]
    if mask is not None:
        for share in shares:
            share[~mask] = float("nan")
    noise = Noise(
        (draw(batch, hidden) > -0.5).to(dtype) / 0.7 if call.dropout else None,
        laid_out(shares[0], layout[0]) if call.zoneout[0] else None,
        shares[1] if call.zoneout[1] and len(state) == 2 else None,
    )
    fixed = (mask, noise, call.specification, kernel)
    grad_outputs = draw(batch, steps, hidden) if call.cotangents else None
    grad_final = [draw(batch, width) for width in widths]
    scale = torch.rand(steps, generator=random).to(dtype) if call.scale else None

    saved = ops.forward(x, weights, state, *fixed)
    grad_product, grad_state, norms = ops.backward_scan(
        grad_outputs, grad_final, saved, weights, state, *fixed, scale, path, True
    )
    gradients = ops.weight_gradient(x, saved, grad_product, weights, state, *fixed, call.reduce)
    results = {"outputs": saved.outputs, "gates": saved.gates, "dP": grad_product, "norms": norms}
    results["dx"] = ops.input_gradient(grad_product, weights, mask, call.specification, kernel)
    for name, values in (
        ("final", saved.final_state), ("d(state)", grad_state), ("d(weight)", gradients)
    ):  # fmt: skip
        results |= {f"{name} {place}": value for place, value in enumerate(values)}
    assert not any(value.isnan().any() for value in results.values())
    return results


def laid_out(tensor: Tensor, layout: str) -> Tensor:
    """Return the tensor with other strides; what lies between its elements is NaN."""
    if layout == "dense":
        return tensor
    if layout == "transposed":
        return tensor.transpose(0, 1).contiguous().transpose(0, 1)
    wide = tensor.new_full([2 * size + 2 for size in tensor.shape], float("nan"))
    inner = wide[tuple(slice(1, 1 + size) for size in tensor.shape)]
    return inner.copy_(tensor)


def mask_of(kind: str, batch: int, steps: int, random: torch.Generator) -> Tensor | None:
    times = torch.arange(steps)
    lengths = torch.randint(0, steps + 1, (batch, 1), generator=random)
    return {
        "none": None,
        "lengths": times < lengths,
        "left padding": times >= lengths,
        "holes": torch.rand(batch, steps, generator=random) > 0.4,
        "nothing real": torch.zeros(batch, steps, dtype=torch.bool),
    }[kind]
