from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from e2lm.command_line import main
from e2lm_scaling.messages import say
from tests.pseudo_language import pseudo_language, words_outside


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Small runs, and the checkpoints of a large one that is on its way."""
    rng = np.random.default_rng(0)
    rows = [(f"small-{n:.0f}-{ratio}", n, ratio * n) for n in (6e7, 2e8, 6e8, 1.2e9) for ratio in (20, 60)]
    rows += [("large", 7e9, tokens) for tokens in (1e11, 2e11, 4e11)]
    frame = pd.DataFrame(rows, columns=["run", "params", "tokens"])
    loss = 1.72 + 420 / frame["params"] ** 0.34 + 1500 / frame["tokens"] ** 0.355
    path = tmp_path_factory.mktemp("page") / "runs.csv"
    frame.assign(loss=loss * np.exp(0.003 * rng.normal(size=len(frame)))).to_csv(path, index=False)
    return path


def decide(runs: Path, *more: object) -> int:
    return main(
        [
            "predict", "decide", "--data", str(runs), "--columns", "N=params,D=tokens,L=loss,S=run",
            "--budget-gpu-hours", "50000", "--cost-per-gpu-hour", "2.5", "--model", "chinchilla-tied",
            *map(str, more),
        ]
    )  # fmt: skip


def test_the_page_recommends_in_stages_with_a_fan_and_says_what_would_change_it(runs, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert decide(runs, "--value-per-point", 50000, "--currency", "EUR", "--gpus", 256, "--page", page) == 0
    text = page.read_text(encoding="utf-8")
    shown = unescape(re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL))
    for said in ("Recommendation:", "1. proof of concept", "2. limited", "3. full", "What would change this", "EUR"):
        assert said in shown
    assert len(re.findall(r"when the loss is at most \d\.\d{4} after [\d.]+ (b|tr)illion tokens", shown)) == 2
    assert "days of training" in shown
    assert text.count("<svg") == 1
    assert not re.search(r"\de[+-]?\d", shown), "numbers as computers write them"
    assert not re.search(r"backtest|calibrat|residual|quantile|FLOP|continue-half|move-to", shown), "jargon"
    assert "what it costs to be wrong" in shown.lower()


def test_where_stopping_is_best_the_page_says_so_and_no_loss_need_pay(runs, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert decide(runs, "--value-per-point", 1, "--page", page) == 0
    text = page.read_text(encoding="utf-8")
    assert "Recommendation: stop here." in text
    assert "never: no loss would earn the cost" in text


def test_every_word_of_the_page_comes_from_the_catalogue(runs, tmp_path, capsys):
    page = tmp_path / "page.html"
    with pseudo_language(say):
        assert decide(runs, "--value-per-point", 50000, "--inference-tokens", 1e11, "--gpus", 8, "--page", page) == 0
    assert words_outside(page.read_text(encoding="utf-8")) <= {"runs", "csv", "chinchilla", "tied"}


def test_a_page_is_written_only_where_it_was_asked_for_and_ends_in_html(runs, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert decide(runs, "--value-per-point", 50000, "--page", page, "--dry-run", "--json") == 0
    captured = capsys.readouterr()
    assert f"would write {page}" in captured.err
    assert not page.exists()
    options = {one["name"]: one for one in json.loads(captured.out)["options"]}
    assert options["continue"]["training_flops"] == pytest.approx(50000 * 989e12 * 0.4 * 3600)
    assert options["stop"]["training_flops"] == 0
    assert options["continue"]["days"] is None
    assert decide(runs, "--value-per-point", 50000, "--page", tmp_path / "page.pdf") == 2
    assert ".html" in capsys.readouterr().err
