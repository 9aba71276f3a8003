"""Shapes of data, as ``lm_eval_stand_in`` names them, of kinds of tasks for which it would search long or in vain."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
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
    "evalita-mp_te_prompt-1": {**texts("text1", "text2"), "entailment": "=SI"},
    "evalita-mp_wic_prompt-1": {
        **texts("sentence1", "sentence2"),
        **dict.fromkeys(("start1", "start2"), "small"),
        **dict.fromkeys(("end1", "end2"), "place1"),
        "label": "small",
    },
    **{f"evalita-mp_sa_prompt-{k}": {"text": "text", "opos": "=1", "oneg": "=0"} for k in (1, 2, 3, 6)},
    "darija_sentiment_electrom": {"messages": [{"content": "=سلبي"}]},
    "norcommonsenseqa_nno_p1": {"question": "text", "choices": "labelled5", "answer": "letter"},
    "norcommonsenseqa_nno_p3": {"question": "text", "choices": "labelled5", "answer": "letter"},
    "winogender_female": {
        **texts("sentence", "occupation", "participant", "pronoun"),
        "gender": "=female",
        "label": "small",
    },
    **dict.fromkeys(
        ("xwinograd_en", "AraDiCE_winogrande_egy"),
        MappingProxyType({"sentence": "blank", "option1": "text", "option2": "text", "answer": "=1"}),
    ),
    "bbq": {
        **texts("context", "question", "ans0", "ans1"),
        "ans2": "=Unknown",
        "answer_info": {"ans0": "texts", "ans1": "texts", "ans2": "texts"},
        "additional_metadata": {"stereotyped_groups": "texts"},
        "question_polarity": "=neg",
        "context_condition": "=ambig",
        "category": "=Age",
        "label": "small",
    },
    "click_lang_function": {
        **texts("paragraph", "question"),
        "choices": "five",
        "answer": "same",
        "id": "=CSAT_korean_20_9_36",
    },
    "physics_gre_multiple_choice": {"input": "text", "has_image": "=", "target_scores": "scores"},
    "qa4mre_2011": {
        **texts("document_str", "question_str"),
        "answer_options": {"answer_str": "four"},
        "correct_answer_id": "digit1",
    },
    "siqa_ca": {**texts("context", "question", "answerA", "answerB", "answerC"), "label": "three1"},
    **dict.fromkeys(
        ("copal_id_colloquial", "arabic_mt_copa"),
        MappingProxyType({**texts("premise", "choice1", "choice2"), "question": "=cause", "label": "small"}),
    ),
    "arabic_mt_toxigen": {"text": "text", "toxicity_ai": "number", "toxicity_human": "number"},
    "glianorex_en": {"question": "text", "options": texts(*"ABCD"), "answer_idx": "letter", "language": "=en"},
    "headqa_en": {"qtext": "text", "answers": [{"atext": "text", "aid": "place1"}], "ra": "place1"},
    "histoires_morales": texts("norm", "situation", "intention", "moral_action", "immoral_action"),
    "advanced_ai_risk_fewshot-coordinate-itself": texts(
        "question", "answer_matching_behavior", "answer_not_matching_behavior"
    ),
    **dict.fromkeys(
        ("copa_ca", "xcopa_eu", "copa_es", "copa"),
        MappingProxyType({**texts("premise", "choice1", "choice2"), "question": "=cause", "label": "small"}),
    ),
    "swag": {**texts("startphrase", "ending0", "ending1", "ending2", "ending3"), "label": "place"},
    "toxigen": {"text": "text", "toxicity_ai": "number", "toxicity_human": "number"},
    "paws_es_spanish_bench": {**texts("sentence1", "sentence2"), "label": "small"},
    "xnli_es_spanish_bench": {**texts("premise", "hypothesis"), "label": "small"},
    "wic": {**texts("sentence1", "sentence2", "word"), "start1": "small", "end1": "place1", "label": "small"},
    "xstorycloze_gl": {
        **texts(*(f"InputSentence{k}" for k in range(1, 5))),
        **texts("RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2"),
        "AnswerRightEnding": "small1",
    },
    "parafrases_gl": {**texts("Frase", "Paráfrase"), "Avaliación": "small"},
    "xnli_gl": {**texts("sentence1", "sentence2"), "gold_label": "=entailment"},
    "icelandic_winogrande": {"sentence": "blank", "option1": "text", "option2": "text", "answer": "=1"},
    "agieval_aqua_rat": {"query": "text", "choices": "four", "gold": "places"},
}
