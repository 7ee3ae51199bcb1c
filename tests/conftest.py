"""Settings and the one oracle that many tests share: the real Keras, on torch and in float64."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Keras reads these when it is first imported. Tensors of the tests lie on the CPU unless they say
# otherwise, and Keras would put its own on a GPU if there is one.
os.environ["KERAS_BACKEND"] = "torch"
os.environ["KERAS_TORCH_DEVICE"] = "cpu"


@pytest.fixture
def keras_in_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The real Keras as an oracle in full precision.

    On torch it casts the operands of matmul, add and others from float64 to float32, whatever the
    dtype of the layer, unless that entry is taken from its table.
    """
    import keras
    from keras.src.backend.common import dtypes

    monkeypatch.setitem(dtypes.BIT64_TO_BIT32_DTYPE, "float64", "float64")
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")  # the policy in force was made from the old floatx
    yield
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)


@pytest.fixture
def data_parallel_gradients(
    tmp_path: Path,
) -> Iterator[Callable[[nn.Module, Tensor], list[Tensor]]]:
    """The gradients of the sum of a model's outputs, squared, as DDP leaves them in one process.

    The wrapper goes before the group of processes: otherwise torch ends the group with the wrapper,
    waiting for the group's threads with Python's lock held, which one of them may be waiting for.
    """
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )

    def measure(model: nn.Module, x: Tensor) -> list[Tensor]:
        model.zero_grad()
        nn.parallel.DistributedDataParallel(model)(x).square().sum().backward()
        gc.collect()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    yield measure
    torch.distributed.destroy_process_group()


@pytest.fixture
def run_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Run a page as a program, in an empty folder; return how many of its outputs were compared.

    Its Python blocks run in order, and a text block shows what the block above it prints. `words`
    brings both to what must agree; without it, every character must.
    """
    monkeypatch.chdir(tmp_path)

    def run(page: str, words: Callable[[str], object] = str) -> int:
        names: dict[str, object] = {}
        printed, compared = "", 0
        for kind, block in _BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
            if kind == "python":
                output = io.StringIO()
                with contextlib.redirect_stdout(output):
                    exec(compile(block, page, "exec"), names)
                printed = output.getvalue()
            else:
                assert words(printed) == words(block)
                compared += 1
        return compared

    return run


@pytest.fixture
def clean_register() -> Iterator[None]:
    """Forget the layers that a test registers, and no others."""
    from gatewise.layers.registered import OWN

    before = dict(OWN)
    yield
    OWN.clear()
    OWN.update(before)
