"""The competition's JSON, with and without gigatokens, and what is said of what it does not hold."""

import json

import pytest

from e2lm.errors import UserError
from e2lm.results import read_scores
from e2lm.results.competition import COMPETITION_RAMP, RUNS, BatchRamp

#: Iteration and gigatokens as the competition publishes them.
PUBLISHED = {
    2000: 2.097152, 4000: 4.194304, 8000: 10.110550016, 12000: 21.442762069333337,
    56000: 205.99213806933335, 64000: 239.54657006933334,
}  # fmt: skip


def written(tmp_path, **columns):
    path = tmp_path / "entry.json"
    path.write_text(json.dumps({"data": {"dense-1b-arch1": columns}}))
    return path


def test_the_batch_ramp_gives_the_published_gigatokens():
    assert {step: COMPETITION_RAMP.tokens(step) / 1e9 for step in PUBLISHED} == pytest.approx(PUBLISHED, rel=1e-12)


def test_a_batch_that_never_grows_is_a_constant_number_of_tokens():
    assert BatchRamp(512, 256, 10_000, 512, 2048).tokens(7) == 7 * 512 * 2048


def test_the_names_of_the_competition_runs_are_known_and_no_others():
    known = ["dense-500m-arch1", "tiiuae/dense-3b-arch2"]
    assert [bool(RUNS.fullmatch(name)) for name in (*known, "dense-500m-arch1-mine", "dense-7b-arch1")] == [
        True, True, False, False,
    ]  # fmt: skip


def test_the_starter_kits_json_has_no_gigatokens_and_gets_them_from_the_iteration(tmp_path):
    kit = {"model_type": ["P"] * 3, "experiment": ["e"] * 3, "iteration": [4000, 8000, 12000], "quiz": [0.1, 0.2, 0.3]}
    source = read_scores(written(tmp_path, **kit))
    assert source.scores.frame["tokens"].tolist() == pytest.approx([PUBLISHED[step] * 1e9 for step in kit["iteration"]])
    assert source.scores.frame["task"].unique().tolist() == ["quiz"]
    assert any("batch ramp" in note for note in source.notes)


def test_gigatokens_that_are_there_stand(tmp_path):
    source = read_scores(written(tmp_path, iteration=[4000, 8000], gtokens=[1, 2], quiz=[0.1, 0.2]))
    assert source.scores.frame["tokens"].tolist() == [1e9, 2e9]
    assert source.notes == ()


def test_a_value_that_is_no_number_is_left_out_with_a_line_that_names_it(tmp_path):
    source = read_scores(written(tmp_path, iteration=[4000, 8000], quiz=[0.1, None], words=["a", "b"]))
    assert len(source.scores) == 1
    said = " ".join(source.notes)
    assert "quiz: no finite number at iteration 8000" in said
    assert "words: holds no scores" in said


@pytest.mark.parametrize("columns", [{"quiz": [0.1]}, {"iteration": [1.5]}, {"iteration": [1, 2], "gtokens": [1]}])
def test_iterations_and_gigatokens_that_do_not_fit_are_told(tmp_path, columns):
    with pytest.raises(UserError, match="iteration"):
        read_scores(written(tmp_path, **columns))
