from __future__ import annotations

import re
from pathlib import Path

import pytest

from e2lm import UserError
from e2lm.command_line import main
from e2lm_curriculum.config.comparison import ComparisonConfig
from e2lm_curriculum.config.training import (
    TRAINING_FIELDS,
    DataConfig,
    ModelConfig,
    RunConfig,
    TrainingConfig,
    config_data,
)

GOOD = "corpus: [{corpus}]\nout: {out}\nsizes: [1x16]\nlearning_rate: 3e-3\ntokens: 1_000\n"


def read(path: Path) -> TrainingConfig:
    return TrainingConfig.from_data(config_data(path), str(path))


def test_numbers_may_be_written_as_people_write_them(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text(GOOD.format(corpus="a.txt", out="o"), encoding="utf-8")
    config = read(file)
    assert config.run.learning_rate == 0.003
    assert config.data.tokens == 1000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learning_rat: 0.1", "unknown field 'learning_rat'.*'learning_rate'"),
        ("tokens: many", "field 'tokens': found 'many'"),
        ("tokens: 0", "field 'tokens'"),
        ("tokens: 1.5", "field 'tokens'"),
        ("schedule: lineal", "field 'schedule'.*constant"),
        ("held_out: 1.5", "field 'held_out'"),
        ("vocabulary: 10", "field 'vocabulary'"),
        ("learning_rate: .nan", "field 'learning_rate'"),
    ],
)
def test_a_bad_field_is_named_with_its_file(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "c.yml"
    good = GOOD.format(corpus="a.txt", out="o").splitlines()
    field = line.split(":", maxsplit=1)[0]
    file.write_text("\n".join([*(kept for kept in good if not kept.startswith(field + ":")), line]), encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        read(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", ["just words", "- a\n- b", "a: [", "\x00"])
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "c.yml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"c\.yml"):
        config_data(file)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sizes", "1x16,gigantic"], "unknown|found 'gigantic'"),
        (["--sizes", "1x16,1x16"], "twice"),
        (["--curriculum", "shufle"], "Did you mean 'shuffle'"),
        (["--tokens", "0"], "--tokens: found 0, expected a whole number, 1 or more"),
        (["--sequence-length", "10000000"], "sequence_length"),
        (["--corpus", "/nowhere.txt"], r"/nowhere\.txt: no such file"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong_and_writes_nothing(
    tmp_path: Path, corpus_file: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    out = tmp_path / "out"
    assert main(["train", "--corpus", str(corpus_file), "--out", str(out), "--sizes", "1x16", *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
    assert not out.exists()


def test_missing_fields_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train"]) == 2
    assert "field 'corpus': missing" in capsys.readouterr().err


def test_options_win_over_the_file_and_a_dry_run_writes_nothing(
    tmp_path: Path, corpus_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yml"
    out = tmp_path / "out"
    file.write_text(GOOD.format(corpus=corpus_file, out=out), encoding="utf-8")
    assert main(["train", str(file), "--tokens", "40960", "--dry-run", "--json"]) == 0
    import json

    report = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in report["series"]] == ["1x16"]
    assert report["series"][0]["steps"] == 10
    assert not out.exists()


def test_a_file_is_told_in_three_parts_and_has_their_fields_side_by_side(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text(GOOD.format(corpus="a.txt", out="o") + "order_seed: 4\nfamily: roberta\n", encoding="utf-8")
    config = read(file)
    assert (config.model.sizes, config.model.family) == (("1x16",), "roberta")
    assert (config.data.corpus, config.data.tokens) == (("a.txt",), 1000)
    assert (config.run.out, config.run.seed_of_order, config.run.seed_of_weights) == ("o", 4, 0)
    parts = [set(part.model_fields) for part in (ModelConfig, DataConfig, RunConfig)]
    assert sorted(TRAINING_FIELDS) == sorted(name for part in parts for name in part)
    assert len(set().union(*parts)) == len(TRAINING_FIELDS)
    assert set(config.fields) == set(TRAINING_FIELDS)
    assert TrainingConfig.from_data(config.fields, "again") == config
    assert config.changed(seed=9).run.seed_of_weights == 9


def test_what_a_run_records_is_what_its_numbers_depend_on() -> None:
    """The fields that runs on disk were recorded with: one more or less, or another value, and none of them goes on."""
    config = TrainingConfig.from_data({"corpus": ["a"], "out": "o", "init_seed": 3, "jobs": 2, "label": "x"}, "test")
    assert config.effective() == {
        "corpus": ["a"],
        "tokens": 1_000_000,
        "batch_size": 16,
        "sequence_length": 256,
        "vocabulary": 4096,
        "learning_rate": 3e-3,
        "schedule": "constant",
        "warmup": 0.1,
        "seed": 0,
        "init_seed": 3,
        "checkpoints": 10,
        "checkpoint_grid": "log",
        "checkpoint_tokens": 100_000,
        "word_unit": 1_000_000,
        "held_out": 0.1,
        "curriculum": "shuffle",
        "family": "llama",
        "precision": "auto",
    }
    assert (config.run.resume_interval_s, config.run.loader_workers) == (30.0, 0)
    assert TrainingConfig.from_data({"corpus": ["a"], "out": "o"}, "test").model.sizes == (
        "50k",
        "140k",
        "360k",
        "780k",
    )


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("vocabulary", 300, 299),
        ("vocabulary", 1 << 20, (1 << 20) + 1),
        ("sequence_length", 8, 7),
        ("held_out", 0.9, 0.91),
        ("learning_rate", 1.0, 1.01),
        ("warmup", 0.99, 1.0),
        ("seed", (1 << 31) - 1, 1 << 31),
        ("order_seed", 0, -1),
        ("checkpoints", 1, 0),
        ("resume_interval_s", 0.0, -1.0),
        ("batch_size", 1, 0),
        ("word_unit", 1, 0),
        ("checkpoint_tokens", 1, 0),
    ],
)
def test_each_part_checks_its_fields_up_to_the_border(field: str, good: float, bad: float) -> None:
    data = {"corpus": ["a"], "out": "o"}
    assert TrainingConfig.from_data({**data, field: good}, "test").fields[field] == good
    with pytest.raises(UserError, match=f"^c.yml: field '{field}': found"):
        TrainingConfig.from_data({**data, field: bad}, "c.yml")


def test_the_help_names_the_defaults_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    config = TrainingConfig.from_data({"corpus": ["a"], "out": "o"}, "test")
    for name in ("tokens", "checkpoint_tokens", "word_unit"):
        assert f"({config.fields[name]:_})" in said.partition(f"--{name.replace('_', '-')} ")[2]
    numbers = ("batch_size", "sequence_length", "vocabulary", "learning_rate", "warmup", "seed", "checkpoints")
    for name in (*numbers, "held_out", "jobs", "loader_workers", "resume_interval_s"):
        told = re.findall(rf"--{name.replace('_', '-')} [A-Z_]+ [^(]*\(([\d.e-]+)\)", said)
        assert [float(one) for one in told] == [float(config.fields[name])], name


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"seeds": 2}, "field 'seeds'"),
        ({"items": 1}, "field 'items'"),
        ({"held_out_tokens": 255}, "field 'held_out_tokens'"),
        ({"threshold": 0.0}, "field 'threshold'"),
        ({"schedules": ["constant", "constant"]}, "a value is there twice"),
        ({"tasks": ["a", "a"]}, "a value is there twice"),
        ({"arms": []}, "field 'arms'"),
    ],
)
def test_the_section_of_a_comparison_checks_itself(data: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ComparisonConfig.from_data(data, "c.yml: section 'compare'")


def test_a_comparison_that_says_nothing_is_five_seeds_of_all_arms_with_and_without_decay() -> None:
    told = ComparisonConfig()
    assert told.arms == ("vanilla", "curriculum", "exposure-matched", "anti", "random-pacing")
    assert (told.schedules, told.seeds) == (("configured", "constant"), 5)
    assert (told.tasks, told.items, told.held_out_tokens, told.threshold) == ((), None, 40_000, 0.8)
