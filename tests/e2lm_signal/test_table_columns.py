import pandas as pd
import pytest

from e2lm import UserError
from e2lm_signal.table_columns import read_mapped_table


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
