from __future__ import annotations

import json

import pytest

from e2lm.command_line import main


def published(capsys, *arguments: object) -> tuple[int, str, str]:
    code = main(["predict", "published", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def fits(capsys, *arguments: object) -> dict:
    code, out, _ = published(capsys, *arguments, "--json")
    assert code == 0
    return {one["name"]: one for one in json.loads(out)["fits"]}


def test_published_optima_come_out_to_the_printed_digits(capsys):
    found = fits(capsys, "--flops", 5.76e23)
    assert found["hoffmann"]["N"] == pytest.approx(4.036e10, rel=0.002)
    assert found["hoffmann"]["D"] == pytest.approx(2.379e12, rel=0.002)
    assert found["besiroglu"]["N"] == pytest.approx(7.225e10, rel=0.002)
    assert found["besiroglu"]["params"]["B"] == pytest.approx(2085.43)


def test_repeated_tokens_are_worth_what_the_published_law_says(capsys):
    found = fits(capsys, "muennighoff", "--at", "N=6.34e9,D=242e9,U=25e9")["muennighoff"]
    assert found["loss"] == pytest.approx(2.2256440890, abs=1e-8)
    assert found["epochs"] == pytest.approx(242 / 25)
    fresh = fits(capsys, "muennighoff", "--at", "N=6.34e9,D=242e9")["muennighoff"]
    assert fresh["loss"] < found["loss"]


def test_a_law_that_knows_of_no_unique_tokens_gives_no_loss_for_them(capsys):
    found = fits(capsys, "hoffmann", "--at", "N=1e9,D=1e11,U=1e9")["hoffmann"]
    assert found["loss"] is None
    assert "no unique tokens" in published(capsys, "hoffmann", "--at", "N=1e9,D=1e11,U=1e9")[1]


def test_an_unknown_fit_is_answered_by_the_nearest(capsys):
    code, out, err = published(capsys, "hofmann")
    assert (code, out) == (2, "")
    assert "hoffmann" in err


def test_laws_of_non_embedding_parameters_and_of_over_training_are_there_too(capsys):
    assert fits(capsys, "kaplan", "--at", "N=1e9,D=22e9")["kaplan"]["loss"] == pytest.approx(2.3693, rel=1e-3)
    assert "without embeddings" in published(capsys, "kaplan")[1]
    gadre = fits(capsys, "gadre", "--at", "N=1.4e9,D=9e11")["gadre"]
    half, flops, ratio = 0.27285 / 2, 6 * 1.4e9 * 9e11, 9e11 / 1.4e9
    first, second = 166.21 * 6**half * ratio**half, 366.69 * ratio**-half
    assert gadre["loss"] == pytest.approx(1.83665 + (first + second) * flops**-half, rel=1e-6)
