"""The GPU kernels beside the equations, for every cell and option that they take."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gatewise.cells import NO_NOISE, Noise, Specification
from gatewise.kernels import ops, recurrent

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability()[0] != 9,
    reason="needs a GPU of compute capability 9 (H100, H200)",
)

CELLS = [
    Specification("lstm"),
    Specification("lstm", reverse=True),
    Specification("lstm", peephole=True, cell_clip=0.3),
    Specification("lstm", "softsign", "hard_sigmoid"),
    Specification("lstm", "relu", "sigmoid"),
    Specification("cifg"),
    Specification("cifg", "linear", peephole=True),
    Specification("gru"),
    Specification("gru", reverse=True),
    Specification("simple_rnn"),
    Specification("simple_rnn", "relu", reverse=True),
]
# B, T, I, H: one block and many, rows and units that fill no eight, every place where U may lie.
SIZES = [
    (1, 1, 1, 1), (3, 7, 5, 20), (8, 4, 16, 64), (9, 13, 3, 100), (33, 5, 7, 128),
    (16, 6, 40, 200), (5, 6, 12, 384), (16, 4, 8, 512), (20, 3, 8, 768), (2, 3, 8, 1031),
]  # fmt: skip


def drawn(
    specification: Specification, sizes: tuple[int, int, int, int], bias: bool = True
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return x, the weights and the state, float64 on the GPU."""
    batch, steps, inputs, hidden = sizes
    columns = hidden * len(specification.gates)
    shapes = [(inputs, columns), (hidden, columns)]
    if bias:
        shapes.append((2, columns) if specification.two_biases else (columns,))
    if specification.peephole:
        shapes.append((len(specification.peepholes), hidden))
    torch.manual_seed(sum(sizes))

    def draw(*shape: int, size: float = 1.0) -> Tensor:
        return (torch.randn(*shape, dtype=torch.float64) * size).cuda()

    weights = [draw(*shape, size=1 / math.sqrt(shape[0])) for shape in shapes]
    state = [draw(batch, hidden, size=0.5) for _ in specification.states]
    return draw(batch, steps, inputs), weights, state


def results(
    kernel: str,
    dtype: torch.dtype,
    specification: Specification,
    x: Tensor,
    weights: list[Tensor],
    state: list[Tensor],
    mask: Tensor | None = None,
    noise: Noise = NO_NOISE,
) -> list[Tensor]:
    """Return outputs, final state and all gradients, in float64."""
    given = [part.to(dtype).requires_grad_() for part in (x, *weights, *state)]
    count = 1 + len(weights)
    outputs, final = recurrent(
        given[0], given[1:count], given[count:], specification=specification, mask=mask,
        noise=noise.to(dtype), kernel=kernel,
    )  # fmt: skip
    loss = (outputs**2).sum() + sum((part * torch.sin(part)).sum() for part in final)
    return [part.double() for part in (outputs, *final, *torch.autograd.grad(loss, given))]


def assert_close(found: list[Tensor], expected: list[Tensor], allowed: float) -> None:
    for one, other in zip(found, expected, strict=True):
        scale = other.abs().max().clamp(min=1e-3)
        assert ((one - other).abs().max() / scale).item() <= allowed


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("specification", CELLS, ids=lambda s: s.encode())
def test_float32_is_the_equation(
    specification: Specification, sizes: tuple[int, int, int, int]
) -> None:
    given = drawn(specification, sizes, bias=sizes[0] != 9)
    found = results("cuda", torch.float32, specification, *given)
    assert_close(found, results("reference", torch.float64, specification, *given), 2e-5)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("specification", CELLS, ids=lambda s: s.encode())
def test_bfloat16_rounds_the_products_alone(
    specification: Specification, sizes: tuple[int, int, int, int]
) -> None:
    specification = specification.at("bfloat16")
    given = drawn(specification, sizes)
    found = results("cuda", torch.float32, specification, *given)
    # A sum in another order may round to the next bfloat16, and the steps carry that on.
    assert_close(found, results("reference", torch.float64, specification, *given), 2e-2)


@pytest.mark.parametrize("sizes", [(9, 13, 3, 100), (16, 6, 40, 200), (16, 4, 8, 512)], ids=str)
@pytest.mark.parametrize("specification", CELLS, ids=lambda s: s.encode())
@pytest.mark.parametrize("what", ["mask", "dropout", "zoneout", "all"])
def test_masks_and_noise(
    specification: Specification, sizes: tuple[int, int, int, int], what: str
) -> None:
    x, weights, state = drawn(specification, sizes)
    batch, steps, _, hidden = sizes
    mask, noise = None, NO_NOISE
    if what in ("mask", "all"):
        mask = torch.rand(batch, steps, device="cuda") < 0.7  # with holes
        x[~mask] = math.nan
    if what in ("dropout", "all"):
        dropped = (torch.rand(batch, hidden, device="cuda") < 0.8) / 0.8
        noise = noise._replace(recurrent_dropout=dropped.double())
    if what in ("zoneout", "all"):
        zones = torch.rand(2, batch, steps, hidden, device="cuda", dtype=torch.float64)
        kept_c = zones[1] if "c" in specification.states else None
        noise = noise._replace(zoneout_h=zones[0], zoneout_c=kept_c)
    given = (specification, x, weights, state, mask, noise)
    found = results("cuda", torch.float32, *given)
    assert_close(found, results("reference", torch.float64, *given), 2e-5)
    assert all(part.isfinite().all() for part in found)


@pytest.mark.parametrize("sizes", [(33, 5, 7, 128), (16, 20, 8, 512)], ids=str)
@pytest.mark.parametrize("cell", ["lstm", "simple_rnn"])
def test_the_same_bits_every_time(cell: str, sizes: tuple[int, int, int, int]) -> None:
    given = drawn(Specification(cell), sizes)
    first = results("cuda", torch.float32, Specification(cell), *given)
    for _ in range(50):
        again = results("cuda", torch.float32, Specification(cell), *given)
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_a_cotangent_is_scaled_on_its_way() -> None:
    specification = Specification("lstm")
    x, weights, state = drawn(specification, (9, 6, 5, 128))
    scale = torch.tensor([1.0, 0.5, 0.0, 1.0, 2.0, 1.0], device="cuda")
    found = []
    for kernel, dtype in (("cuda", torch.float32), ("reference", torch.float64)):
        given = [[part.to(dtype) for part in group] for group in ([x], weights, state)]
        run = ops.forward(given[0][0], given[1], given[2], None, NO_NOISE, specification, kernel)
        grads = ops.backward_scan(
            torch.ones_like(run.outputs), [torch.ones_like(part) for part in given[2]], run,
            given[1], given[2], None, NO_NOISE, specification, kernel, scale.to(dtype),
        )  # fmt: skip
        found.append([grads[0].double(), *(part.double() for part in grads[1])])
    assert_close(*found, 2e-5)


def test_autocast_to_float16_changes_nothing() -> None:
    specification = Specification("lstm")
    given = drawn(specification, (9, 6, 5, 128))
    expected = results("cuda", torch.float32, specification, *given)
    with torch.autocast("cuda", torch.float16):
        found = results("cuda", torch.float32, specification, *given)
    assert_close(found, expected, 1e-6)
