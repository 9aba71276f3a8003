"""The text tasks are made from: sentences out of files that also hold code and markup, and how often words occur."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from e2lm import UserError
from e2lm.words import WORD, ScriptCount, is_unspaced, segments, words

#: Sentences outside these bounds are headings, fragments or run-on lists more often than prose.
MIN_SENTENCE_CHARS = 30
MAX_SENTENCE_CHARS = 300
MIN_SENTENCE_WORDS = 6
#: In a script without blanks, where a letter says more.
MIN_UNSPACED_CHARS = 15

#: Words of a script without blanks have blanks between them while items are made; this one was in the text.
WRITTEN_BLANK = "\u00a0"

#: Least share of words that consist of letters: below it, formulas and version lists begin.
MIN_WORD_SHARE = 0.85

#: A line indented this much more than the one before it is the body of a term, not its continuation.
MIN_INDENT = 2

_BLANK_LINES = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
#: A block with such a line is code, a grammar, a table, a citation or a directive.
_NOT_PROSE = re.compile(
    r"^\s*(?:>>>|\.\.\.(?:\s|$)|\$ |\.\. |:[\w-]+[^:\n]*:\s|\[[^\]\n]{1,12}\] |\|.*\||\+[-=+]{3,}|@\w+\s*$)"
    r"|::=|\S[ \t]{3,}\S.*\S[ \t]{3,}\S|^\s*(?:def|class|import|return|elif|raise) .*[:(]\s*$",
    re.MULTILINE,
)
#: A line of one repeated mark underlines the heading above it.
_UNDERLINE = re.compile(r"^\s*([=\-~^\"'*+#`.:_])\1{2,}\s*$")
_LIST_MARK = re.compile(r"^\s*(?:[*+•·-]|\(?\d{1,2}[.)]|\(?[a-z]\))\s+")
#: ``name : type`` opens an entry of a numpydoc section.
_ENTRY = re.compile(r"^\s*[\w*,. ]{1,60} : \S")

_ROLE = re.compile(r":[\w:+-]{2,30}:(?=`)")
_CODE_MARKS = re.compile(r"``?([^`\n]{1,80}?)``?_{0,2}")
_EMPHASIS = re.compile(r"(?<![\w*])\*{1,2}([^*\s](?:[^*\n]{0,60}[^*\s])?)\*{1,2}(?![\w*])")

#: Corpora that were cut into tokens (WikiText) have a space before full stops and commas.
_DETACHED_MARK = re.compile(r"(?<=\w) ([.,])(?=\s|$)")

#: Blanks that only a line break put between two letters or marks of such a script.
_BROKEN_LINE = re.compile(
    r"(?<=[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]) (?=[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef])"
)
_UNSPACED_END = re.compile(r"(?<=[。！？])(?![」』）。！？])\s*")
_SENTENCE_END = re.compile(r"(?<=[.!?。！？।])[\"'”’)\]]{0,2}\s+(?=[\"'“‘(]?[^\W\d_])")
#: A full stop after one of these ends no sentence.
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|cf|vs|al|approx|resp|Fig|Figs|Eq|Eqs|Sec|Ch|No|Nos|Vol|pp|Ref|Refs|Dr|Mr|Mrs|Ms|Prof|St|Jr"
    r"|[A-Z])|\b\w\.\w)\.[\"'”’)\]]{0,2}\s*$"
)
_FORBIDDEN = re.compile(
    r"[{}<>=|\\_@#$^~`\[\]*/•�\x00-\x08\x0b-\x1f]|https?:|www\.|::|\.\.|--|…"
    r"|^(?:New|Changed|Deprecated) in version|\w\.\w(?<!\d\.\d)(?<!e\.g)(?<!i\.e)|\w\(|[:;,]$"
)
_PLAIN_WORD = re.compile(r"[(\"'“‘「『（]*[^\W\d_]+(?:['’‐-][^\W\d_]+)*[)\"'”’]*[.,;:!?、。！？」』）\u00a0]*[)\"'”’]*")
_LAST_MARK = re.compile(r"[.!?。！？।][\"'”’)]?$")
_LETTER = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence; ``source`` is the index of its text, ``run`` numbers stretches of sentences that follow on."""

    text: str
    source: int
    run: int


