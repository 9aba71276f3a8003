"""Asks transformers what a checkpoint says, in a process of its own that vLLM has not touched: an independent truth.

Within a process that runs vLLM (0.32) transformers is not itself: some of its model classes are replaced (GPT-NeoX).
It computes in float32 on the CPU, one request at a time. The process answers one line of JSON with another and ends
when nobody is left to ask.

Shape suffixes: T tokens of a continuation, V vocabulary.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from e2lm.errors import E2LMError, one_line
from e2lm.weights import read_weight_index
from e2lm_adapters.scoring.check import Loglikelihood
from e2lm_adapters.scoring.prefix_tree import TokenRequest
from e2lm_adapters.scoring.swap import UnusableCheckpointError

#: Bytes of a number in float32, and what transformers needs besides.
BYTES_PER_NUMBER = 4 * 1.2


class UnprovableError(E2LMError):
    """There is nothing to compare an engine with; the text says why."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What transformers says of every request: logprobs_T (nats), and whether each token is the first of the likeliest.

    ``spread`` is how far its half precision is from that (mean, nats per token); None where it was not asked for.
    """

    logprobs: tuple[tuple[float, ...], ...]
    greedy: tuple[bool, ...]
    spread: float | None

    @property
    def answers(self) -> list[Loglikelihood]:
        """Log-likelihood in nats and greedy flag of every request."""
        return [(sum(logprobs_T), flag) for logprobs_T, flag in zip(self.logprobs, self.greedy, strict=True)]


class Transformers:
    """The process; it starts with the first question and may be asked until it is closed."""

    def __init__(self, trust_remote_code: bool = False) -> None:
        self._trust_remote_code = trust_remote_code
        self._process: subprocess.Popen[str] | None = None

    @staticmethod
    @cache
    def of_this_process(trust_remote_code: bool) -> Transformers:
        """The one that all models of this process ask; it ends with this process."""
        asked = Transformers(trust_remote_code)
        atexit.register(asked.close)
        return asked

    def truth(self, folder: Path, requests: Sequence[TokenRequest], half: str | None = None) -> Truth:
        """What transformers says of ``requests`` with the weights in ``folder``; ``half``: also in that precision.

        :class:`UnprovableError` where it cannot load them, has no room, or says what is no number; an
        :class:`UnusableCheckpointError` where a parameter of the model has no weight.
        """
        question = {
            "folder": str(folder),
            "requests": [[one.context, one.continuation] for one in requests],
            "half": half,
            "trust_remote_code": self._trust_remote_code,
        }
        reply = self._asked(json.dumps(question))
        if "lacking" in reply:
            raise UnusableCheckpointError(reply["lacking"])
        if "error" in reply:
            raise UnprovableError(reply["error"])
        logprobs = tuple(tuple(one) for one in reply["logprobs"])
        if not all(abs(value) < float("inf") for one in logprobs for value in one):
            raise UnprovableError(f"{folder.name}: transformers' own answers are NaN or infinite")
        return Truth(logprobs, tuple(reply["greedy"]), reply["spread"])

    def require_all_weights(self, folder: Path) -> None:
        """An :class:`UnusableCheckpointError` where a parameter of the model in ``folder`` has no weight.

        Nothing where transformers cannot tell.
        """
        with suppress(UnprovableError):
            self.truth(folder, ())

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _asked(self, question: str) -> dict[str, Any]:
        if self._process is None:
            self._process = _started()
        pipes = self._process.stdin, self._process.stdout
        assert pipes[0] is not None
        assert pipes[1] is not None
        try:
            pipes[0].write(question + "\n")
            pipes[0].flush()
            line = pipes[1].readline()
        except OSError:
            line = ""
        if not line:
            self.close()
            raise UnprovableError("the process of transformers ended without an answer (killed, or out of memory)")
        reply: dict[str, Any] = json.loads(line)
        return reply


def _started() -> subprocess.Popen[str]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


# -- in the process -----------------------------------------------------------------------------------------------


#: logprobs_T and greedy flag.
_Answer = tuple[list[float], bool]


def _reply(question: Mapping[str, Any]) -> dict[str, Any]:
    requests = [TokenRequest(tuple(context), tuple(continuation)) for context, continuation in question["requests"]]
    try:
        exact = _scored(question, requests, "float32")
        coarse = _scored(question, requests, question["half"]) if question["half"] else None
    except UnusableCheckpointError as error:
        return {"lacking": str(error)}
    except UnprovableError as error:
        return {"error": str(error)}
    except Exception as error:  # whatever transformers does not like about this model
        told = one_line(error)[:200]
        return {"error": f"transformers cannot run {question['folder']} ({type(error).__name__}: {told})"}
    spread = None if coarse is None else _mean_distance(coarse, exact)
    return {"logprobs": [one for one, _ in exact], "greedy": [flag for _, flag in exact], "spread": spread}


def _scored(question: Mapping[str, Any], requests: Sequence[TokenRequest], dtype: str) -> list[_Answer]:
    model = _loaded(Path(question["folder"]), dtype, question["trust_remote_code"])
    return [_logprobs(model, request) for request in requests]


def _loaded(folder: Path, dtype: str, trust_remote_code: bool) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    numbers = sum(math.prod(tensor.shape) for tensor in read_weight_index(folder).tensors.values())
    needed = int(numbers * BYTES_PER_NUMBER)
    free = _free_memory_bytes()
    if free is not None and needed > free:
        raise UnprovableError(f"transformers needs {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free")
    model, told = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        trust_remote_code=trust_remote_code,
        attn_implementation="eager",
        output_loading_info=True,
    )
    parameters = {name for name, _ in model.named_parameters()}
    for name in sorted(parameters & set(told["missing_keys"])):  # it would be drawn at random
        raise UnusableCheckpointError(f"{folder}: no tensor is stored for the parameter {name!r} of the model")
    return model.eval()


def _logprobs(model: Any, request: TokenRequest) -> _Answer:
    import torch

    tokens_1T = torch.tensor([[*request.context, *request.continuation]])
    with torch.inference_mode():
        logits_TV = model(input_ids=tokens_1T, use_cache=False).logits[0, len(request.context) - 1 : -1].float()
    wanted_T = tokens_1T[0, len(request.context) :]
    logprobs_T = logits_TV.log_softmax(-1).gather(-1, wanted_T[:, None])[:, 0]
    return logprobs_T.tolist(), bool((logits_TV.argmax(-1) == wanted_T).all())


def _mean_distance(ours: Sequence[_Answer], theirs: Sequence[_Answer]) -> float:
    pairs = [pair for one, other in zip(ours, theirs, strict=True) for pair in zip(one[0], other[0], strict=True)]
    return sum(abs(one - other) for one, other in pairs) / max(len(pairs), 1)


def _free_memory_bytes() -> int | None:
    """What this machine can still give; None where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _serve() -> None:
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(_reply(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
