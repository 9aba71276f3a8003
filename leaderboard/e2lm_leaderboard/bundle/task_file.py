"""The YAML of a bundle, read within limits: ``submission.yaml``, and an lm-eval task as far as one may use it.

No aliases, no tags but an inert ``!function``, bounded depth and size, no key twice.
``!function module.name`` is read as the text of a reference and never imported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field

from e2lm.errors import one_line
from e2lm.noun import Noun

MAX_DEPTH = 20
MAX_NODES = 5000

FUNCTION_TAG = "!function"
#: libyaml's parser where PyYAML was built with it, as its wheels are: ten times as fast.
LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

#: What a reference becomes: a mapping with this key alone.
FUNCTION_KEY = "!function"

PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null")}


class YamlError(Exception):
    """Why a text is refused; ``line`` counts from 1."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


@dataclass(slots=True)
class _Depth:
    now: int = 0
    nodes: int = 0


def parsed_yaml(text: str) -> Any:
    """The value of ``text``; a :class:`YamlError` for what is not plain YAML.

    >>> parsed_yaml("a: !function utils.f")
    {'a': {'!function': 'utils.f'}}
    """
    _check_events(text)
    loader = LOADER(text)
    try:
        node = loader.get_single_node()
        return None if node is None else _value(loader, node)
    except yaml.YAMLError as error:
        raise _told(error) from error
    except (ValueError, OverflowError) as error:
        raise YamlError(one_line(error)[:200]) from error
    finally:
        loader.dispose()


def _check_events(text: str) -> None:
    """Refuse what would cost memory or depth before anything is built."""
    depth = _Depth()
    try:
        for event in yaml.parse(text, Loader=LOADER):
            line = None if event.start_mark is None else event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise YamlError("an anchor or alias; write the value out", line)
            if isinstance(event, yaml.NodeEvent):
                depth.nodes += 1
            if isinstance(event, yaml.CollectionStartEvent):
                depth.now += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth.now -= 1
            if depth.now > MAX_DEPTH or depth.nodes > MAX_NODES:
                raise YamlError(f"more than {MAX_DEPTH} levels or {MAX_NODES} values", line)
    except yaml.YAMLError as error:
        raise _told(error) from error
    except RecursionError as error:
        raise YamlError(f"more than {MAX_DEPTH} levels") from error


def _told(error: yaml.YAMLError) -> YamlError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or one_line(error)
    return YamlError(f"no valid YAML ({problem})"[:200], None if mark is None else mark.line + 1)


def _value(loader: Any, node: yaml.Node) -> Any:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                raise YamlError("a key that is no text", line)
            if key_node.value in result or key_node.value == FUNCTION_KEY:
                raise YamlError(f"the key {key_node.value[:60]!r} twice, or reserved", key_node.start_mark.line + 1)
            result[key_node.value] = _value(loader, value_node)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, child) for child in node.value]
    if node.tag == FUNCTION_TAG:
        return {FUNCTION_KEY: str(node.value)}
    if node.tag not in PLAIN_TAGS:
        raise YamlError(f"the tag {node.tag[:60]!r}; allowed is {FUNCTION_TAG}", line)
    value = loader.construct_object(node)
    if isinstance(value, float) and not math.isfinite(value):
        raise YamlError(f"the number {node.value!r}; numbers must be finite", line)
    return value


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


#: Fields of lm-eval that change no request: names, notes, and metrics, all of which the organiser computes.
IGNORED = frozenset(
    {
        *("task_alias", "group", "group_alias", "tag", "metadata", "dataset_name"),
        *("metric_list", "aggregate_metric_list", "should_decontaminate", "doc_to_decontamination_query"),
    }
)
#: And those that change none where no examples are asked for, or where the split to ask of is named.
IGNORED_WITHOUT_SHOTS = frozenset({"fewshot_split", "fewshot_config", "fewshot_delimiter"})
IGNORED_BESIDE_TEST = frozenset({"training_split", "validation_split"})


def without_ignored(data: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The fields of a task file that say what is asked, and the names of those that say nothing of it.

    >>> without_ignored({"task": "a", "task_alias": "A", "fewshot_split": "dev", "num_fewshot": 5})
    ({'task': 'a', 'fewshot_split': 'dev', 'num_fewshot': 5}, ('task_alias',))
    """
    no_shots = data.get("num_fewshot", 0) in (0, None)
    ignored = IGNORED | (IGNORED_WITHOUT_SHOTS if no_shots else frozenset())
    ignored |= IGNORED_BESIDE_TEST if data.get("test_split") else frozenset()
    kept = {name: value for name, value in data.items() if name not in ignored}
    return kept, tuple(name for name in data if name in ignored)


Template = Annotated[str, Field(max_length=4096)]


class DataFiles(Noun):
    """``dataset_kwargs``: one data file of the bundle, relative to the task file."""

    data_files: str | dict[str, str]


class TaskFile(Noun):
    """What lm-eval would read, less whatever could reach outside the bundle and what :func:`without_ignored` leaves."""

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


SUBMISSION_FILE = "submission.yaml"

#: Names go into pages, file names and task names alike.
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{1,47}$")]
Tier = Literal["declarative", "code"]


class Submission(Noun):
    """A benchmark as its authors describe it.

    ``metric`` is the item metric whose curve is scored; ``metric_function`` (``module.name``) is where the bundle
    brings one of its own under that name. ``tier`` is ``code`` where there are functions: they run in the sandbox only.
    """

    #: Not Literal[1], which takes ``true`` for 1.
    schema_version: Annotated[int, Field(ge=1, le=1)]
    name: Name
    title: Annotated[str, Field(min_length=1, max_length=120)]
    description: Annotated[str, Field(min_length=1, max_length=4000)]
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$")] = "en"
    license: Annotated[str, Field(min_length=1, max_length=60)]
    tier: Tier = "declarative"
    metric: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,59}$")] = "acc_norm"
    metric_function: Annotated[str, Field(pattern=REFERENCE)] | None = None
    tasks: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)]
    #: Corpora that the items were made from, and training data they were checked against, in the authors' words.
    sources: Annotated[tuple[Annotated[str, Field(max_length=300)], ...], Field(max_length=50)] = ()
