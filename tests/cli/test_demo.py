"""`gatewise demo`: both halves run through, in a terminal's width and without one."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gatewise.models import load_model

COMMAND = [
    sys.executable,
    "-W",
    "error",
    "-c",
    "from gatewise.cli.main import main; main()",
    "demo",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What a quick demo prints into a file, and the folder it ran in."""
    folder = tmp_path_factory.mktemp("demo")
    command = [*COMMAND, "--quick", "--text", "and he said unto them"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout, folder


def test_prints_plain_lines_of_eighty_columns(finished):
    output, _ = finished
    assert "\x1b" not in output
    assert "\r" not in output
    lines = [line for line in output.splitlines() if not line.startswith("Epoch ")]
    assert [line for line in lines if len(line) > 80] == []


def test_shows_data_counts_accuracy_and_both_answers(finished):
    output, _ = finished
    assert "18,000 for training, 2,000 for the test; public domain." in output
    assert "270 for training, 370 for the test; CC BY 4.0." in output
    assert "4·(128·100 + 128·128) + 4·128 = 117,248" in output
    assert "1,117,377" in output
    found = re.findall(r"Test accuracy (0\.\d{3}); always saying '(.+)' gives (0\.\d{3})\.", output)
    assert [(label, majority) for _, label, majority in found] == [
        ("scripture", "0.500"),
        ("speaker 1", "0.084"),
    ]
    assert output.count("Trained by backpropagation? Yes") == 2
    assert output.count("Shared by the time steps? Yes") == 2


def test_answers_the_question_with_a_probability(finished):
    output, _ = finished
    answer = re.search(
        r'"and he said unto them": (scripture|shakespeare), probability (.+)', output
    )
    assert answer
    assert 0.5 <= float(answer[2]) <= 1
    asked = re.findall(r"a test series of speaker (\d): speaker \d, probability 0\.\d+", output)
    assert asked == [str(speaker) for speaker in range(1, 10)]


def test_the_models_are_where_it_says(finished):
    _, folder = finished
    text_model = load_model(folder / "gatewise-demo/verse-or-scripture.safetensors")
    assert text_model.labels == ["scripture", "shakespeare"]
    assert text_model.count_params() == 1_117_377
    assert len(text_model.preprocessing) == 10_000
    series_model = load_model(folder / "gatewise-demo/japanese-vowels.safetensors")
    assert series_model.labels == [f"speaker {number}" for number in range(1, 10)]


def test_a_file_in_the_way_of_the_folder(tmp_path: Path):
    (tmp_path / "taken").write_text("")
    done = subprocess.run(
        [*COMMAND, "--out", "taken"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2
    assert (
        done.stderr == "Error: --out taken is a file. Name a folder; it is made if it is missing.\n"
    )


def test_ctrl_c_leaves_a_usable_model_and_says_where(tmp_path: Path):
    process = subprocess.Popen(
        [*COMMAND, "--out", "kept"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    # The first epoch is over, and the second takes seconds.
    for line in process.stdout:
        if line.startswith("Epoch 1/2"):
            break
    try:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert errors.strip().startswith(
        "Interrupted. The model as trained so far is in kept/verse-or-"
    )
    assert load_model(tmp_path / "kept/verse-or-scripture.safetensors").built
