"""The GPU kernels without a GPU: they compile, their layouts hold, and when they are chosen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from gatewise.cells import GATES, Specification
from gatewise.errors import UnsupportedError
from gatewise.kernels import Request, choose, cuda
from gatewise.kernels.cuda import build, plan
from gatewise.kernels.cuda.layout import WARPS, backward_layout, forward_layout

H100 = 132, 232_448  # multiprocessors, bytes of shared memory for a block
LAYOUTS = {"forward": forward_layout, "backward": backward_layout}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with an H100, as far as the choice of a kernel asks."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(plan, "_device", lambda index: H100)
    plan.plan.cache_clear()
    yield
    plan.plan.cache_clear()


@pytest.mark.skipif(build.missing() is not None, reason="cuda-bindings is not installed")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("direction", LAYOUTS)
@pytest.mark.parametrize("cell", GATES)
def test_every_cell_compiles(cell: str, direction: str, precision: str) -> None:
    specification = Specification(cell, precision=precision)
    for hidden, blocks, rows in ((20, 1, 8), (512, 16, 16), (1031, 16, 8)):
        layout = LAYOUTS[direction](
            len(specification.gates), hidden, precision, blocks, rows, H100[1]
        )
        code = build.compile_kernel(direction, specification, layout, "sm_90")
        assert code.startswith(b"\x7fELF")


@pytest.mark.skipif(build.missing() is not None, reason="cuda-bindings is not installed")
def test_every_activation_compiles() -> None:
    layout = forward_layout(4, 20, "float32", 1, 8, H100[1])
    for name in ("linear", "relu", "hard_sigmoid", "softsign"):
        assert build.compile_kernel("forward", Specification("lstm", name, name), layout, "sm_90")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("hidden", [1, 8, 20, 100, 128, 513, 768, 1031])
@pytest.mark.parametrize("gates", [1, 3, 4])
def test_a_layout_covers_every_unit_and_fits(gates: int, hidden: int, precision: str) -> None:
    for direction, layout_of in LAYOUTS.items():
        found = plan._possible(direction, gates, hidden, precision, H100)
        assert found
        for layout, _ in found:
            assert layout == layout_of(
                gates, hidden, precision, layout.blocks, layout.rows, H100[1]
            )
            assert layout.shared_bytes <= H100[1]
            for batch in (1, 9, 16, 100, 1000):
                assert layout.clusters(batch) * layout.rows >= batch
            assert layout.blocks * layout.units >= hidden > (layout.blocks - 1) * 8
            own, all_units = gates * layout.units, layout.blocks * layout.units
            rows, columns = (own, all_units) if direction == "forward" else (all_units, own)
            assert layout.tiles * layout.tile_groups * 16 >= rows
            assert layout.steps * (WARPS // layout.tile_groups) * 16 >= columns
            kept = layout.in_registers + layout.in_shared
            assert kept <= layout.steps
            assert (layout.fragment_bytes == 0) == (kept == layout.steps)


@pytest.mark.usefixtures("gpu")
def test_the_kernel_on_a_gpu() -> None:
    def chosen(specification: Specification, **others: object) -> str:
        return choose(Request(specification, "cuda", torch.float32, **others)).kernel  # type: ignore[arg-type]

    lstm, gru = Specification("lstm"), Specification("gru")
    if build.missing() is not None:
        assert chosen(lstm, units=128) == "cudnn"
        return
    # Where both compute it, the faster one; where the sizes are not known, cuDNN.
    assert chosen(lstm) == "cudnn"
    assert chosen(lstm, units=128, batch=32) == chosen(gru, units=512, batch=16) == "cuda"
    assert chosen(lstm, units=1024, batch=256) == chosen(gru, units=128, batch=16) == "cudnn"
    # What cuDNN does not compute.
    assert chosen(lstm, units=1024, batch=256, mask=True) == "cuda"
    assert chosen(lstm.at("bfloat16"), units=100) == "cuda"
    assert chosen(Specification("lstm", peephole=True)) == "cuda"
    # What neither does.
    for specification in (
        Specification("lstm", layer_norm=True),
        Specification("lstm", projection=True),
        Specification("gru", reset_after=False),
        Specification("lstm", "elu"),
    ):
        assert chosen(specification, units=100) == "reference"
    assert chosen(lstm.at("bfloat16"), units=3000) == "reference"


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_torch_compile_traces_what_the_choice_asks(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_device", lambda index: H100)

    class Asks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.specification, self.U = Specification(cell), nn.Parameter(torch.zeros(512, 2048))

        def forward(self, x: Tensor) -> Tensor:
            asked = len(self.specification.gates), len(self.U), self.specification.precision
            held = plan.holds(*asked, 0) and build.missing() is None
            return x + plan.nanoseconds(*asked, x.shape[0], 0) + held

    asks = Asks()
    compiled = torch.compile(asks, fullgraph=True, backend="eager")
    # A second size makes the batch a symbol; the last fills more clusters than the GPU has.
    for batch in (16, 24, 4096):
        x = torch.zeros(batch)
        torch.testing.assert_close(compiled(x), asks(x))
    assert asks(torch.zeros(4096))[0] > asks(torch.zeros(16))[0]


@pytest.mark.usefixtures("gpu")
def test_a_refusal_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(
        Specification("lstm", layer_norm=True), "cuda", torch.float32, kernel="cuda", units=8
    )
    with pytest.raises(UnsupportedError, match="the GPU kernels have no layer_norm"):
        choose(request)
    lstm = Specification("lstm")
    assert "float64" in str(cuda.refusal(lstm, torch.float64, 8))
    assert "do not hold 5000 units" in str(cuda.refusal(lstm, torch.float32, 5000))
    with pytest.raises(UnsupportedError, match="do not hold 5000 units"):
        plan.plan("backward", 4, 5000, "float32", 8, 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    assert "compute capability 9 " in str(cuda.refusal(lstm, torch.float32, 8))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no NVIDIA GPU" in str(cuda.refusal(lstm, torch.float32, 8))
