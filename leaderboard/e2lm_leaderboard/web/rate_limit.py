"""How much one address, or one team, may ask for in a minute; more is answered 429 before anything is done.

Token buckets: a minute's share may come at once. Answers from the cache are free. What comes from this machine itself,
as all does behind a proxy, is not told apart by address unless the proxy says who it was.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from e2lm_leaderboard.web.guard import App, Message, Receive, Send

#: Of more than these the one that asked longest ago is forgotten.
MOST_KEYS = 10_000
MINUTE_S = 60.0
#: Bits of an IPv6 address that one household or one firm has.
NETWORK_BITS = 64


class Buckets:
    """What everybody has left of ``per_minute``.

    >>> one = Buckets(2, clock=lambda: 0.0)
    >>> [one.wait_s("a"), one.wait_s("a"), one.wait_s("a"), one.wait_s("b")]
    [0.0, 0.0, 30.0, 0.0]
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = float(per_minute), clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, key: str) -> float:
        """Take one; 0, or the seconds after which there is one again."""
        now = self._clock()
        left, at = self._left.pop(key, (self._most, now))
        left = min(self._most, left + (now - at) * self._most / MINUTE_S)
        taken = left >= 1.0
        self._left[key] = (left - taken, now)
        while len(self._left) > MOST_KEYS:
            self._left.popitem(last=False)
        return 0.0 if taken else (1.0 - left) * MINUTE_S / self._most


def network_of(client: str, forwarded: str | None) -> str | None:
    """Whom a request counts for: an IPv4 address, or the network of an IPv6 one; None for this machine itself.

    Behind a proxy the last address that ``forwarded`` names is the one that the proxy saw itself.

    >>> network_of("203.0.113.9", None), network_of("2001:db8::1", None), network_of("127.0.0.1", None)
    ('203.0.113.9', '2001:db8::', None)
    >>> network_of("127.0.0.1", "6.6.6.6, 203.0.113.9")
    '203.0.113.9'
    """
    address = _address((forwarded or client).rpartition(",")[2].strip())
    if address is None or address.is_loopback:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        rest = 128 - NETWORK_BITS
        return str(IPv6Address(int(address) >> rest << rest))
    return str(address)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


class AddressLimit:
    """ASGI middleware; ``trusts_proxy`` takes the address from ``X-Forwarded-For`` where this machine forwards."""

    def __init__(self, app: App, reads: Buckets, posts: Buckets, trusts_proxy: bool = False) -> None:
        self._app, self._reads, self._posts, self._trusts_proxy = app, reads, posts, trusts_proxy

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass on, or answer 429 with the seconds to wait."""
        buckets = self._posts if scope["type"] == "http" and scope["method"] == "POST" else self._reads
        network = self._network(scope) if scope["type"] == "http" else None
        wait_s = 0.0 if network is None else buckets.wait_s(network)
        if wait_s == 0.0:
            await self._app(scope, receive, send)
            return
        body = b'{"detail": "too many requests from this address; wait as long as Retry-After says"}'
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers.append((b"retry-after", str(math.ceil(wait_s)).encode()))
        await send({"type": "http.response.start", "status": 429, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _network(self, scope: Message) -> str | None:
        client = (scope.get("client") or ("", 0))[0]
        forwarded = None
        if self._trusts_proxy and network_of(client, None) is None:
            values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
            forwarded = values[-1].decode("latin-1") if values else None
        return network_of(client, forwarded)
