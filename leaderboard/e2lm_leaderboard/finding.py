"""What a check found wrong, where, and how to put it right."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

#: Findings of one check and file that are told one by one; the rest are counted.
SHOWN_PER_CHECK = 10

#: What was found is quoted up to here: it may be long, and made to be.
QUOTED_CHARS = 120


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason to refuse a submission."""

    check: str
    file: str
    field: str
    found: str
    expected: str
    fix: str

    def as_json(self) -> dict[str, Any]:
        """The finding as plain values."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """The finding in one line.

        >>> Finding("items", "a.jsonl", "line 3", "found 2", "expected 3", "add one").sentence
        'a.jsonl: line 3: found 2; expected 3; add one [items]'
        """
        said = f"{self.found}; {self.expected}; {self.fix} [{self.check}]"
        return ": ".join(part for part in (self.file, self.field, said) if part)


@dataclass(slots=True)
class Findings:
    """Findings in the order they were made, at most :data:`SHOWN_PER_CHECK` of a kind and file in full."""

    shown: list[Finding] = field(default_factory=list)
    _counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, check: str, file: str, place: str, found: object, expected: str, fix: str) -> None:
        """Note one."""
        key = (check, file)
        self._counts[key] = self._counts.get(key, 0) + 1
        if self._counts[key] <= SHOWN_PER_CHECK:
            self.shown.append(Finding(check, quoted(file), quoted(place), f"found {quoted(found)}", expected, fix))

    def __len__(self) -> int:
        return sum(self._counts.values())

    def is_full(self, check: str, file: str) -> bool:
        """Whether more of this kind would only be counted."""
        return self._counts.get((check, file), 0) >= SHOWN_PER_CHECK

    def listed(self) -> list[Finding]:
        """All of them, with one line for those that were only counted."""
        rest = [
            Finding(check, quoted(file), "", f"found {count - SHOWN_PER_CHECK} more of these", "none", "as above")
            for (check, file), count in self._counts.items()
            if count > SHOWN_PER_CHECK
        ]
        return [*self.shown, *rest]


def quoted(value: object) -> str:
    r"""``value`` as short printable text of one line.

    >>> quoted("a\x1b[31m\nb")
    'a\\x1b[31m\\nb'
    """
    text = value if isinstance(value, str) else repr(value)
    cut = text[:QUOTED_CHARS]
    clean = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)
    return clean + ("..." if len(text) > QUOTED_CHARS else "")
