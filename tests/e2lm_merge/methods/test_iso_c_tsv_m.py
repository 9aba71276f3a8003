"""Merges by singular vectors: flat spectra, directions that stay, means where there is no matrix."""

from __future__ import annotations

from collections.abc import Callable

import torch

MergeOne = Callable[..., torch.Tensor]
Gaussian = Callable[..., torch.Tensor]
FineTunes = Callable[..., tuple[torch.Tensor, list[torch.Tensor]]]


def test_iso_c_keeps_directions_and_flattens_the_spectrum(merge_one: MergeOne, gaussian: Gaussian) -> None:
    delta = gaussian(2, 6, 4)
    merged = merge_one("iso_c", [delta], torch.zeros(6, 4))
    values = torch.linalg.svdvals(merged)
    mean = float(torch.linalg.svdvals(delta).mean())
    torch.testing.assert_close(values, torch.full((4,), mean), rtol=1e-4, atol=1e-4)


def test_tsv_m_of_one_model_is_the_model(merge_one: MergeOne, fine_tunes: FineTunes) -> None:
    base, tensors = fine_tunes(5, 1, 6, 4)
    torch.testing.assert_close(merge_one("tsv_m", tensors, base), tensors[0], rtol=1e-4, atol=1e-5)


def test_tsv_m_of_models_that_do_not_touch_is_their_sum(merge_one: MergeOne) -> None:
    left, right = torch.zeros(4, 4), torch.zeros(4, 4)
    left[0, 0], right[1, 1] = 3.0, 2.0
    merged = merge_one("tsv_m", [left, right], torch.zeros(4, 4))
    torch.testing.assert_close(merged, left + right, rtol=1e-5, atol=1e-5)


def test_spectral_merges_average_embeddings_and_vectors(merge_one: MergeOne, fine_tunes: FineTunes) -> None:
    base, tensors = fine_tunes(5, 2, 6, 4)
    for strategy in ("iso_c", "tsv_m"):
        merged = merge_one(strategy, tensors, base, name="model.embed_tokens.weight")
        torch.testing.assert_close(merged, torch.stack(tensors).mean(0), rtol=1e-5, atol=1e-6)
