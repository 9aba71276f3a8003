"""``python -m tests.families [swap] [score] [merge] [stack] [--only NAME ...]``: every family proven; 1 if one fails.

swap   the weights of a live model replaced: bit-equal to ``from_pretrained`` of the other folder?
score  log-likelihoods by ``e2lm-hf``: those of lm-eval's ``hf``, before training and after?
merge  two checkpoints merged: one number from disk, in memory, by ``e2lm eval --merge`` and by ``e2lm merge sweep``?
stack  layers in another order by slices: logits of a model stacked by hand, or a refusal?
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from tests.families import merging, scoring, stacking, swapping
from tests.families.architectures import ARCHITECTURES

#: By name: takes names of families, tells each as it comes, and gives how many passed.
STUDIES: dict[str, Callable[[Sequence[str]], int]] = {
    "swap": swapping.study,
    "score": scoring.study,
    "merge": merging.study,
    "stack": stacking.study,
}


def main(arguments: list[str] | None = None) -> int:
    """0 if all hold, 1 if one does not, 2 if what was asked for is not there."""
    parser = argparse.ArgumentParser(prog="python -m tests.families", description=__doc__)
    parser.add_argument("studies", nargs="*", choices=[*STUDIES, []], default=[], help="all of them if none is given")
    parser.add_argument("--only", nargs="+", choices=list(ARCHITECTURES), default=list(ARCHITECTURES), metavar="NAME")
    options = parser.parse_args(arguments)
    _quiet()
    failed = False
    for name in options.studies or STUDIES:
        passed = STUDIES[name](options.only)
        print(f"{name}: {passed} of {len(options.only)}", flush=True)
        failed |= passed < len(options.only)
    return int(failed)


def _quiet() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    import torch
    from transformers.utils.logging import disable_progress_bar

    torch.set_num_threads(1)
    disable_progress_bar()


if __name__ == "__main__":
    sys.exit(main())
