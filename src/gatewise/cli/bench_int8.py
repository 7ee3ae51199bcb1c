"""`gatewise bench --int8`: what weights of 8 bits cost and gain, on one's own model and data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewise.cli import showing
from gatewise.cli.model_file import open_reading_model

if TYPE_CHECKING:
    from gatewise.inspect.speed import Rounds

_BATCH = 256  # the most series that are timed together


def bench_int8(model: Path, source: str, rounds: Rounds, as_json: bool) -> str:
    """Return the figures, the sizes and the times of a model beside its quantized copy, as text.

    Of data that name a test part, the test part is taken. Raises `InputError` for data without
    labels and for what is no model, `UnsupportedError` for one that cannot be quantized.
    """
    from gatewise.cli.labelled import labelled_data
    from gatewise.cli.training_run import compare
    from gatewise.data.padded import padded_batch
    from gatewise.inspect.int8 import measure_int8, quantized_copy
    from gatewise.inspect.text_int8 import render_int8

    opened = open_reading_model(model)
    small = quantized_copy(opened)
    data = labelled_data(source, opened.preprocessing)
    if "test" in (data.parts or ()):
        data = data.take([row for row, part in enumerate(data.parts or ()) if part == "test"])
    figures = {
        name: next(iter(compare(one, None, data).values()))
        for name, one in (("float32", opened), ("int8", small))
    }
    figures["difference"] = {
        name: value - figures["float32"][name] for name, value in figures["int8"].items()
    }
    x, _, mask = padded_batch(opened.preprocessing, data.take(range(min(_BATCH, len(data)))))
    cost = measure_int8(opened, opened.cast_input(x), mask, rounds)
    if as_json:
        return json.dumps({"series": len(data), "figures": figures, **asdict(cost)}, indent=2)
    return "\n".join([*_figure_lines(data.name, len(data), figures), "", render_int8(cost)])


def _figure_lines(name: str, series: int, figures: Mapping[str, Any]) -> list[str]:
    head = f"{name} ({series:,} series), weights of 8 bits beside float32:"
    return [head, *showing.figure_lines(figures), *showing.horizon_lines(figures)]
