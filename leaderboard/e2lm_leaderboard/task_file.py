"""An lm-eval task file as far as a submission may use it: multiple choice over data inside the bundle."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from e2lm.noun import Noun
from e2lm_leaderboard.limited_yaml import FUNCTION_KEY

REFERENCE = r"^[A-Za-z_][A-Za-z0-9_]{0,60}(\.[A-Za-z_][A-Za-z0-9_]{0,60}){1,3}$"

#: The one class a task file may name: that of e2lm's own multiple choice, which is what tasks are run with anyway.
KNOWN_CLASS = "e2lm_tasks.multiple_choice.MultipleChoice"


def function_place(target: str) -> tuple[str, str]:
    """File and name of the function ``module.name``.

    >>> function_place("code.metrics.margin")
    ('code/metrics.py', 'margin')
    """
    module, _, name = target.rpartition(".")
    return module.replace(".", "/") + ".py", name


class FunctionReference(Noun):
    """``!function module.name``: a function in ``module.py`` of the bundle, run in the sandbox only."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=True)

    target: Annotated[str, Field(alias=FUNCTION_KEY, pattern=REFERENCE)]

    @property
    def file(self) -> str:
        """The file of the function, relative to the task file."""
        return function_place(self.target)[0]

    @property
    def function(self) -> str:
        """The function's own name."""
        return function_place(self.target)[1]


Template = Annotated[str, Field(max_length=4096)]


class DataFiles(Noun):
    """``dataset_kwargs``: one data file of the bundle, relative to the task file."""

    data_files: str | dict[str, str]


class TaskFile(Noun):
    """What lm-eval would read, less whatever could reach outside the bundle.

    ``metric_list`` and ``metadata`` are accepted and not used: the organiser computes every metric from
    log-likelihoods.
    """

    task: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")]
    task_class: Annotated[FunctionReference | None, Field(alias="class")] = None
    output_type: Literal["multiple_choice"]
    dataset_path: Literal["json", "parquet"] | None = None
    dataset_kwargs: DataFiles
    test_split: Literal["test", "train"] | None = None
    num_fewshot: Literal[0] = 0
    description: Template = ""
    process_docs: FunctionReference | None = None
    doc_to_text: Template | FunctionReference = ""
    doc_to_choice: Template | Annotated[tuple[Template, ...], Field(max_length=100)] | FunctionReference
    doc_to_target: Template | Annotated[int, Field(ge=0)] | FunctionReference
    target_delimiter: Annotated[str, Field(max_length=16)] = " "
    metric_list: list[dict[str, Any]] | None = None
    metadata: dict[str, Any] | None = None
    tag: str | list[str] | None = None

    @property
    def data_file(self) -> str:
        """The data file as written."""
        files = self.dataset_kwargs.data_files
        if isinstance(files, str):
            return files
        return files.get(self.test_split or "test", next(iter(files.values()), ""))

    @property
    def functions(self) -> dict[str, FunctionReference]:
        """Fields that are functions."""
        fields = ("process_docs", "doc_to_text", "doc_to_choice", "doc_to_target")
        values = {name: getattr(self, name) for name in fields}
        return {name: value for name, value in values.items() if isinstance(value, FunctionReference)}


def beside(task_file: str, name: str) -> str:
    """The bundle's name of a file that ``task_file`` calls ``name``.

    >>> beside("tasks/a.yaml", "items.jsonl"), beside("a.yaml", "./data/items.jsonl")
    ('tasks/items.jsonl', 'data/items.jsonl')
    """
    return (PurePosixPath(task_file).parent / name).as_posix()
