"""Rows that need not be made again: of a unit that is as it was, by metrics that are, they stand in the table.

It saves time and decides nothing: rows are made of Samples again at any doubt, and whenever a plugin of others has
metrics, since nobody can tell what these read beside their code.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from e2lm.item_metric import ItemMetric
from e2lm.plugin_manager import plugin_manager
from e2lm.scores import ScoreRow
from e2lm_adapters.eval.memory import Memory, SeenRows
from e2lm_adapters.eval.recorded import TABLE_FILE, table_rows
from e2lm_adapters.eval.store import EvaluationStore, Unit
from e2lm_adapters.lm_eval.sources import Stamp, is_racy, stamp_of

#: Code of this process may have been read before this.
BEGAN_S = time.time() - 60.0
#: Beside our own code these can change a number.
LIBRARIES = ("numpy", "pandas", "pyarrow")


class RememberedRows:
    """Rows of units as the table has them, where they are known to be what would be made of their Samples now."""

    def __init__(self, store: EvaluationStore, memory: Memory, metrics: Sequence[ItemMetric]) -> None:
        self._store, self._memory = store, memory
        self._metrics = [metric.name for metric in metrics]
        self._seen: dict[str, tuple[Stamp, ...]] = {}
        self._can_be_known = _all_are_ours()
        self._known: dict[str, tuple[Stamp, ...]] = {}
        self._rows: dict[tuple[str, int, str], list[ScoreRow]] = {}
        known = memory.rows()
        if known is not None and self._can_be_known and list(known.metrics) == self._metrics:
            table = table_rows(store.folder)  # before its hash is looked at: another command may write it
            if known == self._now(known.units, known.code):
                self._known = known.units
                for row in table:
                    self._rows.setdefault((row.series, row.step, row.task), []).append(row)

    def of(self, unit: Unit) -> list[ScoreRow] | None:
        """The rows of ``unit``; None where they are to be made."""
        files = self._store.files(unit)
        name, stamps = str(files[0].relative_to(self._store.folder)), tuple(map(stamp_of, files))
        if not any(is_racy(stamp, time.time()) for stamp in stamps):
            self._seen[name] = stamps
        return self._rows.get((unit.series, unit.step, unit.task)) if self._known.get(name) == stamps else None

    def keep(self) -> None:
        """Let later commands take what was made now from the table, which has just been written."""
        code = {str(file): stamp_of(file) for file in _own_code()}
        if self._can_be_known and not any(is_racy(stamp, BEGAN_S) for stamp in code.values()):
            self._memory.see_rows(self._now(self._seen, code))
            self._memory.write()

    def _now(self, units: dict[str, tuple[Stamp, ...]], code: Iterable[str]) -> SeenRows:
        """What rows of ``units`` by ``code`` would be remembered with."""
        return SeenRows(
            table=sha256((self._store.folder / TABLE_FILE).read_bytes()).hexdigest() if self._has_table() else "",
            metrics=tuple(self._metrics),
            libraries={name: str(getattr(sys.modules.get(name), "__version__", "")) for name in LIBRARIES},
            code={file: stamp_of(Path(file)) if Path(file).is_file() else (0, 0, 0, 0) for file in code},
            units=units,
        )

    def _has_table(self) -> bool:
        return (self._store.folder / TABLE_FILE).is_file()


def _all_are_ours() -> bool:
    """Whether every metric there is comes with e2lm."""
    claims = plugin_manager().registered("e2lm_register_metrics", ItemMetric).values()
    return all(
        one.plugin.distribution == "e2lm" and one.plugin.entry_point is not None for own in claims for one in own
    )


def _own_code() -> list[Path]:
    """The files of every module of ours that took part."""
    loaded = [getattr(module, "__file__", None) for name, module in [*sys.modules.items()] if name.startswith("e2lm")]
    return [Path(file) for file in sorted({file for file in loaded if file}) if Path(file).is_file()]
