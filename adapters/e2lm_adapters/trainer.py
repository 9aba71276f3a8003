"""``E2lmCallback`` scores the model of transformers' Trainer between two steps, as ``e2lm eval`` scores its checkpoint.

What is scored is a twin: a module tree of its own around the very tensors that are trained. Its mode, hooks, buffers
and settings are not those of the training, and the numbers are those of the checkpoint that would be saved now.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from transformers import TrainerCallback

from e2lm.atomic_file import partial_prefix
from e2lm.checkpoint import Checkpoint
from e2lm.errors import UserError, one_line
from e2lm.series import Series
from e2lm.weights import read_weight_index
from e2lm_adapters.checkpoints.identity import TOKENIZER_FILES, has_tokenizer
from e2lm_adapters.eval.known import RememberedTasks
from e2lm_adapters.eval.request import EvaluationRequest, InMemory
from e2lm_adapters.eval.series import evaluate_series

log = logging.getLogger("e2lm")

#: What makes libraries loud or quiet while tasks are loaded; a training keeps its own.
LOGGERS = ("lm_eval", "lm_eval.api.group", "transformers", "datasets", "accelerate", "huggingface_hub")


class E2lmCallback(TrainerCallback):  # type: ignore[misc]
    """Scores ``tasks`` every ``every`` steps and after the last, into ``out`` (``<output_dir>/e2lm``) as ``e2lm eval``.

    The series is called as the folder of the run is, so ``e2lm eval RUN --out OUT`` later scores only what is missing.
    Further arguments are those of ``e2lm eval``. Where that fails training goes on, and one line says why.
    The first process scores while the others wait at their next step; weights that are sharded are not scored.
    """

    def __init__(
        self,
        tasks: str | Sequence[str],
        every: int,
        out: str | Path | None = None,
        *,
        limit: int | None = None,
        num_fewshot: int | None = None,
        include_paths: Sequence[str | Path] = (),
        metrics: Sequence[str] | None = None,
        batch_size: int | str = 32,
        model_arguments: dict[str, Any] | None = None,
        write_lm_eval_files: bool = True,
        tokens_per_step: float | None = None,
    ) -> None:
        names = tasks.split(",") if isinstance(tasks, str) else tasks
        if every < 1:
            raise UserError(f"E2lmCallback: every={every}; score every 1 or more steps")
        self._every = every
        self._tokens_per_step = tokens_per_step
        self._request = EvaluationRequest(
            series=(),
            tasks=tuple(name.strip() for name in names if name.strip()),
            out=Path() if out is None else Path(out),
            model_arguments=dict(model_arguments or {}),
            limit=limit,
            num_fewshot=num_fewshot,
            include_paths=tuple(map(Path, include_paths)),
            metrics=None if metrics is None else tuple(metrics),
            batch_size=batch_size,
            write_lm_eval_files=write_lm_eval_files,
            quiet=True,
        )
        if not self._request.tasks:
            raise UserError("E2lmCallback: tasks names none; separate names by commas")
        self._has_out = out is not None
        self._tasks: RememberedTasks | None = None
        self._twin: _Twin | None = None
        self._began_s = 0.0
        self._spent_s: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """The clock starts."""
        self._began_s, self._spent_s = time.monotonic(), []

    def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Score where it is time to; whatever goes wrong is told, and the training goes on."""
        step = int(state.global_step)
        if not state.is_world_process_zero or (step % self._every and step < state.max_steps):
            return
        began_s = time.monotonic()
        try:
            with _as_it_was():
                self._score(args, state, known.get("model"), known.get("processing_class"))
        except Exception as error:
            log.warning("e2lm: step %d is not scored, and training goes on: %s", step, _told(error))
        self._spent_s.append(time.monotonic() - began_s)

    def on_train_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:
        """Say what it cost, and give back what was held."""
        whole_s, spent_s = time.monotonic() - self._began_s, sum(self._spent_s)
        if self._spent_s and state.is_world_process_zero:
            share = spent_s / max(whole_s, 1e-9)
            print(
                f"e2lm: scored {len(self._spent_s)} checkpoints in {spent_s:.1f} s, {share:.1%} of the training's "
                f"{whole_s:.1f} s: {self._out(args)}",
                file=sys.stderr,
            )
        self._tasks = self._twin = None

    # -- one checkpoint ------------------------------------------------------------------------------------------

    def _out(self, args: Any) -> Path:
        return self._request.out if self._has_out else Path(args.output_dir) / "e2lm"

    def _score(self, args: Any, state: Any, model: Any, tokenizer: Any) -> None:
        model = _scorable(args, model)
        if self._twin is None or not self._twin.is_of(model):
            self._twin = _Twin(model, self._request)
        out, run = self._out(args), Path(args.output_dir).resolve()
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=partial_prefix(), dir=out) as name:
            folder = Path(name) / run.name / f"checkpoint-{state.global_step}"
            self._twin.save(folder, tokenizer, run)
            request = replace(
                self._request,
                series=(self._series(run.name, folder, state),),
                out=out,
                in_memory=InMemory(self._twin.lm, run),
            )
            if self._tasks is None:
                self._tasks = RememberedTasks(request)
            found = evaluate_series(request, self._tasks)
        for one in found.left_out:
            log.warning("e2lm: left out: %s: %s", one.what, one.why)

    def _series(self, name: str, folder: Path, state: Any) -> Series:
        """The series as ``e2lm eval`` reads it of a folder that this trainer writes."""
        index = read_weight_index(folder)
        counted = index.parameters()
        tokens = int(getattr(state, "num_input_tokens_seen", 0) or 0)
        own = tokens if tokens and self._tokens_per_step is None else None
        return Series(
            name=name,
            params=counted.params,
            params_non_embedding=counted.params_non_embedding,
            params_active=counted.params_active if counted.is_mixture else None,
            tokens_per_step=self._tokens_per_step,
            checkpoints=(Checkpoint(step=int(state.global_step), tokens=own, path=str(folder)),),
        )


