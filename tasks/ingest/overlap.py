"""Questions that are asked twice in a table, and training questions that a benchmark holds.

    repeats, of an earlier row of the table, about the same medium by content:
        exact           the same words, options (in any order) and truth
        contradicting   the same words and options, another truth
        near            nearly the same words, the same truth
    leaks, of a held-out row:
        question        nearly the same words about the same medium
        medium          another question about the same medium
        text            nearly the same words and the same truth, about another medium

Nearly the same: the Jaccard similarity of the word trigrams (`wording.py`) reaches a bound. Pairs that reach it are all
told: two such sets share one of the few rarest pieces of each (Chaudhuri, Ganti, Kaushik 2006; Bayardo, Ma, Srikant
2007). Only pieces that more than COMMON questions share, as a template's do, are not looked up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.ingest.wording import UNKNOWN, Asked, Hashes, Shingles, shingles

COMMON = 1000
LEAST_PIECES = 3
"""A held-out question of fewer pieces (words, less two) is too short to be known by its words alone."""
REPEATS = ("exact", "contradicting", "near")
LEAKS = ("question", "medium", "text")
_PAIRS_AT_ONCE = 1 << 17
_MIX = np.uint64(0xFF51AFD7ED558CCD)

Indices = NDArray[np.int64]


class Questions(NamedTuple):
    """Rows of a table as they are compared."""

    asked: Asked
    media: Hashes
    """Content of the medium; UNKNOWN where there is none."""
    problems: pa.ChunkedArray
    """Words as written."""


class Match(NamedTuple):
    """A row and the one it repeats."""

    place: int
    other: int
    kind: str
    similarity: float


class Near(NamedTuple):
    """Pairs of texts that are nearly the same: for each left text its nearest right one, the first of equals."""

    left: Indices
    right: Indices
    similarity: NDArray[np.float64]


def repeats(rows: Questions, similarity: float) -> list[Match]:
    """Rows that repeat an earlier one, in order, each once."""
    asked, media = rows.asked, rows.media
    question = mixed(media, asked.texts, asked.options)
    first_asked, first = first_of(question), first_of(mixed(question, asked.truths))
    places = np.arange(len(media))
    is_known = (media != UNKNOWN) & (asked.texts != UNKNOWN)
    is_exact = is_known & (first != places)
    is_contrary = is_known & ~is_exact & (first_asked != places)
    matches = _matches("exact", np.flatnonzero(is_exact), first[is_exact])
    matches += _matches("contradicting", np.flatnonzero(is_contrary), first_asked[is_contrary])
    of_one = mixed(media, asked.truths)
    left = np.flatnonzero(is_known & ~is_exact & ~is_contrary & (asked.truths != UNKNOWN) & comes_twice(of_one))
    pieces = shingles(_texts(rows, left), of_one[left])
    near = nearest(pieces, pieces, similarity)
    matches += _matches("near", left[near.left], left[near.right], near.similarity)
    return sorted(matches)


def leaks(rows: Questions, held: Questions, similarity: float) -> list[Match]:
    """Rows that hold something of a held-out row, in order, each once."""
    known = np.flatnonzero(held.media != UNKNOWN)
    order = known[np.argsort(held.media[known], kind="stable")]
    sharing = np.flatnonzero((rows.media != UNKNOWN) & np.isin(rows.media, held.media[known]))
    first = order[np.searchsorted(held.media[order], rows.media[sharing])]
    near = _near(_Some(rows, sharing, rows.media), _Some(held, known, held.media), similarity)
    matches = _matches("question", near.left, near.right, near.similarity)
    others = ~np.isin(sharing, near.left)
    matches += _matches("medium", sharing[others], first[others], np.zeros(int(others.sum())))
    return sorted(matches + _text_leaks(rows, np.setdiff1d(np.arange(len(rows.media)), sharing), held, similarity))


def _text_leaks(rows: Questions, left: Indices, held: Questions, similarity: float) -> list[Match]:
    """Of the rows `left`: those with nearly the words of a held-out question, and its truth where that is known."""
    truths = held.asked.truths
    is_long = np.diff(shingles(_texts(held, np.arange(len(truths)))).starts) >= LEAST_PIECES
    true = np.flatnonzero(is_long & (truths != UNKNOWN))
    open_ = np.flatnonzero(is_long & (truths == UNKNOWN))
    among = left[np.isin(rows.asked.truths[left], truths[true])]
    matches: dict[int, Match] = {}
    for near in (
        _near(_Some(rows, among, rows.asked.truths), _Some(held, true, truths), similarity),
        _near(_Some(rows, left), _Some(held, open_), similarity),
    ):
        for match in _matches("text", near.left, near.right, near.similarity):
            matches.setdefault(match.place, match)
    return list(matches.values())


class _Some(NamedTuple):
    """Some rows of a table, told apart by a salt where there is one."""

    rows: Questions
    places: Indices
    salts: Hashes | None = None

    def pieces(self) -> Shingles:
        return shingles(_texts(self.rows, self.places), None if self.salts is None else self.salts[self.places])


def _near(some: _Some, others: _Some, similarity: float) -> Near:
    """`nearest`, by places in the tables."""
    if not len(some.places) or not len(others.places):
        return Near(some.places[:0], some.places[:0], np.zeros(0))
    near = nearest(some.pieces(), others.pieces(), similarity)
    return Near(some.places[near.left], others.places[near.right], near.similarity)


def nearest(left: Shingles, right: Shingles, similarity: float) -> Near:
    """The nearest right text of every left one that has any within the bound.

    `left` and `right` may be the same: then a text is held against those before it.

    Args:
        left: pieces of texts.
        right: pieces of texts.
        similarity: least Jaccard similarity, above 0.
    """
    pieces, counts = np.unique(right.hashes, return_counts=True)
    rare_left, rare_right = (_rarest(side, pieces, counts, similarity) for side in (left, right))
    pairs = _joined(rare_left, rare_right)
    if left is right:
        pairs = pairs[pairs[:, 1] < pairs[:, 0]]
    shared = _shared(left, right, pairs)
    sizes = np.diff(left.starts)[pairs[:, 0]] + np.diff(right.starts)[pairs[:, 1]]
    jaccard = shared / np.maximum(sizes - shared, 1)
    is_near = jaccard >= similarity - 1e-9
    pairs, jaccard = pairs[is_near], jaccard[is_near]
    order = np.lexsort((pairs[:, 1], -jaccard, pairs[:, 0]))
    pairs, jaccard = pairs[order], jaccard[order]
    _, best = np.unique(pairs[:, 0], return_index=True)
    return Near(pairs[best, 0], pairs[best, 1], jaccard[best])


def first_of(keys: Hashes) -> Indices:
    """Place of the first row with each row's key."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first[inverse]


