"""The output's tokenizer, and out of which rows of which models its embeddings are made.

What is merged is then one row per token, whatever numbers the models give it: every model's embedding is read through
:class:`RowsByToken` as if it were stored in the order of the output. Shape suffixes: V tokens of the output, M models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.errors import UserError, nearest_names, one_line
from e2lm_merge.numbers.formats import TYPE_BYTES, Bytes, Narrower, empty_bytes, widen
from e2lm_merge.numbers.stored import StoredNumbers
from e2lm_merge.plan.recipe import ModelToken, TokenRule, VocabularyRecipe
from e2lm_merge.plan.source import ModelSource, text_part

Places = NDArray[np.int64]

#: In the place of a model: a row of zeros, the mean of all models that know the token.
ZERO, AVERAGE = -1, -2

#: Ends of the names of tensors that have a row for every token.
BY_TOKEN = (
    "embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "embeddings.weight",
    "lm_head.weight", "lm_head.bias", "embed_out.weight",
)  # fmt: skip

#: Files of a folder that are its tokenizer.
TOKENIZER_FILES = (
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges*", "*.model", "*.tiktoken",
    "*.spm", "*.bpe", "chat_template*", "additional_chat_templates/*",
)  # fmt: skip

#: Fields of a config that name tokens by number.
TOKEN_FIELDS = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "unk_token_id",
    "sep_token_id",
    "decoder_start_token_id",
)

#: Rows that are added up at a time where their mean is asked for.
MEAN_NUMBERS = 1 << 20


def has_row_per_token(name: str) -> bool:
    """Whether a tensor has a row for every token.

    >>> has_row_per_token("model.embed_tokens.weight"), has_row_per_token("model.norm.weight")
    (True, False)
    """
    return any(name == end or name.endswith(f".{end}") for end in BY_TOKEN)


def is_of_tokenizer(path: Path) -> bool:
    """Whether a file of a model's folder belongs to its tokenizer."""
    return any(fnmatchcase(str(path), pattern) for pattern in TOKENIZER_FILES)


@dataclass(frozen=True)
class OutputVocabulary:
    """``tokens`` of the output by number, and where each is in every model, by the model's label: -1 is nowhere.

    ``files`` is the model whose tokenizer is taken as it is, None where ``tokenizer`` is a new one. ``rows`` is how
    many rows embeddings have; what goes beyond the tokens is the mean of the others.
    """

    tokenizer: Any
    files: ModelSource | None
    tokens: tuple[str, ...]
    rows: int
    places: Mapping[str, Places]
    rules: Mapping[int, tuple[TokenRule, int]] = field(default_factory=dict)
    base: str | None = None

    @cached_property
    def digest(self) -> str:
        """Of all that decides the rows of the output."""
        told = sha256(repr((self.rows, self.tokens, sorted(self.rules.items(), key=str))).encode())
        for label, places_V in sorted(self.places.items()):
            told.update(label.encode() + places_V.tobytes())
        return told.hexdigest()

    def numbers(self, mine: str, stored: Mapping[str, StoredNumbers]) -> RowsByToken:
        """The embedding of the model ``mine`` in the order of the output; ``stored`` are those of all that are merged.

        A :class:`UserError` where a rule asks for a row of a model that is not among them.
        """
        labels = tuple(stored)
        model_V, row_V = self._defaults(labels, mine)
        kinds = {one.dtype for one in stored.values()}
        dtype = kinds.pop() if len(kinds) == 1 else "F32"
        means = {
            place: tuple(
                (index, int(self.places[label][place]))
                for index, label in enumerate(labels)
                if self.places[label][place] >= 0
            )
            for place in np.flatnonzero(model_V == AVERAGE).tolist()
        }
        return RowsByToken(mine, dtype, self.rows, tuple(stored.values()), model_V, row_V, means)

    def _defaults(self, labels: Sequence[str], mine: str) -> tuple[Places, Places]:
        """Model and row of every token in the embedding of ``mine``."""
        places_MV = np.stack([self.places[label] for label in labels])
        known_MV = places_MV >= 0
        count_V = known_MV.sum(axis=0)
        model_V = np.where(count_V == 0, ZERO, np.where(count_V == 1, known_MV.argmax(axis=0), AVERAGE))
        if self.base in labels:
            base = labels.index(self.base)
            model_V = np.where((count_V > 1) & known_MV[base], base, model_V)
        row_V = np.take_along_axis(places_MV, np.maximum(model_V, 0)[None], axis=0)[0]
        forced_V = np.zeros(len(model_V), dtype=bool)
        for place, (rule, row) in self.rules.items():
            forced_V[place] = rule.force
            if not rule.force and known_MV[:, place].all():
                continue
            model_V[place], row_V[place] = self._ruled(place, rule, row, labels)
        own = labels.index(mine)
        takes_own_V = known_MV[own] & ~forced_V
        return np.where(takes_own_V, own, model_V), np.where(takes_own_V, places_MV[own], row_V)

    def _ruled(self, place: int, rule: TokenRule, row: int, labels: Sequence[str]) -> tuple[int, int]:
        where = f"tokenizer.tokens: token {self.tokens[place]!r}"
        if rule.source is None:
            raise UserError(f"{where}: not all models know it, so it needs a source: a model, a model's token, or zero")
        if rule.is_zero:
            return ZERO, 0
        label = rule.model_label
        if label is None or label not in labels:
            raise UserError(f"{where}: {label!r} has no part in this tensor. {nearest_names(str(label), labels)}")
        row = int(self.places[label][place]) if row < 0 else row
        if row < 0:
            raise UserError(f"{where}: {label} does not know it; name another source, or a token of that model")
        return labels.index(label), row


