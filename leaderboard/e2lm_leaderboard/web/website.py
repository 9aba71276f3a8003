"""What every route needs, of pages and API alike: the table, computed once per change, and who is behind a token."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime

from starlette.exceptions import HTTPException

from e2lm.errors import UserError
from e2lm_leaderboard.messages import say
from e2lm_leaderboard.ranking.table import SeasonTable, is_over, season_table
from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.season.signature import Signer
from e2lm_leaderboard.store.database import StoreUnavailableError
from e2lm_leaderboard.store.store import Entry, Store
from e2lm_leaderboard.web.guard import token_hash
from e2lm_leaderboard.web.rate_limit import Buckets

#: A token that was replaced is good for this long.
TEAM_AGE_S = 1.0


class Website:
    """What every route needs; the table is computed once per change."""

    def __init__(self, store: Store, season: Season, now: Callable[[], datetime], signer: Signer | None) -> None:
        self.store, self.season, self.now, self._signer = store, season, now, signer
        self._posts = Buckets(season.posts_per_minute)
        self._table: SeasonTable | None = None
        self._teams: dict[str, tuple[float, tuple[str, str]]] = {}

    def team(self, token: str) -> tuple[str, str] | None:
        """Name and role behind a token, looked up at most once in :data:`TEAM_AGE_S`."""
        key = token_hash(token)
        known = self._teams.get(key)
        if known is not None and time.monotonic() - known[0] < TEAM_AGE_S:
            return known[1]
        found = self.store.team_of(key)
        if found is None:
            self._teams.pop(key, None)
        else:
            self._teams[key] = (time.monotonic(), found)
        return found

    def require_turn(self, team: str) -> None:
        """429 for a team that sends more than its share of the minute; asked before its archive is read."""
        if (wait_s := self._posts.wait_s(team)) > 0:
            raise HTTPException(429, say("too_many", team=team), {"Retry-After": str(math.ceil(wait_s))})

    def version(self) -> object:
        """Changes whenever a page may."""
        return f"{self.store.version()}-{int(self.season.is_over(self.now()))}"

    def table(self) -> SeasonTable:
        """The table as it may be shown now."""
        known = self._table
        over = is_over(self.store, self.season, self.now())
        if known is None or known.version != self.store.version() or over != (known.split == "private"):
            known = season_table(self.store, self.season, self.now(), signer=self._signer)
            self._table = known
        return known

    def entry(self, key: str) -> Entry:
        """A submission; 404 where there is none."""
        try:
            return self.store.entry(key)
        except StoreUnavailableError:
            raise
        except UserError as error:
            raise HTTPException(404, str(error)) from error
