"""What runs inside the sandbox: the functions of a task over its rows. Standard library only, and no import of ours.

Reads ``/job/plan.json`` and ``/job/rows.jsonl``; writes one JSON object per row: the row after ``process_docs``, and
what each function gave for it.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path


class Docs(list):  # type: ignore[type-arg]
    """Rows with as much of ``datasets.Dataset`` as task code uses."""

    def map(self, function, **_):  # type: ignore[no-untyped-def]
        """Each row with what ``function`` gives for it."""
        return Docs({**row, **function(dict(row))} for row in self)

    def filter(self, function, **_):  # type: ignore[no-untyped-def]
        """The rows for which ``function`` is true."""
        return Docs(row for row in self if function(row))

    def select(self, places):  # type: ignore[no-untyped-def]
        """The rows at ``places``."""
        return Docs(self[place] for place in places)

    @property
    def column_names(self):  # type: ignore[no-untyped-def]
        """Fields of the first row."""
        return list(self[0]) if self else []


def function_of(file, name):  # type: ignore[no-untyped-def]
    """The function ``name`` in ``file`` of the bundle."""
    path = Path("/job/code", file)
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return getattr(module, name)


def main() -> None:
    """Run the plan."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what task code prints is nobody's answer
    with open("/job/plan.json", encoding="utf-8") as handle:
        plan = json.load(handle)
    with open("/job/rows.jsonl", encoding="utf-8") as handle:
        rows = Docs(json.loads(line) for line in handle)
    places = plan["functions"].items()
    functions = {field: function_of(*place) for field, place in places}  # type: ignore[no-untyped-call]
    process = functions.pop("process_docs", None)
    if process is not None:
        rows = Docs(dict(row) for row in process(rows))
    for row in rows:
        answers = {field: function(dict(row)) for field, function in functions.items()}
        out.write(json.dumps({"row": row, "answers": answers}, allow_nan=False) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
