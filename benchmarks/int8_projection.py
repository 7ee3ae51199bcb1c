"""What a projection loses as integers: LSTMs trained on Japanese Vowels, each in three precisions.

    python benchmarks/int8_projection.py --json int8_projection.json

A row is one trained model: its accuracy on the test part, and how far its outputs are from those of
float32 (root of the mean square, over that of the outputs), with nothing rounded, with W and U as
integers, and with the projection as integers too. It runs the equation, which can do all three; the
kernels have the last one alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gatewise import cells
from gatewise.cells import NO_NOISE, Scan
from gatewise.cells.int8 import QuantizedMatrix, quantize_columns
from gatewise.data import pad_sequences
from gatewise.data.datasets import load_japanese_vowels
from gatewise.kernels.int8 import MATRICES
from gatewise.layers import LSTM

UNITS, SEEDS, EPOCHS, BATCH, LEARNING_RATE = 128, 3, 60, 32, 3e-3
WIDTHS = (32, 64)  # of the projected h


@dataclass
class Row:
    """One model; a number for each of: float32, int8 but for the projection, int8."""

    projection: int
    layer_norm: bool
    seed: int
    accuracy: list[float]
    off: list[float]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true", help="one model, one epoch")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    seeds, epochs, widths = (1, 1, WIDTHS[:1]) if arguments.quick else (SEEDS, EPOCHS, WIDTHS)
    print("projection  layer_norm  seed  accuracy: float32, W U, all   off: W U, all")
    rows = []
    for width in widths:
        for layer_norm in (False, True):
            for seed in range(seeds):
                row = measured(width, layer_norm, seed, epochs)
                rows.append(row)
                accuracy = "  ".join(f"{value:.4f}" for value in row.accuracy)
                off = "  ".join(f"{value:.4f}" for value in row.off[1:])
                print(f"{width:>10}  {layer_norm!s:>10}  {seed:>4}  {accuracy:>28}   {off}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def measured(width: int, layer_norm: bool, seed: int, epochs: int) -> Row:
    """Train a model and measure it."""
    data = load_japanese_vowels()
    torch.manual_seed(seed)
    layer = LSTM(UNITS, projection=width, layer_norm=layer_norm)
    layer.build((None, None, 12))
    head = nn.Linear(width, 9)
    train(layer, head, *padded(data.train.x), torch.tensor(data.train.y), epochs)
    x, mask = padded(data.test.x)
    with torch.no_grad():
        scans = [run(layer, x, mask, MATRICES[:count]) for count in (0, 2, 3)]
        said = [head(scan.final_state[0]).argmax(1) for scan in scans]
    size = scans[0].outputs.square().mean().sqrt()
    off = [(scan.outputs - scans[0].outputs).square().mean().sqrt() / size for scan in scans]
    right = [(one == torch.tensor(data.test.y)).float().mean().item() for one in said]
    return Row(width, layer_norm, seed, right, [one.item() for one in off])


def train(layer: LSTM, head: nn.Linear, x: Tensor, mask: Tensor, y: Tensor, epochs: int) -> None:
    """Train the layer and its head with Adam."""
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=LEARNING_RATE)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            logits = head(layer(x[rows], mask=mask[rows]))
            nn.functional.cross_entropy(logits, y[rows]).backward()
            optimizer.step()


def run(layer: LSTM, x: Tensor, mask: Tensor, rounded: Sequence[str]) -> Scan:
    """Run the equation with the weights of these names as integers."""
    specification = layer.specification
    names = ("kernel", "recurrent_kernel", "bias", *specification.extra_weights)
    weights: list[Any] = [
        QuantizedMatrix(*quantize_columns(weight.detach())) if name in rounded else weight
        for name, weight in zip(names, layer.weight_list(), strict=True)
    ]
    product = cells.input_product(x, weights, mask, specification)
    state = [x.new_zeros(len(x), size) for size in layer.state_sizes]
    return cells.scan(product, weights, state, mask, NO_NOISE, specification)


def padded(series: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Return the series side by side (B, T, 12), and where their steps are real."""
    lengths = torch.tensor([len(one) for one in series])
    x = pad_sequences(series, dtype="float32", padding="post")
    return torch.tensor(x), torch.arange(x.shape[1]) < lengths.unsqueeze(1)


if __name__ == "__main__":
    main()
