"""How hard examples are: to a reader, to counts of the corpus, by source. A new measure: here, in one of the tuples.

Shape suffixes: X examples, T tokens per example, K tokens (X * T).
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2lm.curriculum import Difficulty, TrainingText
from e2lm.errors import UserError
from e2lm.words import ScriptCount, sentence_count, words

PLATANIOS = "Platanios et al. 2019, arXiv 1903.09848"
FLESCH = "Flesch 1948, J. Appl. Psychol. 32(3)"
CLIMB = "Diehl Martinez et al. 2023, arXiv 2311.08886"

# -- what a reader sees ---------------------------------------------------------------------------------------------

_VOWELS = re.compile(r"[aeiouyäöüáéíóúàèìòùâêîôû]+")


def texts(text: TrainingText) -> Iterator[str]:
    """The text of each example in order."""
    return (text.decode(row_T) for row_T in text.blocks_XT)


#: What to take where a text's script does not tell its words apart.
WITHOUT_WORDS = "take one that needs no words (compression, unigram-perplexity, ngram-perplexity, file)"


def texts_with_words(text: TrainingText) -> Iterator[str]:
    """The same where words matter; a :class:`UserError` after the last if its script does not tell them apart."""
    scripts = ScriptCount()
    for one in texts(text):
        scripts.add(one)
        yield one
    scripts.require_words("curriculum.difficulty", WITHOUT_WORDS)


def sentence_length(text: TrainingText) -> NDArray[np.float64]:
    """Words per sentence. Examples all have the same number of tokens, so their own length says nothing."""
    return np.array([len(words(one)) / sentence_count(one) for one in texts_with_words(text)])


def word_rarity(text: TrainingText) -> NDArray[np.float64]:
    """-sum log p(word) over the words of an example, p the word's share of the corpus (Platanios et al., section 3)."""
    counts: Counter[str] = Counter()
    for one in texts_with_words(text):
        counts.update(words(one))
    total = sum(counts.values())
    log_share = {word: math.log(count / total) for word, count in counts.items()}
    return np.array([-sum(log_share[word] for word in words(one)) for one in texts(text)])


def compressed_share(text: TrainingText) -> NDArray[np.float64]:
    """Bytes after DEFLATE (level 9) per byte before: low where text repeats itself."""
    shares = []
    for one in texts(text):
        raw = one.encode()
        shares.append(len(zlib.compress(raw, 9)) / max(1, len(raw)))
    return np.array(shares)


def syllables(word: str) -> int:
    """Groups of vowels, but not a silent final e; at least one. English; elsewhere a rough number.

    >>> [syllables(word) for word in ("the", "make", "table", "alice", "wonderland")]
    [1, 1, 2, 2, 3]
    """
    count = len(_VOWELS.findall(word))
    if word.endswith("e") and not word.endswith(("le", "ee")) and count > 1:
        count -= 1
    return max(1, count)


def flesch_reading_ease(text: str) -> float:
    """206.835 - 1.015 words per sentence - 84.6 syllables per word (Flesch 1948); 0 to 100 for ordinary text.

    >>> round(flesch_reading_ease("The cat sat on the mat."), 1)
    116.1
    """
    found = words(text)
    if not found:
        return 0.0
    per_word = sum(map(syllables, found)) / len(found)
    return 206.835 - 1.015 * len(found) / sentence_count(text) - 84.6 * per_word


def unreadability(text: TrainingText) -> NDArray[np.float64]:
    """Minus the Flesch reading ease; a :class:`UserError` for a corpus in other than Latin letters."""
    scripts = ScriptCount()
    found = []
    for one in texts(text):
        scripts.add(one)
        found.append(-flesch_reading_ease(one))
    scripts.require_latin("curriculum.difficulty", WITHOUT_WORDS)
    return np.array(found)


TEXT_DIFFICULTIES = (
    Difficulty("length", "Words per sentence.", sentence_length, PLATANIOS, version=2),
    Difficulty("rarity", "Minus the log-frequencies of the words, summed.", word_rarity, PLATANIOS, version=2),
    Difficulty("compression", "Bytes after compression per byte before.", compressed_share),
    Difficulty(
        "readability",
        "Minus the Flesch reading ease.",
        unreadability,
        FLESCH,
        version=2,
    ),
)