@dataclass(frozen=True, slots=True)
class Prose:
    """The sentences of several texts in order; no sentence occurs twice."""

    sentences: tuple[Sentence, ...]
    #: Whether the blanks between words are the text's own; see :data:`WRITTEN_BLANK`.
    has_blanks: bool = True

    def written(self, text: str) -> str:
        """``text``, made of parts of the sentences, as it is written in its script."""
        return text if self.has_blanks else text.replace(" ", "").replace(WRITTEN_BLANK, " ")

    def __len__(self) -> int:
        return len(self.sentences)

    def before(self, index: int, max_bytes: int) -> str:
        """The sentences right before ``index`` in its run, as many as fit into ``max_bytes`` of UTF-8."""
        return self._joined(index - 1, -1, max_bytes)

    def after(self, index: int, max_bytes: int) -> str:
        """Sentence ``index`` and those that follow it in its run, as many as fit into ``max_bytes`` of UTF-8."""
        return self._joined(index, 1, max_bytes)

    def _joined(self, index: int, stride: int, max_bytes: int) -> str:
        run = self.sentences[index - stride if stride < 0 else index].run
        taken: list[str] = []
        room = max_bytes
        while 0 <= index < len(self.sentences) and self.sentences[index].run == run:
            room -= len(self.sentences[index].text.encode("utf-8")) + 1
            if room < -1:
                break
            taken.append(self.sentences[index].text)
            index += stride
        return " ".join(taken[::stride])


def prose_of(texts: Sequence[str]) -> Prose:
    r"""The prose in ``texts``.

    >>> prose = prose_of(["A title\n=======\n\nThe cat sat on the old mat today. It *never* left that old mat again.\n"
    ...                   "\n>>> print(1)\n"])
    >>> [sentence.text for sentence in prose.sentences]
    ['The cat sat on the old mat today.', 'It never left that old mat again.']
    """
    has_blanks = not is_unspaced("".join(texts)) or lacking_words(texts) is not None
    split, is_sentence = (_split, is_prose) if has_blanks else (_split_unspaced, _is_unspaced_prose)
    sentences: list[Sentence] = []
    seen: set[str] = set()
    run = 0
    for source, text in enumerate(texts):
        for paragraph in _paragraphs(text):
            run += 1
            for sentence in split(paragraph):
                key = "".join(_LETTER.findall(sentence)).casefold()
                if key in seen or not is_sentence(sentence):
                    run += 1  # what follows a gap does not follow on
                    continue
                seen.add(key)
                sentences.append(Sentence(sentence, source, run))
    return Prose(tuple(sentences), has_blanks)


def lacking_words(texts: Sequence[str]) -> str | None:
    """Why words of these texts cannot be told apart, and what would help; None where they can."""
    scripts = ScriptCount()
    for text in texts:
        scripts.add(text)
    return scripts.lacks_words


def _paragraphs(text: str) -> Iterator[str]:
    for block in _BLANK_LINES.split(text.replace("\r\n", "\n").replace("\r", "\n")):
        if _NOT_PROSE.search(block):
            continue
        paragraph: list[str] = []
        indent = 0
        for line in block.split("\n"):
            mark = _LIST_MARK.match(line)
            previous, indent = indent, mark.end() if mark else len(line) - len(line.lstrip())
            if _UNDERLINE.match(line):
                paragraph = []
            elif _ENTRY.match(line):
                yield _plain(paragraph)
                paragraph = []
            elif mark or indent >= previous + MIN_INDENT:
                yield _plain(paragraph)
                paragraph = [line[mark.end() if mark else 0 :]]
            else:
                paragraph.append(line)
        yield _plain(paragraph)


def _plain(lines: Sequence[str]) -> str:
    """The lines as one, without inline markup."""
    text = _DETACHED_MARK.sub(r"\1", " ".join(" ".join(lines).split()))
    if "`" in text:
        text = _CODE_MARKS.sub(r"\1", _ROLE.sub("", text))
    if "*" in text:
        text = _EMPHASIS.sub(r"\1", text)
    return text


