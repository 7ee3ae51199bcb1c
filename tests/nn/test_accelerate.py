"""accelerate: what is swapped, what is left and why; training goes on as if nothing happened."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from gatewise import nn as gatewise_nn
from gatewise.errors import FallbackWarning, InputError, UnknownNameError
from gatewise.kernels import Choice, cpu
from gatewise.nn import DisagreementError, accelerate, acceleration_report, base, restore
from gatewise.nn.agreement import largest_difference

pytestmark = [
    pytest.mark.filterwarnings("ignore::gatewise.errors.FallbackWarning"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]

CELLS = ("LSTM", "GRU", "RNN")


class Tagger(nn.Module):
    """Two recurrent layers, one of them used under two names, and a tied weight."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 6, dtype=dtype)
        self.encoder = nn.ModuleDict(
            {"rnn": nn.LSTM(6, 5, 2, dropout=0.3, batch_first=True, bidirectional=True)}
        )
        self.middle = nn.GRU(10, 6, batch_first=True)
        self.again = nn.GRU(6, 6, batch_first=True)
        self.also_again = self.again
        self.head = nn.Linear(6, 20, bias=False)
        self.to(dtype)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        h, (_, c) = self.encoder["rnn"](self.embedding(tokens))
        h, _ = self.middle(h)
        h = self.also_again(self.again(h)[0])[0]
        return {"logits": self.head(h), "memory": c}


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(0, 20, (4, 9), generator=torch.Generator().manual_seed(0))


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, tokens: Tensor, steps: int
) -> list[float]:
    losses = []
    model.train()
    torch.manual_seed(5)
    for _ in range(steps):
        optimizer.zero_grad()
        logits = model(tokens)["logits"]
        loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_training_goes_on_with_the_same_optimizer(tokens):
    torch.manual_seed(0)
    original = Tagger()
    original_optimizer = torch.optim.Adam(original.parameters(), lr=0.01)
    train(original, original_optimizer, tokens, 2)
    model = copy.deepcopy(original)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    optimizer.load_state_dict(copy.deepcopy(original_optimizer.state_dict()))

    model = accelerate(model, probe=tokens, kernel="reference")

    assert isinstance(model.encoder["rnn"], gatewise_nn.LSTM)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    expected = train(original, original_optimizer, tokens, 5)
    assert train(model, optimizer, tokens, 5) == pytest.approx(expected, rel=1e-11)
    assert list(model.state_dict()) == list(original.state_dict())
    for start, ours, theirs in zip(before, model.parameters(), original.parameters(), strict=True):
        moved = (theirs - start).norm()
        assert moved > 0
        assert (ours - theirs).norm() <= 1e-9 * moved


def test_the_parameters_are_the_same_objects(tokens):
    model = Tagger()
    parameters = dict(model.named_parameters(remove_duplicate=False))
    accelerated = accelerate(model, kernel="reference")
    assert accelerated is model
    for name, parameter in accelerated.named_parameters(remove_duplicate=False):
        assert parameter is parameters[name]
    assert accelerated.again is accelerated.also_again
    assert isinstance(accelerated.again, gatewise_nn.GRU)
    assert accelerated.head.weight is accelerated.embedding.weight


def test_checking_leaves_no_trace(tokens):
    model = Tagger().train()
    model.middle.eval()
    model.embedding.weight.grad = torch.ones_like(model.embedding.weight)
    state = torch.get_rng_state()
    accelerate(model, probe=tokens, kernel="reference")
    assert torch.equal(torch.get_rng_state(), state)
    assert (model.embedding.weight.grad == 1).all()
    assert all(p.grad is None for name, p in model.named_parameters() if "embedding" not in name)
    assert model.encoder["rnn"].training
    assert not model.middle.training


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_model_itself_is_a_layer(cell, dtype):
    layer = getattr(nn, cell)(3, 4, num_layers=2, bidirectional=True, dtype=dtype)
    accelerated = accelerate(layer, kernel="reference")
    assert type(accelerated) is getattr(gatewise_nn, cell)
    (swapped,) = acceleration_report(accelerated).swapped
    assert swapped.names == ("",)
    assert swapped.difference.error < swapped.tolerance
    x = torch.randn(5, 2, 3, dtype=dtype)
    torch.testing.assert_close(accelerated(x)[0], layer(x)[0])


