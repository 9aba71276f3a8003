"""``e2lm merge`` reports what it did, and refuses with one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from e2lm.command_line import main

Models = Callable[..., list[str]]


def test_the_command_merges_reports_and_refuses_with_one_line(
    models: Models, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "m.yml"
    base, *tunes = models(2)
    config.write_text(
        json.dumps({"merge_method": "dare_ties", "base_model": base, "models": [{"model": one} for one in tunes]})
    )
    out = str(tmp_path / "out")
    assert main(["merge", str(config), out, "--dry-run", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["dry_run"]
    assert not Path(out).exists()
    assert main(["merge", str(config), out, "--threads", "1"]) == 0
    assert "merged" in capsys.readouterr().out
    assert main(["merge", str(config), out]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["merge", str(config), str(tmp_path / "b"), "--shard-size", "0"]) == 2
    assert main(["merge", str(tmp_path / "none.yml"), str(tmp_path / "b")]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["merge", "strategies", "--json"]) == 0
    names = {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert {"linear", "wsm", "hi_merging", "tsv_m"} <= names
    assert main(["merge", "strategies"]) == 0
    assert "θ₀" in capsys.readouterr().out
