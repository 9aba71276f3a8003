"""The engine's life with a stand-in for vLLM: weights replaced, caches emptied, a death survived once."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from e2lm import UserError
from e2lm_adapters.scoring.check import compared
from e2lm_adapters.scoring.prefix_tree import TokenRequest
from e2lm_adapters.vllm.engine import SwapFailedError, VllmEngine, sampling_options
from e2lm_adapters.vllm.scoring import PromptScore, Way, prompt_score

FIRST, SECOND = Path("run/checkpoint-0"), Path("run/checkpoint-10")
OLD_OPTIONS = ("temperature", "max_tokens", "detokenize", "prompt_logprobs")
SHARED = (*OLD_OPTIONS, "skip_reading_prefix_cache", "flat_logprobs")
NEWEST = (*SHARED, "prompt_logprob_token_ids", "prompt_logprob_start")


class EngineDeadError(Exception):
    """Called like vLLM's own."""


class SamplingParams:
    __struct_fields__: tuple[str, ...] = NEWEST

    def __init__(self, **options: Any) -> None:
        assert set(options) <= set(self.__struct_fields__)
        self.options = options


@dataclass
class StandIn:
    """Does what the list of deeds says next: an exception is raised, anything else is no trouble."""

    folder: Path
    troubles: list[Exception]
    deeds: list[tuple[str, Any]] = field(default_factory=list)
    empties_cache: bool = True
    warns: tuple[str, ...] = ()
    v2: bool = True

    def _next(self) -> None:
        if self.troubles:
            raise self.troubles.pop(0)

    def generate(self, prompts: Sequence[Any], parameters: Any, **_: Any) -> list[Any]:
        self._next()
        self.deeds.append(("generate", parameters))
        output = types.SimpleNamespace(outputs=[types.SimpleNamespace(token_ids=[7])], num_cached_tokens=0)
        return [output for _ in prompts]

    def collective_rpc(self, method: str, kwargs: dict[str, Any]) -> list[list[str]]:
        self._next()
        self.deeds.append((method, kwargs))
        return [list(self.warns)]

    def reset_prefix_cache(self) -> bool:
        self.deeds.append(("reset_prefix_cache", None))
        return self.empties_cache

    @property
    def llm_engine(self) -> Any:
        cache = types.SimpleNamespace(block_size=16, num_gpu_blocks=10, enable_prefix_caching=True)
        model = types.SimpleNamespace(dtype=torch.float32)
        config = types.SimpleNamespace(cache_config=cache, model_config=model, use_v2_model_runner=self.v2)
        return types.SimpleNamespace(vllm_config=config)


class Builder:
    """Builds stand-ins, each with its own list of troubles."""

    def __init__(self, *troubles: list[Exception]) -> None:
        self.troubles = list(troubles)
        self.built: list[StandIn] = []

    def __call__(self, folder: Path) -> StandIn:
        self.built.append(StandIn(folder, self.troubles.pop(0) if self.troubles else []))
        return self.built[-1]


@pytest.fixture(autouse=True)
def stand_in_for_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("vllm")
    module.SamplingParams = SamplingParams
    module.TokensPrompt = dict
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setitem(sys.modules, "vllm.distributed", None)
    monkeypatch.setattr(SamplingParams, "__struct_fields__", NEWEST)


# -- weights ------------------------------------------------------------------------------------------------------


def test_the_prefix_cache_is_emptied_after_every_change_of_weights() -> None:
    builder = Builder()
    engine = VllmEngine(builder, FIRST, own_process=False)
    engine.load_folder(SECOND)
    engine.load_folder(FIRST)
    (llm,) = builder.built
    names = [name for name, _ in llm.deeds]
    assert names == ["reload_weights_and_listen", "reset_prefix_cache"] * 2
    assert llm.deeds[0][1] == {"weights_path": str(SECOND)}
    assert engine.folder == FIRST


def test_a_cache_that_is_not_emptied_is_an_error() -> None:
    engine = VllmEngine(Builder(), FIRST, own_process=False)
    engine.llm.empties_cache = False
    with pytest.raises(SwapFailedError, match="did not empty its prefix cache"):
        engine.load_folder(SECOND)


def test_a_warning_of_vllm_while_it_replaces_weights_fails_the_swap() -> None:
    engine = VllmEngine(Builder(), FIRST, own_process=False)
    engine.llm.warns = ("Following weights were not loaded from checkpoint: {'model.norm.weight'}",)
    with pytest.raises(SwapFailedError, match=r"vLLM warned when it replaced the weights \(Following weights were not"):
        engine.load_folder(SECOND)


