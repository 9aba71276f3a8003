from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from e2lm import UserError
from e2lm_curriculum.corpus import files
from e2lm_curriculum.corpus import reader as module
from e2lm_curriculum.corpus.files import RecordFields
from e2lm_curriculum.corpus.reader import PASSAGE_CHARACTERS, Passage, TextSources, read_passages
from e2lm_curriculum.corpus.split import split_corpus


def test_a_file_without_marks_is_cut_at_paragraphs_and_joined_where_nothing_is_held_out(tmp_path: Path) -> None:
    paragraphs = [f"paragraph {number} " + "word " * 100 for number in range(100)]
    file = tmp_path / "book.txt"
    file.write_text("\n\n".join(paragraphs), encoding="utf-8")
    passages = list(read_passages([file]))
    assert all(len(passage.text) >= PASSAGE_CHARACTERS for passage in passages[:-1])
    assert [passage.follows for passage in passages] == [False] + [True] * (len(passages) - 1)
    split = split_corpus(lambda: iter(passages), ["book.txt"], 0.2, 0)
    training = "".join(
        passage.joint + passage.text if passage.follows else "<|>" + passage.text for passage in split.training()
    )
    for document in training.split("<|>"):
        assert document in "\n\n".join(paragraphs)
    held_out = list(split.held_out())
    for passage in held_out:
        assert passage.text not in training
    assert training.count("<|>") <= len(held_out) + 1


