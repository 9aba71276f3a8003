from __future__ import annotations

from e2lm_leaderboard.season.season import SeasonRules


def test_the_default_rules_are_those_that_are_published() -> None:
    """Tokens, items and tries as the 2025 competition had them; the others as entrants were told since."""
    assert SeasonRules().model_dump(exclude={"limits", "schema_version", "tokenizer"}) == {
        "languages": ("en",),
        "max_tokens": 2048,
        "bytes_per_token": 3.0,
        "min_items": 100,
        "max_items": 15_000,
        "min_choices": 2,
        "max_choices": 26,
        "max_tasks": 20,
        "label_chars": 3,
        "max_answer_in_prompt": 0.02,
        "max_duplicates": 0.02,
        "min_common_words": 0.08,
        "submissions_per_day": 10,
        "submissions_total": None,
        "max_similarity": 0.2,
        "code_allowed": True,
        "metric_code_bytes": 4096,
    }
