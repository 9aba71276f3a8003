"""``--model e2lm-vllm``: one engine kept alive; what the next checkpoint needs of it: a swap, a new one, a refusal.

Loading, tokenising and the handling of generation arguments are lm-eval's own. Scoring goes through the prefix cache
where this vLLM can, is checked against plain scoring on a sample before it is trusted, and stays plain otherwise.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from e2lm.errors import UserError, one_line
from e2lm.item_metric import require_finite
from e2lm.weights import SINGLE_FILE, WeightIndex, read_weight_index
from e2lm_adapters.checkpoints.difference import difference, tokenizer_place
from e2lm_adapters.lm_eval.release import whole_text_answers
from e2lm_adapters.lm_eval.tasks import cache_templates
from e2lm_adapters.scoring.check import NOT_SCORED, Loglikelihood, ScoringDifference, checked_sample, compared
from e2lm_adapters.scoring.prefix_tree import TokenRequest
from e2lm_adapters.scoring.requests import RequestEncoder, refuse_thinking, scorable
from e2lm_adapters.scoring.swap import UnusableCheckpointError, require_same_shapes
from e2lm_adapters.vllm.devices import engine_gpus, workers_are_on_ray
from e2lm_adapters.vllm.engine import VllmEngine
from e2lm_adapters.vllm.scoring import PromptScoring, Way, fitted
from e2lm_adapters.vllm.source import checkpoint_folder
from e2lm_adapters.vllm.stock import import_vllm_adapter, untested_version
from e2lm_adapters.vllm.swap import Loadings, ProvenSwaps
from e2lm_adapters.vllm.truth import Transformers, UnprovableError
from e2lm_adapters.vllm.worker import EXTENSION

if TYPE_CHECKING:
    import torch
    from lm_eval.api.instance import Instance

log = logging.getLogger(__name__)
StockVllm: type[Any] = import_vllm_adapter()

#: KV cache on a CPU unless the user says otherwise: vLLM's own default of 92 % of the machine's memory does not start.
CPU_CACHE_BYTES = 1 << 30
#: The CPU backend wants multiples of 32; its default of 128 is longer than many a context, which then shares nothing.
CPU_BLOCK_TOKENS = 32


class E2lmVllm(StockVllm):  # type: ignore[misc]
    """lm-eval's ``vllm`` with shared contexts and weights that can be swapped. Further arguments:

    ``subfolder=``, ``revision=``: of ``pretrained``, a folder or a name on the Hub.
    ``verify=N`` has transformers score N random requests of each list too (float32, on the CPU); more than rounding is
    an error.
    ``prove=False`` compares nothing with transformers by itself; every checkpoint then gets a fresh engine.
    ``prefix_sharing=False`` scores plainly. ``show_progress=False`` shows no bar.
    ``engine_process=True`` gives the engine a process of its own (default: on a GPU or with several workers).
    ``batch_size`` and ``device`` are ignored: vLLM sizes its batches and chooses its device itself.
    """

    #: Refuse at once an answer that is NaN or infinite, a request that cannot be scored and a failed ``verify``;
    #: ``e2lm eval``, which looks at every task by itself, does not.
    raises_if_not_finite = True
    #: What became of a list whose ``verify`` failed.
    after_failed_verify = "its scores are vLLM's own, and not those of transformers"

    def __init__(
        self,
        pretrained: str,
        subfolder: str | None = None,
        revision: str | None = None,
        verify: int = 0,
        prove: bool = True,
        prefix_sharing: bool = True,
        show_progress: bool = True,
        engine_process: bool | None = None,
        batch_size: int | str = "auto",
        device: str | None = None,
        **options: Any,
    ) -> None:
        if int(options.get("data_parallel_size", 1)) > 1:
            raise UserError("data_parallel_size: e2lm-vllm keeps one engine; give several to e2lm eval by --jobs")
        folder = checkpoint_folder(str(pretrained), revision, subfolder)
        self._folder = folder
        self._index: WeightIndex | None = None
        self._verify = int(verify)
        self._show_progress = bool(show_progress)
        self._prefix_sharing = bool(prefix_sharing)
        self._own_process = _own_process(engine_process, options)
        self._own_dtype = options.get("dtype", "auto") == "auto"
        # The one above a checkpoint that has none is as good as its own: a later one may come with another.
        self._own_tokenizer = options.get("tokenizer") in (None, str(tokenizer_place(folder)))
        self._tokenizer_place = folder
        self._transformers = Transformers.of_this_process(bool(options.get("trust_remote_code", False)))
        self._merged: TemporaryDirectory[str] | None = None
        self._engine: VllmEngine | None = None
        _set_defaults(options, self._own_process)
        self._options = options
        self._start(folder)
        cache_templates()
        if (untested := untested_version()) is not None:
            log.warning("e2lm-vllm: %s", untested)
        self._swaps = ProvenSwaps(self.engine, self._transformers, _why_not_compared(bool(prove), options))
        #: Result of the last comparison with plain scoring, or with transformers where ``verify`` asks for it.
        self.comparison: ScoringDifference | None = None
        #: Of each list whose ``verify`` failed: the difference.
        self.failed_verifications: list[ScoringDifference] = []

    # -- the engine ----------------------------------------------------------------------------------------------

    def _start(self, folder: Path) -> None:
        """Begin with the checkpoint in ``folder``: its configuration, tokenizer and type."""
        self._not_started = folder.name
        options = dict(self._options)
        if self._own_tokenizer:
            self._tokenizer_place = tokenizer_place(folder) or self._tokenizer_place
            options["tokenizer"] = str(self._tokenizer_place)
        try:
            self._start_stock(folder, options)
        except UserError:
            self._transformers.require_all_weights(folder)  # vLLM says it in words of every version's own, or not here
            raise
        self._not_started = ""
        # As lm-eval's vllm cuts them: one token for the context and one for the token vLLM must generate.
        self._encoder = RequestEncoder(self, self.max_length - 2)
        plain = (Way.PLAIN, "prefix_sharing=False")
        self._way, self._why_plain = self.engine.best_way() if self._prefix_sharing else plain
        if self._why_plain is not None:
            log.warning("e2lm-vllm scores plainly: %s", self._why_plain)
        if self._own_dtype and self._half and _is_float32(folder):
            log.warning(
                "%s: stored in float32, but vLLM computes it in %s; dtype=float32 computes it as it is",
                folder,
                str(self.engine.dtype).removeprefix("torch."),
            )

    def _start_stock(self, folder: Path, options: dict[str, Any]) -> None:
        """lm-eval's constructor, with our engine where it would build its own."""
        module: Any = importlib.import_module(StockVllm.__module__)
        llm_class = module.LLM
        listens = options.get("worker_extension_cls", EXTENSION) == EXTENSION and _takes_extensions()

        def build_kept(**arguments: Any) -> Any:
            def build(place: Path) -> Any:
                extension = {"worker_extension_cls": EXTENSION} if listens else {}
                return llm_class(**{**arguments, **extension, "model": str(place)})

            if self._engine is None:
                self._engine = VllmEngine(build, folder, self._own_process, listens)
            else:
                self._engine.replace(folder, build)
            return self._engine.llm

        module.LLM = build_kept
        try:
            super().__init__(str(folder), batch_size="auto", **options)
        except (ValueError, OSError, TypeError, AssertionError) as error:
            self.close()
            raise UserError(f"{folder}: e2lm-vllm does not start ({type(error).__name__}: {error})") from error
        finally:
            module.LLM = llm_class
        self.engine.lora_request = self.lora_request

    @property
    def engine(self) -> VllmEngine:
        """The live engine."""
        assert self._engine is not None
        return self._engine

    @property
    def model(self) -> Any:
        """The ``LLM`` of vLLM; another object after a restart."""
        return self.engine.llm

    @model.setter
    def model(self, llm: Any) -> None:
        """lm-eval's constructor puts here what ``build_kept`` gave it."""

    def close(self) -> None:
        """End the engine and give back its memory."""
        if self._engine is not None:
            self._engine.close()
        self._forget_merged()

    # -- weights -------------------------------------------------------------------------------------------------

    @property
    def loadings(self) -> Loadings:
        """How the checkpoints so far came into the engine."""
        return self._swaps.loadings

    @property
    def built_anew(self) -> str:
        """Why the checkpoint of the moment did not come into the engine in place, or what else is to be told of it."""
        plainly = [f"scored plainly: {self._why_plain}"] if self._why_plain and self._prefix_sharing else []
        return "; ".join(dict.fromkeys([*self._swaps.loadings.notes, *plainly]))

    @property
    def fallbacks(self) -> list[str]:
        """A line for each time that a checkpoint could not be swapped, a list not scored as planned, or vLLM is off."""
        return self._swaps.fallbacks

    def load_checkpoint(self, folder: Path) -> None:
        """Go on with another checkpoint of the same model.

        An :class:`UnusableCheckpointError` where a tensor's shape differs or a parameter has no weight: the engine is
        then as it was, or starts afresh with the next.

        Where its configuration, tokenizer, generation settings or (with ``dtype=auto``) type differ, all of it is
        started afresh: weights alone do not make one model the other.
        """
        self._require_fitting(folder)
        before, self._folder = self._folder, folder
        lacks_tokenizer = self._own_tokenizer and tokenizer_place(folder) is None
        settled = {"dtype": self._options.get("dtype"), "tokenizer": lacks_tokenizer or not self._own_tokenizer}
        failed = f"{self._not_started} did not start" if self._not_started else ""
        self._load(folder, difference(before, folder, settled) or failed)
        self._forget_merged()
        if lacks_tokenizer:
            self._swaps.note(f"{folder.name} has no tokenizer; it is read with that of {self._tokenizer_place.name}")

    def _require_fitting(self, folder: Path) -> None:
        first, other = self._first_index(), read_weight_index(folder)
        try:
            require_same_shapes(first, other)
        except UserError as error:
            raise UnusableCheckpointError(str(error)) from error
        if not set(first.shapes) <= set(other.shapes):  # of no consequence where the model does without
            self._transformers.require_all_weights(folder)

    def _load(self, folder: Path, why_afresh: str) -> None:
        if not why_afresh:
            self._swaps.load(folder)
            return
        self._swaps.anew()
        kept = {name: getattr(self, name) for name in ("cache_hook", "_rank", "_world_size")}
        try:
            self._swaps.load_fresh(f"{folder.name}: {why_afresh}", lambda: self._start(folder))
        finally:
            # lm-eval sets these from outside, and its constructor has just been called again.
            for name, value in kept.items():
                setattr(self, name, value)

    def swap(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on with ``tensors``, named and shaped as in the checkpoint's files: a merge, say.

        They take the way that checkpoints take, through a folder that is gone after the next.
        """
        wanted = self._first_index().shapes
        for name in sorted(set(wanted) ^ set(tensors)):
            raise UserError(f"tensor {name!r} is {'extra' if name in tensors else 'missing'} in the weights given")
        for name, tensor in tensors.items():
            if tuple(tensor.shape) != wanted[name]:
                raise UserError(f"tensor {name!r} has shape {list(tensor.shape)}, the model {list(wanted[name])}")
        place = TemporaryDirectory(prefix="e2lm-merged-")
        _write_checkpoint(Path(place.name), tensors, beside=self._folder)
        self._swaps.load(Path(place.name))
        self._forget_merged()
        self._merged = place

    def _forget_merged(self) -> None:
        if self._merged is not None:
            self._merged.cleanup()
            self._merged = None

    def _first_index(self) -> WeightIndex:
        if self._index is None:
            self._index = read_weight_index(self._folder)
        return self._index

    # -- lm-eval's interface -------------------------------------------------------------------------------------

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Loglikelihood]:
        """Log-likelihood in nats and greedy flag per request."""
        refuse_thinking(self, requests)
        pairs = [request.args for request in requests]
        answers = self._answers(self._encoder.pairs(pairs), disable_tqdm)
        for pair, answer in zip(pairs, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", pair, answer)
        return answers

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[Any]:
        """Log-likelihood of whole texts in nats, in windows as lm-eval cuts them."""
        texts = [request.args[-1:] for request in requests]  # lm-eval 0.5 puts an empty context before the text
        answers = self._answers(self._encoder.texts(texts), disable_tqdm)
        totals, position = [], 0
        for (text,) in texts:
            count = self._encoder.windows_of(text)
            totals.append(sum(loglik for loglik, _ in answers[position : position + count]))
            position += count
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), totals[-1])
        return whole_text_answers(totals)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Texts generated by vLLM, as lm-eval's ``vllm`` asks for them."""
        self._swaps.prove_start()
        texts: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm or not self._show_progress)
        return texts

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False
    ) -> list[Loglikelihood]:
        return self._answers([TokenRequest(tuple(one[1]), tuple(one[2])) for one in requests], disable_tqdm)

    def _model_generate(self, requests: list[list[int]], generate: bool = False, sampling_params: Any = None) -> Any:
        assert generate, "scoring does not come this way"
        return self.engine.generate(requests, sampling_params)

    def continuation_tokens_of(self, pairs: list[tuple[str, str]]) -> list[int]:
        """Tokens of each continuation as it was scored, 0 where it could not be; never asked pairs give -1."""
        return [self._encoder.continuation_tokens(pair) for pair in pairs]

    # -- scoring -------------------------------------------------------------------------------------------------

    def _answers(self, requests: list[TokenRequest], disable_tqdm: bool) -> list[Loglikelihood]:
        places, refused = scorable(requests, self.max_length - 2)
        if refused:
            if self.raises_if_not_finite:
                raise UserError(refused)
            left_out = len(requests) - len(places)
            log.warning("e2lm-vllm cannot score %d of %d requests: %s", left_out, len(requests), refused)
        answers = [NOT_SCORED] * len(requests)
        found = self._answers_of([requests[place] for place in places], disable_tqdm) if places else []
        for place, answer in zip(places, found, strict=True):
            answers[place] = answer
        return answers

    def _answers_of(self, requests: list[TokenRequest], disable_tqdm: bool) -> list[Loglikelihood]:
        self._swaps.prove_start()
        # The list of every checkpoint: one with an output head of zeros would hide what is wrong behind it.
        is_right = self._way is Way.PLAIN or self._is_right(requests)
        scoring = self._scoring(self._way if is_right else Way.PLAIN)
        hidden = disable_tqdm or not self._show_progress
        with tqdm(total=len(set(requests)), unit=" prompts", desc="e2lm-vllm", disable=hidden) as bar:
            answers = scoring.answers(requests, bar.update)
        if self.raises_if_not_finite:
            require_finite(np.array([loglik for loglik, _ in answers]))
        log.info("e2lm-vllm: %s", scoring.report)
        if self._verify:
            self._verified(requests, answers)
        return answers

    def _verified(self, requests: list[TokenRequest], answers: list[Loglikelihood]) -> None:
        """Compare a random sample with transformers, and keep or tell where more than rounding differs."""
        chosen = np.random.default_rng(len(requests)).permutation(len(requests))[: self._verify]
        asked = [fitted(requests[i], self.max_length - 1) for i in chosen]
        try:
            truth = self._transformers.truth(self.engine.folder, asked)
        except UnprovableError as error:
            raise UserError(f"--verify: {error}") from error
        self.comparison = compared([answers[i] for i in chosen], truth.answers, self._half)
        log.warning("e2lm-vllm verify, against transformers: %s", self.comparison)
        if not self.comparison.agrees:
            self.failed_verifications.append(self.comparison)
            if self.raises_if_not_finite:
                raise UserError(f"verify: {self.comparison}; vLLM computes otherwise than transformers")

    def _scoring(self, way: Way) -> PromptScoring:
        # vLLM wants room for one generated token.
        return PromptScoring(self.engine, self.max_length - 1, way)

    def _plain_answers(self, requests: list[TokenRequest]) -> list[Loglikelihood]:
        return self._scoring(Way.PLAIN).answers(requests, lambda _: None)

    @property
    def _half(self) -> bool:
        return self.engine.dtype.itemsize < 4

    def _is_right(self, requests: list[TokenRequest]) -> bool:
        """Score a few requests both ways; on any difference beyond rounding, stay with plain scoring."""
        chosen = checked_sample(requests)
        plain = self._plain_answers(chosen)
        if not np.isfinite([loglik for loglik, _ in plain]).all():
            return False  # a broken checkpoint says nothing of the way of scoring: the next one is checked
        try:
            shared = self._scoring(self._way).answers(chosen, lambda _: None)
        except (ValueError, TypeError, LookupError) as error:  # options this engine takes but does not support
            if self._way is Way.TOKEN_IDS:
                log.warning("e2lm-vllm scores without prompt_logprob_token_ids (%s: %s)", type(error).__name__, error)
                self._way = Way.RANKS
                return self._is_right(requests)
            self._score_plainly(f"shared contexts fail ({type(error).__name__}: {one_line(error)})")
            return False
        self.comparison = compared(shared, plain, self._half)
        if not self.comparison.agrees:
            self._score_plainly(
                f"shared contexts differ from plain scoring by {self.comparison.largest_difference:.3g} nats on "
                f"{self.comparison.requests} requests (allowed {self.comparison.tolerance:.3g})"
            )
        return self.comparison.agrees

    def _score_plainly(self, reason: str) -> None:
        self._way, self._why_plain = Way.PLAIN, reason
        self._swaps.note(f"scored plainly: {reason}")