def _scorable(args: Any, model: Any) -> Any:
    """The bare model; a :class:`UserError` where this process has no whole one."""
    from transformers import PreTrainedModel

    while not isinstance(model, PreTrainedModel) and (hasattr(model, "_orig_mod") or hasattr(model, "module")):
        model = model._orig_mod if hasattr(model, "_orig_mod") else model.module
    if not isinstance(model, PreTrainedModel):
        raise UserError(f"the model is a {type(model).__name__}; one of transformers is needed (PreTrainedModel)")
    shards = next((name for name, one in model.named_parameters() if hasattr(one, "ds_id") or _is_part(one)), None)
    if shards is not None or getattr(args, "deepspeed", None) or getattr(args, "fsdp", None):
        raise UserError("the weights are sharded over processes; let `e2lm watch` or `e2lm eval` score what is saved")
    return model


def _is_part(parameter: Any) -> bool:
    return hasattr(parameter, "placements") or str(parameter.device) == "meta"


def _told(error: Exception) -> str:
    return one_line(error) if isinstance(error, UserError) else f"{type(error).__name__}: {one_line(error)}"


# -- the twin --------------------------------------------------------------------------------------------------------


class _Twin:
    """``model`` once more around the same tensors, in evaluation mode, without what a training put around its forward.

    The scoring model is built once: what it knows of the requests serves all steps.
    """

    def __init__(self, model: Any, request: EvaluationRequest) -> None:
        self._request = request
        self._source = model
        self._tensors = _tensors(model)
        self._model = self._copy()
        _without_wrappers(self._model)
        if getattr(self._model, "_supports_sdpa", False) and self._model.config._attn_implementation != "sdpa":
            self._model.set_attn_implementation("sdpa")  # as `from_pretrained` chooses for the stored checkpoint
        self._lm: Any = None

    def _copy(self) -> Any:
        return deepcopy(self._source, {id(one): one for one in self._tensors.values()})

    def is_of(self, model: Any) -> bool:
        """Whether the twin still holds the tensors of ``model``: resizing gives a model new ones."""
        now = _tensors(model)
        return (
            model is self._source
            and now.keys() == self._tensors.keys()
            and all(one is self._tensors[name] for name, one in now.items())
        )

    def save(self, folder: Path, tokenizer: Any, run: Path) -> None:
        """Write what the trainer would save, so that the unit has the address of that checkpoint."""
        self._copy().save_pretrained(folder)  # lm-eval ties weights anew, and saving writes into the configuration
        if tokenizer is not None and hasattr(tokenizer, "save_pretrained"):
            tokenizer.save_pretrained(folder)
        if has_tokenizer(folder):
            return
        for file in (file for pattern in TOKENIZER_FILES for file in sorted(run.glob(pattern)) if file.is_file()):
            shutil.copyfile(file, folder.parent / file.name)
        if not has_tokenizer(folder.parent):
            raise UserError("there is no tokenizer; give the Trainer one: processing_class=tokenizer")

    def lm(self, folder: Path) -> Any:
        """The twin as lm-eval's model, with the tokenizer that lies in ``folder`` or above it."""
        from e2lm_adapters.scoring.hf import E2lmHf

        if self._lm is None:
            place = folder if has_tokenizer(folder) else folder.parent
            options = {"tokenizer": str(place), **self._request.model_arguments}
            self._lm = E2lmHf(self._model, batch_size=self._request.batch_size, show_progress=False, **options)
            self._lm.pretrained = str(folder)
        return self._lm


def _tensors(model: Any) -> dict[str, Any]:
    """Every parameter and stored buffer by name, the very objects."""
    return dict(model.state_dict(keep_vars=True))


def _without_wrappers(model: Any) -> None:
    """Evaluation mode, and the forward of the class: accelerate puts mixed precision around that of the training."""
    model.eval()
    for module in model.modules():
        if module.__dict__.pop("_original_forward", None) is not None:
            module.__dict__.pop("forward", None)
        for hooks in ("_forward_hooks", "_forward_pre_hooks"):
            getattr(module, hooks).clear()


# -- the rest of the process ----------------------------------------------------------------------------------------


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Leave random numbers, gradients, log levels, progress bars and CUDA's cache as they were, whatever happens."""
    import torch

    with ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())  # the generator that lm-eval's tasks use
        stack.callback(torch.set_rng_state, torch.get_rng_state())
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        if torch.cuda.is_available():
            stack.callback(torch.cuda.empty_cache)
            stack.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
        for name in LOGGERS:
            stack.callback(logging.getLogger(name).setLevel, logging.getLogger(name).level)
        _keep_progress_bars(stack)
        if "TOKENIZERS_PARALLELISM" not in os.environ:
            stack.callback(os.environ.pop, "TOKENIZERS_PARALLELISM", None)
        stack.enter_context(torch.no_grad())
        yield


def _keep_progress_bars(stack: ExitStack) -> None:
    from datasets.utils.logging import enable_progress_bar, is_progress_bar_enabled
    from transformers.utils import logging as transformers_logging

    if is_progress_bar_enabled():
        stack.callback(enable_progress_bar)
    if transformers_logging.is_progress_bar_enabled():
        stack.callback(transformers_logging.enable_progress_bar)
