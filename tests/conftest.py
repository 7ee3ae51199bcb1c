"""Settings and the one oracle that many tests share: the real Keras, on torch and in float64."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

# Keras reads this when it is first imported.
os.environ["KERAS_BACKEND"] = "torch"


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