def test_weights_that_cannot_be_replaced_fail_the_swap_and_a_fresh_engine_may_follow() -> None:
    builder = Builder([ValueError("no such layer")])
    engine = VllmEngine(builder, FIRST, own_process=False)
    with pytest.raises(SwapFailedError, match=r"cannot replace the weights in place \(ValueError: no such layer\)"):
        engine.load_folder(SECOND)
    engine.replace(SECOND)
    assert [one.folder for one in builder.built] == [FIRST, SECOND]


def test_workers_that_are_the_users_own_are_asked_by_vllms_own_name_and_heard_as_little_as_before() -> None:
    engine = VllmEngine(Builder(), FIRST, own_process=False, listens=False)
    engine.llm.collective_rpc = lambda method, kwargs: engine.llm.deeds.append((method, kwargs)) or [None]
    engine.load_folder(SECOND)
    assert engine.llm.deeds[0] == ("reload_weights", {"weights_path": str(SECOND)})


# -- life and death -----------------------------------------------------------------------------------------------


def test_a_dead_process_is_started_again_once_with_the_weights_of_the_moment() -> None:
    builder = Builder([])
    engine = VllmEngine(builder, FIRST, own_process=True)
    engine.load_folder(SECOND)
    engine.llm.troubles.append(EngineDeadError())
    assert engine.warm([(1, 2)]) == [7]
    assert [one.folder for one in builder.built] == [FIRST, SECOND]
    assert engine.deaths == 1


def test_a_process_that_dies_while_weights_are_replaced_comes_back_with_the_new_ones() -> None:
    builder = Builder([EngineDeadError()])
    engine = VllmEngine(builder, FIRST, own_process=True)
    engine.load_folder(SECOND)
    assert [one.folder for one in builder.built] == [FIRST, SECOND]
    assert ("reset_prefix_cache", None) in builder.built[1].deeds


def test_the_second_death_is_one_clear_line() -> None:
    engine = VllmEngine(Builder([EngineDeadError()], [EngineDeadError()]), FIRST, own_process=True)
    with pytest.raises(UserError, match=r"died 2 times .*what was finished is kept, the same command goes on") as told:
        engine.warm([(1,)])
    assert "\n" not in str(told.value)


def test_an_engine_that_does_not_start_or_cannot_run_the_model_is_one_line() -> None:
    def broken(folder: Path) -> Any:
        raise RuntimeError("no\n  memory")

    with pytest.raises(UserError, match=r"does not start \(RuntimeError: no memory\)"):
        VllmEngine(broken, FIRST, own_process=False)
    engine = VllmEngine(Builder([RuntimeError("head_dim=16")]), FIRST, own_process=False)
    with pytest.raises(UserError, match=r"cannot run this model \(RuntimeError: head_dim=16\)"):
        engine.warm([(1,)])


def test_an_error_of_an_engine_that_has_worked_is_not_blamed_on_the_model() -> None:
    engine = VllmEngine(Builder([]), FIRST, own_process=False)
    engine.warm([(1,)])
    engine.llm.troubles.append(RuntimeError("a mistake of ours"))
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        engine.warm([(1,)])


# -- which way ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "v2", "way"),
    [
        (NEWEST, True, Way.TOKEN_IDS),
        (NEWEST, False, Way.RANKS),
        (SHARED, True, Way.RANKS),
        (OLD_OPTIONS, True, Way.PLAIN),
    ],
)
def test_the_way_of_scoring_is_what_this_vllm_offers(
    options: tuple[str, ...], v2: bool, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SamplingParams, "__struct_fields__", options)
    engine = VllmEngine(Builder(), FIRST, own_process=False)
    engine.llm.v2 = v2
    found, reason = engine.best_way()
    assert found is way
    assert (reason is None) == (way is not Way.PLAIN)
    assert sampling_options() == frozenset(options)


def test_chosen_token_ids_are_asked_for_from_the_last_token_of_the_context_on() -> None:
    engine = VllmEngine(Builder(), FIRST, own_process=False)
    engine.score([TokenRequest((1, 2, 3), (4, 5))], Way.TOKEN_IDS)
    ((_, (parameters,)),) = engine.llm.deeds
    assert parameters.options["prompt_logprob_start"] == 2
    assert parameters.options["prompt_logprob_token_ids"] == [[4], [5]]
    assert parameters.options["skip_reading_prefix_cache"] is False


