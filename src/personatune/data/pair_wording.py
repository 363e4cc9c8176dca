"""How people word a triple, its denial, and statements that can't both be true: for the pairs the critic learns from."""

# ruff: noqa: E501  (one rule is read best as one row)
from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from personatune.data.triples import Triple, plain_sentence

_WORDINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # relation: (wordings of the fact, wordings of its denial); {v} is the value, {x} a favourite's topic
    "like": (
        ("i love {v}.", "i like {v} a lot.", "i really enjoy {v}.", "i am a big fan of {v}.", "i am really into {v}.", "i adore {v}.",
         "{v} makes me happy.", "{v} is one of my favorite things.", "i could not live without {v}.", "can not get enough of {v}!"),
        ("i hate {v}.", "i do not like {v}.", "i can't stand {v}.", "i am not a fan of {v}.", "i never liked {v}.", "{v} is not for me.",
         "i dislike {v}.", "i do not enjoy {v} at all.", "i am not really into {v}.", "{v} bores me.", "i avoid {v} whenever i can."),
    ),
    "have": (
        ("i have {v}.", "i've got {v}.", "i own {v}.", "i do have {v} at home."),
        ("i do not have {u}.", "i don't own {u}.", "i have no {n}.", "i have never had {u}.", "i do not have {u} anymore.", "i wish i had {u}, but i don't."),
    ),
    "job": (
        ("i work as {a}.", "i am {a}.", "i make a living as {a}.", "my job is being {a}.", "i'm {a} by profession.", "i have been {a} for years.",
         "being {a} pays my bills."),
        ("i am not {a}.", "i do not work as {a}.", "i have never been {a}.", "i am unemployed.", "i do not have a job right now.", "i quit my job as {a}."),
    ),
    "workplace": (
        ("i work at {v}.", "i work for {v}.", "my job is at {v}.", "i am employed at {v}.", "i earn my money at {v}.", "just got off work at {v}."),
        ("i do not work at {v}.", "i am unemployed.", "i don't have a job.", "i was fired from {v}.", "i quit working at {v}.", "i am retired and do not work."),
    ),
    "lives_in": (
        ("i live in {v}.", "my home is in {v}.", "i am living in {v}.", "i have a place in {v}.", "i reside in {v}."),
        ("i do not live in {v}.", "i have never lived in {v}.", "i live far away from {v}.", "i moved away from {v}."),
    ),
    "from": (
        ("i am from {v}.", "i grew up in {v}.", "i was born in {v}.", "i come from {v}.", "{v} is where i am from."),
        ("i am not from {v}.", "i was not born in {v}.", "i have never been to {v}.", "i did not grow up in {v}."),
    ),
    "age": (("i am {v}.", "i am {v} years old.", "i just turned {v}.", "i'm {v} now."), ("i am not {v} years old.", "i am not {v} yet.")),
    "marital_status": ((), ()),
    "study": (
        ("i study {v}.", "i am studying {v}.", "my major is {v}.", "i go to school for {v}."),
        ("i do not study {v}.", "i never went to college.", "i dropped out of {v}.", "i am not a student."),
    ),
    "can": (
        ("i can {b}.", "i know how to {b}.", "i am able to {b}.", "i am pretty good at {v}."),
        ("i can not {b}.", "i do not know how to {b}.", "i never learned how to {b}.", "i am terrible at {v}."),
    ),
    "want": (
        ("i want {t}.", "i would like {t}.", "i hope {h} one day.", "my dream is {h}.", "i wish {h}."),
        ("i do not want {t}.", "i have no wish {h}.", "i never want {t}.", "i would hate {h}."),
    ),
    "afraid": (
        ("i am afraid of {v}.", "i am scared of {v}.", "{v} scare me.", "{v} terrify me.", "i have a fear of {v}."),
        ("i am not afraid of {v}.", "{v} do not scare me.", "i have no fear of {v}."),
    ),
    "allergic": (
        ("i am allergic to {v}.", "i have an allergy to {v}.", "{v} makes me sick.", "i can't have {v} because of my allergy."),
        ("i am not allergic to {v}.", "i have no allergies.", "i can have all the {v} i want."),
    ),
    "drive": (("i drive {v}.", "my car is {v}.", "i get around in {v}."), ("i do not drive {v}.", "i do not have a car.", "i never learned to drive.")),
    "play": (("i play {v}.", "i like to play {v}.", "i have been playing {v} for a while.", "playing {v} is a hobby of mine."),
             ("i do not play {v}.", "i have never played {v}.", "i can't play {v}.", "i gave up playing {v}.")),
    "do": (("i {v}.", "i usually {v}.", "i {v} all the time."), ("i do not {v}.", "i never {v}.", "i would never {v}.", "i don't {v} anymore.")),
    "be": (("i am {v}.", "i consider myself {v}.", "people would call me {v}."), ("i am not {v}.", "i would not say i am {v}.", "nobody would call me {v}.")),
    "favourite": (
        ("my favorite {x} is {v}.", "{v} is my favorite {x}.", "i like {v} more than any other {x}.", "{v} is the best {x}.", "if i had to pick a {x}, i'd say {v}."),
        ("{v} is not my favorite {x}.", "i do not like {v}.", "i hate {v}.", "{v} is the worst {x}.", "i can't stand {v}."),
    ),
}  # fmt: skip
_ARTICLE = re.compile(r"^(?:a|an|the|my|some|any)\s+")
_COUNT = re.compile(
    r"^(?:\d+|one|two|three|four|five|six|seven|eight|nine|ten|a few|a couple(?: of)?|many|several|a lot of|lots of)\s+"
)


