"""Filler text of the slice of retrieval: plain sentences without figures, none of them twice in a text."""

from __future__ import annotations

from random import Random

from quantcurve.slices.makers_parts import listed

PEOPLE = listed(
    "the old gardener; a young teacher; my neighbour; the mayor; her cousin; a retired sailor; the new doctor; "
    "the postman; a tired traveller; our aunt; the night watchman; a cheerful student; the carpenter; his sister; "
    "the conductor; a quiet stranger; the innkeeper; the younger brother; the painter; a patient nurse"
)
SPOTS = listed(
    "near the river; behind the old barn; at the edge of the forest; in the narrow street; on the wooden bridge; "
    "beside the fountain; under the tall oak; along the canal; on the hill; in the small courtyard; by the gate; "
    "at the crossroads; in the orchard; on the terrace; around the pond"
)
WEATHERS = listed(
    "a light rain; thick fog; a cold wind; bright sunshine; heavy snow; a warm breeze; low clouds; a sudden storm; "
    "morning frost; gentle drizzle"
)
THINGS = listed(
    "a wicker basket; an old map; a broken clock; a bundle of letters; a heavy coat; a wooden box; a blue bicycle; a "
    "pair of boots; a torn notebook; a silver spoon; a long ladder; a sack of flour; a folded newspaper; a small drum; "
    "a bottle of ink; a green scarf"
)
TIMES = listed(
    "early in the morning; late in the evening; on a Sunday; after lunch; before sunrise; at the end of autumn; "
    "in the middle of winter; one spring day; during the holidays; around noon; last summer; a week ago"
)
FEELINGS = listed("calm; proud; uneasy; cheerful; curious; weary; hopeful; restless; content; puzzled")
PATTERNS = listed("""
{time} {person} walked slowly {spot} and carried {thing}; {person} had never liked {weather} much but went out anyway;
Everybody remembered how {person} once lost {thing} {spot}; With {weather} over the valley the day felt longer than
usual; {person} repaired {thing} while the children played {spot}; Nobody asked why {person} looked so {feeling}
{time}; The road was empty except for {person} who rested {spot}; {time} they expected {weather} but the sky stayed
clear; {person} told a long story about {thing} and everyone grew {feeling}; There was {thing} {spot} and no one knew
its owner; The dog barked at {person} and then lay down {spot}; {person} sold {thing} for a fair price {time}; It took
the whole afternoon to carry {thing} to the house {spot}; {weather} came up quickly and {person} hurried home; For many
years {person} kept {thing} in a cupboard {spot}; {person} was {feeling} about the journey and said so {time}; A letter
arrived {time} and it mentioned {thing} and little else; The benches {spot} had been painted by {person}; {person}
learned to whistle {spot} and practised {time}; Some said that {weather} was a sign of a good harvest; {time} the shop
closed early because {person} felt {feeling}; The cat slept on {thing} and ignored {person} completely; {person}
planted a row of bushes {spot} and watered them {time}; After {weather} the paths were muddy and {person} stayed in;
{person} drew a picture of {thing} and hung it on the wall; The bus was late again and {person} waited {spot}; Under
{weather} the whole village seemed {feeling}; {person} borrowed {thing} {time} and forgot to return it; A narrow path
leads to the meadow and {person} follows it {time}; {person} counted the boats {spot} and felt {feeling}; The soup was
hot and {person} ate it {spot}; {time} the bells rang twice and {person} looked up from {thing}; Children found {thing}
{spot} and brought it to {person}; The windows stayed shut because of {weather} {time}; {person} spoke of {weather} as
if it were an old friend; No one had seen {person} {spot} since the fair; {person} folded the blanket and put it on top
of {thing}; The lamp went out and {person} sat {feeling} in the dark; {time} a cart full of hay stopped {spot} and
blocked the way; {person} laughed loudly when {thing} fell down the stairs; The river rose after {weather} and reached
the lower steps; {person} hummed a tune {spot} and seemed {feeling}; A painter offered to trade his picture for
{thing}; {time} the market was crowded and {person} bought {thing}; The old wall {spot} needs repair and {person}
promised to help; {person} woke up {feeling} and opened the shutters
""")


def sentences(most_words: int, chance: Random) -> list[str]:
    """Different sentences with so many words altogether, or a few less.

    Args:
        most_words: of all of them; 8,000 at most.
        chance: draws.
    """
    made: list[str] = []
    patterns = list[str]()
    while True:
        patterns = patterns or chance.sample(PATTERNS, len(PATTERNS))
        sentence = _filled(patterns.pop(), chance)
        most_words -= len(sentence.split())
        if most_words < 0:
            return made
        if sentence in made:
            most_words += len(sentence.split())
        else:
            made.append(sentence)


def _filled(pattern: str, chance: Random) -> str:
    text = pattern.format(
        person=chance.choice(PEOPLE),
        spot=chance.choice(SPOTS),
        weather=chance.choice(WEATHERS),
        thing=chance.choice(THINGS),
        time=chance.choice(TIMES),
        feeling=chance.choice(FEELINGS),
    )
    return f"{text[0].upper()}{text[1:]}."
