"""Questions as words, for comparing them: columns at a time, so that a quarter million cost seconds.

    "What's the man doing, after 3.5 s?"      what s the man doing after 3 5 s
    trigrams                                  what s the | s the man | the man doing | ...

Capitals, punctuation, width and spelling variants of one character make no difference; signs (+, -, %) do. A Chinese or
Japanese character is a word. A text of fewer than three words is one piece.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

SHINGLE_WORDS = 3
UNKNOWN = 0
"""Hash of what is not known (no truth, no medium): equal to nothing."""
_PUNCTUATION = r"""[\s.,;:!?"'`()\[\]{}<>…、。，；：！？“”‘’「」《》（）]+"""
_CHARACTER = r"([\p{Han}\p{Hiragana}\p{Katakana}])"
_LABEL = r"^\s*\(?[A-Z][.):]\)?\s*(\S)"
_ANSWER = r"(?s)^\s*<answer>\s*(.*?)\s*</answer>\s*$"
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)

Hashes = NDArray[np.uint64]


class Asked(NamedTuple):
    """What rows ask, each as a number; equal numbers mean the same."""

    texts: Hashes
    """Words of the question."""
    options: Hashes
    """Set of the options' words, in any order."""
    truths: Hashes
    """Words of the true answer, of the true option for multiple choice."""


class Shingles(NamedTuple):
    """Pieces of texts: those of text i are `hashes[starts[i]:starts[i + 1]]`, distinct, ascending."""

    hashes: Hashes
    starts: NDArray[np.int64]

    def of(self, text: int) -> Hashes:
        """Pieces of one text."""
        return self.hashes[self.starts[text] : self.starts[text + 1]]


def asked(problems: pa.Array, options: pa.Array, solutions: pa.Array, is_choice: NDArray[np.bool_]) -> Asked:
    """Rows of a batch.

    Args:
        problems: questions, text.
        options: lettered, lists of text.
        solutions: `<answer>truth</answer>`, text.
        is_choice: whether the truth is the letter of an option.
    """
    texts = hashed(plain(problems))
    starts = options.offsets.to_numpy()
    flat = options.values.slice(starts[0], starts[-1] - starts[0])
    starts = starts - starts[0]
    listed = hashed(plain(pc.replace_substring_regex(flat, _LABEL, r"\1")))
    sums = np.concatenate([[np.uint64(0)], np.cumsum(listed, dtype=np.uint64)])
    truth = pc.replace_substring_regex(solutions, _ANSWER, r"\1")
    truths = hashed(plain(truth))
    if is_choice.any():
        first = pc.utf8_slice_codeunits(truth, 0, 1).to_pylist()
        places = np.array([ord(letter) - ord("A") if letter else -1 for letter in first])
        named = is_choice & (places >= 0) & (places < np.diff(starts))
        truths[named] = listed[starts[:-1][named] + places[named]]
    return Asked(texts, sums[starts[1:]] - sums[starts[:-1]], truths)


def plain(texts: pa.Array) -> pa.Array:
    """Texts as lower-case words with one space between them."""
    if not pc.all(pc.string_is_ascii(texts)).as_py():
        texts = pc.utf8_normalize(texts, form="NFKC")
        texts = pc.replace_substring_regex(texts, _CHARACTER, r" \1 ")
    lower = pc.utf8_lower(texts)
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(lower, _PUNCTUATION, " "))


def hashed(texts: pa.Array) -> Hashes:
    """A number for each text; UNKNOWN for an empty one."""
    values = np.asarray(texts.to_numpy(zero_copy_only=False), dtype=object)
    numbers: Hashes = pd.util.hash_array(values, categorize=False)
    numbers[numbers == UNKNOWN] = 1
    numbers[pc.equal(pc.utf8_length(texts), 0).to_numpy(zero_copy_only=False)] = UNKNOWN
    return numbers


def shingles(problems: pa.Array, salts: Hashes | None = None) -> Shingles:
    """Word trigrams of questions.

    Args:
        problems: questions, text.
        salts: a number for each question; those of different numbers have no piece in common. None: all may.
    """
    words = pc.utf8_split_whitespace(plain(problems))
    starts = words.offsets.to_numpy().astype(np.int64)
    encoded = words.values.dictionary_encode()
    known = hashed(encoded.dictionary)
    flat = known[encoded.indices.to_numpy()] if len(known) else np.zeros(0, np.uint64)
    counts = np.diff(starts)
    rows, numbers = [], []
    long = counts >= SHINGLE_WORDS
    if long.any():
        begins = np.ones(len(flat), dtype=bool)
        for back in range(1, SHINGLE_WORDS):
            ends = starts[1:][counts >= back] - back
            begins[ends] = False
        places = np.flatnonzero(begins)
        numbers.append(sum(flat[places + step] * _FACTORS[step] for step in range(SHINGLE_WORDS)))
        rows.append(np.repeat(np.arange(len(counts)), np.maximum(counts - SHINGLE_WORDS + 1, 0)))
    short = np.flatnonzero(~long)
    numbers.append(hashed(plain(problems.take(pa.array(short)))))
    rows.append(short)
    row, number = np.concatenate(rows), np.concatenate(numbers)
    if salts is not None:
        number = (number ^ salts[row]) * _FACTORS[0]
    return _sorted(row, number, len(counts))


def _sorted(row: NDArray[np.int64], number: Hashes, count: int) -> Shingles:
    """Distinct pieces of each text in order."""
    order = np.lexsort((number, row))
    row, number = row[order], number[order]
    if len(row):
        is_new = np.concatenate([[True], (row[1:] != row[:-1]) | (number[1:] != number[:-1])])
        row, number = row[is_new], number[is_new]
    starts = np.searchsorted(row, np.arange(count + 1))
    return Shingles(number, starts.astype(np.int64))
