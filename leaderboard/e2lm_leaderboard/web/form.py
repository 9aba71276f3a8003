"""The form with an archive, read as it comes: who sends it is known before anything of the archive is kept.

The token stands before the archive in our form. What comes before a known token is not read beyond
:data:`UNKNOWN_BYTES`, and an archive of any size goes to a temporary file.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

#: More than a token and the heads of its form.
UNKNOWN_BYTES = 4096
KIND = "multipart/form-data"


class UnknownSenderError(Exception):
    """No token that a team has stands before the archive."""


async def sent_archive(request: Request, team_of: Callable[[str], str | None]) -> tuple[str, bytes]:
    """Team and archive; :class:`UnknownSenderError` for the token, 400 for what is no such form."""
    if not request.headers.get("content-type", "").startswith(KIND):
        raise HTTPException(400, f"expected {KIND}")
    parser = _TokenFirst(request, team_of)
    try:
        fields = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from error
    try:
        parser.look()
        upload = fields.get("bundle")
        archive = await upload.read() if isinstance(upload, UploadFile) else b""
    finally:
        await fields.close()
    if parser.team is None:
        raise UnknownSenderError
    return parser.team, archive


class _TokenFirst(MultiPartParser):
    """Stops at the first bytes that nobody known sends."""

    def __init__(self, request: Request, team_of: Callable[[str], str | None]) -> None:
        super().__init__(request.headers, request.stream(), max_files=1, max_fields=4)
        self.team: str | None = None
        self._team_of, self._unknown = team_of, 0

    def look(self) -> None:
        """Find the team of the token, if that has come; an unknown one ends it."""
        token = next((value for name, value in self.items if name == "token" and isinstance(value, str)), None)
        if self.team is None and token is not None and (team := self._team_of(token)) is None:
            raise UnknownSenderError
        if self.team is None and token is not None:
            self.team = team

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Keep it, if it may come now."""
        self.look()
        if self.team is None:
            self._unknown += end - start
            if self._unknown > UNKNOWN_BYTES:
                raise UnknownSenderError
        super().on_part_data(data, start, end)