def comes_twice(keys: Hashes) -> NDArray[np.bool_]:
    """Whether another row has a row's key."""
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return counts[inverse] > 1


def mixed(*columns: Hashes) -> Hashes:
    """One key of several."""
    key = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        key = (key ^ column) * _MIX
        key ^= key >> np.uint64(29)
    return key


def _rarest(side: Shingles, pieces: Hashes, counts: Indices, similarity: float) -> tuple[Hashes, Indices]:
    """(piece, text) of the rarest pieces of each text, one of which any text within the bound has as well."""
    sizes = np.diff(side.starts)
    text = np.repeat(np.arange(len(sizes)), sizes)
    place = np.minimum(np.searchsorted(pieces, side.hashes), max(len(pieces) - 1, 0))
    often = np.where(pieces[place] == side.hashes, counts[place], 0) if len(pieces) else np.zeros(len(text), int)
    order = np.lexsort((side.hashes, often, text))
    rank = np.arange(len(text)) - np.repeat(side.starts[:-1], sizes)
    wanted = sizes - np.ceil(similarity * sizes - 1e-9).astype(np.int64) + 1
    is_rare = (rank < wanted[text]) & (often[order] <= COMMON) & (often[order] > 0)
    return side.hashes[order][is_rare], text[is_rare]


def _joined(left: tuple[Hashes, Indices], right: tuple[Hashes, Indices]) -> Indices:
    """Distinct (left text, right text) that share a piece: (N, 2)."""
    order = np.argsort(right[0], kind="stable")
    pieces, texts = right[0][order], right[1][order]
    low, high = np.searchsorted(pieces, left[0], "left"), np.searchsorted(pieces, left[0], "right")
    counts = high - low
    begins = np.repeat(low - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) if len(counts) else low
    candidates = texts[begins + np.arange(int(counts.sum()))]
    pairs = np.stack([np.repeat(left[1], counts), candidates], axis=1)
    return np.unique(pairs, axis=0) if len(pairs) else pairs.astype(np.int64)


def _shared(left: Shingles, right: Shingles, pairs: Indices) -> Indices:
    """How many pieces each pair shares."""
    owner = np.repeat(np.arange(len(right.starts) - 1), np.diff(right.starts)).astype(np.uint64)
    held = np.sort(mixed(owner, right.hashes)) if len(owner) else right.hashes
    parts = [np.zeros(0, np.int64)]
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        part = pairs[start : start + _PAIRS_AT_ONCE]
        sizes = np.diff(left.starts)[part[:, 0]]
        begins = np.repeat(left.starts[part[:, 0]] - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
        pieces = left.hashes[begins + np.arange(int(sizes.sum()))]
        keys = mixed(np.repeat(part[:, 1], sizes).astype(np.uint64), pieces)
        place = np.minimum(np.searchsorted(held, keys), len(held) - 1)
        pair = np.repeat(np.arange(len(part)), sizes)
        parts.append(np.bincount(pair, weights=held[place] == keys, minlength=len(part)).astype(np.int64))
    return np.concatenate(parts)


def _texts(rows: Questions, places: Indices) -> pa.Array:
    taken = rows.problems.take(pa.array(places))
    return taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken


def _matches(kind: str, places: Indices, others: Indices, similarity: NDArray[np.float64] | None = None) -> list[Match]:
    similarity = np.ones(len(others)) if similarity is None else similarity
    return [
        Match(int(place), int(other), kind, round(float(share), 4))
        for place, other, share in zip(places, others, similarity, strict=True)
    ]
