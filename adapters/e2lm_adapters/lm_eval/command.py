"""``e2lm lm-eval ...``: the stock ``lm_eval`` command with plugins, without the start-up shim."""

from __future__ import annotations

import sys
from argparse import Namespace

from e2lm.command import Command


def _run(arguments: Namespace) -> int:
    from e2lm_adapters.autoload import arm

    arm()
    from lm_eval.__main__ import cli_evaluate

    before = sys.argv
    sys.argv = ["lm_eval", *arguments.rest]
    try:
        cli_evaluate()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
    return 0


LM_EVAL_COMMAND = Command(
    "lm-eval", "Run the stock lm_eval command with the models and tasks of plugins.", lambda parser: None, _run, True
)
