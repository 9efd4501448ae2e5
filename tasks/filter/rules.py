"""One function per rule; each says whether an annotated row may stay.

The published filter is the reward threshold alone (0.6); the paper speaks of "basic rule-based filtering to
remove low-quality or inconsistent outputs" without numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

from tasks.core.rewards.measures import apart
from tasks.core.rewards.numbers import parse_number
from tasks.core.rewards.robust import number, parse_letter
from tasks.core.schemas.records import CotRow
from tasks.core.text import answer_of, is_well_formed, spelled, think_of
from tasks.core.text.options import LETTERS, unlettered

NGRAM_WORDS = 4
_LONGEST_WORD_CHARS = 100
_PIECE_CHARS = 10
_STATED = r"(?:answer|option|choice)\s*(?:is|:|=|should\s+be|would\s+be)"
_LED = r"(?:the\s+|my\s+)?(?:correct\s+|final\s+|right\s+)?"
_OPENS_WITH_ANSWER = re.compile(
    rf"\s*(?:so,?\s+)?{_LED}{_STATED}|\s*(?:正确)?答案(?:是|为|：|:)|\s*\(?[A-Z]\)?\s+is\s+(?:the\s+)?correct",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)|[。！？\n]")
_CONCLUDED_LETTER = re.compile(
    rf"(?i:{_STATED}\s*[:*]*\s*(?:option\s+|choice\s+)?)[:(\[*\"']*\s*((?!I\s+[a-z])[A-Z])\b(?![\w'])"
    r"|(?:答案(?:是|为|：|:)|故选|应选)\s*[：:（(]*\s*(?:选项)?([A-Z])(?![A-Za-z])"
    r"|(?i:\b(?:option|choice)\s+)\(?([A-Z])\)?\s+is\s+(?:the\s+)?(?:correct|right)\b"
)
_CONCLUDED_NUMBER = re.compile(
    rf"{_STATED}\s*[:$*]*\s*((-?\d[\d,]*(?:\.\d+)?(?:/\d+)?)(?:[^.!?;\n。；]|\.(?=\d))*)", re.IGNORECASE
)
_CONCLUDING = ("answer", "option", "choice", "答案", "故选", "应选")
"""Words of which every conclusion begins with one."""
_REFUSAL = re.compile(
    r"\bI(?:'m| am)? (?:cannot|can't|can not|unable to|not able to)"
    r"(?! (?:help but|help noticing|rule out|be (?:sure|wrong)))"
    r"|\bI do(?:n't| not) (?:know|have (?:access|enough))|\bI(?:'m| am) sorry\b|\bno way to (?:know|tell)"
    r"|\bas an? (?:AI|(?:large )?language model)\b"
    r"|\b(?:cannot|can't|can not|impossible to|not possible to)(?: be)? (?:determine|tell|answer|infer|conclude"
    r"|identif)"
    r"|\b(?:impossible|not possible) to (?:view|see|say|know)"
    r"|\bwe (?:cannot|can't|can not) (?:view|see) the (?:video|image)"
    r"|\b(?:no|without(?: the| a)?) (?:video|image|clip|picture) (?:(?:was|is|has been) )?(?:provided|given|attached)"
    r"|\b(?:video|image|clip|picture) (?:was|is|has) not (?:been )?(?:provided|given|attached|available)"
    r"|\b(?:not|n't) enough (?:information|evidence|context|detail)"
    r"|\binsufficient (?:information|evidence|context|detail)"
    r"|无法(?:确定|判断|回答|看到)|不能(?:确定|判断|回答)|我看不到|抱歉|没有(?:提供|看到)(?:视频|图)",
    re.IGNORECASE,
)
_REFUSING = (
    *("cannot", "can't", "can not", "unable", "not able", "have access", "have enough", "as an ai", "impossible"),
    *(
        "not possible",
        "provided",
        "given",
        "attached",
        "available",
        "enough ",
        "insufficient",
        "language model",
        "sorry",
    ),
    *("i don't know", "i do not know", "no way to", "无法", "不能", "看不到", "抱歉", "没有"),
)
"""Parts of which every refusal has one: looking for them is ten times as fast."""
_TIME_WORDS = re.compile(
    r"\b(?:first|second(?:s|ly)?|third|then|next|before|after(?:wards?)?|while|during|until|when|once|finally|later|earlier|"
    r"previous(?:ly)?|meanwhile|begin(?:s|ning)?|began|starts?|started|ends?|ended|ending|last|frames?|moments?|"
    r"time|times|timestamps?|sequence|order|continues?|moves?|moving|sudden(?:ly)?|initial(?:ly)?|eventual(?:ly)?|"
    r"throughout|subsequent(?:ly)?|prior|\d+(?:\.\d+)?\s*s(?:ec(?:onds?)?)?)\b|首先|然后|接着|之前|之后|最后|开始|结束|帧|秒",
    re.IGNORECASE,
)

Timed = Literal["none", "temporal", "video"]


class Sample(NamedTuple):
    """One completion of the teacher, with what the rules look at."""

    row: CotRow
    """`reward` is the one that this stage computed."""
    reasoning: str
    """Inside of the first think block; "" when there is none."""
    answer: str
    """The completion's answer; "" when there is none."""
    consistency: float
    """Share of the question's completions that give the same answer; 1 for the only one."""


