"""One vLLM engine for a whole series: weights replaced in place, restarted once when its process dies.

Shape suffix: T tokens of a continuation.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from e2lm.errors import E2LMError, UserError, one_line
from e2lm_adapters.scoring.prefix_tree import TokenRequest
from e2lm_adapters.vllm.process import EngineGone, EngineProcesses, child_processes
from e2lm_adapters.vllm.scoring import PromptScore, TokenIds, Way, prompt_score
from e2lm_adapters.vllm.worker import RELOAD

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)
T = TypeVar("T")

#: A second death in one series is no accident.
RESTARTS = 1
#: Settings of vLLM that hold while an engine starts, where the user has not set them.
IN_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
OWN_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
_IN_THIS_PROCESS: weakref.WeakSet[VllmEngine] = weakref.WeakSet()


class SwapFailedError(E2LMError):
    """The weights of a live engine could not be replaced; what it answers now means nothing."""


class VllmEngine:
    """A live engine with the weights of one checkpoint after the other.

    ``build`` makes an ``LLM`` from a checkpoint folder; ``own_process`` says whether the engine gets a process of its
    own (which may die without taking this one along) or runs in this one (which starts in a few seconds). ``listens``
    says whether ``build`` gives the engine's workers :class:`~e2lm_adapters.vllm.worker.ListeningWorker`.
    """

    def __init__(self, build: Callable[[Path], Any], folder: Path, own_process: bool, listens: bool = True) -> None:
        self._build = build
        self._own_process = own_process
        self._reload_method = RELOAD if listens else "reload_weights"
        #: Where the weights of the moment are.
        self.folder = folder
        self._has_run = False
        #: How often the engine's process has died.
        self.deaths = 0
        #: Handed to every request.
        self.lora_request: Any = None
        self.llm = self._built()

    # -- life and death ------------------------------------------------------------------------------------------

    def _built(self) -> Any:
        self._has_run = False
        before = child_processes()
        try:
            with _environment(OWN_PROCESS if self._own_process else IN_PROCESS):
                llm = self._build(self.folder)
        except UserError:
            raise
        except Exception as error:  # whatever vLLM, transformers or the driver do not like
            raise UserError(f"{self.folder}: vLLM's engine does not start ({_reason(error)})") from error
        self._processes = EngineProcesses(before)
        if not self._own_process:
            _IN_THIS_PROCESS.add(self)
        return llm

    def rebuild(self) -> None:
        """Replace the engine by a fresh one with the same weights."""
        self.close()
        self.llm = self._built()

    def close(self) -> None:
        """End the engine and give back its memory."""
        llm, self.llm = self.llm, None
        if llm is None:
            return
        with contextlib.suppress(Exception):  # a dead engine cannot say goodbye
            llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()
        _IN_THIS_PROCESS.discard(self)
        # The engines of one process share their groups of workers: the last one alive clears them away.
        if not self._own_process and not _IN_THIS_PROCESS:
            with contextlib.suppress(Exception):
                from vllm.distributed import cleanup_dist_env_and_memory

                cleanup_dist_env_and_memory()

    def _protected(self, action: Callable[[Any], T]) -> T:
        """``action`` on the engine, and once more on a restarted one if its process dies."""
        while True:
            try:
                return self._processes.call(lambda: action(self.llm))
            except Exception as error:
                if not _is_death(error):
                    raise
                self._revive(error)

    def _revive(self, error: Exception) -> None:
        self.deaths += 1
        if self.deaths > RESTARTS:
            raise UserError(
                f"{self.folder}: the process of vLLM's engine died {self.deaths} times (killed, or out of memory); "
                "what was finished is kept, the same command goes on; lower gpu_memory_utilization or max_num_seqs"
            ) from error
        log.warning("the process of vLLM's engine died; it is started again, once")
        self.rebuild()

    # -- weights -------------------------------------------------------------------------------------------------

    def load_folder(self, folder: Path) -> None:
        """Go on with the weights in ``folder``, which hold the tensors of the engine's first checkpoint.

        A :class:`SwapFailedError` where vLLM cannot, or complains of it: then only a fresh engine helps.
        """
        self.folder = folder
        try:
            heard = self._protected(self._reloaded)
        except E2LMError:
            raise
        except Exception as error:
            raise SwapFailedError(f"vLLM cannot replace the weights in place ({_reason(error)})") from error
        if heard:
            raise SwapFailedError(f"vLLM warned when it replaced the weights ({one_line(heard[0])[:300]})")

    def _reloaded(self, llm: Any) -> list[str]:
        """Replace the weights, then forget what the old ones left in the prefix cache: it would be served as new."""
        told = llm.collective_rpc(self._reload_method, kwargs={"weights_path": str(self.folder)})
        if not llm.reset_prefix_cache():
            raise SwapFailedError("vLLM did not empty its prefix cache after the weights were replaced")
        return [line for lines in told or () for line in lines or ()]

    def replace(self, folder: Path, build: Callable[[Path], Any] | None = None) -> None:
        """A fresh engine for the checkpoint in ``folder``, made by another ``build`` if that is given."""
        self.folder, self._build = folder, build or self._build
        self.rebuild()

    # -- what it answers -----------------------------------------------------------------------------------------

    @property
    def config(self) -> Any:
        """VLLM's own configuration."""
        return self.llm.llm_engine.vllm_config

    @property
    def dtype(self) -> torch.dtype:
        """The type it computes in."""
        found: torch.dtype = self.config.model_config.dtype
        return found

    @property
    def vocabulary(self) -> int:
        """Tokens that it knows."""
        return int(self.config.model_config.get_vocab_size())

    @property
    def block_tokens(self) -> int:
        """Tokens of one cache block."""
        return int(self.config.cache_config.block_size)

    @property
    def cache_tokens(self) -> int:
        """Tokens that fit into the cache."""
        return int(self.config.cache_config.num_gpu_blocks or 0) * self.block_tokens

    def best_way(self) -> tuple[Way, str | None]:
        """The cheapest way of scoring this vLLM offers, and why it is the plain one where it is."""
        if not self.config.cache_config.enable_prefix_caching:
            return Way.PLAIN, "the prefix cache is off"
        offered = sampling_options()
        if "skip_reading_prefix_cache" not in offered:
            return Way.PLAIN, "this vLLM cannot read its prefix cache for prompts with log-probabilities"
        by_ids = {"prompt_logprob_token_ids", "prompt_logprob_start"} <= offered
        if by_ids and getattr(self.config, "use_v2_model_runner", False):
            return Way.TOKEN_IDS, None
        return Way.RANKS, None

    def generate(self, prompts: Sequence[Sequence[int]], parameters: Any) -> list[Any]:
        """VLLM's outputs for token prompts, in order."""

        def run(llm: Any) -> list[Any]:
            from vllm import TokensPrompt

            given = [TokensPrompt(prompt_token_ids=list(prompt)) for prompt in prompts]
            return list(llm.generate(given, parameters, use_tqdm=False, lora_request=self.lora_request))

        try:
            outputs = self._protected(run)
        except Exception as error:
            if self._has_run or isinstance(error, E2LMError):
                raise
            raise UserError(f"{self.folder}: vLLM cannot run this model ({_reason(error)})") from error
        self._has_run = True
        return outputs

    def warm(self, prompts: Sequence[TokenIds]) -> list[int]:
        """Run ``prompts`` into the cache; the most likely next token of each."""
        outputs = self.generate(prompts, _sampling())
        return [int(output.outputs[0].token_ids[0]) for output in outputs]

    def score(self, requests: Sequence[TokenRequest], way: Way) -> list[PromptScore]:
        """Log-probabilities of the continuations, computed in ``way``."""
        prompts = [request.context + request.continuation for request in requests]
        outputs = self.generate(prompts, _scoring_parameters(requests, way))
        return [prompt_score(output, request, way) for output, request in zip(outputs, requests, strict=True)]


