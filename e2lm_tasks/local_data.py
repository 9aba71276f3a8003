"""Where files are looked for that stand in for data of the Hub."""

from __future__ import annotations

#: Names a folder: ``OWNER--DATASET/[NAME/]SPLIT.jsonl`` for the suites of the Hub, ``blimp`` and ``zorro`` for those.
DATA_VARIABLE = "E2LM_DATA"
