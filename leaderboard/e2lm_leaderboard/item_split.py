"""Which items are public and which private, drawn by a hash that nobody can aim at without the salt."""

from __future__ import annotations

import hmac
import secrets

SALT_KEY = "split_salt"


def new_salt() -> str:
    """A salt that nobody knows."""
    return secrets.token_hex(16)


def is_public(item_id: str, salt: str, share: float) -> bool:
    """Whether an item falls into the public split; the same item always falls alike.

    >>> sum(is_public(str(k), "salt", 0.3) for k in range(1000))
    291
    """
    digest = hmac.new(salt.encode(), item_id.encode(), "sha256").digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
