"""What a run is to do: what its options say, or the `run.toml` of the run to repeat."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from gatewise.cli.defaults import Settings
from gatewise.cli.run_folder import digest, read_run
from gatewise.errors import InputError


@dataclass(frozen=True)
class Plan:
    """One run: its data, how they are read and split, and the settings that are not defaults."""

    source: str
    reading: dict[str, Any]
    settings: dict[str, Any]
    validation: float | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "float32"
    model: str | None = None

    @property
    def stem(self) -> str:
        """The data's name without its folder and ending."""
        return Path(self.source).name.split(".")[0] or "gatewise"


def tables_of(plan: Plan, settings: Settings) -> dict[str, dict[str, Any]]:
    """Return what `run.toml` says of a run: enough for `plan_of` to repeat it."""
    import platform

    import torch

    from gatewise.version import __version__

    file = Path(plan.source)
    is_file = file.is_file()
    return {
        "run": {
            "gatewise": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "seed": plan.seed,
            "validation": plan.validation,
            "device": plan.device,
            "precision": plan.precision,
            "model": plan.model,
        },
        "data": {
            "source": str(file.resolve()) if is_file else plan.source,
            "sha256": digest(file) if is_file else None,
        },
        "reading": plan.reading,
        "settings": asdict(settings),
    }


def plan_of(path: Path, source: str | None) -> Plan:
    """Return the plan of a `run.toml`, for its own data or for the same data at another place.

    Raises `InputError` if the file is none, if the data are gone, or if they are other data now.
    """
    tables = read_run(path)
    try:
        run, data, settings = tables["run"], tables["data"], tables["settings"]
        plan = Plan(
            source=str(data["source"]) if source is None else source,
            reading=tables.get("reading", {}),
            settings={name.name: settings[name.name] for name in fields(Settings)},
            validation=run["validation"],
            seed=run["seed"],
            device=run["device"],
            precision=run["precision"],
            model=run.get("model"),
        )
    except KeyError as error:
        raise InputError(
            f"{path} lacks {error}. Give the run.toml as `gatewise train` wrote it."
        ) from error
    if "sha256" in data:
        _require_same(Path(plan.source), data["sha256"])
    return plan


def _require_same(file: Path, expected: str) -> None:
    if not file.is_file():
        raise InputError(
            f"The run was trained on {file}, which does not exist. Name its new place: "
            f"gatewise train FILE --repeat run.toml."
        )
    if digest(file) != expected:
        raise InputError(
            f"{file} has changed since the run, so the run cannot be repeated. Train anew: "
            f"gatewise train {file}."
        )
