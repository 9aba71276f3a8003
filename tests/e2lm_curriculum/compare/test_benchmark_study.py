"""The study that is designed: what it would train, what it could see, and what it says of signs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from e2lm_curriculum.plan.builder import chosen_curriculum


@pytest.fixture(scope="module")
def study() -> Any:
    """The benchmark as a module."""
    file = Path(__file__).parents[3] / "benchmarks" / "curriculum_study.py"
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


def test_the_design_has_every_setting_once_and_shuffle_against_itself(study: Any) -> None:
    own = list(study.cells(study.Scale()))
    assert (
        len({cell.name for cell in own})
        == len(own)
        == len(study.CURRICULA) * len(study.RATES) * len(study.SCHEDULES) + 1
    )
    assert [cell.curriculum for cell in own if len(cell.arms) == 4] == list(study.CURRICULA)
    assert own[-1].curriculum == "shuffle"
    for name in study.CURRICULA:
        chosen_curriculum(name)
    found = study.design(study.Scale())
    # 2 main ones of 4 arms, 10 and the A/A one of 2; the main ones may double their seeds.
    assert (found["runs_at_least"], found["runs_at_most"]) == (8 * (2 * 4 + 11 * 2), 8 * (2 * 8 + 11 * 2))
    main, second, last, _ = found["detectable_bits_per_byte"].values()
    assert main > second > last


@pytest.mark.parametrize(("tiny", "foretold", "rates"), [(-0.1, True, [3e-3, 1e-2, 3e-4]), (0.1, False, [3e-3, 1e-2])])
def test_a_tiny_rate_foretells_the_winner_where_it_has_the_same_sign(
    study: Any, tiny: float, foretold: bool, rates: list[float]
) -> None:
    place: dict[str, Any] = {"curriculum": "a", "arm": "curriculum", "verdict": "better"}
    rows = [
        {
            **place,
            "rate": rate,
            "schedule": schedule,
            "averaged": one,
            "value": tiny if rate == study.RATES[-1] else -0.2,
        }
        for rate in study.RATES
        for schedule in study.SCHEDULES
        for one in (False, True)
    ]
    found = study.stability(rows, "a")
    assert (found["tiny_rate_foretold"], found["rates_with_the_same_sign_throughout"]) == (foretold, rates)
    assert (found["settings"], found["same_sign"], found["main_verdict"]) == (12, 12 if foretold else 8, "better")
    for row in rows:
        row["verdict"] = "no detectable difference"
    assert study.stability(rows, "a") == {"curriculum": "a", "main_verdict": row["verdict"], "settings": 12}
