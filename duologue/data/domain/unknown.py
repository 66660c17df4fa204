"""Sentences outside of the domain, to which the one right reply is that they were not understood."""

from __future__ import annotations

import numpy as np

from duologue.data.domain.intents import Intent, Say, Slot, choice, fixed
from duologue.data.domain.phrases import phrases
from duologue.data.domain.repeat import WORDS, draw_words

REPLY = Say("unknown:", "sorry i did not understand that", "did not understand")

_NOUN = choice(
    phrases(
        """river, stone, mountain, forest, tree, flower, garden, farm, gate, road, bridge, tunnel, city, house, kitchen
        bedroom, window, door, roof, chimney, ladder, carpet, curtain, pillow, blanket, table, chair, sofa, desk
        lamp, candle, clock, picture, basket, bottle, box, bag, bowl, plate, cup, fork, knife, spoon, oven, sink
        towel, brush, broom, apple, banana, lemon, cherry, potato, onion, pumpkin, soup, salad, sandwich, pizza
        cake, cookie, dog, cat, cow, pig, goat, donkey, camel, lion, tiger, elephant, monkey, rabbit, mouse, fox
        wolf, snake, turtle, frog, shark, spider, beetle, eagle, owl, duck, swan, teacher, doctor, nurse, farmer
        baker, painter, singer, driver, pilot, sailor, soldier, king, queen, pirate, neighbor, brother, sister
        mother, father, uncle, cousin, friend, shirt, jacket, sweater, shoe, scarf, glove, umbrella, suitcase, car
        bus, truck, train, bicycle, boat, ship, airplane, rocket, station, airport, ticket, star, planet, cloud
        island, lake, beach, castle, book, pencil, letter, newspaper, school, lesson, piano, guitar, violin, drum
        camera, telephone, computer, robot, machine, hammer, needle, ball, toy, doll, puzzle, coin, market, shop
        hotel, museum, present, treasure, helmet, crown"""
    )
)
_ADJECTIVE = choice(
    phrases(
        """big, small, little, huge, tiny, long, short, high, fast, slow, hot, cold, warm, dry, hard, soft, sharp
        heavy, strong, full, empty, clean, dirty, fresh, sweet, bitter, loud, quiet, bright, dark, old, young
        modern, rich, cheap, expensive, easy, difficult, simple, clever, brave, proud, kind, cruel, gentle, angry
        calm, nervous, bored, tired, hungry, thirsty, sleepy, healthy, lonely, busy, funny, serious, strange, famous
        special, perfect, broken, useful, safe, dangerous, beautiful, ugly, pretty, nice, wonderful, terrible, round
        flat, wet, shiny, rusty, dusty, muddy, wooden, golden, silver, green, yellow, purple, brown"""
    )
)
_ACTION = choice(
    phrases(
        """paint, clean, open, close, buy, sell, carry, push, pull, build, break, fix, find, hide, wash, draw, bring
        follow, visit, watch, borrow, steal, drop, lift, throw, keep, count, wrap, move, touch, eat, cook, cut
        collect, deliver"""
    )
)
_DONE = choice(
    phrases(
        """painted, cleaned, opened, closed, carried, pushed, pulled, fixed, washed, followed, visited, watched
        borrowed, dropped, lifted, moved, touched, cooked, collected, delivered, found, lost, broke, bought, sold"""
    )
)
_WHEN = choice(
    phrases(
        """today, yesterday, tomorrow, every morning, last night, next week, on monday, on sunday, in the summer
        in the evening, last year, after school, before lunch, at noon, right now, again, once a year"""
    )
)
_WHERE = choice(
    phrases(
        """in the garden, at the station, under the bridge, behind the house, on the table, near the lake, in the city
        at home, in the kitchen, on the roof, at the market, in the forest, next to the door, by the river
        in my pocket, across the street, on the beach, at school"""
    )
)

