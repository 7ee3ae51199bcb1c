"""How well, and how fast, does the program learn verse or scripture, beside Keras?

    python benchmarks/verse_or_scripture.py --seeds 5 --peer keras-jax --json results.json

The program: Embedding(10000, 100, mask_zero=True), LSTM(128), Dropout(0.5), Dense(1, sigmoid),
rmsprop, binary cross-entropy, batches of 32. Every contender gets the same ids in the same arrays,
and every run a process of its own; contenders take turns, seed by seed. `gatewise-ragged` gets
lists of ids instead, so that batches are made by length. Test accuracy is that after the last
epoch: nothing is selected on it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

KERAS_PEERS = ("keras-torch", "keras-jax", "keras-tensorflow")
OURS = ("gatewise", "gatewise-ragged")
VOCABULARY, EMBEDDING, UNITS, BATCH = 10_000, 100, 128, 32
PACKAGES = ("keras", "torch", "jax", "tensorflow", "scikit-learn", "numpy")


def main() -> None:
    """Run every contender for every seed and print the table."""
    arguments = _arguments()
    if arguments.contender:
        _worker(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / "ids.npz"
        texts = _pack(packed, arguments.limit)
        contenders = [*OURS, *arguments.peer]
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
        seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        for seed in seeds:
            for name in contenders:
                runs[name].append(_run(name, seed, packed, arguments))
                print(f"{name}, seed {seed}: {runs[name][-1]}", file=sys.stderr, flush=True)
    results = {
        "machine": _machine(arguments.threads),
        "epochs": arguments.epochs,
        "seeds": list(seeds),
        "training_fragments": len(texts["train_texts"]),
        "bag_of_words": _bag_of_words(texts),
        "runs": runs,
    }
    print(_table(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--peer", action="append", default=[], choices=KERAS_PEERS)
    parser.add_argument("--limit", type=int, help="train and test on so many fragments only")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="write every figure into this file")
    parser.add_argument("--contender", choices=(*OURS, *KERAS_PEERS), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--packed", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _pack(target: Path, limit: int | None) -> dict[str, list[str]]:
    """Write the ids that every contender reads; return texts and labels for the bag of words."""
    from gatewise.data import Vocabulary, pad_sequences
    from gatewise.data.datasets import load_verse_or_scripture

    data = load_verse_or_scripture()
    vocabulary = Vocabulary.fit(data.train.x, max_size=VOCABULARY)
    arrays, texts = {}, {}
    for name, part in (("train", data.train), ("test", data.test)):
        texts[f"{name}_texts"] = part.x[:limit]
        texts[f"{name}_labels"] = part.y[:limit].tolist()
        ids = vocabulary.encode(part.x[:limit])
        arrays[f"{name}_x"] = pad_sequences(ids, maxlen=16, padding="post")
        arrays[f"{name}_y"] = part.y[:limit].astype(np.float32)[:, None]
    np.savez(target, **arrays)
    return texts


def _run(name: str, seed: int, packed: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train one contender in a process of its own; return its accuracies and times by epoch."""
    threads = str(arguments.threads)
    environment = os.environ | {"OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads}
    if name in KERAS_PEERS:
        environment["KERAS_BACKEND"] = name.removeprefix("keras-")
    command = [sys.executable, __file__, "--contender", name, "--seed", str(seed)]
    command += ["--packed", str(packed), "--epochs", str(arguments.epochs)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _worker(arguments: argparse.Namespace) -> None:
    """Train the named contender and print its figures as one line of JSON."""
    with np.load(arguments.packed) as arrays:
        data = {name: arrays[name] for name in arrays.files}
    if arguments.contender in KERAS_PEERS:
        model = _keras_program(arguments.seed)
    else:
        model = _our_program(arguments.seed)
    train_x: Any = data["train_x"]
    if arguments.contender == "gatewise-ragged":
        train_x = [row[row > 0] for row in train_x]
    seconds, accuracies = [], []
    for _ in range(arguments.epochs):
        began = time.perf_counter()
        model.fit(train_x, data["train_y"], batch_size=BATCH, epochs=1, verbose=0)
        seconds.append(time.perf_counter() - began)
        _, accuracy = model.evaluate(data["test_x"], data["test_y"], verbose=0)
        accuracies.append(float(accuracy))
    print(json.dumps({"seconds": seconds, "accuracies": accuracies}))


def _our_program(seed: int) -> Any:
    from gatewise.layers import LSTM, Dense, Dropout, Embedding
    from gatewise.models import Sequential
    from gatewise.utils import set_random_seed

    set_random_seed(seed)
    model = Sequential()
    model.add(Embedding(VOCABULARY, EMBEDDING, mask_zero=True))
    model.add(LSTM(UNITS))
    model.add(Dropout(0.5))
    model.add(Dense(1, activation="sigmoid"))
    model.compile(loss="binary_crossentropy", optimizer="rmsprop", metrics=["accuracy"])
    return model


def _keras_program(seed: int) -> Any:
    import keras

    keras.utils.set_random_seed(seed)
    model = keras.Sequential()
    model.add(keras.layers.Embedding(VOCABULARY, EMBEDDING, mask_zero=True))
    model.add(keras.layers.LSTM(UNITS))
    model.add(keras.layers.Dropout(0.5))
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    model.compile(loss="binary_crossentropy", optimizer="rmsprop", metrics=["accuracy"])
    return model


def _bag_of_words(texts: dict[str, Any]) -> float:
    """Return the test accuracy of logistic regression on word counts."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    classifier = make_pipeline(CountVectorizer(), LogisticRegression(max_iter=1000))
    classifier.fit(texts["train_texts"], texts["train_labels"])
    return float(classifier.score(texts["test_texts"], texts["test_labels"]))


def _machine(threads: int) -> dict[str, Any]:
    from gatewise import __version__ as gatewise_version

    versions: dict[str, str | None] = {"gatewise": gatewise_version}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    """Return the processor's name as Linux tells it, or what Python knows elsewhere."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _table(results: dict[str, Any]) -> str:
    """Return the figures as a Markdown table: a row a contender."""
    seeds = results["seeds"]
    head = ["contender", *(f"seed {seed}" for seed in seeds), "mean", "spread", "seconds an epoch"]
    rows = [head, ["---"] * len(head)]
    for name, runs in results["runs"].items():
        final = [run["accuracies"][-1] for run in runs]
        # The first epoch holds one-time work (compilation, first allocations) where there are
        # others.
        later = [s for run in runs for s in (run["seconds"][1:] or run["seconds"])]
        rows.append(
            [
                name,
                *(f"{accuracy:.4f}" for accuracy in final),
                f"{statistics.mean(final):.4f}",
                f"{max(final) - min(final):.4f}",
                f"{statistics.median(later):.2f}",
            ]
        )
    bag = f"{results['bag_of_words']:.4f}"
    rows.append(["bag of words, logistic regression", *("" for _ in seeds), bag, "", ""])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    main()
