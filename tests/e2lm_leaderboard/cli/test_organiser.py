"""The commands of an organiser, from an empty folder to a ranking, and the mistakes that they tell."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def served(store: Store, season: Season) -> Iterator[str]:
    """The address of a server."""
    server: Any = uvicorn.Server(
        uvicorn.Config(create_app(store, season, now=lambda: NOW), port=0, log_level="error", ws="none")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    season, store = filled_season(folder)
    with served(store, Season.model_validate({**season.model_dump(), "title": "Served"})) as address:
        yield address
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


def test_a_bundle_is_checked_by_the_rules_and_metrics_of_the_season_it_goes_to(
    tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    french = Season.from_data({"title": "Saison", "rules": {"languages": ["fr"]}}, "test")
    folder = tmp_path / "french"
    folder.mkdir()
    french.write(folder)
    (bundle / "submission.yaml").write_text(
        entrant.SUBMISSION_YAML.replace("language: en", "language: fr"), encoding="utf-8"
    )
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    store = Store(database_url(str(folder)))
    store.add_team("reds", token_hash(TOKEN), "team", NOW)
    with served(store, french) as address:
        assert "found fr; one of en" in said(capsys, "check", bundle, code=1)
        for place in (address, folder):
            assert "accepted" in said(capsys, "check", bundle, "--season", place)
        assert "queued" in said(capsys, "submit", address, bundle, "--token", tmp_path / "token")
        (bundle / "submission.yaml").write_text(
            entrant.SUBMISSION_YAML.replace("language: en", "language: fr").replace("acc_norm", "acc_nrom"),
            encoding="utf-8",
        )
        for place in (address, folder):
            assert "a metric that the season has; Did you mean 'acc_norm'" in said(
                capsys, "check", bundle, "--season", place, code=1
            )
    store.close()


def test_what_an_organiser_decides_is_done_logged_and_told(
    tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    season = tmp_path / "season"
    said(capsys, "init", season, "--team", "reds", "--team", "Équipe 7")
    key = json.loads(said(capsys, "submit", season, bundle, "--team", "reds", "--json"))["id"]
    assert "refused" in said(capsys, "refuse", season, key[:8], "--why", "too long for our models")
    assert "refused  counting-in-words of reds  too long for our models" in said(capsys, "rank", season)
    assert "would be queued" in said(capsys, "rerun", season, key[:8], "--dry-run")
    assert "queued" in said(capsys, "rerun", season, key[:8])
    assert "of another team" in said(capsys, "pick", season, "Équipe 7", key, code=2)
    assert "counting-in-words" in said(capsys, "pick", season, "reds", key)
    assert "Équipe 7: e2lm_" in said(capsys, "token", season, "Équipe 7")
    assert "Did you mean 'Équipe 7'" in said(capsys, "token", season, "Equipe 7", code=2)
    assert "withdrawn" in said(capsys, "withdraw", season, key)
    assert "disqualified" in said(capsys, "disqualify", season, key)
    assert said(capsys, "doctor", season) == "nothing is wrong\n"
    assert "closed" in said(capsys, "close", season)
    (bundle / "README").write_text("another", encoding="utf-8")
    assert "on the clock of this server" in said(capsys, "submit", season, bundle, "--team", "reds", code=2)
    assert "was closed" in said(capsys, "close", season, code=2)
    assert json.loads(said(capsys, "verify", season, "--json"))["problems"] == []


def test_an_edited_season_a_shorter_log_and_a_lost_database_are_named(
    tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    season = tmp_path / "season"
    said(capsys, "init", season, "--team", "reds")
    path, before = season / "season.json", (season / "leaderboard.db").read_bytes()
    edited = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**edited, "title": "Before anything came"}), encoding="utf-8")
    said(capsys, "submit", season, bundle, "--team", "reds")
    path.write_text(json.dumps({**edited, "ranking_score": "e2lmc_sq"}), encoding="utf-8")
    assert "ranking_score" in said(capsys, "run", season, code=2)
    assert 'season.json: ranking_score: "e2lmc_sq", the log says "signal_quality"' in said(
        capsys, "verify", season, code=1
    )
    assert "ranking_score" in said(capsys, "doctor", season, code=1)
    assert "accepted: ranking_score" in said(capsys, "rules", season, "--accept")
    assert "agree" in said(capsys, "verify", season)
    store = Store(database_url(str(season)))
    with store._writing.begin() as connection:
        connection.exec_driver_sql("INSERT INTO settings VALUES ('closed_at', '2026-01-01T00:00:00+00:00')")
    store.close()
    assert "settings row closed_at: unknown to the log" in said(capsys, "verify", season, code=1)
    for name in ("leaderboard.db-wal", "leaderboard.db-shm"):
        (season / name).unlink(missing_ok=True)
    (season / "leaderboard.db").write_bytes(before)
    assert "the log was cut short or written anew" in said(capsys, "verify", season, code=1)
    (season / "leaderboard.db").write_bytes(b"garbage" * 999)
    assert "not a database" in said(capsys, "verify", season, code=3)
    (season / "leaderboard.db").unlink()
    assert "deleted or moved" in said(capsys, "verify", season, code=1)
    assert "deleted or moved" in said(capsys, "rank", season, code=2)
    assert not (season / "leaderboard.db").exists()


def test_heads_are_signed_and_one_that_nobody_signed_or_that_is_gone_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cryptography")
    season, site = tmp_path / "season", tmp_path / "site"
    said(capsys, "init", season, "--team", "reds")
    key, before = season / "signing.key", (season / "leaderboard.db").read_bytes()
    assert key.stat().st_mode & 0o077 == 0
    said(capsys, "export", season, site)
    published = json.loads((site / "ranking.json").read_text(encoding="utf-8"))
    assert published["signature"] in (site / "index.html").read_text(encoding="utf-8")
    assert key.read_text(encoding="ascii").strip() not in (site / "index.html").read_text(encoding="utf-8")
    assert "agree" in said(capsys, "verify", season, "--head", site / "ranking.json")
    heads = (season / "heads.jsonl").read_text(encoding="utf-8")
    other = "0" if published["signature"][0] != "0" else "1"
    forged = {**published, "signature": other + published["signature"][1:]}
    (season / "heads.jsonl").write_text(heads + json.dumps(forged) + "\n", encoding="utf-8")
    assert "no key that the log names has signed it" in said(capsys, "verify", season, code=1)
    (season / "heads.jsonl").write_text(heads, encoding="utf-8")

    # Whoever puts back an earlier database, and the heads with it, still has what was published against him.
    (season / "heads.jsonl").write_text("", encoding="utf-8")
    said(capsys, "init", season, "--team", "blues")
    said(capsys, "export", season, site)
    for name in ("leaderboard.db-wal", "leaderboard.db-shm"):
        (season / name).unlink(missing_ok=True)
    (season / "leaderboard.db").write_bytes(before)
    (season / "heads.jsonl").write_text("", encoding="utf-8")
    assert "agree" in said(capsys, "verify", season)
    assert "the log was cut or rewritten" in said(capsys, "verify", season, "--head", site / "ranking.json", code=1)
    mine = key.read_text(encoding="ascii")
    key.write_text("00" * 32, encoding="ascii")
    assert "is not the key that the log names" in said(capsys, "verify", season, code=1)
    key.unlink()
    said(capsys, "rules", season, "--new-key")
    assert key.read_text(encoding="ascii") != mine
    assert "agree" in said(capsys, "verify", season)


def test_a_season_file_that_cannot_be_read_is_3_and_one_that_is_gone_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    season = tmp_path / "season"
    said(capsys, "init", season, "--team", "reds")
    (season / "season.json").write_text("{", encoding="utf-8")
    assert "season.json" in said(capsys, "verify", season, code=3)
    (season / "season.json").unlink()
    assert "deleted or moved" in said(capsys, "verify", season, code=1)


def test_a_bad_name_of_a_team_leaves_nothing_behind_and_nobody_loses_a_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    season = tmp_path / "season"
    for name in (" reds", "Organiser", "a\nb", "x" * 61):
        assert "--team" in said(capsys, "init", season, "--team", "reds", "--team", name, code=2)
        assert not season.exists()
    first = said(capsys, "init", season, "--team", "reds")
    assert "organiser: e2lm_" in first
    assert "a new token in place of its old one" in said(capsys, "init", season, "--team", "reds", code=2)
    store = Store(database_url(str(season)))
    assert store.team_of(token_hash(re.findall(r"reds: (\S+)", first)[0])) == ("reds", "team")
    store.close()


def test_an_extra_that_is_not_installed_is_named_with_the_line_that_installs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    message = said(capsys, "serve", tmp_path, code=2)
    assert message == "e2lm: error: leaderboard serve: needs uvicorn; pip install 'e2lm[web]'\n"
