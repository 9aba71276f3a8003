"""Writes docs/house.md: every room, what it hides, its door, one line a file, and four walks through the files.

python docs/house_map.py
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path(__file__).with_name("house.md")
ROOTS = ("plugins", "adapters", "leaderboard", ".")

#: In the order in which a stranger asks for them.
PACKAGES = (
    *("e2lm", "e2lm_adapters", "e2lm_signal", "e2lm_scaling", "e2lm_merge", "e2lm_curriculum"),
    *("e2lm_tasks", "e2lm_leaderboard", "e2lm_demo", "e2lm_view", "e2lm_testing"),
)

HEAD = """\
# The house

<!-- Written by docs/house_map.py from the first lines of docstrings: change them there. -->

Where a thing lives. The path is the import: `e2lm_merge/methods/ties.py` is `e2lm_merge.methods.ties`, and lies in the
source root of its package: `plugins/e2lm_merge/methods/ties.py`. A room is a folder; its first line says what it
hides, its *door* is what files of other rooms take from it, most used first.
A plugin's own entrance is its `plugin.py`: the hooks. What begins with `_` may change without a word.

| package | source root | what it is | files |
|---|---|---|---|
{table}

## Where does a new one go?

Of your own, into a plugin (`e2lm plugins new KIND NAME`): the hook registers it. Among ours, where the others lie:

| a new | hook | ours lie in |
|---|---|---|
| task suite | `e2lm_register_tasks` | a folder of `e2lm_tasks/`, named in `e2lm_tasks/plugin.py` |
| item metric | `e2lm_register_metrics` | `e2lm_signal/item_metrics.py` |
| signal score | `e2lm_register_signal_scores` | `e2lm_signal/signal_scores.py` |
| predictor, law | `e2lm_register_scaling_predictors` | `e2lm_scaling/forecast/predictors.py`, `e2lm_scaling/laws/` |
| merge method | `e2lm_register_merge_strategies` | a file of `e2lm_merge/methods/` |
| curriculum | `e2lm_register_curricula` | `e2lm_curriculum/plan/preset.py` |
| difficulty | the same, named in a curriculum | `e2lm_curriculum/difficulty/measures.py` |
| evaluation model | `e2lm_register_models` | `e2lm_adapters/plugin.py` |
| name of a step | none | `e2lm/step_name.py` |
| kind of built task | none | a file of `e2lm_tasks/building/`, named in `families.py` |
| checkpoint format | `e2lm_register_checkpoint_formats` | `e2lm_adapters/checkpoints/formats/` |
| result format | `e2lm_register_result_formats` | `e2lm/results/formats.py` |
| command | `e2lm_register_commands` | `cli/command.py` of its package |
| verb of Python | `e2lm_register_verbs` | `verb.py` or `verbs.py` of its package |
| tracker | none | a file of `e2lm_adapters/trackers/` |
| sentence in a report or page | none | `messages.py` of its package |

## Four walks