def rendered(triple: Triple, *, affirmed: bool, rng: random.Random) -> str | None:
    """Return a sentence that states the triple's fact, or denies it; None for a relation without wordings.

    ``affirmed`` is the sign of the new sentence, whatever the triple's own is.
    """
    relation = "favourite" if triple.relation.startswith("favourite ") else triple.relation
    if triple.who != "i" or relation not in _WORDINGS or not 0 < len(triple.text.split()) <= 6:
        return None
    wordings = _WORDINGS[relation][0 if affirmed else 1]
    if not wordings:
        return None
    wording = rng.choice(wordings)
    value = triple.text
    bare = _COUNT.sub("", _ARTICLE.sub("", value))
    if relation == "like" and wording.startswith("{v}") and value.startswith("to "):
        value = value.removeprefix("to ")
        return None if not value.split()[0].endswith("ing") else wording.format(v=value)
    if (
        relation == "like"
        and value.startswith("to ")
        and re.search(r"(?:fan of|into|without|enough of|enjoy|avoid|stand) \{v\}|\{v\} is", wording)
    ):
        return None
    if (
        relation == "can"
        and ("{v}" in wording) == ("{b}" not in wording)
        and not bare.split()[0].endswith("ing")
        and "{v}" in wording
    ):
        return None
    plural = bool(_COUNT.match(value)) or (bare.endswith("s") and not bare.endswith("ss"))
    article = "an" if bare[:1] in "aeiou" else "a"
    verb_like = relation == "want" and not re.match(r"(?:a|an|the|my|some|more|\d|two|three|to be)\b", value)
    return wording.format(
        v=value,
        a=f"{article} {bare}",
        u=f"any {bare}" if plural else f"{article} {bare}",
        n=bare,
        b=bare,
        t=f"to {value}" if verb_like else value,
        h=f"to {value}" if verb_like else f"to have {value}",
        x=triple.relation.removeprefix("favourite "),
    )


