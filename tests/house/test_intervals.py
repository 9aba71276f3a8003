"""Intervals have one home: quantiles, percentiles of redraws and redraws stand in ``e2lm/interval.py`` or nowhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = "plugins/e2lm/interval.py"

#: What gives a quantile, draws again, or counts draws, by the last part of its name.
CALLS = frozenset(
    {"ndtri", "stdtrit", "erfinv", "ppf", "isf", "NormalDist", "inv_cdf", "proportion_ci", "sem", "multinomial"}
    | {"quantile", "nanquantile", "percentile", "nanpercentile"}
)
#: Quantiles of the normal distribution as people write them out, two-sided 80, 90, 95 and 99 %.
QUANTILES = (1.281552, 1.644854, 1.959964, 2.575829)
#: The shares between which the middle 80, 90, 95 and 99 % lie.
TAILS = ((0.1, 0.9), (0.05, 0.95), (0.025, 0.975), (0.005, 0.995))

#: File -> what it may say, since it is no interval.
EXCEPTIONS = {
    "plugins/e2lm_signal/distillation.py": {"std(ddof=1) / sqrt"},  # the t statistic that one method ranks items by
}


def other_homes(source: str) -> Iterator[tuple[int, str]]:
    """Line and what stands there, of all that belongs into ``e2lm/interval.py``."""
    for node in ast.walk(ast.parse(source)):
        for what in (_called(node), _written_out(node), _computed(node)):
            if what is not None:
                yield getattr(node, "lineno", 0), what


def _called(node: ast.AST) -> str | None:
    name = {ast.Name: "id", ast.Attribute: "attr", ast.alias: "name"}.get(type(node))
    said = None if name is None else str(getattr(node, name))
    return said if said in CALLS and not isinstance(getattr(node, "ctx", None), ast.Store) else None


def _written_out(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, float):
        return repr(node.value) if any(abs(node.value - quantile) < 6e-3 for quantile in QUANTILES) else None
    if isinstance(node, ast.Tuple | ast.List) and len(node.elts) >= 2:
        ends = tuple(one.value for one in (node.elts[0], node.elts[-1]) if isinstance(one, ast.Constant))
        return ast.unparse(node) if any(ends in {pair, (100 * pair[0], 100 * pair[1])} for pair in TAILS) else None
    return None


def _computed(node: ast.AST) -> str | None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and "ddof=1" in ast.unparse(node.left):
        root = ast.unparse(node.right)
        return "std(ddof=1) / sqrt" if "sqrt" in root or "** 0.5" in root else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "integers":
        sizes = [word.value for word in node.keywords if word.arg == "size"]
        return "integers" if any(_draws_of_itself(node, size) for size in sizes) else None
    return None


def _draws_of_itself(call: ast.Call, size: ast.expr) -> bool:
    """Whether as many are drawn as there are: a redraw, not a choice."""
    return isinstance(size, ast.Tuple) and len(call.args) == 1 and ast.dump(size.elts[-1]) == ast.dump(call.args[0])


@pytest.fixture(scope="module")
def products(repository: Path) -> dict[str, str]:
    """Every file of the product by name."""
    return {
        file.relative_to(repository).as_posix(): file.read_text(encoding="utf-8")
        for place in ("plugins", "adapters", "leaderboard", "e2lm_tasks")
        for file in sorted((repository / place).rglob("*.py"))
    }


def test_quantiles_percentiles_and_redraws_stand_in_the_core_alone(products: dict[str, str]) -> None:
    found = [
        f"{name}:{line} {what}"
        for name, source in products.items()
        if name != HOME
        for line, what in other_homes(source)
        if what not in EXCEPTIONS.get(name, set())
    ]
    assert found == []


def test_every_exception_is_needed(products: dict[str, str]) -> None:
    assert {name: {what for _, what in other_homes(products[name])} for name in EXCEPTIONS} == EXCEPTIONS


def test_there_is_one_interval_and_one_of_wilsons(products: dict[str, str]) -> None:
    defined = [
        f"{name} {node.name}"
        for name, source in products.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        if node.name == "Interval" or "wilson" in node.name.lower()
    ]
    assert defined == [f"{HOME} Interval", f"{HOME} wilson_interval"]


def test_the_home_itself_would_be_found(products: dict[str, str]) -> None:
    assert {what for _, what in other_homes(products[HOME])} >= {"ndtri", "stdtrit", "quantile", "multinomial"}


@pytest.mark.parametrize(
    "line",
    [
        "Z = 1.645",
        "half = 1.96 * stderr",
        "low, high = np.quantile(x, (0.05, 0.95))",
        "low, high = numpy.nanpercentile(x, [2.5, 97.5])",
        "ENDS = (0.05, 0.5, 0.95)",
        "ENDS = [2.5, 97.5]",
        "z = stats.norm.ppf(0.95)",
        "from scipy.special import ndtri",
        "z = NormalDist().inv_cdf(0.95)",
        "rng.multinomial(n, share, size=draws)",
        "chosen = rng.integers(count, size=(draws, count))",
        "error = x.std(ddof=1) / np.sqrt(len(x))",
        "error = np.std(x, ddof=1) / len(x) ** 0.5",
    ],
)
def test_a_second_home_is_found(line: str) -> None:
    assert list(other_homes(line))


@pytest.mark.parametrize(
    "line",
    ["share = 0.9", "rng.integers(count, size=draws)", "betas = (0.9, 0.999)", "'''the 95 % quantile is 1.96'''"],
)
def test_other_numbers_are_left_alone(line: str) -> None:
    assert not list(other_homes(line))
