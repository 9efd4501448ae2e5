"""Formulas of every objective, one prompt at a time; and what all of them have in common."""

import importlib
import math
import pkgutil
import random

import pytest
import torch

from tasks.grpo import objectives
from tasks.grpo.data import frame_order
from tasks.grpo.objectives import Asks, Contrast, Evidence
from tasks.grpo.objectives.arrow import Arrow, word_f1
from tasks.grpo.objectives.base import Objective, mean_over_views
from tasks.grpo.objectives.exchange import Exchange, agreement, deviations
from tasks.grpo.objectives.grpo import PlainGrpo
from tasks.grpo.objectives.ktr import Ktr
from tasks.grpo.objectives.logprob import LogProb, order_share, token_weights
from tasks.grpo.objectives.papo import Papo
from tasks.grpo.objectives.permuted import Permuted
from tasks.grpo.objectives.perturbations import Freeze, Mirror, OneFrame, Perturbation, Reverse, Shuffle
from tasks.grpo.objectives.taro import Taro
from tasks.grpo.objectives.tgrpo_advantage import TgrpoAdvantage
from tasks.grpo.objectives.tgrpo_reward import TgrpoReward
from tasks.grpo.objectives.unlikely import Unlikely

KINDS = [kind for kind in Objective.__subclasses__() if kind.__module__.startswith("tasks.")]
LN2 = math.log(2)
HALF = 0.15
"""Bonus of an answer that loses half its probability, with alpha 0.3 and nats 1."""


def evidence(accuracy, perturbed=(), drops=None):
    texts = [""] * len(accuracy)
    return Evidence(accuracy, texts, perturbed, [""] * len(perturbed), drops and [[-1.0]] * len(accuracy), drops)


# What all have in common.


def test_every_file_is_a_kind_that_may_be_chosen():
    files = {info.name for info in pkgutil.iter_modules(objectives.__path__)} - {"base", "perturbations"}
    assert {kind.model_fields["kind"].default for kind in KINDS} == files
    assert set(objectives.Choice.__origin__.__args__) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_says_formula_source_cost_and_departures(kind):
    head = importlib.import_module(kind.__module__).__doc__
    assert [word for word in ("Formula:", "Source:", "Cost:", "Departures:") if word not in head] == []
    assert all(field.description for name, field in kind.model_fields.items() if name != "kind")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nothing_compared_adds_nothing(kind):
    """An image, or a clip too short to be perturbed."""
    assert kind().terms(evidence([1.0, 0.0])) is None


@pytest.mark.parametrize(
    ("perturbation", "order"),
    [
        pytest.param(Shuffle(), {2, 0, 3, 1}, id="a shuffle shows every frame"),
        pytest.param(Reverse(), [3, 2, 1, 0], id="reverse"),
    ],
)
def test_frame_order(perturbation, order):
    found = frame_order(perturbation, 4, seed=0)
    assert (set(found) if isinstance(order, set) else found) == order != [0, 1, 2, 3]


def test_what_is_no_order_of_the_frames_has_none():
    assert [frame_order(each, 4, seed=0) for each in (Freeze(), OneFrame(), Mirror())] == [None] * 3


def test_a_perturbation_without_a_view_is_an_error():
    class Other(Perturbation):
        kind: str = "other"

    with pytest.raises(ValueError, match="no view for Other"):
        frame_order(Other(), 4, seed=0)


# grpo, tgrpo_reward, tgrpo_advantage.


def test_plain_grpo_asks_for_nothing():
    assert PlainGrpo().asks() == Asks()
    assert PlainGrpo().terms(evidence([1, 0], [0, 0], [[[1.0], [2.0]]])) is None


def test_papo_pays_nobody_and_asks_for_the_other_view_in_the_update():
    assert Papo(gamma=0.02).asks() == Asks((Shuffle(),), contrast=Contrast(0.02, 10.0))
    assert Papo().terms(evidence([1, 0], [0, 0], [[[1.0], [2.0]]])) is None


