"""`gatewise report`, and the page that `train` leaves in the folder of a run."""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

from gatewise.cli import report as module


def test_the_page_can_be_made_again_from_the_folder(trained, gatewise, tmp_path: Path) -> None:
    out = tmp_path / "again.html"
    result = gatewise("report", trained, "-o", out)
    assert (result.exit_code, result.stdout) == (0, f"The report is in {out}.\n"), result.output
    assert out.read_bytes() == (trained / "report.html").read_bytes()


def test_the_page_holds_the_figures_that_train_printed(
    train_sensors, gatewise, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = gatewise(*train_sensors, "--epochs", 2, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == f"The report is in {out / 'report.html'}."
    [line] = [line for line in result.stdout.splitlines() if line.startswith("  this model")]
    html = (out / "report.html").read_text()
    [own] = re.findall(r'<tr class="own">.*?</tr>', html)
    assert re.findall(r"<td>(.*?)</td>", own) == line.split()[2:]
    assert "sensors.csv" in html and "<dt>units</dt><dd>8</dd>" in html


def test_data_may_have_moved(trained, files, gatewise, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.csv"
    shutil.copy(files / "sensors.csv", moved)
    out = tmp_path / "moved.html"
    result = gatewise("report", trained, "--data", moved, "-o", out)
    assert result.exit_code == 0, result.output
    assert "elsewhere" in out.read_text()


def refused(result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


def test_wrong_input_gets_one_line(trained, files, gatewise, tmp_path: Path) -> None:
    refused(gatewise("report", tmp_path), "holds no run.toml", "gatewise train")
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    (copy / "history.csv").write_text("epoch,loss\n1,much\n")
    refused(gatewise("report", copy), "is no history.csv", "much")
    (copy / "history.csv").unlink()
    refused(gatewise("report", copy), "history.csv does not exist")
    (copy / "model.safetensors").unlink()
    refused(gatewise("report", copy), "holds no model.safetensors")
    refused(gatewise("report", trained, "--data", files / "wave.csv"), "has changed")


def test_without_its_packages_train_says_how_to_get_the_page(
    train_sensors, gatewise, tmp_path: Path, monkeypatch
) -> None:
    def without(name: str):
        return None if name == "jinja2" else find_spec(name)

    monkeypatch.setattr(module.importlib.util, "find_spec", without)
    out = tmp_path / "run"
    result = gatewise(*train_sensors, "--epochs", 1, "--out", out)
    assert result.exit_code == 0, result.output
    assert "for lack of jinja2: pip install 'gatewise[report]'" in result.stdout
    assert not (out / "report.html").exists()


def test_a_model_that_cannot_be_measured_is_saved_all_the_same(
    files, gatewise, tmp_path: Path
) -> None:
    (tmp_path / "flat.py").write_text(
        "from gatewise.layers import Dense, GlobalAveragePooling1D\n"
        "from gatewise.models import Sequential\n"
        "def flat(features, outputs):\n"
        "    pooled = GlobalAveragePooling1D(input_shape=(None, features))\n"
        "    return Sequential([pooled, Dense(outputs, activation='softmax')])\n"
    )
    out = tmp_path / "run"
    source = [files / "sensors.csv", "--series", "device", "--time", "second"]
    given = ["--target", "state", "--model", f"{tmp_path / 'flat.py'}:flat", "--epochs", 1]
    result = gatewise("train", *source, *given, "--out", out)
    assert result.exit_code == 0, result.output
    assert "No page was made: Sequential holds no recurrent layer" in result.stdout
    assert (out / "model.safetensors").exists()
