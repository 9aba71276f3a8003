"""``e2lm view OUT --serve``: the page on 127.0.0.1, which asks for what is looked at and sees what is new.

Nothing is written and nothing outside of OUT is read; a page of another site cannot ask (the host is looked at).
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from e2lm.errors import E2LMError, UserError, one_line
from e2lm_view.page import SCRIPT, served_page, served_style
from e2lm_view.source import Seen, ViewSource

HOST = "127.0.0.1"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
HTML, CSS, JS, JSON = "text/html", "text/css", "text/javascript", "application/json"
#: Smaller answers are sent as they are.
LEAST_ZIPPED = 2_000


def serve(source: ViewSource, port: int, as_json: bool = False) -> int:
    """Serve until interrupted; the address is printed when it can be opened."""
    try:
        server = view_server(source, port)
    except OSError as error:
        raise UserError(
            f"--port {port}: cannot be listened on ({one_line(error)}); leave it out for a free one"
        ) from error
    address = f"http://{HOST}:{server.server_port}/"
    print(json.dumps({"url": address}) if as_json else f"{address} (Ctrl-C ends it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("ended", file=sys.stderr)
    finally:
        server.server_close()
    return 0


def view_server(source: ViewSource, port: int) -> ThreadingHTTPServer:
    """A server that listens already; its first page is made, so that a mistake is told before anybody asks."""
    source.overview()
    lock = Lock()

    class Handler(_Handler):
        def answer(self, path: str, asked: dict[str, str]) -> tuple[str, str | None]:
            with lock:
                return _answer(source, path, asked)

    server = ThreadingHTTPServer((HOST, port), Handler)
    server.daemon_threads = True
    return server


def _answer(source: ViewSource, path: str, asked: dict[str, str]) -> tuple[str, str | None]:
    """Type and text of an answer; None where nothing is new, or there (an unknown path: no type)."""
    fixed: dict[str, tuple[str, Callable[[], str]]] = {
        "/": (HTML, lambda: served_page(source)),
        "/style.css": (CSS, served_style),
        "/view.js": (JS, lambda: SCRIPT.read_text(encoding="utf-8")),
    }
    if path in fixed:
        kind, made = fixed[path]
        return kind, made()
    if path == "/overview.json":
        return JSON, None if asked.get("state") == source.state() else _json(source.overview())
    found = _of_task(source.seen(), path, asked)
    return ("", None) if found is None else (JSON, _json(found))


def _of_task(seen: Seen, path: str, asked: dict[str, str]) -> dict[str, Any] | None:
    """What is asked of one task; names are looked up, never made paths of."""
    task, metric, doc = (asked.get(name, "") for name in ("task", "metric", "doc"))
    if task not in seen.tasks:
        return None
    match path:
        case "/curves.json":
            return seen.curves(task)
        case "/fans.json" if metric in seen.metrics[task]:
            return seen.fans(task, metric)
        case "/items.json":
            return seen.items(task).listed()
        case "/item.json" if doc.isdecimal():
            return seen.items(task).one(int(doc))
    return None


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, path: str, asked: dict[str, str]) -> tuple[str, str | None]:
        raise NotImplementedError

    def do_GET(self) -> None:
        """Every question is a GET; whoever came by another name than ours is sent away."""
        port = getattr(self.server, "server_port", 0)
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self._send(HTTPStatus.FORBIDDEN, "text/plain", f"ask for http://{HOST}:{port}/\n")
            return
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        try:
            kind, text = self.answer(parts.path, asked)
        except (E2LMError, OSError) as error:
            self._send(HTTPStatus.CONFLICT, JSON, json.dumps({"why": one_line(error)}))
            return
        if not kind:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", "nothing there\n")
        elif text is None:
            self._send(HTTPStatus.NO_CONTENT, kind, "")
        else:
            self._send(HTTPStatus.OK, kind, text)

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode()
        zipped = len(body) >= LEAST_ZIPPED and "gzip" in self.headers.get("Accept-Encoding", "")
        body = gzip.compress(body, 1) if zipped else body
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if zipped:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: Any) -> None:
        """Nothing: what is looked at is nobody's business."""
