import pandas as pd
import pytest

from e2lm import UserError
from e2lm.results import Reading, read_scores
from e2lm.results.table_columns import read_mapped_table


def written(tmp_path, frame):
    path = tmp_path / "table.csv"
    frame.to_csv(path, index=False)
    return path


def test_columns_of_other_names_are_recognised_and_the_reading_is_told(tmp_path):
    frame = pd.DataFrame(
        {
            "suite": ["v1"],
            "model": ["m"],
            "shots": ["zero"],
            "step": [3],
            "task": ["t"],
            "metric": ["acc"],
            "value": [0.5],
        }
    )
    source = read_mapped_table(written(tmp_path, frame))
    [row] = source.scores.rows()
    assert (row.series, row.step, row.value) == ("v1/m/zero", 3, 0.5)
    assert "series = suite / model / shots" in source.notes[0]


def test_the_mapping_may_be_given(tmp_path):
    frame = pd.DataFrame({"who": ["m"], "when": [3], "what": ["t"], "how": ["acc"], "much": [0.5], "more": [1]})
    source = read_mapped_table(
        written(tmp_path, frame), ["series=who", "step=when", "task=what", "metric=how", "value=much"]
    )
    assert [row.value for row in source.scores.rows()] == [0.5]
    assert source.notes[-1] == "columns left out: more"


def test_a_wide_table_names_its_metric_by_its_column(tmp_path):
    frame = pd.DataFrame({"model": ["m"], "step": [3], "tokens": [9], "task": ["t"], "acc": [0.5], "stderr": [0.1]})
    [row] = read_mapped_table(written(tmp_path, frame)).scores.rows()
    assert (row.metric, row.value, row.stderr, row.tokens) == ("acc", 0.5, 0.1, 9.0)


def test_repeated_keys_are_averaged_counted_and_told_apart_by_agreement(tmp_path):
    frame = pd.DataFrame(
        {"series": "a", "step": [1, 1, 2, 2, 3], "task": "t", "metric": "acc", "value": [0.1, 0.1, 0.2, 0.4, 0.5]}
    )
    source = read_mapped_table(written(tmp_path, frame))
    assert [row.value for row in source.scores.rows()] == pytest.approx([0.1, 0.3, 0.5])
    [note] = source.notes
    assert "2 keys (series, task, metric, step) have 4 rows; 1 agree exactly, 1 differ (by up to 0.2)" in note


@pytest.mark.parametrize(
    ("columns", "said"),
    [(["serie=a"], "Did you mean 'series'"), (["series=modle"], "Did you mean 'model'"), (["series"], "NAME=COLUMN")],
)
def test_a_mapping_that_fits_nothing_is_named(tmp_path, columns, said):
    path = written(tmp_path, pd.DataFrame({"model": ["a"], "value": [1]}))
    with pytest.raises(UserError, match=said):
        read_mapped_table(path, columns)


def test_a_missing_column_is_named(tmp_path):
    path = written(tmp_path, pd.DataFrame({"model": ["a"], "task": ["t"], "acc": [1.0]}))
    with pytest.raises(UserError, match="column 'step' is missing"):
        read_mapped_table(path)


# -- tables of other programs -------------------------------------------------------------------------------------

STEPS = (1000, 2000, 3000)


def curves(source):
    found = {}
    for row in source.scores.rows():
        found.setdefault((row.series, row.task, row.metric), []).append((row.step, row.value))
    return found


def test_a_history_of_weights_and_biases_has_a_metric_per_column(tmp_path):
    path = tmp_path / "run-a.csv"
    path.write_text(
        "_step,eval/c4/CrossEntropyLoss,eval/downstream/arc_easy_acc,eval/downstream_bpb/arc_easy_bpb,"
        "throughput/total_tokens\n1000,4.0,,1.5,4e9\n2000,3.9,0.3,1.4,8e9\n",
        encoding="utf-8",
    )
    source = read_mapped_table(path)
    assert curves(source) == {
        ("run-a", "arc_easy", "acc"): [(2000, 0.3)],
        ("run-a", "arc_easy", "bpb"): [(1000, 1.5), (2000, 1.4)],
        ("run-a", "c4", "CrossEntropyLoss"): [(1000, 4.0), (2000, 3.9)],
    }
    assert {row.tokens for row in source.scores.rows()} == {4e9, 8e9}
    assert "no column names the series; 'run-a' stands in" in source.notes[1]


