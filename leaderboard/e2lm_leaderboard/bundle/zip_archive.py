"""Reads a zip archive of which every byte is accounted for: no second reading of it, by whatever program, differs.

Accepted are plain archives only: local headers one after the other from byte 0, then the central directory, then its
end record, which ends the file but for a short printable comment (GitHub writes the commit there). Sizes may come after
the data, as macOS writes them, where they are those of the directory. So no polyglot, no hidden or overlapping member,
no zip64, no encryption. Format: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.9, 4.3.12 and 4.3.16.
"""

from __future__ import annotations

import stat
import struct
import zlib
from dataclasses import dataclass

from e2lm_leaderboard.season.season import BundleLimits

END = struct.Struct("<4s4H2IH")
CENTRAL = struct.Struct("<4s6H3I5H2I")
LOCAL = struct.Struct("<4s5H3I2H")

STORED, DEFLATED = 0, 8
UTF8_FLAG = 0x800
SIZES_AFTER_FLAG = 0x8
#: Bits 1 and 2 say how hard deflate tried.
HARMLESS_FLAGS = UTF8_FLAG | SIZES_AFTER_FLAG | 0x6
SIZES_AFTER = struct.Struct("<3I")
MAX_COMMENT = 200
UNIX = 3

#: Extra fields and comments are refused, so a directory entry is its header and its name.
FIX = "give the folder to 'e2lm leaderboard submit', or zip it anew"


class ArchiveError(Exception):
    """Why an archive is refused: ``check``, the member (or empty), and what was found."""

    def __init__(self, check: str, member: str, found: str) -> None:
        super().__init__(found)
        self.check, self.member, self.found = check, member, found


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive as the central directory describes it."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    offset: int


def is_zip(data: bytes) -> bool:
    """Whether ``data`` begins like a zip archive."""
    return data[:4] == b"PK\x03\x04" or data[:4] == b"PK\x05\x06"


def members(data: bytes, limits: BundleLimits) -> list[Member]:
    """The files of the archive in order; an :class:`ArchiveError` for anything out of the ordinary."""
    if len(data) < END.size or data[:4] != b"PK\x03\x04":
        raise ArchiveError("archive", "", "no zip archive, or one with something before its first file")
    data = _without_comment(data)
    _, disk, first_disk, here, count, directory, start, _ = END.unpack(data[-END.size :])
    if disk or first_disk or here != count:
        raise ArchiveError("archive", "", "an archive in several volumes")
    if start + directory != len(data) - END.size:
        raise ArchiveError("archive", "", "a central directory that is not where the end record says")
    if count > limits.members or directory > limits.members * (CENTRAL.size + limits.name_bytes + 64):
        raise ArchiveError("members", "", f"{count} members in a directory of {directory} bytes")
    found = _central(data, start, count)
    at = 0
    for member in found:
        at = _after_local(data, member, at)
    if at != start:
        raise ArchiveError("archive", "", f"{start - at} bytes between the last file and the directory")
    return [member for member in found if not _is_folder(member)]


def _without_comment(data: bytes) -> bytes:
    """The archive up to the end of its end record."""
    for size in range(min(MAX_COMMENT, len(data) - END.size) + 1):
        end = data[len(data) - END.size - size :]
        if end[:4] == b"PK\x05\x06" and END.unpack(end[: END.size])[-1] == size:
            if size and not (end[END.size :].isascii() and end[END.size :].decode().isprintable()):
                break
            return data[: len(data) - size]
    raise ArchiveError("archive", "", "something after the end record (a long comment, or another file)")


