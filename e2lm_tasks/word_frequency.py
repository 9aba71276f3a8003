"""How often each word occurs in the prose of a corpus."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass

from e2lm_tasks.prose import Prose

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


@dataclass(frozen=True, slots=True)
class WordFrequency:
    """Counts of case-folded words; ``total`` is their sum."""

    counts: Counter[str]
    total: int

    @classmethod
    def of(cls, prose: Prose) -> WordFrequency:
        """The words of ``prose``."""
        counts: Counter[str] = Counter()
        for sentence in prose.sentences:
            counts.update(WORD.findall(sentence.text.casefold()))
        return cls(counts, sum(counts.values()))

    def most_frequent(self, count: int) -> frozenset[str]:
        """The ``count`` most frequent words; ties are broken by the alphabet."""
        ranked = sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return frozenset(word for word, _ in ranked[:count])

    def log_probability(self, text: str) -> float:
        """Sum over the words of ``text`` of ``ln((count + 1) / (total + types + 1))``, nats (add-one smoothing)."""
        denominator = math.log(self.total + len(self.counts) + 1)
        return sum(math.log(self.counts[word] + 1) - denominator for word in WORD.findall(text.casefold()))
