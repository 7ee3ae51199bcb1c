"""Ten steps of every optimizer against the real Keras, from equal weights and gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch

from gatewise import optimizers
from gatewise.optimizers import schedules

# Keras asks NumPy for arrays of torch tensors in a way that NumPy 2 deprecates.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.usefixtures("keras_in_float64"),
]

SHAPES = ((5, 12), (3, 12), (12,), (3, 1), (1,))
STEPS = 10

CASES = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop momentum": ("RMSprop", {"momentum": 0.9, "rho": 0.8}),
    "rmsprop centered": ("RMSprop", {"centered": True, "epsilon": 1e-5}),
    "rmsprop centered momentum": ("RMSprop", {"centered": True, "momentum": 0.5}),
    "adam": ("Adam", {}),
    "adam amsgrad": ("Adam", {"amsgrad": True, "beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}),
    "adamw": ("AdamW", {}),
    "adamax": ("Adamax", {}),
    "nadam": ("Nadam", {}),
    "adagrad": ("Adagrad", {}),
    "adagrad from zero": ("Adagrad", {"initial_accumulator_value": 0.0}),
    "adadelta": ("Adadelta", {}),
}


def _walk(name, arguments, keras_rate, our_rate, scale):
    """Return the first weights, Keras's after ten steps, and ours."""
    random = np.random.default_rng(3)
    start = [random.normal(size=shape) for shape in SHAPES]
    gradients = [[scale * random.normal(size=shape) for shape in SHAPES] for _ in range(STEPS)]

    variables = [keras.Variable(w, dtype="float64") for w in start]
    theirs = getattr(keras.optimizers, name)(**arguments, **keras_rate)
    theirs.build(variables)
    parameters = [torch.nn.Parameter(torch.tensor(w)) for w in start]
    ours = getattr(optimizers, name)(**arguments, **our_rate).bind(parameters)
    for step in gradients:
        theirs.apply([torch.tensor(g) for g in step], variables)
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = torch.tensor(gradient)
        ours.step()
    return (
        start,
        [v.value.detach().numpy() for v in variables],
        [p.detach().numpy() for p in parameters],
    )


def _assert_follows(start, theirs, ours, tolerance=1e-6):
    for w_0, w_keras, w in zip(start, theirs, ours, strict=True):
        moved = np.linalg.norm(w_keras - w_0)
        assert moved > 0
        assert np.linalg.norm(w - w_keras) <= tolerance * moved


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("case", CASES)
def test_ten_steps_follow_keras(case, scale):
    name, arguments = CASES[case]
    _assert_follows(*_walk(name, arguments, {}, {}, scale))


@pytest.mark.parametrize("case", CASES)
def test_ten_steps_under_a_schedule_follow_keras(case):
    name, arguments = CASES[case]
    theirs = keras.optimizers.schedules.ExponentialDecay(0.05, 3, 0.5)
    ours = schedules.ExponentialDecay(0.05, 3, 0.5)
    rates = {"learning_rate": theirs}, {"learning_rate": ours}
    _assert_follows(*_walk(name, arguments, *rates, 1e-2))


@pytest.mark.parametrize(
    "clip", [{"clipnorm": 1.0}, {"global_clipnorm": 2.0}, {"clipvalue": 0.3}, {"clipnorm": 1e3}]
)
@pytest.mark.parametrize("case", ["momentum", "rmsprop", "adam"])
def test_ten_steps_with_clipping_follow_keras(case, clip):
    name, arguments = CASES[case]
    _assert_follows(*_walk(name, {**arguments, **clip}, {}, {}, 1.0))


@pytest.mark.parametrize("case", CASES)
def test_ten_steps_with_weight_decay_follow_keras(case):
    name, arguments = CASES[case]
    arguments = {**arguments, "weight_decay": 0.05}
    rates = [
        {"learning_rate": module.CosineDecay(0.02, 20)}
        for module in (keras.optimizers.schedules, schedules)
    ]
    _assert_follows(*_walk(name, arguments, *rates, 1.0))


@pytest.mark.parametrize(
    "name", ["SGD", "RMSprop", "Adam", "AdamW", "Adamax", "Nadam", "Adagrad", "Adadelta"]
)
def test_defaults_are_keras_s(name):
    theirs = getattr(keras.optimizers, name)().get_config()
    for argument, value in getattr(optimizers, name)().get_config().items():
        if argument != "name":
            assert theirs[argument] == pytest.approx(value), argument


SCHEDULES = [
    ("ExponentialDecay", {"initial_learning_rate": 0.3, "decay_steps": 7, "decay_rate": 0.6}),
    (
        "ExponentialDecay",
        {"initial_learning_rate": 0.3, "decay_steps": 7, "decay_rate": 0.6, "staircase": True},
    ),
    ("InverseTimeDecay", {"initial_learning_rate": 0.3, "decay_steps": 7, "decay_rate": 0.6}),
    (
        "InverseTimeDecay",
        {"initial_learning_rate": 0.3, "decay_steps": 7, "decay_rate": 0.6, "staircase": True},
    ),
    ("PolynomialDecay", {"initial_learning_rate": 0.3, "decay_steps": 7, "power": 2.0}),
    ("PolynomialDecay", {"initial_learning_rate": 0.3, "decay_steps": 7, "cycle": True}),
    ("PiecewiseConstantDecay", {"boundaries": [3, 7, 8], "values": [1.0, 0.5, 0.25, 0.1]}),
    ("CosineDecay", {"initial_learning_rate": 0.3, "decay_steps": 7, "alpha": 0.1}),
    (
        "CosineDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 7, "warmup_target": 0.4, "warmup_steps": 5},
    ),
]


@pytest.mark.parametrize(("name", "arguments"), SCHEDULES)
def test_schedules_are_keras_s(name, arguments):
    ours = getattr(schedules, name)(**arguments)
    theirs = getattr(keras.optimizers.schedules, name)(**arguments)
    for step in range(25):
        assert ours(step) == pytest.approx(float(theirs(step)), rel=1e-12)
    written = schedules.serialize(ours)
    assert set(written["config"]) == set(theirs.get_config())
    assert schedules.deserialize(written) == ours
