"""What every format of result files keeps to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from e2lm.errors import UserError
from e2lm.results.collection import collected
from e2lm.results.result import Notes, Reading, TaskResult
from e2lm.results.result_format import ResultFile, ResultFormat
from e2lm_testing.contract import check_described, outcome, own_randomness_only, resolved

#: What files of other programs hold under names that are used by many.
OTHERS = {
    "an empty object": b"{}",
    "an empty list": b"[]",
    "a number": b"7",
    "settings": b'{"name": "x", "version": 1}',
    "results that are none": b'{"results": 1, "config": 2, "data": 3}',
}


class ResultFormatContract:
    """Subclass it, set ``result_format`` to a :class:`ResultFormat` or the name of an installed one, ``sample`` to a
    function that writes a whole file of it into a folder and returns its path, and ``values`` to what is in it, by task
    and metric.
    """

    result_format: ClassVar[ResultFormat | str]
    sample: ClassVar[Callable[[Path], Path]]
    values: ClassVar[Mapping[tuple[str, str], float]]

    @property
    def _format(self) -> ResultFormat:
        return resolved(self.result_format, "e2lm_register_result_formats", ResultFormat, "result format")

    def _file(self, folder: Path) -> ResultFile:
        folder.mkdir(exist_ok=True)
        return ResultFile(type(self).sample(folder), folder)

    def _results(self, folder: Path) -> list[TaskResult]:
        found = self._format.read(self._file(folder))
        assert found, "the sample is not known by its own format"
        return list(found)

    def test_it_says_what_it_is(self) -> None:
        check_described(self._format.name, self._format.description)

    def test_it_is_shown_its_own_files_by_their_names_and_not_all_files(self, tmp_path: Path) -> None:
        path = self._file(tmp_path).path
        assert self._format.looked_at.match(path.name), f"a file called {path.name} is not shown to it"
        assert not self._format.looked_at.match("README.md"), "it wants to see every file there is"

    def test_every_value_of_its_file_comes_out_once_and_no_other(self, tmp_path: Path) -> None:
        results = self._results(tmp_path)
        rows = [(one.task, row.metric, row.value) for one in results for row in one.rows]
        if len({one.step for one in results}) == 1:
            assert sorted(rows) == sorted((*place, value) for place, value in self.values.items())
        assert set(self.values.items()) <= {((task, metric), value) for task, metric, value in rows}

    def test_no_two_values_have_one_place(self, tmp_path: Path) -> None:
        results = self._results(tmp_path)
        source = collected(results, "lm-eval", Reading(), Notes())
        assert len(source.scores) == sum(len(one.rows) for one in results), "values would overwrite each other"

    def test_a_result_and_its_rows_are_of_one_series_task_and_step(self, tmp_path: Path) -> None:
        for one in self._results(tmp_path):
            assert one.series, "a result of no series"
            assert one.task, "a result of no task"
            assert type(one.step) is int, f"step is {one.step!r}; a whole number is expected"
            assert one.step >= 0
            assert {(row.series, row.task, row.step) for row in one.rows} <= {(one.series, one.task, one.step)}
            assert all(row.metric and type(row.value) is float for row in one.rows)
            assert all(isinstance(text, str) and text for pair in one.about.items() for text in pair)
            assert "task" not in one.about, "the task is no field of about; it is the result's own"

    def test_reading_changes_nothing_and_gives_the_same_twice(self, tmp_path: Path) -> None:
        file = self._file(tmp_path)
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        with own_randomness_only():
            first, second = (self._format.read(ResultFile(file.path, tmp_path)) for _ in range(2))
        assert repr(first) == repr(second)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before

    @pytest.mark.parametrize("other", OTHERS)
    def test_a_file_of_somebody_else_is_none_of_its(self, other: str, tmp_path: Path) -> None:
        path = self._file(tmp_path).path
        path.write_bytes(OTHERS[other])
        found = outcome(lambda: self._format.read(ResultFile(path, tmp_path)))
        assert isinstance(found, UserError) or not found, f"{other} gave {found!r}"

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
    def test_part_of_a_file_raises_one_line_or_nothing(self, share: float, tmp_path: Path) -> None:
        path = self._file(tmp_path).path
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        outcome(lambda: self._format.read(ResultFile(path, tmp_path)))
