"""``e2lm view OUT``: one page that needs nothing else, or a server on this machine that shows what is looked at."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from e2lm.argument import COUNT_OR_NONE, file_to_write
from e2lm.command import Command
from e2lm.errors import UserError

PAGE = "view.html"


def _configure(parser: ArgumentParser) -> None:
    parser.add_argument("scores", type=Path, metavar="OUT", help="what e2lm eval wrote, a Scores table, lm-eval output")
    parser.add_argument("--out", type=file_to_write, metavar="FILE.html", help=f"the page (default: OUT/{PAGE})")
    parser.add_argument(
        "--samples", action="append", default=[], metavar="TASK", help="put the items of this task into the page too"
    )
    parser.add_argument("--serve", action="store_true", help="serve it on 127.0.0.1 instead, with every task's items")
    parser.add_argument("--port", type=COUNT_OR_NONE, metavar="N", help="of --serve (default: any that is free)")
    parser.add_argument("--json", action="store_true", help="print where the page is, and what it says first")


def _run(arguments: Namespace) -> int:
    from e2lm_view.page import file_page
    from e2lm_view.source import ViewSource

    if arguments.serve:
        if arguments.out or arguments.samples:
            raise UserError("--serve shows every task's items and writes no page: leave out --out and --samples")
        from e2lm_view.server import serve

        return serve(ViewSource(arguments.scores), arguments.port or 0, arguments.json)
    if arguments.port is not None:
        raise UserError("--port: needs --serve")
    from e2lm.atomic_file import write_text

    source = ViewSource(arguments.scores)
    place = arguments.out or (arguments.scores if arguments.scores.is_dir() else arguments.scores.parent) / PAGE
    html = file_page(source, arguments.samples)
    write_text(place, html)
    told = source.overview()
    if arguments.json:
        print(json.dumps({"page": str(place), "bytes": len(html.encode()), "answer": told["answer"]}))
    else:
        print(f"{told['answer']}\npage: {place}")
    return 0


VIEW_COMMAND = Command("view", "Look at an evaluation: curves, intervals, verdicts, items.", _configure, _run)
