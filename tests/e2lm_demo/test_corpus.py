from __future__ import annotations

from e2lm_demo.corpus import prose_paragraphs, write_docstring_corpus

PROSE = "The mean of an array is the sum of all its values divided by their number, and it is a float."


def test_prose_is_kept_and_markup_taken_off():
    text = "The mean of ``x`` is :func:`numpy.sum` of all the values divided by their **number** of values."

    assert list(prose_paragraphs(text)) == [
        "The mean of x is numpy.sum of all the values divided by their number of values."
    ]


def test_code_tables_and_field_lists_are_left_out():
    blocks = [
        ">>> np.mean([1, 2, 3])\n2.0",
        "Parameters\n----------\nx : array_like",
        ":param x: the values of which the mean is to be taken, as an array.",
        "====  ====\nname  size\n====  ====",
        "short.",
    ]

    assert list(prose_paragraphs("\n\n".join([PROSE, *blocks]))) == [PROSE]


def test_corpus_is_the_same_every_time_and_holds_no_paragraph_twice(tmp_path, monkeypatch):
    monkeypatch.setattr("e2lm_demo.corpus.PACKAGES", ("numpy",))

    first = write_docstring_corpus(tmp_path / "a")
    second = write_docstring_corpus(tmp_path / "b")

    assert [file.path.read_bytes() for file in first] == [file.path.read_bytes() for file in second]
    paragraphs = [part for file in first for part in file.path.read_text().strip().split("\n\n")]
    assert len(paragraphs) == len(set(paragraphs)) > 1000
