"""A bundle's own item metric: the numbers of honest code, and nothing from code that is none."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from e2lm import Samples
from e2lm.item_metric import ItemChoices
from e2lm_leaderboard.bundle.check import CheckReport
from e2lm_leaderboard.cli.entrant import SUBMISSION_YAML
from e2lm_leaderboard.sandbox.check import sandbox_verdict
from e2lm_leaderboard.sandbox.metric import MetricCode, metric_values
from e2lm_leaderboard.sandbox.sandbox import SandboxError, SandboxLimits

ITEMS, STEPS = 90, 4
MARGIN = """
def margin(item):
    print("noise that is nobody's answer")
    wrong = [one for place, one in enumerate(item["loglik"]) if place != item["gold"]]
    return item["loglik"][item["gold"]] - max(wrong)
"""
#: Rows of all checkpoints pile up in the module, and the later ones get the place of their checkpoint.
ORDERED = """
seen = []
def margin(item):
    seen.append(item["loglik"][item["gold"]])
    return float(sorted(seen).index(item["loglik"][item["gold"]]))
"""
#: The same, reading ahead in its own standard input and in its runner's.
READS_AHEAD = """
import os, select, __main__
def margin(item):
    more = b""
    for end in range(32):
        try:
            if select.select([end], [], [], 0)[0]:
                more += os.read(end, 1 << 20)
        except OSError:
            pass
    return float(len(more))
"""
FORGES = """
import os
def margin(item):
    for end in range(3, 32):
        try:
            os.write(end, b"[1.0]\\n")
        except OSError:
            pass
    return 2.0
"""
READS_FILES = """
import os
found = [len(files) for _, _, files in os.walk("/job")]
def margin(item):
    return float(sum(found))
"""
LIMITS = SandboxLimits(wall_s=20.0, cpu_s=20)


@pytest.fixture(autouse=True)
def _works() -> None:
    verdict = sandbox_verdict()
    if not verdict.stopped:
        pytest.skip(f"no sandbox on this machine: {verdict.reason}")


def samples() -> list[Samples]:
    rng = np.random.default_rng(0)
    there = np.ones((ITEMS, 3), dtype=np.bool_)
    there[::2, 2] = False
    lengths = np.where(there, 7, -1)
    found = []
    for series in ("a", "b"):
        for step in range(STEPS):
            logliks = np.where(there, rng.normal(-9.0, 2.0, there.shape), np.nan)
            choices = ItemChoices(logliks, there, lengths, lengths, lengths, np.arange(ITEMS) % 2)
            found.append(Samples(series, step, "lb_0", np.arange(ITEMS), choices, there))
    return found


def given(source: str, limits: SandboxLimits = LIMITS):  # type: ignore[no-untyped-def]
    return metric_values(MetricCode("metric.py", "margin", source.encode()), samples(), limits)


def test_honest_code_gives_the_numbers_that_numpy_gives() -> None:
    found = given(MARGIN)
    every = samples()
    assert set(found) == {("lb_0", one.series, one.step) for one in every}
    for one in every:
        choices = one.choices
        expected_I = choices.gold_loglik_I - np.nanmax(choices.without_gold(choices.loglik_IC), axis=1)
        np.testing.assert_array_equal(found["lb_0", one.series, one.step], expected_I)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def margin(item):\n    raise ValueError('boom')\n", "ValueError: boom"),
        ("raise SystemExit\n", "ended with code 0"),
        ("def margin(item):\n    return float('nan')\n", "Out of range float"),
        ("def margin(item):\n    return 10 ** 400\n", "expected is a finite number"),
        ("def margin(item):\n    return True\n", "expected is a finite number"),
        ("def margin(item):\n    return [1.0, 2.0]\n", "expected is a finite number"),
        ("def margin(item):\n    return None\n", "expected is a finite number"),
        ("def margin(item):\n    return {1}\n", "not JSON serializable"),
        ("import numpy\ndef margin(item):\n    return 1.0\n", "No module named 'numpy'"),
        ("import os\ndef margin(item):\n    os._exit(3)\n", "code 3"),
        ("import random\ndef margin(item):\n    return random.random()\n", "depend on the item alone"),
        (
            "import itertools\nc = itertools.count()\ndef margin(item):\n    return next(c)\n",
            "depend on the item alone",
        ),
        (ORDERED, "depend on the item alone"),
        (FORGES, "something else than"),
        ("def margin(item):\n    return open('/etc/shadow').read()\n", "No such file"),
    ],
)
def test_code_that_is_no_metric_is_refused_in_one_line(source: str, told: str) -> None:
    with pytest.raises(SandboxError, match=told) as caught:
        given(source)
    assert "\n" not in str(caught.value)


def test_code_that_hangs_is_ended() -> None:
    with pytest.raises(SandboxError, match="more than 2 s"):
        given("def margin(item):\n    while True:\n        pass\n", SandboxLimits(wall_s=2.0))


def test_code_that_answers_without_end_is_ended() -> None:
    flood = "import sys, os\ndef margin(item):\n    while True:\n        os.write(4, b'1' * 65536)\n"
    with pytest.raises(SandboxError):
        given(flood, SandboxLimits(wall_s=10.0, output_bytes=1 << 20))


def test_nothing_waits_to_be_read_before_an_answer_and_no_other_file_is_there() -> None:
    assert {value for values in given(READS_AHEAD).values() for value in values.tolist()} == {0.0}
    assert {value for values in given(READS_FILES).values() for value in values.tolist()} == {2.0}


def test_the_check_looks_at_a_metric_without_running_it(checked: Callable[..., CheckReport]) -> None:
    own = SUBMISSION_YAML.replace("metric: acc_norm", "metric: my-margin\nmetric_function: metric.margin")
    code = own.replace("declarative", "code")
    assert checked({"submission.yaml": code, "metric.py": "def margin(item):\n    raise SystemExit\n"}).accepted

    def found(changes: dict[str, str | bytes | None]) -> str:
        return json.dumps([one.as_json() for one in checked(changes).findings])

    assert "set tier: code, or name an installed metric" in found({"submission.yaml": own})
    assert "but no metric.py" in found({"submission.yaml": code})
    assert "no 'def margin('" in found({"submission.yaml": code, "metric.py": "margin = 1\n"})
    long = "def margin(item):\n    return 1.0\n#" + "x" * 5000
    assert "at most 4,096 for a metric" in found({"submission.yaml": code, "metric.py": long})
    assert "metric_function" in found({"submission.yaml": code.replace("metric.margin", "../metric.margin")})
