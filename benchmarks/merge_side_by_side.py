"""One merge config through mergekit and through e2lm: the tensors of both, and how they compare.

What ``merge_fuzz.py`` and ``merge_examples.py`` stand on: tiny models, both tools in one process, equal masks for both.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

LAYERS = 3
SHAPE: dict[str, Any] = {
    "vocab_size": 48, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 32, "head_dim": 8, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 0,
}  # fmt: skip
GPT2 = {"vocab_size": 48, "n_positions": 32, "n_embd": 16, "n_layer": LAYERS, "n_head": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": SHAPE, "mistral": SHAPE, "qwen2": SHAPE, "qwen3": SHAPE, "gemma2": SHAPE, "olmo2": SHAPE, "gpt2": GPT2,
    "phi3": SHAPE,
}  # fmt: skip

#: Outcomes of configs that were compared number by number.
EQUAL = (
    "equal bits",
    "within the last place",
    "within the last place of mergekit in float64",
    "within the last place but for padding",
)
#: Models with tokenizers, and with vocabularies that differ, by what they are made of.
WORDED = {"llama-words": "llama", "gpt2-words": "gpt2"}
SPECIAL = ("<s>", "</s>", "<pad>")
VOCABULARIES = {
    "base": (*SPECIAL, *(f"w{n}" for n in range(40))),
    "a": (*SPECIAL, *(f"w{n}" for n in range(44, 4, -1))),
    "b": (*SPECIAL, *(f"w{n}" for n in range(30))),
    "c": (*SPECIAL, *(f"w{n}" for n in range(40))),
}
#: Added to the vocabulary of b; c has rows for more tokens than it knows.
ADDED, ROWS_OF_C = "<tool>", 48
TOLERANCE = 2.4e-7
#: One place more or less of bfloat16, where the last float32 place decides.
HALF_TOLERANCE = {torch.bfloat16: 2**-7, torch.float16: 2**-10}
HALVES = ("bfloat16", "float16")


def write_models(root: Path) -> None:
    """A base and three fine-tunes of every family."""
    import transformers

    for name, shape in FAMILIES.items():
        config = transformers.AutoConfig.for_model(name, **shape)
        write_family(root / name, lambda part, config=config: transformers.AutoModelForCausalLM.from_config(config))
    for name, family in WORDED.items():

        def made(part: str, family: str = family) -> Any:
            rows = ROWS_OF_C if part == "c" else len(VOCABULARIES[part]) + (part == "b")
            config = transformers.AutoConfig.for_model(family, **{**FAMILIES[family], "vocab_size": rows})
            return transformers.AutoModelForCausalLM.from_config(config)

        write_family(root / name, made)
        for part in VOCABULARIES:
            _write_tokenizer(root / name / part, part)


def write_family(folder: Path, made: Callable[[str], Any]) -> None:
    """A base and three fine-tunes in ``folder``, each as ``made`` of its name gives it."""
    for index, part in enumerate(("base", "a", "b", "c")):
        model = made(part)
        torch.manual_seed(0)
        base = {key: torch.randn_like(one) * 0.05 for key, one in model.named_parameters()}
        torch.manual_seed(index + 1)
        with torch.no_grad():
            for key, one in model.named_parameters():
                one.copy_(base[key] + (0.01 * torch.randn_like(one) if index else 0))
        model.save_pretrained(folder / part)


def _write_tokenizer(folder: Path, part: str) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: place for place, word in enumerate(VOCABULARIES[part])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    whole = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<pad>"
    )
    if part == "b":
        whole.add_special_tokens({"additional_special_tokens": [ADDED]})
    whole.save_pretrained(folder)


@dataclass(frozen=True)
class Made:
    """Merged tensors, and the output's tokens by number where the config speaks of them."""

    tensors: dict[str, torch.Tensor]
    tokens: tuple[str, ...] | None = None

    @property
    def without_padding(self) -> Made:
        """The same without the rows of the embeddings that stand for no token."""
        if self.tokens is None:
            return self
        count = len(self.tokens)
        cut = {name: one[:count] if _has_row_per_token(name) else one for name, one in self.tensors.items()}
        return Made(cut, self.tokens)

    def in_order_of(self, other: Made) -> Made:
        """The same with the rows of the embeddings in the order of ``other``'s tokens, where both have the same."""
        if self.tokens is None or other.tokens is None or set(self.tokens) != set(other.tokens):
            return self
        place = {token: index for index, token in enumerate(self.tokens)}
        order = [place[token] for token in other.tokens]
        return Made(
            {
                name: torch.cat((one[order], one[len(order) :])) if _has_row_per_token(name) else one
                for name, one in self.tensors.items()
            },
            other.tokens,
        )