Rule = Callable[[Sample], bool]
"""True when the row may stay."""


def build_rules(
    *,
    min_reward: float,
    min_think_chars: int,
    max_think_chars: int,
    max_repeat_share: float,
    min_ascii_share: float,
    reject_leaks: bool = False,
    reject_disagreement: bool = False,
    reject_refusals: bool = False,
    require_option_mention: bool = False,
    min_self_consistency: float | None = None,
    temporal_reference: Timed = "none",
) -> Mapping[str, Rule]:
    """Rules by name, in the order they are counted: a rejected row is charged to the first it breaks."""
    rules: dict[str, Rule] = {
        "unanswered": is_answered,
        "reward": partial(is_rewarded, min_reward=min_reward),
        "format": is_formed,
        "length": partial(is_of_length, least=min_think_chars, most=max_think_chars),
        "language": partial(is_in_language, min_ascii_share=min_ascii_share),
        "repetition": partial(is_not_repeating, max_repeat_share=max_repeat_share),
    }
    optional: list[tuple[str, bool, Rule]] = [
        ("leak", reject_leaks, thinks_before_it_answers),
        ("disagreement", reject_disagreement, concludes_its_answer),
        ("refusal", reject_refusals, does_not_refuse),
        ("option_mention", require_option_mention, mentions_its_option),
        ("self_consistency", min_self_consistency is not None, partial(is_consistent, least=min_self_consistency or 0)),
        ("temporal_reference", temporal_reference != "none", partial(refers_to_time, asked_of=temporal_reference)),
    ]
    return rules | {name: rule for name, is_on, rule in optional if is_on}


def sample_of(row: CotRow, consistency: float = 1.0) -> Sample:
    """A row taken apart once for all rules."""
    return Sample(row, think_of(row.completion) or "", answer_of(row.completion) or "", consistency)


def is_answered(sample: Sample) -> bool:
    """The teacher could be asked."""
    return sample.row.finish_reason != "error"


def is_rewarded(sample: Sample, *, min_reward: float) -> bool:
    """The answer is right enough."""
    return sample.row.reward > min_reward


def is_formed(sample: Sample) -> bool:
    """One think block, one answer block, nothing else, and no control token of a chat."""
    return is_well_formed(sample.row.completion) and spelled({"completion": sample.row.completion}) is None


def is_of_length(sample: Sample, *, least: int, most: int) -> bool:
    """The reasoning has least..most characters."""
    return least <= len(sample.reasoning) <= most


def is_in_language(sample: Sample, *, min_ascii_share: float) -> bool:
    """The reasoning is in Latin letters."""
    return ascii_share(sample.reasoning) >= min_ascii_share


def is_not_repeating(sample: Sample, *, max_repeat_share: float) -> bool:
    """The reasoning does not go in circles."""
    return repeat_share(sample.reasoning) <= max_repeat_share


def thinks_before_it_answers(sample: Sample) -> bool:
    """No answer stands before the reasoning, and the reasoning does not open with it and go on to defend it."""
    before, _, _ = sample.row.completion.partition("<think>")
    if "<answer>" in before or _OPENS_WITH_ANSWER.match(before):
        return False
    if not _OPENS_WITH_ANSWER.match(sample.reasoning):
        return True
    end = _SENTENCE_END.search(sample.reasoning)
    return end is None or not sample.reasoning[end.end() :].strip()


