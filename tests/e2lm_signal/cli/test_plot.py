import re

import numpy as np
import pandas as pd
import pytest

from e2lm.chart import svg
from e2lm.command_line import main
from e2lm_signal.cli.plot import curve_chart, decision_chart
from e2lm_signal.comparison import Contender
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


@pytest.fixture
def many_tasks(tmp_path):
    """26 tasks: two at the end of the alphabet order four runs rightly from the start, the others by chance."""
    rng = np.random.default_rng(0)
    rows = [
        (f"m{run}", step * 100, task, "acc",
         0.25 + (0.02 * step + 0.01 * run * step if task.startswith("z") else 0.01 * rng.normal()))
        for task in [f"a{index:02d}" for index in range(24)] + ["z1", "z2"]
        for run in range(4)
        for step in range(8)
    ]  # fmt: skip
    path = tmp_path / "many.csv"
    pd.DataFrame(rows, columns=["series", "step", "task", "metric", "value"]).to_csv(path, index=False)
    return path


def page_of(path, tmp_path):
    out = tmp_path / "page.html"
    assert main(["signal", "plot", str(path), "--out", str(out)]) == 0
    return out.read_text(encoding="utf-8")


def test_the_best_tasks_are_drawn_whatever_their_names_and_the_page_says_by_what(many_tasks, tmp_path, capsys):
    page = page_of(many_tasks, tmp_path)
    ordering = page[page.index("Ordering over time (") :].split("</svg>")[0]
    assert ">z1 acc</text>" in ordering
    assert ">z2 acc</text>" in ordering
    assert "with the best early decisions" in page
    assert "with the best early decisions" in capsys.readouterr().out
    assert max(page.index("z1: acc"), page.index("z2: acc")) < page.index("a02: acc")
    assert page.count("<svg") == 26
    drawn = set(re.findall(r">([az]\d+): acc</text>", page))
    left_out = page[page.index("Curves are drawn of the 24") :].split("</p>")[0]
    assert {f"{name} acc" in left_out for name in drawn} == {False}
    assert left_out.count(" acc") == 2


def test_every_point_of_decisions_carries_its_name_in_a_place_of_its_own(many_tasks, tmp_path):
    chart = page_of(many_tasks, tmp_path).split("</svg>")[0]
    names = re.findall(r'<text class="ink over" x="([\d.]+)" y="([\d.]+)">(\w+ acc)</text>', chart)
    assert len({name for *_, name in names}) == 26
    boxes = [(float(x), float(y), len(name) * 6.6) for x, y, name in names]
    for index, (x, y, wide) in enumerate(boxes):
        assert not any(abs(y - other_y) < 12 and x < other_x + w and other_x < x + wide
                       for other_x, other_y, w in boxes[index + 1 :])  # fmt: skip


def test_of_many_points_of_decisions_the_best_carry_names_that_do_not_cover_each_other():
    rng = np.random.default_rng(1)
    many = [
        Contender(f"task{index}", "acc", ("a", "b"), np.full((2, 2), value), snr=float(rng.lognormal()))
        for index, value in enumerate(np.round(rng.uniform(size=150), 1))
    ]
    chart = svg(decision_chart(many))
    names = re.findall(r'<text class="ink over" x="([\d.]+)" y="([\d.]+)">(\w+ acc)</text>', chart)
    assert 30 <= len(names) <= 40
    boxes = [(float(x), float(y), len(name) * 6.6) for x, y, name in names]
    assert not any(abs(y - v) < 12 and x < u + w and u < x + wide
                   for index, (x, y, wide) in enumerate(boxes) for u, v, w in boxes[index + 1 :])  # fmt: skip
    assert chart.count("<title>task") == 150


def test_a_pointer_reads_series_step_value_and_interval_without_a_script(scores_csv, tmp_path):
    page = page_of(scores_csv, tmp_path)
    assert re.search(r"<title>a, step 3: 0\.\d+ \[0\.\d+, 0\.\d+\]</title>", page)
    assert "<title>arc acc, step 1 (10%): " in page
    assert page.count("<script>") == 1


def test_names_in_legends_name_the_lines_that_the_script_hides(scores_csv, tmp_path):
    page = page_of(scores_csv, tmp_path)
    keys, lines = (set(re.findall(rf'data-{kind}="([^"]+)"', page)) for kind in ("key", "line"))
    assert keys == lines == {"a", "b", "arc acc", "piqa acc"}


def test_the_numbers_stand_in_tables_below_the_charts(scores_csv, tmp_path):
    below = page_of(scores_csv, tmp_path).split("<h2>Numbers</h2>")[1]
    assert below.count("<table>") == 2
    assert below.count("<tr>") == 1 + 2 + 1 + 4


def test_without_series_to_compare_the_first_tasks_are_drawn_and_it_is_said(many_tasks, tmp_path):
    single = pd.read_csv(many_tasks).query("series == 'm0'")
    single.to_csv(tmp_path / "single.csv", index=False)
    page = page_of(tmp_path / "single.csv", tmp_path)
    assert "of the first 24 task x metric, for early decisions cannot be compared here" in page
