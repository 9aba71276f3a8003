"""Signs heads of the log (Ed25519, RFC 8032), so that a page that somebody kept proves what the log held.

The private key lies beside ``season.json``, for its owner alone to read; the public one is an entry of the log and
stands on every page. Whoever writes the database anew cannot sign what he made of it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from e2lm.errors import UserError
from e2lm_leaderboard.store.store import Store

KEY_FILE = "signing.key"
KEY_EVENT, KEY_SUBJECT = "key", "ed25519"


@dataclass(frozen=True, slots=True)
class SignedHead:
    """How far the log was, and its last hash, under a signature; key and signature are hexadecimal."""

    rows: int
    head: str
    key: str
    signature: str


@dataclass(frozen=True, slots=True)
class Signer:
    """The season's key."""

    private: Any
    key: str

    def signed(self, rows: int, head: str) -> SignedHead:
        """The same head has the same signature, whenever it is signed."""
        return SignedHead(rows, head, self.key, self.private.sign(_text(rows, head)).hex())


def _text(rows: int, head: str) -> bytes:
    return f"e2lm leaderboard, row {rows} of the log: {head}".encode()


def is_signed_by(one: SignedHead, keys: Sequence[str]) -> bool:
    """Whether the signature is that of one of these keys."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(one.key)).verify(
            bytes.fromhex(one.signature), _text(one.rows, one.head)
        )
    except (InvalidSignature, ValueError):
        return False
    return one.key in keys


def can_sign() -> bool:
    """Whether the library is there that signs and checks."""
    return importlib.util.find_spec("cryptography") is not None


def logged_keys(store: Store) -> list[str]:
    """The public keys that the log names, the present one last."""
    return [str(one.get("public")) for one in store.logged(KEY_EVENT)]


def season_signer(folder: Path, store: Store, now: datetime) -> Signer | None:
    """The season's key, made where the log names none; None where it is not here, or nothing here can sign.

    Raises :class:`UserError` for a key that is not the one of the log.
    """
    if not can_sign():
        return None
    path, keys = folder / KEY_FILE, logged_keys(store)
    if not path.is_file():
        return None if keys else new_key(folder, store, now)
    signer = _read(path)
    if not keys:
        store.log(KEY_EVENT, KEY_SUBJECT, {"public": signer.key}, now)
    elif signer.key != keys[-1]:
        raise UserError(f"{path}: is not the key that the log names ({keys[-1][:16]}...); put that one back")
    return signer


def new_key(folder: Path, store: Store, now: datetime) -> Signer:
    """Make a key and put its public half into the log; heads signed by an earlier one stay good."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path, beside = folder / KEY_FILE, folder / f"{KEY_FILE}.{os.getpid()}"
    beside.touch(mode=0o600, exist_ok=False)
    beside.write_text(f"{Ed25519PrivateKey.generate().private_bytes_raw().hex()}\n", encoding="ascii")
    beside.replace(path)
    signer = _read(path)
    store.log(KEY_EVENT, KEY_SUBJECT, {"public": signer.key}, now)
    return signer


def _read(path: Path) -> Signer:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except ValueError as error:
        raise UserError(f"{path}: is no key of 32 bytes in hexadecimal; put back the one that was there") from error
    return Signer(private, private.public_key().public_bytes_raw().hex())


def why_unsigned(folder: Path) -> str:
    """Why heads are not signed here."""
    if not can_sign():
        return "heads of the log are not signed: pip install 'e2lm[web]' brings cryptography"
    return f"heads of the log are not signed here: {folder / KEY_FILE} is gone; put it back, or 'rules --new-key'"
