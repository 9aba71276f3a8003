"""Shapes of data, as ``lm_eval_stand_in`` names them, of kinds of tasks for which it would search long or in vain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def texts(*names: str) -> dict[str, Any]:
    """Fields that hold any text."""
    return dict.fromkeys(names, "text")


ARADICE = {
    **texts("context", "question"),
    "options": texts(*"ABCDE"),
    "Country": "=Egypt",
    "Level": "=High",
    "Subject": "=History",
    "Answer Key": "letter",
}
CULTURE = {
    **texts("first_statement"),
    "country": "=Egypt",
    "region": "=Nile Valley",
    "options": {"text": "three", "arabic_keys": "abc", "english_keys": "abc"},
    "answer_key": {"arabic_answer_key": "letter", "english_answer_key": "letter"},
}
LETTERED = {"question": "text", "choices": "labelled", "answerKey": "letter"}
TRUTH = {
    "question": "text",
    "mc1_targets_choices": "four",
    "mc2_targets_choices": "four",
    "mc2_targets_labels": "onehot",
}

#: By the name of the task that stands for the kind.
GIVEN: Mapping[str, Mapping[str, Any]] = {
    "arabicmmlu_accounting_university": {
        **texts("Question", "Context", "Country", *(f"Option {k}" for k in range(1, 6))),
        "Level": "=Primary",
        "Subject": "=Law",
        "Answer Key": "letter",
    },
    "AraDiCE_ArabicMMLU_high_humanities_history_egy": ARADICE,
    "AraDiCE_ArabicMMLU_high_humanities_history_lev": ARADICE,
    "arc_ar": {**texts("id", "instruction", *(f"option_{letter}" for letter in "abcde")), "answer": "letter"},
    "hellaswag_ar": {**texts("ctx_a", "ctx_b", "activity_label"), "endings": "four", "label": "digit0"},
    "truthfulqa_ar_mc1": TRUTH,
    "truthfulqa_ar_mc2": TRUTH,
    "tmlu_AST_biology": {**texts("question", *"ABCD"), "answer": "letter"},
    "arab_culture_algeria": CULTURE,
    "arab_culture_completion_algeria": CULTURE,
    "click_cul_economy": {**texts("paragraph", "question"), "choices": "four", "answer": "same", "id": "=economy_1"},
    "crows_pairs_english_age": {**texts("sent_more", "sent_less"), "bias_type": "=age"},
    "indicparam_bodo": {
        **texts("question_text", *(f"option_{letter}" for letter in "abcd")),
        "correct_answer": "letters",
        "subject": "=Bodo",
    },
    "xcopa_et": {**texts("premise", "choice1", "choice2"), "question": "=cause", "label": "small"},
    "arc_challenge": LETTERED,
    "uhura-arc-easy_am_prompt_1": LETTERED,
    "uhura-arc-easy_nso_prompt_1": LETTERED,
    "turkishmmlu_biology": {"question": "text", "choices": "five", "answer": "letter"},
    "xstorycloze_ca": {
        **texts(*(f"input_sentence_{k}" for k in range(1, 5)), "sentence_quiz1", "sentence_quiz2"),
        "answer_right_ending": "small1",
    },
    "agieval_aqua_rat": {"query": "text", "choices": "four", "gold": "places"},
}