The files in the order in which the work passes through them. Each is imported by one that stands before it, or stands
behind a hook (⇢: any plugin may stand there), and none climbs back to the door it began at
(`tests/house/test_house_map.py`).
"""

#: Files in order; a name after ⇢ is reached through a hook, and what stands behind it may be anybody's.
WALKS: dict[str, tuple[tuple[str, str], ...]] = {
    "A score, from an evaluation to its rank": (
        ("e2lm_leaderboard.cli.organiser", "`e2lm leaderboard run SEASON`: whatever waits is taken through"),
        ("e2lm_leaderboard.season.run", "a submission is checked again, written out as a task, evaluated, scored"),
        ("⇢e2lm_adapters.eval.command", "the evaluation is the public command, `e2lm eval`"),
        ("e2lm_adapters.eval.series", "which checkpoints lack which tasks; rows are made of what is on disk"),
        ("e2lm_adapters.eval.evaluator", "one live model scores checkpoint after checkpoint"),
        ("e2lm_adapters.lm_eval.tasks", "lm-eval's tasks by name, and their hash"),
        (
            "e2lm.results.lm_eval_items",
            "what lm-eval logged per item, live or from files, as log-likelihoods of every choice",
        ),
        ("e2lm.samples", "Samples refuse what is not finite, and go to disk whole or not at all"),
        ("e2lm_adapters.eval.store", "a unit is done when it stands here"),
        ("e2lm_leaderboard.season.curves", "back in the season: Samples of all checkpoints become curves"),
        ("e2lm_leaderboard.season.scores", "registered signal scores over those curves, with intervals"),
        ("⇢e2lm_signal.signal_quality", "one of those scores"),
        ("e2lm_leaderboard.store.store", "kept, with a line in the log"),
        ("e2lm_leaderboard.ranking.table", "the ranking as it may be shown now"),
        ("e2lm_leaderboard.ranking.ranking", "ties by intervals, the Ladder"),
    ),
    "A name on the Hub, to log-likelihoods": (
        ("e2lm_adapters.eval.command", "`e2lm eval org/model --tasks A --out OUT`"),
        ("e2lm_adapters.checkpoints.series", "revisions and sub-folders become a Series"),
        ("e2lm.step_name", "which step and how many tokens a name stands for"),
        ("e2lm_adapters.checkpoints.listing", "what the repository holds, and the hash of each revision's weights"),
        ("e2lm_adapters.checkpoints.source", "files come to this machine, a few checkpoints at a time"),
        ("e2lm_adapters.checkpoints.pickled", "pickles become safetensors, where that was asked for"),
        ("e2lm_adapters.eval.series", "what is still to be done"),
        ("e2lm_adapters.eval.evaluator", "one live model scores checkpoint after checkpoint"),
        ("e2lm_adapters.eval.loading", "the first is built; the next is swapped in, or built anew and why"),
        ("e2lm_adapters.scoring.swap", "its tensors are read ahead, after a look for NaN"),
        ("e2lm.live_weights", "transformers says what each of them is, and they are copied in place"),
        ("⇢e2lm_adapters.scoring.hf", "lm-eval asks its model, ours by the name `e2lm-hf`"),
        ("e2lm_adapters.scoring.requests", "texts become tokens, once per list"),
        ("e2lm_adapters.scoring.prefix_tree", "every shared token is planned once"),
        ("e2lm_adapters.scoring.packed", "the plan runs through the model: log-likelihoods"),
        ("e2lm_adapters.scoring.check", "and a sample is compared with the stock way"),
    ),
    "A predictor, from its hook to the printed interval": (
        ("e2lm_scaling.cli.command", "`e2lm predict fit RUNS.csv --law NAME`"),
        ("e2lm_scaling.cli.fit", "the action"),
        ("e2lm_scaling.forecast.losses", "the file becomes losses of runs"),
        ("e2lm_scaling.forecast.table", "and those a table that passes its checks"),
        ("e2lm_scaling.cli.input", "the predictor of that name, whoever registered it"),
        ("e2lm.plugin_manager", "asks every plugin, one at a time"),
        ("⇢e2lm_scaling.plugin", "ours answer as a stranger's do"),
        ("e2lm_scaling.forecast.predictors", "laws, their average, baselines"),
        ("e2lm_scaling.laws.fit", "a law is fitted to the table"),
        ("e2lm_scaling.laws.solver", "by Newton's method from many starts"),
        ("e2lm_scaling.forecast.calibration", "how far off it was when it had to predict larger runs"),
        ("e2lm.scaling_predictor", "a Forecast with low and high, or the reason why not: what is printed"),
    ),
    "A merge config, to bytes": (
        ("e2lm_merge.cli.command", "`e2lm merge CONFIG OUT`"),
        ("e2lm_merge.plan.recipe", "the YAML, strictly"),
        ("e2lm_merge.plan.merge_plan", "every output tensor with what goes into it"),
        ("e2lm_merge.plan.source", "the models: folders, what is stored there"),
        ("e2lm_merge.plan.parameters", "values, gradients, filters"),
        ("e2lm_merge.output.folder", "the folder that is there whole or not at all"),
        ("e2lm_merge.output.layout", "where every tensor will lie"),
        ("e2lm_merge.output.journal", "what is finished already"),
        ("e2lm_merge.numbers.tensor_merge", "one tensor, block by block"),
        ("e2lm_merge.numbers.blocks", "its inputs as float32"),
        ("⇢e2lm_merge.methods.ties", "through the strategy, here TIES: trim, elect, sum"),
        ("e2lm_merge.methods.deltas", "what methods on differences share"),
        ("e2lm_merge.numbers.compiled", "in one pass over memory where there is a compiler"),
        ("e2lm_merge.numbers.formats", "and back into the stored form: bytes"),
    ),
}

#: How many names a door shows.
SHOWN = 8


@dataclass(frozen=True)
class Module:
    """A product file: its dotted name, path, first line, and the names that it takes from others of ours."""

    name: str
    path: Path
    first_line: str
    takes: tuple[tuple[str, str], ...]

    @property
    def room(self) -> str:
        """The folder it lies in; its own where it is that folder's ``__init__``."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]

    @property
    def imports(self) -> frozenset[str]:
        """The modules of ours that it takes something from."""
        return frozenset(module for module, _ in self.takes)