@pytest.mark.parametrize(
    ("objective", "ordered", "perturbed", "expected"),
    [
        pytest.param(TgrpoReward(), [1, 0, 1, 0], [0, 0], [0.3, 0, 0.3, 0], id="correct completions are paid"),
        pytest.param(TgrpoReward(), [1, 0, 0, 0, 0], [0, 0, 0, 1], [0.3, 0, 0, 0, 0], id="p = 0.8 p~ is enough"),
        pytest.param(TgrpoReward(mu=1), [1, 0, 0, 0, 0], [0, 0, 0, 1], [0] * 5, id="not with mu = 1"),
        pytest.param(TgrpoReward(), [1, 0, 0, 0], [1, 0], [0, 0, 0, 0], id="p under 0.8 p~ pays nobody"),
        pytest.param(TgrpoReward(), [0, 0], [0, 0], [0, 0], id="p = p~ = 0 pays nobody"),
        pytest.param(TgrpoReward(), [0.1, 0.2], [0, 0], [0, 0.3], id="0.1 is not above 0.1"),
        pytest.param(TgrpoAdvantage(), [1, 0, 1, 0], [0, 0], [0.15, 0, 0.15, 0], id="scaled by the gap"),
        pytest.param(TgrpoAdvantage(), [1, 0], [1, 1], [0, 0], id="no fine for a negative gap"),
        pytest.param(TgrpoAdvantage(), [1, 1], [0, 1], [0.15, 0.15], id="survives without variance"),
    ],
)
def test_group_contrast(objective, ordered, perturbed, expected):
    terms = objective.terms(evidence(ordered, perturbed))
    paid, nothing = (terms.reward, terms.advantage) if isinstance(objective, TgrpoReward) else terms[1::-1]
    assert paid == pytest.approx(expected) and not any(nothing)
    assert terms.bonus == paid and terms.paid == any(expected) and terms.token_weights is None
    assert objective.asks() == Asks((Shuffle(),), 4)


# logprob.


@pytest.mark.parametrize(
    ("drop", "nats", "share"),
    [
        pytest.param(0.0, 1.0, 0.0, id="order does not matter"),
        pytest.param(-5.0, 1.0, 0.0, id="likelier when shuffled: no fine"),
        pytest.param(math.log(2), 1.0, 0.5, id="half of the probability lost"),
        pytest.param(1000.0, 1.0, 1.0, id="a long completion earns no more than all"),
        pytest.param(10.0, 10.0, 1 - 1 / math.e, id="at nats, 63 percent"),
    ],
)
def test_order_share(drop, nats, share):
    assert order_share([drop], nats) == [pytest.approx(share)]


@pytest.mark.parametrize(
    ("drops", "share", "weights"),
    [
        pytest.param([math.log(2), 0.0], 1.0, [2.0, 0.0], id="all to the token that order decides"),
        pytest.param([math.log(2), 0.0], 0.5, [1.5, 0.5], id="half stays where it was"),
        pytest.param([-math.log(2), math.log(2)], 1.0, [1.0, 1.0], id="a word likelier when shuffled hangs on it too"),
        pytest.param([0.0, 0.0, 0.0], 1.0, [1.0, 1.0, 1.0], id="order decides nothing"),
        pytest.param([1e-3, 0.0], 1.0, [1.0, 1.0], id="noise is no reliance"),
        pytest.param([], 1.0, [], id="an empty completion"),
    ],
)
def test_token_weights(drops, share, weights):
    assert token_weights(drops, nats=1.0, share=share) == pytest.approx(weights)


@pytest.mark.parametrize(
    ("accuracy", "drops", "centred", "bonus"),
    [
        pytest.param([1, 1, 0], [LN2, 0.0, 5.0], False, [HALF, 0, 0], id="only correct ones, each by its own drop"),
        pytest.param([1, 1, 0], [LN2, 0.0, 5.0], True, [HALF / 2, -HALF / 2, 0], id="what one gains another pays"),
        pytest.param([1, 1, 1], [LN2] * 3, True, [0, 0, 0], id="all hang on order alike: nothing to tell apart"),
        pytest.param([1, 1], [LN2, LN2 + 1e-3], True, [0, 0], id="a difference of rounding is none"),
        pytest.param([1, 0, 0], [LN2, 9.0, 0.0], True, [0, 0, 0], id="one correct has none to compare with"),
        pytest.param([0, 0], [LN2, 0.0], True, [0, 0], id="none correct"),
        pytest.param([1, 1], [LN2, -3.0], True, [HALF / 2, -HALF / 2], id="likelier when shuffled counts as no drop"),
    ],
)
def test_likelihood_contrast(accuracy, drops, centred, bonus):
    terms = LogProb(alpha=0.3, centred=centred).terms(evidence(accuracy, drops=[[[drop] for drop in drops]]))
    assert terms.advantage == terms.bonus == pytest.approx(bonus) and not any(terms.reward)
    assert terms.paid == any(bonus), "rows without a bonus are left out of the backward pass"


