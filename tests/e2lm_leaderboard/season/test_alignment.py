"""What judges say of items, and what is done with a judge that says nonsense."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from e2lm import Judge, UserError
from e2lm.errors import E2LMError
from e2lm.plugin_manager import plugin_manager
from e2lm_leaderboard.bundle.items import TaskItem
from e2lm_leaderboard.season.alignment import alignment_result
from e2lm_leaderboard.season.judges import SCIENCE_JUDGE, asked, science_share

#: Of neither the examples nor each other's words.
SCIENTIFIC = (
    "Chlorophyll in green plants absorbs light for photosynthesis.",
    "The acceleration of a falling body does not depend on its mass.",
    "Water is a molecule of hydrogen and oxygen.",
    "A magnetic field exerts a force on a moving electron.",
    "Genetic mutations can change the function of an enzyme.",
)
EVERYDAY = (
    "The bride danced with her brother at the wedding party.",
    "He bought apples and a loaf of bread at the shop.",
    "The children laughed when the dog stole the cake.",
    "She wrote a letter to her old friend in the village.",
    "They went home late and quarrelled about the money.",
)


def items(*texts: str) -> list[TaskItem]:
    return [TaskItem(text, ("yes", "no"), 0, line) for line, text in enumerate(texts)]


def test_the_offline_judge_tells_science_from_everyday_life() -> None:
    assert min(science_share(SCIENTIFIC)) > 0.8
    assert max(science_share(EVERYDAY)) < 0.2
    assert science_share(["Xyzzy plugh"]) == [0.5]


def test_both_judges_are_registered_through_the_hook() -> None:
    names = plugin_manager().registered("e2lm_register_judges", Judge)
    assert {"science-words", "science-model"} <= set(names)


def test_alignment_is_a_mean_with_an_interval() -> None:
    result = alignment_result("public", items(*SCIENTIFIC, *EVERYDAY), SCIENCE_JUDGE)
    assert result.value is not None
    assert result.low is not None
    assert result.high is not None
    assert 0 <= result.low < result.value < result.high <= 1
    assert alignment_result("public", items("one"), SCIENCE_JUDGE).low is None
    assert alignment_result("public", [], SCIENCE_JUDGE).reason == "no items"


@pytest.mark.parametrize("answer", [[2.0, 0.1], [float("nan"), 0.1], [0.5], [-0.1, 0.2]])
def test_a_judge_that_says_nonsense_gives_no_number(answer: list[float]) -> None:
    judge = Judge("odd", "Odd.", lambda texts: answer)
    result = alignment_result("public", items("a", "b"), judge)
    assert result.value is None
    assert "something else" in result.reason


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A server that answers with what stands at the end of the question."""
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = request["messages"][0]["content"]
            heard.append(text)
            body = json.dumps({"choices": [{"message": {"content": text.rsplit("says ", 1)[1]}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("E2LM_JUDGE_URL", f"http://127.0.0.1:{server.server_port}/v1/chat/completions")
    monkeypatch.setenv("E2LM_JUDGE_MODEL", "any")
    yield heard
    server.shutdown()
    server.server_close()


def test_a_model_is_asked_once_per_item(model: list[str]) -> None:
    assert asked(["the item says 80", "the item says 5%"]) == [0.8, 0.05]
    assert len(model) == 2


@pytest.mark.parametrize("answer", ["maybe", "101", "-3"])
def test_an_answer_that_is_no_number_is_told(model: list[str], answer: str) -> None:
    with pytest.raises(E2LMError, match="no number from 0 to 100"):
        asked([f"the item says {answer}"])
    assert len(model) == 1


def test_without_an_endpoint_the_judge_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("E2LM_JUDGE_URL", raising=False)
    with pytest.raises(UserError, match="E2LM_JUDGE_URL"):
        asked(["x"])


def test_the_interval_of_alignment_is_that_of_a_mean_cut_to_the_range_of_a_share() -> None:
    told = [0.2, 0.3, 0.7, 0.6]
    result = alignment_result("public", items(*"abcd"), Judge("fixed", "Fixed.", lambda texts: told))
    half = 1.6448536 * np.std(told, ddof=1) / 2
    assert (result.low, result.high) == pytest.approx((0.45 - half, 0.45 + half))
    sure = alignment_result("public", items(*"abcd"), Judge("fixed", "Fixed.", lambda texts: [1.0, 1.0, 1.0, 0.0]))
    assert sure.high == 1.0
