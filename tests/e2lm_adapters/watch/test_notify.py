"""People are told once, whatever the other side does, and no secret is printed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from e2lm import UserError
from e2lm.verdict import RunVerdict
from e2lm_adapters.watch import notify
from e2lm_adapters.watch.notify import Notifier, address_of
from e2lm_adapters.watch.verdicts import append_verdicts, read_verdicts

SECRET = "T0/B0/hush-hush"


def verdict(step: int = 10, state: Any = "alert") -> RunVerdict:
    return RunVerdict(
        time="2026-01-01T00:00:00+00:00", rule="nan", series="run", step=step, value=None, threshold=0.0, state=state,
        inputs_sha256="0" * 64,
    )  # fmt: skip


class Hook:
    """A webhook that answers with ``codes`` one after the other, the last again and again; 0 is no answer."""

    def __init__(self) -> None:
        self.codes = [200]
        self.bodies: list[Any] = []
        self.release = threading.Event()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        code = self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]
        if not code:
            self.release.wait(10)
            return
        if code == 200:
            self.bodies.append(body)
        handler.send_response(code)
        handler.end_headers()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    found = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{server.server_port}/{SECRET}")
    monkeypatch.setattr(notify, "ANSWER_S", 0.2)
    monkeypatch.setattr(notify, "FIRST_PAUSE_S", 0.01)
    yield found
    found.release.set()
    server.shutdown()
    server.server_close()


def test_every_verdict_is_told_once_also_by_the_next_watch(hook: Hook, tmp_path: Path) -> None:
    for told in ([verdict()], [verdict(), verdict(20)], [verdict(), verdict(20)]):
        Notifier(tmp_path, [address_of("${HOOK}")]).tell(told)
    assert [one["verdict"]["step"] for one in hook.bodies] == [10, 20]
    assert hook.bodies[0]["text"] == "alert: run step 10: nan"


@pytest.mark.parametrize("code", [500, 0, None])
def test_a_server_that_fails_hangs_or_is_down_costs_a_line_and_is_asked_again(
    code: int | None, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if code is None:
        monkeypatch.setenv("HOOK", f"http://127.0.0.1:9/{SECRET}")
    else:
        hook.codes = [code, code, 200]
    notifier = Notifier(tmp_path, [address_of("${HOOK}")])
    for _ in range(2):
        notifier.tell([verdict()], patient=False)
    told = capsys.readouterr().err
    assert told.count("e2lm: warning: --notify http://127.0.0.1: ") == 1
    assert SECRET not in told
    if code is not None:
        hook.release.set()
        notifier.tell([verdict()], patient=False)
        assert len(hook.bodies) == 1
    assert SECRET not in "".join(file.read_text(encoding="utf-8") for file in tmp_path.glob("*.json"))


def test_what_can_be_no_address_is_a_mistake_that_shows_no_secret() -> None:
    for text, told in (
        ("${NOBODY_SET_THIS}", "the environment has no NOBODY_SET_THIS"),
        ("hooks.example", "expected a URL"),
        (f"https://me:{SECRET[-4:]}@hooks.example/x", "a secret in a command line"),
    ):
        with pytest.raises(UserError, match=r"^--notify") as error:
            address_of(text)
        assert told in str(error.value)
        assert SECRET[-4:] not in str(error.value)


def test_the_log_has_each_event_once_and_outlives_a_line_cut_short(tmp_path: Path) -> None:
    assert append_verdicts(tmp_path, [verdict(), verdict(), verdict(10, "stop"), verdict(20, "stop")]) == [
        verdict(),
        verdict(10, "stop"),
    ]
    with open(tmp_path / "verdicts.jsonl", "a", encoding="utf-8") as handle:
        handle.write('{"time": ')
    assert append_verdicts(tmp_path, [verdict(), verdict(30)]) == [verdict(30)]
    assert [one.step for one in read_verdicts(tmp_path)] == [10, 10, 30]