def _has_row_per_token(name: str) -> bool:
    return any(end in name for end in EMBEDDINGS)


EMBEDDINGS = ("embed_tokens.", "wte.", "lm_head.")


def by_mergekit(text: str, wide: bool = False, halved: bool = False) -> Made:
    """The merged tensors as mergekit makes them; ``wide`` has it compute in float64, ``halved`` as its dtype says."""
    from mergekit.architecture import get_architecture_info
    from mergekit.config import MergeConfiguration
    from mergekit.graph import Executor
    from mergekit.io.tasks import LoaderCache
    from mergekit.merge import _model_out_config
    from mergekit.options import MergeOptions
    from mergekit.plan import MergePlanner
    from mergekit.tokenizer import TokenizerInfo

    options = MergeOptions(quiet=True, random_seed=0)
    # Arithmetic in bfloat16 is left out on purpose: e2lm's docs say that dtype is the output's type alone.
    data = yaml.safe_load(text)
    if data.get("dtype") in HALVES and not halved:
        data["dtype"], data["out_dtype"] = "float32", data.get("out_dtype", data["dtype"])
    if wide:
        data["dtype"], data["out_dtype"] = "float64", data.get("out_dtype", "float32")
    config = MergeConfiguration.model_validate(data)
    architecture = get_architecture_info(config, options)
    LoaderCache().setup(options=options)
    out = _model_out_config(config, architecture)
    planner = MergePlanner(config, architecture, options=options, out_model_config=out)
    planner._plan()
    weights = {id(task): weight for weight, task in planner._tensors}
    kept = [task for _, task in planner._tensors]
    found, tokens = {}, None
    asked = [*kept, *([planner._tokenizer_task] if planner._tokenizer_task else [])]
    for task, value in Executor(targets=asked, math_device="cpu", storage_device="cpu").run(quiet=True):
        if isinstance(value, TokenizerInfo):
            words = value.tokenizer.get_vocab()
            tokens = tuple(sorted(words, key=words.__getitem__))
        elif value is not None:
            kind = weights[id(task)].force_dtype or config.out_dtype
            found[weights[id(task)].name] = value if kind is None else value.to(getattr(torch, kind))
    return Made(found, tokens)


def by_e2lm(text: str) -> Made:
    """The merged tensors as e2lm makes them."""
    from e2lm_merge.output.in_memory import merged_tensors
    from e2lm_merge.plan.merge_plan import plan_merge
    from e2lm_merge.plan.recipe import read_recipe

    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(text)
        file.flush()
        plan = plan_merge(read_recipe(Path(file.name)))
        return Made(merged_tensors(plan, 1), None if plan.vocabulary is None else plan.vocabulary.tokens)


@dataclass
class Tally:
    """What became of the configs, and which keys of mergekit's were in those that came out equal."""

    outcomes: Counter[str] = field(default_factory=Counter)
    methods: dict[str, Counter[str]] = field(default_factory=dict)
    keys: Counter[str] = field(default_factory=Counter)
    looked_for: Counter[str] = field(default_factory=Counter)
    traits: Counter[str] = field(default_factory=Counter)
    asked: dict[str, Counter[str]] = field(default_factory=dict)
    tries: Counter[str] = field(default_factory=Counter)
    worst: float = 0.0
    found: list[dict[str, str]] = field(default_factory=list)

    @staticmethod
    def from_data(data: dict[str, Any]) -> Tally:
        """What :meth:`as_data` gave."""
        counted = {name: {key: Counter(one) for key, one in data[name].items()} for name in ("methods", "parameters")}
        return Tally(
            Counter(data["outcomes"]), counted["methods"], Counter(data["keys"]), Counter(data["looked_for"]),
            Counter(data["traits"]), counted["parameters"], Counter(data["tries"]), data["worst_float32"],
            data["found"],
        )  # fmt: skip

    def as_data(self) -> dict[str, Any]:
        """Everything, for a file."""
        return {
            "outcomes": self.outcomes, "methods": self.methods, "parameters": self.asked, "keys": self.keys,
            "looked_for": self.looked_for, "tries": self.tries, "traits": self.traits,
            "worst_float32": self.worst, "found": self.found,
        }  # fmt: skip


