"""How scientific a text is: the offline judge, and the one that asks a language model behind an endpoint.

Offline: multinomial naive Bayes with add-one smoothing (Manning, Raghavan and Schuetze 2008, section 13.2) over word
stems, trained on the sentences below, written for this purpose. Each stem of a text counts once, and words that were
never seen say nothing, so a text of unknown words gets one half.

Endpoint (OpenAI-compatible): off unless the season names it.
``E2LM_JUDGE_URL`` (``https://HOST/v1/chat/completions``), ``E2LM_JUDGE_MODEL`` and, where needed, ``E2LM_JUDGE_KEY``
say whom it asks. It sends the items' texts there.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from urllib.error import URLError
from urllib.request import Request, urlopen

from e2lm import Judge
from e2lm.errors import E2LMError, UserError

SCIENCE = (
    "The mass of an electron is much smaller than that of a proton.",
    "Plants convert light, water and carbon dioxide into sugar and oxygen by photosynthesis.",
    "The derivative of a function measures the rate at which its value changes.",
    "Enzymes lower the activation energy of chemical reactions in a cell.",
    "The speed of light in vacuum is the same for every observer.",
    "DNA stores genetic information in the order of its bases.",
    "An acid reacts with a base to form a salt and water.",
    "The force on a body equals its mass times its acceleration.",
    "Tectonic plates move slowly over the mantle and cause earthquakes.",
    "The probability of two independent events is the product of their probabilities.",
    "A star begins to shine when nuclear fusion of hydrogen starts in its core.",
    "Neurons transmit electrical signals through synapses in the brain.",
    "The orbit of a planet around the sun is an ellipse.",
    "The voltage across a resistor is proportional to the current through it.",
    "Bacteria evolve resistance to antibiotics by natural selection.",
    "The boiling point of a liquid falls when the pressure decreases.",
    "A triangle with a right angle obeys the theorem of Pythagoras.",
    "An algorithm sorts an array of numbers by comparing its elements.",
    "The wavelength of a wave is its speed divided by its frequency.",
    "Vaccines train the immune system to recognise a virus.",
    "Entropy of an isolated system never decreases, says thermodynamics.",
    "The atom has a nucleus of protons and neutrons, with electrons around it.",
    "In the experiment the temperature of the sample was measured every hour.",
    "The hypothesis was tested with data from a controlled study.",
)

OTHER = (
    "She went to the market and bought bread and cheese for dinner.",
    "The king gave his daughter a horse and a golden ring.",
    "They walked along the beach and talked about their holidays.",
    "He was late for the train because his alarm had not rung.",
    "The team won the match in the last minute and the crowd cheered.",
    "My grandmother used to tell us stories by the fire.",
    "The song was sung at the wedding by the sister of the bride.",
    "He opened the door quietly and found a letter on the floor.",
    "The mayor promised new parks and better schools before the election.",
    "We painted the kitchen yellow and hung new curtains.",
    "The detective looked at the suspect and said nothing.",
    "She forgave him, for he had always been a good friend.",
    "The restaurant serves soup, fish and a cake with apples.",
    "The company opened a new shop in the centre of the town.",
    "The actor thanked his family when he received the prize.",
    "On Sunday the children played in the garden until it rained.",
    "He wrote a poem about love and the loneliness of the city.",
    "The lawyer asked the court for more time.",
    "The bus stops in front of the church every half hour.",
    "They argued about money, and then they laughed.",
    "The boy lost his shoes and went home barefoot.",
    "Her dress was blue, and everybody at the party admired it.",
    "The old man sold his house and moved to the village.",
    "The dog waited at the gate for its master to return.",
)


WORD = re.compile(r"[^\W\d_]+")
#: Beginnings of words stand for their forms: proton and protons, reaction and reacts.
STEM_LETTERS = 6


def stems(text: str) -> list[str]:
    """Beginnings of the words of ``text``.

    >>> stems("Two protons")
    ['two', 'proton']
    """
    return [word[:STEM_LETTERS] for word in WORD.findall(text.casefold())]


@cache
def _log_odds() -> dict[str, float]:
    science, other = (Counter(stem for text in texts for stem in stems(text)) for texts in (SCIENCE, OTHER))
    known = science.keys() | other.keys()
    size = len(known)
    return {
        stem: math.log((science[stem] + 1) / (science.total() + size))
        - math.log((other[stem] + 1) / (other.total() + size))
        for stem in known
    }


def science_share(texts: Sequence[str]) -> list[float]:
    """How sure it is, per text, that it is about science."""
    odds = _log_odds()
    return [
        1 / (1 + math.exp(-max(-30.0, min(30.0, sum(odds.get(stem, 0.0) for stem in set(stems(text)))))))
        for text in texts
    ]


SCIENCE_JUDGE = Judge(
    "science-words",
    "About science, by its words: naive Bayes trained on 48 declared sentences; offline.",
    science_share,
    source="this package, season/judges.py",
)


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