def _why_not_compared(prove: bool, options: Mapping[str, Any]) -> str | None:
    """Why transformers cannot say what this engine should; None where it can."""
    if not prove:
        return "prove=False"
    for name in ("quantization", "lora_local_path", "hf_overrides"):
        if options.get(name):
            return f"{name}= makes another model of it than transformers loads, so no swap can be proven"
    return None


def _takes_extensions() -> bool:
    from vllm.engine.arg_utils import EngineArgs

    return "worker_extension_cls" in EngineArgs.__dataclass_fields__


def _is_float32(folder: Path) -> bool:
    return any(tensor.dtype == "F32" for tensor in read_weight_index(folder).tensors.values())


def _write_checkpoint(place: Path, tensors: Mapping[str, torch.Tensor], beside: Path) -> None:
    """``tensors`` as a checkpoint in ``place``, with the small files of the one in ``beside``."""
    from safetensors.torch import save_file

    for file in (*beside.glob("*.json"), *beside.glob("*.py"), *beside.glob("*.jinja")):
        if not file.name.endswith(".index.json"):
            shutil.copyfile(file, place / file.name)
    stored = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(stored, place / SINGLE_FILE, metadata={"format": "pt"})


def _own_process(wanted: bool | None, options: Mapping[str, Any]) -> bool:
    """Whether the engine gets a process of its own.

    On a CPU starting one costs about 15 CPU seconds more; on a GPU it is vLLM's way, and several workers need it.
    """
    from vllm.platforms import current_platform

    several = engine_gpus(options) > 1 or workers_are_on_ray(options)
    if wanted is None:
        return several or not current_platform.is_cpu()
    if several and not wanted:
        raise UserError("engine_process=False: several workers need processes of their own; leave it out")
    return bool(wanted)


def _set_defaults(options: dict[str, Any], own_process: bool) -> None:
    """What vLLM does not start without, or would start slowly with, where the user has not said it."""
    from vllm.platforms import current_platform

    options.setdefault("load_format", "safetensors")
    options.setdefault("use_tqdm_on_load", False)
    if not own_process:
        options.setdefault("distributed_executor_backend", "uni")
    if current_platform.is_cpu():
        options.setdefault("enforce_eager", True)
        options.setdefault("block_size", CPU_BLOCK_TOKENS)
        if "VLLM_CPU_KVCACHE_SPACE" not in os.environ and "gpu_memory_utilization" not in options:
            options.setdefault("kv_cache_memory_bytes", CPU_CACHE_BYTES)
