"""Bundles to check."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from e2lm_leaderboard.bundle import Bundle
from e2lm_leaderboard.bundle_check import CheckReport, check_archive
from e2lm_leaderboard.new_submission import sample_files
from e2lm_leaderboard.season_rules import SeasonRules

Changes = Mapping[str, str | bytes | None]


def changed_bundle(changes: Changes) -> Bundle:
    """The sample with files replaced, added, or (None) left out."""
    files: dict[str, bytes] = {name: text.encode() for name, text in sample_files().items()}
    for name, content in changes.items():
        files.pop(name, None)
        if content is not None:
            files[name] = content if isinstance(content, bytes) else content.encode()
    return Bundle(files)


@pytest.fixture
def checked() -> Callable[..., CheckReport]:
    """The report on the sample with changes."""

    def check(changes: Changes, rules: SeasonRules | None = None) -> CheckReport:
        return check_archive(changed_bundle(changes).packed(), rules or SeasonRules())

    return check