# -- what surprises -------------------------------------------------------------------------------------------------

#: Weights of the orders 1, 2 and 3 (Jelinek and Mercer 1980). Only ranks matter, and they change little with these.
ORDER_WEIGHTS = (0.1, 0.3, 0.6)


def unigram_perplexity(text: TrainingText) -> NDArray[np.float64]:
    """exp(-mean log p(token)) with p the token's share of the corpus: CLIMB's n-gram perplexity with its n = 1."""
    counts_V = np.bincount(text.blocks_XT.reshape(-1), minlength=text.vocabulary).astype(np.float64)
    log_share_V = np.log(np.maximum(counts_V, 1.0) / counts_V.sum())
    return np.asarray(np.exp(-log_share_V[text.blocks_XT].mean(axis=1)))


def ngram_perplexity(tokens_XT: NDArray[np.integer[Any]], symbols: int) -> NDArray[np.float64]:
    """Perplexity under a trigram model of the rest of the corpus.

    p = 0.1 p1 + 0.3 p2 + 0.6 p3, each a share of counts from which the occurrence at hand is left out; otherwise a
    text would be predicted by itself, and rare texts best of all. p1 has one more count for every symbol. Contexts do
    not cross the border of an example.
    """
    tokens_XT = tokens_XT.astype(np.int64)
    total = tokens_XT.size
    count1_XT = np.bincount(tokens_XT.reshape(-1), minlength=symbols)[tokens_XT]
    p_XT = ORDER_WEIGHTS[0] * count1_XT / (total - 1 + symbols)  # (count - 1) + 1 of (total - 1) + symbols
    context_XT = np.zeros_like(tokens_XT)
    for order in (2, 3):
        # The context of place t is the context of place t - 1, extended by the token there.
        previous_XT = np.zeros_like(context_XT)
        previous_XT[:, 1:] = context_XT[:, :-1] * symbols + tokens_XT[:, :-1]
        context_XT = _numbered(previous_XT)
        inside_XT = np.zeros(tokens_XT.shape, dtype=bool)
        inside_XT[:, order - 1 :] = True
        seen_XT = _counts(context_XT * symbols + tokens_XT, inside_XT) - 1.0
        context_count_XT = _counts(context_XT, inside_XT) - 1.0
        share_XT = np.divide(seen_XT, context_count_XT, out=np.zeros(p_XT.shape), where=context_count_XT > 0)
        p_XT += ORDER_WEIGHTS[order - 1] * np.where(inside_XT, share_XT, 0.0)
    return np.asarray(np.exp(-np.log(p_XT).mean(axis=1)))


def _numbered(keys_XT: NDArray[np.int64]) -> NDArray[np.int64]:
    """Equal keys as equal small numbers, so that longer contexts still fit into 64 bits."""
    return np.asarray(np.unique(keys_XT, return_inverse=True)[1]).reshape(keys_XT.shape)