def test_every_setting_is_kept():
    lstm = nn.LSTM(
        3, 4, 2, bias=False, batch_first=True, dropout=0.3, bidirectional=True, proj_size=2
    )
    lstm.comment = "mine"
    lstm.weight_hh_l0.requires_grad_(False)
    swapped = accelerate(nn.Sequential(lstm.eval()), kernel="reference")[0]
    assert repr(swapped) == repr(lstm).replace(")", ", kernel='reference')")
    assert swapped.comment == "mine"
    assert not swapped.training
    assert not swapped.weight_hh_l0.requires_grad
    rnn = accelerate(nn.RNN(3, 4, nonlinearity="relu", dtype=torch.float64), kernel="reference")
    assert rnn.nonlinearity == "relu"


def test_a_frozen_model_with_a_probe(tokens):
    model = Tagger().requires_grad_(False)
    accelerate(model, probe=tokens, kernel="reference")
    assert acceleration_report(model).model_difference is not None


def test_a_dropout_without_a_place_does_not_warn_again():
    with pytest.warns(UserWarning, match="dropout"):
        layer = nn.LSTM(3, 4, dropout=0.5)
    assert accelerate(layer, kernel="reference").dropout == 0.5


class Subclass(nn.LSTM):
    pass


def with_hook() -> nn.Module:
    layer = nn.LSTM(3, 4)
    layer.register_forward_hook(lambda module, inputs, output: None)
    return layer


def with_own_forward() -> nn.Module:
    layer = nn.GRU(3, 4)
    layer.forward = lambda x: (x, None)
    return layer


def with_buffer() -> nn.Module:
    layer = nn.RNN(3, 4)
    layer.register_buffer("scale", torch.ones(1))
    return layer


def with_further_parameter() -> nn.Module:
    layer = nn.RNN(3, 4)
    layer.register_parameter("scale", nn.Parameter(torch.ones(1)))
    return layer


def with_old_weight_norm() -> nn.Module:
    return nn.utils.spectral_norm(nn.LSTM(3, 4), "weight_hh_l0")


def quantized() -> nn.Module:
    class LSTM(nn.Module):
        __module__ = "torch.ao.nn.quantized.dynamic.modules.rnn"

    return LSTM()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Subclass(3, 4), "subclass"),
        (with_hook, "has forward hooks"),
        (with_own_forward, "forward was replaced"),
        (with_buffer, "has scale registered"),
        (with_further_parameter, "further parameters"),
        (
            lambda: nn.utils.parametrizations.weight_norm(nn.LSTM(3, 4), "weight_hh_l0"),
            "parametrized",
        ),
        (with_old_weight_norm, "forward pre hooks"),
        (lambda: nn.LSTM(3, 4, dtype=torch.bfloat16), "bfloat16"),
        (lambda: nn.LSTM(3, 4, device="meta"), "meta device"),
        (lambda: nn.LSTMCell(3, 4), "one step a call"),
        (quantized, "quantized"),
        (lambda: gatewise_nn.LSTM(3, 4), "already"),
    ],
)
def test_what_is_left_and_why(build, words):
    module = build()
    model = accelerate(nn.Sequential(module, nn.GRU(4, 4)), kernel="reference")
    assert model[0] is module
    report = acceleration_report(model)
    (left,) = report.left
    assert left.names == ("0",)
    assert words in left.reason
    assert len(report.swapped) == 1


def test_auto_leaves_what_it_would_not_make_faster(monkeypatch):
    monkeypatch.setattr(base, "choose", lambda request: Choice("reference", "no kernel today"))
    layer = nn.LSTM(3, 4)
    with pytest.warns(FallbackWarning, match="swapped nothing in this LSTM: .*no kernel today"):
        assert accelerate(layer) is layer
    assert "no faster" in acceleration_report(layer).left[0].reason


@pytest.mark.skipif(not cpu.available(), reason="needs the native kernels")
@pytest.mark.parametrize("cell", CELLS)
def test_auto_swaps_for_the_native_kernel(cell):
    model = accelerate(getattr(nn, cell)(3, 4, num_layers=2))
    assert type(model) is getattr(gatewise_nn, cell)
    assert acceleration_report(model).swapped[0].kernel == "cpu"
    assert model.choice(mask=True).kernel == "cpu"
    assert model.choice(dtype=torch.bfloat16).kernel == "reference"


@pytest.mark.skipif(not cpu.available(), reason="needs the native kernels")
def test_a_projected_lstm_is_swapped_too():
    model = accelerate(nn.LSTM(3, 4, proj_size=2))
    assert acceleration_report(model).swapped[0].kernel == "cpu"


def test_nothing_to_swap_warns_and_twice_does_not():
    with pytest.warns(FallbackWarning, match="has no torch.nn.LSTM, GRU or RNN"):
        accelerate(nn.Linear(2, 3))
    model = accelerate(nn.Sequential(nn.LSTM(2, 3)), kernel="reference")
    layer = model[0]
    assert accelerate(model)[0] is layer