def compare(text: str, tally: Tally) -> str:
    """The outcome of one config."""
    made = [_tried(by_mergekit, text), _tried(by_e2lm, text)]
    theirs, ours = made
    if isinstance(theirs, str):
        return "refused by both" if isinstance(ours, str) else f"refused by mergekit alone: {theirs[:70]}"
    if isinstance(ours, str):
        return f"refused: {ours.rpartition(': ')[2][:90]}"
    found = _compared(theirs, ours, tally)
    if found.startswith("DIFFER") and not _compared(theirs.without_padding, ours.without_padding, tally).startswith(
        "D"
    ):
        # Rows of padding are one mean; of their equal magnitudes each side keeps others where densities cut.
        return f"within the last place but for padding: {found}"
    if found.startswith("DIFFER"):
        exact = _tried(lambda again: by_mergekit(again, wide=True), text)
        if not isinstance(exact, str) and not _compared(exact, ours, Tally()).startswith("DIFFER"):
            return f"within the last place of mergekit in float64: {found}"
    return found


def _tried(make: Callable[[str], Made], text: str) -> Made | str:
    try:
        return make(text)
    except Exception as error:
        return f"{type(error).__name__}: {error}".replace("\n", " ")


def _compared(made: Made, own: Made, tally: Tally) -> str:
    if set(made.tokens or ()) != set(own.tokens or ()):
        return f"DIFFER: tokens {sorted(set(made.tokens or ()) ^ set(own.tokens or ()))[:3]}"
    theirs, ours = made.in_order_of(own).tensors, own.tensors
    if set(theirs) != set(ours):
        return f"DIFFER: tensors {sorted(set(theirs) ^ set(ours))[:3]}"
    equal = True
    for name, one in theirs.items():
        other = ours[name]
        if one.shape != other.shape or one.dtype != other.dtype:
            return f"DIFFER: {name} is {one.dtype} {list(one.shape)} and {other.dtype} {list(other.shape)}"
        scale = max(1.0, float(one.double().abs().max())) if one.numel() else 1.0
        off = float((one.double() - other.double()).abs().max()) / scale if one.numel() else 0.0
        if not off <= HALF_TOLERANCE.get(one.dtype, TOLERANCE):
            return f"DIFFER: {name} by {off:.3g}"
        tally.worst = max(tally.worst, off if one.dtype == torch.float32 else 0.0)
        equal &= torch.equal(one, other)
    return "equal bits" if equal else "within the last place"


class SameDraws:
    """Random words out of the magnitudes they are drawn for: of equal differences both sides drop the same."""

    def __init__(self) -> None:
        import mergekit.sparsify

        import e2lm_merge.methods.dare

        for name in ("bernoulli", "della_magprune"):
            setattr(mergekit.sparsify, name, self._noting(getattr(mergekit.sparsify, name)))
        torch.bernoulli = self._drawn  # type: ignore[assignment]
        e2lm_merge.methods.dare.random_words = lambda group, index, count: _words(group.tensors[index])
        self.now = torch.empty(0)

    def _noting(self, sparsified: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def noted(tensor: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:
            self.now = tensor
            return sparsified(tensor, *more, **named)

        return noted

    def _drawn(self, chances: torch.Tensor) -> torch.Tensor:
        from e2lm_merge.methods.dare import word_limits

        limits = word_limits(chances.double().reshape(-1).numpy())
        return torch.from_numpy(_words(self.now) < limits).to(chances.dtype).reshape(chances.shape)


def _words(numbers: torch.Tensor) -> Any:
    # Of float64 differences as of float32 ones, so that mergekit drops the same where it computes in float64.
    magnitudes = numbers.detach().float().abs().reshape(-1).contiguous().numpy()
    seed = int.from_bytes(hashlib.sha256(magnitudes.tobytes()).digest())
    words = np.random.SFC64(np.random.SeedSequence(seed)).random_raw((len(magnitudes) + 1) // 2)
    return words.view(np.uint32)[: len(magnitudes)]
