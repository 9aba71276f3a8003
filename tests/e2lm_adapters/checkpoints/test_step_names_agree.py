"""A folder, a revision on the Hub and a file of results of one name stand for one step, or all of them for none."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

import e2lm
import e2lm_adapters
from e2lm import Checkpoint, Series, UserError
from e2lm.results.lm_eval import subject_of
from e2lm.step_name import count_of, step_of
from e2lm_adapters.checkpoints import series as hub
from e2lm_adapters.checkpoints.listing import HubListing, HubRevision
from e2lm_adapters.checkpoints.source import CheckpointSource
from tests.e2lm.test_step_name import NOT_UNDERSTOOD, UNDERSTOOD, named_steps

WEIGHTS = save({"model.norm.weight": np.ones(4, np.float32)})
LISTED = [name for name, *_ in UNDERSTOOD] + [name for name in NOT_UNDERSTOOD if name]
#: What a name may be made of, meaningful or not.
PIECES = st.sampled_from(
    [
        *("step", "iter", "checkpoint", "ckpt", "global", "epoch", "tmp", "hf", "stage1", "tokens", "model", "run"),
        *("10", "007", "4B", "k", "x", "ep0", "ba5", "=", "_", "-", "-", "."),
    ]
)
NAMES = (
    st.sampled_from(LISTED)
    | named_steps().map(lambda case: case[0])
    | st.lists(PIECES, min_size=1, max_size=9).map("".join).filter(lambda name: name not in (".", ".."))
)


def from_folder(name: str) -> Checkpoint | None:
    """The checkpoint that a run folder with a sub-folder ``name`` holds; None where it is refused by name."""
    with TemporaryDirectory() as folder:
        place = Path(folder) / "wide" / name
        place.mkdir(parents=True)
        (place / "model.safetensors").write_bytes(WEIGHTS)
        if step_of(name) is None:
            with pytest.raises(UserError, match=re.escape(name)):
                Series.read(place.parent)
            return None
        (found,) = Series.read(place.parent).checkpoints
        return found


def from_hub(name: str) -> Checkpoint | None:
    """The checkpoint of a repository with the branches ``main`` and ``name``; None where it has none."""
    listing = HubListing(
        repo="org/wide",
        revisions=tuple(
            HubRevision(name=one, commit="c" * 40, weights_sha256="0" * 64, safetensors=True) for one in ("main", name)
        ),
        params=4,
        params_non_embedding=4,
    )

    def asked(repo: str, wanted: object, cache: Path) -> HubListing:
        assert callable(wanted)
        return listing.model_copy(update={"revisions": tuple(one for one in listing.revisions if wanted(one.name))})

    with TemporaryDirectory() as cache, patch.object(hub, "hub_listing", asked):
        source = CheckpointSource(Path(cache))
        if step_of(name) is None and count_of(name) is None:
            with pytest.raises(UserError, match="no revision that names a step"):
                hub.hub_series("org/wide", source)
            return None
        (series,) = hub.hub_series("org/wide", source)
    (found,) = series.checkpoints
    return found


def from_results(name: str) -> list[tuple[str, int, float]]:
    """Series, step and tokens of results of the model ``name`` in every way lm-eval has of naming it."""
    root = Path("/out")
    plain = {"pretrained": "org/wide"}
    told = [
        (root / "results_2026-01-02.json", {"pretrained": f"runs/wide/{name}"}),
        (root / "results_2026-01-02.json", {**plain, "revision": name}),
        (root / "results_2026-01-02.json", {**plain, "subfolder": name}),
        (root / "results_2026-01-02.json", {"pretrained": "org/base", "peft": f"lora/wide/{name}"}),
        (root / "wide" / name / "results_2026-01-02.json", plain),
        (root / "wide" / name / "org__wide" / "results_2026-01-02.json", plain),
    ]
    told += [(file, {}) for file in (root / f"runs__wide__{name}" / "results.json",) if "__" not in f"{name}_"]
    found = [
        subject_of({"config": {"model_args": arguments}, "model_name": "org/wide"}, file, root)
        for file, arguments in told
    ]
    return [(one.series, one.step, one.tokens) for one in found]


@given(NAMES.filter(lambda name: "/" not in name and len(name) < 200))
@settings(deadline=None)
def test_a_folder_a_revision_and_results_of_one_name_agree(name: str) -> None:
    meant = step_of(name)
    folder, revision, results = from_folder(name), from_hub(name), from_results(name)
    if meant is None:
        assert folder is None
        counted = count_of(name)  # read as a step where no revision names one, which is said
        assert (None if revision is None else revision.step) == (None if counted is None else counted.count)
        assert {step for _, step, _ in results} == {0}
        return
    assert folder is not None
    assert revision is not None
    assert (folder.step, folder.tokens) == (revision.step, revision.tokens) == (meant.step, meant.tokens)
    for series, step, tokens in results:
        assert step == meant.step
        assert meant.track in series
        assert (tokens == meant.tokens) if meant.tokens is not None else np.isnan(tokens)


def test_no_other_file_says_how_a_step_is_written() -> None:
    roots = [Path(one.__file__ or "").parents[1] for one in (e2lm, e2lm_adapters)]
    packages = [package for root in roots for package in root.glob("e2lm*")]
    written = re.compile(
        r"""(?:step|iter|checkpoint|ckpt)[^"'\n]{0,12}(?:\\d|\[0-9\])|removeprefix\("(?:step|check|iter)"""
    )
    assert len(packages) > 5
    found = {
        file.name for package in packages for file in package.rglob("*.py") if written.search(file.read_text("utf-8"))
    }
    assert found == {"step_name.py"}


@pytest.mark.parametrize("name", ["run1/step1000", "a/b-step5"])
def test_a_branch_with_a_slash_names_a_series_that_can_be_a_folder(name: str) -> None:
    found = from_hub(name)
    assert found is not None
    assert found.revision == name
