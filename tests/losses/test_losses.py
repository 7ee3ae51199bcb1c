"""What losses accept and refuse, masks, torch's own losses, saving."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from gatewise import losses
from gatewise.errors import InputError, UnknownNameError, UnsupportedError

# CTC has no loss at a step; see test_ctc.py.
BY_STEP = sorted(losses.LOSSES.keys() - {"ctc"})


def _check(loss, y_shape_or_labels, p_shape):
    given = y_shape_or_labels
    labels = torch.zeros(given) if isinstance(given, tuple) else torch.tensor(given)
    losses.get(loss).check(labels, torch.full(p_shape, 0.5))


@pytest.mark.parametrize(
    ("loss", "labels", "predictions"),
    [
        ("binary_crossentropy", (32,), (32, 1)),
        ("binary_crossentropy", (32, 1), (32, 1)),
        ("binary_crossentropy", (32, 7), (32, 7, 1)),
        ("binary_crossentropy", (100,), (32, 1)),
        ("categorical_crossentropy", (32, 9), (32, 9)),
        ("sparse_categorical_crossentropy", (32,), (32, 9)),
        ("sparse_categorical_crossentropy", (32, 1), (32, 9)),
        ("sparse_categorical_crossentropy", (32, 7), (32, 7, 9)),
        ("sparse_categorical_crossentropy", [1.0, 0.0], (2, 9)),
        ("mse", (32, 3), (32, 3)),
        ("mse", (32,), (32, 1)),
        ("mse", (32,), (32,)),
    ],
)
def test_labels_that_fit(loss, labels, predictions):
    _check(loss, labels, predictions)


@pytest.mark.parametrize(
    ("loss", "labels", "predictions", "message"),
    [
        (
            "categorical_crossentropy",
            (32,),
            (32, 9),
            r"categorical_crossentropy expected labels of shape \(B, 9\) to go with predictions "
            r"\(32, 9\), but got labels \(32,\)\. Use sparse_categorical_crossentropy or one-hot "
            r"labels with 9 columns\.",
        ),
        (
            "sparse_categorical_crossentropy",
            (32, 9),
            (32, 9),
            r"expected class ids of shape \(B,\).*one-hot: use categorical_crossentropy",
        ),
        ("sparse_categorical_crossentropy", [0, 3, 9], (3, 9), r"ids 0 to 8.*label \[2\] is 9"),
        ("sparse_categorical_crossentropy", [0, 3, -1], (3, 9), r"\[2\] is -1.*ignore_class=-1"),
        ("sparse_categorical_crossentropy", [0.0, 2.5], (2, 9), r"label \[1\] is 2\.5.*soft"),
        ("sparse_categorical_crossentropy", [0.0, float("nan")], (2, 9), r"label \[1\] is nan"),
        ("sparse_categorical_crossentropy", (32,), (32, 7, 9), "return_sequences=False"),
        ("sparse_categorical_crossentropy", (32, 7), (32, 9), "return_sequences=True"),
        ("binary_crossentropy", (32, 7, 1), (32, 1), r"got labels \(32, 7, 1\).*=True"),
        ("categorical_crossentropy", (32, 7, 9), (32, 9), "return_sequences=True"),
        ("binary_crossentropy", (32,), (32, 9), r"softmax outputs, or a last layer of 1 unit"),
        ("binary_crossentropy", (32,), (32, 7, 1), "return_sequences=False"),
        ("binary_crossentropy", [0.0, 2.0], (2, 1), r"labels in \[0, 1\], but label \[1\] is 2"),
        ("binary_crossentropy", [0.0, float("nan")], (2, 1), r"label \[1\] is nan"),
        ("categorical_crossentropy", (32, 1), (32, 1), "Use binary_crossentropy for two classes"),
        ("mse", (32, 3), (32, 2), r"labels of shape \(B, 2\).*last layer 3 units"),
        ("mse", (32,), (32, 2), "last layer of 1 unit"),
    ],
)
def test_labels_that_do_not_fit_are_refused_with_the_cure(loss, labels, predictions, message):
    with pytest.raises(InputError, match=message):
        _check(loss, labels, predictions)


def test_labels_at_masked_steps_are_not_checked():
    labels = torch.tensor([[1, -100], [2, 0]])
    predictions = torch.full((2, 2, 3), 1 / 3)
    mask = torch.tensor([[True, False], [True, True]])
    loss = losses.SparseCategoricalCrossentropy()
    loss.check(labels, predictions, mask)
    with pytest.raises(InputError, match=r"label \[0, 1\] is -100"):
        loss.check(labels, predictions)


def test_a_wrong_shape_is_refused_at_every_call():
    with pytest.raises(InputError, match=r"got labels \(4, 2\)"):
        losses.MeanSquaredError()(torch.zeros(4, 2), torch.zeros(4, 3))
    with pytest.raises(InputError, match="got 3 labels for 4 predictions"):
        losses.MeanSquaredError()(torch.zeros(3, 1), torch.zeros(4, 1))
    with pytest.raises(InputError, match="got 3 labels for 4 predictions"):
        losses.SparseCategoricalCrossentropy()(torch.zeros(3), torch.ones(4, 2))


@pytest.mark.parametrize("name", BY_STEP)
def test_what_lies_at_masked_steps_changes_no_bit(name):
    generator = torch.Generator().manual_seed(0)
    sparse = name.startswith("sparse")
    clean = torch.zeros(3, 4) if sparse else torch.rand(3, 4, 2, generator=generator)
    mask = torch.rand(3, 4, generator=generator) < 0.5
    dirty = clean.clone()
    dirty[~mask] = -100.0 if sparse else torch.nan
    results = []
    for labels in (clean, dirty):
        predictions = torch.full((3, 4, 2), 0.3, requires_grad=True)
        total = losses.objective(losses.get(name), labels, predictions, mask=mask)
        total.backward()
        results.append((total.detach(), predictions.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert (results[0][1][~mask] == 0).all()


def test_all_steps_masked_gives_zero_and_no_gradient():
    predictions = torch.rand(2, 3, 1, requires_grad=True)
    mask = torch.zeros(2, 3, dtype=torch.bool)
    total = losses.objective(losses.get("mse"), torch.ones(2, 3, 1), predictions, mask=mask)
    total.backward()
    assert total.item() == 0.0
    assert (predictions.grad == 0).all()


def test_a_weight_for_each_sample_weighs_all_its_steps():
    y, p = torch.zeros(3, 3, 1), torch.ones(3, 3, 1) * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    total = losses.objective(losses.get("mse"), y, p, sample_weight=torch.tensor([1.0, 0.0, 1.0]))
    assert total.item() == pytest.approx((3 * 1.0 + 3 * 9.0) / 9)


def test_the_penalty_is_added_once():
    y, p = torch.zeros(2, 1), torch.ones(2, 1)
    total = losses.objective(losses.get("mse"), y, p, penalty=torch.tensor(0.5))
    assert total.item() == 1.5


def test_masks_and_weights_of_another_shape_are_refused():
    y, p = torch.zeros(2, 3, 1), torch.ones(2, 3, 1)
    with pytest.raises(InputError, match=r"mask expected shape \(2, 3\).*got \(2, 4\)"):
        losses.objective(losses.get("mse"), y, p, mask=torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(InputError, match=r"sample_weight expected shape \(2, 3\).*got \(3,\)"):
        losses.objective(losses.get("mse"), y, p, sample_weight=torch.ones(3))


def test_torch_s_own_losses_are_called_as_torch_does():
    p = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 2, 1, 1, 0])
    module = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(losses.objective(losses.get(module), y, p), module(p, y))
    losses.get(module).check(y, p)
    with pytest.raises(InputError, match=r"torch's BCELoss refused predictions \(5, 1\)"):
        losses.get(nn.BCELoss()).check(torch.zeros(5), torch.full((5, 1), 0.5))


def test_a_loss_of_one_number_takes_no_mask_and_no_weights():
    loss = losses.get(nn.MSELoss())
    y, p = torch.zeros(2, 3), torch.ones(2, 3)
    with pytest.raises(UnsupportedError, match=r'a mask cannot be applied.*reduction="none"'):
        losses.objective(loss, y, p, mask=torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(UnsupportedError, match="sample weights cannot be applied"):
        losses.objective(loss, y, p, sample_weight=torch.ones(2))
    mask = torch.tensor([[True, False, False], [True, True, False]])
    per_step = losses.get(nn.MSELoss(reduction="none"))
    assert losses.objective(per_step, y, 2 * p, mask=mask).item() == 4.0


def test_functions_of_the_user():
    def error(y_true, y_pred):
        return (y_true - y_pred).abs().mean(-1)

    loss = losses.get(error)
    assert loss.name == "error"
    y = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert loss(y, torch.zeros(2, 1)).dtype == torch.float32
    assert loss(y, torch.zeros(2, 1), torch.tensor([0.0, 1.0])).item() == 1.0


def test_a_function_that_reduces_the_wrong_axis_is_refused_by_check():
    def over_samples(y_true, y_pred):
        return (y_true - y_pred).square().mean(0)

    with pytest.raises(InputError, match=r"'over_samples' returned shape \(2,\) for predictions"):
        losses.get(over_samples).check(torch.zeros(9, 2), torch.zeros(5, 2))


def test_our_own_functions_become_the_losses_that_check():
    assert losses.get(losses.mean_squared_error) == losses.MeanSquaredError()


def test_user_classes():
    class Cubed(losses.Loss):
        name = "cubed"

        def call(self, y_true, y_pred):
            return (y_true - y_pred).abs().pow(3).mean(-1)

    assert losses.get(Cubed())(torch.zeros(2), torch.full((2, 1), 2.0)).item() == 8.0


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'binary_crossentropy'"):
        losses.get("binary_crossentrpy")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.get(3), "of type int"),
        (lambda: losses.get(losses.Huber), r"give an object: Huber\(\)"),
        (lambda: losses.get(nn.MSELoss), r"give an object: MSELoss\(\)"),
        (lambda: losses.Huber(delta=0.0), "delta > 0"),
        (lambda: losses.MeanSquaredError(reduction=None), "got None.*per_step"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    "loss",
    [
        losses.BinaryCrossentropy(True, 0.1),
        losses.SparseCategoricalCrossentropy(ignore_class=-1),
        losses.Huber(2.0, "sum"),
        losses.KLDivergence(),
    ],
)
def test_settings_survive_json(loss):
    assert losses.get(json.loads(json.dumps(losses.serialize(loss)))) == loss


def test_code_is_not_written():
    with pytest.raises(UnsupportedError, match="compile the loaded model again"):
        losses.serialize(losses.get(nn.MSELoss()))


@pytest.mark.parametrize("name", BY_STEP)
def test_a_prediction_of_nan_gives_a_loss_of_nan(name):
    predictions = torch.tensor([[0.5, torch.nan], [0.5, 0.5]], requires_grad=True)
    labels = torch.zeros(2) if name.startswith("sparse") else torch.zeros(2, 2)
    loss = losses.get(name)
    assert torch.isnan(loss.per_step(labels, predictions)).tolist() == [True, False]
    loss(labels, predictions).backward()
    assert torch.isfinite(predictions.grad[1]).all()


def test_the_equation_of_the_binary_loss_equals_torch_s_kernel():
    y, p = torch.tensor([[0.0, 1.0, 0.3]]), torch.tensor([[0.2, 0.9, 1.0]])
    predictions = p.expand(2, 3).clone().requires_grad_()
    by_kernel = losses.binary_crossentropy(y, predictions[:1])
    with_nan = torch.cat([predictions[1:], torch.full((1, 3), torch.nan)])
    by_equation = losses.binary_crossentropy(y.expand(2, 3), with_nan)[:1]
    torch.testing.assert_close(by_kernel, by_equation)
    (by_kernel + by_equation).sum().backward()
    torch.testing.assert_close(predictions.grad[0], predictions.grad[1])


def test_half_precision_and_autocast():
    p = torch.full((4, 1), 1.0, dtype=torch.bfloat16, requires_grad=True)
    loss = losses.BinaryCrossentropy()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = loss(torch.zeros(4), p)
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(15.94, abs=0.3)
    total.backward()
    assert p.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("shape", [(6, 1), (3, 4, 2)])
def test_the_mean_of_the_binary_loss_is_that_of_its_losses(shape, from_logits):
    loss = losses.BinaryCrossentropy(from_logits=from_logits, label_smoothing=0.1)
    labels = torch.randint(0, 2, shape).double()
    gradients = []
    for take in (loss, lambda y, p: loss.per_step(y, p).mean()):
        predictions = torch.rand(shape, dtype=torch.float64, generator=torch.manual_seed(3))
        predictions.requires_grad_()
        value = take(labels, predictions)
        gradients.append((value, *torch.autograd.grad(value, predictions)))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=0)


def test_a_binary_loss_with_another_call_is_called():
    class Doubled(losses.BinaryCrossentropy):
        def call(self, y_true, y_pred):
            return 2 * super().call(y_true, y_pred)

    labels, predictions = torch.ones(3, 1), torch.full((3, 1), 0.5)
    plain = losses.BinaryCrossentropy()(labels, predictions)
    torch.testing.assert_close(Doubled()(labels, predictions), 2 * plain)
