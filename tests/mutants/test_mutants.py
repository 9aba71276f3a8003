"""The engine that plants wrong numbers, on trees of three files; and that its list fits the tree."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants import recording
from tests.mutants.__main__ import _seed_of_commit
from tests.mutants.changes import Change, changes, numeric_types, planted
from tests.mutants.copies import TreeCopy, tree_digest
from tests.mutants.drawn import PACKAGES, WEIGHTS, Mutant, drawn, moved, read, redrawn, sources, stale, write
from tests.mutants.planting import KILLED, STUCK, SURVIVED, UNSOUND, Results, Verdict, planted_all, table, verdict
from tests.mutants.reach import functions_called, mirrored, noticing

FILE = "plugins/e2lm_signal/half.py"
HALF = "def half(n: float) -> float:\n    return n / 2\n\n\ndef name(n: float) -> str:\n    return 'n' * 2\n"
TWICE = Change(FILE, "half", "operator", "return n / 2", "return n * 2")
NUMBERS = frozenset({"float", "int", "NDArray"})
TEST = "tests/e2lm_signal/test_half.py"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with one formula, and no test of it yet."""
    root = tmp_path / "tree"
    for name, text in (
        (FILE, HALF),
        ("plugins/e2lm_signal/__init__.py", ""),
        ("pyproject.toml", '[tool.pytest.ini_options]\naddopts = ["--import-mode=importlib", "--doctest-modules"]\n'),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    for name in ("recording.py", "__main__.py"):
        (root / "tests" / "mutants").mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(recording.__file__).with_name(name), root / "tests" / "mutants" / name)
    return root


def with_test(root: Path, body: str, before: str = "") -> None:
    file = root / TEST
    file.parent.mkdir(parents=True, exist_ok=True)
    text = f"from e2lm_signal.half import half\n{before}\ndef test_half():\n    {body}\n"
    file.write_text(text, encoding="utf-8")


def judged(root: Path, tmp_path: Path, mutant: Mutant, limit_s: float = 60.0) -> Verdict:
    return verdict(mutant, TreeCopy.of(root, tmp_path / "copy"), limit_s)


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("return a + b", "return a - b"),
        ("return (a) ** (b)", "return (a) * (b)"),
        ("return a if a < b else b", "return a if a <= b else b"),
        ("return a if a < b else b", "return a if a > b else b"),
        ("return min(a, b)", "return max(a, b)"),
        ("return np.quantile(a, 0.95)", "return np.quantile(a, 0.925)"),
        ("return norm.ppf(0.975)", "return norm.isf(0.975)"),
        ("return a.sum(axis=-1)", "return a.sum(axis=0)"),
        ("return a.std(ddof=1)", "return a.std(ddof=0)"),
        ("return a[1:]", "return a[2:]"),
        ("return -a", "return a"),
        ("return a * 0.5", "return a * 0.55"),
        ("é = a + b", "é = a - b"),
    ],
)
def test_a_change_of_every_kind_is_found(line: str, changed: str) -> None:
    source = f"def f(a: float, b: float) -> float:\n    {line}\n"
    found = changes(FILE, source, NUMBERS)
    assert changed in [one.changed for one in found]
    for one in found:
        assert planted(source, one) == source.replace(line, one.changed)


@pytest.mark.parametrize(
    "source",
    [
        "def f(a: float) -> str:\n    return str(a + 1)\n",
        "def f(a: argparse.Namespace) -> int:\n    return 2\n",
        "def f(a: float) -> float:\n    raise ValueError(a + 1)\n",
        'def f(a: float) -> float:\n    """Half: a / 2 > 1."""\n    return a\n',
        "def f(a: Path) -> float:\n    return read(folder / a)\n",
        "LIMIT_S = 60.0\nPORT = 80\n",
        "def f(a: float) -> float:\n    return solved(a, xtol=1e-9, maxiter=100)\n",
    ],
)
def test_what_is_no_formula_is_left_alone(source: str) -> None:
    assert changes(FILE, source, NUMBERS) == []


def test_published_constants_are_changed_in_their_third_digit() -> None:
    found = changes(FILE, "EXPONENTS = (0.34, 0.28)\n", NUMBERS)
    assert [(one.where, one.changed) for one in found][:2] == [
        ("EXPONENTS", "EXPONENTS = (0.3366, 0.28)"),
        ("EXPONENTS", "EXPONENTS = (0.3434, 0.28)"),
    ]


def test_the_second_of_two_equal_lines_is_the_one_that_changes() -> None:
    source = "def f(a: float) -> float:\n    a = a + 1\n    a = a + 1\n    return a\n"
    second = next(one for one in changes(FILE, source, NUMBERS) if one.place == 1)
    assert planted(source, second).splitlines()[1:3] == ["    a = a + 1", f"    {second.changed}"]


