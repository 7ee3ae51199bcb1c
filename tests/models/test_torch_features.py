"""What torch can do with any module works on a model."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from gatewise.layers import GRU, LSTM, Bidirectional, Dense, Dropout, Embedding, SimpleRNN
from gatewise.models import Sequential


def vectors() -> Sequential:
    return Sequential(
        [
            LSTM(5, return_sequences=True, input_shape=(None, 3)),
            Dropout(0.5),
            Bidirectional(GRU(4)),
            Dense(2),
        ]
    )


def tokens() -> Sequential:
    return Sequential([Embedding(7, 3, mask_zero=True), SimpleRNN(4), Dense(1)])


@pytest.fixture(params=["vectors", "tokens"])
def case(request: pytest.FixtureRequest) -> tuple[Sequential, Tensor]:
    torch.manual_seed(0)
    if request.param == "vectors":
        return vectors(), torch.randn(3, 6, 3)
    return tokens(), torch.tensor([[1, 2, 0], [3, 0, 0], [4, 5, 6]])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_compile_without_a_break(case: tuple[Sequential, Tensor]) -> None:
    model, x = case
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    found = compiled(x)
    torch.testing.assert_close(found, model(x))
    found.sum().backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    model(x).sum().backward()
    for mine, p in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(mine, p.grad)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_export_with_dynamic_batch_and_time(case: tuple[Sequential, Tensor]) -> None:
    model, x = case
    batch, time = torch.export.Dim("batch", min=2), torch.export.Dim("time", min=2)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: batch, 1: time},))
    for other in (x, torch.cat([x, x], dim=1)[:2], torch.cat([x, x])):
        torch.testing.assert_close(program.module()(other), model(other))


def test_state_dict_round_trip(case: tuple[Sequential, Tensor]) -> None:
    model, x = case
    twin = Sequential.from_config(model.get_config())
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(x), model(x))


def test_a_deep_copy_is_independent_and_trains_on(case: tuple[Sequential, Tensor]) -> None:
    model, x = case
    y = torch.zeros_like(model(x))
    model.compile(loss="mse", optimizer="adam")
    model.train_on_batch(x, y)
    twin = copy.deepcopy(model)
    before = [p.detach().clone() for p in model.parameters()]
    torch.manual_seed(1)
    twin.train_on_batch(x, y)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    torch.manual_seed(1)
    model.train_on_batch(x, y)
    assert all(
        torch.equal(a, b) for a, b in zip(twin.parameters(), model.parameters(), strict=True)
    )


def test_per_sample_gradients() -> None:
    torch.manual_seed(0)
    model, x = vectors(), torch.randn(3, 6, 3)
    parameters = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return functional_call(model, parameters, (sample[None],)).square().sum()

    each = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
    for row in range(3):
        model.zero_grad()
        model(x[row : row + 1]).square().sum().backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(each[name][row], parameter.grad)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_distributed_data_parallel(
    case: tuple[Sequential, Tensor],
    data_parallel_gradients: Callable[[nn.Module, Tensor], list[Tensor]],
) -> None:
    model, x = case
    model(x).square().sum().backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    torch.testing.assert_close(data_parallel_gradients(model, x), expected)


def test_hooks_and_double_backward() -> None:
    model = vectors().double()
    seen: list[tuple[int, ...]] = []
    model.register_forward_hook(lambda module, given, output: seen.append(tuple(output.shape)))
    x = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
    first.square().sum().backward()
    assert seen == [(2, 2)]
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_autocast_keeps_the_weights_type() -> None:
    model, x = vectors(), torch.randn(2, 4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
    torch.testing.assert_close(y.float(), model(x), rtol=0.05, atol=0.05)
    assert model.dtype == torch.float32


def test_a_bfloat16_model_predicts_numbers_that_numpy_knows() -> None:
    model, x = Sequential([Dense(2, input_shape=(3,))]), torch.randn(4, 3)
    expected = model.predict(x, verbose=0)
    found = model.to(torch.bfloat16).predict(x, verbose=0)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=0.05, atol=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_fit_on_an_accelerator() -> None:
    model = vectors().to("cuda")
    model.compile(loss="mse", optimizer="rmsprop", metrics=["mae"])
    x, y = torch.randn(40, 5, 3), torch.randn(40, 2)
    history = model.fit(x, y, epochs=3, validation_split=0.2, verbose=0)
    assert len(history.history["val_mae"]) == 3
    assert model.predict(x, verbose=0).shape == (40, 2)
    assert next(model.parameters()).device.type == "cuda"