def concludes_its_answer(sample: Sample) -> bool:
    """The last letter or number that the reasoning calls the answer is the answer given; none is fine."""
    kind = sample.row.problem_type
    if kind == "multiple choice":
        start = _first_of(_CONCLUDING, sample.reasoning)
        concluded = ["".join(letters) for letters in _CONCLUDED_LETTER.findall(sample.reasoning, start)]
        return not concluded or concluded[-1] == parse_letter(sample.answer)
    if kind in ("numerical", "regression"):
        numbers = _CONCLUDED_NUMBER.findall(sample.reasoning, _first_of(_CONCLUDING, sample.reasoning))
        if not numbers:
            return True
        phrase, digits = numbers[-1]
        return number(sample.answer, digits if parse_number(phrase) is None else phrase).value == 1
    return True


def does_not_refuse(sample: Sample) -> bool:
    """Neither reasoning nor answer says that the question cannot be answered, unless an option says so."""
    if not (_refuses(sample.reasoning) or _refuses(sample.answer)):
        return True
    return any(map(_refuses, sample.row.options))


def mentions_its_option(sample: Sample) -> bool:
    """Multiple choice: the reasoning names the chosen option by its letter or its text."""
    if sample.row.problem_type != "multiple choice":
        return True
    chosen = parse_letter(sample.answer)
    if chosen is None or LETTERS.index(chosen) >= len(sample.row.options):
        return False
    text = unlettered(sample.row.options[LETTERS.index(chosen)], chosen)
    # An "A" before a word is an article, an "I" a pronoun.
    word = r"(?!\s+(?!(?:because|since|is|as|and|or)\b)[a-z])" if chosen in "AI" else ""
    letter = re.compile(rf"(?<![A-Za-z0-9_']){chosen}(?![A-Za-z0-9_']){word}")
    return bool(letter.search(sample.reasoning)) or text.casefold().rstrip(".") in sample.reasoning.casefold()


def is_consistent(sample: Sample, *, least: float) -> bool:
    """Enough of the question's completions give this answer."""
    return sample.consistency >= least


def refers_to_time(sample: Sample, *, asked_of: Timed) -> bool:
    """The reasoning speaks of time, where it has to: of every video, or of those that only frame order answers."""
    if sample.row.data_type != "video" or (asked_of == "temporal" and not sample.row.temporal):
        return True
    return _TIME_WORDS.search(sample.reasoning) is not None


def _first_of(words: Sequence[str], text: str) -> int:
    """Where the first of some lower-case words begins, in capitals or not; the end of the text when there is none.

    0 for a text of more than ASCII, whose small letters may be more than its capitals.
    """
    if not text.isascii():
        return 0
    small = text.lower()
    places = [place for word in words if (place := small.find(word)) >= 0]
    return min(places, default=len(text))


def _refuses(text: str) -> bool:
    plain = text.lower().replace("’", "'")
    for part in _REFUSING:
        if part in plain:
            return _REFUSAL.search(plain) is not None
    return False


def same_answer(kind: str, answer: str) -> str | float:
    """What two answers of one kind have in common when they are the same."""
    if kind == "multiple choice":
        return parse_letter(answer) or answer.strip()
    if kind in ("numerical", "regression"):
        value = parse_number(answer)
        return answer.strip() if value is None else value
    return " ".join(answer.casefold().split())


def ascii_share(text: str) -> float:
    """Share of ASCII among the letters; 1 for a text without letters (sums, say)."""
    if text.isascii():
        return 1.0
    letters = [character for character in text if character.isalpha()]
    return sum(map(str.isascii, letters)) / len(letters) if letters else 1.0


def repeat_share(text: str) -> float:
    """Share of the word 4-grams that stand earlier in the text already; 0 when there are none.

    A Chinese, Japanese or Korean character is a word; a word without end ("hahaha..") counts in pieces.
    """
    words = (text if text.isascii() else apart(text)).lower().split()
    if max(map(len, words), default=0) > _LONGEST_WORD_CHARS:
        words = [word[start : start + _PIECE_CHARS] for word in words for start in range(0, len(word), _PIECE_CHARS)]
    count = len(words) - NGRAM_WORDS + 1
    if count < 1:
        return 0.0
    return 1 - len(set(zip(*(words[start:] for start in range(NGRAM_WORDS)), strict=False))) / count