def test_aliases_and_records_of_numbers_are_numbers() -> None:
    texts = {
        "a.py": "Values = NDArray[np.float64]\nName = Literal['float']\n",
        "b.py": "class Pair:\n    left: Values\n    right: Values\n    label: str\nclass Word:\n    text: str\n",
    }
    assert numeric_types(texts) & {"Values", "Name", "Pair", "Word"} == {"Values", "Pair"}


def test_a_test_that_feels_the_number_kills(tree: Path, tmp_path: Path) -> None:
    with_test(tree, "assert half(3.0) == 1.5")
    found = judged(tree, tmp_path, Mutant(TWICE, (f"{TEST}::test_half",)))
    assert (found.outcome, found.by) == (KILLED, f"{TEST}::test_half")
    assert (tree / FILE).read_text(encoding="utf-8") == HALF
    assert (tmp_path / "copy" / FILE).read_text(encoding="utf-8") == HALF


def test_the_mirrored_file_is_asked_where_the_named_test_is_gone(tree: Path, tmp_path: Path) -> None:
    with_test(tree, "assert half(3.0) == 1.5")
    found = judged(tree, tmp_path, Mutant(TWICE, (f"{TEST}::test_gone",)))
    assert (found.outcome, found.by) == (KILLED, f"{TEST}::test_half")


def test_a_doctest_kills(tree: Path, tmp_path: Path) -> None:
    with_doctest = HALF.replace("    return n / 2", '    """>>> half(3.0)\n    1.5\n    """\n    return n / 2')
    (tree / FILE).write_text(with_doctest, encoding="utf-8")
    assert judged(tree, tmp_path, Mutant(TWICE)).by == f"{FILE}::e2lm_signal.half.half"


def test_a_change_that_no_test_feels_survives(tree: Path, tmp_path: Path) -> None:
    with_test(tree, "assert half(0.0) == 0.0")
    assert judged(tree, tmp_path, Mutant(TWICE, (f"{TEST}::test_half",))).outcome == SURVIVED


def test_a_test_that_fails_anyway_kills_nothing(tree: Path, tmp_path: Path) -> None:
    with_test(tree, "assert half(3.0) == 7.0")
    assert judged(tree, tmp_path, Mutant(TWICE, (f"{TEST}::test_half",))).outcome == UNSOUND


def test_a_file_that_can_no_longer_be_imported_is_noticed(tree: Path, tmp_path: Path) -> None:
    (tree / FILE).write_text(f"WIDTHS = (1.0, 2.0, 3.0)[2]\n{HALF}", encoding="utf-8")
    with_test(tree, "assert half(0.0) == 0.0")
    beyond = Change(FILE, "WIDTHS", "constant", "WIDTHS = (1.0, 2.0, 3.0)[2]", "WIDTHS = (1.0, 2.0, 3.0)[3]")
    assert judged(tree, tmp_path, Mutant(beyond, (f"{TEST}::test_half",))).outcome == KILLED


def test_tests_that_never_end_are_stopped_and_said_to_be_stuck(tree: Path, tmp_path: Path) -> None:
    with_test(tree, "import time; time.sleep(0 if half(2.0) == 1.0 else 600)")
    assert judged(tree, tmp_path, Mutant(TWICE, (f"{TEST}::test_half",)), limit_s=8.0).outcome == STUCK


def test_a_second_run_asks_only_what_the_first_left_open(tree: Path, tmp_path: Path) -> None:
    with_test(tree, "assert half(3.0) == 1.5")
    results = Results(tmp_path / "results.jsonl", tree_digest(tree))
    told: list[Verdict] = []
    mutants = [Mutant(TWICE, (f"{TEST}::test_half",))]
    for _ in range(2):
        found = planted_all(mutants, tree, results, jobs=1, limit_s=60.0, told=told.append)
        assert found[TWICE.name].outcome == KILLED
    assert len(told) == 1
    (tree / TEST).write_text("", encoding="utf-8")
    assert Results(results.file, tree_digest(tree)).known() == {}


def test_a_run_that_is_stopped_takes_its_tests_and_copies_with_it(tree: Path, tmp_path: Path) -> None:
    with_test(tree, "import os, time; open(os.environ['SAID'], 'w').write(str(os.getpid())); time.sleep(600)")
    said = tmp_path / "said"
    (tree / "tests" / "mutants" / "drawn.toml").write_text("", encoding="utf-8")
    for file in Path(recording.__file__).parent.glob("*.py"):
        shutil.copy(file, tree / "tests" / "mutants" / file.name)
    write([Mutant(TWICE, (f"{TEST}::test_half",))], tree / "tests" / "mutants" / "drawn.toml")
    environment = {**os.environ, "SAID": str(said), "TMPDIR": str(tmp_path), "PYTHONPATH": str(tree)}
    started = subprocess.Popen([sys.executable, "-m", "tests.mutants", "run"], cwd=tree, env=environment)
    while not said.exists() or not said.read_text(encoding="utf-8"):
        assert started.poll() is None
        time.sleep(0.1)
    started.send_signal(signal.SIGTERM)
    assert started.wait(30) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(said.read_text(encoding="utf-8")), 0)
    assert list(tmp_path.glob("e2lm-mutants-*")) == []


