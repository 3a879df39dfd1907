"""The report of planted runs, odd ones included, and of broken ones."""

from __future__ import annotations

import html
import logging
import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from gradatlas.analysis.figures import registry
from gradatlas.analysis.figures.registry import FIGURES
from gradatlas.analysis.report import NoResultsError, write_report
from tests.analysis.conftest import Plant, plant_run, rich_rows, row, study_rows
from tests.analysis.reading.test_tables import damage, truncate

ODD = {
    "one trial": [row(0)],
    "one activation": [planted for planted in study_rows() if planted["activation"] == "tanh"],
    "one depth": [planted | {"depth": 10} for planted in study_rows()],
    "one weight scale": [planted | {"sigma_w": 1.0} for planted in study_rows(points=40)],
    "no training": [
        planted | {"outcome": None, "steps": 0, "final_loss": None} for planted in study_rows(points=40)
    ],
    "all diverged": [planted | {"outcome": "diverged"} for planted in study_rows(points=40)],
    "all failed": [
        planted
        | dict.fromkeys(["gradient_decades", "gradient_profile", "final_loss"])
        | {"outcome": "failed", "failure": "out of memory"}
        for planted in study_rows(points=40)
    ],
    "null profiles": [planted | {"gradient_profile": None} for planted in study_rows(points=40)],
    "zero gradients": [
        row(n, activation="relu", gradient_decades=-math.inf, gradient_profile=[-math.inf] * 9 + [0.0])
        for n in range(20)
    ],
    "no clipping": [planted | {"clip_norm": None} for planted in study_rows(points=40)],
    "weight scale zero": [row(n, weight_gain=0.0, gradient_decades=-math.inf) for n in range(9)],
}


FEW = {name: FIGURES[name] for name in ("regime_map", "gradient_profiles", "outcome_map", "clipping")}


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four figures, drawn in this process: what else a report holds does not depend on the rest."""
    monkeypatch.setattr(registry, "FIGURES", FEW)
    monkeypatch.setattr("os.cpu_count", lambda: 1)


@pytest.fixture
def planted(plant: Plant) -> Path:
    return plant(study_rows(points=60))


@pytest.fixture(scope="module")
def odd_report(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The text of the report of an odd run, made once."""

    @cache
    def text(name: str) -> str:
        run = plant_run(tmp_path_factory.mktemp("odd") / "planted", ODD[name])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(registry, "FIGURES", FEW)
            return write_report(run, workers=1).read_text(encoding="utf-8")

    return text


def test_the_pictures_in_the_report_are_whole_files(odd_report: Callable[[str], str]) -> None:
    text = odd_report("no clipping")
    found = re.findall(r'(?:src|srcset)="data:image/svg\+xml;charset=utf-8,([^"]*)"', text)
    assert len(found) >= 4
    for picture in found:
        assert ElementTree.fromstring(unquote(html.unescape(picture))).tag.endswith("svg")


@pytest.mark.thorough
def test_the_report_answers_shows_every_figure_and_needs_nothing_but_itself(plant: Plant) -> None:
    run = plant(rich_rows())
    messages: list[str] = []
    html = write_report(run, on_progress=messages.append)
    text = html.read_text(encoding="utf-8")
    assert html == run / "report" / "report.html"
    assert "<h1>Where are gradients stable?</h1>" in text
    assert "In plain networks (no norm, no skip)" in text
    assert "<sub>w</sub>" in text
    assert all(f'<figure id="{name}">' in text for name in FIGURES)
    assert f"gradatlas run {run}/sweep.toml" in text
    assert "packages.torch" in text
    assert '<table id="areas"' in text
    assert '<table id="mitigations-table"' in text
    assert "Rule: yes if the whole interval of" in text
    files = {file.name for file in (run / "report" / "figures").iterdir()}
    assert files == {f"{name}.{suffix}" for name in FIGURES for suffix in ("svg", "png")}
    assert (messages[0], messages[-1]) == ("read 264 trials", f"wrote {html}")
    assert {f"drew {name.replace('_', ' ')}" for name in FIGURES} < set(messages)
    outside = re.sub(r"<script.*?</script>|data:image[^\"]*", "", text, flags=re.DOTALL)
    assert re.findall(r"https?://", outside) == []
    assert re.findall(r'(?:src|srcset|href)="[^"#]+"', outside.replace('href="data:,"', "")) == []
    assert len(text) < 8e6
    markdown = (run / "report" / "report.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((figures/[^)]+)\)", markdown)
    assert set(links) == {f"figures/{name}.svg" for name in FIGURES}
    assert all((run / "report" / link).exists() for link in links)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ODD)
