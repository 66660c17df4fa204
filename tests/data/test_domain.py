"""The first domain: sizes, disjoint splits, a perfect answerer, and a judge that tells right from wrong."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from duologue.data import domain
from duologue.data.domain import facts, politeness, repeat, tables, unknown
from duologue.data.domain.judge import REQUESTS
from duologue.data.domain.splits import Held, Split, content_split, wordings_of
from duologue.errors import DataError
from duologue.lm import numbers

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
MIXES: tuple[tuple[Split, Held], ...] = (
    ("train", "none"), ("dev", "none"), ("dev", "wording"), ("dev", "content"), ("test", "none"), ("test", "wording"),
    ("test", "content"),
)  # fmt: skip
DRAWS = 700
NOT_UNDERSTOOD = "sorry i did not understand that"


def draws(split: Split, held: Held, count: int = DRAWS, seed: int = 7) -> list[domain.Exchange]:
    rng = np.random.default_rng(seed)
    return [domain.sample(rng, split, held=held) for _ in range(count)]


def test_sizes() -> None:
    assert sum(len(table.facts) for table in tables.TABLES) == facts.FACTS >= 220
    assert len(repeat.WORDS) >= 1500
    assert len(unknown.SENTENCES.wordings) >= 50
    by_category = {name: [i for i in REQUESTS if i.category == name] for name in domain.CATEGORIES}
    for name in ("plus", "minus", "times"):
        assert all(len(intent.wordings) >= 25 for intent in by_category[name])
    for name in ("counting", "sequences", "facts", "repeat"):
        assert all(len(intent.wordings) >= 10 for intent in by_category[name])
    assert sum(domain.WEIGHTS.values()) == pytest.approx(1)


def test_the_words_to_repeat_are_single_words_that_cannot_be_taken_for_commands() -> None:
    assert list(repeat.WORDS) == sorted(set(repeat.WORDS))
    assert all(re.fullmatch(r"[a-z]{2,}", word) for word in repeat.WORDS)
    framing = {"that", "this", "these", "after", "me", "the", "words", "it", "what", "again", "please"}
    assert not framing & set(repeat.WORDS)


@pytest.mark.parametrize("name", [intent.name for intent in REQUESTS])
def test_wordings_fall_on_one_side_each(name: str) -> None:
    wordings = next(intent.wordings for intent in REQUESTS if intent.name == name)
    sides = [set(wordings_of(wordings, split)) for split in SPLITS]
    assert set().union(*sides) == set(wordings)
    assert sum(map(len, sides)) == len(wordings) == len(set(wordings))


def test_every_category_has_wordings_on_every_side() -> None:
    rng = np.random.default_rng(3)
    for category in domain.CATEGORIES:
        for split in SPLITS:
            assert domain.sample(rng, split, category).reply


def all_readings(exchange: domain.Exchange) -> set[str]:
    """Every wording that a sentence could have been made by, with the same reply."""
    before = exchange.history[-1] if exchange.history else None
    found = set()
    for reading in politeness.readings(exchange.user):
        for intent in REQUESTS:
            for wording, pattern in intent.patterns:
                match = pattern.fullmatch(reading)
                said = intent.respond(match.groupdict(), before) if match else None
                if said is not None and said.reply == exchange.reply:
                    found.add(f"{intent.name}/{wording}")
    return found


@pytest.mark.parametrize("split", ["dev", "test"])
def test_no_trained_wording_makes_a_held_out_sentence(split: Split) -> None:
    trained = {f"{i.name}/{wording}" for i in REQUESTS for wording in wordings_of(i.wordings, "train")}
    for exchange in draws(split, "wording", 250):
        assert exchange.wording not in trained, exchange
        assert not all_readings(exchange) & trained, exchange


def test_operand_pairs_are_held_out_either_way_round() -> None:
    pairs = {split: {e.key for e in draws(split, "content")} for split in ("dev", "test")}
    trained = {e.key for e in draws("train", "none") + draws("test", "wording")}
    assert not trained & (pairs["dev"] | pairs["test"]) and not pairs["dev"] & pairs["test"]
    assert content_split("plus:17:25") == content_split("plus:25:17")
    sides = [content_split(f"plus:{a}:{b}") for a in range(100) for b in range(a, 100)]
    assert sides.count("test") / len(sides) == pytest.approx(0.10, abs=0.015)
    assert sides.count("dev") / len(sides) == pytest.approx(0.05, abs=0.015)


def test_training_dialogues_do_not_step_over_held_out_pairs() -> None:
    rng = np.random.default_rng(1)
    turns = [turn for _ in range(150) for turn in domain.dialogue(rng, "train", 5)]
    assert all(content_split(turn.key) == "train" for turn in turns)
    assert any(turn.category == "context" and turn.key.startswith("plus") for turn in turns)


@pytest.mark.parametrize(("split", "held"), MIXES)
def test_the_answerer_agrees_with_every_draw_and_the_judge_accepts_it(split: Split, held: Held) -> None:
    vocabulary = set(domain.vocabulary())
    for exchange in draws(split, held, seed=11):
        assert domain.answer(exchange.user, exchange.history) == exchange.reply, exchange
        assert domain.judge(exchange.reply, exchange), exchange
        assert vocabulary.issuperset(exchange.user.split() + exchange.reply.split()), exchange
        assert re.fullmatch("[a-z]+(?: [a-z]+)*", exchange.user), exchange
        assert len(exchange.reply.split()) <= (16 if exchange.category == "counting" else 10), exchange


@pytest.mark.parametrize("split", SPLITS)
def test_the_answerer_agrees_with_every_dialogue(split: Split) -> None:
    rng = np.random.default_rng(5)
    leaning = 0
    for _ in range(60):
        turns = domain.dialogue(rng, split, 6)
        for place, turn in enumerate(turns):
            assert domain.answer(turn.user, turns[:place]) == turn.reply, turns
            assert domain.judge(turn.reply, turn), turn
            leaning += turn.category == "context"
    assert leaning > 40


@pytest.mark.parametrize("category", domain.CATEGORIES)
def test_the_judge_rejects_the_replies_of_other_questions(category: str) -> None:
    rng = np.random.default_rng(2)
    exchanges = [domain.sample(rng, "train", category) for _ in range(60)]
    for exchange in exchanges:
        assert not domain.judge("", exchange)
        assert category == "unknown" or not domain.judge(NOT_UNDERSTOOD, exchange) or "understand" in exchange.reply
        for other in exchanges:
            if other.content != exchange.content:
                assert not domain.judge(other.reply, exchange), (other.reply, exchange)


@pytest.mark.parametrize(
    ("question", "reply", "right"),
    [
        ("what is seventeen plus twenty five", "forty two", True),
        ("what is seventeen plus twenty five", "seventeen plus twenty five is forty two", True),
        ("what is seventeen plus twenty five", "the answer is forty", False),
        ("what is seventeen plus twenty five", "the answer is one hundred forty two", False),
        ("what is seventeen plus twenty five", "the answer is minus forty two", False),
        ("what is seventeen plus twenty five", "the answer is forty three or forty two", False),
        ("what is ten minus fifteen", "ten minus fifteen is minus five", True),
        ("what is ten minus fifteen", "the answer is five", False),
        ("what comes after monday", "tuesday", True),
        ("what comes after monday", "after monday comes tuesday", True),
        ("what comes after monday", "after monday comes sunday", False),
        ("what comes after monday", "tuesday or sunday", False),
        ("what is the capital of india", "it is new delhi", True),
        ("what is the capital of india", "the capital of india is paris", False),
        ("count from three to five", "okay three four five", True),
        ("count from three to five", "three four five six", False),
        ("count from three to five", "three five", False),
        ("repeat after me river stone", "you said river stone", True),
        ("repeat after me river stone", "river stone yellow", False),
        ("repeat after me river stone", "stone river", False),
        ("seven", "you said seven", True),
        ("seven", "you said eleven", False),
        ("stop", "okay", True),
        ("stop", "you said stop", False),
    ],
)
def test_the_judge_looks_at_the_content(question: str, reply: str, right: bool) -> None:
    assert domain.judge(reply, domain.understand(question)) is right


@pytest.mark.parametrize(
    ("turns", "replies"),
    [
        (
            ("what is three plus four", "and plus two", "say that again", "and times three", "and minus thirty"),
            ("the answer is seven", "the answer is nine", "the answer is nine", "the answer is twenty seven",
             "the answer is minus three"),
        ),
        (("what is the capital of spain", "what about france"),
         ("the capital of spain is madrid", "the capital of france is paris")),
        (("what comes after monday", "and after that", "and before that"),
         ("after monday comes tuesday", "after tuesday comes wednesday", "before wednesday comes tuesday")),
        (("count from three to five", "and backwards"), ("three four five", "five four three")),
        (("say that again", "and plus two", "hello"),
         ("i have not said anything yet", NOT_UNDERSTOOD, "hello how can i help you")),
        (("purple banana window", "say that again"), (NOT_UNDERSTOOD, NOT_UNDERSTOOD)),
    ],
)  # fmt: skip
def test_references_to_the_turn_before(turns: tuple[str, ...], replies: tuple[str, ...]) -> None:
    history: list[domain.Exchange] = []
    for turn in turns:
        history.append(domain.understand(turn, history))
    assert tuple(exchange.reply for exchange in history) == replies


@pytest.mark.parametrize("word", domain.SINGLE_WORDS)
def test_single_words_are_said_back(word: str) -> None:
    assert domain.answer(word) == f"you said {word}"


@pytest.mark.parametrize("sentence", ["", "   ", "the capital of banana", "qwerty", "nine hundred plus nine hundred"])
def test_anything_else_is_not_understood(sentence: str) -> None:
    assert domain.answer(sentence) == NOT_UNDERSTOOD


def test_draws_depend_on_the_generator_alone() -> None:
    assert draws("train", "none", 50) == draws("train", "none", 50)
    assert draws("train", "none", 50) != draws("train", "none", 50, seed=8)


def test_impossible_requests_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="no category 'poetry'"):
        domain.sample(rng, "train", "poetry")
    with pytest.raises(DataError, match="training split"):
        domain.sample(rng, "train", held="wording")
    with pytest.raises(DataError, match="needs one of"):
        domain.sample(rng, "test", "facts", held="content")


def test_an_exchange_is_judged_by_its_content_and_not_by_its_wording() -> None:
    exchange = domain.understand("what is two plus two")
    assert domain.judge("four", replace(exchange, user="something else"))


def test_dictation_has_the_domains_words_in_requests_and_in_no_order() -> None:
    rng = np.random.default_rng(0)
    said = [domain.dictation(rng, "train") for _ in range(300)]
    requests = [text for text in said if domain.understand(text).category != "unknown"]
    assert 0.3 < len(requests) / len(said) < 0.8
    assert {word for text in said for word in text.split()} <= {*domain.vocabulary(), *numbers.WORDS}
