"""Text distances: word error rate (jiwer) and ROUGE (rouge_score). Both libraries are imported at first use."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from statistics import fmean
from typing import Any

from tasks.core.text.visible import visible

_MARKS = "".join(chr(code) for code in range(0x300, 0x12000) if unicodedata.category(chr(code)).startswith("M"))
"""Vowel signs and accents behind their letter, which `re` takes for no part of a word."""
_ALONE = (
    "\u0e01-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1780-\u17d3\u3005\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
    "\U00020000-\U0003ffff"
)
"""Letters that count as words: Thai, Lao, Burmese, Khmer, Chinese, Japanese, Korean."""
_CHARACTER = re.compile(f"[{_ALONE}][{_MARKS}]*")
_WORDS = re.compile(rf"{_CHARACTER.pattern}|[^\W_{_ALONE}](?:[^\W_{_ALONE}]|[{_MARKS}])*")
_STEM_ABOVE_CHARS = 3
_STEMS_KEPT = 1 << 16


def word_error_rate(truth: str, answer: str) -> float:
    """Word-level edit distance over the number of true words (at least 1); words are split at white space."""
    import jiwer

    reference, hypothesis = truth.split(), answer.split()
    if not reference:
        return float(len(hypothesis))
    return float(jiwer.wer(" ".join(reference), " ".join(hypothesis)))


def rouge_mean(truth: str, answer: str) -> float:
    """Mean F measure of ROUGE-1, ROUGE-2 and ROUGE-L with stemming, as published; knows [a-z0-9] only."""
    scores = _ascii_scorer().score(truth, answer)
    return fmean(score.fmeasure for score in scores.values())


def rouge_mean_any_script(truth: str, answer: str) -> float:
    """`rouge_mean` over words of any script (`words`); equal to it on ASCII text.

    ROUGE-2 is left out when truth and answer are single words, which have no pairs.
    """
    scores = _any_script_scorer().score(truth, answer)
    if len(words(truth)) == 1 == len(words(answer)):
        scores = {name: score for name, score in scores.items() if name != "rouge2"}
    return fmean(score.fmeasure for score in scores.values())


def words(text: str) -> list[str]:
    """Words of any script, in lower case, unstemmed; one a character where none are spaced (`_ALONE`).

    Spelling variants of a character (Unicode NFKC) are the same, and characters that nobody sees are left out.
    """
    return _WORDS.findall(unicodedata.normalize("NFKC", visible(text)).lower())


def apart(text: str) -> str:
    """Text with spaces around every character of a script that puts none between words (`_ALONE`)."""
    return _CHARACTER.sub(r" \g<0> ", text)


@cache
def _ascii_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_Published())


@cache
def _any_script_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_Stemmed())


class _Stemmer:
    """Porter's, as RougeScorer has it (`use_stemmer`); a word that comes again is not stemmed again."""

    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer

        self.stem = lru_cache(_STEMS_KEPT)(PorterStemmer().stem)


@cache
def _stemmer() -> _Stemmer:
    return _Stemmer()


class _Published:
    """RougeScorer's own tokenizer."""

    def tokenize(self, text: str) -> list[str]:
        from rouge_score.tokenize import tokenize

        words: list[str] = tokenize(text, _stemmer())
        return words


class _Stemmed:
    """Tokenizer for RougeScorer: `words`, stemmed by its own rule (Porter, words above three characters)."""

    def tokenize(self, text: str) -> list[str]:
        stem = _stemmer().stem
        return [stem(word) if len(word) > _STEM_ABOVE_CHARS else word for word in words(text)]
