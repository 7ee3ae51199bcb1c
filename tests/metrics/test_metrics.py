"""Metrics against the real Keras and scikit-learn, over batches, with masks and weights."""

from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import pytest
import sklearn.metrics
import torch
import torchmetrics
from keras.src.trainers.compile_utils import get_metric
from torch import nn

from gatewise import losses, metrics
from gatewise.errors import InputError, UnknownNameError, UnsupportedError


def _draw(kind, leading, seed):
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.ones(4), leading)
    ids = random.integers(0, 4, leading)
    single = random.uniform(size=(*leading, 1))
    yes = random.integers(0, 2, leading)
    return {
        "ids": (ids, p),
        "ids column": (ids[..., None], p),
        "one-hot": (np.eye(4)[ids], p),
        "binary": (yes.astype(float), single),
        "binary column": (yes[..., None], single),
        "outputs": (random.integers(0, 2, (*leading, 4)), p),
        "real": (random.normal(size=(*leading, 4)), p),
    }[kind]


def _float32(array):
    tensor = torch.tensor(array)
    return tensor.float() if tensor.is_floating_point() else tensor


def _assert_follows_keras(name, kind, leadings, masked=False, weighted=False):
    """Feed the same batches to Keras's metric of that name and to ours."""
    random = np.random.default_rng(9)
    ours, theirs = metrics.get(name), None
    for seed, leading in enumerate(leadings):
        y, p = (_float32(a) for a in _draw(kind, leading, seed))
        mask = torch.tensor(random.uniform(size=leading) < 0.6) if masked else None
        weight = _float32(random.uniform(size=leading)) if weighted else None
        if theirs is None:
            theirs = get_metric(name, y, p)
        ours.update(y, p, mask, weight)
        if masked:
            keras.src.backend.set_keras_mask(p, mask)
        theirs.update_state(y, p, sample_weight=None if weight is None else weight.clone())
    assert ours.name == theirs.name == name
    assert 0 < ours.result() == pytest.approx(float(theirs.result()), rel=1e-5)


CASES = [
    ("accuracy", "ids"),
    ("acc", "ids column"),
    ("accuracy", "one-hot"),
    ("accuracy", "binary"),
    ("acc", "binary column"),
    ("accuracy", "outputs"),
    ("binary_accuracy", "outputs"),
    ("binary_accuracy", "binary"),
    ("categorical_accuracy", "one-hot"),
    ("sparse_categorical_accuracy", "ids"),
    ("mse", "real"),
    ("mae", "real"),
    ("mean_squared_error", "real"),
    ("mean_absolute_error", "real"),
]


CLASSES = [
    (metrics.TopKCategoricalAccuracy, {"k": 2}, "one-hot"),
    (metrics.TopKCategoricalAccuracy, {"k": 4}, "one-hot"),
    (metrics.SparseTopKCategoricalAccuracy, {"k": 1}, "ids"),
    (metrics.SparseTopKCategoricalAccuracy, {"k": 3}, "ids column"),
    (metrics.MeanSquaredError, {}, "real"),
    (metrics.MeanAbsoluteError, {}, "real"),
    (metrics.RootMeanSquaredError, {}, "real"),
    (metrics.BinaryAccuracy, {"threshold": 0.3}, "outputs"),
    (metrics.Precision, {}, "binary"),
    (metrics.Precision, {"thresholds": 0.3}, "outputs"),
    (metrics.Recall, {}, "binary"),
    (metrics.Recall, {"thresholds": 0.7}, "outputs"),
    (metrics.R2Score, {}, "real"),
]


@pytest.mark.parametrize(("kind", "arguments", "labels"), CLASSES)
def test_objects_as_keras_has_them(kind, arguments, labels):
    ours = kind(**arguments)
    theirs = getattr(keras.metrics, kind.__name__)(**arguments, name=ours.name)
    for seed in range(3):
        y, p = (_float32(a) for a in _draw(labels, (9,), seed))
        ours.update(y, p)
        theirs.update_state(y, p[..., 0] if labels == "binary" else p)
    assert ours.result() == pytest.approx(float(theirs.result()), rel=1e-5)
    again = metrics.get(metrics.serialize(ours))
    assert type(again) is kind and again.get_config() == ours.get_config()


