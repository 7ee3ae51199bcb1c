"""`gatewise demo` in a terminal of 80 columns: a live bar, then whole lines."""

from __future__ import annotations

import os
import re
import struct
import sys
from pathlib import Path

import pytest

fcntl = pytest.importorskip("fcntl", reason="pseudo-terminals are a matter of Unix")
pty = pytest.importorskip("pty")
termios = pytest.importorskip("termios")


def _run_in_terminal(command: list[str], folder: Path) -> tuple[int, str]:
    """Return the exit code of a command and what it wrote to a terminal of 80 columns."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "80"}
        os.execv(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    written = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:
            break
        written += piece
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), written.decode()


# Python 3.12 warns of a fork beside other threads; this child does nothing but exec.
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_demo_in_a_terminal(tmp_path: Path):
    run = "from gatewise.cli.main import main; main()"
    code, written = _run_in_terminal([sys.executable, "-c", run, "demo", "--quick"], tmp_path)
    assert code == 0, written
    assert "\x1b[1m" in written  # bold headings
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written).replace("\r", "\n")
    assert re.search(r"Epoch 1/1 .* 1/3 .*loss: \d", plain)  # the bar, on its way
    final = re.findall(r"^Epoch 1/1 - .* - val_accuracy: \d\.\d{4}$", plain, flags=re.MULTILINE)
    assert len(final) == 2
