"""Whatever release of lm-eval is there: a part that it lacks costs that part, with a line; plain tasks are scored."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from lm_eval.api import registry
from lm_eval.api import task as task_module
from lm_eval.config.task import TaskConfig
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager, manager

from e2lm.command_line import main
from e2lm.errors import UserError
from e2lm.results import read_scores
from e2lm_adapters import autoload
from e2lm_adapters.lm_eval import release
from e2lm_adapters.lm_eval.registration import include_task_folders, register_models
from e2lm_adapters.lm_eval.tasks import THEIR_BAR_MODULES, THEIR_CACHE, _build_once, _known, cache_templates, load_tasks
from e2lm_adapters.scoring.hf import E2lmHf

ITEMS = 12
Said = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def unsaid() -> Iterator[None]:
    """Nothing was said before."""
    release.say_once.cache_clear()
    yield
    release.say_once.cache_clear()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Said]:
    with caplog.at_level(logging.WARNING, logger="e2lm"):
        yield lambda: caplog.messages


def without(monkeypatch: pytest.MonkeyPatch, *places: str) -> None:
    """As in a release that has none of ``places``, module:attribute."""
    for place in places:
        module, _, name = place.partition(":")
        if module in sys.modules:
            monkeypatch.delattr(sys.modules[module], name, raising=False)


def test_without_its_environment_templates_are_compiled_anew_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    without(monkeypatch, "lm_eval.utils:env", THEIR_CACHE)
    cache_templates()
    cache_templates()
    (line,) = said()
    assert line == (
        f"lm-eval {release.release()} has no lm_eval.utils.env: templates are compiled anew for every item: slower, "
        "same numbers"
    )


def test_a_release_that_caches_templates_itself_is_left_alone(monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    without(monkeypatch, "lm_eval.utils:env")
    theirs = ModuleType("lm_eval.config.templates")
    theirs._compile_tpl = compiled = lambda source: source  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, theirs.__name__, theirs)
    cache_templates()
    assert theirs._compile_tpl is compiled  # type: ignore[attr-defined]
    assert said() == []


def test_without_its_bar_requests_are_built_all_the_same(monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    without(monkeypatch, *(f"{module}:tqdm" for module in THEIR_BAR_MODULES))
    task = SimpleNamespace(instances=[SimpleNamespace(resps=[1], filtered_resps={"none": 1})], asked=[])
    task.build_all_requests = lambda **options: task.asked.append(options)
    _build_once(task, 3)
    assert task.asked == [{"limit": 3}]
    task.build_all_requests()
    assert (task.asked, task.instances[0].resps) == ([{"limit": 3}], [])
    (line,) = said()
    assert line.endswith("its own progress bars are shown beside ours")


def test_its_bar_is_hidden_while_requests_are_built_and_no_longer() -> None:
    module = next(sys.modules[name] for name in THEIR_BAR_MODULES if hasattr(sys.modules.get(name), "tqdm"))
    before, seen = module.tqdm, []
    task = SimpleNamespace(instances=[], build_all_requests=lambda **_: seen.append(module.tqdm))
    _build_once(task, None)
    assert seen[0] is not before
    assert list(seen[0]([1, 2], total=2)) == [1, 2]
    assert module.tqdm is before


def test_without_its_registry_models_are_named_in_a_line(monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    without(monkeypatch, "lm_eval.api.registry:model_registry")
    register_models()
    (line,) = said()
    assert "has no lm_eval.api.registry.model_registry: models of plugins are not known there" in line


class Registry(dict[str, str]):
    def register(self, name: str, target: str) -> None:
        self[name] = target


@pytest.mark.parametrize(("reads", "ours"), [(False, True), (True, False)])
def test_models_that_lm_eval_finds_by_entry_points_are_left_to_it(
    reads: bool, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Registry(hf="theirs")
    monkeypatch.setattr(registry, "model_registry", known)
    if reads:
        monkeypatch.setattr(registry, "entry_points", lambda **_: [], raising=False)
    register_models()
    assert known["hf"] == "theirs"
    assert ("e2lm-hf" in known) == ours
    assert "e2lm-merge" in known  # a plugin's model that is in no such group


def test_without_a_task_manager_tasks_are_found_by_path_only(monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    monkeypatch.delattr(manager, "TaskManager")
    autoload._after_task_manager(manager)  # type: ignore[no-untyped-call]
    (line,) = said()
    assert line.endswith("has no lm_eval.tasks.manager.TaskManager: tasks of plugins are found by --include_path only")


def test_a_task_manager_of_other_arguments_is_left_as_it_is(said: Said) -> None:
    class Other:
        def __init__(self, folders: list[str]) -> None:
            self.folders = folders

    before = Other.__init__
    include_task_folders(Other)
    assert Other.__init__ is before
    (line,) = said()
    assert "has no TaskManager(include_path, include_defaults)" in line


def test_names_are_those_of_the_index_whatever_it_is_called() -> None:
    assert "b" in _known(SimpleNamespace(task_index={"b": 1}, all_tasks=[]))
    assert "b" in _known(SimpleNamespace(_task_index={"b": 1}, all_tasks=[]))
    assert "b" in _known(SimpleNamespace(all_tasks=["b"]))


def test_a_whole_text_is_the_last_argument_whatever_stands_before_it(tiny_llama: Path) -> None:
    """0.5 puts an empty context before it; the log-likelihood of that would be a number like any other."""
    lm = E2lmHf(str(tiny_llama), device="cpu", dtype="float32", show_progress=False)
    asked = [[SimpleNamespace(args=arguments)] for arguments in (("A page of text.",), ("", "A page of text."))]
    (before,), (after,) = (lm.loglikelihood_rolling(requests, disable_tqdm=True) for requests in asked)
    assert after == before
    assert (before[0] if IS_0_5 else before) < 0


@pytest.mark.parametrize(("scorers", "wanted"), [(None, [-2.5]), (object(), [(-2.5, False)])])
def test_answers_to_whole_texts_are_what_the_release_takes(
    scorers: object, wanted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "find_spec", lambda name: scorers if name == "lm_eval.scorers" else None)
    assert release.whole_text_answers([-2.5]) == wanted


# -- rules of groups and few-shot examples ---------------------------------------------------------------------------


IS_0_5 = task_module.ConfigurableTask is task_module.Task
of_0_4 = pytest.mark.skipif(IS_0_5, reason="lm-eval 0.5 writes groups differently")


def loaded(folder: Path, names: list[str], shots: int | None) -> dict[str, Any]:
    return dict(load_tasks(names, [folder], shots, None, {}).task_dict["tasks"])


def write_shots(folder: Path) -> None:
    plain = (folder / "plain_one.yaml").read_text(encoding="utf-8").replace("num_fewshot: 0\n", "fewshot_split: test\n")
    for name, line in {"free": "", "none": "num_fewshot: 0\n", "two": "num_fewshot: 2\n"}.items():
        (folder / f"{name}.yaml").write_text(plain.replace("plain_one", name) + line, encoding="utf-8")


@pytest.mark.parametrize(("shots", "wanted"), [(None, (0, 0, 2)), (4, (4, 0, 4)), (0, (0, 0, 0))])
def test_a_task_that_fixes_no_shots_keeps_none_and_others_have_as_many_as_were_asked_for(
    shots: int | None, wanted: tuple[int, int, int], tasks: Path
) -> None:
    write_shots(tasks)
    found = loaded(tasks, ["free", "none", "two"], shots)
    counted = tuple(found[name].instances[0].args[0].count("Which of them") - 1 for name in ("free", "none", "two"))
    assert counted == wanted


def test_more_examples_than_there_are_is_one_line_that_names_the_task(tasks: Path) -> None:
    write_shots(tasks)
    with pytest.raises(UserError, match=r"task free: its requests cannot be made \(ValueError: ") as caught:
        loaded(tasks, ["free"], 50)
    assert "\n" not in str(caught.value)


@of_0_4
def test_a_group_with_a_task_that_is_not_there_is_one_line_that_names_it(tasks: Path) -> None:
    (tasks / "lame.yaml").write_text("group: lame\ntask: [plain_one, nowhere]\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"tasks lame: cannot be loaded \(") as caught:
        loaded(tasks, ["lame"], None)
    assert "\n" not in str(caught.value)


@of_0_4
def test_a_group_is_loaded_with_all_of_its_tasks(tasks: Path) -> None:
    (tasks / "both.yaml").write_text("group: both\ntask: [plain_one, plain_many]\n", encoding="utf-8")
    assert set(loaded(tasks, ["both"], None)) == {"plain_one", "plain_many"}


# -- a plain task -------------------------------------------------------------------------------------------------


def item(number: int) -> dict[str, Any]:
    words = ["a cat", "two dogs", "né", "the third animal"]
    return {
        "question": f"Which of them is animal {number}?",
        "choices": words,
        "gold": number % 4,
        "several": [number % 4, (number + 1) % 4] if number % 3 == 0 else [number % 4],
    }


#: 0.5 wants to be told that a task has several right answers.
SAYS_HOW_MANY = "multiple_targets" in {field.name for field in fields(TaskConfig)}
KINDS = {"one": "gold", "many": "several"}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = "".join(json.dumps(item(number)) + "\n" for number in range(ITEMS))
    (folder / "items.jsonl").write_text(rows, encoding="utf-8")
    for name, target in KINDS.items():
        (folder / f"plain_{name}.yaml").write_text(
            f"task: plain_{name}\ndataset_path: json\ntest_split: test\noutput_type: multiple_choice\n"
            f"dataset_kwargs: {{data_files: {{test: {folder / 'items.jsonl'}}}}}\nnum_fewshot: 0\n"
            f'doc_to_text: "{{{{question}}}}"\ndoc_to_choice: choices\ndoc_to_target: {target}\n'
            "metric_list:\n  - {metric: acc, aggregation: mean, higher_is_better: true}\nmetadata: {version: 1.0}\n"
            + ("multiple_targets: true\n" if name == "many" and SAYS_HOW_MANY else ""),
            encoding="utf-8",
        )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_plain_task_has_the_numbers_that_lm_eval_gives_its_own_model(
    kind: str, tasks: Path, tiny_series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.evaluator import simple_evaluate

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    name, out = f"plain_{kind}", tmp_path / "out"
    command = ["eval", tiny_series, "--tasks", name, "--include-path", tasks, "--out", out, "--quiet"]
    assert main([*map(str, command), "--device", "cpu", "--model-args", "dtype=float32"]) == 0
    rows = {row.metric: row for row in read_scores(out).scores.rows() if row.step == 30}
    stock = simple_evaluate(
        HFLM(str(tiny_series / "checkpoint-30"), device="cpu", dtype="float32", batch_size=4),
        tasks=[name],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        bootstrap_iters=0,
    )
    assert rows["acc"].value == stock["results"][name]["acc,none"]
    assert rows["acc_ties_half"].value == pytest.approx(rows["acc"].value)
    assert rows["margin"].n == ITEMS


@pytest.mark.slow
def test_a_rolling_task_has_the_numbers_that_lm_eval_gives_its_own_model(
    tasks: Path, tiny_series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.evaluator import simple_evaluate

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    (tasks / "whole.yaml").write_text(
        "task: whole\ndataset_path: json\ntest_split: test\noutput_type: loglikelihood_rolling\n"
        f"dataset_kwargs: {{data_files: {{test: {tasks / 'items.jsonl'}}}}}\nnum_fewshot: 0\n"
        'doc_to_text: ""\ndoc_to_target: "{{question}}"\n'
        "metric_list:\n  - {metric: bits_per_byte}\n  - {metric: word_perplexity}\nmetadata: {version: 1.0}\n",
        encoding="utf-8",
    )
    out = tmp_path / "out"
    command = ["eval", tiny_series, "--tasks", "whole", "--include-path", tasks, "--out", out, "--quiet"]
    assert main([*map(str, command), "--device", "cpu", "--model-args", "dtype=float32"]) == 0
    rows = {row.metric: row for row in read_scores(out).scores.rows() if row.step == 30}
    stock = simple_evaluate(
        HFLM(str(tiny_series / "checkpoint-30"), device="cpu", dtype="float32", batch_size=4),
        tasks=["whole"],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        bootstrap_iters=0,
    )
    for metric in ("bits_per_byte", "word_perplexity"):
        assert rows[metric].value == pytest.approx(stock["results"]["whole"][f"{metric},none"], rel=1e-5)