def test_json_lines_hold_one_document_each(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text("\n".join(json.dumps({"text": text}) for text in ("one\n\ntwo", "three")) + "\n", encoding="utf-8")
    assert [passage.text for passage in read_passages([file])] == ["one\n\ntwo", "three"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"body": "y"}\n', r"a\.jsonl:2: .*'text'"),
        ("a.jsonl", b'{"text": 3}\n', r"a\.jsonl:1: .*expected a string"),
        ("a.txt", b"abc\xff", "not UTF-8 at byte 3"),
        ("a.txt", b" \n ", "no text in it"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(read_passages([file]))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt: no such file"):
        list(read_passages([tmp_path / "none.txt"]))


ZSTD = pa.Codec("zstd")
LINES = [f"what doggie number {number} !" for number in range(400)]


def read(file: Path) -> str:
    return "".join(passage.joint + passage.text for passage in read_passages([file]))


def test_text_without_blank_lines_is_cut_at_the_ends_of_lines(tmp_path: Path) -> None:
    file = tmp_path / "childes.train"
    file.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    passages = list(read_passages([file]))
    assert len(passages) > 4
    assert all(PASSAGE_CHARACTERS <= len(passage.text) < PASSAGE_CHARACTERS + 40 for passage in passages[:-1])
    assert [line for passage in passages for line in passage.text.split("\n")] == LINES
    assert [passage.joint for passage in passages] == ["", *["\n"] * (len(passages) - 1)]
    short = list(read_passages([file], held_out=0.1))
    assert 40 <= len(short) <= 44  # four pages are a tenth


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("compressed", [bytes, gzip.compress, lambda text: bytes(ZSTD.compress(text))])
def test_compression_marks_of_byte_order_and_ends_of_lines_change_nothing(
    tmp_path: Path, ending: str, mark: bytes, compressed: Callable[[bytes], bytes]
) -> None:
    plain, other = tmp_path / "plain.txt", tmp_path / "other.txt.x"
    plain.write_text("\n".join(LINES), encoding="utf-8")
    content = mark + ending.join(LINES).encode()
    half = len(content) // 2  # compressed in two parts, as tools that work in parallel do
    other.write_bytes(compressed(content[:half]) + compressed(content[half:]))
    assert read(other) == read(plain) == "\n".join(LINES)


def test_records_are_the_same_documents_whatever_the_file(tmp_path: Path) -> None:
    texts = ["one\n\ntwo", "three <|endoftext|>"]
    rows = [{"id": 1, "content": text} for text in texts]
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(map(json.dumps, rows)).encode())
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    pq.write_table(pa.table({"content": texts, "id": [1, 2]}), tmp_path / "a.parquet")
    (tmp_path / "b.json").write_text(json.dumps(texts), encoding="utf-8")
    (tmp_path / "lines.json.ZST").write_bytes(ZSTD.compress("\n".join(map(json.dumps, rows)).encode()))
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)}).save_to_disk(tmp_path / "splits")
    written = ("a.jsonl", "a.ndjson.gz", "a.json", "a.parquet", "b.json", "lines.json.ZST", "saved", "splits")
    for name in written:
        assert [one.text for one in read_passages([tmp_path / name], fields=RecordFields("content"))] == texts, name
    for name in ("a.jsonl", "a.json", "a.parquet"):
        with pytest.raises(UserError, match=r"text_field.*content"):
            list(read_passages([tmp_path / name]))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt.gz", gzip.compress(b"a" * 1000, mtime=0)[:-9], "damaged or cut off"),
        ("a.txt", b"\x28\xb5\x2f\xfdxx", "damaged or cut off"),
        ("a.parquet", b"PAR1xxxx", "damaged, no Parquet table"),
        ("a.json", b'{"text": "x"}\n{"text": "y}\n', r"a\.json:2: "),
        ("a.json", b'[{"text": "x"}, {"te', "damaged or cut off"),
        ("a.json", b"3", "expected a JSON array"),
        ("a.json", b'[{"text": "x"}] [', "more after it"),
        ("a.jsonl.zst", ZSTD.compress(b'{"text": "x"}' * 99).to_pybytes()[:-4], "damaged or cut off"),
        ("a.txt", b"a" * 3_000_000 + b"\xc3\x28", "not UTF-8 at byte 3000000"),
    ],
)
def test_damaged_files_are_told_as_what_they_are(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(read_passages([file]))


def test_a_line_that_is_too_long_is_cut_at_blanks_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_LINE", 100)
    file = tmp_path / "one.txt"
    file.write_text(" ".join(f"word{number}" for number in range(200)), encoding="utf-8")
    passages = list(read_passages([file]))
    assert max(len(passage.text) for passage in passages) <= 100
    assert " ".join(passage.text for passage in passages) == file.read_text(encoding="utf-8")
    assert [passage.is_cut for passage in passages] == [False, *[True] * (len(passages) - 1)]
    assert not any(passage.follows for passage in passages)


def test_a_passage_follows_where_it_has_a_joint() -> None:
    assert [Passage("a", joint=joint).follows for joint in ("", "\n", "\n\n")] == [False, True, True]


@pytest.mark.parametrize("at_once", [1, 7, 1 << 20])
def test_an_array_is_read_document_by_document_wherever_it_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(files, "READ_AT_ONCE", at_once)
    texts = ["a [b], {c}", 'quotes " and \\ and \u00e9', "x" * 300]
    file = tmp_path / "a.json"
    file.write_text(" \n" * 9 + json.dumps([{"text": text, "n": [1, {"m": 2}]} for text in texts], indent=1))
    assert [passage.text for passage in read_passages([file])] == texts


def of_sources(file: Path, **fields: str) -> tuple[list[Passage], TextSources]:
    sources = TextSources([file], fields.get("source"))
    return list(read_passages([file], fields=RecordFields(**fields), sources=sources)), sources


def test_records_name_their_source_and_score_whatever_the_file(tmp_path: Path) -> None:
    rows = [{"text": str(n), "where": "web" if n % 3 else "books", "quality": n / 2} for n in range(6)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        passages, sources = of_sources(tmp_path / name, source="where", score="quality")
        assert sources.names == ["books", "web"]
        assert [one.file for one in passages] == [0, 1, 1, 0, 1, 1]
        assert [one.score for one in passages] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
        plain, sources = of_sources(tmp_path / name)
        assert (sources.names, {one.file for one in plain}, {one.score for one in plain}) == ([name], {0}, {None})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": "x", "where": "a"}, r"a\.jsonl:1: field 'quality' \(score_field\): found None; expected a finite"),
        ({"text": "x", "where": "a", "quality": float("nan")}, "found nan; expected a finite number"),
        ({"text": "x", "where": "a", "quality": "3"}, "found '3'; expected a finite number"),
        ({"text": "x", "where": None, "quality": 1}, r"field 'where' \(source_field\): found None; expected a name"),
    ],
)
def test_a_record_without_source_or_score_is_refused(tmp_path: Path, record: dict[str, object], message: str) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        of_sources(tmp_path / "a.jsonl", source="where", score="quality")


def test_a_data_set_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    datasets.DatasetDict({"test": datasets.Dataset.from_list([{"text": "x"}])}).save_to_disk(tmp_path / "splits")
    with pytest.raises(UserError, match=r"no split 'train'. .*test"):
        list(read_passages([tmp_path / "splits"]))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    for name in ("hub:nobody/nothing", "hub:a:b:c:d", "hub:"):
        with pytest.raises(UserError, match=name) as raised:
            list(read_passages([Path(name)]))
        assert "\n" not in str(raised.value)
