"""Keeps other libraries from talking over our progress bar."""

from __future__ import annotations

import logging
import os


def quiet_libraries(quiet: bool) -> None:
    """One progress bar, not five: libraries report warnings only."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("lm_eval", "transformers", "datasets", "accelerate", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR if quiet else logging.WARNING)
    # Of groups whose tasks are of several kinds, at every checkpoint; scores here are by task.
    logging.getLogger("lm_eval.api.group").setLevel(logging.ERROR)
    from datasets.utils.logging import disable_progress_bar
    from transformers.utils import logging as transformers_logging

    disable_progress_bar()
    transformers_logging.disable_progress_bar()
