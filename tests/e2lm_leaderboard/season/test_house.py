"""House cheats pass the door, stand below all without rank, and say who does not beat them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from e2lm.command_line import main
from e2lm_leaderboard.bundle.check import check_archive
from e2lm_leaderboard.cli.entrant import write_sample
from e2lm_leaderboard.ranking.ranking import ABOVE_NULL
from e2lm_leaderboard.ranking.table import season_table, table_csv
from e2lm_leaderboard.season.house import CHEATS, HOUSE
from e2lm_leaderboard.season.run import SeasonRun
from e2lm_leaderboard.season.season import Season, SeasonRules
from e2lm_leaderboard.store.database import database_url
from e2lm_leaderboard.store.store import Result, Store
from e2lm_leaderboard.store.tables import State
from e2lm_leaderboard.web.pages import ServerLinks, ranking_page
from tests.e2lm_leaderboard.season_samples import NOW, submit


@pytest.fixture
def season(tmp_path: Path) -> Path:
    """A folder with an open season and the house's entries in its queue."""
    assert main(["leaderboard", "init", str(tmp_path / "season"), "--team", "reds"]) == 0
    assert main(["leaderboard", "baseline", str(tmp_path / "season")]) == 0
    return tmp_path / "season"


def test_the_seven_are_entered_once_and_pass_the_check_of_everybody(
    season: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sample(tmp_path / "mine")
    assert main(["leaderboard", "baseline", str(season), str(tmp_path / "mine")]) == 0
    assert main(["leaderboard", "baseline", str(season)]) == 0
    assert capsys.readouterr().out.count("is there already") == 7
    assert main(["leaderboard", "verify", str(season)]) == 0
    store = Store(database_url(str(season)))
    entries = store.entries()
    assert {one.team for one in entries} == {*CHEATS, "house-counting-in-words"}
    assert {store.teams()[one.team][0] for one in entries} == {HOUSE}
    for one in entries:
        assert check_archive(store.archive(one.id), SeasonRules()).accepted
    store.close()


def test_an_entry_like_one_of_the_house_is_no_copy(season: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "mine")
    assert main(["leaderboard", "submit", str(season), str(tmp_path / "mine"), "--team", "reds"]) == 0
    store = Store(database_url(str(season)))
    run = SeasonRun(season, Season.read(season), store, now=lambda: NOW)
    for entry in store.entries():
        (items,) = [task.items for task in check_archive(store.archive(entry.id), SeasonRules()).tasks]
        assert items is not None
        assert run._similarity(entry, [items]) == ("", [])
    store.close()


def scored(store: Store, name: str, team: str, value: float, low: float) -> str:
    """An entry with a part above its null."""
    key = submit(store, name, team)
    results = [Result(split, ABOVE_NULL, "", value, low, value + 0.1) for split in ("public", "private")]
    for state in (State.CHECKING, State.RUNNING):
        store.move(key, state, NOW)
    store.record(key, results, {}, NOW)
    return key


def test_house_rows_come_last_without_rank_and_who_does_not_beat_them_says_so(tmp_path: Path) -> None:
    season, store = Season(title="House"), Store(database_url(str(tmp_path)))
    for name, value in (("house-leaked", 0.4), ("house-longest", -0.1)):
        store.add_team(name, name, HOUSE, NOW)
        scored(store, name, name, value, value - 0.05)
    scored(store, "best", "reds", 0.8, 0.7)
    scored(store, "close", "blues", 0.45, 0.35)
    scored(store, "null", "whites", 0.02, -0.1)
    for private in (True, False):
        table = season_table(store, season, NOW + timedelta(days=1), private=private)
        assert [(row.entry.name, row.rank, row.flag) for row in table.rows] == [
            ("best", 1, ""),
            ("close", 2, "not_above_house"),
            ("null", 3, "not_above_null"),
            ("house-leaked", None, "house"),
            ("house-longest", None, "house"),
        ]
    page = ranking_page(table, store, ServerLinks())
    assert page.count('class="flagged"') == 3
    assert "does not beat the house cheats" in page
    assert table_csv(table).count(",house,") == 2
    store.close()
