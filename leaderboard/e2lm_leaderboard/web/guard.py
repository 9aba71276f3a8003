"""What a request must be before anything looks at it: for this host, from this site, and answered under strict headers.

A page elsewhere can make a browser send requests to a local server, also under a name that it resolves to 127.0.0.1
(DNS rebinding): hence the exact list of hosts.

Tokens of teams are shown once and stored as a hash.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

#: The parts of ASGI that middleware touches.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})

#: Charts are SVG with a style element of their own, so styles in the page are allowed; scripts are not.
SECURITY_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; img-src 'self' data:; "
        b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)


class RequestGuard:
    """ASGI middleware; ``hosts`` are names without port, besides the local ones."""

    def __init__(self, app: App, hosts: tuple[str, ...] = ()) -> None:
        self._app = app
        self._hosts = LOCAL_HOSTS | set(hosts)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin")
        problem = None
        if _name(host) not in self._hosts:
            problem = "this server does not answer for that host; start it with --host-name NAME"
        elif origin is not None and scope["method"] != "GET" and urlsplit(origin.decode("latin-1")).netloc != host:
            problem = "the request comes from another site"
        if problem is not None:
            body = f'{{"detail": "{problem}"}}'.encode()
            start = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": start})
            await send({"type": "http.response.body", "body": body})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *SECURITY_HEADERS]}
            await send(message)

        await self._app(scope, receive, with_headers)


def _name(host: str) -> str:
    """A host without its port.

    >>> _name("127.0.0.1:8000"), _name("[::1]:80"), _name("localhost")
    ('127.0.0.1', '[::1]', 'localhost')
    """
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.rpartition(":")[0] if ":" in host else host


ROLES = ("team", "organiser")


def new_token() -> str:
    """A token of 256 bits: it cannot be guessed, so a plain hash of it can be stored."""
    return f"e2lm_{secrets.token_urlsafe(32)}"


def token_hash(token: str) -> str:
    """SHA-256 of a token, as it is stored."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
