"""``--notify URL``: verdicts told to people, each once, retried, never fatal; no URL is ever printed whole.

``http`` and ``https`` get a POST of ``{"text": ..., "verdict": {...}}``, all else goes through ``apprise``.
``${NAME}`` in a URL is read from the environment, so that no secret stands in a command line.

``OUT/notified.json`` keeps what has been delivered where (addresses by hash): a restarted watch tells nothing twice and
what nobody answered for again.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from pydantic import Field

from e2lm.atomic_file import write_json
from e2lm.errors import UserError
from e2lm.noun import Noun
from e2lm.verdict import RunVerdict

NOTIFIED_FILE = "notified.json"
#: How long an answer is waited for, and between two tries of what failed: doubled every time, up to the last.
ANSWER_S, FIRST_PAUSE_S, LAST_PAUSE_S = 5.0, 10.0, 3600.0
#: Verdicts sent in one look at most.
AT_ONCE = 20
_NAME = re.compile(r"\$\{(\w+)\}")


class _Notified(Noun):
    """Hashes of what was delivered, by hash of the address."""

    schema_version: Literal[1] = 1
    delivered: dict[str, tuple[str, ...]] = Field(default_factory=dict)


@dataclass
class Address:
    """Where verdicts go; only :attr:`shown` may be printed."""

    url: str = field(repr=False)
    shown: str
    send: Callable[[RunVerdict], str] = field(repr=False)
    pause_s: float = 0.0
    again_s: float = 0.0

    @property
    def key(self) -> str:
        """Of the address in the file."""
        return sha256(self.url.encode()).hexdigest()[:16]


def address_of(text: str) -> Address:
    """The address that ``--notify`` names; a :class:`UserError` for what cannot be one, without its secrets."""
    for name in _NAME.findall(text):
        if not os.environ.get(name):
            raise UserError(f"--notify: the environment has no {name}")
    is_plain = not _NAME.search(text)
    url = _NAME.sub(lambda found: os.environ[found[1]], text)
    parts = urlsplit(url)
    if not parts.scheme:
        raise UserError("--notify: expected a URL, such as https://host/hook, or ${NAME} of the environment")
    shown = f"{parts.scheme}://" + (parts.hostname or "" if parts.scheme in ("http", "https") else "...")
    if is_plain and (parts.password or parts.username):
        raise UserError(f"--notify {shown}: a secret in a command line is seen by others; write ${{NAME}} instead")
    if parts.scheme in ("http", "https"):
        return Address(url, shown, lambda verdict: _posted(url, verdict))
    return Address(url, shown, _apprise(url, shown))


def _posted(url: str, verdict: RunVerdict) -> str:
    body = json.dumps({"text": str(verdict), "verdict": verdict.model_dump(mode="json")}).encode()
    request = Request(url, body, {"Content-Type": "application/json", "User-Agent": "e2lm"}, method="POST")
    with urlopen(request, timeout=ANSWER_S):
        return ""


def _apprise(url: str, shown: str) -> Callable[[RunVerdict], str]:
    import logging

    try:
        import apprise
    except ImportError as error:
        raise UserError(f"--notify {shown}: needs apprise; pip install 'e2lm[notify]'") from error
    logging.getLogger("apprise").disabled = True  # it may print addresses
    service = apprise.Apprise()
    if not service.add(url):
        raise UserError(f"--notify {shown}: no service that apprise knows, or its address is not whole")

    def send(verdict: RunVerdict) -> str:
        return "" if service.notify(title=f"e2lm: {verdict.state}", body=str(verdict)) else "not delivered"

    return send


@dataclass
class Notifier:
    """Tells every address what it has not been told; a failure is a line, once until it is over."""

    out: Path
    addresses: Sequence[Address]

    def tell(self, verdicts: Sequence[RunVerdict], patient: bool = True) -> None:
        """Deliver those of ``verdicts`` that are not delivered; not ``patient``: what failed before is tried now."""
        if not self.addresses or not verdicts:
            return
        path = self.out / NOTIFIED_FILE
        known = _read(path)
        for address in self.addresses:
            done = known.delivered.get(address.key, ())
            missing = [one for one in verdicts if _key(one) not in done][:AT_ONCE]
            for one in missing:
                if (patient and time.monotonic() < address.again_s) or not self._delivered(address, one):
                    break
                done = (*done, _key(one))
                known = _Notified(delivered={**known.delivered, address.key: done})
                write_json(path, known.model_dump(mode="json"))

    def _delivered(self, address: Address, verdict: RunVerdict) -> bool:
        failure = _within(2 * ANSWER_S, lambda: address.send(verdict))
        if not failure:
            address.pause_s = 0.0
            return True
        if not address.pause_s:
            print(f"e2lm: warning: --notify {address.shown}: {failure}; tried again", file=sys.stderr, flush=True)
        address.pause_s = min(max(2 * address.pause_s, FIRST_PAUSE_S), LAST_PAUSE_S)
        address.again_s = time.monotonic() + address.pause_s
        return False


def _within(seconds: float, send: Callable[[], str]) -> str:
    """What ``send`` says is wrong (empty: nothing); its errors by kind alone, for their texts may hold the address."""
    said: list[str] = []

    def work() -> None:
        try:
            said.append(send())
        except Exception as error:
            code = getattr(error, "code", None)
            said.append(f"answered {code}" if code else type(error).__name__)

    thread = Thread(target=work, daemon=True, name="e2lm-notify")
    thread.start()
    thread.join(seconds)
    return said[0] if said else "no answer"


def _key(verdict: RunVerdict) -> str:
    return sha256(json.dumps(verdict.event).encode()).hexdigest()[:16]


def _read(path: Path) -> Any:
    try:
        return _Notified.from_json_file(path) if path.is_file() else _Notified()
    except UserError:
        return _Notified()
