"""The report opened in a real headless browser: nothing asked for, nothing hidden, nothing too wide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gradatlas.analysis.figures.registry import FIGURES
from gradatlas.analysis.report import write_report
from tests.analysis.conftest import plant_run, rich_rows

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
MARKS = "#explorer g.mark-symbol.role-mark.concat_0_marks path, #explorer g[class*=view_].mark-symbol path"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no Chromium at {CHROMIUM}"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(plant_run(tmp_path_factory.mktemp("browser") / "planted", rich_rows()))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_report_opens(browser: Any, html: Path, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    messages, requests = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(html.as_uri())
    images = page.locator("figure img")
    assert images.count() == len(FIGURES)
    for place in range(images.count()):
        image = images.nth(place)
        image.scroll_into_view_if_needed()
        assert image.is_visible()
        assert image.evaluate("i => i.complete && i.naturalWidth > 300 && i.naturalHeight > 100")
        assert image.get_attribute("alt")
        # Text of the narrow layout is drawn at 8 points: it must not be scaled down by much.
        assert image.evaluate("i => i.getBoundingClientRect().width / i.naturalWidth") > 0.85
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.wait_for_selector(MARKS, state="attached")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h1").inner_text() == "Where are gradients stable?"
    assert messages == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    page.close()


@pytest.fixture
def explorer(browser: Any, html: Path) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1280, "height": 844})
    page.goto(html.as_uri())
    page.wait_for_selector(MARKS, state="attached")
    page.locator("#explorer").scroll_into_view_if_needed()
    yield page
    page.close()


def test_hovering_over_a_trial_tells_its_settings_and_draws_its_profile(explorer: Any) -> None:
    line = "#explorer g.mark-line.role-mark path"
    before = explorer.locator(line).first.get_attribute("d")
    # A trial at the left edge is shallow; the one that is shown first is among the deepest.
    boxes = [mark.bounding_box() for mark in explorer.locator(MARKS).all()[:60]]
    box = min(boxes, key=lambda found: found["x"])
    explorer.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    told = explorer.locator("#vg-tooltip-element")
    told.wait_for(state="visible")
    text = told.inner_text()
    assert all(word in text for word in ("trial", "regime", "outcome", "activation", "σ_w"))
    assert "undefined" not in text
    explorer.wait_for_function(
        "([line, before]) => document.querySelector(line)?.getAttribute('d') !== before", arg=[line, before]
    )


def test_a_filter_leaves_the_trials_of_one_activation(explorer: Any) -> None:
    marks = explorer.locator(MARKS)
    every = marks.count()
    explorer.locator("#filters select[name=only_activation]").select_option("tanh")
    explorer.wait_for_function(
        "([marks, every]) => document.querySelectorAll(marks).length < every", arg=[MARKS, every]
    )
    assert marks.count() == sum(planted["activation"] == "tanh" for planted in rich_rows())


def test_a_click_on_a_column_sorts_the_table(explorer: Any) -> None:
    head = explorer.locator("#shares thead th").nth(1)
    head.click()
    cells = [int(cell.inner_text()) for cell in explorer.locator("#shares tbody tr td:nth-child(2)").all()]
    assert cells == sorted(cells)
    head.click()
    again = [int(cell.inner_text()) for cell in explorer.locator("#shares tbody tr td:nth-child(2)").all()]
    assert again == cells[::-1]
