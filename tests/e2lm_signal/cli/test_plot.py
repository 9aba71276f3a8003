import re

import numpy as np
import pandas as pd
import pytest

from e2lm.command_line import main
from e2lm_signal.cli.plot import curve_chart
from e2lm_signal.curves import curve_of_values
from e2lm_signal.messages import say
from tests.pseudo_language import pseudo_language, words_outside


@pytest.fixture
def scores_csv(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        (series, step, task, "acc", 0.25 + 0.01 * gain * step + 0.01 * rng.normal(), 500)
        for series, gain in (("a", 1), ("b", 2))
        for task in ("arc", "piqa")
        for step in range(1, 11)
    ]
    path = tmp_path / "scores.csv"
    pd.DataFrame(rows, columns=["series", "step", "task", "metric", "value", "n"]).to_csv(path, index=False)
    return path


def test_the_page_holds_all_charts_and_asks_for_nothing_from_outside(scores_csv, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["signal", "plot", str(scores_csv), "--out", str(out), "--chance", "arc=0.25"]) == 0
    page = out.read_text()
    assert page.count("<svg") == 4
    for shown in (
        "arc: acc",
        "piqa: acc",
        "Ordering over time",
        "Signal-to-noise against early decisions",
        "null band",
    ):
        assert shown in page
    outside = re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!#)[^\s\"'>)]+", page)
    assert outside == []
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_the_same_scores_give_the_same_bytes_in_both_formats(scores_csv, tmp_path):
    pytest.importorskip("matplotlib")
    for suffix in (".html", ".png"):
        contents = []
        for name in ("one", "two"):
            out = tmp_path / (name + suffix)
            assert main(["signal", "plot", str(scores_csv), "--out", str(out)]) == 0
            contents.append(out.read_bytes())
        assert contents[0] == contents[1]
    assert contents[0].startswith(b"\x89PNG")


def test_a_dry_run_writes_nothing_and_a_wrong_suffix_is_told(scores_csv, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["signal", "plot", str(scores_csv), "--out", str(out), "--dry-run"]) == 0
    assert not out.exists()
    assert main(["signal", "plot", str(scores_csv), "--out", str(tmp_path / "page.pdf")]) == 2
    assert ".html and .png" in capsys.readouterr().err


def test_bands_are_90_percent_intervals_from_the_items():
    values = np.array([0.25, 0.4, 0.5])
    _, line = curve_chart([curve_of_values(values, n_items_K=np.full(3, 100))]).lines
    half = 1.6448536 * np.sqrt(values * (1 - values) / 100)
    assert line.low == pytest.approx(values - half)
    assert line.high == pytest.approx(values + half)


@pytest.mark.parametrize(("items", "half"), [(10_000, 0.03 / np.sqrt(1.5)), (25, 0.1)])
def test_the_band_of_a_model_that_learns_nothing_is_the_larger_of_item_noise_and_noise_between_checkpoints(items, half):
    jagged = curve_of_values(0.5 + 0.015 * np.array([-1.0, 1.0] * 6), n_items_K=np.full(12, items), chance=0.25)
    null, _ = curve_chart([jagged]).lines
    assert null.low == pytest.approx([0.25 - 1.6448536 * half] * 2, abs=1e-3)
    assert null.high == pytest.approx([0.25 + 1.6448536 * half] * 2, abs=1e-3)


def test_what_a_chart_leaves_out_is_said(tmp_path):
    rows = [
        (f"s{series}", step, f"task{task}", "acc", 0.25 + 0.01 * series * step, 500)
        for series in range(14)
        for task in range(13)
        for step in range(1, 5)
    ]
    path = tmp_path / "scores.csv"
    pd.DataFrame(rows, columns=["series", "step", "task", "metric", "value", "n"]).to_csv(path, index=False)
    out = tmp_path / "page.html"
    assert main(["signal", "plot", str(path), "--out", str(out)]) == 0
    page = out.read_text()
    assert "Ordering over time (1 not shown)" in page
    assert page.count("acc (2 series not shown)</text>") == 13


def test_every_sentence_of_the_page_comes_from_the_catalogue(scores_csv, tmp_path):
    out = tmp_path / "page.html"
    with pseudo_language(say):
        assert main(["signal", "plot", str(scores_csv), "--out", str(out), "--chance", "arc=0.25"]) == 0
    assert words_outside(out.read_text(encoding="utf-8")) - {"arc", "piqa", "acc"} == set()
