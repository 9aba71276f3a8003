"""How long the ranking of 10,000 submissions with intervals takes, from the rows of the database to the page.

python benchmarks/leaderboard_ranking.py [--submissions 10000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from leaderboard_http import NOW, filled

from e2lm_leaderboard.ranking.ranking import ranks_N
from e2lm_leaderboard.ranking.table import season_table
from e2lm_leaderboard.season.season import Season
from e2lm_leaderboard.store.database import database_url
from e2lm_leaderboard.store.store import Store
from e2lm_leaderboard.web.pages import ServerLinks, ranking_page


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--submissions", type=int, default=10_000)
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="e2lm-ranking-"))
    filled(folder, options.submissions)
    store, season = Store(database_url(str(folder))), Season.read(folder)
    times_s = []
    for _ in range(5):
        started = time.process_time()
        table = season_table(store, season, NOW)
        times_s.append(time.process_time() - started)
    page = ranking_page(table, store, ServerLinks())
    low_N = np.random.default_rng(0).random(options.submissions)
    started = time.process_time()
    ranks_N(low_N, low_N + 0.1)
    alone_s = time.process_time() - started
    started = time.process_time()
    problems = store.verify()
    verify_s = time.process_time() - started
    print(f"{len(table.rows)} rows   {np.median(times_s):.2f} s CPU (worst {max(times_s):.2f}), from the database")
    print(f"ranks alone            {1000 * alone_s:.1f} ms")
    print(f"first page             {len(page.encode()) / 1000:.0f} kB")
    print(f"verify                 {verify_s:.2f} s CPU over {table.version} log rows, {len(problems)} problems")
    store.close()


if __name__ == "__main__":
    main()
