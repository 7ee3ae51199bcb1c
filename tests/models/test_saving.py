"""Model files: exact round trips, atomic writing, and refusal of everything that is not whole."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import gatewise
from gatewise.data import StandardScaler, Vocabulary
from gatewise.errors import InputError, ModelFileError, UnsupportedError
from gatewise.layers import (
    GRU,
    LSTM,
    Activation,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    Layer,
    Masking,
    SimpleRNN,
    regularizers,
)
from gatewise.models import Sequential, load_model
from gatewise.optimizers import SGD, Adam, schedules
from gatewise.utils import set_random_seed

X = np.random.default_rng(0).normal(size=(12, 5, 3))
Y = np.arange(12.0)[:, None] % 2


def classifier(optimizer: Any = "adam") -> Sequential:
    model = Sequential(
        [LSTM(4, input_shape=(None, 3)), Dropout(0.2), Dense(1, activation="sigmoid")]
    )
    model.compile(loss="binary_crossentropy", optimizer=optimizer, metrics=["accuracy"])
    return model


def assert_same_weights(one: Sequential, other: Sequential) -> None:
    mine, theirs = one.state_dict(), other.state_dict()
    assert list(mine) == list(theirs)
    for name, tensor in mine.items():
        assert tensor.dtype == theirs[name].dtype
        assert torch.equal(tensor, theirs[name]), name


MODELS: dict[str, Callable[[], Sequential]] = {
    "program": classifier,
    "embedding": lambda: Sequential(
        [Embedding(9, 4, mask_zero=True), Bidirectional(GRU(3, reset_after=False)), Dense(2)]
    ),
    "masking": lambda: Sequential(
        [
            Masking(-1.0, input_shape=(None, 3)),
            SimpleRNN(4, return_sequences=True, go_backwards=True, trainable=False),
            GRU(3, use_bias=False, kernel_regularizer=regularizers.L2(0.1)),
            Activation("tanh"),
        ]
    ),
    "double": lambda: classifier().double(),
    "one unit": lambda: Sequential([LSTM(1, input_shape=(None, 1))]),
}


@pytest.mark.parametrize("kind", list(MODELS))
def test_a_round_trip_keeps_every_bit(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    model.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert_same_weights(model, loaded)
    assert loaded.get_config() == model.get_config()
    assert not loaded.training
    assert [p.requires_grad for p in loaded.parameters()] == [
        p.requires_grad for p in model.parameters()
    ]
    assert model.input_shape is not None
    x = X[..., : model.input_shape[-1]] if len(model.input_shape) == 3 else np.array([[1, 2, 0]])
    assert np.array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))


def test_shared_and_nested_layers_stay_shared_and_nested(tmp_path: Path) -> None:
    shared = Dense(3, input_shape=(3,))
    model = Sequential([shared, shared, Sequential([Dense(2)], name="head")])
    model.save(tmp_path / "m.safetensors")
    loaded = gatewise.load_model(tmp_path / "m.safetensors")
    assert loaded.layers[0] is loaded.layers[1]
    assert_same_weights(model, loaded)
    assert sorted(load_file(tmp_path / "m.safetensors")) == sorted(model.state_dict())


@pytest.mark.parametrize(
    "optimizer",
    [
        "rmsprop",
        Adam(0.01, clipnorm=1.0),
        SGD(schedules.ExponentialDecay(0.1, 3, 0.5), momentum=0.9),
    ],
    ids=["rmsprop", "adam", "momentum under a schedule"],
)
def test_training_goes_on_as_if_it_had_never_stopped(optimizer: Any, tmp_path: Path) -> None:
    set_random_seed(0)
    model = classifier(optimizer)
    model.fit(X, Y, epochs=2, batch_size=5, verbose=0)
    model.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    histories = []
    for one in (model, loaded):
        set_random_seed(1)
        histories.append(one.fit(X, Y, epochs=2, batch_size=5, verbose=0).history)
    assert histories[0] == histories[1]
    assert "accuracy" in histories[1]
    assert_same_weights(model, loaded)


def test_the_optimizer_can_be_left_out_or_aside(tmp_path: Path) -> None:
    model = classifier()
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "with.safetensors")
    model.save(tmp_path / "without.safetensors", include_optimizer=False)
    names = load_file(tmp_path / "without.safetensors").keys()
    assert sorted(names) == sorted(model.state_dict())
    assert load_model(tmp_path / "without.safetensors").compiled is None
    assert load_model(tmp_path / "with.safetensors", compile=False).compiled is None
    size = {path.stem: path.stat().st_size for path in tmp_path.iterdir()}
    assert size["with"] > size["without"]


def test_labels_and_preprocessing_travel(tmp_path: Path) -> None:
    model = Sequential([Embedding(4, 2), LSTM(2)])
    model.labels = ["verse", "scripture"]
    model.preprocessing = Vocabulary(["the", "sea"])
    model.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.labels == ["verse", "scripture"]
    assert loaded.preprocessing == model.preprocessing
    model.preprocessing = StandardScaler.fit(list(X))
    model.save(tmp_path / "m.safetensors")
    found = load_model(tmp_path / "m.safetensors").preprocessing
    assert found.get_config() == model.preprocessing.get_config()
    model.labels = np.array(["a"])  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"model.labels is a list of strings"):
        model.save(tmp_path / "m.safetensors")
    model.labels, model.preprocessing = None, str.upper
    with pytest.raises(InputError, match="cannot be kept in a model file"):
        model.save(tmp_path / "m.safetensors")


def test_weights_alone(tmp_path: Path) -> None:
    model, other = classifier(), classifier()
    model.save_weights(tmp_path / "w.safetensors")
    other.load_weights(tmp_path / "w.safetensors")
    assert_same_weights(model, other)
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / "m.safetensors")
    other.load_weights(tmp_path / "m.safetensors")
    assert_same_weights(model, other)
    save_file(model.state_dict(), tmp_path / "plain.safetensors")
    classifier().load_weights(tmp_path / "plain.safetensors")
    with pytest.raises(ModelFileError, match="holds tensors and no model"):
        load_model(tmp_path / "plain.safetensors")
    with pytest.raises(ModelFileError, match="describes no model"):
        load_model(tmp_path / "w.safetensors")


def test_weights_of_another_model_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    classifier().save_weights(path)
    wider = Sequential([LSTM(5, input_shape=(None, 3)), Dense(1)])
    before = wider.get_weights()
    with pytest.raises(
        ModelFileError, match=r"lstm.kernel has shape \(3, 16\) in .* but \(3, 20\) in the model"
    ):
        wider.load_weights(path)
    assert all(np.array_equal(a, b) for a, b in zip(before, wider.get_weights(), strict=True))
    with pytest.raises(ModelFileError, match=r"lacks gru\.bias.* and has .*lstm\.bias.* too many"):
        Sequential([GRU(4, input_shape=(None, 3)), Dense(1)]).load_weights(path)
    with pytest.raises(ModelFileError, match=r"type torch.float32 in .*model\.double\(\)"):
        classifier().double().load_weights(path)
    with pytest.raises(InputError, match=r"load_weights\(\) needs the weights"):
        Sequential([LSTM(3)]).load_weights(path)


def test_what_a_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    class Own(Layer):
        pass

    path = tmp_path / "m.safetensors"
    with pytest.raises(InputError, match=r"save\(\) needs the weights"):
        Sequential([LSTM(3)]).save(path)
    with pytest.raises(UnsupportedError, match=r"'own' is a Own.*save_weights"):
        Sequential([Own(input_shape=(3,))]).save(path)
    cases: list[dict[str, Any]] = [
        {"loss": lambda y, p: (y - p).abs().mean(-1)},
        {"loss": "mse", "optimizer": torch.optim.SGD},
        {"loss": "mse", "metrics": [lambda y, p: (y - p).abs().mean(-1)]},
    ]
    for arguments in cases:
        model = classifier()
        model.compile(**arguments)
        with pytest.raises(UnsupportedError, match="include_optimizer=False"):
            model.save(path)
        model.save(path, include_optimizer=False)
        path.unlink()
    tied = Sequential([Dense(3, input_shape=(3,)), Dense(3)])
    tied.layers[1].kernel = tied.layers[0].kernel  # type: ignore[union-attr]
    with pytest.raises(UnsupportedError, match=r"dense.kernel and dense_1.kernel are one tensor"):
        tied.save(path)
    assert list(tmp_path.iterdir()) == []


def test_metrics_given_as_objects_come_back(tmp_path: Path) -> None:
    model = classifier()
    given = [gatewise.metrics.BinaryAccuracy(threshold=0.3), gatewise.metrics.AUC(name="area")]
    model.compile(loss="binary_crossentropy", metrics=["accuracy", *given])
    model.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert [metric.name for metric in loaded.metrics] == ["accuracy", "binary_accuracy", "area"]
    assert loaded.metrics[1].threshold == 0.3


def test_names_of_files(tmp_path: Path) -> None:
    model = classifier()
    for name in ("m.keras", "m.h5", "m.pt"):
        with pytest.raises(InputError, match=r"gatewise writes safetensors files: m.safetensors"):
            model.save(tmp_path / name)
    model.save(tmp_path / "m")
    model.save(str(tmp_path / "m"))
    with pytest.raises(InputError, match=r"exists. Pass overwrite=True"):
        model.save(tmp_path / "m", overwrite=False)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none.safetensors")
    with pytest.raises(ModelFileError, match="is a folder"):
        load_model(tmp_path)


def test_a_link_keeps_pointing_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real" / "m.safetensors", tmp_path / "m.safetensors")
    classifier().save(tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").is_symlink()
    assert (tmp_path / "real" / "m.safetensors").is_file()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_whole(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    old, new = classifier(), classifier()
    old.save(path)
    contents = path.read_bytes()

    def fail(*arguments: Any) -> None:
        raise OSError("disk on fire")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="disk on fire"):
        new.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == contents
    assert list(tmp_path.iterdir()) == [path]
    assert_same_weights(load_model(path), old)


@pytest.mark.skipif(os.name != "posix", reason="limits a process's files by setrlimit")
def test_a_crash_in_the_middle_of_writing_leaves_the_old_file_whole(tmp_path: Path) -> None:
    """A process that may write 2,000 bytes gets an error the first time, and is then killed."""
    path = tmp_path / "m.safetensors"
    model = classifier()
    model.save(path)
    contents = path.read_bytes()
    assert len(contents) > 2000
    code = f"""