def test_two_paths_that_end_alike_are_two_tasks(tmp_path):
    path = tmp_path / "run.csv"
    path.write_text("_step,eval/arc/acc,test/arc/acc\n1000,0.1,0.2\n", encoding="utf-8")
    assert set(curves(read_mapped_table(path))) == {("run", "eval/arc", "acc"), ("run", "test/arc", "acc")}


def test_a_chart_of_weights_and_biases_has_a_run_per_column(tmp_path):
    path = tmp_path / "chart.csv"
    path.write_text(
        '"Step","a, lr=3e-4 - eval/arc_easy/acc","a, lr=3e-4 - eval/arc_easy/acc__MIN","b - eval/arc_easy/acc"\n'
        '"1000","0.25","0.2","0.27"\n"2000","0.26","0.2",""\n',
        encoding="utf-8",
    )
    source = read_mapped_table(path)
    assert curves(source) == {
        ("b", "arc_easy", "acc"): [(1000, 0.27)],
        ("a, lr=3e-4", "arc_easy", "acc"): [(1000, 0.25), (2000, 0.26)],
    }
    assert "2 runs; 1 columns __MIN and __MAX are left out" in source.notes[0]


def test_one_run_needs_no_column_for_its_name(tmp_path):
    path = tmp_path / "clean.csv"
    path.write_text("task,step,accuracy\narc,1000,0.25\narc,2000,0.26\n", encoding="utf-8")
    assert curves(read_mapped_table(path)) == {("clean", "arc", "accuracy"): [(1000, 0.25), (2000, 0.26)]}
    named = read_mapped_table(path, ["series='wide'", "task=task", "metric='acc'"])
    assert curves(named) == {("wide", "arc", "acc"): [(1000, 0.25), (2000, 0.26)]}


def datadecide():
    return pd.DataFrame(
        [
            {
                "params": size, "data": data, "task": "arc", "step": float(step), "seed": seed, "chinchilla": "5xC",
                "tokens": step * 1e6, "compute": 1e18, "acc_raw": step / 1e4, "correct_prob": step / 1e5,
            }
            for size in ("150M", "1B") for data in ("c4", "dolma") for seed in ("default", "small") for step in STEPS
        ]
    )  # fmt: skip


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_what_varies_and_nobody_named_tells_series_apart(tmp_path, ending):
    path = tmp_path / f"table.{ending}"
    datadecide().to_csv(path, index=False) if ending == "csv" else datadecide().to_parquet(path)
    found = read_mapped_table(path)
    assert len(curves(found)) == 2 * 2 * 2 * 2
    assert curves(found)["c4/150M/default", "arc", "acc_raw"] == [(step, step / 1e4) for step in STEPS]
    by_series = {row.series: row.params for row in found.scores.rows()}
    assert (by_series["c4/150M/default"], by_series["dolma/1B/small"]) == (150e6, 1e9)
    named = read_mapped_table(path, ["series=data+params+seed", "value=acc_raw"])
    assert {metric for *_, metric in curves(named)} == {"acc_raw"}
    assert len(curves(named)) == 8


