"""What a model finds out about its own scoring is in the run record, and a check asked for decides the exit."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from e2lm.run_record import RunRecord
from e2lm.samples import read_samples
from e2lm_adapters.eval.evaluator import _checks_of
from e2lm_adapters.eval.store import Unit
from e2lm_adapters.scoring.check import ScoringDifference
from e2lm_adapters.scoring.packed import PackedScorer
from tests.e2lm_adapters.conftest import STEPS, Run


def spoil(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared prefixes give something else than stock scoring."""
    score = PackedScorer.score

    def wrong(self: PackedScorer, *given: Any) -> Any:
        loglik, greedy = score(self, *given)
        return loglik - 0.01, greedy

    monkeypatch.setattr(PackedScorer, "score", wrong)


def logliks(out: Path) -> np.ndarray:
    return np.concatenate([one.choices.loglik_IC.ravel() for one in read_samples(out)])


def test_a_check_that_fails_is_remarked_for_every_checkpoint_and_the_scores_are_lm_evals(
    run_folder: Path, evaluate: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate(run_folder, "--quiet", out=tmp_path / "right") == 0
    assert RunRecord.model_validate_json((tmp_path / "right" / "run.json").read_text()).remarks == ()
    spoil(monkeypatch)
    assert evaluate(run_folder, "--quiet", out=tmp_path / "spoilt") == 0
    record = RunRecord.model_validate_json((tmp_path / "spoilt" / "run.json").read_text())
    assert len(record.remarks) == len(STEPS)
    start = f"{run_folder.name} step 10: scored the stock way: shared prefixes differ from stock scoring by 0.01"
    assert sum(line.startswith(start) for line in record.remarks) == 1
    np.testing.assert_allclose(logliks(tmp_path / "spoilt"), logliks(tmp_path / "right"), rtol=0, atol=1e-4)


def test_a_verify_that_fails_ends_with_1_and_one_that_holds_with_0(
    run_folder: Path, evaluate: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(run_folder, "--quiet", "--verify", 5, out=tmp_path / "right") == 0
    spoil(monkeypatch)
    capsys.readouterr()
    assert evaluate(run_folder, "--quiet", "--verify", 5, out=tmp_path / "spoilt") == 1
    told = capsys.readouterr().err
    assert f"{run_folder.name} step 20: verify: largest difference 0.01 nats on" in told
    assert "its scores are lm-eval's own" in told
    np.testing.assert_allclose(logliks(tmp_path / "spoilt"), logliks(tmp_path / "right"), rtol=0, atol=1e-4)
    assert evaluate(run_folder, "--quiet", "--verify", 5, out=tmp_path / "spoilt") == 1


def test_what_a_model_tells_of_its_own_scoring_is_recorded_in_its_own_words() -> None:
    difference = ScoringDifference(5, 1.0, 0, 1e-3)
    lm = SimpleNamespace(fallbacks=[], failed_verifications=[], after_failed_verify="its scores are vLLM's own")
    before = _checks_of(lm)
    lm.fallbacks.append("scored in a fresh engine: prove=False")
    lm.failed_verifications.append(difference)
    unit = Unit(series="run", step=1, task="t", weights_sha256="w", task_sha256="t", adapter="a", n=1)
    noted = _checks_of(lm).since(before).noted(unit)
    assert noted.remarks == ("scored in a fresh engine: prove=False",)
    assert noted.check_failed == f"{difference}; its scores are vLLM's own"


def test_an_item_with_a_choice_that_no_model_takes_is_named_and_costs_itself(
    run_folder: Path, task_folder: Path, evaluate: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = task_folder / "small.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows[3]["choices"][1] = "word " * 400
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert evaluate(run_folder, "--quiet") == 0
    assert "a choice has no tokens, or more than the model takes (doc_id 3)" in capsys.readouterr().err
    for samples in read_samples(tmp_path / "out"):
        assert 3 not in samples.doc_ids_I
        assert len(samples.doc_ids_I) == len(rows) - 1
