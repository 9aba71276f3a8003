"""One built suite, shared by the tests of this folder; its text is Python's own documentation."""

from __future__ import annotations

import json
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest

from e2lm_tasks.building.prose import CorpusText
from e2lm_tasks.building.text_suite import Suite, build_suite

ITEMS = 120


@pytest.fixture(scope="session")
def documentation() -> CorpusText:
    return CorpusText.of("documentation.txt", "\n\n".join(topics[name] for name in sorted(topics)))


@pytest.fixture(scope="session")
def suite(documentation: CorpusText) -> Suite:
    return build_suite([documentation], seed=7, items=ITEMS, name="probe")


@pytest.fixture(scope="session")
def suite_folder(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    for name, text in suite.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def rows_of(suite: Suite) -> dict[str, list[dict[str, Any]]]:
    return {
        name.removesuffix(".jsonl"): [json.loads(line) for line in text.splitlines()]
        for name, text in suite.files.items()
        if name.endswith(".jsonl")
    }
