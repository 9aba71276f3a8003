"""The rules of a competition: every limit that a submission is checked against."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from e2lm.noun import Noun

MIB = 1 << 20

Share = Annotated[float, Field(ge=0, le=1)]


class BundleLimits(Noun):
    """How large a bundle may be. PyPI's upload rules are the model (warehouse, ``forklift/legacy.py``)."""

    archive_bytes: Annotated[int, Field(gt=0)] = 32 * MIB
    total_bytes: Annotated[int, Field(gt=0)] = 48 * MIB
    members: Annotated[int, Field(gt=0)] = 2000
    #: Unpacked size over packed size, once more than ``ratio_from_bytes`` are unpacked.
    ratio: Annotated[float, Field(gt=1)] = 50.0
    ratio_from_bytes: Annotated[int, Field(ge=0)] = 4 * MIB
    name_bytes: Annotated[int, Field(gt=0)] = 200
    depth: Annotated[int, Field(gt=0)] = 8
    row_bytes: Annotated[int, Field(gt=0)] = 64 * 1024
    code_bytes: Annotated[int, Field(gt=0)] = 512 * 1024
    yaml_bytes: Annotated[int, Field(gt=0)] = 64 * 1024


class SeasonRules(Noun):
    """Defaults are those of the NeurIPS 2025 E2LM competition where it had one.

    ``bytes_per_token`` turns the token limit into bytes where no ``tokenizer`` (path of a ``tokenizer.json``) is named:
    byte-level BPE on English has 3.5 to 4.5 bytes per token, so 3 errs on the safe side.
    """

    schema_version: Literal[1] = 1
    languages: tuple[str, ...] = ("en",)
    max_tokens: Annotated[int, Field(gt=0)] = 2048
    bytes_per_token: Annotated[float, Field(gt=0)] = 3.0
    tokenizer: str | None = None
    min_items: Annotated[int, Field(gt=0)] = 100
    max_items: Annotated[int, Field(gt=0)] = 15_000
    min_choices: Annotated[int, Field(ge=2)] = 2
    max_choices: Annotated[int, Field(ge=2)] = 26
    max_tasks: Annotated[int, Field(gt=0)] = 20
    #: Answers shorter than this are labels ("A", "yes"), of which the prompt may speak.
    label_chars: Annotated[int, Field(ge=0)] = 3
    max_answer_in_prompt: Share = 0.02
    max_duplicates: Share = 0.02
    #: Share of English running text that is made of the commonest words; half of the usual share suffices.
    min_common_words: Share = 0.08
    submissions_per_day: Annotated[int, Field(gt=0)] = 10
    #: Items shared with an earlier submission of another team, or with a declared corpus.
    max_similarity: Share = 0.2
    code_allowed: bool = True
    #: An item metric is a few lines; a table of answers would be more.
    metric_code_bytes: Annotated[int, Field(gt=0)] = 4096
    limits: BundleLimits = BundleLimits()

    @property
    def max_prompt_bytes(self) -> int:
        """The token limit in bytes, where no tokenizer is named."""
        return int(self.max_tokens * self.bytes_per_token)