def test_a_disagreeing_layer_leaves_the_model_untouched(monkeypatch, tokens):
    exact = gatewise_nn.GRU._run
    monkeypatch.setattr(
        gatewise_nn.GRU, "_run", lambda self, x, hx, lengths: exact(self, x, None, lengths)
    )
    model = Tagger()
    children = list(model.modules())
    with pytest.raises(DisagreementError, match=r"left the model as it was: gatewise's GRU\(10, 6"):
        accelerate(model, kernel="reference")
    assert list(model.modules()) == children
    with pytest.raises(InputError, match="no acceleration report"):
        acceleration_report(model)


@pytest.mark.parametrize("failure", ["differs", "raises"])
def test_a_disagreeing_model_is_put_back(monkeypatch, failure):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.RNN(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            if isinstance(self.rnn, gatewise_nn.RNN):
                x = 1.5 * x if failure == "differs" else self.rnn.no_such_attribute
            return self.rnn(x)[0]

    model = Model()
    children = list(model.modules())
    expected = DisagreementError if failure == "differs" else AttributeError
    with pytest.raises(expected):
        accelerate(model, probe=torch.randn(5, 2, 3), kernel="reference")
    assert list(model.modules()) == children


def test_a_tolerance_of_ones_own():
    layer = nn.LSTM(3, 4)
    with pytest.raises(DisagreementError, match="where 1e-30 passes"):
        accelerate(layer, tolerance=1e-30, kernel="reference")
    with pytest.raises(InputError, match="tolerance above 0"):
        accelerate(layer, tolerance=0.0)


@pytest.mark.parametrize("form", ["tensor", "tuple", "keywords", "packed"])
def test_forms_of_a_probe(form):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(3, 4)

        def forward(self, x: Tensor | PackedSequence, scale: float = 1.0):
            output, state = self.rnn(x)
            return (output, [scale * part for part in state])

    x = torch.randn(5, 2, 3)
    packed = pack_padded_sequence(x, torch.tensor([3, 5]), enforce_sorted=False)
    probes = {"tensor": x, "tuple": (x, 2.0), "keywords": {"scale": 2.0, "x": x}, "packed": packed}
    model = accelerate(Model(), probe=probes[form], kernel="reference")
    difference = acceleration_report(model).model_difference
    assert difference is not None
    assert difference.where.startswith(("output", "the gradient of rnn."))
    assert difference.error < 1e-5


def test_the_report_reads_well_in_80_columns(tokens):
    model = Tagger()
    model.append = nn.GRUCell(3, 4)
    report = str(acceleration_report(accelerate(model, probe=tokens, kernel="reference")))
    lines = report.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "Recurrent layers: 3 swapped, 1 left"
    assert "swapped  again = also_again: GRU(6, 6, batch_first=True)" in lines
    assert "         kernel reference: asked for by name" in lines
    assert "left     append: GRUCell(3, 4)" in lines
    assert "whole model on the probe: largest relative error" in report


def test_the_report_does_not_keep_the_model_alive():
    model = accelerate(nn.Sequential(nn.LSTM(2, 3)), kernel="reference")
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_restore_brings_torch_back(tokens):
    model = Tagger()
    expected = model.eval()(tokens)
    parameters = list(model.parameters())
    restore(accelerate(model, kernel="reference"))
    assert type(model.encoder["rnn"]) is nn.LSTM
    assert type(model.again) is nn.GRU
    assert model.again is model.also_again
    assert all(ours is theirs for ours, theirs in zip(model.parameters(), parameters, strict=True))
    assert torch.equal(model(tokens)["logits"], expected["logits"])


def test_wrong_arguments():
    with pytest.raises(InputError, match=r"expected a torch.nn.Module but got a function"):
        accelerate(lambda x: x)
    with pytest.raises(UnknownNameError, match="Did you mean 'cpu'"):
        accelerate(nn.LSTM(2, 3), kernel="cpuu")


def test_the_difference_sees_what_it_must():
    one = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([1e-9])}
    assert largest_difference(one, one).error == 0
    assert largest_difference(one, {**one, "b": torch.tensor([-1e-9])}).error < 1e-5
    assert largest_difference(one, {**one, "a": torch.tensor([1.0, float("nan")])}).error == float(
        "inf"
    )
    assert largest_difference(one, {**one, "a": torch.ones(3)}).error == float("inf")
    assert largest_difference(one, {"a": one["a"]}).error == float("inf")