def test_several_views_are_compared_by_their_mean():
    views = [[[2 * LN2, 0.0], [0.0]], [[0.0, 0.0], [0.0]]]
    assert mean_over_views(views) == [[pytest.approx(LN2), 0.0], [0.0]]
    terms = LogProb(alpha=0.3, centred=False, perturbations=(Shuffle(), Reverse())).terms(evidence([1, 1], drops=views))
    assert terms.bonus == pytest.approx([HALF, 0.0])


def test_token_weights_are_given_only_when_asked_for():
    drops = [[[LN2, 0.0], [0.0]]]
    assert LogProb().terms(evidence([1, 1], drops=drops)).token_weights is None
    weights = LogProb(token_share=1.0).terms(evidence([1, 1], drops=drops)).token_weights
    assert weights == [pytest.approx([2.0, 0.0]), [1.0]]


# taro, ktr, arrow.


@pytest.mark.parametrize(
    ("accuracy", "drops", "expected"),
    [
        pytest.param([1, 1, 1], [[2.0], [0.0], [0.0]], [0.3, 0, 0], id="more than the group's mean"),
        pytest.param([0, 1, 1], [[2.0], [0.0], [0.0]], [0, 0, 0], id="the mean is the whole group's, wrong ones too"),
        pytest.param([1, 1], [[1.0, 1.0], [0.5]], [0.3, 0], id="means over tokens, whatever the length"),
        pytest.param([1, 1], [[1.0], [1.0]], [0, 0], id="all alike: nobody"),
    ],
)
def test_taro(accuracy, drops, expected):
    terms = Taro().terms(evidence(accuracy, drops=[drops]))
    assert terms.reward == pytest.approx(expected) and not any(terms.advantage)


def test_ktr_keeps_the_union_of_three_masks():
    drops = [[[9.0, 0, 0, 0, 0]], [[0, -9.0, 0, 0, 0]]]
    seen = Evidence([1.0], ["", ""], log_probs=[[-1.0, -1.0, -5.0, -1.0, -1.0]], drops=drops)
    terms = Ktr(ratio=0.2).terms(seen)
    assert terms.token_weights == [[1.0, 1.0, 1.0, 0.0, 0.0]], "frozen, shuffled (either way), surprising"
    assert not terms.paid


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("it moves left", "it moves left", 1.0),
        ("it moves left", "it moves right", 2 / 3),
        ("a", "b", 0.0),
        ("", "", 1.0),
    ],
    ids=["equal", "one word of three", "none", "empty"],
)
def test_word_f1(first, second, expected):
    assert word_f1(first, second) == pytest.approx(expected)


def test_arrow_pays_what_the_reversed_clip_is_not_said_of():
    seen = Evidence([1, 1, 0], ["it moves left", "it is red", "it moves up"], [0, 1], ["it moves right", "it is red"])
    assert Arrow(alpha=1.0).terms(seen).reward == pytest.approx([0.5, 1 / 3, 0.0])


# exchange, and its controls.


def totals_of(*views):
    """Drops (views, completions, one token)."""
    return [[[drop] for drop in view] for view in views]


@pytest.mark.parametrize(
    ("accuracy", "drops", "expected"),
    [
        pytest.param([1, 1, 0], totals_of([2, 0, 9], [1, 0, 9]), [0.5, -0.5, 0], id="both views agree"),
        pytest.param([1, 1, 0], totals_of([2, 0, 9], [0, 1, 9]), [0, 0, 0], id="views that disagree see noise"),
        pytest.param([1, 1, 1], totals_of([2, 0, 0], [0, 0, 0]), [0, 0, 0], id="a view of nothing agrees with none"),
        pytest.param([1, 0, 0], totals_of([2, 0, 0], [2, 0, 0]), [0, 0, 0], id="one right has none to exchange with"),
        pytest.param([1, 0.8, 1], totals_of([2, 9, 0], [2, 9, 0]), [0.5, 0, -0.5], id="half right takes no part"),
        pytest.param([1, 1], totals_of([1e-5, 0], [1e-5, 0]), [0, 0], id="rounding is no difference"),
    ],
)
def test_exchange(accuracy, drops, expected):
    terms = Exchange().terms(evidence(accuracy, drops=drops))
    assert terms.advantage == pytest.approx(expected) and not any(terms.reward)