@dataclass(frozen=True)
class RowsByToken:
    """An embedding of one model, its rows in the order of the output's tokens: see :class:`StoredNumbers`.

    ``model_V`` and ``row_V`` say whose row each is, ``means`` of which rows those are the mean that have none.
    """

    label: str
    dtype: str
    rows: int
    stored: tuple[StoredNumbers, ...]
    model_V: Places
    row_V: Places
    means: Mapping[int, tuple[tuple[int, int], ...]]

    @property
    def shape(self) -> tuple[int, ...]:
        """As many rows as the output has, as wide as the model's."""
        return (self.rows, *self.stored[0].shape[1:])

    @property
    def _columns(self) -> int:
        return int(np.prod(self.stored[0].shape[1:], dtype=np.int64))

    def read(self, start: int, into: Bytes) -> None:
        """Fill ``into`` with bytes of the tensor from byte ``start`` on, as if it were stored so."""
        size = self._columns * TYPE_BYTES[self.dtype]
        first, last = start // size, -(-(start + len(into)) // size)
        whole = empty_bytes((last - first) * size)
        for begin, end in self._runs(first, last):
            self._fill(begin, end, whole[(begin - first) * size : (end - first) * size])
        into[:] = whole[start - first * size : start - first * size + len(into)]

    def _runs(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Rows that follow each other in one model, and such that are zero, a mean, or beyond the tokens."""
        known = min(last, len(self.model_V))
        if first < known:
            model, row = self.model_V[first:known], self.row_V[first:known]
            breaks = (np.diff(model) != 0) | ((np.diff(row) != 1) & (model[1:] >= 0)) | (model[1:] == AVERAGE)
            edges = [first, *(first + 1 + np.flatnonzero(breaks)).tolist(), known]
            yield from pairwise(edges)
        if last > max(first, known):
            yield max(first, known), last

    def _fill(self, begin: int, end: int, into: Bytes) -> None:
        if begin >= len(self.model_V):
            into[:] = np.tile(self._stored_as(self._mean_row), end - begin)
        elif self.model_V[begin] == ZERO:
            into[:] = 0
        elif self.model_V[begin] == AVERAGE:
            rows_MN = np.stack([self._floats(index, row, 1) for index, row in self.means[begin]])
            total_N: NDArray[np.float64] = rows_MN.sum(axis=0, dtype=np.float64)
            into[:] = self._stored_as((total_N / len(rows_MN)).astype(np.float32))
        else:
            model, row = int(self.model_V[begin]), int(self.row_V[begin])
            if self.stored[model].dtype == self.dtype:
                self.stored[model].read(row * self._columns * TYPE_BYTES[self.dtype], into)
            else:
                into[:] = self._stored_as(self._floats(model, row, end - begin))

    def _floats(self, model: int, row: int, count: int) -> NDArray[np.float32]:
        """So many rows of one model from ``row`` on, flat."""
        one = self.stored[model]
        bytes_ = empty_bytes(count * self._columns * TYPE_BYTES[one.dtype])
        one.read(row * self._columns * TYPE_BYTES[one.dtype], bytes_)
        numbers_N = np.empty(count * self._columns, dtype=np.float32)
        widen(bytes_, one.dtype, numbers_N)
        return numbers_N

    def _stored_as(self, numbers_N: NDArray[np.float32]) -> Bytes:
        return Narrower(self.dtype).narrow(numbers_N, self.label).copy()

    @cached_property
    def _mean_row(self) -> NDArray[np.float32]:
        """The mean of all tokens' rows."""
        total, count = np.zeros(self._columns), len(self.model_V)
        step = max(1, MEAN_NUMBERS // self._columns)
        for begin in range(0, count, step):
            end = min(count, begin + step)
            bytes_ = empty_bytes((end - begin) * self._columns * TYPE_BYTES[self.dtype])
            self.read(begin * self._columns * TYPE_BYTES[self.dtype], bytes_)
            numbers_N = np.empty((end - begin) * self._columns, dtype=np.float32)
            widen(bytes_, self.dtype, numbers_N)
            total += numbers_N.reshape(end - begin, self._columns).sum(axis=0, dtype=np.float64)
        return (total / count).astype(np.float32)


# -- building ---------------------------------------------------------------------------------------------------------


class VocabularyBuilder:
    """Loads the tokenizers of the models and makes the output's; ``base`` is the model that stands first."""

    def __init__(self, recipe: VocabularyRecipe, models: Sequence[ModelSource], base: ModelSource, known: bool) -> None:
        self.recipe = recipe
        self.base = base
        #: Whether the config names a base: else no model's row goes before those of others.
        self.known_base = known
        self.models = [base, *(model for model in models if model.label != base.label)]
        self.tokenizers = {model.label: _loaded(model.folder) for model in self.models}
        if self.tokenizers[base.label] is None:
            raise UserError(f"{base.label}: no tokenizer that can be loaded; copy its tokenizer files there")

    def vocabulary(self, open_model: Callable[[str], ModelSource]) -> OutputVocabulary:
        """The output's vocabulary; ``open_model`` finds the models that the recipe names."""
        files, tokenizer = self._taken(open_model)
        added = [one for one in self.recipe.tokens if one not in tokenizer.get_vocab()]
        if added:
            tokenizer.add_tokens(added)
        by_place = {place: token for token, place in tokenizer.get_vocab().items()}
        if sorted(by_place) != list(range(len(by_place))):
            raise UserError(
                f"{self.base.label}: the tokenizer's numbers have gaps; merge with the tokenizer of another"
            )
        tokens = tuple(by_place[place] for place in range(len(by_place)))
        pad = self.recipe.pad_to_multiple_of or 1
        rows, places = -(-len(tokens) // pad) * pad, {one.label: self._places(one, tokens) for one in self.models}
        for model in self.models:
            if _rows(model) != rows or (places[model.label] != np.arange(len(tokens))).any():
                _refuse_unknown_rows(model, self.models)
        return OutputVocabulary(
            tokenizer, None if added else files, tokens, rows, places,
            dict(self._rules(tokens, open_model)), self.base.label if self.known_base else None,
        )  # fmt: skip

    def _taken(self, open_model: Callable[[str], ModelSource]) -> tuple[ModelSource | None, Any]:
        """The model whose tokenizer it is, None for one made of several; and the tokenizer, which may be changed."""
        source = self.recipe.source
        if source != "union":
            model = self.base if source == "base" else open_model(source)
            tokenizer = _loaded(model.folder)
            if tokenizer is None:
                raise UserError(f"{model.label}: no tokenizer that can be loaded; copy its tokenizer files there")
            if source == "base":
                self._refuse_unused(model, tokenizer)
            return model, tokenizer
        tokenizer = _loaded(self.base.folder)
        self._refuse_unused(self.base, tokenizer)
        plain, special = self._more_tokens(set(tokenizer.get_vocab()))
        tokenizer.add_tokens(plain)
        tokenizer.add_tokens(special)
        return (None if plain or special else self.base), tokenizer

    def _more_tokens(self, have: set[str]) -> tuple[list[str], list[Any]]:
        """What other models know: plain tokens and added ones, each once, in order of models and their numbers."""
        plain: list[str] = []
        special: dict[str, Any] = {}
        for model in self.models[1:]:
            tokenizer, rows = self.tokenizers[model.label], _rows(model)
            if tokenizer is None:
                continue
            added = {one.content: one for one in tokenizer.added_tokens_decoder.values()}
            for token, place in sorted(tokenizer.get_vocab().items(), key=lambda one: one[1]):
                if place >= rows or token in have:
                    continue
                have.add(token)
                if token in added:
                    special[token] = added[token]
                else:
                    plain.append(token)
        return plain, list(special.values())

    def _refuse_unused(self, model: ModelSource, tokenizer: Any) -> None:
        rows = _rows(model)
        token = next((one for one, place in tokenizer.get_vocab().items() if place >= rows), None)
        if token is not None:
            raise UserError(
                f"{model.label}: its tokenizer knows {token!r}, for which its embedding of {rows} rows has none; "
                "remove such tokens from the tokenizer"
            )

    def _places(self, model: ModelSource, tokens: Sequence[str]) -> Places:
        # A model without a tokenizer of its own has the base's, as in mergekit.
        tokenizer = self.tokenizers[model.label] or self.tokenizers[self.base.label]
        own, rows = tokenizer.get_vocab(), _rows(model)
        places_V = np.array([own.get(token, -1) for token in tokens], dtype=np.int64)
        return np.where(places_V < rows, places_V, -1)

    def _rules(
        self, tokens: Sequence[str], open_model: Callable[[str], ModelSource]
    ) -> Iterator[tuple[int, tuple[TokenRule, int]]]:
        place_of = {token: place for place, token in enumerate(tokens)}
        labels = {model.label for model in self.models}
        for token, rule in self.recipe.tokens.items():
            label, row = rule.model_label, -1
            if label is not None and label not in labels:
                opened = open_model(label)
                found = [one for one in self.models if one.is_same(opened)]
                if not found:
                    raise UserError(f"tokenizer.tokens: token {token!r}: {label} is none of the models")
                rule = rule.of_model(found[0].label)
            if isinstance(rule.source, ModelToken):
                row = self._row_of(rule.source, token)
            yield place_of[token], (rule, row)

    def _row_of(self, source: ModelToken, token: str) -> int:
        model = next(one for one in self.models if one.label == source.model)
        tokenizer = self.tokenizers[model.label] or self.tokenizers[self.base.label]
        row = source.token_id if source.token_id is not None else tokenizer.get_vocab().get(source.token, -1)
        if not 0 <= row < _rows(model):
            asked = source.token_id if source.token_id is not None else source.token
            raise UserError(
                f"tokenizer.tokens: token {token!r}: {model.label} has no token {asked!r} in its {_rows(model)} rows"
            )
        return int(row)


def _loaded(folder: Path) -> Any:
    """The tokenizer in ``folder``; None where there is none."""
    from transformers import AutoTokenizer

    if not any(file for pattern in TOKENIZER_FILES for file in folder.glob(pattern)):
        return None
    try:
        return AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:
        raise UserError(f"{folder}: the tokenizer cannot be loaded ({one_line(error)[:160]})") from error


def _rows(model: ModelSource) -> int:
    """How many tokens the model has a row for."""
    said = text_part(model.config).get("vocab_size")
    stored = [one.shape[0] for name, one in model.index.tensors.items() if has_row_per_token(name)]
    if not stored:
        raise UserError(f"{model.label}: no tensor with a row for every token is known in it; merge without tokenizer")
    return min([*stored, *([said] if isinstance(said, int) else [])])


def _refuse_unknown_rows(model: ModelSource, models: Sequence[ModelSource]) -> None:
    """A :class:`UserError` for a tensor that has as many rows as there are tokens, and is not known to be by token.

    One that has another number than there are tokens in any of ``models`` has as many by chance.
    """
    part = text_part(model.config)
    sizes = {value for name, value in part.items() if isinstance(value, int) and not name.startswith("vocab_size")}
    rows = _known_rows(model) - sizes
    for name, stored in sorted(model.index.tensors.items()):
        if rows & set(stored.shape) and not has_row_per_token(name) and all(_may_be_by_token(name, o) for o in models):
            raise UserError(
                f"{model.label}: tensor {name!r} of shape {list(stored.shape)} has a row for every token, it seems, "
                f"and is none of those that are ordered anew ({', '.join(BY_TOKEN)}); merge "
                "without tokenizer"
            )


def _known_rows(model: ModelSource) -> set[int]:
    return {stored.shape[0] for name, stored in model.index.tensors.items() if has_row_per_token(name)}


def _may_be_by_token(name: str, model: ModelSource) -> bool:
    stored = model.index.tensors.get(name)
    return stored is None or bool(_known_rows(model) & set(stored.shape))


def with_vocabulary(config: Mapping[str, Any], vocabulary: OutputVocabulary, donor: ModelSource) -> dict[str, Any]:
    """The donor's config with the size of the vocabulary, and with its special tokens under their new numbers."""
    found = {**config}
    inside = next((name for name, part in config.items() if part is text_part(config) and name != ""), None)
    part = dict(text_part(config))
    if "vocab_size" in part or inside is None:
        part["vocab_size"] = vocabulary.rows
    part |= renumbered(part, vocabulary, donor)
    if inside is not None:
        return {**found, **renumbered(found, vocabulary, donor), inside: part}
    return part


def renumbered(part: Mapping[str, Any], vocabulary: OutputVocabulary, donor: ModelSource) -> dict[str, Any]:
    """Fields of ``part`` that name tokens of the donor by number, as the output numbers them.

    A token that the output lacks is what its tokenizer has in that place, or None.
    """
    places_V = vocabulary.places[donor.label]
    new = {int(old): place for place, old in enumerate(places_V.tolist()) if old >= 0}

    def of(value: Any, instead: Any) -> Any:
        if isinstance(value, list):
            return [new[one] for one in value if one in new] or instead
        return new.get(value, instead) if isinstance(value, int) and not isinstance(value, bool) else value

    return {
        name: of(part[name], getattr(vocabulary.tokenizer, name, None))
        for name in TOKEN_FIELDS
        if part.get(name) is not None
    }
