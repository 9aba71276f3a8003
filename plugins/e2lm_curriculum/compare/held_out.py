"""Bits of held-out text, passage by passage, at every checkpoint of a run: the measure that no arm trains on.

Under a masked model these are pseudo-bits (:mod:`e2lm_curriculum.model.loss`), for masked models to be compared by.

Shape suffixes: K checkpoints, I passages, W windows, T tokens of a window, V vocabulary.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from e2lm.atomic_file import whole_file
from e2lm.child_process import end_with_parent
from e2lm.errors import UserError
from e2lm.progress import progress_bar
from e2lm_curriculum.compare.runs import FinishedRun
from e2lm_curriculum.corpus.reader import read_passages
from e2lm_curriculum.corpus.tokenizer import END_OF_TEXT_ID, TOKENS_FILE
from e2lm_curriculum.plan.file import read_array
from e2lm_curriculum.train.prepared import HELD_OUT_FILE, PREPARED_FOLDER, require_whole, tokenizer_files
from e2lm_curriculum.train.processes import threads_per_job

#: Tokens of one forward pass: logits of 8,192 x 4,096 take 128 MiB.
TOKENS_AT_ONCE = 8_192


@dataclass(frozen=True, slots=True)
class HeldOutPassages:
    """Some of the held-out passages: tokens of each and its bytes. ``key`` identifies them."""

    passages: tuple[NDArray[np.int64], ...]
    bytes_I: NDArray[np.int64]
    key: str

    @classmethod
    def of(cls, run: FinishedRun, tokens: int) -> HeldOutPassages:
        """About ``tokens`` tokens of what ``run`` held out: the same passages for every run of one corpus."""
        from tokenizers import Tokenizer

        require_whole(run.folder)
        file = run.folder / HELD_OUT_FILE
        tokenizer = Tokenizer.from_file(str(tokenizer_files(run.folder)[0]))
        tokenizer.encode_special_tokens = True  # as in training: control strings that stand in a text are text
        texts = [passage.text for passage in read_passages([file])]
        passages: list[NDArray[np.int64]] = []
        sizes: list[int] = []
        for place in np.random.default_rng(0).permutation(len(texts)):
            ids = tokenizer.encode(texts[place], add_special_tokens=False).ids
            passages.append(np.asarray(ids, dtype=np.int64))
            sizes.append(len(texts[place].encode("utf-8")))
            if sum(map(len, passages)) >= tokens:
                break
        key = sha256(b"".join(one.astype("<i8").tobytes() for one in passages)).hexdigest()[:16]
        return cls(tuple(passages), np.asarray(sizes, dtype=np.int64), key)

    def pieces(self, length: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Passages in pieces of at most ``length`` tokens: per size the pieces [W, T] and their passages [W]."""
        by_length: dict[int, list[tuple[NDArray[np.int64], int]]] = {}
        for owner, passage in enumerate(self.passages):
            for start in range(0, len(passage), length):
                piece = passage[start : start + length]
                by_length.setdefault(len(piece), []).append((piece, owner))
        for _, found in sorted(by_length.items()):
            yield np.stack([piece for piece, _ in found]), np.asarray([owner for _, owner in found])

    def windows(self, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Inputs [W, T], targets [W, T] (-1: none) and the passage of each window.

        Each token is predicted once, in consecutive windows that begin with the token before (lm-eval's rolling
        windows with one token of context).
        """
        inputs, targets, owners = [], [], []
        for owner, passage in enumerate(self.passages):
            before = np.concatenate([[END_OF_TEXT_ID], passage[:-1]])
            for start in range(0, len(passage), length):
                target = passage[start : start + length]
                room = length - len(target)
                inputs.append(np.pad(before[start : start + length], (0, room)))
                targets.append(np.pad(target, (0, room), constant_values=-1))
                owners.append(owner)
        return np.stack(inputs), np.stack(targets), np.asarray(owners)


def held_out_file(run: FinishedRun, text: HeldOutPassages) -> Path:
    """Where the scores of ``run`` are kept."""
    return run.series_folder / f"held_out-{text.key}.npz"


def read_held_out(run: FinishedRun, text: HeldOutPassages) -> NDArray[np.float64]:
    """Nats [K, I] of each passage at each checkpoint."""
    nats_KI = _kept(held_out_file(run, text))
    if nats_KI is None:
        raise UserError(f"{held_out_file(run, text)}: gone or damaged; the same command makes it again")
    if nats_KI.shape != (len(run.series.checkpoints), len(text.passages)):
        raise UserError(f"{held_out_file(run, text)}: other checkpoints than the run has; delete the file")
    return nats_KI


def _kept(file: Path) -> NDArray[np.float64] | None:
    """What was scored; None where nothing was, or what is kept is damaged: it is made anew then."""
    try:
        with np.load(file) as stored:
            nats_KI: NDArray[np.float64] = stored["nats_KI"]
            return nats_KI
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
        return None


def score_held_out(runs: Sequence[FinishedRun], text: HeldOutPassages, jobs: int, quiet: bool) -> None:
    """Score every checkpoint of the runs that are not scored yet; what is scored is kept beside the run."""
    missing = [run for run in runs if _kept(held_out_file(run, text)) is None]
    if not missing:
        return
    with (
        progress_bar(len(missing), "runs", "held-out text", quiet) as bar,
        ProcessPoolExecutor(min(jobs, len(missing)), get_context("spawn"), end_with_parent) as pool,
    ):
        futures = [pool.submit(_score, run, text, jobs) for run in missing]
        for future in as_completed(futures):
            future.result()
            bar.update()


def _score(run: FinishedRun, text: HeldOutPassages, jobs: int) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    from e2lm_curriculum.train.recipe import silence

    torch.set_num_threads(threads_per_job(jobs))
    kind = AutoModelForCausalLM if run.is_causal else AutoModelForMaskedLM
    nats_I = causal_nats_I if run.is_causal else masked_nats_I
    model: Any = None
    nats = []
    for checkpoint in run.series.checkpoints:
        folder = Path(str(checkpoint.path))
        if model is None:
            with silence():
                model = kind.from_pretrained(folder).eval()
        else:
            model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)  # the head is the embedding
        nats.append(nats_I(model, text, run.prepared.sequence_length))
    with whole_file(held_out_file(run, text)) as partial, open(partial, "wb") as handle:
        np.savez(handle, nats_KI=np.stack(nats), bytes_I=text.bytes_I)


def causal_nats_I(model: Any, text: HeldOutPassages, length: int) -> NDArray[np.float64]:
    """Nats of each passage under a causal ``model`` that sees ``length`` tokens at once."""
    import torch

    inputs_WT, targets_WT, owners_W = text.windows(length)
    nats_I = np.zeros(len(text.passages))
    rows = max(1, TOKENS_AT_ONCE // inputs_WT.shape[1])
    with torch.inference_mode():
        for start in range(0, len(inputs_WT), rows):
            logits_WTV = model(input_ids=torch.from_numpy(inputs_WT[start : start + rows])).logits.float()
            losses_WT = torch.nn.functional.cross_entropy(
                logits_WTV.transpose(1, 2),
                torch.from_numpy(targets_WT[start : start + rows]),
                ignore_index=-1,
                reduction="none",
            )
            np.add.at(nats_I, owners_W[start : start + rows], losses_WT.double().sum(1).numpy())
    return nats_I


def masked_nats_I(model: Any, text: HeldOutPassages, length: int) -> NDArray[np.float64]:
    """The same under a masked one, each token among all others of its piece."""
    import torch

    from e2lm_curriculum.model.loss import pseudo_nats_B

    nats_I = np.zeros(len(text.passages))
    with torch.inference_mode():
        for pieces_WT, owners_W in text.pieces(length):
            rows = max(1, TOKENS_AT_ONCE // pieces_WT.shape[1])
            for start in range(0, len(pieces_WT), rows):
                found_B = pseudo_nats_B(model, torch.from_numpy(pieces_WT[start : start + rows]))
                np.add.at(nats_I, owners_W[start : start + rows], found_B.double().numpy())
    return nats_I


def trivial_bits_per_byte(run: FinishedRun, text: HeldOutPassages) -> dict[str, float]:
    """Bits per byte of two models that know no language: all tokens alike, and each as often as in training."""
    tokens_K = read_array(run.folder / PREPARED_FOLDER / TOKENS_FILE)
    counts_V = np.bincount(tokens_K, minlength=run.prepared.vocabulary) + 1.0
    bits_V = -np.log2(counts_V / counts_V.sum())
    total_bytes = float(text.bytes_I.sum())
    uniform = np.log2(run.prepared.vocabulary) * sum(map(len, text.passages))
    unigram = sum(float(bits_V[passage].sum()) for passage in text.passages)
    return {"constant": float(uniform) / total_bytes, "unigram": unigram / total_bytes}