@pytest.mark.parametrize("right", range(2, 12))
def test_no_right_completion_falls_below_a_wrong_one(right):
    """The worst case of every group of 12: one completion reads time, or all but one do."""
    accuracy = [1.0] * right + [0.0] * (12 - right)
    gap = 1 / (torch.tensor(accuracy).std() + 1e-4)
    for drops in ([2.0] + [0.0] * 11, [0.0] + [2.0] * 11):
        pay = Exchange().terms(evidence(accuracy, drops=totals_of(drops, drops))).advantage
        assert sum(pay) == pytest.approx(0, abs=1e-12)
        assert min(pay[:right]) + gap > 0


def long_group(decisive, tokens=400, seed=0):
    """Drops under two views of 8 right completions: noise at each token, and nats at the words that time decides.

    Args:
        decisive: nats lost at three tokens of the first four completions, which read the motion; 0 of the others.
        tokens: of a completion.
        seed: of the noise.
    """
    draw = random.Random(seed)
    views = [[[draw.gauss(0, 0.03) for _ in range(tokens)] for _ in range(8)] for _ in range(2)]
    for view in views:
        for completion in view[:4]:
            for token in (200, 210, 390):
                completion[token] += decisive
    return views


def test_long_completions_are_told_apart():
    seen = evidence([1.0] * 8, drops=long_group(decisive=4.0))
    pay = Exchange().terms(seen).advantage
    assert min(pay[:4]) > 0.3 and max(pay[4:]) < -0.3, "time readers gain, the others pay"
    assert max(map(abs, LogProb().terms(seen).advantage)) > 0, "here the sum tells them apart too"
    words_lost = [[[*tokens[:-40], *(0.5 for _ in range(40))] for tokens in view] for view in seen.drops]
    many = evidence([1.0] * 8, drops=words_lost)
    assert not any(LogProb().terms(many).advantage), "every sum saturates once all lose many words"
    pay = Exchange().terms(many).advantage
    assert min(pay[:4]) > 0.3 and max(pay[4:]) < -0.3, "units of the group's own do not"


def test_noise_of_long_completions_is_mostly_not_paid():
    paid = [
        max(map(abs, Exchange().terms(evidence([1.0] * 8, drops=long_group(0.0, seed=s))).advantage)) for s in range(40)
    ]
    assert sum(paid) / len(paid) < 0.2, "against 0.5 and more where order decides"


def test_deviations_and_agreement():
    assert deviations([1.0, 3.0]) == [-1.0, 1.0]
    assert agreement([[-1.0, 1.0], [1.0, -1.0]]) == 0.0
    assert agreement([[-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]]) == 1.0


def test_permuted_has_the_terms_of_exchange_in_another_order():
    accuracy, drops = [1, 1, 0, 1, 1], totals_of([4, 3, 9, 1, 0], [4, 3, 9, 1, 0])
    seen = evidence(accuracy, drops=drops)
    ours = Exchange().terms(seen).advantage
    dealt = [Permuted().terms(seen._replace(seed=seed)).advantage for seed in range(20)]
    assert all(sorted(each) == pytest.approx(sorted(ours)) and each[2] == 0 for each in dealt)
    assert len({tuple(each) for each in dealt}) > 5
    assert dealt[3] == Permuted().terms(seen._replace(seed=3)).advantage


def test_unlikely_fines_the_likeliest_right_completion_most():
    seen = Evidence([1, 1, 0, 1], [""] * 4, log_probs=[[-3.0], [-1.0, -1.0], [-0.5], [-2.0]], drops=[[[0.0]] * 4])
    assert Unlikely(beta=0.4).terms(seen).reward == pytest.approx([-0.1, -0.3, 0, -0.2])