import resource, signal
from gatewise.models import load_model
model = load_model({str(path)!r})
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    model.save({str(path)!r})
except OSError as error:
    print(error, flush=True)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
model.save({str(path)!r})
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "File too large" in result.stdout
    assert result.returncode == -signal.SIGXFSZ
    assert path.read_bytes() == contents
    assert_same_weights(load_model(path), model)


# Files that are not what they should be.


def header_of(contents: bytes) -> tuple[dict[str, Any], bytes]:
    size = struct.unpack("<Q", contents[:8])[0]
    return json.loads(contents[8 : 8 + size]), contents[8 + size :]


def with_header(header: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def changed(contents: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return the file with its description changed."""
    header, data = header_of(contents)
    description = json.loads(header["__metadata__"]["gatewise"])
    change(description)
    header["__metadata__"]["gatewise"] = json.dumps(description)
    return with_header(header, data)


def layer(description: dict[str, Any], name: str) -> dict[str, Any]:
    return description["architecture"]["layers"][name]


def renamed(contents: bytes, old: str, new: str) -> bytes:
    header, data = header_of(contents)
    header = {new if name == old else name: entry for name, entry in header.items()}
    return with_header(header, data)


def bomb(depth: int) -> dict[str, Any]:
    """Return models in models, each of which applies the one inside a hundred times."""
    inner: dict[str, Any] = {
        "class": "Activation", "config": {"name": "a", "activation": "relu"},
    }  # fmt: skip
    for _ in range(depth + 1):
        config = {"name": "a", "input_shape": None, "layers": {"a": inner}, "order": ["a"] * 100}
        inner = {"class": "Sequential", "config": config}
    return inner["config"]


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def with_text(contents: bytes, text: str) -> bytes:
    header, data = header_of(contents)
    header["__metadata__"]["gatewise"] = text
    return with_header(header, data)


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda c: b"", "not a whole model file"),
    "cut in the header": (lambda c: c[:100], "not a whole model file"),
    "cut in the data": (lambda c: c[:-1], "not a whole model file"),
    "more data": (lambda c: c + b"x", "not a whole model file"),
    "huge header": (lambda c: struct.pack("<Q", 2**62) + c[8:], "not a whole model file"),
    "zip": (lambda c: b"PK\x03\x04" + c, "looks like a zip archive"),
    "hdf5": (lambda c: b"\x89HDF" + c, "looks like an HDF5 file"),
    "pickle": (lambda c: b"\x80\x02cposix\nsystem\n", "looks like a pickle"),
    "text": (lambda c: b"hello world, this is no model", "not a whole model file"),
    "no json": (lambda c: with_text(c, "{"), "broken description"),
    "json of another kind": (lambda c: with_text(c, "[]"), "which version"),
    "deep json": (lambda c: with_text(c, nested(100_000)), "broken description"),
    "nan": (lambda c: with_text(c, '{"format_version": NaN}'), "broken description"),
    "no version": (lambda c: changed(c, lambda d: d.pop("format_version")), "which version"),
    "future": (
        lambda c: changed(c, lambda d: d.update(format_version=2)),
        "format version 2, but this gatewise reads versions up to 1. Update gatewise",
    ),
    "no architecture": (lambda c: changed(c, lambda d: d.pop("architecture")), "is missing"),
    "unknown layer": (
        lambda c: changed(c, lambda d: layer(d, "lstm").update({"class": "os.system"})),
        "Unknown layer 'os.system'",
    ),
    "unknown argument": (
        lambda c: changed(c, lambda d: layer(d, "lstm")["config"].update(command="rm")),
        "command",
    ),
    "initial weights in the arguments": (
        lambda c: changed(
            c,
            lambda d: layer(d, "dense").update(
                {
                    "class": "Embedding",
                    "config": {
                        "name": "dense", "input_dim": 1, "output_dim": 1, "weights": [[1.0]],
                    },
                }
            ),
        ),
        "describes no model",
    ),
    "unknown activation": (
        lambda c: changed(c, lambda d: layer(d, "dense")["config"].update(activation="eval")),
        "Unknown activation 'eval'",
    ),
    "another size": (
        lambda c: changed(c, lambda d: layer(d, "lstm")["config"].update(units=5)),
        r"lstm.kernel has shape \(3, 16\) in .* but \(3, 20\)",
    ),
    "a size beyond all memory": (
        lambda c: changed(c, lambda d: layer(d, "lstm")["config"].update(units=10**12)),
        "m.safetensors",
    ),
    "a size beyond all numbers": (
        lambda c: changed(c, lambda d: layer(d, "lstm")["config"].update(units=10**30)),
        "m.safetensors",
    ),
    "a size that is none": (
        lambda c: changed(c, lambda d: layer(d, "lstm")["config"].update(units="4")),
        "describes no model",
    ),
    "a name of an attribute": (
        lambda c: changed(c, lambda d: layer(d, "lstm")["config"].update(name="__class__")),
        "describes no model",
    ),
    "endless layers": (
        lambda c: changed(c, lambda d: d["architecture"].update(order=["lstm"] * 20_000)),
        "names 20000 layers",
    ),
    "endless layers inside layers": (
        lambda c: changed(c, lambda d: d.update(architecture=bomb(4))),
        "names 10000000000 layers",
    ),
    "no input shape": (
        lambda c: changed(
            c,
            lambda d: [
                d["architecture"].update(input_shape=None),
                layer(d, "lstm")["config"].update(input_shape=None),
            ],
        ),
        "for which input",
    ),
    "no such type": (
        lambda c: changed(c, lambda d: d.update(dtype="object")), "weights of type 'object'",
    ),
    "another type": (
        lambda c: changed(c, lambda d: d.update(dtype="float64")), "has type torch.float32",
    ),
    "labels": (lambda c: changed(c, lambda d: d.update(labels="ab")), "no list of names"),
    "unknown preprocessing": (
        lambda c: changed(c, lambda d: d.update(preprocessing={"class": "eval", "config": {}})),
        "Unknown preprocessor 'eval'",
    ),
    "unknown loss": (
        lambda c: changed(c, lambda d: d["compiled"]["loss"].update(class_name="exec")),
        "Unknown loss 'exec'",
    ),
    "a loss that is no description": (
        lambda c: changed(c, lambda d: d["compiled"].update(loss=["mse"])), "names no loss",
    ),
    "unknown optimizer": (
        lambda c: changed(c, lambda d: d["compiled"]["optimizer"].update(class_name="exec")),
        "Unknown optimizer 'exec'",
    ),
    "optimizer arguments": (
        lambda c: changed(c, lambda d: d["compiled"]["optimizer"]["config"].update(x=1)),
        "describes no model",
    ),
    "metrics": (
        lambda c: changed(c, lambda d: d["compiled"].update(metrics=[{"a": 1}])),
        "names no loss, optimizer, metric",
    ),
    "optimizer values": (
        lambda c: changed(c, lambda d: d["optimizer"].update(lr="fast")), "lr='fast'",
    ),
    "optimizer values too many": (
        lambda c: changed(c, lambda d: d["optimizer"].update(hooks=1)), "optimizer values",
    ),
    "missing tensor": (lambda c: renamed(c, "lstm.bias", "lstm.extra"), "lacks lstm.bias"),
    "missing optimizer tensor": (
        lambda c: renamed(c, "optimizer/lstm.bias/velocity", "optimizer/lstm.bias/other"),
        "optimizer",
    ),
    "foreign optimizer tensor": (
        lambda c: renamed(c, "optimizer/lstm.bias/velocity", "optimizer/gru.bias/velocity"),
        "optimizer tensor",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    model = classifier("rmsprop")
    model.train_on_batch(X, Y)
    path = tmp_path_factory.mktemp("whole") / "m.safetensors"
    model.save(path)
    with safe_open(str(path), framework="pt") as file:
        assert "optimizer/lstm.bias/velocity" in file.keys()  # noqa: SIM118
    return path.read_bytes()


@pytest.mark.parametrize("kind", list(BROKEN))
def test_a_broken_or_hostile_file_is_refused_in_words(
    kind: str, whole: bytes, tmp_path: Path
) -> None:
    spoil, message = BROKEN[kind]
    path = tmp_path / "m.safetensors"
    path.write_bytes(spoil(whole))
    with pytest.raises(ModelFileError, match=message):
        load_model(path)


def test_every_cut_and_every_flipped_header_byte_is_refused_or_harmless(
    whole: bytes, tmp_path: Path
) -> None:
    """No damage may end in another error than ours."""
    path = tmp_path / "m.safetensors"
    random = np.random.default_rng(0)
    size = struct.unpack("<Q", whole[:8])[0]
    refused = 0
    for _ in range(150):
        spoiled = bytearray(whole)
        spoiled[random.integers(0, size)] = random.integers(0, 256)
        path.write_bytes(bytes(spoiled))
        try:
            load_model(path)
        except ModelFileError:
            refused += 1
    assert refused > 75
    for cut in random.integers(0, len(whole), size=40):
        path.write_bytes(whole[:cut])
        with pytest.raises(ModelFileError):
            load_model(path)


def test_loading_draws_no_random_numbers(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(whole)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load_model(tmp_path / "m.safetensors")
    assert torch.equal(torch.rand(3), expected)


def two_outputs() -> gatewise.Model:
    begin = gatewise.Input((None, 3))
    h = LSTM(4)(begin)
    return gatewise.Model(begin, [Dense(1, name="value")(h), Dense(3, "softmax", name="kind")(h)])


@pytest.mark.parametrize(
    "arguments",
    [
        {"loss": "mse"},
        {"loss": ["mse", "sparse_categorical_crossentropy"], "loss_weights": [1.0, 0.5]},
        {
            "loss": {
                "value": gatewise.losses.Huber(0.3),
                "kind": "sparse_categorical_crossentropy",
            },
            "loss_weights": {"value": 2.0, "kind": 0.5},
            "metrics": {
                "kind": ["accuracy", gatewise.metrics.SparseTopKCategoricalAccuracy(2)],
                "value": "mae",
            },
        },
    ],
)
def test_the_losses_of_several_outputs_come_back(tmp_path: Path, arguments: dict[str, Any]) -> None:
    gatewise.utils.set_random_seed(0)
    numbers = np.random.default_rng(0)
    x = numbers.normal(size=(8, 5, 3)).astype("float32")
    one_hot = "kind" not in str(arguments["loss"]) and arguments["loss"] == "mse"
    kinds = numbers.integers(0, 3, 8)
    y = [numbers.normal(size=(8, 1)).astype("float32"), np.eye(3)[kinds] if one_hot else kinds]
    model = two_outputs()
    model.compile(optimizer="adam", **arguments)
    model.fit(x, y, epochs=2, shuffle=False, verbose=0)
    model.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.evaluate(x, y, verbose=0, return_dict=True) == model.evaluate(
        x, y, verbose=0, return_dict=True
    )
    for one in (model, loaded):
        one.fit(x, y, epochs=2, shuffle=False, verbose=0)
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