@cache
def modules() -> dict[str, Module]:
    """Every product file by dotted name, in order of path."""
    files = {dotted_name(file): file for package in PACKAGES for file in sorted(folder_of(package).rglob("*.py"))}
    return {name: _module(name, file, files) for name, file in files.items()}


def folder_of(package: str) -> Path:
    """Where a package of ours lies."""
    return next(ROOT / root / package for root in ROOTS if (ROOT / root / package / "__init__.py").is_file())


def _source_root(package: str) -> str:
    root = folder_of(package).parent.relative_to(ROOT)
    return "the top" if root == Path() else f"`{root}/`"


def dotted_name(file: Path) -> str:
    """The import of a file: ``plugins/e2lm/page.py`` is ``e2lm.page``."""
    parts = list(file.relative_to(ROOT).with_suffix("").parts)
    parts = parts[next(place for place, part in enumerate(parts) if part in PACKAGES) :]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _module(name: str, file: Path, files: dict[str, Path]) -> Module:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    takes = tuple(sorted({(taken, item) for taken, item in _taken(tree, files) if taken != name}))
    return Module(name, file, (ast.get_docstring(tree) or "").partition("\n")[0], takes)


def _taken(tree: ast.AST, files: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """(module, name) of everything of ours that is imported, at whatever depth, or named as ``module:name``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            module, _, name = node.value.partition(":")
            if module in files and "." in module:
                yield module, name
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name in files)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if f"{node.module}.{alias.name}" in files:
                    yield f"{node.module}.{alias.name}", ""
                elif node.module in files:
                    yield node.module, alias.name


def door(room: str) -> list[str]:
    """What files outside ``room`` take from its files, most used first: ``file.name``."""
    users: dict[str, set[str]] = defaultdict(set)
    for module in modules().values():
        if module.room == room or module.room.startswith(f"{room}."):
            continue
        for taken, item in module.takes:
            if modules()[taken].room == room and taken != room:
                users[f"{taken.rpartition('.')[2]}.{item}" if item else taken.rpartition(".")[2]].add(module.name)
    return sorted(users, key=lambda name: (-len(users[name]), name))


def page() -> str:
    """The whole page."""
    sizes = {
        package: sum(module.name.split(".")[0] == package for module in modules().values()) for package in PACKAGES
    }
    table = "\n".join(
        f"| [`{name}`](#{name}) | {_source_root(name)} | {modules()[name].first_line} | {sizes[name]} |"
        for name in PACKAGES
    )
    walks = "".join(_walk(title, steps) for title, steps in WALKS.items())
    return HEAD.format(table=table) + walks + "".join(_package(package) for package in PACKAGES)


def _walk(title: str, steps: tuple[tuple[str, str], ...]) -> str:
    lines = []
    for number, (name, what) in enumerate(steps, 1):
        arrow = "⇢ " if name.startswith("⇢") else ""
        lines.append(f"{number}. {arrow}`{name.removeprefix('⇢').replace('.', '/')}.py`: {what}")
    return f"\n### {title}\n\n" + "\n".join(lines) + "\n"


def _package(package: str) -> str:
    rooms = sorted({module.room for module in modules().values() if module.name.split(".")[0] == package})
    return f"\n## {package}\n" + "".join(_room(room, package) for room in rooms)


def _room(room: str, package: str) -> str:
    heading = "" if room == package else f"\n### {room.replace('.', '/')}/\n"
    names = door(room)
    shown = ", ".join(f"`{name}`" for name in names[:SHOWN]) + (
        f" and {len(names) - SHOWN} more" if names[SHOWN:] else ""
    )
    inside = [module for module in modules().values() if module.room == room and module.name != room]
    told = f"\n{modules()[room].first_line}" + (f" Door: {shown}." if names else "") + "\n"
    rows = "".join(f"| `{module.path.name}` | {_cell(module.first_line)} |\n" for module in inside)
    return heading + told + ("\n| file | what it hides |\n|---|---|\n" + rows if rows else "")


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
