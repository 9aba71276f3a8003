"""Whether a model and a corpus can follow a plan."""

from __future__ import annotations

from typing import get_args

from e2lm.curriculum import Curriculum, Plan
from e2lm.errors import E2LMError, UserError, nearest_names
from e2lm_curriculum.plan_setting import ObjectiveName


def check_plan(plan: Plan, curriculum: Curriculum, family: str, tags: bool) -> None:
    """A :class:`UserError` for a plan that this model or this corpus cannot follow."""
    objectives = {span.objective for span in plan.objectives}
    by_tags = sorted(one for one in objectives if one.startswith("pos-"))
    if plan.vocabulary_map.startswith("pos"):
        by_tags.append(f"vocabulary by {plan.vocabulary_map}")
    if by_tags and not tags:
        raise UserError(
            f"field 'curriculum': {by_tags[0]} needs parts of speech; give a .jsonl corpus with 'words' and 'tags'"
        )
    if family == "roberta" and "clm" in objectives:
        raise UserError("field 'curriculum': objective clm with family roberta; use family llama, which can do both")
    if (objectives or plan.vocabulary_map) and not curriculum.needs_masks:
        raise E2LMError(f"curriculum {curriculum.name!r} plans objectives or a vocabulary: give it needs_masks=True")
    known = get_args(ObjectiveName)
    for unknown in sorted(objectives - set(known)):
        raise E2LMError(f"curriculum {curriculum.name!r}: objective {unknown!r}. {nearest_names(unknown, known)}")
