"""The judge that asks a language model behind an OpenAI-compatible endpoint; off unless the season names it.

``E2LM_JUDGE_URL`` (``https://HOST/v1/chat/completions``), ``E2LM_JUDGE_MODEL`` and, where needed, ``E2LM_JUDGE_KEY``
say whom it asks. It sends the items' texts there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from urllib.error import URLError
from urllib.request import Request, urlopen

from e2lm import Judge
from e2lm.errors import E2LMError, UserError

TIMEOUT_S = 60.0
QUESTION = (
    "Answer with one number from 0 to 100 and nothing else: how much does the following question test knowledge or "
    "reasoning of science?\n\n"
)
NUMBER = re.compile(r"\s*(\d{1,3})(?:\.\d+)?\s*%?\s*")


def asked(texts: Sequence[str]) -> list[float]:
    """The model's answers, one request per text."""
    url, model = os.environ.get("E2LM_JUDGE_URL"), os.environ.get("E2LM_JUDGE_MODEL")
    if not url or not model or not url.startswith(("http://", "https://")):
        raise UserError("judge 'science-model': set E2LM_JUDGE_URL and E2LM_JUDGE_MODEL, or choose 'science-words'")
    return [_asked_once(url, model, text) for text in texts]


def _asked_once(url: str, model: str, text: str) -> float:
    messages = [{"role": "user", "content": QUESTION + text}]
    body = json.dumps({"model": model, "temperature": 0, "max_tokens": 8, "messages": messages}).encode()
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("E2LM_JUDGE_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    try:
        with urlopen(Request(url, body, headers), timeout=TIMEOUT_S) as response:
            answer = json.load(response)["choices"][0]["message"]["content"]
    except (URLError, OSError, ValueError, LookupError, TypeError) as error:
        raise E2LMError(f"judge 'science-model': no answer from {url} ({error})") from error
    found = NUMBER.fullmatch(str(answer))
    if found is None or int(found[1]) > 100:
        raise E2LMError(f"judge 'science-model': {str(answer)[:60]!r} is no number from 0 to 100")
    return int(found[1]) / 100


MODEL_JUDGE = Judge(
    "science-model",
    "About science, by a language model behind E2LM_JUDGE_URL; sends the items there.",
    asked,
    source="whatever model the organiser names",
)
