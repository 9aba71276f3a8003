"""Tokens of teams: shown once, stored as a hash."""

from __future__ import annotations

import secrets
from hashlib import sha256

ROLES = ("team", "organiser")


def new_token() -> str:
    """A token of 256 bits: it cannot be guessed, so a plain hash of it can be stored."""
    return f"e2lm_{secrets.token_urlsafe(32)}"


def token_hash(token: str) -> str:
    """SHA-256 of a token, as it is stored."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
