"""Where pages are: one set of templates for the server and for files on a disk."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLinks:
    """Paths of the server."""

    is_live: bool = True

    def ranking(self, page: int = 1) -> str:
        """The table."""
        return "/" if page == 1 else f"/?page={page}"

    def submission(self, key: str) -> str:
        """A submission."""
        return f"/submissions/{key}"

    def compare(self, a: str, b: str) -> str:
        """Two of them."""
        return f"/compare?a={a}&b={b}"

    def compare_form(self) -> str:
        """Where the form for two leads."""
        return "/compare"

    def status(self) -> str:
        """The queue."""
        return "/status"

    def submit(self) -> str:
        """The form."""
        return "/submit"

    def file(self, name: str) -> str:
        """A file beside the pages."""
        return f"/{name}"


@dataclass(frozen=True, slots=True)
class FileLinks:
    """Relative paths within an export, from a page ``depth`` folders deep: they work from file:// too."""

    depth: int = 0
    is_live: bool = False

    @property
    def _up(self) -> str:
        return "../" * self.depth

    def ranking(self, page: int = 1) -> str:
        """The table."""
        return f"{self._up}index.html" if page == 1 else f"{self._up}page-{page}.html"

    def submission(self, key: str) -> str:
        """A submission."""
        return f"{self._up}submissions/{key}.html"

    def compare(self, a: str, b: str) -> str:
        """Two of them."""
        return f"{self._up}compare/{a[:16]}-{b[:16]}.html"

    def compare_form(self) -> str:
        """There is no form in an export."""
        return self.ranking()

    def status(self) -> str:
        """The queue."""
        return f"{self._up}status.html"

    def submit(self) -> str:
        """There is no form in an export."""
        return self.ranking()

    def file(self, name: str) -> str:
        """A file beside the pages."""
        return f"{self._up}{name}"


Links = ServerLinks | FileLinks
