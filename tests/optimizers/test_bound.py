"""The bound optimizer as a torch optimizer: state, groups, learning rates, copies."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
import torch

from gatewise import optimizers
from gatewise.errors import InputError, UnknownNameError, UnsupportedError
from gatewise.optimizers import schedules

EVERY = [
    optimizers.SGD(),
    optimizers.SGD(momentum=0.9, nesterov=True),
    optimizers.RMSprop(centered=True, momentum=0.5),
    optimizers.Adam(amsgrad=True),
    optimizers.AdamW(schedules.CosineDecay(0.1, 5)),
    optimizers.Adamax(clipnorm=1.0),
    optimizers.Nadam(),
    optimizers.Adagrad(),
    optimizers.Adadelta(),
]


def _model(dtype=torch.float32):
    generator = torch.Generator().manual_seed(5)
    shapes = ((4, 3), (3,), (1, 1))
    return [torch.nn.Parameter(torch.randn(s, generator=generator, dtype=dtype)) for s in shapes]


def _advance(optimizer, parameters, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
        optimizer.step()


@pytest.mark.parametrize("specification", EVERY, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saved_state_continues_bit_for_bit(specification, dtype, tmp_path):
    straight = _model(dtype)
    optimizer = specification.bind(straight)
    _advance(optimizer, straight, 4, seed=1)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    resumed = [torch.nn.Parameter(p.detach().clone()) for p in straight]
    loaded = specification.bind(resumed)
    loaded.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert loaded.iterations == 4
    assert loaded.learning_rate == optimizer.learning_rate
    _advance(optimizer, straight, 3, seed=2)
    _advance(loaded, resumed, 3, seed=2)
    for a, b in zip(straight, resumed, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copy_keeps_its_formula_and_its_schedule(copier):
    parameters = _model()
    optimizer = optimizers.RMSprop(schedules.ExponentialDecay(0.1, 1, 0.5)).bind(parameters)
    _advance(optimizer, parameters, 2, seed=1)
    twin = copier(optimizer)
    copies = twin.param_groups[0]["params"]
    _advance(optimizer, parameters, 2, seed=2)
    _advance(twin, copies, 2, seed=2)
    assert twin.learning_rate == optimizer.learning_rate == 0.1 * 0.5**4
    for a, b in zip(parameters, copies, strict=True):
        assert torch.equal(a, b)


def test_the_learning_rate_can_be_read_and_set():
    optimizer = optimizers.SGD(0.5).bind(_model())
    optimizer.learning_rate = 0.25
    assert optimizer.param_groups[0]["lr"] == optimizer.learning_rate == 0.25


def test_a_scheduled_learning_rate_cannot_be_set():
    optimizer = optimizers.SGD(schedules.CosineDecay(0.5, 4)).bind(_model())
    with pytest.raises(InputError, match=r"follows CosineDecay and cannot be set to 0\.1"):
        optimizer.learning_rate = 0.1


def test_torch_s_own_schedulers_drive_it():
    parameters = _model()
    optimizer = optimizers.SGD(1.0).bind(parameters)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    before = parameters[2].item()
    for expected in (1.0, 0.5, 0.25):
        parameters[2].grad = torch.ones(1, 1)
        optimizer.step()
        scheduler.step()
        assert parameters[2].item() == pytest.approx(before - expected)
        before = parameters[2].item()


def test_named_parameters_and_groups_with_rates_of_their_own():
    first, second, third = _model()
    start = second.detach().clone()
    optimizer = optimizers.SGD(0.5).bind(
        [{"params": [first]}, {"params": [second], "lr": 0.0}, {"params": [third]}]
    )
    for p in (first, second, third):
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert torch.equal(second, start)
    named = optimizers.SGD(0.5).bind([("kernel", first), ("bias", second)])
    assert named.param_groups[0]["param_names"] == ["kernel", "bias"]


def test_the_global_norm_runs_over_all_groups():
    a, b = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    optimizer = optimizers.SGD(1.0, global_clipnorm=1.0).bind([{"params": [a]}, {"params": [b]}])
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    optimizer.step()
    assert (a.item(), b.item()) == pytest.approx((-0.6, -0.8))
    assert (a.grad.item(), b.grad.item()) == (3.0, 4.0)


def test_an_infinite_gradient_is_not_hidden_by_the_global_clip():
    a, b = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    optimizer = optimizers.SGD(1.0, global_clipnorm=1.0).bind([a, b])
    a.grad, b.grad = torch.tensor([torch.inf]), torch.tensor([1.0])
    optimizer.step()
    assert torch.isnan(torch.cat([a, b])).all()


def test_a_parameter_without_gradient_stays_and_joins_later():
    specification = optimizers.Adam(0.1)
    first, second = torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(3))
    optimizer = specification.bind([first, second])
    first.grad = torch.ones(3)
    optimizer.step()
    assert torch.equal(second, torch.zeros(3))
    second.grad = torch.ones(3)
    optimizer.step()
    # The correction counts the optimizer's steps, as Keras's does, not the parameter's.
    scale = 0.1 * (1 - 0.999**2) ** 0.5 / (1 - 0.9**2)
    expected = -scale * 0.1 / (0.001**0.5 + 1e-7)
    assert second[0].item() == pytest.approx(expected, rel=1e-5)


def test_a_step_without_any_gradient_moves_nothing():
    for specification in EVERY:
        parameters = _model()
        before = [p.detach().clone() for p in parameters]
        specification.bind(parameters).step()
        for p, start in zip(parameters, before, strict=True):
            assert torch.equal(p, start)


def test_memory_layout_does_not_change_the_numbers():
    values = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    gradient = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    packed = torch.nn.Parameter(values.clone())
    transposed = torch.nn.Parameter(values.t().contiguous().t())
    assert not transposed.is_contiguous()
    for parameter in (packed, transposed):
        parameter.grad = gradient.clone()
        optimizers.Adam(0.1).bind([parameter]).step()
    torch.testing.assert_close(packed, transposed)


def test_a_packed_weight_with_a_transposed_gradient():
    values = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    gradient = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)).t()
    results = []
    for given in (gradient, gradient.contiguous()):
        parameter = torch.nn.Parameter(values.clone())
        parameter.grad = given
        optimizers.Adam(0.1).bind([parameter]).step()
        results.append(parameter.detach())
    torch.testing.assert_close(*results)


def test_weights_of_two_types_train_together():
    a = torch.nn.Parameter(torch.zeros(2))
    b = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    for specification in EVERY:
        for p in (a, b):
            p.grad = torch.ones_like(p)
        specification.bind([a, b]).step()
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-6)


def test_the_closure_s_loss_comes_back():
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = optimizers.SGD(0.25).bind([weight])

    def closure():
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 1.0
    assert weight.item() == 0.5


def test_sparse_gradients_are_refused():
    table = torch.nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    optimizer = optimizers.Adam().bind(table.parameters())
    with pytest.raises(UnsupportedError, match="sparse=False"):
        optimizer.step()


@pytest.mark.parametrize("specification", EVERY, ids=lambda s: type(s).__name__)
def test_the_configuration_survives_json(specification):
    written = json.loads(json.dumps(optimizers.serialize(specification)))
    assert optimizers.get(written) == specification


@pytest.mark.parametrize("name", ["adam", "Adam", "RMSprop", "rmsprop", "SGD", "AdamW", "nadam"])
def test_names_in_any_case(name):
    assert type(optimizers.get(name)).__name__.lower() == name.lower()


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(
        UnknownNameError, match=r"Unknown optimizer 'rmspop'\. Did you mean 'rmsprop'"
    ):
        optimizers.get("rmspop")
    with pytest.raises(UnknownNameError, match="Unknown learning rate schedule"):
        schedules.deserialize({"class_name": "Cosine", "config": {}})


def test_torch_s_own_optimizers_are_taken_as_they_are():
    parameters = _model()
    theirs = torch.optim.Adam(parameters)
    assert optimizers.get(theirs).bind(parameters) is theirs
    made = optimizers.get(torch.optim.Adagrad).bind([("w", parameters[0])])
    assert type(made) is torch.optim.Adagrad
    made = optimizers.get(lambda p: torch.optim.SGD(p, lr=0.5)).bind(parameters)
    assert made.param_groups[0]["lr"] == 0.5


def test_an_optimizer_of_another_model_is_refused():
    with pytest.raises(InputError, match="holds 3 of 3 tensors that are not this model's"):
        optimizers.get(torch.optim.Adam(_model())).bind(_model())


def test_a_function_that_makes_no_optimizer_is_refused():
    with pytest.raises(InputError, match="returned int"):
        optimizers.get(lambda parameters: 3).bind(_model())
    with pytest.raises(UnsupportedError, match="Save without the optimizer"):
        optimizers.serialize(optimizers.get(torch.optim.Adam))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimizers.SGD(-1.0), "SGD expected learning_rate to be a number >= 0"),
        (lambda: optimizers.SGD("fast"), "got 'fast'"),
        (lambda: optimizers.SGD(momentum=1.5), r"momentum to be in \[0, 1\]"),
        (lambda: optimizers.RMSprop(rho=1.5), r"rho to be in \[0, 1\)"),
        (lambda: optimizers.Adam(clipnorm=1.0, clipvalue=2.0), "clipnorm=1.0, clipvalue=2.0"),
        (lambda: optimizers.Adam(clipvalue=0.0), "clipvalue to be a number > 0"),
        (lambda: optimizers.AdamW(weight_decay=None), "Adam takes None"),
        (lambda: optimizers.Adam().bind([]), "no parameters to train"),
        (lambda: optimizers.get(optimizers.Adam), r"give an object: Adam\(\)"),
        (lambda: optimizers.get(3), "of type int"),
        (lambda: schedules.CosineDecay(0.1, 0), "decay_steps > 0 but got 0"),
        (lambda: schedules.PiecewiseConstantDecay([1], [0.1]), "expected 2 values for 1 bound"),
        (lambda: schedules.PiecewiseConstantDecay([2, 1], [1, 2, 3]), "rising boundaries"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_hooks_and_the_profiler_see_a_step():
    (weight,) = parameters = [torch.nn.Parameter(torch.ones(1))]
    optimizer = optimizers.SGD(0.25).bind(parameters)
    weight.grad = torch.ones(1)
    seen = []
    hooks = [
        optimizer.register_step_pre_hook(lambda *_: seen.append(weight.item())),
        optimizer.register_step_post_hook(lambda *_: seen.append(weight.item())),
    ]
    optimizer.step()
    assert seen == [1.0, 0.75]
    for hook in hooks:
        hook.remove()
    with torch.profiler.profile() as profile:
        optimizer.step()
        optimizer.zero_grad()
    assert len(seen) == 2 and weight.item() == 0.5 and weight.grad is None
    names = {event.key.partition("#")[0] for event in profile.key_averages()}
    assert {"Optimizer.step", "Optimizer.zero_grad"} <= names


def test_gradients_are_forgotten_or_filled_with_zeros():
    (weight,) = parameters = [torch.nn.Parameter(torch.ones(1))]
    optimizer = optimizers.SGD(0.25).bind(parameters)
    weight.grad = torch.ones(1)
    optimizer.zero_grad(set_to_none=False)
    assert torch.equal(weight.grad, torch.zeros(1))
    optimizer.zero_grad()
    assert weight.grad is None
