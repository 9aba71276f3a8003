"""Writes lm-eval's own ``results_*.json`` and ``samples_*.jsonl`` for a checkpoint, by lm-eval's own writer."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from e2lm.atomic_file import partial_prefix, whole_file
from e2lm.checkpoint import Checkpoint
from e2lm.errors import MachineError, one_line
from e2lm.run_record import recorded_versions
from e2lm.series import Series
from e2lm_adapters.lm_eval.tasks import SEEDS

#: Draws for the standard errors that have no closed form. lm-eval's 100,000 would cost 8-17 CPU seconds for every
#: such metric of every checkpoint; 1,000 give the standard error to about 2 %.
BOOTSTRAP_DRAWS = 1_000


@dataclass(frozen=True)
class LmEvalFiles:
    """Writes into ``folder/<series>/checkpoint-<step>``."""

    folder: Path
    model: str
    model_arguments: dict[str, Any]
    lm: Any
    limit: int | None

    @cached_property
    def _environment(self) -> dict[str, Any]:
        """Host, versions and tokenizer under lm-eval's names, collected once.

        lm-eval's own ``add_env_info`` starts a dozen programs (pip, gcc, nvidia-smi ...), which costs a CPU second.
        """
        from lm_eval.loggers.utils import add_tokenizer_info

        versions = recorded_versions()
        collected: dict[str, Any] = {
            "git_hash": None,
            "upper_git_hash": None,
            "pretty_env_info": "\n".join([platform.platform(), *(f"{name}: {versions[name]}" for name in versions)]),
            "transformers_version": versions.get("transformers", "N/A"),
            "lm_eval_version": versions.get("lm_eval", "N/A"),
        }
        add_tokenizer_info(collected, self.lm)
        return collected

    @cached_property
    def _model_info(self) -> dict[str, Any]:
        """What lm-eval says about the model, asked once: it may look for the model on the Hub."""
        return dict(self.lm.get_model_info()) if hasattr(self.lm, "get_model_info") else {}

    def write(self, series: Series, checkpoint: Checkpoint, results: dict[str, Any]) -> Path:
        """Write results and samples of one checkpoint, each file whole, results last; files of other tasks stay."""
        from lm_eval.loggers import EvaluationTracker

        place = self.folder / series.name / checkpoint.label
        samples = results.pop("samples", None) or {}
        arguments = {**self.model_arguments, "pretrained": checkpoint.location}
        results["config"] = self._config(arguments)
        results["date"] = time.time()
        results.update(self._environment)
        tokens = series.tokens_at(checkpoint)
        known = not math.isnan(tokens)
        results["e2lm"] = {
            "series": series.name,
            "step": checkpoint.step,
            "params": series.params,
            "params_non_embedding": series.params_non_embedding,
            "tokens": tokens if known else None,
            "flops": series.flops(tokens) if known else None,
        }
        place.mkdir(parents=True, exist_ok=True)
        # File by file, not the folder as a whole: another worker may write files of other tasks at the same time.
        with TemporaryDirectory(prefix=partial_prefix(), dir=place.parent) as name:
            partial = Path(name)
            tracker = EvaluationTracker(output_path=name)
            tracker.general_config_tracker.log_experiment_args(
                model_source=self.model,
                model_args=",".join(f"{key}={value}" for key, value in arguments.items()),
                system_instruction=None,
                chat_template=None,
                fewshot_as_multiturn=False,
            )
            # One folder per checkpoint already tells which model it was.
            tracker.general_config_tracker.model_name_sanitized = ""
            tracker.save_results_aggregated(results, samples)
            for task, logged in samples.items():
                tracker.save_results_samples(task, logged)
            _require_whole(partial, sum(map(len, samples.values())), place)
            # Results last: whoever finds them finds their samples too.
            for file in sorted(partial.iterdir(), key=lambda one: one.name.startswith("results_")):
                with whole_file(place / file.name) as moved:
                    file.replace(moved)
        return place

    def _config(self, arguments: dict[str, Any]) -> dict[str, Any]:
        config: dict[str, Any] = {"model": self.model, "model_args": arguments}
        config.update(self._model_info)
        config.update(
            {
                "batch_size": getattr(self.lm, "batch_size", None),
                "batch_sizes": [],
                "device": str(getattr(self.lm, "device", "")),
                "use_cache": None,
                "limit": self.limit,
                "bootstrap_iters": BOOTSTRAP_DRAWS,
                "gen_kwargs": None,
                "random_seed": SEEDS["python"],
                "numpy_seed": SEEDS["numpy"],
                "torch_seed": SEEDS["torch"],
                "fewshot_seed": SEEDS["fewshot"],
            }
        )
        return config


#: Entries of lm-eval's results that are by task; groups, which are made of tasks, stand in the first of them too.
BY_TASK = ("results", "configs", "versions", "n-shot", "n-samples", "higher_is_better", "samples")


def without_tasks(results: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """lm-eval's results without those of the tasks ``names``, and without groups, which may be made of them."""
    if not names:
        return results
    kept = [name for name in results["samples"] if name not in names]
    changed = {key: {name: results[key][name] for name in kept if name in results[key]} for key in BY_TASK}
    return {**results, **changed, "groups": {}, "group_subtasks": {}}


def _require_whole(written: Path, items: int, place: Path) -> None:
    """A :class:`UserError` unless everything was written: lm-eval logs a failed write, a full disk say, and goes on."""
    try:
        (results,) = written.glob("results_*.json")
        json.loads(results.read_bytes())
        lines = sum(file.read_bytes().count(b"\n") for file in written.glob("samples_*.jsonl"))
        if lines < items:
            raise ValueError(f"{lines} of {items} samples")
    except ValueError as error:
        raise MachineError(
            f"{place}: lm-eval could not write its files ({one_line(error)}; disk full?); what was finished is kept, "
            "the same command goes on, --no-lm-eval-files does without them"
        ) from error
