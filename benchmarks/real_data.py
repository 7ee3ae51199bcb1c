"""What `gatewise train` comes to on real data, with its defaults, over several seeds.

    python benchmarks/real_data.py                 every set that is installed
    python benchmarks/real_data.py sunspots co2    these alone

Each row is `gatewise train …` as a user would type it: the official parts where a set has them,
else the last fifth of the time; the epoch is chosen on a validation part of the training data. The
seed draws the weights, the order of the batches and, for series, the validation part. `aeon` and
`statsmodels` bring some of the sets; what is not installed is left out, and said.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np

from gatewise.cli.plan import Plan
from gatewise.cli.training_run import run

SEEDS = 5
SETS: dict[str, dict[str, Any]] = {
    "japanese-vowels": {},
    "verse-or-scripture": {},
    "ItalyPowerDemand": {},
    "BasicMotions": {},
    "sunspots": {"time": "YEAR", "target": "SUNACTIVITY", "horizon": 11},
    "co2": {"time": "date", "target": "co2", "horizon": 52, "missing": "forward-fill"},
}


def source_of(name: str) -> str | None:
    """The file or the name that `gatewise train` takes; None if it is not installed."""
    packages = {"sunspots": "statsmodels", "co2": "statsmodels"}
    package = packages.get(name)
    if package is None:
        from gatewise.data import available

        return name if name in {one.name for one in available()} else None
    found = util.find_spec(package)  # looked for, not imported
    if found is None or found.submodule_search_locations is None:
        return None
    return str(Path(found.submodule_search_locations[0]) / "datasets" / name / f"{name}.csv")


def command(name: str, reading: Mapping[str, Any]) -> str:
    """The command line of a row."""
    options = "".join(f" --{key} {value}" for key, value in reading.items())
    return f"gatewise train {name}{'.csv' if reading else ''}{options}"


def figures_of(
    source: str, reading: Mapping[str, Any], seed: int, settings: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """The figures of one run, those of the baselines among them."""
    with tempfile.TemporaryDirectory() as folder:
        given = dict(reading)
        if "target" in given:
            given["target"] = [given["target"]]
        plan = Plan(source=source, reading=given, settings=settings, seed=seed)
        return run(plan, Path(folder) / "run", quiet=True)["figures"]


def measure(name: str, seeds: range, settings: dict[str, Any]) -> None:
    """Print the rows of one set."""
    reading = SETS[name]
    source = source_of(name)
    if source is None:
        print(f"\n{name}: not installed (pip install --no-deps aeon statsmodels)", flush=True)
        return
    print(f"\n{command(name, reading)}", flush=True)
    runs = []
    for seed in seeds:
        start = time.perf_counter()
        runs.append(figures_of(source, reading, seed, settings))
        own = runs[-1]["this model"]
        shown = "  ".join(f"{key} {own[key]:.4g}" for key in own if "_" not in key[3:])
        print(f"  seed {seed}   {shown}   ({time.perf_counter() - start:.0f} s)", flush=True)
    for row in runs[0]:
        for figure in ("accuracy", "macro_f1", "mae", "rmse"):
            if figure not in runs[0][row]:
                continue
            values = np.array([one[row][figure] for one in runs])
            spread = f" ({values.min():.4g} to {values.max():.4g})" if np.ptp(values) else ""
            print(f"  {row:<14} {figure:<9} {values.mean():.4g}{spread}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*SETS, []], metavar="SET")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="other than the default, to look if it runs")
    arguments = parser.parse_args()
    settings = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    for name in arguments.names or SETS:
        measure(name, seeds, settings)


if __name__ == "__main__":
    main()
