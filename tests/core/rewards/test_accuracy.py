"""Tables of (problem type, answer, truth, strict reward, robust reward); the reason is in the id."""

import math
from statistics import fmean

import pytest

from tasks.core.rewards import RULES, accuracy, unscorable
from tasks.core.rewards.measures import rouge_mean
from tasks.core.rewards.robust import parse_letter
from tasks.core.schemas.records import PROBLEM_TYPES

LETTERS = [
    pytest.param("A", "A", 1, 1, id="equal"),
    pytest.param("B", "A", 0, 0, id="wrong"),
    pytest.param(" A\n", "A", 1, 1, id="space"),
    pytest.param("(A)", "A", 0, 1, id="brackets"),
    pytest.param("A.", "A", 0, 1, id="period"),
    pytest.param("A) foo", "A", 0, 1, id="letter-and-text"),
    pytest.param("A)foo", "A", 0, 1, id="letter-and-text-tight"),
    pytest.param("(A) foo bar", "A", 0, 1, id="brackets-and-text"),
    pytest.param("A. A man walks", "A", 0, 1, id="text-begins-with-a-letter"),
    pytest.param("B. A man walks", "A", 0, 0, id="first-letter-of-the-text-is-no-choice"),
    pytest.param("a", "A", 0, 1, id="lower-case"),
    pytest.param("**A**", "A", 0, 1, id="markdown"),
    pytest.param(r"\boxed{A}", "A", 0, 1, id="latex"),
    pytest.param("Answer: A", "A", 0, 1, id="lead-in"),
    pytest.param("The correct answer is (A).", "A", 0, 1, id="sentence"),
    pytest.param("Option A", "A", 0, 1, id="option"),
    pytest.param("A man walks", "A", 0, 0, id="letter-begins-a-word"),
    pytest.param("Apple", "A", 0, 0, id="word"),
    pytest.param("A or B", "A", 0, 0, id="two-letters"),
    pytest.param("A, B", "A", 0, 0, id="list"),
    pytest.param("(A) (B)", "A", 0, 0, id="two-in-brackets"),
    pytest.param("A. or B.", "A", 0, 0, id="hedge-with-periods"),
    pytest.param("ABCD", "A", 0, 0, id="all-of-them"),
    pytest.param("", "A", 0, 0, id="empty"),
    pytest.param("", "", 1, 0, id="empty-truth-and-answer"),
    pytest.param("A. X", "A", 0, 1, id="the-option-itself-is-a-letter"),
    pytest.param("C. I", "C", 0, 1, id="the-option-is-a-roman-number"),
    pytest.param("B. A", "B", 0, 1, id="the-option-is-the-letter-of-another"),
    pytest.param("(B) A", "B", 0, 1, id="the-same-in-brackets"),
    pytest.param("B. A, C", "B", 0, 0, id="label-and-a-list-of-letters"),
    pytest.param("The answer is B because", "B", 0, 1, id="reason-cut-off"),
    pytest.param("Based on the video, the answer is B.", "B", 0, 1, id="what-it-rests-on"),
    pytest.param("In the clip, a man opens B", "B", 0, 0, id="a-sentence-that-ends-with-a-letter"),
    pytest.param("根据视频，答案是B", "B", 0, 1, id="what-it-rests-on-in-chinese"),
    pytest.param("B since it moves", "B", 0, 1, id="reason"),
    pytest.param("B is correct", "B", 0, 1, id="judgement"),
    pytest.param("The answer is A man", "A", 0, 0, id="an-article-behind-a-lead-in"),
    pytest.param("It's B", "B", 0, 1, id="it-is"),
    pytest.param("I think the answer is B", "B", 0, 1, id="i-think"),
    pytest.param("B, left", "B", 0, 1, id="comma-and-text"),
    pytest.param("B\nBecause it moves", "B", 0, 1, id="reason-on-a-line-of-its-own"),
    pytest.param("A\nB. right", "A", 0, 0, id="a-second-choice-on-a-line-of-its-own"),
    pytest.param("A\nB", "A", 0, 0, id="two-lines-two-letters"),
    pytest.param("A. left or B. right", "A", 0, 0, id="hedge-with-texts"),
    pytest.param("B - left", "B", 0, 1, id="dash"),
    pytest.param(r"\mathrm{B}", "B", 0, 1, id="latex-roman"),
    pytest.param(r"$\boxed{\text{B}}$", "B", 0, 1, id="latex-nested"),
    pytest.param("选项A", "A", 0, 1, id="chinese-option"),
    pytest.param("答案：A", "A", 0, 1, id="chinese-answer"),
    pytest.param("正确答案是A。", "A", 0, 1, id="chinese-sentence"),
    pytest.param("我选A", "A", 0, 1, id="chinese-choice"),
    pytest.param("A选项", "A", 0, 1, id="chinese-option-behind"),
    pytest.param("A、左", "A", 0, 1, id="chinese-label"),
    pytest.param("A或B", "A", 0, 0, id="chinese-hedge"),
    pytest.param("Ａ", "A", 0, 1, id="full-width"),
    pytest.param("U.S.", "U", 0, 0, id="abbreviation"),
    pytest.param("[[B]]", "B", 0, 1, id="double-brackets"),
    pytest.param("B:red", "B", 0, 1, id="colon-and-text-tight"),
    pytest.param("B; because it moves", "B", 0, 1, id="semicolon"),
    pytest.param("### Answer: B", "B", 0, 1, id="heading"),
    pytest.param("I'd go with B", "B", 0, 1, id="i-would-go-with"),
    pytest.param("Choose option B", "B", 0, 1, id="imperative"),
    pytest.param("B (left)", "B", 0, 1, id="text-in-brackets"),
    pytest.param("B – left", "B", 0, 1, id="long-dash"),
    pytest.param("B -> left", "B", 0, 1, id="arrow"),
    pytest.param("The answer must be B", "B", 0, 1, id="must-be"),
    pytest.param("The correct answer to the question is B.", "B", 0, 1, id="answer-to-the-question"),
    pytest.param("Sure! The answer is B.", "B", 0, 1, id="politeness"),
    pytest.param("B\u200b", "B", 0, 1, id="zero-width-space"),
    pytest.param(r"\fbox{B}", "B", 0, 1, id="latex-frame"),
    pytest.param("B是正确的", "B", 0, 1, id="chinese-judgement"),
    pytest.param("本题选B", "B", 0, 1, id="chinese-question-choice"),
    pytest.param("我认为是B", "B", 0, 1, id="chinese-opinion"),
    pytest.param("【B】", "B", 0, 1, id="chinese-brackets"),
    pytest.param("B 左", "B", 0, 1, id="letter-and-chinese-text"),
    pytest.param("A、B", "A", 0, 0, id="chinese-list"),
    pytest.param("A. left\nB. right\nC. up", "A", 0, 0, id="all-options-repeated"),
    pytest.param("A. left, B. right", "A", 0, 0, id="two-options-with-a-comma"),
    pytest.param("A) left B) right", "A", 0, 0, id="two-options-in-a-row"),
    pytest.param("(A) left (B) right", "A", 0, 0, id="two-options-in-brackets"),
    pytest.param("A. John B. Smith", "A", 0, 1, id="initial-in-the-text"),
    pytest.param("A. Hepatitis (B)", "A", 0, 1, id="letter-ends-the-text"),
    pytest.param("B. Plan B: run", "B", 0, 1, id="the-same-letter-again"),
    pytest.param("A (B)", "A", 0, 0, id="second-letter-in-brackets"),
    pytest.param("T-shirt", "T", 0, 0, id="letter-with-a-hyphen"),
    pytest.param("It moves left. The answer is B.", "B", 0, 1, id="reason-before-the-answer"),
    pytest.param("A man turns left, and the answer is (B)", "B", 0, 1, id="an-article-in-the-reason-before"),
    pytest.param("球向左。所以答案是B", "B", 0, 1, id="chinese-reason-before-the-answer"),
    pytest.param("A is wrong, the answer is B", "B", 0, 0, id="another-letter-in-the-reason-before"),
    pytest.param("The answer is A. The answer is B", "B", 0, 0, id="two-answers"),
    pytest.param("It moves left, the answer is not B", "B", 0, 0, id="denied-behind-a-reason"),
    pytest.param("- B", "B", 0, 1, id="list-mark"),
    pytest.param("B...", "B", 0, 1, id="three-dots"),
    pytest.param("B—left", "B", 0, 1, id="dash-without-spaces"),
    pytest.param("B\tleft", "B", 0, 1, id="tab-and-text"),
    pytest.param("Clearly, B", "B", 0, 1, id="adverb"),
    pytest.param("The answer seems to be B", "B", 0, 1, id="seems-to-be"),
    pytest.param("We choose B", "B", 0, 1, id="we-choose"),
    pytest.param("Result: B", "B", 0, 1, id="another-word-for-answer"),
    pytest.param("B rather than A", "B", 0, 1, id="rather-than"),
    pytest.param("B would be correct", "B", 0, 1, id="would-be-correct"),
    pytest.param("\u202aB\u202c", "B", 0, 1, id="direction-marks"),
    pytest.param("《B》", "B", 0, 1, id="chinese-angle-brackets"),
]
NUMBERS = [
    pytest.param("42", "42", 1, 1, id="equal"),
    pytest.param("42.0", "42", 0, 1, id="decimal-zero"),
    pytest.param("1,000", "1000", 0, 1, id="thousands"),
    pytest.param("7,243,000", "7,243,000", 1, 1, id="millions"),
    pytest.param("12.974", "12.97", 1, 1, id="two-decimals"),
    pytest.param("12.98", "12.97", 0, 0, id="second-decimal-differs"),
    pytest.param("0.001", "0.004", 1, 0, id="small-numbers-round-to-the-same"),
    pytest.param("0.05", "0.05", 1, 1, id="small-equal"),
    pytest.param("0", "0", 1, 1, id="zero"),
    pytest.param("-3", "3", 0, 0, id="sign"),
    pytest.param("−3", "-3", 0, 1, id="unicode-minus"),
    pytest.param("5 %", "5", 0, 1, id="percent"),
    pytest.param("0.05", "5 %", 0, 0, id="percent-is-not-converted"),
    pytest.param("$5", "5", 0, 1, id="currency"),
    pytest.param("5 cm", "5", 0, 1, id="unit"),
    pytest.param("5 m²", "5", 0, 1, id="unit-with-power"),
    pytest.param("3/4", "0.75", 0, 1, id="fraction"),
    pytest.param("1 1/2", "1.5", 0, 1, id="mixed-fraction"),
    pytest.param(r"\frac{3}{4}", "0.75", 0, 1, id="latex-fraction"),
    pytest.param(r"$\dfrac{-3}{4}$", "-0.75", 0, 1, id="latex-negative-fraction"),
    pytest.param("1/0", "1", 0, 0, id="division-by-zero"),
    pytest.param("1e3", "1000", 1, 1, id="exponent"),
    pytest.param("1e999", "1e999", 1, 0, id="overflow-is-infinite"),
    pytest.param("inf", "inf", 1, 0, id="infinity"),
    pytest.param("nan", "nan", 0, 0, id="nan"),
    pytest.param("1_000", "1000", 1, 0, id="underscore-is-python-only"),
    pytest.param("3 or 4", "3", 0, 0, id="two-numbers"),
    pytest.param("3, 4", "34", 0, 0, id="list-is-no-number"),
    pytest.param("1,5", "15", 0, 0, id="comma-not-in-threes"),
    pytest.param("three", "3", 0, 0, id="word"),
    pytest.param("", "3", 0, 0, id="empty"),
    pytest.param(r"\(5\)", "5", 0, 1, id="latex-inline"),
    pytest.param(r"\[5\]", "5", 0, 1, id="latex-display"),
    pytest.param("$x=5$", "5", 0, 1, id="equation"),
    pytest.param("x = -5", "-5", 0, 1, id="negative-equation"),
    pytest.param("2x = 10", "2", 0, 0, id="equation-with-a-factor"),
    pytest.param("3+2=5", "5", 0, 0, id="sum"),
    pytest.param("the answer is 5.", "5", 0, 1, id="sentence"),
    pytest.param("3 m/s^2", "3", 0, 1, id="unit-with-a-caret"),
    pytest.param(r"5\text{ m/s}^2", "5", 0, 1, id="latex-unit"),
    pytest.param("25 cm^2", "25 cm^2", 0, 1, id="unit-in-the-truth"),
    pytest.param("5 H2O", "5", 0, 1, id="digit-of-a-unit"),
    pytest.param("5 balls in 2 rows", "5", 0, 0, id="two-numbers-with-words"),
    pytest.param(r"3\times10^{5}", "300000", 0, 1, id="power-of-ten"),
    pytest.param("3 × 10⁵", "300000", 0, 1, id="raised-digits"),
    pytest.param("3x10^-2", "0.03", 0, 1, id="negative-power-of-ten"),
    pytest.param("3 x 4", "12", 0, 0, id="a-size-is-no-product"),
    pytest.param(r"\frac12", "0.5", 0, 1, id="latex-fraction-without-braces"),
    pytest.param(r"\frac{\sqrt{3}}{2}", r"\frac{\sqrt{3}}{2}", 0, 1, id="root-in-a-fraction"),
    pytest.param("1.41", r"\sqrt{2}", 0, 1, id="root"),
    pytest.param(r"2\pi", "6.28", 0, 1, id="pi"),
    pytest.param("12 000", "12000", 0, 1, id="groups-with-spaces"),
    pytest.param(r"12{,}000", "12000", 0, 1, id="latex-comma"),
    pytest.param("5 ℃", "5", 0, 1, id="degrees"),
    pytest.param(r"90^{\circ}", "90", 0, 1, id="latex-degrees"),
    pytest.param("12个", "12", 0, 1, id="chinese-counter"),
    pytest.param("１２", "12", 1, 1, id="full-width"),
    pytest.param("5 million", "5000000", 0, 1, id="million"),
    pytest.param("5 million", "5", 0, 0, id="million-is-no-unit"),
    pytest.param("2.5 hundred thousand", "250000", 0, 1, id="two-magnitudes"),
    pytest.param("3千万", "30000000", 0, 1, id="chinese-magnitudes"),
    pytest.param("1:30", "1:30", 0, 0, id="time-of-day"),
    pytest.param("5-6", "5-6", 0, 0, id="range"),
    pytest.param("ten", "ten", 0, 0, id="word-in-the-truth"),
    pytest.param("5²", "5", 0, 0, id="square"),
    pytest.param("1½", "1.5", 0, 1, id="fraction-sign"),
    pytest.param("-½", "-0.5", 0, 1, id="negative-fraction-sign"),
    pytest.param("1 and 1/2", "1.5", 0, 1, id="mixed-fraction-with-and"),
    pytest.param("5'000", "5000", 0, 1, id="swiss-groups"),
    pytest.param("1.234.567", "1234567", 0, 1, id="german-groups"),
    pytest.param("1.234,56", "1234.56", 0, 1, id="german-decimals"),
    pytest.param("1 234,5", "1234.5", 0, 1, id="french-decimals"),
    pytest.param("12,34,567", "1234567", 0, 1, id="indian-groups"),
    pytest.param("1.234", "1.234", 1, 1, id="one-period-is-a-decimal-mark"),
    pytest.param("2**3", "8", 0, 1, id="python-power"),
    pytest.param("2**3", "23", 0, 0, id="stars-between-digits-are-no-markdown"),
    pytest.param("*5*", "5", 0, 1, id="markdown-italic"),
    pytest.param('"5"', "5", 0, 1, id="quoted"),
    pytest.param("9.8 m·s⁻²", "9.8", 0, 1, id="unit-with-a-negative-power"),
    pytest.param(r"5 N\cdot m", "5", 0, 1, id="product-of-units"),
    pytest.param("5·10^6", "5000000", 0, 1, id="dot-product"),
    pytest.param("5 hundredths", "0.05", 0, 1, id="hundredths"),
    pytest.param("5 hundredths", "5", 0, 0, id="hundredths-are-no-unit"),
    pytest.param(r"5\pm1", "5", 0, 0, id="latex-plus-minus"),
    pytest.param("5 ± 1", "5", 0, 0, id="plus-minus"),
    pytest.param(r"0.\overline{3}", "0", 0, 0, id="repeating-decimal"),
    pytest.param(r"5\to6", "5", 0, 0, id="latex-range"),
    pytest.param("at least 5", "5", 0, 0, id="bound"),
    pytest.param("US$5", "5", 0, 1, id="dollar-of-a-country"),
    pytest.param(r"\$5", "5", 0, 1, id="latex-dollar"),
    pytest.param("There are 5 balls.", "5", 0, 1, id="there-are"),
    pytest.param("The number of balls is 5", "5", 0, 1, id="the-number-of"),
    pytest.param("The answer is not 5", "5", 0, 0, id="denied"),
    pytest.param("5 because 3+2=5", "5", 0, 1, id="reason"),
    pytest.param("Based on the video, there are 5 balls", "5", 0, 1, id="what-it-rests-on"),
    pytest.param("In the 3 clips, 5", "5", 0, 0, id="another-number-before"),
    pytest.param("5\nBecause 3+2=5", "5", 0, 1, id="reason-on-a-line-of-its-own"),
    pytest.param("5\nBut the answer may be 6", "5", 0, 0, id="second-answer-on-a-line-of-its-own"),
    pytest.param("5\n6", "5", 0, 0, id="two-lines-two-numbers"),
    pytest.param("共有5个", "5", 0, 1, id="chinese-there-are"),
    pytest.param("5\u200b", "5", 0, 1, id="zero-width-space"),
    pytest.param("‑5", "-5", 0, 1, id="non-breaking-hyphen"),
    pytest.param("2021-03-04", "2021", 0, 0, id="date"),
    pytest.param("5'10\"", "5", 0, 0, id="feet-and-inches"),
    pytest.param("5 " + " " * 20000 + "#", "5", 0, 0, id="long-space"),
    pytest.param(r"\sqrt{-1}", r"\sqrt{-1}", 0, 0, id="root-of-a-negative-number"),
    pytest.param(r"\sqrt[3]{-8}", "2", 0, 0, id="odd-root-of-a-negative-number"),
    pytest.param("It bounces. The answer is 5.", "5", 0, 1, id="reason-before-the-answer"),
    pytest.param("3 red, 2 blue. The answer is 5", "5", 0, 0, id="other-numbers-in-the-reason-before"),
    pytest.param("The answer is: 5", "5", 0, 1, id="is-and-colon"),
    pytest.param("approx. 5", "5", 0, 1, id="approx-with-a-period"),
    pytest.param("exactly 5", "5", 0, 1, id="exactly"),
    pytest.param("There are a total of 5 balls", "5", 0, 1, id="a-total-of"),
    pytest.param("Number of balls: 5", "5", 0, 1, id="name-and-colon"),
    pytest.param("ratio 3:5", "5", 0, 0, id="ratio"),
    pytest.param("x is 5", "5", 0, 1, id="variable-is"),
    pytest.param("It's 5", "5", 0, 1, id="it-is-in-short"),
    pytest.param("We can see 5 balls", "5", 0, 1, id="we-can-see"),
    pytest.param("minus 5", "-5", 0, 1, id="minus-as-a-word"),
    pytest.param("negative 5", "5", 0, 0, id="negative-as-a-word"),
    pytest.param("视频中共计5个", "5", 0, 1, id="chinese-total-in-the-video"),
    pytest.param("负5", "-5", 0, 1, id="chinese-minus"),
    pytest.param("￥5", "5", 0, 1, id="full-width-currency"),
    pytest.param("12k", "12000", 0, 1, id="k-for-thousand"),
    pytest.param("12 kg", "12", 0, 1, id="k-of-a-unit"),
    pytest.param("12 K", "12", 0, 1, id="kelvin"),
    pytest.param("3÷4", "0.75", 0, 1, id="division-sign"),
    pytest.param("2pi", "6.28", 0, 1, id="pi-as-a-word"),
    pytest.param(r"\sqrt{" * 1000, "1", 0, 0, id="deep"),
    pytest.param("5 " + "a^2" * 20000 + "#", "5", 0, 0, id="long"),
]
REGRESSIONS = [
    pytest.param("4", "4", 1, 1, id="equal"),
    pytest.param("3", "4", 0.75, 0.75, id="a-quarter-off"),
    pytest.param("9", "4", 0, 0, id="more-than-the-truth-off"),
    pytest.param("-4", "4", 0, 0, id="sign"),
    pytest.param("7,000", "7000", 1, 1, id="thousands"),
    pytest.param("3 m", "4", 0, 0.75, id="unit"),
    pytest.param("nan", "4", 1, 0, id="nan-is-rewarded-by-the-published-rule"),
    pytest.param("inf", "4", 0, 0, id="infinity"),
    pytest.param("0", "0", 0, 1, id="truth-zero-exact"),
    pytest.param("0.25", "0", 0, 0.75, id="truth-zero-absolute-error"),
    pytest.param("-5", "-4", 0.75, 0.75, id="negative-truth"),
    pytest.param("about 3", "4", 0, 0.75, id="about"),
    pytest.param("far", "4", 0, 0, id="word"),
    pytest.param("", "4", 0, 0, id="empty"),
]
TRANSCRIPTIONS = [
    pytest.param("stop here", "stop here", 1, 1, id="equal"),
    pytest.param("stop  \n here", "stop here", 1, 1, id="white-space"),
    pytest.param("stop there", "stop here", 0.5, 0.5, id="one-word-of-two"),
    pytest.param("Stop here", "stop here", 0.5, 0.5, id="case-counts"),
    pytest.param('"stop here"', "stop here", 0, 1, id="quoted"),
    pytest.param("ｓｔｏｐ", "stop", 0, 1, id="full-width-letters"),
    pytest.param("stop here now please yes", "stop", 0, 0, id="more-errors-than-words"),
    pytest.param("", "stop", 0, 0, id="empty"),
    pytest.param("", "", 1, 0, id="empty-truth-and-answer"),
    pytest.param("stop", "", 0, 0, id="empty-truth"),
    pytest.param("禁止停车区", "禁止停车", 0, 0.75, id="one-chinese-character-more"),
    pytest.param("禁止 停车", "禁止停车", 0, 1, id="no-space-between-chinese-characters"),
    pytest.param("stop\u200b here", "stop here", 0.5, 1, id="zero-width-space"),
    pytest.param("DON’T stop", "DON'T stop", 0.5, 1, id="curved-apostrophe"),
    pytest.param("**stop here**", "stop here", 0, 1, id="markdown"),
    pytest.param("出口 EXIT", "出口EXIT", 0, 1, id="two-scripts"),
    pytest.param("ห้ามจอดรถที่", "ห้ามจอดรถ", 0, 0.875, id="two-thai-characters-more"),
    pytest.param("«stop here»", "stop here", 0, 1, id="french-quotes"),
]
FREE_TEXTS = [
    pytest.param("the red ball", "the red ball", 1, 1, id="equal"),
    pytest.param("The red balls!", "the red ball", 1, 1, id="stem-case-and-punctuation"),
    pytest.param("ball", "ball", 2 / 3, 1, id="one-word-has-no-pairs"),
    pytest.param("red ball", "ball", (2 / 3 + 0 + 2 / 3) / 3, (2 / 3 + 0 + 2 / 3) / 3, id="two-words-for-one"),
    pytest.param("blue cube", "red ball", 0, 0, id="nothing-shared"),
    pytest.param("红色的球", "红色的球", 0, 1, id="chinese"),
    pytest.param("красный шар", "красный шар", 0, 1, id="cyrillic"),
    pytest.param("", "red", 0, 0, id="empty"),
    pytest.param("", "", 0, 0, id="both-empty"),
    pytest.param("!!", "!!", 0, 0, id="no-words"),
    pytest.param("cafe\u0301", "café", 0, 1, id="accent-as-a-character-of-its-own"),
    pytest.param("ｂａｌｌ", "ball", 0, 1, id="full-width"),
    pytest.param("की", "का", 0, 0, id="another-vowel-sign"),
    pytest.param("कुत्ता दौड़ता", "कुत्ता दौड़ता", 0, 1, id="hindi"),
    pytest.param("foot\u00adball", "football", 0, 1, id="soft-hyphen"),
]
TABLE = {
    "multiple choice": LETTERS,
    "numerical": NUMBERS,
    "regression": REGRESSIONS,
    "OCR": TRANSCRIPTIONS,
    "free-form": FREE_TEXTS,
}
CASES = [
    pytest.param(kind, *case.values, id=f"{kind}-{case.id}".replace(" ", "-"))
    for kind, cases in TABLE.items()
    for case in cases
]