def test_a_line_cut_off_by_a_kill_costs_itself_only(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl", "tree")
    results.add(Verdict("a", KILLED, "t", 1.0))
    with results.file.open("a", encoding="utf-8") as stream:
        stream.write('{"tree": "tree", "name": "b"')
    assert set(results.known()) == {"a"}


def test_the_tests_that_run_a_function_are_those_that_should_notice(tree: Path, tmp_path: Path) -> None:
    with_test(tree, "assert half(3.0) == 1.5")
    reached = functions_called(TreeCopy.of(tree, tmp_path / "copy"), "e2lm_signal", 60.0)
    assert set(reached[f"{FILE}::half"]) == {f"{TEST}::test_half"}
    assert noticing(TWICE, reached, sources(tree), tree) == (f"{TEST}::test_half",)


def test_a_test_file_of_the_same_name_is_asked_before_the_others_of_its_room(tree: Path) -> None:
    for name in ("a", "half", "z"):
        (tree / "tests/e2lm_signal").mkdir(exist_ok=True)
        (tree / f"tests/e2lm_signal/test_{name}.py").write_text("", encoding="utf-8")
    expected = [f"tests/e2lm_signal/test_{name}.py" for name in ("half", "a", "z")]
    assert mirrored(FILE, tree) == expected
    assert mirrored("plugins/e2lm_signal/cli/half.py", tree) == expected


def test_a_line_that_is_gone_is_found_where_its_function_moved_to_else_another_is_drawn(tree: Path) -> None:
    mutant = Mutant(TWICE, ("t",))
    assert stale([mutant], tree) == []
    other = tree / "plugins/e2lm_signal/other.py"
    (tree / FILE).rename(other)
    assert stale([mutant], tree) == [mutant]
    again = moved(mutant, changes("plugins/e2lm_signal/other.py", HALF, NUMBERS))
    assert again is not None
    assert (again.change.file, again.notice) == ("plugins/e2lm_signal/other.py", ("t",))
    other.write_text(HALF.replace("/ 2", "/ 4"), encoding="utf-8")
    new = redrawn([mutant], [mutant], tree, seed=1)
    assert new
    assert {one.change.file for one in new} == {"plugins/e2lm_signal/other.py"}
    assert {one.change.line for one in new} == {"return n / 4"}


def test_the_same_seed_draws_the_same_and_no_line_twice(tree: Path) -> None:
    lines = "".join(f"def f{n}(a: float) -> float:\n    return a + {n}.5\n" for n in range(60))
    (tree / FILE).write_text(lines, encoding="utf-8")
    texts = sources(tree)
    pool = changes(FILE, lines, NUMBERS)
    once, twice, other = (drawn(pool, [], texts, seed) for seed in (1, 1, 2))
    assert once == twice != other
    assert len({one.change.line for one in once}) == len(once) == PACKAGES["e2lm_signal"][1]


def test_a_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    quoted = Change(FILE, "f", "constant", """return x['a'] + "b" + 1""", "return 2", 1)
    written = [Mutant(TWICE, ("a::b[c'd]", "e")), Mutant(quoted, (), "the sum is only compared with itself")]
    write(written, tmp_path / "drawn.toml")
    assert set(read(tmp_path / "drawn.toml")) == set(written)


def test_a_survivor_stands_in_the_table_as_in_a_diff() -> None:
    said = table([Mutant(TWICE)], {TWICE.name: Verdict(TWICE.name, SURVIVED, "", 2.0)})
    assert f"{TWICE.name}  {FILE}  half" in said
    assert "  - return n / 2\n  + return n * 2" in said


def test_the_sample_depends_on_the_commit_alone() -> None:
    assert random.Random(_seed_of_commit()).random() == random.Random(_seed_of_commit()).random()
    assert Counter([_seed_of_commit(), _seed_of_commit()]).most_common(1)[0][1] == 2


def test_every_change_of_the_list_is_still_there_to_be_made(repository: Path) -> None:
    gone = [one.name for one in stale(read(), repository)]
    assert gone == [], f"run python -m tests.mutants draw --redraw {' '.join(gone)}"


def test_the_list_has_at_least_150_changes_of_every_package_and_kind_and_a_reason_for_each_left_out() -> None:
    mutants = read()
    planted_ones = [one for one in mutants if not one.equivalent]
    assert len(planted_ones) >= 150
    assert len({one.name for one in mutants}) == len(mutants)
    by_package = Counter(one.change.package for one in planted_ones)
    assert set(by_package) == set(PACKAGES)
    assert min(by_package.values()) >= 6
    assert {one.change.kind for one in planted_ones} == set(WEIGHTS)
    assert all(one.notice for one in planted_ones)
    assert all(len(one.equivalent) > 30 for one in mutants if one.equivalent)
