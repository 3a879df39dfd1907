"""The report opened in a real headless browser: nothing asked for, nothing hidden, nothing too wide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.figures import FIGURES
from analysis.report import write_report
from tests.analysis.conftest import plant_run, study_rows

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
    return write_report(plant_run(tmp_path_factory.mktemp("browser") / "planted", study_rows()))


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
    assert page.locator("h1").inner_text() == "Where are gradients stable?"
    assert messages == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    page.close()
