"""Pages as files: the same bytes twice, whole or not at all, and a log that an edit breaks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from e2lm.command_line import main
from e2lm.page import STYLE
from e2lm_leaderboard.messages import say
from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.store.store import Store
from e2lm_leaderboard.web.export import export_season
from e2lm_leaderboard.web.pages import SHORT_NAMES
from tests.e2lm_leaderboard.season_samples import NOW, PRIVATE_VALUE
from tests.pseudo_language import WORD, pseudo_language, words_outside

Filled = tuple[Season, Store]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_store_gives_the_same_bytes(filled: Filled, tmp_path: Path) -> None:
    season, store = filled
    count = export_season(store, season, tmp_path / "a", NOW)
    assert export_season(store, season, tmp_path / "b", NOW) == count
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert len(tree(tmp_path / "a")) == count + 5


def test_every_link_of_an_export_leads_to_a_file_of_it(filled: Filled, tmp_path: Path) -> None:
    season, store = filled
    export_season(store, season, tmp_path / "site", NOW)
    for path in (tmp_path / "site").rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"]+)"', path.read_text(encoding="utf-8")):
            if not target.startswith(("#", "data:")):
                assert (path.parent / target).is_file(), (path, target)


def test_an_export_tells_no_private_score(filled: Filled, tmp_path: Path) -> None:
    season, store = filled
    export_season(store, season, tmp_path / "site", NOW)
    assert not [name for name, content in tree(tmp_path / "site").items() if str(PRIVATE_VALUE).encode() in content]


def test_the_commands_export_rank_and_verify(
    filled: Filled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled[1].close()
    assert main(["leaderboard", "export", str(tmp_path), str(tmp_path / "site")]) == 0
    assert main(["leaderboard", "rank", str(tmp_path)]) == 0
    assert "good" in capsys.readouterr().out
    head = Store(filled[1].url)
    last = head.head().hash
    head.close()
    assert main(["leaderboard", "verify", str(tmp_path), "--head", last]) == 0
    assert main(["leaderboard", "verify", str(tmp_path), "--head", "0" * 64]) == 1
    engine = create_engine(filled[1].url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE submissions SET team = 'thieves' WHERE name = 'good'"))
    engine.dispose()
    capsys.readouterr()
    assert main(["leaderboard", "verify", str(tmp_path)]) == 1
    assert "team is 'thieves', the log says 'reds'" in capsys.readouterr().out
    assert main(["leaderboard", "export", str(tmp_path), str(tmp_path)]) == 2
    assert main(["leaderboard", "rank", str(tmp_path / "none")]) == 2


def test_pages_have_the_style_of_reports_and_their_own_behind_it(filled: Filled, tmp_path: Path) -> None:
    season, store = filled
    export_season(store, season, tmp_path / "site", NOW)
    style = (tmp_path / "site" / "style.css").read_text(encoding="utf-8")
    assert style.startswith(STYLE)
    assert "header" not in STYLE
    assert "header" in style


def test_every_sentence_of_the_pages_comes_from_the_catalogue(filled: Filled, tmp_path: Path) -> None:
    season, store = filled
    with pseudo_language(say):
        export_season(store, season, tmp_path / "site", NOW)
    data = [season.model_dump_json(), *SHORT_NAMES.values()]
    for entry in store.entries():
        data += [repr(entry), repr(store.details(entry.id)), repr(store.results("public", entry.id))]
    pages = {path: path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html")}
    assert len(pages) > 8
    for path, page in pages.items():
        assert words_outside(page) - set(WORD.findall(" ".join(data))) == set(), path