_SLOTS: dict[str, Slot] = {
    "noun": _NOUN,
    "other": _NOUN,
    "adj": _ADJECTIVE,
    "adj2": _ADJECTIVE,
    "act": _ACTION,
    "done": _DONE,
    "when": _WHEN,
    "where": _WHERE,
}

_SENTENCES = (
    "the {adj} {noun} is {where}",
    "the {noun} is very {adj}",
    "my {noun} {done} the {other}",
    "the {noun} and the {other} are {where}",
    "i {done} the {adj} {noun} {when}",
    "we {done} a {noun} {where}",
    "she {done} my {noun} {when}",
    "he wants to {act} the {noun}",
    "they {done} the {noun} {when}",
    "please {act} the {noun} {when}",
    "can you {act} the {adj} {noun}",
    "could you {act} my {noun} {when}",
    "did you {act} the {noun}",
    "do you want to {act} a {noun}",
    "where did you {act} the {noun}",
    "when will the {noun} {act} the {other}",
    "why did the {noun} {act} the {adj} {other}",
    "who {done} the {noun} {when}",
    "who {done} my {adj} {noun}",
    "how do i {act} a {adj} {noun}",
    "how did they {act} the {noun} {where}",
    "what did the {noun} {act} {when}",
    "which {noun} is more {adj}",
    "is the {noun} {where}",
    "is your {noun} {adj} or {adj2}",
    "was the {noun} {adj} {when}",
    "are there any {adj} things {where}",
    "there is a {noun} {where}",
    "there was a {adj} {noun} {where}",
    "put the {noun} {where}",
    "bring me the {adj} {noun}",
    "give the {noun} to my {other}",
    "turn on the {noun}",
    "turn off the {noun} {when}",
    "call my {noun} {when}",
    "send a message to the {noun}",
    "play some music {where}",
    "order a {noun} and a {other}",
    "find me a {adj} {noun} {where}",
    "book a room {where} {when}",
    "set a timer for my {noun}",
    "remind me to {act} the {noun} {when}",
    "show me the way to the {noun}",
    "i want a {adj} {noun}",
    "i need a new {noun}",
    "i think the {noun} is {adj}",
    "i never {done} a {noun} {where}",
    "i saw a {adj} {noun} {when}",
    "my {noun} is {where}",
    "our {noun} was {adj} {when}",
    "nobody {done} the {noun} {where}",
    "everybody likes a {adj} {noun}",
    "the weather makes my {noun} {adj}",
    "we should {act} the {noun} {when}",
    "let us {act} the {noun} {where}",
    "if the {noun} is {adj} we can {act} it",
    "the {noun} likes the {other} very much",
    "that {noun} looks {adj}",
    "this {noun} belongs to the {other}",
    "it was a {adj} day {where}",
    "what is in the {noun}",
    "what is the price of a {noun}",
    "how much does the {noun} cost",
    "how far is the {noun}",
    "who is the president of the {noun}",
    "when does the {noun} open",
    "a {adj} {noun} and a {adj2} {other}",
    "first {act} the {noun} and then the {other}",
    "do not {act} the {noun}",
    "never {act} a {adj} {noun}",
)

SENTENCES = Intent(
    "unknown", "unknown", _SENTENCES, fixed(REPLY.key, REPLY.reply, REPLY.content), _SLOTS, judged="exact", polite=False
)
SALAD = "unknown/words"
"""The wording of a sentence of random words."""


def word_salad(rng: np.random.Generator) -> str:
    """One to seven random words of the vocabulary."""
    return draw_words(rng, int(rng.integers(1, 8)))


def misfit(rng: np.random.Generator, intent: Intent, wording: str) -> str:
    """A wording of the domain with words in its gaps that make no sense there: "the capital of banana"."""
    filling = {name: draw_words(rng, int(rng.integers(1, 3))) for name in intent.slots}
    return wording.format(**filling)


def vocabulary() -> set[str]:
    """Every word that these sentences may hold."""
    return SENTENCES.words | set(WORDS)