def _central(data: bytes, start: int, count: int) -> list[Member]:
    found, at = [], start
    end = len(data) - END.size
    for _ in range(count):
        if at + CENTRAL.size > end:
            raise ArchiveError("archive", "", "a central directory that is cut short")
        fields = CENTRAL.unpack_from(data, at)
        (signature, made_by, _, flags, method, _, _, crc, packed, size, name_length, extra, comment) = fields[:13]
        attributes, offset = fields[15], fields[16]
        raw = data[at + CENTRAL.size : at + CENTRAL.size + name_length]
        if signature != b"PK\x01\x02" or len(raw) != name_length:
            raise ArchiveError("archive", "", "a central directory that is damaged")
        mode = attributes >> 16 if made_by >> 8 == UNIX else 0
        found.append(Member(_text(raw, flags), raw, flags, method, crc, packed, size, mode, offset))
        at += CENTRAL.size + name_length + extra + comment
        _refuse_odd(found[-1], comment)
    if at != end:
        raise ArchiveError("archive", "", "a central directory with more than its members")
    return found


def _text(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8" if flags & UTF8_FLAG else "ascii")
    except UnicodeDecodeError as error:
        raise ArchiveError("names", repr(raw[:40]), "a name that is not UTF-8") from error


def _refuse_odd(member: Member, comment: int) -> None:
    kind = stat.S_IFMT(member.mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ArchiveError("links", member.name, "a link or device")
    if member.method not in (STORED, DEFLATED):
        raise ArchiveError("archive", member.name, f"compression method {member.method}")
    if member.flags & ~HARMLESS_FLAGS:
        what = "encryption" if member.flags & 1 else "unknown flags"
        raise ArchiveError("archive", member.name, f"flags {member.flags:#x} ({what})")
    if comment:
        raise ArchiveError("archive", member.name, "a comment on a member")
    if 0xFFFFFFFF in (member.packed, member.size, member.offset):
        raise ArchiveError("archive", member.name, "zip64 sizes")


def _is_folder(member: Member) -> bool:
    return member.name.endswith("/") and member.size == 0 and member.packed == 0


def _after_local(data: bytes, member: Member, at: int) -> int:
    """Where the next local header must be."""
    if member.offset != at or at + LOCAL.size > len(data):
        raise ArchiveError("archive", member.name, "files that overlap, leave gaps or are out of order")
    signature, _, flags, method, _, _, crc, packed, size, name_length, extra = LOCAL.unpack_from(data, at)
    raw = data[at + LOCAL.size : at + LOCAL.size + name_length]
    expected = (member.flags, member.method, member.crc, member.packed, member.size, member.raw_name)
    unknown_yet = (member.flags, member.method, 0, 0, 0, member.raw_name)
    found = (flags, method, crc, packed, size, raw)
    comes_after = bool(member.flags & SIZES_AFTER_FLAG)
    if signature != b"PK\x03\x04" or found not in ((expected, unknown_yet) if comes_after else (expected,)):
        raise ArchiveError("archive", member.name, "a file header that differs from the central directory")
    end = at + LOCAL.size + int(name_length) + int(extra) + member.packed
    return _after_sizes(data, member, end) if comes_after else end


def _after_sizes(data: bytes, member: Member, at: int) -> int:
    """Where the record of CRC and sizes behind the data ends, with or without its signature."""
    told = SIZES_AFTER.pack(member.crc, member.packed, member.size)
    for record in (b"PK\x07\x08" + told, told):
        if data[at : at + len(record)] == record:
            return at + len(record)
    raise ArchiveError("archive", member.name, "sizes after the data that differ from the central directory")


def content(data: bytes, member: Member) -> bytes:
    """The unpacked bytes of ``member``: never more than it declares, whatever the stream would give."""
    name_length, extra = struct.unpack_from("<2H", data, member.offset + LOCAL.size - 4)
    start = member.offset + LOCAL.size + name_length + extra
    packed = data[start : start + member.packed]
    if member.method == STORED:
        unpacked = packed
    else:
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            unpacked = stream.decompress(packed, member.size + 1)
        except zlib.error as error:
            raise ArchiveError("archive", member.name, f"damaged data ({error})") from error
        if not stream.eof or stream.unused_data:
            raise ArchiveError("archive", member.name, "more data than it declares, or a stream without end")
    if len(unpacked) != member.size or zlib.crc32(unpacked) != member.crc:
        raise ArchiveError("archive", member.name, f"{len(unpacked)} bytes, {member.size} declared, or a wrong CRC")
    return unpacked
