"""Held-out items that candidates are scored on: read, split, and their log-likelihoods under a model in memory.

A file holds one JSON object per line: ``{"context": ..., "continuation": ...}``, or ``{"text": ...}`` to score all of
a text. One half selects and the other reports; halves are told apart by a hash of the item, so equal items never stand
on both sides, whatever the file's order. Shape suffixes: I items, B batch, T tokens of an item, V vocabulary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from e2lm.arrays import Values
from e2lm.errors import UserError, nearest_names, one_line
from e2lm.interval import mean_stderr, normal_interval
from e2lm_merge.plan.merge_plan import MergePlan
from e2lm_merge.plan.recipe import Recipe, RecipeScore
from e2lm_merge.plan.source import text_part

ITEM_FIELDS = ("context", "continuation", "text")

#: Hash values are compared with the share as fractions of this.
HASH_RANGE = 1 << 64


@dataclass(frozen=True, slots=True)
class HeldOutItem:
    """What is given and what is scored."""

    context: str
    continuation: str

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of what is scored."""
        return len(self.continuation.encode())

    @property
    def position(self) -> float:
        """A number in [0, 1) that depends on the item alone."""
        digest = sha256(f"{self.context}\0{self.continuation}".encode()).digest()
        return int.from_bytes(digest[:8]) / HASH_RANGE


@dataclass(frozen=True, slots=True)
class HeldOutSplit:
    """Items to select by, and items to report on; no item is in both."""

    selection: tuple[HeldOutItem, ...]
    report: tuple[HeldOutItem, ...]


def read_items(path: Path) -> list[HeldOutItem]:
    """The items in ``path``, each once; a :class:`UserError` names the line at fault."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; give JSON lines with context and continuation, or text") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({one_line(error)})") from error
    found: dict[HeldOutItem, None] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            found[_item(line, f"{path}:{number}")] = None
    if len(found) < 2:
        raise UserError(f"{path}: {len(found)} items; at least 2 are needed, one to select by and one to report on")
    return list(found)


def _item(line: str, where: str) -> HeldOutItem:
    try:
        data = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not valid JSON ({one_line(error)})") from error
    if not isinstance(data, dict):
        raise UserError(f"{where}: found {type(data).__name__}; expected an object with context and continuation")
    for field in data:
        if field not in ITEM_FIELDS:
            raise UserError(f"{where}: unknown field {field!r}. {nearest_names(field, ITEM_FIELDS)}")
    scored = data.get("continuation", data.get("text"))
    context = data.get("context", "")
    if not isinstance(scored, str) or not scored or not isinstance(context, str):
        raise UserError(f"{where}: field 'continuation' (or 'text') must be text that is not empty")
    return HeldOutItem(context, scored)


def split_items(items: Sequence[HeldOutItem], selection_share: float, limit: int | None = None) -> HeldOutSplit:
    """Items on either side of ``selection_share``, in order of their hash; at most ``limit`` on each side.

    Both sides hold at least one item: where the share would leave one empty, the nearest item crosses over.
    """
    ordered = sorted(items, key=lambda item: (item.position, item.context, item.continuation))
    border = sum(item.position < selection_share for item in ordered)
    border = min(max(border, 1), len(ordered) - 1)
    return HeldOutSplit(tuple(ordered[:border][:limit]), tuple(ordered[border:][:limit]))


@dataclass(frozen=True, slots=True)
class EncodedItem:
    """Token ids of context and continuation together, of which the last ``scored`` count."""

    ids: tuple[int, ...]
    scored: int
    bytes: int


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in ``folder``."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:
        raise UserError(f"{folder}: no tokenizer to score with ({one_line(error)[:160]})") from error


def encode_items(items: Sequence[HeldOutItem], tokenizer: Any, max_tokens: int) -> list[EncodedItem]:
    """Items as tokens; contexts are cut at the left where an item is longer than ``max_tokens``.

    What is scored is never cut, since its bytes are what scores are divided by: too long a continuation is a
    :class:`UserError`.

    An empty context becomes the token that texts begin with, where the tokenizer has one, so that the first token of a
    text counts; else scoring starts at its second token.
    """
    encoded = []
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    for item in items:
        context = tokenizer.encode(item.context, add_special_tokens=False) if item.context else []
        if not context and start is not None:
            context = [start]
        continuation = tokenizer.encode(item.continuation, add_special_tokens=False)
        if len(continuation) >= max_tokens > 1:
            raise UserError(
                f"item {item.continuation!r:.60}: {len(continuation)} tokens to score, and the model takes "
                f"{max_tokens}; split the item"
            )
        ids = tuple(context + continuation)[-max_tokens:]
        scored = min(len(continuation), len(ids) - 1)
        if scored < 1:
            raise UserError(f"item {item.continuation!r:.60}: no token is left to score; make it longer")
        encoded.append(EncodedItem(ids, scored, item.bytes))
    return encoded


class ItemScorer:
    """Scores one set of items again and again; ``evaluations`` counts how often."""

    def __init__(self, encoded: Sequence[EncodedItem], batch_size: int = 16, device: str = "cpu") -> None:
        self.encoded = list(encoded)
        self.batch_size = batch_size
        self.device = device
        self.evaluations = 0
        # Items of one length side by side waste least on padding.
        self._order = sorted(range(len(self.encoded)), key=lambda index: len(self.encoded[index].ids))

    def __call__(self, model: Any) -> Values:
        """Nats per byte of every item, shape I, negative; higher is better."""
        self.evaluations += 1
        values_I = np.zeros(len(self.encoded))
        for begin in range(0, len(self._order), self.batch_size):
            part = self._order[begin : begin + self.batch_size]
            values_I[part] = self._batch(model, [self.encoded[index] for index in part])
        return values_I

    def _batch(self, model: Any, items: Sequence[EncodedItem]) -> Values:
        import torch

        longest = max(len(item.ids) for item in items)
        ids_BT = torch.zeros((len(items), longest), dtype=torch.long)
        mask_BT = torch.zeros((len(items), longest), dtype=torch.long)
        for row, item in enumerate(items):
            ids_BT[row, : len(item.ids)] = torch.tensor(item.ids)
            mask_BT[row, : len(item.ids)] = 1
        ids_BT, mask_BT = ids_BT.to(self.device), mask_BT.to(self.device)
        with torch.inference_mode():
            logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT).logits
        found = []
        for row, item in enumerate(items):
            last = len(item.ids)
            rows = torch.log_softmax(logits_BTV[row, last - item.scored - 1 : last - 1].float(), dim=-1)
            wanted = ids_BT[row, last - item.scored : last].unsqueeze(1)
            found.append(float(rows.gather(1, wanted).sum(dtype=torch.float64)) / item.bytes)
        return np.array(found)


UNIT = "nats per byte, higher is better"

#: Of the intervals of scores.
CONFIDENCE = 0.95

#: Names of the number of positions: of most models, GPT-2 and GPT-J, MPT, Whisper and its like.
POSITION_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")
#: Tokens per item where the model's config does not say how many positions it has.
DEFAULT_POSITIONS = 2048


@dataclass(frozen=True, slots=True)
class Scoring:
    """Scorers of the selection items and of the report items, one per task."""

    selection: tuple[ItemScorer, ...]
    report: tuple[ItemScorer, ...]
    counts: tuple[tuple[int, int], ...]


def score_field(recipe: Recipe) -> RecipeScore:
    """The recipe's ``score``; a :class:`UserError` where it is missing."""
    if recipe.score is None:
        raise UserError(
            f"score: missing; {recipe.merge_method!r} scores candidates: give score: {{items: [FILE.jsonl]}}"
        )
    return recipe.score