def test_odd_runs_have_a_report(odd_report: Callable[[str], str], name: str) -> None:
    text = odd_report(name)
    assert "How often gradients are stable" in text
    shown = re.sub(r"<script.*?</script>|data:[^\"]*|alt=\"[^\"]*", "", text, flags=re.DOTALL)
    assert not re.search(r"\b(nan|None|inf)\b", shown)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no clipping", FIGURES["clipping"].absent),
        ("no training", FIGURES["outcome_map"].absent),
        ("null profiles", FIGURES["gradient_profiles"].absent),
        ("weight scale zero", FIGURES["regime_map"].absent),
    ],
)
def test_a_figure_without_data_is_left_out_with_the_reason(
    odd_report: Callable[[str], str], name: str, sentence: str
) -> None:
    assert sentence in odd_report(name)


@pytest.mark.usefixtures("few_figures")
def test_figures_of_an_earlier_report_do_not_stay(plant: Plant) -> None:
    run = plant(ODD["no clipping"])
    stale = run / "report" / "figures" / "clipping.svg"
    stale.parent.mkdir(parents=True)
    stale.write_text("old")
    write_report(run)
    assert not stale.exists()


def test_the_reasons_of_failed_trials_are_told(odd_report: Callable[[str], str]) -> None:
    assert "40 × out of memory" in odd_report("all failed")


@pytest.mark.usefixtures("few_figures")
def test_with_out_only_that_file_is_written(planted: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere" / "mail.html"
    assert write_report(planted, out) == out
    assert [file.name for file in out.parent.iterdir()] == ["mail.html"]
    assert not (planted / "report").exists()


@pytest.mark.usefixtures("few_figures")
def test_names_with_html_are_escaped(plant: Plant) -> None:
    evil = "<script>alert(1)</script>"
    rows = [planted | {"part": [evil, "b"][planted["trial"] % 2]} for planted in study_rows(points=60)]
    run = plant(rows, sweep=f'question = "Is {evil} stable?"\nname = "{evil}"\n', name="run & <i>co")
    text = write_report(run).read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text
    assert "<script>" not in (run / "report" / "report.md").read_text(encoding="utf-8").split("```")[0]
    assert "<i>co" not in text


@pytest.mark.usefixtures("few_figures")
def test_counts_of_an_unfinished_run_and_the_way_on(plant: Plant) -> None:
    rows = study_rows(points=30)
    run = plant(rows[:20], planned=rows)
    text = write_report(run).read_text(encoding="utf-8")
    cells = dict(re.findall(r'<th scope="row">([a-z ]+?)(?: <span>.*?</span>)?</th><td>([^<]*)</td>', text))
    assert (cells["planned trials"], cells["finished"], cells["missing"]) == ("30", "20", "10")
    assert f"gradatlas resume {run}" in text


@pytest.mark.thorough
@pytest.mark.usefixtures("few_figures")
@pytest.mark.parametrize("spoil", [truncate, damage])
def test_an_unreadable_file_is_named_and_the_rest_reported(
    plant: Plant, caplog: pytest.LogCaptureFixture, spoil
) -> None:
    run = plant(study_rows(points=60))
    spoil(run / "results" / "pack-1.parquet")
    with caplog.at_level(logging.WARNING, logger="gradatlas.analysis.report"):
        text = write_report(run).read_text(encoding="utf-8")
    assert "results/pack-1.parquet: not a whole Parquet file" in text
    assert "30 trials" in text
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert "results/pack-1.parquet" in warnings[0]


@pytest.mark.thorough
@pytest.mark.usefixtures("few_figures")
def test_a_truncated_plan_is_named_too(planted: Path) -> None:
    truncate(planted / "plans" / "plan-0.parquet")
    text = write_report(planted).read_text(encoding="utf-8")
    assert "plans/plan-0.parquet: not a whole Parquet file" in text
    assert "unknown (no readable plan)" in text


@pytest.mark.parametrize("files", [0, 1])
def test_a_run_with_no_results_is_refused_and_left_as_it_was(plant: Plant, files: int) -> None:
    run = plant([], files=files)
    with pytest.raises(NoResultsError, match="gradatlas resume"):
        write_report(run)
    assert not (run / "report").exists()
