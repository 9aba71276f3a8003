"""The commands of an organiser, from an empty folder to a ranking, and the mistakes that they tell."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from e2lm.command_line import main
from e2lm_leaderboard.cli import entrant
from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.store.database import database_url
from e2lm_leaderboard.store.store import Store
from e2lm_leaderboard.web.app import create_app
from e2lm_leaderboard.web.guard import token_hash
from tests.e2lm_leaderboard.season_samples import NOW, TOKEN, filled_season


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    entrant.write_sample(tmp_path / "mine")
    return tmp_path / "mine"


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    """What a command printed."""
    assert main(["leaderboard", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.out + captured.err


def test_a_season_is_opened_entered_and_ranked(
    tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    season = tmp_path / "season"
    assert "would open" in said(capsys, "init", season, "--dry-run")
    assert not season.exists()
    printed = said(capsys, "init", season, "--team", "reds", "--title", "Mine")
    tokens = dict(re.findall(r"^(\w+): (e2lm_\S+)$", printed, re.MULTILINE))
    assert set(tokens) == {"reds", "organiser"}
    store = Store(database_url(str(season)))
    assert store.team_of(token_hash(tokens["organiser"])) == ("organiser", "organiser")
    assert not any(token in (season / "leaderboard.db").read_bytes().decode("latin-1") for token in tokens.values())
    store.close()
    assert "is there already" in said(capsys, "init", season, code=2)
    assert "blues: e2lm_" in said(capsys, "init", season, "--team", "blues")
    assert "would submit" in said(capsys, "submit", season, bundle, "--team", "reds", "--dry-run")
    answer = json.loads(said(capsys, "submit", season, bundle, "--team", "reds", "--json"))
    assert (answer["state"], answer["new"]) == ("queued", True)
    assert json.loads(said(capsys, "submit", season, bundle, "--team", "reds", "--json"))["new"] is False
    assert "counting-in-words" in said(capsys, "run", season, "--dry-run")
    assert "field 'series' is empty" in said(capsys, "run", season, code=2)
    assert "queued  counting-in-words of reds" in said(capsys, "rank", season)
    assert json.loads(said(capsys, "rank", season, "--json"))["ranking"] == []
    report = json.loads(said(capsys, "verify", season, "--json"))
    assert report["problems"] == []
    assert "would serve 'Mine'" in said(capsys, "serve", season, "--dry-run")
    assert "would write" in said(capsys, "export", season, tmp_path / "site", "--dry-run")


def test_mistakes_are_one_line(tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    season = tmp_path / "season"
    said(capsys, "init", season)
    assert "--team" in said(capsys, "submit", season, bundle, code=2)
    assert "--host-name" in said(capsys, "serve", season, "--address", "0.0.0.0", code=2)
    assert "--port" in said(capsys, "serve", season, "--port", "99999", code=2)
    assert "zone" in said(capsys, "init", tmp_path / "b", "--ends-at", "2026-01-01", code=2)
    assert "no folder 'runs'" in said(capsys, "demo", "--demo", tmp_path, "--out", tmp_path / "c", code=2)
    assert "would open a season" in said(capsys, "demo", "--out", tmp_path / "c", "--dry-run")
    (season / "season.json").write_text('{"title": "x", "public_share": 2}', encoding="utf-8")
    assert "public_share" in said(capsys, "rank", season, code=2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    season, store = filled_season(folder)
    strict = Season.model_validate({**season.model_dump(), "title": "Served"})
    served: Any = uvicorn.Server(
        uvicorn.Config(create_app(store, strict, now=lambda: NOW), port=0, log_level="error", ws="none")
    )
    thread = threading.Thread(target=served.run, daemon=True)
    thread.start()
    while not served.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{served.servers[0].sockets[0].getsockname()[1]}"
    served.should_exit = True
    thread.join(10)
    store.close()


def test_a_bundle_is_sent_to_a_server(
    tmp_path: Path, bundle: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    assert "queued" in said(capsys, "submit", server, bundle, "--token", tmp_path / "token")
    (tmp_path / "token").write_text("wrong", encoding="utf-8")
    assert "no team has this token" in said(capsys, "submit", server, bundle, "--token", tmp_path / "token", code=2)
    assert "--token" in said(capsys, "submit", server, bundle, code=2)
    (bundle / "counting.yaml").unlink()
    assert "no such file in the bundle" in said(capsys, "submit", server, bundle, "--token", tmp_path / "token", code=1)


def test_an_extra_that_is_not_installed_is_named_with_the_line_that_installs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    message = said(capsys, "serve", tmp_path, code=2)
    assert message == "e2lm: error: leaderboard serve: needs uvicorn; pip install 'e2lm[web]'\n"
