"""The YAML of a built suite: one template that every multiple-choice task includes, one file per task, one group."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

#: Without the ending .yaml, so that lm-eval does not take it for a task.
TEMPLATE = "_choice_template"
CARD = "card.json"

_TEMPLATE_TEXT = """\
class: !function e2lm_tasks.multiple_choice.MultipleChoice
output_type: multiple_choice
test_split: test
num_fewshot: 0
doc_to_text: context
doc_to_choice: choices
doc_to_target: gold
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
  - {metric: acc_bytes, aggregation: mean, higher_is_better: true}
"""

_HELD_OUT_TEXT = """\
class: !function e2lm_tasks.held_out_text.HeldOutText
output_type: loglikelihood_rolling
test_split: test
num_fewshot: 0
doc_to_text: ""
doc_to_target: text
metric_list:
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
  - {metric: byte_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
"""


def template_yaml() -> str:
    """What all multiple-choice tasks share."""
    return _TEMPLATE_TEXT


def choice_yaml(task: str, data_file: str, target_delimiter: str, metadata: Mapping[str, Any]) -> str:
    """The YAML of one multiple-choice task."""
    return (
        f"include: {TEMPLATE}\ntask: {task}\ndataset_kwargs: {{data_files: {data_file}}}\n"
        f"target_delimiter: {json.dumps(target_delimiter)}\n{_metadata_yaml(metadata)}"
    )


def held_out_yaml(task: str, data_file: str, metadata: Mapping[str, Any]) -> str:
    """The YAML of the rolling log-likelihood task."""
    return f"task: {task}\ndataset_kwargs: {{data_files: {data_file}}}\n{_HELD_OUT_TEXT}{_metadata_yaml(metadata)}"


def group_yaml(group: str, tasks: Sequence[str], version: int) -> str:
    """The YAML of the group; accuracy is averaged over the tasks that have one, each task alike."""
    return (
        f"group: {group}\ntask:\n"
        + "".join(f"  - {task}\n" for task in tasks)
        + "aggregate_metric_list:\n"
        + "".join(
            f"  - {{metric: {metric}, aggregation: mean, weight_by_size: false}}\n" for metric in ("acc", "acc_norm")
        )
        + _metadata_yaml({"version": version})
    )


def _metadata_yaml(metadata: Mapping[str, Any]) -> str:
    return "metadata:\n" + "".join(f"  {key}: {json.dumps(value)}\n" for key, value in metadata.items())