# -- sampling parameters ------------------------------------------------------------------------------------------


def sampling_options() -> frozenset[str]:
    """Names that this vLLM's ``SamplingParams`` takes."""
    from vllm import SamplingParams

    return frozenset(SamplingParams.__struct_fields__)


def _sampling(**options: Any) -> Any:
    from vllm import SamplingParams

    return SamplingParams(temperature=0.0, max_tokens=1, detokenize=False, **options)


def _scoring_parameters(requests: Sequence[TokenRequest], way: Way) -> Any:
    flat = {"flat_logprobs": True} if "flat_logprobs" in sampling_options() else {}
    if way is Way.PLAIN:
        return _sampling(prompt_logprobs=1, **flat)
    if way is Way.RANKS:
        return _sampling(prompt_logprobs=1, skip_reading_prefix_cache=False, **flat)
    return [
        _sampling(
            prompt_logprob_token_ids=[[token] for token in request.continuation],
            prompt_logprob_start=len(request.context) - 1,
            skip_reading_prefix_cache=False,
        )
        for request in requests
    ]


# -- surroundings -------------------------------------------------------------------------------------------------


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """``settings`` as environment variables within the block, where they are not set already."""
    added = [name for name in settings if name not in os.environ]
    os.environ.update({name: settings[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _is_death(error: Exception) -> bool:
    # By name: the class has moved between modules of vLLM, and an engine that never lived cannot die.
    return isinstance(error, EngineGone) or any(kind.__name__ == "EngineDeadError" for kind in type(error).__mro__)


def _reason(error: Exception) -> str:
    told = one_line(error)
    return f"{type(error).__name__}: {told[:300]}{' ...' if len(told) > 300 else ''}"
