"""Every layer around the recurrence as the real Keras has it, on 100 drawn configurations each.

Compared in float64: outputs, gradients by the inputs and by every weight, the shape that is
announced, and the mask that goes on, which Keras keeps beside its tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gatewise import layers

pytestmark = [
    pytest.mark.usefixtures("float64"),
    # Keras's own variables do not know NumPy 2's copy argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    # So Keras says where a mask ends, which is what is compared.
    pytest.mark.filterwarnings("ignore:Layer .* does not support mask:UserWarning"),
]
CLOSE = {"rtol": 1e-9, "atol": 1e-11}
SIZE = st.integers(1, 4)
ACTIVATIONS = st.sampled_from([None, "tanh", "relu", "sigmoid", "softplus", "elu"])


@dataclass
class Case:
    """One configuration: what the layer is made with, and what it is called on."""

    arguments: dict[str, Any]
    shapes: list[tuple[int, ...]]
    several: bool = False
    classes: int | None = None
    """Where the input is ids: how many there are."""
    masked: list[bool] = field(default_factory=list)
    seed: int = 0


@st.composite
def one(draw: st.DrawFn, arguments: dict[str, Any], axes: Any = 3) -> Case:
    """A layer of one input with that many axes, and drawn arguments."""
    count = draw(st.sampled_from(axes)) if isinstance(axes, list) else axes
    shape = tuple(draw(SIZE) for _ in range(count))
    return _completed(draw, Case(_drawn(draw, arguments), [shape]))


@st.composite
def pooling(draw: st.DrawFn, average: bool = False) -> Case:
    arguments = {
        "pool_size": st.integers(1, 3),
        "strides": st.sampled_from([None, 1, 2]),
        "padding": st.sampled_from(["valid", "same"]),
    }
    shape = (draw(SIZE), draw(st.integers(3, 7)), draw(SIZE))
    case = Case(_drawn(draw, arguments), [shape])
    width, stride = case.arguments["pool_size"], case.arguments["strides"]
    stride = width if stride is None else stride
    added = max((-(-shape[1] // stride) - 1) * stride + width - shape[1], 0)
    if average and added % 2:
        # Keras on torch repeats the last step there and counts it, where Keras on TensorFlow and
        # JAX, as it is documented, and gatewise take the mean of the real steps.
        case.arguments["padding"] = "valid"
    return _completed(draw, case)


@st.composite
def convolving(draw: st.DrawFn) -> Case:
    arguments = {
        "filters": SIZE,
        "kernel_size": st.integers(1, 3),
        "padding": st.sampled_from(["valid", "same", "causal"]),
        "strides": st.integers(1, 2),
        "activation": ACTIVATIONS,
        "use_bias": st.booleans(),
    }
    shape = (draw(SIZE), draw(st.integers(3, 7)), draw(SIZE))
    return _completed(draw, Case(_drawn(draw, arguments), [shape]))


@st.composite
def global_pooling(draw: st.DrawFn) -> Case:
    case = Case({"keepdims": draw(st.booleans())}, [tuple(draw(SIZE) for _ in range(3))])
    return _completed(draw, case)


@st.composite
def reshaping(draw: st.DrawFn) -> Case:
    steps, *features = (draw(SIZE) for _ in range(3))
    target = draw(st.permutations([steps, *features]))
    if draw(st.booleans()):
        target[draw(st.integers(0, 2))] = -1
    shape = (draw(SIZE), steps, *features)
    return _completed(draw, Case({"target_shape": tuple(target)}, [shape]))


@st.composite
def permuting(draw: st.DrawFn) -> Case:
    count = draw(st.integers(1, 4))
    shape = tuple(draw(SIZE) for _ in range(count + 1))
    dims = tuple(draw(st.permutations(range(1, count + 1))))
    return _completed(draw, Case({"dims": dims}, [shape]))


@st.composite
def merging(draw: st.DrawFn, fewest: int = 2, most: int = 4) -> Case:
    """Inputs of one shape, or with axes of one to be stretched."""
    axes = draw(st.sampled_from([2, 3]))
    shape = tuple(draw(SIZE) for _ in range(axes))
    shapes = [shape] * draw(st.integers(fewest, most))
    if axes == 3 and draw(st.booleans()):
        shapes[-1] = (shape[0], 1, shape[2])
    return _completed(draw, Case({}, shapes, several=True))


@st.composite
def concatenating(draw: st.DrawFn) -> Case:
    axes = draw(st.sampled_from([2, 3]))
    axis = draw(st.sampled_from([-1, 1, axes - 1]))
    shape = [draw(SIZE) for _ in range(axes)]
    shapes = []
    for _ in range(draw(st.integers(2, 4))):
        shape[axis] = draw(SIZE)
        shapes.append(tuple(shape))
    return _completed(draw, Case({"axis": axis}, shapes, several=True))


@st.composite
def products(draw: st.DrawFn) -> Case:
    batch, common = draw(SIZE), draw(SIZE)
    shapes: list[tuple[int, ...]] = []
    axes = []
    for _ in range(2):
        shape = [draw(SIZE) for _ in range(draw(st.sampled_from([1, 2])))]
        place = draw(st.integers(0, len(shape) - 1))
        shape[place] = common
        shapes.append((batch, *shape))
        axes.append(place + 1)
    arguments = {"axes": tuple(axes), "normalize": draw(st.booleans())}
    return _completed(draw, Case(arguments, shapes, several=True))


@st.composite
def embedding(draw: st.DrawFn) -> Case:
    classes = draw(st.integers(2, 6))
    arguments = {"input_dim": classes, "output_dim": draw(SIZE), "mask_zero": draw(st.booleans())}
    case = Case(arguments, [(draw(SIZE), draw(SIZE))], classes=classes)
    case.seed = draw(st.integers(0, 2**16))
    case.masked = [False]
    return case


CASES: dict[str, st.SearchStrategy[Case]] = {
    "Dense": one(
        {"units": SIZE, "activation": ACTIVATIONS, "use_bias": st.booleans()}, axes=[2, 3, 4]
    ),
    "Activation": one({"activation": ACTIVATIONS.filter(bool)}, axes=[2, 3]),
    "Embedding": embedding(),
    "Masking": one({"mask_value": st.sampled_from([0.0, 1.0])}),
    "Dropout": one({"rate": st.floats(0, 0.9)}, axes=[2, 3]),
    "SpatialDropout1D": one({"rate": st.floats(0, 0.9)}),
    "RepeatVector": one({"n": SIZE}, axes=2),
    "Reshape": reshaping(),
    "Permute": permuting(),
    "Flatten": one({}, axes=[2, 3, 4]),
    "LayerNormalization": one(
        {
            "epsilon": st.sampled_from([1e-3, 0.1]),
            "center": st.booleans(),
            "scale": st.booleans(),
        },
        axes=[2, 3],
    ),
    "BatchNormalization": one(
        {
            "epsilon": st.sampled_from([1e-3, 0.1]),
            "center": st.booleans(),
            "scale": st.booleans(),
        },
        axes=[2, 3],
    ),
    "Conv1D": convolving(),
    "ActivityRegularization": one({"l1": st.floats(0, 1), "l2": st.floats(0, 1)}, axes=[2, 3]),
    "MaxPooling1D": pooling(),
    "AveragePooling1D": pooling(average=True),
    "GlobalMaxPooling1D": global_pooling(),
    "GlobalAveragePooling1D": global_pooling(),
    "Add": merging(),
    "Average": merging(),
    "Maximum": merging(),
    "Minimum": merging(),
    "Multiply": merging(),
    "Subtract": merging(most=2),
    "Concatenate": concatenating(),
    "Dot": products(),
}


@pytest.mark.parametrize("kind", CASES)
@settings(
    max_examples=100,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_as_keras(kind: str, data: st.DataObject) -> None:
    case = data.draw(CASES[kind])
    ours = getattr(layers, kind)(**case.arguments)
    theirs = getattr(keras.layers, kind)(**case.arguments, dtype="float64")
    numbers = np.random.default_rng(case.seed)
    shapes: Any = case.shapes if case.several else case.shapes[0]
    ours.build(shapes)
    theirs.build(shapes)
    weights = [np.abs(numbers.normal(size=w.shape)) + 0.1 for w in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    parts = [_values(case, shape, numbers) for shape in case.shapes]
    masks = [
        torch.tensor(numbers.random(shape[:2]) < 0.6) if masked else None
        for shape, masked in zip(case.shapes, case.masked, strict=True)
    ]
    found = _run_ours(ours, case, parts, masks)
    expected = _run_theirs(theirs, case, parts, masks)
    for our, their in zip(found[0], expected[0], strict=True):
        np.testing.assert_allclose(our, their, **CLOSE)
    assert _listed(found[1]) == _listed(expected[1])
    opened = [(None, *shape[1:]) for shape in case.shapes]
    asked = opened if case.several else opened[0]
    assert tuple(ours.compute_output_shape(asked)) == tuple(theirs.compute_output_shape(asked))


def _run_ours(
    layer: Any, case: Case, parts: list[np.ndarray], masks: list[Tensor | None]
) -> tuple[list[np.ndarray], Tensor | None]:
    tensors = _tensors(case, parts)
    x: Any = tensors if case.several else tensors[0]
    mask: Any = masks if case.several else masks[0]
    if case.several and all(one is None for one in masks):
        mask = None
    result = layer(x, mask=mask) if layer.takes_mask else layer(x)
    return _differentiated(result, tensors, list(layer.parameters())), layer.compute_mask(x, mask)


def _run_theirs(
    layer: Any, case: Case, parts: list[np.ndarray], masks: list[Tensor | None]
) -> tuple[list[np.ndarray], Tensor | None]:
    tensors = _tensors(case, parts)
    for tensor, mask in zip(tensors, masks, strict=True):
        if mask is not None:
            tensor._keras_mask = mask  # pyright: ignore[reportAttributeAccessIssue]
    result = layer(tensors if case.several else tensors[0])
    variables = [variable.value for variable in layer.weights]
    return _differentiated(result, tensors, variables), getattr(result, "_keras_mask", None)


def _differentiated(
    result: Tensor, tensors: list[Tensor], weights: list[Tensor]
) -> list[np.ndarray]:
    """Return the output, and the gradients of a fixed function of it."""
    sources = [one for one in (*tensors, *weights) if one.requires_grad]
    total = (result * torch.linspace(0.5, 1.5, result.numel()).reshape(result.shape)).sum()
    found = torch.autograd.grad(total, sources, allow_unused=True) if sources else []
    gradients = [
        torch.zeros_like(source) if gradient is None else gradient
        for source, gradient in zip(sources, found, strict=True)
    ]
    return [one.detach().numpy() for one in (result, *gradients)]


def _values(case: Case, shape: tuple[int, ...], numbers: np.random.Generator) -> np.ndarray:
    if case.classes is not None:
        return numbers.integers(0, case.classes, size=shape)
    values = numbers.normal(size=shape)
    if "mask_value" in case.arguments:
        values[numbers.random(shape[:2]) < 0.5] = case.arguments["mask_value"]
    return values


def _tensors(case: Case, parts: list[np.ndarray]) -> list[Tensor]:
    return [torch.tensor(part, requires_grad=case.classes is None) for part in parts]


def _listed(mask: Any) -> Any:
    return None if mask is None else torch.as_tensor(mask).tolist()


def _drawn(draw: st.DrawFn, arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: draw(strategy) for name, strategy in arguments.items()}


def _completed(draw: st.DrawFn, case: Case) -> Case:
    """Draw which inputs have a mask, a value for each sample and step, and the numbers."""
    case.seed = draw(st.integers(0, 2**16))
    case.masked = [len(shape) > 2 and draw(st.booleans()) for shape in case.shapes]
    return case
