"""The plugins that the README shows install as they stand there, and work in ``lm_eval`` and ``e2lm``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

MARKED_BLOCK = re.compile(r"`([\w/]+\.(?:py|yaml|jsonl))`:\n\n```\w+\n(.*?)```", re.DOTALL)
PYPROJECT_BLOCK = re.compile(r"```toml\n(.*?)```", re.DOTALL)

LONGEST_BLOCK_LINES = 10
HOOKS = {
    "gain": "e2lm_register_signal_scores",
    "capitals": "e2lm_register_tasks",
    "easy_first": "e2lm_register_curricula",
    "median": "e2lm_register_merge_strategies",
    "lowest_loss": "e2lm_register_scaling_predictors",
}


@pytest.fixture(scope="module")
def section(repository: Path) -> str:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    return readme.partition("## A plugin in ten lines")[2].partition("\n## ")[0]


@pytest.fixture(scope="module")
def shown(section: str) -> dict[str, dict[str, str]]:
    """The files of each plugin in the README, by plugin and path."""
    plugins: dict[str, dict[str, str]] = {}
    for path, text in MARKED_BLOCK.findall(section):
        plugins.setdefault(path.partition("/")[0].partition(".")[0], {})[path] = text
    return plugins


@pytest.fixture(scope="module")
def installed(section: str, shown: dict[str, dict[str, str]], author_environment, tmp_path_factory):
    """An environment in which all of them are installed, each with the README's pyproject under its own name."""
    (pyproject,) = PYPROJECT_BLOCK.findall(section)
    folders = []
    for name, files in shown.items():
        folder = tmp_path_factory.mktemp(name)
        for path, text in {"pyproject.toml": re.sub(r"\bgain\b", name, pyproject), **files}.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        folders.append(folder)
    author_environment.install(*folders)
    return author_environment


def succeeded(done) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def test_the_readme_shows_five_kinds_of_at_most_ten_lines_and_a_pyproject_of_four(section, shown) -> None:
    assert set(shown) == set(HOOKS)
    for files in shown.values():
        for path, text in files.items():
            lines = [line for line in text.splitlines() if line.strip()]
            assert len(lines) <= LONGEST_BLOCK_LINES, path
    (pyproject,) = PYPROJECT_BLOCK.findall(section)
    assert len(pyproject.splitlines()) == 4


def test_the_commands_beside_them_name_them(section) -> None:
    for command in (
        "e2lm --plugin gain.py signal OUT --scores gain",
        "e2lm signal OUT --scores gain",
        "lm_eval run --model hf --model_args pretrained=MODEL --tasks capitals",
        "e2lm train --corpus FILE --out RUNS --curriculum easy_first",
        "merge_method: median",
        "e2lm predict backtest --data RUNS.csv --columns N=params,D=tokens,L=loss --models lowest_loss",
    ):
        assert command in section


@pytest.mark.slow
def test_all_are_active_after_installing(installed) -> None:
    report = json.loads(succeeded(installed.e2lm("plugins", "list", "--json")))
    found = {plugin["name"]: plugin for plugin in report["plugins"] if plugin["name"] in HOOKS}
    assert {name: plugin["hooks"] for name, plugin in found.items()} == {name: [hook] for name, hook in HOOKS.items()}
    assert {plugin["status"] for plugin in found.values()} == {"active"}
    assert report["conflicts"] == report["remarks"] == []


@pytest.mark.slow
def test_the_stock_lm_eval_runs_the_task(installed, tiny_llama: Path, tmp_path: Path) -> None:
    options = {
        "--model": "hf",
        "--model_args": f"pretrained={tiny_llama},dtype=float32",
        "--tasks": "capitals",
        "--device": "cpu",
        "--output_path": str(tmp_path),
    }
    succeeded(installed.lm_eval("run", *(part for pair in options.items() for part in pair)))
    (results,) = tmp_path.rglob("results_*.json")
    found = json.loads(results.read_text(encoding="utf-8"))["results"]["capitals"]
    assert found["acc,none"] in (0.0, 0.5, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("as_file", [False, True])
def test_e2lm_signal_gives_the_score(as_file: bool, installed, section, shown, tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    rows = [f"run,{step},arc,acc,{0.25 + step / 1000}" for step in (0, 100, 200)]
    table.write_text("\n".join(["series,step,task,metric,value", *rows]) + "\n", encoding="utf-8")
    before: list[str | Path] = []
    variables = {}
    if as_file:
        (tmp_path / "gain.py").write_text(shown["gain"]["gain.py"], encoding="utf-8")
        before, variables = ["--plugin", tmp_path / "gain.py"], {"E2LM_PLUGINS": "signal"}
    printed = succeeded(installed.e2lm(*before, "signal", table, "--scores", "gain", "--json", **variables))
    (row,) = json.loads(printed)["rows"]
    assert row["scores"]["gain"]["value"] == pytest.approx(0.2)


@pytest.mark.slow
def test_e2lm_merge_takes_the_median(installed, tiny_series: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    models = [tiny_series / f"checkpoint-{step}" for step in (0, 10, 20)]
    config = tmp_path / "merge.yaml"
    listed = "".join(f"  - model: {model}\n" for model in models)
    config.write_text(f"merge_method: median\nmodels:\n{listed}", encoding="utf-8")
    succeeded(installed.e2lm("merge", config, tmp_path / "merged"))
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    inputs = [load_file(model / "model.safetensors") for model in models]
    assert set(merged) == set(inputs[0])
    for name, tensor in merged.items():
        assert torch.equal(tensor, torch.stack([one[name] for one in inputs]).median(dim=0).values)


@pytest.mark.slow
def test_e2lm_train_follows_the_curriculum(installed, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    documents = [" ".join(f"The ball number {place} of {box} is red." for place in range(20)) for box in range(40)]
    corpus.write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    options = {
        "--corpus": corpus,
        "--out": tmp_path / "runs",
        "--sizes": "1x16",
        "--tokens": "2048",
        "--batch-size": "4",
        "--sequence-length": "32",
        "--vocabulary": "300",
        "--checkpoints": "1",
        "--curriculum": "easy_first",
    }
    printed = succeeded(installed.e2lm("train", "--json", *(part for pair in options.items() for part in pair)))
    report = json.loads(printed)
    assert report["curriculum"] == "easy_first"
    (series,) = report["series"]
    assert series["finished"]
    assert series["steps"] == 16


@pytest.mark.slow
def test_e2lm_predict_judges_the_predictor(installed, tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    rows = [f"{n},{20 * n},{1.7 + 400 / n**0.34 + 410 / (20 * n) ** 0.28}" for n in (1e7, 2e7, 4e7, 8e7, 16e7)]
    table.write_text("\n".join(["params,tokens,loss", *rows]) + "\n", encoding="utf-8")
    options = ("--data", table, "--columns", "N=params,D=tokens,L=loss", "--models", "lowest_loss", "--json")
    report = json.loads(succeeded(installed.e2lm("predict", "backtest", *options)))
    (found,) = [one for one in report["models"] if one["model"] == "lowest_loss"]
    assert 0 < found["mean_error"] < 0.5
