"""Draw the picture of a report that the README shows: `python tools/picture_of_report.py OUT.png`.

Trains on the bundled Japanese Vowels for a few epochs, opens the page that the run leaves in the
system's Chromium, points at a step, and saves the first sections. Needs `gatewise[report]`,
playwright and `chromium`.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

SHOWN = ("good", "shared")
WIDTH = 1120
COLOURS = 128


def main() -> None:
    """Write the picture to the path given."""
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/picture_of_report.py OUT.png")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [shutil.which("gatewise") or "gatewise", "train", "japanese-vowels"]
        subprocess.run([*command, "--epochs", "12", "--out", run], check=True)
        picture = photograph(run / "report.html")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(sys.argv[1], optimize=True)


def photograph(page_file: Path) -> Image.Image:
    """Return the chosen sections, with a step of the unrolled network pointed at."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        flags = ["--headless", "--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.goto(page_file.as_uri())
        others = "".join(f":not(#{name})" for name in SHOWN)
        page.add_style_tag(content=f"nav, footer, section{others} {{ display: none }}")
        page.locator(".step").nth(9).hover()
        shot = page.screenshot(full_page=True)
        browser.close()
    return Image.open(io.BytesIO(shot)).convert("RGB")


if __name__ == "__main__":
    main()
