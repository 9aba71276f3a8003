"""``e2lm checkpoints RUN``: every piece of a run with step, tokens, format and state; ``--write`` converts them."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2lm.argument import folder_to_write
from e2lm.command import Command
from e2lm.errors import UserError

if TYPE_CHECKING:
    from e2lm_adapters.checkpoints.source import CheckpointSource


def configure_given(parser: ArgumentParser) -> None:
    """The options by which a user gives what a run folder lacks; ``e2lm eval`` has the same."""
    parser.add_argument(
        "--config", type=Path, metavar="DIR", help="config.json and tokenizer of the family, where the run has none"
    )
    parser.add_argument("--base", metavar="MODEL", help="the model that LoRA adapters change: a folder, or owner/name")


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="folder of a run or of several, or owner/name on the Hub"
    )
    configure_given(parser)
    parser.add_argument("--allow-pickle", action="store_true", help="count pytorch_model.bin as readable")
    parser.add_argument(
        "--hub-cache", type=folder_to_write, metavar="DIR", help="what is known of the Hub (default: HF_HOME/e2lm)"
    )
    parser.add_argument(
        "--write", type=folder_to_write, metavar="DIR", help="write all that can be read as folders of safetensors"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(arguments: Namespace) -> int:
    from e2lm_adapters.checkpoints.piece import Given
    from e2lm_adapters.checkpoints.run import run_listings
    from e2lm_adapters.checkpoints.series import hub_listings, is_hub_reference
    from e2lm_adapters.checkpoints.source import CheckpointSource

    source = CheckpointSource(arguments.hub_cache, allow_pickle=arguments.allow_pickle)
    given = Given(arguments.config, arguments.base, arguments.allow_pickle)
    listings = []
    for run in arguments.runs:
        if is_hub_reference(run):
            listings += hub_listings(run, source)
        else:
            listings += run_listings(Path(run), given, source)
    written = _written(arguments, listings, source) if arguments.write is not None else []
    if arguments.json:
        told = {} if arguments.write is None else {"written": written}
        print(json.dumps({"runs": [_as_json(one) for one in listings], **told}))
    else:
        for one in listings:
            print(*_lines(one), sep="\n")
        for each in written:
            print(f"written: {each['checkpoints']} checkpoints of {each['series']}: {each['folder']}")
    empty = [str(one.run) for one in listings if not one.pieces]
    if empty and len(empty) == len(listings):
        raise UserError(f"{', '.join(empty)}: no checkpoint of a known format is there")
    for note in (note for one in listings for note in one.notes()):
        print(note, file=sys.stderr)
    return 0


def _written(arguments: Namespace, listings: Sequence[Any], source: CheckpointSource) -> list[dict[str, Any]]:
    """What came of ``--write``; what cannot be read is in the list, with the reason."""
    from e2lm_adapters.checkpoints.run import series_of
    from e2lm_adapters.checkpoints.series import is_hub_reference
    from e2lm_adapters.checkpoints.written import write_series

    remote = next((run for run in arguments.runs if is_hub_reference(run)), None)
    if remote is not None:
        raise UserError(f"--write: {remote} is on the Hub; `e2lm hub pull {remote} DIR` fetches it")
    series = [one for listing in listings for one in series_of(listing, source)]
    if not series:
        raise UserError(f"--write: nothing of {', '.join(map(str, arguments.runs))} can be read as it is")
    names = [one.name for one in series]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"--write: two series are called {twice!r}; write them one by one")
    places = write_series(series, source, arguments.write, [Path(run) for run in arguments.runs])
    return [{"series": one.name, "folder": str(place), "checkpoints": len(one.checkpoints)} for one, place in places]


def _as_json(listing: Any) -> dict[str, Any]:
    return {
        "run": str(listing.run),
        "checkpoints": [one.as_json() for one in listing.pieces],
        "ignored": [one.model_dump(mode="json") for one in listing.ignored],
        "notes": listing.notes(),
    }


def _lines(listing: Any) -> list[str]:
    rows = [
        (
            "-" if one.step is None else f"{one.step:,}" + ("" if one.counts == "steps" else f" ({one.counts})"),
            "-" if one.tokens is None else f"{one.tokens:,}",
            one.format or "-",
            "-" if one.params is None else f"{one.params:,}",
            one.name,
            one.told,
        )
        for one in listing.pieces
    ]
    head = ("step", "tokens", "format", "parameters", "name", "state")
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head) - 1)]
    table = [
        "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in (head, *rows)
    ]
    return [f"{listing.run}:", *table, *(f"ignored: {one.what}: {one.why}" for one in listing.ignored)]


CHECKPOINTS_COMMAND = Command(
    "checkpoints", "List the checkpoints of a run, and what can be read of them.", _configure, _run
)