@pytest.mark.parametrize(
    ("names", "series"),
    [
        (("step_00010", "step_00020", "main"), {"tiny"}),
        # What it says besides, or other than, the step tells series apart.
        (("stage1-step10", "stage2-step20", "main"), {"tiny/stage1-step10", "tiny/stage2-step20", "tiny/main"}),
        (("step10", "step40", "main"), {"tiny/step10", "tiny/step40", "tiny/main"}),
    ],
)
def test_a_revision_that_only_names_the_step_makes_no_series(tmp_path, names, series):
    file = tmp_path / "scores.csv"
    rows = "".join(f"tiny,{name},{step},arc,0.{step}\n" for name, step in zip(names, (10, 20, 30), strict=True))
    file.write_text("model,revision,step,task,acc\n" + rows, encoding="utf-8")
    assert set(read_mapped_table(file).scores.frame["series"]) == series


def test_standard_errors_and_several_metrics_are_kept(tmp_path):
    path = tmp_path / "cols.tsv"
    path.write_text("model\tcheckpoint\ttask\tfewshot\tacc\tacc_stderr\tbpb\na\t1\tarc\t0\t.25\t.01\t1.5\n", "utf-8")
    rows = list(read_mapped_table(path).scores.rows())
    assert [(row.series, row.step, row.metric, row.value) for row in rows] == [
        ("a/0", 1, "acc", 0.25),
        ("a/0", 1, "bpb", 1.5),
    ]
    assert rows[0].stderr == 0.01
    kept = read_mapped_table(path, ["skip=bpb+acc_stderr"]).scores.rows()
    assert [(row.metric, row.stderr == row.stderr) for row in kept] == [("acc", False)]
    both = read_mapped_table(path, ["value=acc+bpb", "series=model"]).scores.rows()
    assert [(row.series, row.metric) for row in both] == [("a", "acc"), ("a", "bpb")]