def test_auc_and_f1_against_sklearn():
    y, p = (_float32(a) for a in _draw("binary", (60,), 1))
    auc, precision, f1 = metrics.AUC(), metrics.AUC(curve="PR"), metrics.F1Score()
    rough = metrics.AUC(num_thresholds=200)
    for metric in (auc, precision, f1, rough):
        metric.update(y[:20], p[:20])
        metric.update(y[20:], p[20:])
    labels, scores = y.numpy(), p[:, 0].numpy()
    area = sklearn.metrics.roc_auc_score(labels, scores)
    assert auc.result() == pytest.approx(area, rel=1e-5)
    # Keras's is the area between 200 thresholds.
    theirs = keras.metrics.AUC()
    theirs.update_state(y, p[:, 0])
    assert rough.result() == pytest.approx(area, abs=0.01)
    assert float(theirs.result()) == pytest.approx(area, abs=0.01)
    average = sklearn.metrics.average_precision_score(labels, scores)
    assert precision.result() == pytest.approx(average, rel=1e-5)
    assert f1.result() == pytest.approx(sklearn.metrics.f1_score(labels, scores > 0.5), rel=1e-5)
    ids, answers = (_float32(a) for a in _draw("ids", (60,), 2))
    macro = metrics.F1Score(average="macro", num_classes=4)
    macro.update(ids, answers)
    expected = sklearn.metrics.f1_score(ids, answers.argmax(-1), average="macro")
    assert macro.result() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.TopKCategoricalAccuracy(k=0), "k is a whole number"),
        (lambda: metrics.AUC(curve="roc"), "'ROC' and 'PR'"),
        (lambda: metrics.Recall(thresholds=[0.1, 0.2]), "one threshold"),
        (lambda: metrics.F1Score(average="macro"), "num_classes"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("weighted", [False, True])
def test_samples(name, kind, weighted):
    _assert_follows_keras(name, kind, [(7,), (7,), (3,), (1,)], weighted=weighted)


@pytest.mark.parametrize(("name", "kind"), [c for c in CASES if c[1] != "binary"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_sequences_of_different_lengths(name, kind, masked, weighted):
    _assert_follows_keras(name, kind, [(6, 5), (4, 9), (3, 2)], masked, weighted)


def test_root_mean_squared_error():
    ours, theirs = metrics.get("rmse"), keras.metrics.RootMeanSquaredError()
    for seed in range(3):
        y, p = (_float32(a) for a in _draw("real", (5,), seed))
        ours.update(y, p)
        theirs.update_state(y, p)
    assert ours.name == "rmse"
    assert ours.result() == pytest.approx(float(theirs.result()), rel=1e-6)


def test_labels_of_steps_without_their_last_axis():
    y, p = (_float32(a) for a in _draw("binary", (3, 5), 0))
    metric = metrics.get("accuracy")
    mask = torch.tensor(np.random.default_rng(0).uniform(size=(3, 5)) < 0.6)
    metric.update(y, p, mask)
    assert metric.result() == pytest.approx(((p[..., 0] > 0.5) == y)[mask].double().mean().item())


def test_what_lies_at_masked_steps_does_not_count():
    y, p = (_float32(a) for a in _draw("real", (3, 5), 0))
    mask = torch.rand(3, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    clean, dirty = metrics.get("mse"), metrics.get("mse")
    clean.update(y, p, mask)
    y[~mask] = torch.nan
    dirty.update(y, p, mask)
    assert clean.result() == dirty.result() > 0


def test_reset_and_nothing_yet():
    for name in ("accuracy", "mse", "rmse", "auc"):
        metric = metrics.get(name)
        assert metric.result() == 0.0
        metric.update(torch.tensor([1.0, 0.0]), torch.tensor([[0.2], [0.8]]))
        metric.reset()
        assert metric.result() == 0.0


def test_all_steps_masked():
    metric, auc = metrics.get("accuracy"), metrics.get("auc")
    for one in (metric, auc):
        one.update(torch.ones(2, 3, 1), torch.ones(2, 3, 1), torch.zeros(2, 3, dtype=torch.bool))
        assert one.result() == 0.0


def test_counts_stay_exact_beyond_float32():
    metric = metrics.Mean()
    for _ in range(3):
        metric.add(torch.tensor(1.0), 2**24)
    metric.add(torch.tensor(5.0), 1)
    assert metric.result() == (3 * 2**24 + 5) / (3 * 2**24 + 1)


@pytest.mark.parametrize(
    ("name", "oracle"),
    [
        ("auc", lambda y, p: sklearn.metrics.roc_auc_score(y, p)),
        ("AUC", lambda y, p: sklearn.metrics.roc_auc_score(y, p)),
        ("precision", lambda y, p: sklearn.metrics.precision_score(y, p > 0.5)),
        ("recall", lambda y, p: sklearn.metrics.recall_score(y, p > 0.5)),
        ("f1", lambda y, p: sklearn.metrics.f1_score(y, p > 0.5)),
        ("accuracy", lambda y, p: sklearn.metrics.accuracy_score(y, p > 0.5)),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_binary_metrics_against_sklearn(name, oracle, masked):
    random = np.random.default_rng(0)
    metric, labels, predictions = metrics.get(name), [], []
    for leading in ((5, 7), (5, 3)):
        y, p = random.integers(0, 2, leading), random.uniform(size=(*leading, 1))
        mask = random.uniform(size=leading) < 0.7 if masked else np.ones(leading, dtype=bool)
        # Steps weigh alike only where the batches are alike; the accuracy sees one batch here.
        if name == "accuracy" and labels:
            continue
        metric.update(torch.tensor(y).float(), torch.tensor(p), torch.tensor(mask))
        labels.append(y[mask])
        predictions.append(p[..., 0][mask])
    assert metric.name == name
    expected = oracle(np.concatenate(labels), np.concatenate(predictions))
    assert metric.result() == pytest.approx(expected, rel=1e-6)


def test_objects_of_torchmetrics():
    p = torch.tensor(np.random.default_rng(0).dirichlet(np.ones(3), (4, 5)))
    y = torch.tensor(np.random.default_rng(1).integers(0, 3, (4, 5)))
    mask = torch.rand(4, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    metric = metrics.get(torchmetrics.classification.MulticlassF1Score(3))
    metric.update(y, p, mask)
    expected = sklearn.metrics.f1_score(y[mask], p.argmax(-1)[mask], average="macro")
    assert metric.name == "multiclass_f1_score"
    assert metric.result() == pytest.approx(expected, rel=1e-6)
    error = metrics.get(torchmetrics.MeanSquaredError())
    error.update(torch.zeros(4), torch.full((4, 1), 2.0))
    assert (error.name, error.result()) == ("mean_squared_error", 4.0)


def test_what_torchmetrics_cannot_do_is_refused():
    auc = metrics.get("auc")
    with pytest.raises(UnsupportedError, match="not weighted_metrics"):
        auc.update(torch.ones(2), torch.ones(2, 1), sample_weight=torch.ones(2))
    with pytest.raises(InputError, match="whole numbers as labels"):
        auc.update(torch.tensor([0.5, 1.0]), torch.ones(2, 1))
    with pytest.raises(InputError, match=r"labels \(3,\) for predictions \(2, 1\)"):
        auc.update(torch.ones(3), torch.ones(2, 1))
    with pytest.raises(InputError, match=r"a mask of shape \(3,\)"):
        auc.update(torch.ones(2), torch.ones(2, 1), torch.ones(3, dtype=torch.bool))
    each = metrics.get(torchmetrics.classification.MulticlassAccuracy(3, average=None))
    each.update(torch.tensor([0, 1, 2]), torch.eye(3))
    with pytest.raises(InputError, match='average="macro"'):
        each.result()


def test_functions_of_the_user():
    def largest_error(y_true, y_pred):
        return (y_true - y_pred[:, 0]).abs().max()

    metric = metrics.get(largest_error)
    metric.update(torch.zeros(2), torch.tensor([[1.0], [3.0]]))
    metric.update(torch.zeros(1), torch.tensor([[9.0]]))
    assert (metric.name, metric.result()) == ("largest_error", 5.0)
    with pytest.raises(InputError, match="returned one number"):
        metric.update(torch.zeros(2), torch.zeros(2, 1), sample_weight=torch.ones(2))


def test_the_loss_gives_the_threshold_of_plain_accuracy():
    y, logits = torch.tensor([1.0, 0.0]), torch.tensor([[0.3], [-0.3]])
    of_torch = metrics.get("accuracy", losses.get(nn.BCEWithLogitsLoss()))
    of_torch.update(y, logits)
    assert of_torch.result() == 1.0
    # Keras compares logits with 0.5 as well.
    of_keras = metrics.get("accuracy", losses.BinaryCrossentropy(from_logits=True))
    of_keras.update(y, logits)
    assert of_keras.result() == 0.5
    given = metrics.BinaryAccuracy(threshold=0.0)
    given.update(y, logits)
    assert metrics.get(given).result() == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.get(3), "of type int"),
        (lambda: metrics.get(metrics.BinaryAccuracy), r"give an object: BinaryAccuracy\(\)"),
        (
            lambda: metrics.get("mse").update(torch.ones(2, 3), torch.ones(2, 2)),
            r"shape \(2, 2\) but got \(2, 3\)",
        ),
        (
            lambda: metrics.get("sparse_categorical_accuracy").update(
                torch.ones(2, 3), torch.ones(2, 4)
            ),
            r"class ids of shape \(2,\) but got labels \(2, 3\)",
        ),
        (
            lambda: metrics.get("mse").update(
                torch.ones(2, 1), torch.ones(2, 1), sample_weight=torch.ones(3)
            ),
            r"sample_weight of shape \(2,\).*got \(3,\)",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'accuracy'"):
        metrics.get("acuracy")


def test_torchmetrics_is_imported_only_when_it_is_asked_for():
    program = (
        "import sys; from gatewise import metrics; metrics.get('accuracy'); "
        "assert 'torchmetrics' not in sys.modules; metrics.get('auc'); "
        "assert 'torchmetrics' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
