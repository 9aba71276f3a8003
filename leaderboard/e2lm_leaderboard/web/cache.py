"""Answers of the server that stay the same while nothing changed, kept as bytes in front of everything else.

The key is the path; the version is that of the log, asked for at most every :data:`VERSION_AGE_S`, so a change shows
within that time, and at once to whoever made it here. The version is also the ETag.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from e2lm_leaderboard.store.database import StoreUnavailableError
from e2lm_leaderboard.web.guard import App, Message, Receive, Send

VERSION_AGE_S = 0.05
MAX_ENTRIES = 256
MAX_BODY_BYTES = 256 * 1024
#: Tables of all rows are few, and cost the most to make.
LARGE_PATHS, MAX_LARGE_BYTES = frozenset({"/ranking.csv", "/ranking.parquet"}), 32 << 20
OK, NOT_MODIFIED = 200, 304


def _without_body(send: Send) -> Send:
    async def sent(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return sent


class PageCache:
    """ASGI middleware; ``version`` gives a number that grows with every change."""

    def __init__(self, app: App, version: Callable[[], object], is_cached: Callable[[str], bool]) -> None:
        self._app = app
        self._version = version
        self._is_cached = is_cached
        self._pages: OrderedDict[bytes, tuple[list[tuple[bytes, bytes]], bytes]] = OrderedDict()
        self._seen: object = None
        self._asked_at = 0.0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer from the cache, or let the application answer and keep that."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            # The same headers, and no body: what a check of uptime asks for.
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        if scope["type"] != "http" or scope["method"] != "GET" or not self._may_keep(scope):
            if scope["type"] == "http" and scope["method"] != "GET":
                self._asked_at = 0.0  # whoever changes something here sees it at once
            await self._app(scope, receive, send)
            return
        try:
            etag = self._fresh_etag()
        except StoreUnavailableError:
            await self._app(scope, receive, send)  # it says so in its own words
            return
        key = scope["raw_path"] + b"?" + scope["query_string"]
        found = self._pages.get(key)
        if found is None:
            found = await self._kept(key, etag, scope, receive, send)
            if found is None:
                return
        await self._answer(found, etag, scope, send)

    def _may_keep(self, scope: Message) -> bool:
        """Whether the answer is for everybody: one to somebody with a token never is."""
        return self._is_cached(scope["path"]) and not any(name == b"authorization" for name, _ in scope["headers"])

    def _fresh_etag(self) -> bytes:
        now = time.monotonic()
        if now - self._asked_at > VERSION_AGE_S:
            version = self._version()
            self._asked_at = now
            if version != self._seen:
                self._seen = version
                self._pages.clear()
        return f'"{self._seen}"'.encode()

    async def _kept(
        self, key: bytes, etag: bytes, scope: Message, receive: Receive, send: Send
    ) -> tuple[list[tuple[bytes, bytes]], bytes] | None:
        """The application's answer where it can be kept; one that cannot is passed on as it comes."""
        start: Message = {}
        parts: list[bytes] = []

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        await self._app(scope, receive, collect)
        body = b"".join(parts)
        headers = [(name, value) for name, value in start["headers"] if name != b"etag"]
        # Not by address and question alone: any question after a large table would keep another copy.
        is_large_path = scope["path"] in LARGE_PATHS and not scope["query_string"]
        if start["status"] != OK or len(body) > (MAX_LARGE_BYTES if is_large_path else MAX_BODY_BYTES):
            await send(start)
            await send({"type": "http.response.body", "body": body})
            return None
        headers += [(b"etag", etag), (b"cache-control", b"no-cache")]
        self._pages[key] = (headers, body)
        while len(self._pages) > MAX_ENTRIES:
            self._pages.popitem(last=False)
        return headers, body

    @staticmethod
    async def _answer(page: tuple[list[tuple[bytes, bytes]], bytes], etag: bytes, scope: Message, send: Send) -> None:
        headers, body = page
        if any(name == b"if-none-match" and value == etag for name, value in scope["headers"]):
            kept = [(name, value) for name, value in headers if name != b"content-length"]
            await send({"type": "http.response.start", "status": NOT_MODIFIED, "headers": kept})
            await send({"type": "http.response.body", "body": b""})
            return
        await send({"type": "http.response.start", "status": OK, "headers": headers})
        await send({"type": "http.response.body", "body": body})