# -- answers ------------------------------------------------------------------------------------------------------

REQUEST = TokenRequest((9, 9), (4, 5))


@dataclass
class Entry:
    logprob: float
    rank: int


class Flat(list[None]):
    """Laid out as vLLM's FlatLogprobs: nothing for the first token, then one stretch of entries per token."""

    def __init__(self, rows: Sequence[Sequence[Entry]]) -> None:
        super().__init__([None] * (len(rows) + 1))
        self.start_indices, self.end_indices = [0], [0]
        self.logprobs: list[float] = []
        self.ranks: list[int] = []
        for row in rows:
            self.start_indices.append(len(self.logprobs))
            self.logprobs += [entry.logprob for entry in row]
            self.ranks += [entry.rank for entry in row]
            self.end_indices.append(len(self.logprobs))


def output(rows: Any, cached: int | None = 0) -> Any:
    return types.SimpleNamespace(prompt_logprobs=rows, num_cached_tokens=cached)


def both_forms(*rows: tuple[Entry, ...]) -> list[Any]:
    """``rows``: the token's own entry first, then the most likely token's."""
    prompt = (9, 4, 5)
    tables = [
        {prompt[position]: row[0], **({1000: row[1]} if len(row) > 1 else {})} for position, row in enumerate(rows)
    ]
    return [output([None, *tables]), output(Flat(rows))]


@pytest.mark.parametrize("form", [0, 1])
def test_log_probabilities_and_greedy_flags_are_read_from_both_forms(form: int) -> None:
    rows = (Entry(-9.0, 1),), (Entry(-1.5, 1),), (Entry(-0.5, 1),)
    assert prompt_score(both_forms(*rows)[form], REQUEST, Way.RANKS) == PromptScore((-1.5, -0.5), True, 0)
    beaten = (Entry(-9.0, 1),), (Entry(-1.5, 2), Entry(-1.4, 1)), (Entry(-0.5, 1),)
    assert prompt_score(both_forms(*beaten)[form], REQUEST, Way.RANKS).greedy is False


@pytest.mark.parametrize("way", [Way.RANKS, Way.PLAIN])
@pytest.mark.parametrize("form", [0, 1])
def test_positions_that_are_tied_for_the_first_place_are_told_whatever_the_way(form: int, way: Way) -> None:
    tied = (Entry(-9.0, 1), Entry(-1.0, 1)), (Entry(-1.5, 2), Entry(-1.5, 1)), (Entry(-0.5, 7), Entry(-0.5, 1))
    found = prompt_score(both_forms(*tied)[form], REQUEST, way)
    assert (found.greedy, found.tied_T) == (None, (0, 1))
    # one token that is beaten settles it, whatever the others are
    beaten = (Entry(-9.0, 1), Entry(-1.0, 1)), (Entry(-1.5, 2), Entry(-1.5, 1)), (Entry(-0.5, 2), Entry(-0.4, 1))
    found = prompt_score(both_forms(*beaten)[form], REQUEST, way)
    assert (found.greedy, found.tied_T) == (False, ())


def test_missing_rows_and_an_unknown_number_of_cached_tokens_are_never_believed() -> None:
    assert prompt_score(output(None), REQUEST, Way.RANKS).logprobs_T is None
    assert prompt_score(output([None, {}]), REQUEST, Way.RANKS).logprobs_T is None
    rows = both_forms((Entry(-9.0, 1),), (Entry(-1.5, 1),), (Entry(-0.5, 1),))[0].prompt_logprobs
    assert prompt_score(output(rows, None), REQUEST, Way.RANKS).cached_tokens > 1_000_000


def test_scores_of_chosen_ids_come_without_a_greedy_flag() -> None:
    given = types.SimpleNamespace(prompt_token_id_logprobs=[[-1.0], [-2.0]], num_cached_tokens=1)
    assert prompt_score(given, REQUEST, Way.TOKEN_IDS) == PromptScore((-1.0, -2.0), None, 1)
    given.prompt_token_id_logprobs = None
    assert prompt_score(given, REQUEST, Way.TOKEN_IDS).logprobs_T is None


def test_not_a_number_is_a_difference() -> None:
    assert not compared([(float("nan"), True)], [(-1.0, True)], half=True).agrees
    assert compared([(-100.0, True)], [(-100.0005, False)], half=False).greedy_differences == 1
