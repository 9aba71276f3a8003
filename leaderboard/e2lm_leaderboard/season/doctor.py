"""What is wrong with a season before anything is evaluated: names that no plugin has, places that are not there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

from e2lm import Judge, SignalScore
from e2lm.errors import UserError, nearest_names
from e2lm.plugin_manager import plugin_manager
from e2lm.series import Series
from e2lm_leaderboard.season.season import SEASON_FILE, Season


def require_usable(season: Season, folder: Path, needs_series: bool = True) -> None:
    """Raise :class:`UserError` with the first problem, and how many more there are."""
    found = problems(season)
    if needs_series and not season.series:
        found.insert(0, "field 'series' is empty; name the runs to evaluate on")
    if found:
        rest = f" (and {len(found) - 1} more: e2lm leaderboard doctor {folder})" if len(found) > 1 else ""
        raise UserError(f"{folder / SEASON_FILE}: {found[0]}{rest}")


def require_known_names(season: Season, folder: Path) -> None:
    """Raise :class:`UserError` for a score or judge that no plugin has: a table would be empty without saying why."""
    for problem in _names(season):
        raise UserError(f"{folder / SEASON_FILE}: {problem}")


def problems(season: Season) -> list[str]:
    """One line each; empty where the season can be run."""
    return [*_names(season), *_places(season), *_rules(season), *_times(season)]


def _names(season: Season) -> Iterator[str]:
    known = plugin_manager().registered("e2lm_register_signal_scores", SignalScore)
    for field, names in (("ranking_score", (season.ranking_score,)), ("scores", season.scores)):
        for name in names:
            if name not in known:
                yield f"field {field!r}: no plugin has a score {name!r}. {nearest_names(name, known)}"
    judges = plugin_manager().registered("e2lm_register_judges", Judge)
    if season.judge is not None and season.judge not in judges:
        yield f"field 'judge': no plugin has a judge {season.judge!r}. {nearest_names(season.judge, judges)}"


def _places(season: Season) -> Iterator[str]:
    names = []
    for place in season.series:
        path = Path(place)
        if path.exists():
            names += _series_names(path)
        elif path.is_absolute() or place.count("/") != 1:  # else a name on the Hub, which is looked up when it is run
            yield f"field 'series': {place}: is not there"
    for pattern in season.control:
        if names and not any(fnmatchcase(name, pattern) for name in names):
            yield f"field 'control': {pattern!r} fits none of the series {', '.join(sorted(names)[:8])}"
    files = {"corpora": season.corpora, "rules.tokenizer": [one for one in (season.rules.tokenizer,) if one]}
    for field, places in files.items():
        for place in places:
            if not Path(place).is_file():
                yield f"field {field!r}: {place}: no such file"


def _series_names(path: Path) -> list[str]:
    """Names of the runs in a folder, as far as they can be read."""
    folders = [path] if (path / "series.json").is_file() else [one.parent for one in sorted(path.glob("*/series.json"))]
    names = []
    for folder in folders:
        try:
            names.append(Series.read(folder).name)
        except UserError:
            continue
    return names


def _rules(season: Season) -> Iterator[str]:
    rules = season.rules
    for least, most in (("min_items", "max_items"), ("min_choices", "max_choices")):
        if getattr(rules, least) > getattr(rules, most):
            yield f"field 'rules': {least} {getattr(rules, least)} is more than {most} {getattr(rules, most)}"
    if not rules.languages:
        yield "field 'rules.languages': is empty: no submission would be taken"


def _times(season: Season) -> Iterator[str]:
    order = [(name, getattr(season, name)) for name in ("opens_at", "ends_at", "private_at")]
    known = [(name, datetime.fromisoformat(text)) for name, text in order if text is not None]
    for (first, before), (second, after) in pairwise(known):
        if before > after:
            yield f"field {second!r}: {after.isoformat()} is before {first!r}, {before.isoformat()}"
