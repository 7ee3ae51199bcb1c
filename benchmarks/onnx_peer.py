"""ONNX Runtime as a peer of the benchmarks: one LSTM, where onnx and onnxruntime are installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def session(shape: tuple[int, int, int, int]) -> Any:
    """Return an ONNX Runtime session of one LSTM of this shape; None where it is not installed."""
    try:
        import onnx
        import onnxruntime
    except ImportError:
        return None
    batch, steps, features, units = shape
    random = np.random.default_rng(2)
    weights = {
        name: random.normal(scale=0.1, size=size).astype(np.float32)
        for name, size in {
            "W": (1, 4 * units, features),
            "R": (1, 4 * units, units),
            "B": (1, 8 * units),
        }.items()
    }
    node = onnx.helper.make_node(
        "LSTM", ["x", "W", "R", "B", "", "h", "c"], ["y", "y_h", "y_c"], hidden_size=units
    )
    state, number = [1, batch, units], onnx.TensorProto.FLOAT

    def value(name: str, size: list[int]) -> Any:
        return onnx.helper.make_tensor_value_info(name, number, size)

    graph = onnx.helper.make_graph(
        [node],
        "lstm",
        [value("x", [steps, batch, features]), value("h", state), value("c", state)],
        [value("y", [steps, 1, batch, units]), value("y_h", state), value("y_c", state)],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = onnx.helper.make_opsetid("", 17)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def inputs(shape: tuple[int, int, int, int]) -> dict[str, np.ndarray]:
    """Return the inputs of such a session: x (T, B, I) and the state."""
    batch, steps, features, units = shape
    sizes = {"x": (steps, batch, features), "h": (1, batch, units), "c": (1, batch, units)}
    return {name: np.ones(size, np.float32) * 0.1 for name, size in sizes.items()}


def version() -> str | None:
    """Return the version that is installed, or None."""
    try:
        import onnxruntime
    except ImportError:
        return None
    return onnxruntime.__version__
