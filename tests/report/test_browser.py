"""The page in a real Chromium: quiet, self-contained, usable by mouse and keyboard, and true."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gatewise.inspect.layout import number
from gatewise.report import Confusion, Report

LIGHT, DARK = "light", "dark"


class Opened:
    """A page with everything that it said and asked for."""

    def __init__(self, browser: Any, path: Path, width: int = 1200, scheme: str = LIGHT) -> None:
        # A context is a fresh profile of its own.
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())


@pytest.fixture(scope="module")
def opened(chromium: Any, page: Path) -> Iterator[Opened]:
    found = Opened(chromium, page)
    yield found
    found.context.close()


def test_it_is_quiet_and_asks_for_nothing(opened: Opened, page: Path) -> None:
    for choice in opened.page.locator("select").all():
        if choice.is_visible():
            choice.select_option(index=1)
            choice.select_option(index=0)
    opened.page.wait_for_timeout(200)
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith("data:")] == [page.as_uri()]


def test_names_from_data_stay_text(opened: Opened) -> None:
    page = opened.page
    assert page.locator("h1").inner_text() == "<script>alert(1)</script>"
    assert page.title().startswith("<script>alert(1)</script>")
    assert page.locator("script:not([type])").count() == 1
    assert page.locator("img:not([src^='data:'])").count() == 0
    labels = page.locator(".confusion tbody th").all_inner_texts()
    assert labels == ["<script>alert(1)</script>", "b & \"b\" 'c' {{ 7 * 7 }}"]
    series = page.locator("#series-choice option").first.inner_text()
    assert series.startswith("<script>alert(1)</script> 0")
    assert "<img src=x onerror=alert(1)>" in page.locator(".facts").inner_text()
    assert "alert(1)" in page.locator("#settings").inner_text()


def test_the_numbers_are_those_that_were_measured(opened: Opened, report: Report) -> None:
    page = opened.page
    own = page.locator(".figures .own td").all_inner_texts()
    assert own == [f"{value:.4g}" for value in report.figures["this model"].values()]
    assert isinstance(report.outcome, Confusion)
    cells = page.locator(".confusion tbody td").all_inner_texts()
    counts = [0 if cell == "·" else int(cell) for cell in cells]
    np.testing.assert_array_equal(np.reshape(counts, (2, 2)), report.outcome.counts)
    totals = page.locator(".ledger tfoot td").all_inner_texts()
    assert totals == [f"{report.ledger.count:,}", f"{report.ledger.trainable_count:,}"]
    for one, diagram in zip(report.sharing.sets, page.locator(".unrolled").all(), strict=True):
        values = diagram.locator(".value").all_text_contents()
        assert values == [number(float(total)) for total in one.uses[0].totals]
        heights = [float(part.get_attribute("height")) for part in diagram.locator(".part").all()]
        totals = one.uses[0].totals
        np.testing.assert_allclose(heights, 92 * totals / totals.max(), atol=0.01)
    rows = page.locator("#flow tbody tr").all()
    for row, flow in zip(rows, report.flow.sets, strict=True):
        cells = row.locator("td").all_inner_texts()
        assert cells[0] == flow.verdict and cells[-1] == str(flow.suggested_k2)
        assert cells[1] == number(flow.half_life)


def shown_norms(page: Any) -> list[list[str]]:
    rows = page.locator(".unrolled:visible .detail tbody tr").all()
    return [row.locator("td").all_inner_texts() for row in rows]


def measured_norms(report: Report, at: int, t: int) -> list[list[str]]:
    norms = report.sharing.sets[at].uses[0].norms
    gates = report.sharing.sets[at].gates
    return [[number(float(parts[gate][t])) for parts in norms.values()] for gate in gates]


def test_pointing_at_a_step_highlights_the_shared_weights_and_its_part(
    opened: Opened, report: Report
) -> None:
    page = opened.page
    diagram = page.locator(".unrolled:visible")
    page.mouse.move(0, 0)
    assert diagram.locator(".shared.on").count() == 0
    for t in (1, 3):
        diagram.locator(".step").nth(t).hover()
        assert diagram.locator(".step.on").get_attribute("data-step") == str(t)
        assert diagram.locator(".shared.on").count() == 1
        assert diagram.locator(".reader").inner_text() == f"read by step t = {t}"
        assert f"Step t = {t} reads W, U, b" in diagram.locator(".detail").inner_text()
        assert shown_norms(page) == measured_norms(report, 0, t)
    page.locator("h1").hover()
    assert diagram.locator(".shared.on").count() == 0
    page.locator("#diagram-choice").select_option(index=2)
    assert page.locator(".unrolled:visible").count() == 1
    page.locator(".unrolled:visible .step").nth(2).hover()
    assert shown_norms(page) == measured_norms(report, 2, 2)
    page.locator("#diagram-choice").select_option(index=0)


def test_the_keyboard_does_what_the_mouse_does(opened: Opened, report: Report) -> None:
    page = opened.page
    page.locator("#diagram-choice").focus()
    for _ in range(3):  # past the box that scrolls, if the browser stops there
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('step')"):
            break
    diagram = page.locator(".unrolled:visible")
    steps = diagram.locator(".step")
    first = int(diagram.locator(".step.on").get_attribute("data-step"))
    assert page.evaluate("document.activeElement.dataset.step") == str(first)
    assert diagram.locator(".shared.on").count() == 1
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert diagram.locator(".step.on").get_attribute("data-step") == "1"
    assert shown_norms(page) == measured_norms(report, 0, 1)
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    last = steps.count() - 1
    assert diagram.locator(".step.on").get_attribute("data-step") == str(last)
    assert steps.nth(last).get_attribute("aria-selected") == "true"
    assert steps.evaluate_all("all => all.filter(one => one.tabIndex === 0).length") == 1
    page.keyboard.press("Tab")
    assert diagram.locator(".shared.on").count() == 0
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.dataset.step") == str(last)


def test_the_gates_are_those_of_the_chosen_series(opened: Opened, report: Report) -> None:
    page = opened.page
    for at, chosen in enumerate(report.chosen):
        page.locator("#series-choice").select_option(index=at)
        [panel] = page.locator(".series:visible").all()
        assert chosen.name in panel.inner_text()
        assert panel.locator("img").count() == 6 + 6 + 4
        first = panel.locator("figure").first
        real = report.shown.sets[0].real[at]
        mean = report.shown.sets[0].signals["i"].values[at][real].mean()
        assert f"mean {number(float(mean))}" in first.inner_text()
        size = first.locator("img").evaluate("one => [one.naturalWidth, one.naturalHeight]")
        assert size == [chosen.steps, 5]


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_it_fits_a_phone_and_is_readable_in_the_dark(
    chromium: Any, page: Path, scheme: str
) -> None:
    found = Opened(chromium, page, width=360, scheme=scheme)
    wide = found.page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide[0] <= wide[1]
    luminance = """(selector) => {
        const one = document.querySelector(selector);
        const style = getComputedStyle(one);
        const light = (colour) => {
            const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((c) => {
                c /= 255;
                return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const section = getComputedStyle(one.closest('section'));
        return [light(style.color), light(section.backgroundColor)];
    }"""
    for selector in (
        "#good p",
        "#shared .answer",
        ".detail th",
        "#good .figures .own td",
        ".small",
    ):
        ink, paper = found.page.evaluate(luminance, selector)
        assert (ink > paper) == (scheme == DARK)
        contrast = (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05)
        assert contrast > 4.5, selector
    # A chart's own text is in the page's ink.
    fill = found.page.evaluate("getComputedStyle(document.querySelector('.chart text')).fill")
    assert fill == found.page.evaluate("getComputedStyle(document.querySelector('#flow')).color")
    assert found.said == []
    found.context.close()