def _counts(keys_XT: NDArray[np.int64], inside_XT: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How often each key stands inside; 1 outside."""
    counts_XT = np.ones(keys_XT.shape)
    _, place_K, count_K = np.unique(keys_XT[inside_XT], return_inverse=True, return_counts=True)
    counts_XT[inside_XT] = count_K[place_K]
    return counts_XT


def token_ngram_perplexity(text: TrainingText) -> NDArray[np.float64]:
    """:func:`ngram_perplexity` of the tokens."""
    return ngram_perplexity(np.asarray(text.blocks_XT), text.vocabulary)


def pos_perplexity(text: TrainingText) -> NDArray[np.float64]:
    """:func:`ngram_perplexity` of the parts of speech; a :class:`UserError` for a corpus without tags."""
    if text.tags_XT is None:
        raise UserError("field 'curriculum.difficulty': pos-perplexity needs a corpus with tags (docs/curriculum.md)")
    tags_XT = text.tags_XT.astype(np.int64) + 1
    return ngram_perplexity(tags_XT, int(tags_XT.max()) + 1)


NGRAM_DIFFICULTIES = (
    Difficulty(
        "unigram-perplexity",
        "Perplexity under the tokens' own frequencies.",
        unigram_perplexity,
        CLIMB,
    ),
    Difficulty("ngram-perplexity", "Perplexity under a trigram model of the rest.", token_ngram_perplexity),
    Difficulty("pos-perplexity", "Trigram perplexity of the parts of speech, where tags are given.", pos_perplexity),
)


# -- where a text comes from ----------------------------------------------------------------------------------------

#: BabyLM's parts from speech to writing, by their names of 2023 and, where those differ, of 2024 and later.
SPOKEN_FIRST = {
    "aochildes": 1,
    "childes": 1,
    "bnc_spoken": 2,
    "switchboard": 2,
    "open_subtitles": 3,
    "qed": 3,
    "cbt": 4,
    "children_stories": 4,
    "simple_wikipedia": 5,
    "simple_wiki": 5,
    "wikipedia": 6,
    "gutenberg": 6,
}

#: BabyLM's parts from edited to spontaneous language.
GRAMMATICAL_FIRST = {
    "cbt": 1,
    "children_stories": 1,
    "simple_wikipedia": 2,
    "simple_wiki": 2,
    "wikipedia": 3,
    "gutenberg": 3,
    "open_subtitles": 4,
    "bnc_spoken": 5,
    "switchboard": 5,
    "qed": 6,
    "aochildes": 6,
    "childes": 6,
}


def file_number(text: TrainingText) -> NDArray[np.float64]:
    """The place in the list of corpus files of the one that most tokens of an example come from."""
    return np.asarray(text.sources_X, dtype=np.float64)


#: What may follow a part's name besides the last suffix: its split, its format, a compression.
_ENDINGS = re.compile(r"(?:\.(?:train|dev|test|txt|jsonl|json|parquet))+$")


def ranked_source(ranks: Mapping[str, int], text: TrainingText) -> NDArray[np.float64]:
    """The rank of the example's corpus file; a :class:`UserError` names a file that has none."""
    of_file = []
    for name in text.source_names:
        key = _ENDINGS.sub("", name.lower()).replace("-", "_")
        if key not in ranks:
            raise UserError(
                f"field 'corpus': {name!r} has no place in this order; name the files {', '.join(sorted(ranks))}, "
                "or use difficulty 'file', the order in which they are listed"
            )
        of_file.append(ranks[key])
    return np.asarray(np.asarray(of_file, dtype=np.float64)[text.sources_X])


def document_score(sign: float, text: TrainingText) -> NDArray[np.float64]:
    """``sign`` times the score that documents carry; a :class:`UserError` for a corpus whose documents have none."""
    if text.document_scores_X is None:
        raise UserError(
            "field 'curriculum.difficulty': document-score needs a corpus of records with a number each; score_field "
            "names it"
        )
    return sign * text.document_scores_X


def all_alike(text: TrainingText) -> NDArray[np.float64]:
    """The same number for every example: a pool holds them all, until a model has ranked them."""
    return np.ones(len(text.blocks_XT))


def random_number(text: TrainingText) -> NDArray[np.float64]:
    """A fixed random number per example."""
    return np.random.default_rng(0).random(len(text.blocks_XT))


SOURCE_DIFFICULTIES = (
    Difficulty("file", "Corpus files in the order in which they are listed.", file_number),
    Difficulty(
        "document-score", "The field score_field of each document, the lowest first.", partial(document_score, 1.0)
    ),
    Difficulty("document-score-highest-first", "The same, the highest first.", partial(document_score, -1.0)),
    Difficulty("source-spoken-first", "BabyLM's parts, speech first.", partial(ranked_source, SPOKEN_FIRST), CLIMB),
    Difficulty(
        "source-grammatical-first",
        "BabyLM's parts, edited text first.",
        partial(ranked_source, GRAMMATICAL_FIRST),
        CLIMB,
    ),
    Difficulty("all-alike", "Every example the same.", all_alike, CLIMB),
    Difficulty("random", "A fixed random number.", random_number),
)
