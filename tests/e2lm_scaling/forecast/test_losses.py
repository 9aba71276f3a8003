"""What a table of losses is read as, warned about and refused for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from e2lm import UserError
from e2lm_scaling.forecast.losses import Units, read_losses

RNG = np.random.default_rng(0)
PARAMS, TOKENS = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 3)))


def losses(params=PARAMS, tokens=TOKENS):
    return 1.7 + 400 / params**0.34 + 1000 / tokens**0.34


def frame(**columns) -> pd.DataFrame:
    return pd.DataFrame({"N": PARAMS, "D": TOKENS, "L": losses()} | columns)


@pytest.fixture
def read(tmp_path):
    def reader(table: pd.DataFrame, columns: str = "N=N,D=D,L=L", **how):
        table.to_csv(tmp_path / "runs.csv", index=False)
        return read_losses(tmp_path / "runs.csv", columns, **how)

    return reader


@pytest.mark.parametrize(("odd_rows", "warned"), [(4, False), (8, True)])
def test_parameters_seem_to_be_counted_in_two_ways_where_the_middle_90_percent_differ(odd_rows, warned, read):
    rng = np.random.default_rng(0)
    params, tokens = 10 ** rng.uniform(7, 9, 100), 10 ** rng.uniform(9, 11, 100)
    flops = 6 * params * tokens
    flops[:odd_rows] *= 1.5
    table = pd.DataFrame({"N": params, "D": tokens, "C": flops, "L": losses(params, tokens)})
    found = read(table, "N=N,D=D,C=C,L=L")
    assert any(one.startswith("C / (6 N D) runs from 1.00 to 1.50") for one in found.warnings) is warned


@pytest.mark.parametrize(
    ("unit", "factor"), [("GFLOP", 1e9), ("TFLOP", 1e12), ("EFLOP", 1e18), ("PF-days", 8.64e19), ("MFLOP", 1e6)]
)
@pytest.mark.parametrize("columns", ["N=N,C=C,L=L", "D=D,C=C,L=L", "N=N,D=D,C=C,L=L"])
def test_compute_in_another_unit_is_blamed_on_compute_and_read_where_the_unit_is_said(unit, factor, columns, read):
    table = frame(C=6 * PARAMS * TOKENS / factor)
    with pytest.raises(UserError, match=r"C \(C\).*--compute-unit"):
        read(table, columns)
    found = read(table, columns, units=Units(flops=factor))
    assert found.table.params_R == pytest.approx(PARAMS)
    assert found.table.tokens_R == pytest.approx(TOKENS)


def test_the_level_of_compute_is_told_and_a_length_of_sequences_named(read):
    assert read(frame(C=6 * PARAMS * TOKENS), "N=N,D=D,C=C,L=L").warnings == ()
    (warning,) = read(frame(C=2 * PARAMS * TOKENS), "N=N,D=D,C=C,L=L").warnings
    assert warning.startswith("C (C) is 0.333 x 6 N D")
    table = frame(C=6 * PARAMS * TOKENS, D=TOKENS / 2048)
    with pytest.raises(UserError, match=r"sequences of about 2.05e\+03 tokens"):
        read(table, "N=N,D=D,C=C,L=L")
    assert read(table, "N=N,D=D,C=C,L=L", units=Units(tokens=2048)).table.tokens_R == pytest.approx(TOKENS)


def test_sizes_are_read_as_people_write_them(read):
    table = pd.DataFrame({"N": ["57.7M", "57,735,027", "7B", "125m"], "D": ["1.4T", "1e12", "300G", "2_000_000_000"],
                          "L": ["3.0", " 2.9", "2.1", "3.5"]})  # fmt: skip
    found = read(table).table
    assert found.params_R == pytest.approx([57.7e6, 57735027, 7e9, 125e6])
    assert found.tokens_R == pytest.approx([1.4e12, 1e12, 300e9, 2e9])
    for loss in ("2,345", "3.0 nats"):
        with pytest.raises(UserError, match="with a decimal point"):
            read(table.assign(L=["3.0", loss, "2.1", "3.5"]))


def test_rows_without_a_number_and_those_before_training_are_left_out_with_a_line_each(read):
    table = frame().astype(object)
    table.loc[2, "L"], table.loc[4, "D"], table.loc[5, "N"] = "NaN", 0.0, "-"
    found = read(table)
    assert len(found.table.loss_R) == len(PARAMS) - 3
    assert [(one["what"], one["why"]) for one in found.left_out] == [
        ("row 3", "L is no number"), ("row 5", "D is 0"), ("row 6", "N is no number"),
    ]  # fmt: skip
    with pytest.raises(UserError, match="no row has all of"):
        read(frame(L=np.nan))


def test_of_a_sweep_the_best_run_of_every_size_is_taken_and_seeds_are_kept(read):
    bad = 1 + RNG.uniform(0.05, 0.5, (3, len(PARAMS)))
    sweep = pd.concat([frame(), *(frame(L=losses() * one) for one in bad)])
    found = read(sweep)
    assert np.sort(found.table.loss_R) == pytest.approx(np.sort(losses()))
    assert "a sweep, not seeds, so the best run of every pair is taken" in found.warnings[-1]
    seeds = read(pd.concat([frame(), frame(L=losses() * 1.003)]))
    assert len(seeds.table.loss_R) == 2 * len(PARAMS)
    twice = read(pd.concat([frame(), frame()]))
    assert len(twice.table.loss_R) == len(PARAMS) == len(twice.left_out)


def test_perplexities_are_taken_for_what_their_name_says_and_refused_without_one(read):
    found = read(frame(val_ppl=np.exp(losses())), "N=N,D=D,L=val_ppl")
    assert found.table.loss_R == pytest.approx(losses())
    assert "natural logarithm" in found.warnings[0]
    with pytest.raises(UserError, match="is it a perplexity"):
        read(frame(L=np.exp(losses())))


def test_what_rises_with_compute_is_no_loss_unless_it_is_asked_for_as_a_score(read):
    table = frame(L=1 / losses())
    with pytest.raises(UserError, match="L rises with compute"):
        read(table)
    assert len(read(table, is_score=True).table.loss_R) == len(PARAMS)


def test_losses_in_two_units_are_told(read):
    mixed = np.where(np.arange(len(PARAMS)) % 3 == 0, losses() / np.log(2), losses())
    assert any("bits mixed with nats" in one for one in read(frame(L=mixed)).warnings)
    assert not any("bits mixed" in one for one in read(frame()).warnings)


def test_sizes_with_many_numbers_of_tokens_and_no_series_may_be_checkpoints(read):
    params, tokens = (grid.ravel() for grid in np.meshgrid([1e7, 1e8, 1e9], np.linspace(1e9, 6e9, 6)))
    table = pd.DataFrame({"N": params, "D": tokens, "L": losses(params, tokens)})
    assert any("checkpoints of one run" in one for one in read(table).warnings)
    assert not any("checkpoints of one run" in one for one in read(frame()).warnings)


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "jsonl", "json", "semicolons"])
def test_a_table_of_any_kind_is_read_in_the_one_grammar(tmp_path, kind):
    table = frame(size=np.where(PARAMS > 1e8, "01", "1"), seed="a", junk="x")
    path = tmp_path / f"runs.{'csv' if kind == 'semicolons' else kind}"
    if kind == "parquet":
        table.to_parquet(path)
    elif kind in ("jsonl", "json"):
        table.to_json(path, orient="records", lines=kind == "jsonl", double_precision=15)
    else:
        table.to_csv(path, index=False, sep={"tsv": "\t", "semicolons": ";"}.get(kind, ","))
    found = read_losses(path, "N=N,D=D,L=L,S=size+seed,skip=junk").table
    assert found.loss_R == pytest.approx(losses(), rel=1e-12)
    assert set(found.series_R) == {"01/a", "1/a"}
    assert set(read_losses(path, "N='1e9',D=D,L=L").table.params_R) == {1e9}
    with pytest.raises(UserError, match="has no column 'Lss'"):
        read_losses(path, "N=N,D=D,L=Lss")


@pytest.mark.parametrize("is_score", [False, True])
def test_averages_of_a_run_are_no_trained_models(is_score, read):
    table = frame(S=[f"run{row}" for row in range(len(PARAMS))])
    averages = table.assign(L=table["L"] - 0.05, S=table["S"] + "+wma:window=5")
    expected = read(table, "N=N,D=D,L=L,S=S", is_score=is_score)
    found = read(pd.concat([table, averages]), "N=N,D=D,L=L,S=S", is_score=is_score)
    # The averages, which are lower, used to take the place of the models.
    assert found.table.loss_R == pytest.approx(expected.table.loss_R)
    assert found.warnings == expected.warnings
    assert [one["what"] for one in found.left_out] == sorted(averages["S"])
    assert all(one["why"].startswith("averages of run") for one in found.left_out)
    assert found.with_averages is not None
    assert len(found.with_averages.loss_R) == 2 * len(PARAMS)
    assert expected.with_averages is None


def test_a_plus_in_the_name_of_a_run_is_no_average(read):
    table = frame(S=[f"web+code-{row}" for row in range(len(PARAMS))])
    assert read(table, "N=N,D=D,L=L,S=S").left_out == ()
