"""A run that survives being killed: everything that the next step depends on, after each epoch.

The backup is one safetensors file, written beside the last one, flushed and moved into its place:
at any moment there is a whole one. It is data: nothing in it is executed.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from gatewise.errors import InputError, UnsupportedError
from gatewise.training.callbacks.callback import Callback, Logs

_FILE = "backup.safetensors"
_KEY = "gatewise_backup"


class BackupAndRestore(Callback):
    """Keeps a backup of the run in `backup_dir`, and goes on from it when `fit` is called again.

    A `fit` that was killed at any moment, by SIGKILL or by the power going out, and is started
    again by the same program ends with the same bits as one that was never killed: weights,
    optimizer, learning rate, the order of the batches, dropout masks, layers' own state, history.
    An epoch that was cut short is taken again from its beginning. What gatewise's other callbacks
    remember (the best value, how long they have waited) comes back, too. After the last
    epoch the backup is deleted, unless `delete_checkpoint` is False.

    Raises `InputError` if the backup is of another model, and `UnsupportedError` for what cannot
    be repeated: `steps_per_epoch` with data that goes on from one epoch to the next.

    >>> BackupAndRestore("backup").backup_dir
    'backup'
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        if save_freq != "epoch":
            raise UnsupportedError(
                f"save_freq={save_freq!r} is not offered: a backup is made after each epoch. For "
                "smaller pieces pass fewer samples an epoch."
            )
        self.backup_dir = os.fspath(backup_dir)
        self.delete_checkpoint = delete_checkpoint

    @property
    def path(self) -> Path:
        """The file of the backup."""
        return Path(self.backup_dir) / _FILE

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Go on from the backup, if there is one."""
        if self.params.get("repeats"):
            raise UnsupportedError(
                "BackupAndRestore cannot repeat an epoch whose data goes on where the last epoch's "
                "ended. Leave steps_per_epoch out."
            )
        if self.path.exists():
            self.model.resume_epoch = restore(self.model, self.path, self._others())

    def _others(self) -> list[Callback]:
        return self.params.get("callbacks", [])

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the backup."""
        history = self.model.history
        epochs = [*history.epoch, epoch]
        values = {name: list(found) for name, found in history.history.items()}
        for name, value in (logs or {}).items():
            values.setdefault(name, []).append(value)
        os.makedirs(self.backup_dir, exist_ok=True)
        tensors, description = captured(self.model, self._others())
        stopped = bool(self.model.stop_training)
        told = {"epoch": epoch, "epochs": epochs, "history": values, "stopped": stopped}
        _write(self.path, tensors, {**description, **told})

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Delete the backup: the run is complete."""
        if self.delete_checkpoint:
            self.path.unlink(missing_ok=True)


def captured(model: Any, callbacks: list[Callback]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return all that the next step depends on, as tensors and as plain data."""
    tensors = {f"weight/{name}": weight for name, weight in model.named_parameters()}
    # Also those that no model file keeps: how many dropout masks were drawn, what layers remember.
    tensors |= {f"buffer/{name}": buffer for name, buffer in model.named_buffers()}
    optimizer = model.optimizer
    remembered: dict[str, dict[str, Any]] = {}
    for name, weight in model.named_parameters():
        for key, value in optimizer.state.get(weight, {}).items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{name}/{key}"] = value
            else:
                remembered.setdefault(name, {})[key] = value
    groups = [
        {key: value for key, value in group.items() if key not in ("params", "param_names")}
        for group in optimizer.param_groups
    ]
    attributes: list[dict[str, Any]] = []
    for place, callback in enumerate(callbacks):
        attributes.append({})
        for name in callback.remembers:
            value = getattr(callback, name)
            if isinstance(value, dict):
                tensors |= {f"callback/{place}/{name}/{key}": one for key, one in value.items()}
            else:
                attributes[-1][name] = value
    tensors["random/torch"] = torch.get_rng_state()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        for place, state in enumerate(torch.cuda.get_rng_state_all()):
            tensors[f"random/cuda/{place}"] = state
    kind, keys, *rest = np.random.get_state()
    tensors["random/numpy"] = torch.from_numpy(np.asarray(keys).astype(np.int64))
    description = {
        "remembered": remembered,
        "groups": groups,
        "callbacks": attributes,
        "numpy": [kind, *rest],
        "python": random.getstate(),
    }
    return tensors, description


def restore(model: Any, path: Path, callbacks: list[Callback]) -> int:
    """Bring the model and the generators to where a backup was made; return the next epoch."""
    with safe_open(path, framework="pt") as file:
        description = json.loads((file.metadata() or {})[_KEY])
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    weights = dict(model.named_parameters())
    expected = {f"weight/{name}": tuple(weight.shape) for name, weight in weights.items()}
    found = {k: tuple(v.shape) for k, v in stored.items() if k.startswith("weight/")}
    if expected != found:
        raise InputError(
            f"{path} is the backup of another model: its weights are {sorted(found)}. Delete it, "
            "or give this run a backup_dir of its own."
        )
    optimizer = model.optimizer
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(stored[f"weight/{name}"])
    for name, value in stored.items():
        kind, _, rest = name.partition("/")
        if kind == "buffer":
            owner, _, attribute = rest.rpartition(".")
            setattr(model.get_submodule(owner), attribute, value.to(model.device))
        elif kind == "optimizer":
            owner, _, key = rest.rpartition("/")
            device = value.device if key == "step" else weights[owner].device
            optimizer.state[weights[owner]][key] = value.to(device)
    for name, values in description["remembered"].items():
        optimizer.state[weights[name]].update(values)
    for group, values in zip(optimizer.param_groups, description["groups"], strict=True):
        group.update(values)
    for callback, values in zip(callbacks, description["callbacks"], strict=False):
        for name in callback.remembers:
            if name in values:
                setattr(callback, name, values[name])
    for name, value in stored.items():
        if name.startswith("callback/"):
            _, place, attribute, key = name.split("/", 3)
            callback = callbacks[int(place)]
            setattr(callback, attribute, {**(getattr(callback, attribute) or {}), key: value})
    _restore_generators(stored, description)
    model.history.epoch[:] = description["epochs"]
    model.history.history.update(description["history"])
    if description["stopped"]:
        model.stop_training = True
    return description["epoch"] + 1


def _restore_generators(stored: dict[str, Tensor], description: dict[str, Any]) -> None:
    torch.set_rng_state(stored["random/torch"])
    for name, state in stored.items():
        if name.startswith("random/cuda/") and torch.cuda.is_available():
            torch.cuda.set_rng_state(state, int(name.rpartition("/")[2]))
    kind, *rest = description["numpy"]
    np.random.set_state((kind, stored["random/numpy"].numpy().astype(np.uint32), *rest))
    version, keys, gauss = description["python"]
    random.setstate((version, tuple(keys), gauss))


def _write(path: Path, tensors: dict[str, Tensor], description: dict[str, Any]) -> None:
    contents = save(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
        metadata={_KEY: json.dumps(description)},
    )
    beside = path.with_suffix(".writing")
    with open(beside, "wb") as file:
        file.write(contents)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
