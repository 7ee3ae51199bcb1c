"""Without Keras, or on another backend, the import says what to do."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from gatewise.errors import UnsupportedError
from gatewise.keras import requirements


def _look_again() -> None:
    spec = importlib.util.spec_from_file_location("requirements_again", requirements.__file__)
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def _pretend(monkeypatch: pytest.MonkeyPatch, version: str, backend: str) -> None:
    module = ModuleType("keras")
    module.__version__ = version  # type: ignore[attr-defined]
    module.config = SimpleNamespace(backend=lambda: backend)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keras", module)


def test_without_keras(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'gatewise\[keras\]'"):
        _look_again()


def test_on_a_backend_that_is_not_installed(monkeypatch, tmp_path) -> None:
    (tmp_path / "keras.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keras")
    with pytest.raises(ModuleNotFoundError, match=r"surely_not_installed.*KERAS_BACKEND=torch"):
        _look_again()


def test_on_another_backend(monkeypatch) -> None:
    _pretend(monkeypatch, "3.11.0", "jax")
    with pytest.raises(UnsupportedError, match=r"runs on 'jax'\. Set .* KERAS_BACKEND=torch"):
        _look_again()


def test_on_keras_2(monkeypatch) -> None:
    _pretend(monkeypatch, "2.15.0", "tensorflow")
    with pytest.raises(UnsupportedError, match=r"found Keras 2\.15\.0"):
        _look_again()


def test_importing_gatewise_does_not_import_keras() -> None:
    program = "import sys, gatewise; assert not {'keras', 'gatewise.keras'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