@pytest.mark.parametrize(("kind", "answer", "truth", "strict", "robust"), CASES)
def test_accuracy(kind, answer, truth, strict, robust):
    completion, solution = f"<think>so</think><answer>{answer}</answer>", f"<answer>{truth}</answer>"
    for variant, expected in (("strict", strict), ("robust", robust)):
        score = accuracy(kind, completion, solution, variant)
        assert score.value == pytest.approx(expected, abs=1e-6), variant
        assert score.extracted == answer.strip()
        assert 0 <= score.value <= 1 and not math.isnan(score.value)
        assert score.parsed or score.value == 0 or variant == "strict"


def test_both_variants_know_every_type():
    assert all(set(rules) == set(PROBLEM_TYPES) for rules in RULES.values())


def test_equal_answer_and_truth_always_reach_one_in_robust():
    assert all(case.values[3] == 1 for cases in TABLE.values() for case in cases if case.id == "equal")


@pytest.mark.parametrize(
    ("completion", "extracted", "robust"),
    [
        pytest.param("B", "", 0, id="no-block-whole-text-is-not-the-answer"),
        pytest.param("<answer>B", "", 0, id="unclosed-block"),
        pytest.param("<answer>A</answer><answer>B</answer>", "A", 0, id="first-block-counts"),
        pytest.param("<answer>B</answer><answer>A</answer>", "B", 1, id="first-block-counts-when-right"),
        pytest.param("<think>the tag <answer> goes here</think><answer>B</answer>", "B", 1, id="tag-in-the-reasoning"),
        pytest.param("<think>not <answer>A</answer></think><answer>B</answer>", "B", 1, id="block-in-the-reasoning"),
        pytest.param("<answer>B</answer><think>so</think>", "B", 1, id="answer-before-the-reasoning"),
        pytest.param("<think>so</think> B", "", 0, id="no-block-behind-the-reasoning"),
    ],
)
def test_extraction(completion, extracted, robust):
    score = accuracy("multiple choice", completion, "<answer>B</answer>")
    assert (score.extracted, score.value) == (extracted, robust)