def _split(paragraph: str) -> Iterator[str]:
    start = 0
    for end in _SENTENCE_END.finditer(paragraph):
        if _ABBREVIATION.search(paragraph, max(start, end.end() - 16), end.end()):
            continue
        yield paragraph[start : end.end()].strip()
        start = end.end()
    yield paragraph[start:].strip()


def _split_unspaced(paragraph: str) -> Iterator[str]:
    """Sentences of a script without blanks, with blanks between their words; those in other scripts are left out."""
    for sentence in _UNSPACED_END.split(_BROKEN_LINE.sub("", paragraph)):
        if len(sentence) <= MAX_SENTENCE_CHARS and is_unspaced(sentence):
            yield " ".join(segments(sentence.strip().replace(" ", WRITTEN_BLANK)))


def _is_unspaced_prose(sentence: str) -> bool:
    return len(sentence.replace(" ", "")) >= MIN_UNSPACED_CHARS and _reads_as_prose(sentence)


def is_prose(sentence: str) -> bool:
    """Whether ``sentence`` is a whole sentence of words.

    >>> is_prose("The simple form is equivalent to the longer one.")
    True
    >>> is_prose("x = f(y) is the call that we saw before."), is_prose("and then it goes on as it did before.")
    (False, False)
    """
    return MIN_SENTENCE_CHARS <= len(sentence) <= MAX_SENTENCE_CHARS and _reads_as_prose(sentence)


def _reads_as_prose(sentence: str) -> bool:
    first = sentence.lstrip("\"'“‘(「『（")[:1]
    if first.islower() or not first.isalpha():
        return False
    if _LAST_MARK.search(sentence) is None or _FORBIDDEN.search(sentence):
        return False
    if not _closed(sentence):
        return False
    parts = sentence.split(" ")
    plain = sum(1 for word in parts if _PLAIN_WORD.fullmatch(word))
    shouted = sum(1 for word in parts if len(word) > 3 and word.isupper())
    return len(parts) >= MIN_SENTENCE_WORDS and plain >= MIN_WORD_SHARE * len(parts) and shouted * 5 <= len(parts)


def _closed(sentence: str) -> bool:
    """Whether brackets and double quotes come in pairs."""
    return (
        sentence.count("(") == sentence.count(")")
        and sentence.count('"') % 2 == 0
        and all(sentence.count(opens) == sentence.count(closes) for opens, closes in ("“”", "「」", "『』", "（）"))
    )


@dataclass(frozen=True, slots=True)
class CorpusText:
    """One text and what identifies it; ``name`` is the file name without its folder."""

    name: str
    text: str
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, name: str, text: str) -> CorpusText:
        """``text`` under ``name``.

        >>> CorpusText.of("a.txt", "abc").size_bytes
        3
        """
        raw = text.encode("utf-8")
        return cls(name, text, len(raw), sha256(raw).hexdigest())


def read_corpus(files: Sequence[Path]) -> list[CorpusText]:
    """The texts of UTF-8 files; a :class:`UserError` names the one that cannot be used."""
    texts: list[CorpusText] = []
    for file in files:
        text = _read(file)
        twin = next((other for other in texts if other.sha256 == text.sha256), None)
        if twin is not None:
            raise UserError(f"--corpus: {file} holds the same text as {twin.name}; give each text once")
        texts.append(text)
    return texts


def _read(file: Path) -> CorpusText:
    if file.is_dir():
        raise UserError(f"--corpus: {file} is a folder; give text files, for example {file}/*.txt")
    if not file.is_file():
        raise UserError(f"--corpus: {file}: no such file")
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise UserError(f"--corpus: {file} cannot be read ({error.strerror})") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"--corpus: {file} is not UTF-8 (byte {error.start} is 0x{raw[error.start]:02x}); convert it first"
        ) from error
    if not text.strip():
        raise UserError(f"--corpus: {file} is empty")
    return CorpusText(file.name, text, len(raw), sha256(raw).hexdigest())


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
        return sum(math.log(self.counts[word] + 1) - denominator for word in words(text.casefold()))
