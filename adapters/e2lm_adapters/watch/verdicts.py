"""``OUT/verdicts.jsonl``: what rules found, each thing once, with the numbers behind it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from e2lm.errors import UserError
from e2lm.verdict import RunVerdict

VERDICTS_FILE = "verdicts.jsonl"


def now() -> str:
    """The time of a verdict: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def hash_of_inputs(numbers: Any) -> str:
    """SHA-256 of what a rule was judged by."""
    return sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()


def read_verdicts(out: Path) -> list[RunVerdict]:
    """The verdicts of an output folder, oldest first; a line that a full disk cut short is none."""
    path = out / VERDICTS_FILE
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(RunVerdict.from_data(json.loads(line), f"{path}:{number}"))
        except (ValueError, UserError):
            continue
    return found


def append_verdicts(out: Path, verdicts: Sequence[RunVerdict]) -> list[RunVerdict]:
    """Those of ``verdicts`` that had not been told before; when this returns they are on disk, each a whole line."""
    if not verdicts:
        return []
    out.mkdir(parents=True, exist_ok=True)
    path = out / VERDICTS_FILE
    with open(path, "ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        known = {one.event for one in read_verdicts(out)}
        new: dict[tuple[str, str, str, int], RunVerdict] = {}
        for one in verdicts:
            if one.event not in known:
                new.setdefault(one.event, one)
        if new:
            ragged = handle.tell() and not path.read_bytes().endswith(b"\n")
            lines = "".join(json.dumps(one.model_dump(mode="json"), sort_keys=True) + "\n" for one in new.values())
            handle.write(b"\n" * bool(ragged) + lines.encode())
            handle.flush()
            os.fsync(handle.fileno())
    return list(new.values())