def test_names_that_look_like_numbers_stay_as_they_are_written(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("model;step;task;acc\n001;1;arc;0.1\n1;1;arc;0.2\n", encoding="utf-8")
    assert set(curves(read_mapped_table(path))) == {("001", "arc", "acc"), ("1", "arc", "acc")}


def test_what_lacks_is_told_by_the_columns_of_the_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("who,when,acc\na,1,0.1\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"column 'step' is missing; found who, when, acc; --columns step=COLUMN"):
        read_mapped_table(path)
    with pytest.raises(UserError, match=r"has no column 'arc'.*a constant is task='arc'"):
        read_mapped_table(path, ["task=arc"])
    path.write_text("step,acc\n1,good\n", encoding="utf-8")
    with pytest.raises(UserError, match="no column of numbers is left to be the value"):
        read_mapped_table(path)


# -- one reader, whoever reads ------------------------------------------------------------------------------------


def test_curves_that_their_key_tells_apart_are_apart_for_whoever_reads_a_table(tmp_path):
    path = tmp_path / "scores.csv"
    rows = [f"run,{step},arc,acc,{value},{key}" for step in STEPS for value, key in ((0.2, 0), (0.5, 25))]
    written_rows = [one.rpartition(",") for one in rows]
    lines = [f'{head},"{{""shots"": ""{shots}"", ""task"": ""arc""}}"' for head, _, shots in written_rows]
    path.write_text("\n".join(["series,step,task,metric,value,key", *lines]), encoding="utf-8")
    source = read_scores(path, Reading(apart=True))
    assert set(curves(source)) == {("run", "arc (shots=0)", "acc"), ("run", "arc (shots=25)", "acc")}
    assert [row.value for row in source.scores.rows()] == [0.2] * 3 + [0.5] * 3
    assert any("kept apart" in one for one in source.notes)
    # Whoever writes the table again gets it as it is.
    assert {(row.series, row.task) for row in read_scores(path).scores.rows()} == {("run", "arc")}


def test_a_row_that_is_longer_than_the_header_is_refused(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("model,step,task,acc\na,1,arc,0.1\na,2,arc,0.2,0.3\n", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read as csv"):
        read_mapped_table(path)


def test_the_core_names_columns_as_the_command_does(tmp_path):
    path = tmp_path / "runs.tsv"
    path.write_text("who\twhen\tmuch\nm\t3\t0.5\n", encoding="utf-8")
    columns = ("series=who", "step=when", "value=much", "task='arc'", "metric='acc'")
    [row] = read_scores(path, Reading(columns=columns)).scores.rows()
    assert (row.series, row.step, row.task, row.metric, row.value) == ("m", 3, "arc", "acc", 0.5)
    with pytest.raises(UserError, match="is no table; only the columns of one"):
        read_scores(tmp_path, Reading(columns=columns))


def scored(values_by_series, metric="acc", **more):
    rows = [
        {"series": name, "step": step, "task": "arc", "metric": metric, "value": value}
        for name, values in values_by_series.items()
        for step, value in enumerate(values, 1)
    ]
    return pd.DataFrame(rows).assign(**more)


def test_accuracies_in_percent_become_shares_and_it_is_told(tmp_path):
    frame = scored({"a": [25.0, 41.5], "b": [0.5, 60.0]}, n=500, stderr=2.0)
    source = read_mapped_table(written(tmp_path, frame))
    assert [(row.value, row.stderr) for row in source.scores.rows()] == [
        (0.25, 0.02), (0.415, 0.02), (0.005, 0.02), (0.6, 0.02),
    ]  # fmt: skip
    assert source.notes[-1].endswith("acc: up to 60, taken as percent and divided by 100")


@pytest.mark.parametrize("values", [[0.4, 1.02], [-0.4, 3.5], [0.4, float("inf")]])
def test_shares_with_noise_or_without_a_number_are_no_percentages(tmp_path, values):
    source = read_mapped_table(written(tmp_path, scored({"a": values})))
    assert [row.value for row in source.scores.rows()] == values
    assert source.notes == ()


@pytest.mark.parametrize("metric", ["loss", "accumulated", "f1", "emotion"])
def test_what_is_no_share_of_items_keeps_its_numbers(tmp_path, metric):
    source = read_mapped_table(written(tmp_path, scored({"a": [2.5, 41.5]}, metric)))
    assert [row.value for row in source.scores.rows()] == [2.5, 41.5]


def test_percent_beside_shares_of_one_task_is_refused_with_both_series(tmp_path):
    with pytest.raises(
        UserError, match=r"acc of arc is at most 0\.4 in series 'a' and 50 in 'b': shares beside percent"
    ):
        read_mapped_table(written(tmp_path, scored({"a": [0.3, 0.4], "b": [45.0, 50.0]})))
    with pytest.raises(UserError, match="an accuracy of 250"):
        read_mapped_table(written(tmp_path, scored({"a": [30.0, 250.0]})))


@pytest.mark.parametrize(
    ("column", "value", "least"),
    [("n", -1, 0), ("step", -5, 0), ("tokens", -1e9, 0), ("params", -1, 0), ("stderr", -0.1, 0)],
)
def test_a_count_that_cannot_be_is_refused(tmp_path, column, value, least):
    frame = scored({"a": [0.3, 0.4]}).assign(**{column: value})
    with pytest.raises(UserError, match=f"column '{column}' holds .*; {least} is the least that there may be"):
        read_mapped_table(written(tmp_path, frame))


def test_standard_errors_with_rows_of_their_own_are_no_scores(tmp_path):
    frame = pd.concat([scored({"a": [0.3, 0.4]}), scored({"a": [0.01, 0.02]}, "acc_stderr")])
    source = read_mapped_table(written(tmp_path, frame))
    assert {row.metric for row in source.scores.rows()} == {"acc"}
    assert source.notes[-1].endswith("2 rows of acc_stderr left out: standard errors, no scores")


def test_blanks_around_names_make_no_other_task(tmp_path):
    frame = pd.concat([scored({"a": [0.3]}), scored({"b ": [0.4]}).assign(task=" arc")])
    assert {(row.series, row.task) for row in read_mapped_table(written(tmp_path, frame)).scores.rows()} == {
        ("a", "arc"), ("b", "arc"),
    }  # fmt: skip
