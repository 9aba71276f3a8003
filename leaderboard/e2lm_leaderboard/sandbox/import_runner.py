"""What runs inside the sandbox for ``import``: lm-eval over a folder of tasks. Of ours it has one file beside it.

Reads ``/job/plan.json``. Answers each line of its input with one line: the data that a task needs and nobody here has,
or, once there is no such, its items. Data comes as a line in turn: an Arrow stream of every split.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

TASKS = Path("/job/tasks")
HUB = "hf://datasets/"
DATA_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet", ".arrow")
FILE_LOADERS = ("json", "csv", "text", "parquet", "arrow")


def hub_place(named: Any) -> str | None:
    """The data set of an address of the Hub, where all files have one and the same."""
    files = list(named.values()) if isinstance(named, dict) else [named]
    places = {"/".join(str(one).removeprefix(HUB).split("/")[:2]) for one in files if str(one).startswith(HUB)}
    return places.pop() if len(places) == 1 else None


def holds_data(folder: Path) -> bool:
    """Whether a folder is a data set: one of tasks may have the name of a data set of the Hub."""
    return any(one.suffix in DATA_SUFFIXES for one in folder.rglob("*")) if folder.is_dir() else False


class NoMetric:
    """Stands for what ``evaluate.load`` gives: an import asks, and scores nothing."""

    def compute(self, *_: Any, **__: Any) -> Any:
        """Never of use."""
        raise RuntimeError("no metric is computed where tasks are imported")


class NoMetrics(ModuleType):
    """Stands for ``evaluate``, which loads torch and looks in the Hub for every metric that lm-eval itself has not."""

    def __init__(self) -> None:
        super().__init__("evaluate")
        self.__spec__ = ModuleSpec("evaluate", None)

    @staticmethod
    def load(*_: Any, **__: Any) -> NoMetric:
        """Any metric."""
        return NoMetric()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        sys.modules.pop("evaluate", None)
        return getattr(import_module("evaluate"), name)


class DataAskedFor:
    """Stands where ``datasets.load_dataset`` stood: files of the job are read, all else is asked for once."""

    def __init__(self, plan: Mapping[str, Any], ask: Callable[[Any], Any]) -> None:
        import datasets

        self._real, self._datasets, self._plan, self._ask = datasets.load_dataset, datasets, plan, ask
        self._known: dict[str, Any] = {}

    def load(self, path: Any = None, name: Any = None, **options: Any) -> Any:
        """The data, as ``load_dataset`` gives it."""
        split = options.pop("split", None)
        options = {key: value for key, value in options.items() if value is not None and key != "trust_remote_code"}
        if (of_hub := hub_place(options.get("data_files"))) is not None:
            path, options = of_hub, {}
        elif path in FILE_LOADERS and "data_files" in options:
            return self._real(path, name, split=split, **{**options, "data_files": self._placed(options["data_files"])})
        elif holds_data(Path(str(path))):
            return self._real(path, name, split=split, **options)
        key = json.dumps([path, name, options], sort_keys=True, default=str)
        if key not in self._known:
            self._known[key] = self._splits(self._ask(json.loads(key)))
        return self._known[key] if split is None else self._known[key][split]

    def _splits(self, answer: Mapping[str, str]) -> Any:
        import pyarrow as pa

        if "why" in answer:
            raise FileNotFoundError(answer["why"])
        tables = {split: pa.ipc.open_stream(base64.b64decode(text)).read_all() for split, text in answer.items()}
        made = {split: self._datasets.Dataset(table) for split, table in tables.items()}
        return self._datasets.DatasetDict(made)

    def _placed(self, named: Any) -> Any:
        """Where the job has the files that a task names: as it was on the desk, or beside some task."""
        if isinstance(named, dict):
            return {split: self._placed(part) for split, part in named.items()}
        if isinstance(named, list | tuple):
            return [self._placed(part) for part in named]
        path, root = Path(str(named)), Path(self._plan["root"])
        if path.is_absolute() and path.is_relative_to(root):
            return str(TASKS / path.relative_to(root))
        found = sorted(
            one for one in TASKS.rglob(path.name) if one.is_file() and one.parts[-len(path.parts) :] == path.parts
        )
        if path.is_file() or len(found) != 1:
            return str(named)
        return str(found[0])


def scores_by_code(task: Any) -> bool:
    """Whether the task's own code says what an answer is worth: its right choices may be others than the target."""
    return callable(getattr(task.config, "process_results", None))


def without_examples(tasks: list[Any], num_fewshot: int | None) -> list[str]:
    """Sets how many examples tasks ask with, as lm-eval does; the names of those whose files say that it is none."""
    if num_fewshot is None:
        return []
    fixed = [str(task.config.task) for task in tasks if task.get_config("num_fewshot") == 0]
    for task in tasks:
        if task.get_config("num_fewshot") != 0:
            task.set_config(key="num_fewshot", value=num_fewshot)
    return fixed


def main() -> None:
    """Load, ask, answer."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what task code prints is nobody's answer
    with open("/job/plan.json", encoding="utf-8") as handle:
        plan = json.load(handle)
    os.environ.update(HOME="/tmp", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", OMP_NUM_THREADS="1")
    sys.path[0:0] = ["/job", *plan["libraries"]]
    os.chdir(TASKS)
    import datasets
    from asked_items import AskingError, asked_items, loaded_tasks  # type: ignore[import-not-found]

    datasets.disable_progress_bars()

    def answer(told: Mapping[str, Any]) -> None:
        out.write(json.dumps(told) + "\n")
        out.flush()

    def ask(needed: Any) -> Any:
        answer({"need": needed})
        return json.loads(sys.stdin.readline())

    sys.stdin.readline()
    datasets.load_dataset = DataAskedFor(plan, ask).load
    sys.modules["evaluate"] = NoMetrics()
    try:
        tasks = loaded_tasks(str(TASKS), plan["task"])
        fixed = without_examples(tasks, plan["num_fewshot"])
        items = [
            [one.task, one.doc_id, one.question, one.context, one.choices, one.gold, one.delimiter]
            for task in tasks
            for one in asked_items(task)
        ]
    except AskingError as error:
        answer({"why": str(error)})
        return
    except Exception as error:  # whatever a task, its code or its data raises
        answer({"why": f"lm-eval cannot load it ({type(error).__name__}: {error})"})
        return
    metrics = [str(one.get("metric")) for one in (tasks[0].config.metric_list or []) if isinstance(one, dict)]
    by_code = [str(task.config.task) for task in tasks if scores_by_code(task)]
    answer({"items": items, "metrics": metrics, "by_code": by_code, "without_examples": fixed})


if __name__ == "__main__":
    main()
