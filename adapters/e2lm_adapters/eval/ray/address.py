"""Looks at the address of a Ray cluster before Ray does: within seconds, nobody there or a token wanted is one line.

Ray itself tries for minutes and writes about it all the while.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from e2lm.errors import MachineError, UserError, one_line

#: How long a machine may take to answer.
ANSWER_S = 5.0
#: How a client greets a gRPC server, with a frame of no settings; the answer is a frame of that type (RFC 9113, 3.4).
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
SETTINGS_FRAME = 4
#: Ray's variable for whether tokens are asked for: ``token`` or ``disabled``.
AUTH_MODE = "RAY_AUTH_MODE"
TOKEN_HELP = (
    f"set {AUTH_MODE}=token, and give every node the head's token (ray get-auth-token) as ~/.ray/auth_token, "
    "RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN"
)


def check_address(ray: Any, address: str) -> None:
    """Return if the cluster at ``address`` can be joined, as far as that is known within seconds.

    Raises :class:`e2lm.errors.MachineError` where nobody answers, :class:`e2lm.UserError` where ``address`` is none or
    a token is missing. Where the cluster runs on this machine, this user's token is taken, as Ray does for ``auto``.
    """
    if address == "auto":
        return
    scheme, host, port = _parts(address)
    if scheme not in ("", "ray"):
        return  # of another package, which knows it
    _require_answer(address, host, port)
    if not scheme:
        _require_token(ray, address, host)


def _parts(address: str) -> tuple[str, str, int]:
    """Scheme (may be empty), host and port.

    >>> _parts("ray://[::1]:10001"), _parts("head:6379")
    (('ray', '::1', 10001), ('', 'head', 6379))
    """
    found = re.fullmatch(r"(?:(\w+)://)?\[?([^/\[\]]+?)\]?:(\d+)/?", address)
    scheme = address.partition("://")[0] if "://" in address else ""
    if found is None and scheme not in ("", "ray"):
        return scheme, "", 0
    if found is None or not 0 < int(found[3]) < 65536:
        raise UserError(f"--address {address}: expected HOST:PORT, as ray start prints it, ray://HOST:PORT or auto")
    return found[1] or "", found[2], int(found[3])


def _require_answer(address: str, host: str, port: int) -> None:
    try:
        with socket.create_connection((host, port), timeout=ANSWER_S) as connection:
            connection.sendall(GREETING)
            answer = b""
            while len(answer) < 4 and (more := connection.recv(9)):
                answer += more
    except OSError as error:
        why = f"no answer within {ANSWER_S:g} s" if isinstance(error, TimeoutError) else one_line(error)
        raise MachineError(
            f"--address {address}: no Ray cluster there ({why}); start one with ray start --head, or take its address"
        ) from error
    if answer[3:4] != bytes((SETTINGS_FRAME,)):
        raise MachineError(f"--address {address}: no Ray cluster there (something else answers); take its address")


def _require_token(ray: Any, address: str, host: str) -> None:
    refusal = getattr(ray.exceptions, "AuthenticationError", None)
    if refusal is None or _is_let_in(address, refusal):
        return  # a Ray that knows no tokens, or no token is missing
    if AUTH_MODE not in os.environ and _is_of_this_machine(host) and _token_taken() and _is_let_in(address, refusal):
        return
    if os.environ.get(AUTH_MODE, "").lower() == "token":
        raise UserError(f"--address {address}: this Ray cluster does not take the token given here, or none was found; "
                        f"{TOKEN_HELP}")  # fmt: skip
    raise UserError(f"--address {address}: this Ray cluster wants a token; {TOKEN_HELP}")


def _is_let_in(address: str, refusal: type[Exception]) -> bool:
    try:
        with _native_errors_unheard():
            import_module("ray._raylet").GcsClient(address=address)
    except refusal:
        return False
    except Exception:  # whatever else it is, Ray says it when it joins
        return True
    return True


@contextmanager
def _native_errors_unheard() -> Iterator[None]:
    """Ray's C++ part writes by itself what it also raises."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _is_of_this_machine(host: str) -> bool:
    """Whether ``host`` is an address of this machine: only such a one can be bound."""
    for family, kind, protocol, _, place in socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM):
        with socket.socket(family, kind, protocol) as bound:
            try:
                bound.bind(place)
            except OSError:
                continue
            return True
    return False


def _token_taken() -> bool:
    """Whether this user has a token, which every connection of this process then shows."""
    try:
        setup = import_module("ray._private.authentication.authentication_token_setup")
    except ImportError:
        return False
    setup.logger.setLevel(logging.ERROR)
    return bool(setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False))
