"""The two commands of whoever enters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2lm.command_line import main


def test_a_new_submission_is_accepted_and_a_refused_one_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "mine"
    assert main(["leaderboard", "new-submission", str(bundle), "--dry-run"]) == 0
    assert not bundle.exists()
    assert main(["leaderboard", "new-submission", str(bundle)]) == 0
    assert main(["leaderboard", "check", str(bundle)]) == 0
    capsys.readouterr()
    assert main(["leaderboard", "check", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
    (bundle / "counting.jsonl").unlink()
    assert main(["leaderboard", "check", str(bundle), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert set(finding) == {"check", "file", "field", "found", "expected", "fix"}
    assert main(["leaderboard", "check", str(bundle)]) == 1
    assert "refused: 1 findings" in capsys.readouterr().out


def test_the_users_mistakes_are_one_line_and_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a").touch()
    for arguments in (["new-submission", str(tmp_path / "there")], ["check", str(tmp_path / "none")], ["chek", "x"]):
        assert main(["leaderboard", *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_rules_of_a_season_are_read_from_a_file(tmp_path: Path) -> None:
    assert main(["leaderboard", "new-submission", str(tmp_path / "mine")]) == 0
    (tmp_path / "rules.json").write_text('{"min_items": 500}', encoding="utf-8")
    assert main(["leaderboard", "check", str(tmp_path / "mine"), "--rules", str(tmp_path / "rules.json")]) == 1
