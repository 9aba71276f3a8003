"""The study that is designed: what it would train, what it could see, and what it says of signs."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.curriculum_study import CURRICULA, RATES, SCHEDULES, Scale, cells, design, stability
from e2lm_curriculum.plan.builder import chosen_curriculum


def test_the_design_has_every_setting_once_and_shuffle_against_itself() -> None:
    own = list(cells(Scale()))
    assert len({cell.name for cell in own}) == len(own) == len(CURRICULA) * len(RATES) * len(SCHEDULES) + 1
    assert [cell.curriculum for cell in own if len(cell.arms) == 4] == list(CURRICULA)
    assert own[-1].curriculum == "shuffle"
    for name in CURRICULA:
        chosen_curriculum(name)
    found = design(Scale())
    # 2 main ones of 4 arms, 10 and the A/A one of 2; the main ones may double their seeds.
    assert (found["runs_at_least"], found["runs_at_most"]) == (8 * (2 * 4 + 11 * 2), 8 * (2 * 8 + 11 * 2))
    main, second, last, _ = found["detectable_bits_per_byte"].values()
    assert main > second > last


@pytest.mark.parametrize(("tiny", "foretold", "rates"), [(-0.1, True, list(RATES)), (0.1, False, [3e-3, 1e-2])])
def test_a_tiny_rate_foretells_the_winner_where_it_has_the_same_sign(
    tiny: float, foretold: bool, rates: list[float]
) -> None:
    place: dict[str, Any] = {"curriculum": "a", "arm": "curriculum", "verdict": "better"}
    rows = [
        {**place, "rate": rate, "schedule": schedule, "averaged": one, "value": tiny if rate == RATES[-1] else -0.2}
        for rate in RATES
        for schedule in SCHEDULES
        for one in (False, True)
    ]
    found = stability(rows, "a")
    assert (found["tiny_rate_foretold"], found["rates_with_the_same_sign_throughout"]) == (foretold, rates)
    assert (found["settings"], found["same_sign"], found["main_verdict"]) == (12, 12 if foretold else 8, "better")