def build_scoring(score: RecipeScore, plan: MergePlan, near: Path | None, pooled: bool) -> Scoring:
    """Scorers for every items file, or for all of them in one."""
    if plan.vocabulary is not None:
        raise UserError(
            "tokenizer_source: candidates are scored by one tokenizer, and the models beside the merge have their own; "
            "merge into folders and compare these with lm_eval or e2lm eval"
        )
    tokenizer = load_tokenizer(plan.donor.folder)
    positions = _positions(plan.donor.config)
    files = [_found_file(name, near) for name in score.items]
    lists = [read_items(file) for file in files]
    if pooled:
        lists = [[item for items in lists for item in items]]
    splits = [split_items(items, score.selection_share, score.limit) for items in lists]

    def scorer(split: HeldOutSplit, report: bool) -> ItemScorer:
        items = split.report if report else split.selection
        return ItemScorer(encode_items(items, tokenizer, positions), score.batch_size, score.device)

    return Scoring(
        tuple(scorer(split, False) for split in splits),
        tuple(scorer(split, True) for split in splits),
        tuple((len(split.selection), len(split.report)) for split in splits),
    )


def _positions(config: Mapping[str, Any]) -> int:
    """How many tokens a text may have: what the config says, by whichever name."""
    part = text_part(config)
    return int(next((part[name] for name in POSITION_FIELDS if isinstance(part.get(name), int)), DEFAULT_POSITIONS))


def _found_file(name: str, near: Path | None) -> Path:
    beside = None if near is None else near / name
    return beside if beside is not None and beside.is_file() and not Path(name).is_file() else Path(name)


def paired_error(differences_I: Values) -> float:
    """Standard error of the mean of paired differences; infinite for one item, which is no evidence.

    >>> paired_error(np.array([1.0, 3.0])), paired_error(np.array([1.0]))
    (1.0, inf)
    """
    return mean_stderr(differences_I) if len(differences_I) > 1 else inf


def interval_of(values_I: Values) -> dict[str, float]:
    """Mean and interval of scores."""
    return _ends(float(values_I.mean()), mean_stderr(values_I))


def paired_interval(differences_I: Values) -> dict[str, float]:
    """Mean and interval of paired differences."""
    return _ends(float(differences_I.mean()), paired_error(differences_I))


def _ends(mean: float, error: float) -> dict[str, float]:
    low, high = normal_interval(mean, error, CONFIDENCE)
    return {"mean": mean, "low": low, "high": high}
