"""Code of others gets nowhere: fourteen attacks, the limits, and what comes out of honest code."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from e2lm_leaderboard.bundle.bundle import Findings
from e2lm_leaderboard.bundle.check import CheckReport
from e2lm_leaderboard.cli.entrant import SUBMISSION_YAML, TASK_YAML
from e2lm_leaderboard.sandbox.check import sandbox_verdict
from e2lm_leaderboard.sandbox.items import code_items
from e2lm_leaderboard.sandbox.sandbox import SandboxError, SandboxLimits, _processes_of, missing_part, run_in_sandbox
from e2lm_leaderboard.season.season import SeasonRules

ATTACKS = (
    *("own_environment", "parent_environment", "signal_parent", "read_hidden", "write_outside", "connect_loopback"),
    *("unshare", "ptrace", "keyctl", "bpf", "fork_bomb", "disk_fill", "memory", "daemon"),
)
CODE_SUBMISSION = SUBMISSION_YAML.replace("declarative", "code")
CODE_TASK = TASK_YAML.replace('"{{story}} The number of {{thing}} that {{person}} has now is"', "!function code.text")
HONEST = """
def text(doc):
    print("noise that is nobody's answer")
    return doc["story"] + " The number of " + doc["thing"] + " that " + doc["person"] + " has now is"

def process(docs):
    return docs.filter(lambda doc: doc["person"] != "Anna").map(lambda doc: {"story": doc["story"].strip()})
"""


@pytest.fixture(scope="module", autouse=True)
def _works() -> None:
    """Nothing here means anything where bubblewrap cannot run."""
    verdict = sandbox_verdict()
    if not verdict.stopped:
        pytest.skip(f"no sandbox on this machine: {verdict.reason}")


def made(checked: Callable[..., CheckReport], code: str, task: str = CODE_TASK, limits: SandboxLimits | None = None):  # type: ignore[no-untyped-def]
    """Items and findings of a submission with ``code``."""
    report = checked({"submission.yaml": CODE_SUBMISSION, "counting.yaml": task, "code.py": code})
    assert report.findings == ()
    findings = Findings()
    items = code_items(report.tasks[0], report.bundle, SeasonRules(), "en", limits or SandboxLimits(), findings)
    return items, findings.listed()


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_stopped(attack: str) -> None:
    assert sandbox_verdict().stopped[attack]


def test_the_self_test_knows_all_attacks_and_lets_code_run() -> None:
    verdict = sandbox_verdict()
    assert set(verdict.stopped) == set(ATTACKS)
    assert verdict.reason is None
    assert missing_part() is None


def test_functions_give_the_items_that_templates_give(checked: Callable[..., CheckReport]) -> None:
    items, findings = made(checked, HONEST)
    assert findings == []
    assert items == checked({}).tasks[0].items


def test_process_docs_may_map_and_filter(checked: Callable[..., CheckReport]) -> None:
    items, findings = made(checked, HONEST, TASK_YAML + "process_docs: !function code.process\n")
    assert findings == []
    assert 100 < len(items) < 160
    assert not any("Anna" in item.context for item in items)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def text(doc):\n    raise ValueError('boom')\n", "ValueError: boom"),
        ("def text(doc):\n    return {1, 2}\n", "not JSON serializable"),
        ("def text(doc):\n    return float('nan')\n", "Out of range float"),
        ("import os\ndef text(doc):\n    os.write(1, b'[]')\n    return 'x'\n", None),
        ("def text(doc):\n    while True:\n        pass\n", "more than 2 s"),
        ("import torch\ndef text(doc):\n    return 'x'\n", "No module named 'torch'"),
        ("def text(doc):\n    return 'x' * 70000\n", "bytes"),
        ("import os\ndef text(doc):\n    os._exit(3)\n", "code 3"),
    ],
)
def test_code_that_fails_is_a_finding(checked: Callable[..., CheckReport], code: str, found: str | None) -> None:
    items, findings = made(checked, code, limits=SandboxLimits(wall_s=2.0))
    assert found is None or items == ()
    assert findings
    assert found is None or any(found in one.found for one in findings), findings


def test_a_flood_of_output_is_cut() -> None:
    script = b"import sys\nwhile True:\n    sys.stdout.write('x' * 65536)\n"
    with pytest.raises(SandboxError, match="gave more than"):
        run_in_sandbox({"run.py": script}, SandboxLimits(output_bytes=1 << 20))


def test_nothing_of_the_house_is_seen_inside() -> None:
    script = b"import os, json\nprint(json.dumps([sorted(os.listdir('/')), dict(os.environ), os.listdir('/job')]))\n"
    done = run_in_sandbox({"run.py": script}, SandboxLimits())
    root, environment, job = json.loads(done.output)
    assert set(root) <= {"bin", "dev", "job", "lib", "lib32", "lib64", "proc", "tmp", "usr"}
    assert set(environment) <= {"PWD", "LC_CTYPE"}
    assert job == ["run.py"]


def test_threads_are_counted_of_the_user_who_is_asked_for_and_of_nobody_else() -> None:
    """Whoever runs this has a process; a user whom nobody has made has none."""
    assert _processes_of(os.getuid()) >= 1
    assert _processes_of(2**31 - 7) == 0
