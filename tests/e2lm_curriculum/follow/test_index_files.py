"""Index files of other trainers, read back by readers written from the descriptions of their formats."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from e2lm.command_line import main
from e2lm.errors import UserError
from e2lm_curriculum.follow.megatron import PlannedSamples, write_megatron
from e2lm_curriculum.follow.plan import FollowedPlan
from e2lm_curriculum.plan.file import PlanRecord

STEPS, BATCH, LENGTH = 6, 4, 16


@pytest.fixture(scope="module")
def folder(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("formats") / "plan"
    words = ["--corpus", str(corpus_file), "--curriculum", "climb-ngram-linear", "--steps", str(STEPS)]
    words += ["--batch", str(BATCH), "--sequence-length", str(LENGTH), "--format", "megatron,olmo_core"]
    assert main(["train", "plan", *words, "--out", str(place)]) == 0
    return place


def planned_rows(folder: Path) -> list[list[int]]:
    """The tokens of every draw, with the one after its last where there is one, from the files of the plan alone."""
    tokens_K, indices_SB = np.load(folder / "tokens.npy").tolist(), np.load(folder / "plan.npy")
    return [tokens_K[one * LENGTH : (one + 1) * LENGTH + 1] for one in indices_SB.ravel()]


class GptSamples:
    """``GPTDataset`` as its description has it: shuffle, sample and document index over sequences of ``.bin``."""

    def __init__(self, prefix: Path) -> None:
        index = prefix.with_suffix(".idx").read_bytes()
        magic, version, code, count, documents = struct.unpack_from("<9sQBQQ", index)
        assert (magic, version, documents) == (b"MMIDIDX\0\0", 1, count + 1)
        self._dtype = np.dtype({4: np.int32, 8: np.uint16}[code])
        self._lengths = np.frombuffer(index, np.int32, count, 34)
        self._pointers = np.frombuffer(index, np.int64, count, 34 + 4 * count)
        assert np.frombuffer(index, np.int64, offset=34 + 12 * count).tolist() == list(range(count + 1))
        self._bytes = prefix.with_suffix(".bin").read_bytes()
        assert len(self._bytes) == int(self._lengths.sum()) * self._dtype.itemsize
        self.config = SimpleNamespace(sequence_length=LENGTH)
        self.document_index: Any = None
        self.sample_index: Any = None
        self.shuffle_index: Any = None

    def __getitem__(self, number: int) -> list[int]:
        sample = self.shuffle_index[number]
        (first, begin), (last, end) = self.sample_index[sample], self.sample_index[sample + 1]
        parts = [self._sequence(self.document_index[place]) for place in range(first, last + 1)]
        parts[-1] = parts[-1][: end + 1]
        return [token for part in parts for token in part][begin:]

    def _sequence(self, number: int) -> list[int]:
        found = np.frombuffer(self._bytes, self._dtype, self._lengths[number], self._pointers[number])
        return [int(token) for token in found]


def test_megatron_shows_every_draw_with_the_token_after_it(folder: Path) -> None:
    samples = PlannedSamples(folder, GptSamples(folder / "megatron" / "corpus"))
    assert len(samples) == STEPS * BATCH
    rows = planned_rows(folder)
    assert [samples[number] for number in range(len(samples))] == rows
    copied = pickle.loads(pickle.dumps(samples))
    assert copied[0] == rows[0]


def test_the_last_example_has_a_token_after_it_where_the_corpus_ends_with_it(tmp_path: Path) -> None:
    tokens_K = np.arange(100_000, 100_000 + 2 * LENGTH, dtype=np.uint32)
    np.save(tmp_path / "tokens.npy", tokens_K)
    record = PlanRecord(
        curriculum="c", hash="h", steps=1, known_steps=1, batch_size=1, sequence_length=LENGTH, examples=2, seed=0,
        difficulty="", tokens=True,
    )  # fmt: skip
    plan = SimpleNamespace(folder=tmp_path, record=record, plan=SimpleNamespace(indices_SB=np.array([[1]])))
    write_megatron(plan, tmp_path)  # type: ignore[arg-type]
    samples = GptSamples(tmp_path / "corpus")
    for name in ("document_index", "sample_index", "shuffle_index"):
        setattr(samples, name, np.load(tmp_path / f"{name}.npy"))
    assert samples[0] == [*tokens_K[LENGTH:].tolist(), 0]


def test_olmo_core_shows_every_step_with_each_rank_its_part(folder: Path) -> None:
    tokens_K = np.fromfile(folder / "olmo_core" / "corpus.npy", dtype=np.uint16)
    instances_XT = tokens_K.reshape(-1, LENGTH)
    indices_SB = np.fromfile(folder / "olmo_core" / "global_indices.npy", dtype=np.uint32).reshape(-1, BATCH)
    rows = [row[:LENGTH] for row in planned_rows(folder)]
    assert instances_XT[indices_SB].reshape(-1, LENGTH).tolist() == rows


def test_samples_that_were_scored_elsewhere_get_an_order_alone(tmp_path: Path) -> None:
    (tmp_path / "scores.txt").write_text("3\n1\n2\n0", encoding="utf-8")
    words = ["--scores", str(tmp_path / "scores.txt"), "--curriculum", "ngram-full-coverage", "--batch", "2"]
    words += ["--sequence-length", str(LENGTH), "--format", "megatron", "--out", str(tmp_path / "plan")]
    assert main(["train", "plan", *words]) == 0
    assert [file.name for file in (tmp_path / "plan" / "megatron").iterdir()] == ["shuffle_index.npy"]

    class Four(list[int]):
        config = SimpleNamespace(sequence_length=LENGTH)
        shuffle_index: Any = None

    found = PlannedSamples(tmp_path / "plan", Four([0, 1, 2, 3]))
    assert found.shuffle_index.tolist() == FollowedPlan.read(tmp_path / "plan").plan.indices_SB.ravel().tolist()
    with pytest.raises(UserError, match="4 samples were scored, found 3"):
        PlannedSamples(tmp_path / "plan", Four([0, 1, 2]))
    other = Four([0, 1, 2, 3])
    other.config = SimpleNamespace(sequence_length=32)
    with pytest.raises(UserError, match="planned for sequences of 16 tokens, found 32"):
        PlannedSamples(tmp_path / "plan", other)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--curriculum", "sequence-length-warm-up"], "sets sequence_lengths by step; index files of megatron"),
        (["--curriculum", "skill-it"], "skill-it is planned while it trains; index files"),
        (["--curriculum", "shuffle", "--format", "megatrn"], "unknown trainer 'megatrn'. Did you mean 'megatron'"),
    ],
)
def test_what_an_index_file_cannot_hold_is_refused_and_nothing_is_written(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "plan"
    small = ["--samples", "64", "--steps", "32", "--out", str(out), "--format", "megatron"]
    assert main(["train", "plan", *small, *words]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
    assert main(["train", "plan", "--curriculum", "shuffle", "--format", "megatron"]) == 2
    assert "give --out" in capsys.readouterr().err
