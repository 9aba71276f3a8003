"""Cards of what is pushed to the Hub: what the run is, its checkpoints, and the curve of its scores.

The same input gives the same text, so that a push without news changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import yaml

from e2lm.scores import ScoreRow, Scores
from e2lm.series import Series
from e2lm_adapters.checkpoints.upload import CARD_MARK

#: What a column of the curve shows: the first of these that the task has, else the first of its metrics.
SHOWN_METRICS = ("acc_norm", "acc", "bits_per_byte", "word_perplexity", "exact_match")
#: Names under which lm-eval reports; they go into the metadata, where leaderboards look for them.
LM_EVAL_METRICS = (
    *SHOWN_METRICS,
    "acc_bytes",
    "acc_mutual_info",
    "byte_perplexity",
    "perplexity",
    "exact_match,strict-match",
    "exact_match,flexible-extract",
    "f1",
    "mc1",
    "mc2",
)
TASK_TYPE = "text-generation"
HARNESS = {"name": "lm-evaluation-harness", "url": "https://github.com/EleutherAI/lm-evaluation-harness"}
#: Rows and columns beyond which nobody reads a table.
MOST_ROWS = 30
MOST_TASKS = 8
DIGITS = 6


def model_card(series: Series, repo: str, scores: Scores | None) -> str:
    """The README of a series; ``scores`` are those of this series."""
    rows = [] if scores is None else list(scores.rows())
    metadata: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": TASK_TYPE,
        "tags": ["e2lm", "pretraining", "checkpoints"],
    }
    if index := _results(rows):
        metadata["model-index"] = [{"name": series.name, "results": index}]
    last = series.checkpoints[-1]
    tokens = series.tokens_at(last)
    facts = [
        ("parameters", f"{series.params:,}"),
        ("without embeddings", f"{series.params_non_embedding:,}"),
        ("training tokens", _count(tokens)),
        ("training FLOPs (6ND)", "not known" if math.isnan(tokens) else f"{series.flops(tokens):.3g}"),
        ("data", series.data or "not said"),
        ("checkpoints", str(len(series.checkpoints))),
    ]
    steps = [
        [f"`step{point.step}`", f"{point.step:,}", _count(series.tokens_at(point))] for point in series.checkpoints
    ]
    return "\n".join(
        [
            _front_matter(metadata),
            f"# {series.name}",
            "",
            f"The checkpoints of one training run, each a revision; `main` is that of step {last.step:,}.",
            "",
            *_table(["", ""], [[name, value] for name, value in facts]),
            "",
            "```python",
            "from transformers import AutoModelForCausalLM",
            "",
            f'model = AutoModelForCausalLM.from_pretrained("{repo}", revision="step{last.step}")',
            "```",
            "",
            f"All of them at once: `e2lm eval {repo} --tasks TASKS --out OUT`, or `e2lm hub pull {repo} DIR`.",
            "",
            *_curve(rows),
            "## Checkpoints",
            "",
            *_table(["revision", "step", "tokens"], _thinned(steps)),
            "",
        ]
    )


def scores_card(scores: Scores, repo: str) -> str:
    """The README of a data set of scores."""
    rows = list(scores.rows())
    metadata = {
        "tags": ["e2lm", "evaluation"],
        "configs": [{"config_name": "default", "data_files": "scores.parquet"}],
    }
    parts: list[str] = []
    for series in sorted({row.series for row in rows}):
        parts += _curve([row for row in rows if row.series == series], f"Scores of {series}")
    return "\n".join(
        [
            _front_matter(metadata),
            f"# {repo.rpartition('/')[2]}",
            "",
            f"{len(rows):,} scores of {len({row.series for row in rows})} training runs, checkpoint by checkpoint, in "
            "one long table: `series, params, step, tokens, flops, task, metric, value, stderr, n`.",
            "",
            f"`e2lm hub pull datasets/{repo} OUT`, then `e2lm signal OUT`.",
            "",
            *parts,
        ]
    )


def _front_matter(metadata: dict[str, Any]) -> str:
    text = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---\n{CARD_MARK}\n"


def _results(rows: Sequence[ScoreRow]) -> list[dict[str, Any]]:
    """The newest checkpoint's scores as the Hub's ``model-index``."""
    newest = max((row.step for row in rows), default=0)
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row.step != newest or row.metric not in LM_EVAL_METRICS or not math.isfinite(row.value):
            continue
        arguments: dict[str, Any] = {"step": int(row.step), "n": int(row.n)}
        if math.isfinite(row.stderr):
            arguments["stderr"] = round(float(row.stderr), DIGITS)
        metric = {"type": row.metric, "value": round(float(row.value), DIGITS), "name": row.metric, "args": arguments}
        found.setdefault(row.task, []).append(metric)
    return [
        {"task": {"type": TASK_TYPE}, "dataset": {"name": task, "type": task}, "metrics": metrics, "source": HARNESS}
        for task, metrics in found.items()
    ]


def _curve(rows: Sequence[ScoreRow], title: str = "Scores") -> list[str]:
    """Value and standard error of one metric per task, checkpoint by checkpoint."""
    if not rows:
        return []
    by_task: dict[str, dict[str, dict[int, ScoreRow]]] = {}
    for row in rows:
        by_task.setdefault(row.task, {}).setdefault(row.metric, {})[row.step] = row
    shown = {
        task: next((name for name in SHOWN_METRICS if name in metrics), min(metrics))
        for task, metrics in list(by_task.items())[:MOST_TASKS]
    }
    tokens = {row.step: row.tokens for row in rows}
    lines = [
        [f"{step:,}", _count(tokens[step]), *(_value(by_task[task][shown[task]].get(step)) for task in shown)]
        for step in sorted(tokens)
    ]
    heads = ["step", "tokens", *(f"{task} ({metric})" for task, metric in shown.items())]
    left_out = len(by_task) - len(shown)
    more = [f"{left_out} more tasks are in the table of scores.", ""] if left_out > 0 else []
    return [f"## {title}", "", *_table(heads, _thinned(lines)), "", *more, "± one standard error over items.", ""]


def _value(row: ScoreRow | None) -> str:
    if row is None:
        return ""
    return f"{row.value:.4g}" if math.isnan(row.stderr) else f"{row.value:.4g} ± {row.stderr:.2g}"


def _count(tokens: float) -> str:
    return "not known" if math.isnan(tokens) else f"{round(tokens):,}"


def _thinned(lines: list[list[str]]) -> list[list[str]]:
    """At most ``MOST_ROWS`` of ``lines`` at equal distances, the first and the last among them."""
    if len(lines) <= MOST_ROWS:
        return lines
    places = sorted({round(k * (len(lines) - 1) / (MOST_ROWS - 1)) for k in range(MOST_ROWS)})
    return [lines[place] for place in places]


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    cells = [heads, ["---"] * len(heads), *lines]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells]
