"""Items as an lm-eval task that holds nothing but data: what is evaluated is what was checked, to the byte.

No template is left: prompt, choices and index are columns, and e2lm's multiple-choice class reads them beside the YAML.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from e2lm.atomic_file import whole_folder
from e2lm_leaderboard.task_file import KNOWN_CLASS, TaskFile
from e2lm_leaderboard.task_items import TaskItem

#: The competition's prefix of task names; ids keep submissions of one name apart.
PREFIX = "lb"
ID_CHARS = 12

YAML = """\
task: {name}
class: !function {task_class}
dataset_kwargs: {{data_files: {name}.jsonl}}
target_delimiter: {delimiter}
output_type: multiple_choice
test_split: test
num_fewshot: 0
doc_to_text: context
doc_to_choice: choices
doc_to_target: gold
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
metadata:
  version: 1
"""


def task_name(submission: str, number: int) -> str:
    """The name under which task ``number`` of a submission is evaluated.

    >>> task_name("0123456789abcdef", 2)
    'lb_0123456789ab_2'
    """
    return f"{PREFIX}_{submission[:ID_CHARS]}_{number}"


def write_tasks(folder: Path, submission: str, tasks: Sequence[tuple[TaskFile, Sequence[TaskItem]]]) -> list[str]:
    """Write all tasks into ``folder``, which is replaced; their names in order."""
    names = [task_name(submission, number) for number in range(len(tasks))]
    with whole_folder(folder) as partial:
        for name, (task, items) in zip(names, tasks, strict=True):
            rows = (
                json.dumps({"context": one.context, "choices": list(one.choices), "gold": one.gold}) for one in items
            )
            (partial / f"{name}.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
            yaml = YAML.format(name=name, task_class=KNOWN_CLASS, delimiter=json.dumps(task.target_delimiter))
            (partial / f"{name}.yaml").write_text(yaml, encoding="utf-8")
    return names