def test_strict_takes_the_first_block_wherever_it_stands():
    completion = "<think>the tag <answer> goes here</think><answer>B</answer>"
    score = accuracy("multiple choice", completion, "<answer>B</answer>", "strict")
    assert (score.extracted, score.value) == ("goes here</think><answer>B", 0.0)


@pytest.mark.parametrize("kind", PROBLEM_TYPES)
def test_a_truth_is_scorable_when_its_own_answer_reaches_one(kind):
    truths = {case.values[1] for case in TABLE[kind]} | {case.values[0].strip() for case in TABLE[kind]}
    for truth in sorted(truths):
        block = f"<answer>{truth}</answer>"
        assert (unscorable(kind, truth) is None) == (accuracy(kind, block, block).value == pytest.approx(1.0)), truth


def test_unparsed_is_told_from_wrong():
    assert accuracy("numerical", "<answer>7</answer>", "<answer>3</answer>") == (0.0, "7", True, "number")
    assert accuracy("numerical", "<answer>x</answer>", "<answer>3</answer>") == (0.0, "x", False, "not a number")
    assert accuracy("numerical", "7", "<answer>3</answer>") == (0.0, "", False, "no answer block")


@pytest.mark.parametrize(("kind", "variant"), [("ocr", "robust"), ("OCR", "lenient")])
def test_unknown_names_are_refused(kind, variant):
    with pytest.raises(ValueError, match="no rule"):
        accuracy(kind, "", "", variant)


def test_rouge_as_published_is_the_library_s_own():
    from rouge_score.rouge_scorer import RougeScorer

    library, texts = (
        RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True),
        [
            *(
                "The cats are running, running!",
                "a cat RUNS quickly",
                "",
                "flies_and-flying 12",
                "球 moves",
                "dying flies",
            ),
        ],
    )
    for truth in texts:
        for answer in texts:
            scores = library.score(truth, answer).values()
            assert rouge_mean(truth, answer) == fmean(score.fmeasure for score in scores)


def test_a_character_alone_is_read_as_in_a_longer_text():
    for character in map(chr, range(1, 0x250)):
        assert parse_letter(character) == parse_letter(f" {character} "), character
