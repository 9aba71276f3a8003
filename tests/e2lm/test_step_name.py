"""Which step a name stands for: what trainers and people write, and nothing where a name could mean something else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2lm.step_name import NamedCount, NamedStep, count_of, step_at_start, step_in_path, step_of

#: Name, track, step, tokens.
UNDERSTOOD = [
    ("checkpoint-500", "", 500, None),  # transformers
    ("checkpoint_500", "", 500, None),
    ("checkpoint-100-merged", "", 100, None),  # axolotl
    ("iter_0002000", "", 2000, None),  # Megatron-LM
    ("iter-2000", "", 2000, None),
    ("iteration_20", "", 20, None),
    ("step1000", "", 1000, None),  # Pythia
    ("step0", "", 0, None),
    ("Step1000", "", 1000, None),
    ("step_1000", "", 1000, None),
    ("step-00001000", "", 1000, None),  # litgpt, torchtitan
    ("step=1000", "", 1000, None),
    ("step16k", "", 16_000, None),
    ("global_step1000", "", 1000, None),  # DeepSpeed, GPT-NeoX
    ("global_step_1000", "", 1000, None),  # verl
    ("step1000-unsharded", "", 1000, None),  # OLMo
    ("step1000-unsharded-hf", "", 1000, None),
    ("step1000-tokens4B", "", 1000, 4_000_000_000),  # OLMo on the Hub
    ("step99000-tokens415B", "", 99_000, 415_000_000_000),
    ("step10-tokens1.5M", "", 10, 1_500_000),
    ("step10-tokens512M", "", 10, 512_000_000),
    ("stage1-step1000-tokens4B", "stage1", 1000, 4_000_000_000),  # OLMo 2
    ("stage2-ingredient3-step11931-tokens50B", "stage2-ingredient3", 11_931, 50_000_000_000),
    ("stage1-step-40000", "stage1", 40_000, None),  # SmolLM3
    ("epoch=1-step=500.ckpt", "", 500, None),  # Lightning
    ("epoch=1-step=500", "", 500, None),
    ("step=00100-val_loss=2.31.ckpt", "", 100, None),
    ("megatron_gpt--val_loss=2.35-step=1000-consumed_samples=2000.0.ckpt", "megatron_gpt", 1000, None),  # NeMo
    ("epoch-3-step-90", "", 90, None),
    ("ckpt-1000", "", 1000, None),
    ("ckpt_0016000_hf", "", 16_000, None),
    ("ckpt_016", "", 16, None),  # LLM360
    ("model_step_1000", "", 1000, None),
    ("ep0-ba1000", "", 1000, None),  # MosaicML Composer
    ("ep0-ba1000-rank0.pt", "", 1000, None),
    ("tiny-step8000.gguf", "tiny", 8000, None),
    ("tiny-model-step8", "tiny-model", 8, None),
    ("run-step500-unsharded", "run", 500, None),
    ("run1/step1000", "run1", 1000, None),  # a branch
    ("TinyLlama-1.1B-step-50K-105b", "TinyLlama-1.1B", 50_000, None),
    ("step-16k-token-32B", "", 16_000, 32_000_000_000),
]

NOT_UNDERSTOOD = [
    # No step is named.
    *("main", "v1.0", "refs/pr/1", "", "step", "stepwise", "checkpoint", "checkpoint-final", "iter_", "best"),
    *("footstep-guide", "steps-100", "warmup-steps-100", "step_\u0661\u0662", "step99999999999999999999"),
    # The number may count something else: epochs, samples, tokens, words, versions, parameters, years.
    *("1000", "0001000", "2024", "epoch_1", "epoch-16", "samples_16000", "tokens_4B", "4B", "chck_1M", "chck_10M"),
    *("Step-3-mini", "checkpoint-16k", "checkpoint-7B", "step1M"),
    # Two numbers, or a variant of which nobody can tell what it is.
    *("checkpoint-100-step-200", "checkpoint_1_5000", "iter2-run-step500", "step1000-seed3", "checkpoint-500-old"),
    # Not whole yet.
    *("tmp-checkpoint-1500", "checkpoint-500.tmp", ".partial-0011-checkpoint-500", "incomplete-step5"),
]


@pytest.mark.parametrize(("name", "track", "step", "tokens"), UNDERSTOOD)
def test_names_that_people_and_trainers_write_are_understood(
    name: str, track: str, step: int, tokens: int | None
) -> None:
    assert step_of(name) == NamedStep(track, step, tokens)


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_a_name_that_could_mean_something_else_means_no_step(name: str) -> None:
    assert step_of(name) is None


@pytest.mark.parametrize(
    ("name", "count", "of"),
    [
        ("epoch_1", 1, "epochs"),
        ("epoch-16", 16, "epochs"),
        ("epochs=03", 3, "epochs"),
        ("chck_1M", 1_000_000, "words"),  # BabyLM
        ("chck_100M", 100_000_000, "words"),
        ("samples_16000", 16_000, "samples"),
        ("0001000", 1000, "numbers"),  # nanotron
    ],
)
def test_a_number_that_counts_something_else_says_what(name: str, count: int, of: str) -> None:
    assert count_of(name) == NamedCount(count, of)
    assert step_of(name) is None


@pytest.mark.parametrize("name", [name for name, *_ in UNDERSTOOD] + ["main", "v1.0", "4B", "best", "step1M", "", "-1"])
def test_what_names_a_step_or_nothing_counts_nothing_else(name: str) -> None:
    assert count_of(name) is None


WORDS = st.sampled_from(["checkpoint", "ckpt", "step", "iter", "iteration", "global_step", "global-step"])
TRACKS = st.sampled_from(["", "stage1", "stage2-ingredient3", "wide", "run_7b", "lr3e-4"])
EPOCHS = st.sampled_from(["", "epoch=2", "epoch-2", "ep2"])
AMOUNTS = st.sampled_from(["", "4B", "512M", "2.5B", "30K", "1T", "7"])
FORMS = st.sampled_from(["", "-unsharded", "-hf", "_merged", "-unsharded-hf", ".ckpt", "-val_loss=2.5"])
UNIT = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def counted(amount: str) -> int | None:
    if not amount:
        return None
    return round(float(amount.rstrip("KMBT")) * UNIT.get(amount[-1], 1))


@st.composite
def named_steps(draw: st.DrawFn) -> tuple[str, NamedStep]:
    """A name, and what it stands for by how it was built."""
    track, epoch, word, amount = draw(TRACKS), draw(EPOCHS), draw(WORDS), draw(AMOUNTS)
    step = draw(st.integers(0, 10**12))
    digits = draw(st.sampled_from(["", "0", "000"])) + str(step)
    tokens = f"-token{draw(st.sampled_from(['', 's', 's-', 's_']))}{amount}" if amount else ""
    before = "".join(part + draw(st.sampled_from("-_")) for part in (track, epoch) if part)
    name = f"{before}{word}{draw(st.sampled_from(['', '-', '_', '=']))}{digits}{tokens}{draw(FORMS)}"
    changed = draw(st.sampled_from([name, name, name.capitalize() if not track else name]))
    return changed, NamedStep(track, step, counted(amount))


@given(named_steps())
def test_step_tokens_and_track_come_out_of_every_name_built_from_them(case: tuple[str, NamedStep]) -> None:
    name, meant = case
    assert step_of(name) == meant


@given(named_steps(), named_steps())
def test_two_steps_in_one_name_are_none(one: tuple[str, NamedStep], two: tuple[str, NamedStep]) -> None:
    assert step_of(f"{one[0]}-{two[0]}") is None


@given(named_steps(), st.lists(st.sampled_from(["runs", "iter2", "a b", "step3"]), max_size=3))
def test_of_a_path_the_last_name_tells(case: tuple[str, NamedStep], above: list[str]) -> None:
    name, meant = case
    run = "wide"
    path = "/".join([*above, run, name])
    for written in (path, f"/{path}", f"{path}/", f"./{path}", f"{path}/model", f"{path}/hf"):
        found = step_in_path(written)
        assert found is not None
        assert found[1] == meant
        assert found[0] == {"": run, "stage1": "wide-stage1", "stage2-ingredient3": "wide-stage2-ingredient3"}.get(
            meant.track, meant.track
        )
    assert step_in_path(f"{path}/final") is None


@given(named_steps(), st.sampled_from(["arc_easy", "mmlu_hs_biology", "x"]))
def test_a_file_of_results_begins_with_its_step(case: tuple[str, NamedStep], rest: str) -> None:
    assert step_at_start(f"{case[0]}_{rest}") == case[1]


def test_a_folder_inside_that_of_its_step_is_of_the_same_run() -> None:
    assert step_in_path("ds/checkpoint-1000/global_step1000") == ("ds", NamedStep("", 1000))
    assert step_in_path("checkpoint-5") == ("", NamedStep("", 5))
    assert step_in_path("") is None
    assert step_in_path("/") is None


@pytest.mark.parametrize("unit", ["a-", "step1-", "x=1-", "tmp.", "0", "step-1k-", "epoch=1-"])
def test_a_long_name_costs_no_time(unit: str) -> None:
    started = time.perf_counter()
    for tail in ("", "step1", "?"):
        step_of(unit * (255 // len(unit)) + tail)
    assert time.perf_counter() - started < 1.0