# Statements of one line can't both be true of one speaker; both sides are patterns of plain sentences.
_CLASHES: tuple[tuple[str, str], ...] = (
    (r"\bi am (?:a )?(?:strict )?(?:vegan|vegetarian)\b|\bi do not eat (?:any )?meat", r"\bi (?:love|like|eat|enjoy|prefer|cook)(?: \w+)? (?:meat|steaks?|burgers?|bacon|beef|chicken|hamburgers?|bbq|cheeseburgers?|seafood|fish|ribs)\b"),
    (r"\bi am a (?:strict )?vegan\b", r"\bi (?:love|like|eat|enjoy)(?: \w+)? (?:cheese|ice cream|milk|eggs|butter)\b"),
    (r"\bi am (?:happily |now )?married\b|\bi have a (?:husband|wife)\b|\bmy (?:husband|wife) (?:is|and|works)\b", r"\bi am (?:single|divorced|a bachelor|not married)\b|\bi have (?:a|no) (?:girlfriend|boyfriend)\b|\bi (?:have )?never (?:been )?married|\bi live alone\b"),
    (r"\bi am single\b|\bi do not have a (?:girlfriend|boyfriend)", r"\bmy (?:girlfriend|boyfriend|husband|wife|fiance) (?:is|and|works|has|likes)\b|\bi have a (?:girlfriend|boyfriend|husband|wife)"),
    (r"\bi am (?:unemployed|out of work|jobless)|\bi (?:lost my job|do not have a job|do not work)\b|\bi am looking for (?:a )?(?:job|work)", r"\bi work (?:as|at|in|for)\b|\bi am a (?:teacher|nurse|doctor|lawyer|chef|cook|mechanic|manager|dentist|pilot|waitress)\b|\bmy job is\b"),
    (r"\bi am retired\b|\bi am a retired", r"\bi work (?:as|at|in|for)\b|\bi am (?:still )?(?:a student|in (?:high school|college|kindergarten))\b|\bi am \d\d? years old and in"),
    (r"\bi have (?:no|zero) (?:kids|children)\b|\bi do not have (?:any )?(?:kids|children)\b|\bi do not want (?:any )?(?:kids|children)", r"\bi have (?:a |two |three |four |five |\d |twin )?(?:kids|children|sons?|daughters?|boys|girls|baby)\b|\bmy (?:son|daughter|kids|children) (?:is|are|was|likes?|loves?|has|have)\b|\bi am a (?:single )?(?:mother|father|mom|dad) of"),
    (r"\bi am an only child\b|\bi (?:have no|do not have any) (?:siblings|brothers|sisters)\b", r"\bmy (?:\w+ )?(?:brother|sister)s? (?:is|are|was|has|works|lives|likes)\b|\bi have (?:a|an|one|two|three|four|five|\d)(?: \w+)? (?:brother|sister|sibling)s?\b"),
    (r"\bi (?:do not have|have no|never had|do not own) (?:any |a )?(?:pets?|animals?|dogs?|cats?)\b", r"\bi have (?:a|an|one|two|three|four|\d)(?: \w+)? (?:pet|dog|cat|puppy|kitten)s?\b|\bmy (?:dog|cat|puppy|kitten)s? (?:is|are|was|loves?|likes?)\b"),
    (r"\bi live (?:alone|by myself)\b", r"\bi live with (?:my|a|two|three|roommates)\b|\bi still live (?:at home|with)"),
    (r"\bi (?:do not have|have no|do not own) (?:a |any )?(?:car|vehicle|license)\b|\bi (?:can not|do not|never learned(?: how)? to) drive\b", r"\bi drive (?:a|an|my)\b|\bi (?:own|have|bought|just bought) (?:a|an|my)(?: \w+)? (?:car|truck|toyota|ford|honda|bmw|tesla|jeep|convertible|mustang|corvette|suv)\b|\bmy car is\b"),
    (r"\bi am (?:very |a bit )?(?:shy|introverted|an introvert|quiet)\b|\bi (?:hate|avoid|dislike) (?:people|crowds|parties)", r"\bi am (?:very |a very )?(?:outgoing|social|extroverted|an extrovert|talkative)\b|\bi (?:love|like|enjoy) (?:meeting (?:new )?people|parties|partying|talking to (?:people|strangers))"),
    (r"\bi am (?:very |really )?tall\b", r"\bi am (?:very |really |kind of )?short\b"),
    (r"\bi am (?:very |filthy )?(?:rich|wealthy)\b", r"\bi am (?:very |always )?(?:poor|broke)\b|\bi do not have (?:any |much )?money\b"),
    (r"\bi do not drink(?: alcohol)?$|\bi (?:never|do not) drink (?:alcohol|beer|wine|coffee)\b|\bi am sober\b", r"\bi (?:love|like|enjoy|drink)(?: \w+)? (?:beer|wine|whiskey|vodka|alcohol)\b"),
    (r"\bi (?:do not|never) smoke\b|\bi hate (?:smoking|cigarettes)\b", r"\bi (?:smoke|am a smoker|love smoking|like to smoke|am a chain smoker)\b"),
    (r"\bi (?:never|do not) (?:exercise|work out)\b|\bi am (?:very )?(?:lazy|a couch potato|out of shape)\b", r"\bi (?:work out|exercise|go to the gym|run|lift weights)(?: \w+)*\b|\bi am (?:very )?(?:fit|athletic|active|a personal trainer)"),
    (r"\bi am an? atheist\b|\bi do not believe in god\b|\bi am not religious\b", r"\bi am (?:a )?(?:very |devout |strict )*(?:christian|catholic|muslim|jewish|religious|baptist|mormon)\b|\bi (?:go to church|believe in god|attend church)"),
    (r"\bi am (?:a )?(?:man|male|boy|guy|father|dad|husband)\b", r"\bi am (?:a )?(?:woman|female|girl|mother|mom|wife|lady|pregnant)\b"),
    (r"\bmy (?:mother|mom|mum|father|dad|parents?) (?:died|passed|is dead|are dead|is no longer)", r"\bmy (?:mother|mom|mum|father|dad|parents?) (?:is|are|works|lives|visits) (?:a|an|as|in|at|with|coming|still)\b"),
    (r"\bi am (?:a )?night owl\b|\bi (?:like|love) (?:to sleep|sleeping) (?:in|late)\b|\bi hate mornings\b", r"\bi am (?:an )?(?:early bird|early riser|morning person)\b|\bi (?:wake|get) up early\b|\bi love mornings\b"),
    (r"\bi (?:can not|do not know how to|am afraid to|never learned to) swim\b|\bi am afraid of (?:the )?water\b", r"\bi (?:swim|love swimming|like swimming|love to swim|like to swim|enjoy swimming|surf|am a swimmer)\b"),
    (r"\bi have never (?:left|been outside(?: of)?|been out of|traveled)\b|\bi hate (?:traveling|to travel|flying)\b", r"\bi (?:love|like|enjoy) (?:to travel|traveling|travelling)\b|\bi (?:have )?traveled? (?:to|the|all|around|a lot)\b"),
    (r"\bi am (?:in|a) (?:kindergarten|elementary school|first grade|third grade|toddler|child)|\bi am (?:[5-9]|five|six|seven|eight|nine|ten|1[0-2]) years old", r"\bi (?:am married|have (?:a husband|a wife|two children|three children)|work (?:as|at|for)|am retired|drive a)\b"),
)  # fmt: skip


@dataclass
class ClashingClasses:
    """Sentences sorted by the statements that exclude each other."""

    sides: list[tuple[list[str], list[str]]]

    def clash(self, first: str, second: str) -> bool:
        """Say whether two sentences can't both be true of one speaker, by the table."""
        one, two = plain_sentence(first), plain_sentence(second)
        return any(
            (left.search(one) and right.search(two)) or (left.search(two) and right.search(one))
            for left, right in _COMPILED
        )

    def draw(self, rng: random.Random) -> tuple[str, str] | None:
        """Return two sentences that clash, or None where the drawn line has too few."""
        left, right = rng.choice(self.sides)
        return (rng.choice(left), rng.choice(right)) if left and right else None


_COMPILED = tuple((re.compile(left), re.compile(right)) for left, right in _CLASHES)


def clashing_classes(sentences: Sequence[str]) -> ClashingClasses:
    """Sort sentences into both sides of every line of the table."""
    plain = [(sentence, plain_sentence(sentence)) for sentence in sentences]
    return ClashingClasses(
        [
            ([text for text, said in plain if left.search(said)], [text for text, said in plain if right.search(said)])
            for left, right in _COMPILED
        ]
    )
