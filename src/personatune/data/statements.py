"""Which sentences of a chat tell something lasting about the speaker, and how they read as a persona sentence.

Rules, not a model: they are fast, they can be read, and what they let through was judged by eye (see docs/data.md).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from personatune.data.statement_words import (
    COUNTS,
    DOING,
    LIKING,
    NATIONALITIES,
    OBJECTS_AFTER_THE,
    OWNED,
    PASSING,
    PEOPLE,
    STATES,
)
from personatune.words import keyword_stems, words

_SHORTEST, _LONGEST = 4, 14  # words of a persona sentence

# Sentences end at marks, line breaks, dashes, emoticons and anything that is no European letter (emoji).
_END = re.compile(
    r"(?<=[.!?])(?<!\b[DM][rt]\.)(?<!\bMrs\.)(?<!\bSt\.)[\s.!?]+|\n+|\s+[-–—]+\s+|\.{2,}|\s*[:;]-?[)(DPp]+(?:\s|$)|[^\x00-\u024f\u2019]+"
)
_FILLERS = re.compile(
    r"(?:(?:well|and|but|so|yeah|yes|yep|yup|ya|oh|ooh|ah|ha(?:ha)*h?|lol|hi|hello|hey|no|nope|nah|ok(?:ay)?|cool|nice|"
    r"hmm+|um+|uh|i mean|honestly|actually|personally|also|like|plus|because|cuz|cause|cos|thanks|good|great|wow|true|"
    r"same|sure|me too|basically|currently|i think|i guess|i would say|i'd say)\b[\s,!.]*)+",
    re.IGNORECASE,
)
_FIRST_PERSON = re.compile(r"\b(?:i|im|ive|my)\b", re.IGNORECASE)
_BEGINS = re.compile(r"(?:i|i ?['’`´]? ?m|i ?['’`´]? ?ve|i['’]d|my)\b", re.IGNORECASE)
# Where a second thought begins that hangs on the conversation.
_TAIL = re.compile(
    r"[,(\[\"~*]|\s-\s|--|\s(?:but|so|because|cuz|cause|bc|although|though|tho|since|which|if|when|whenever|unless|even|"
    r"and (?:i|then|so|it|my|he|she|they|we|am|was|just|now|got|have|had|can)|lol|ha(?:ha)+\w*|lmao|hehe|xd|right now|"
    r"at the moment|as well|also|too|either|anyways?|actually|honestly|obviously|of course|at least|for sure|i guess|"
    r"i think|i suppose|i believe|these days|currently|now|myself|where|while|like i|oh|omg|mostly|after|every|a ton|"
    r"i (?:like|love|am|have|was|also)|"
    r"or (?:something|anything|whatever)|and stuff|&)(?=\W|$)",
    re.IGNORECASE,
)
_DANGLING = re.compile(
    r"(?:^|\s)(?:a|an|the|and|or|of|to|in|at|for|with|on|by|from|my|is|are|was|than|as|about|into|not|very|really|i|am|"
    r"have|be|been|most|more|kind|kinda|pretty|super|up|some|because|would|like|all|only|lot|out|over|know|who)$",
    re.IGNORECASE,
)
_EXPANSIONS = tuple(
    (re.compile(pattern, re.IGNORECASE), text)
    for pattern, text in (
        (r"[’`´]", "'"),
        (r"\bi ?'? ?m\b", "I am"),
        (r"\bi ?'? ?ve\b", "I have"),
        (r"\bi'd (?:love|like)\b", "I would love"),
        (r"\bi have got\b(?! to)", "I have"),
        (r"\b(do|does)n?'?nt\b|\b(do|does)n't\b", r"\1\2n't"),
        (r"\bcan'?t\b", "can't"),
        (
            r"\b(?:(?:really|actually|also|just|honestly|literally|definitely|totally|absolutely|kind of|kinda|sort of|"
            r"pretty|super|currently|basically|personally|probably|still|already|mostly|mainly|only|do|always) )+"
            r"(?=(?:love|like|enjoy|hate|have|am|work|live|play|study|a|an|in|from|studying|majoring|prefer|speak|want|"
            r"watch|into|obsessed)\b)",
            "",
        ),
        (r"\bfav(?:e|s)?\b", "favorite"),
        (r"\b(?:LOVE|HATE|SO|REALLY|LIKE)\b", lambda match: match[0].lower()),
        (r"\bi\b", "I"),
    )
)

_LASTING = re.compile(
    "|".join(
        (
            # who I am
            r"I am (?:a|an|the (?:oldest|youngest|middle|only)|half|part|one of) (?!bit\b|little\b|lot\b|few\b|step\b|"
            r"couple\b|mess\b|firm\b|fool\b|loser\b|human\b|person\b|real\b|more\b|full\b|gentle$|"
            r"(?:\w+ )?fan$|girl$|guy$|boy$|man$).+",
            r"I am (?:originally )?(?:from|majoring in|studying(?! to\b)|minoring in|allergic to|fluent in|learning|"
            rf"into|obsessed with|addicted to|passionate about|interested in|afraid of|scared of|{STATES}) .+",
            rf"I am (?:{STATES}|(?:\d+|very) .+|{NATIONALITIES}.*)",
            r"I am (?:in|at) (?:college|high school|grad school|school|law school|med school|medical school|the army|"
            r"the navy|the military|a band|byu|my (?:first|second|third|fourth|last|freshman|sophomore|junior|senior|"
            r"early|mid|late|\d+s)\b).*",
            # what I have, do and like
            r"I have (?:always wanted to (?!a |know)|never been to|been to|lived in|worked (?:at|as|in|for)|"
            r"been (?:playing|married|working|studying|living|learning|a)) .+",
            rf"I have (?!to |been )(?:{COUNTS} (?!job interview|interview)(?:(?!pet peeve)[\w'-]+ ){{0,3}}|"
            rf"(?:[\w'-]+ ){{0,2}})(?:{OWNED})\b"
            r"(?! peeve| interview).*",
            rf"I {LIKING} .+",
            r"I (?:work|worked|live|lived|grew up|was born|was raised|moved|served|graduated|am working|am living) "
            r"(?:as|at|in|for|with|on|near|by|to|from|a mission|my mission|full time|part time|abroad)\b.+",
            rf"I (?:usually |often |sometimes |never |always )?(?:{DOING}) (?!about\b|my sword).+",
            r"I can (?:play|speak|cook|sing|dance|juggle|draw|code|ride|knit|sew|bake) .+",
            r"I can't (?:cook|swim|drive|sing|dance|draw|eat|drink)\b.+",
            r"I (?:don't|never) (?:eat|drink|drive|watch|play|own|smoke|have any|have a)\b(?! plans| hero| clue).+",
            r"I (?:want|plan|am planning|hope|am hoping|dream|would love) to (?:be|become|travel|visit|live|learn|work|"
            r"study|teach|own|write|go to|move to|open) (?!able).+",
            r"I dream of .+",
            r"I used to (?:play|live|work|be|have|teach|dance|sing|swim|own|do) .+",
            # mine
            r"My (?:favorite|favourite) .+ (?:is|are|was|would be) .+",
            rf"My (?:best friend|[\w]+ )?(?:{PEOPLE})(?:'s name)? (?:(?:is|are|was|were) (?!\w+ing\b|super\b|so+\b|"
            r"to\b|able\b|always\b|out\b|"
            r"very allergic$|dumb$).+|"
            r"(?:has|have|works?|lives?|loves?|likes?|plays?|owns?|speaks?|came from|immigrated) .+)",
            r"My (?:major|job|hobby|hobbies|dream job|hometown|minor|degree|dream|biggest fear|passion|birthday|"
            r"specialty|religion) (?:is|are|was|were|includes?) (?!to an?\b|going\b).+",
        )
    ),
    re.IGNORECASE,
)
# Likings whose object hangs on the conversation.
_VAGUE = re.compile(
    rf"I (?:{LIKING} (?:to (?:think|know|see|hear|believe|help|talk|be|do)\b|being (?:able|here)|the (?:sound|way|fact|"
    r"thought|name|prompt|question|first|second|last|new|old|part|other|whole|concept|ones?)\b|talking|seeing|hearing|"
    r"when|how|what|not|all of|a lot|very|too|me\b|my (?:life|name)\b|both|some of|most|more|any|doing|having|making|"
    r"getting|going$|about|at|in|for|with|as|than|on|to$|lots|pretty|and|or|all\b|the \w+ and\b|people$|a$|an$)"
    rf"|(?:{LIKING}|(?:never )?(?:{DOING})|don't (?:eat|drink|watch|play)) the (?!(?:{OBJECTS_AFTER_THE})s?$)[a-z]+$)"
)
# "just" may fall away before an attitude ("I just love dogs"), so only the other words decide early.
_PASSING_AT_ONCE = PASSING - {"just"}


class Caser:
    """Gives names their capital letter back, as the corpus itself mostly writes them inside sentences."""

    _WORD = re.compile(r"(?<=[a-z,] )[A-Za-z][A-Za-z']+")

    def __init__(self, texts: Iterable[str]) -> None:
        capital: Counter[str] = Counter()
        small: Counter[str] = Counter()
        for text in texts:
            for word in self._WORD.findall(text):
                if word.islower():
                    small[word] += 1
                elif word[1:].islower():
                    capital[word.lower()] += 1
        self._names = frozenset(
            word for word, count in capital.items() if count >= 3 and count > 1.5 * small[word] and word[:2] != "i'"
        )

    def __call__(self, sentence: str) -> str:
        return " ".join(word.capitalize() if word.lower() in self._names and word.islower() else word
                        for word in sentence.split(" "))  # fmt: skip


def self_statements(text: str, caser: Caser) -> Iterator[str]:
    """Yield the lasting statements of a chat message about its writer, in persona form.

    "haha im from nigeria but I study here lol" -> "I am from Nigeria."
    """
    if not _FIRST_PERSON.search(text):
        return
    for raw in _END.split(text):
        if raw and not raw.rstrip().endswith("?") and (sentence := persona_sentence(raw, caser)):
            yield sentence


def persona_sentence(raw: str, caser: Caser) -> str | None:
    """Return one sentence in persona form, or None when it says nothing lasting about the speaker."""
    sentence = raw.strip()
    filler = _FILLERS.match(sentence)
    if filler:
        sentence = sentence[filler.end() :]
    if not _BEGINS.match(sentence):
        return None
    if not _PASSING_AT_ONCE.isdisjoint(sentence.lower().split(None, 4)[:4]):  # spares most sentences the work below
        return None
    for pattern, replacement in _EXPANSIONS:
        sentence = pattern.sub(replacement, sentence)
    tail = _TAIL.search(sentence)
    if tail:
        sentence = sentence[: tail.start()]
    sentence = " ".join(sentence.strip(" .!?,'").split())
    while dangling := _DANGLING.search(sentence):
        sentence = sentence[: dangling.start()]
    said = words(sentence)
    if not _SHORTEST <= len(said) <= _LONGEST or not PASSING.isdisjoint(said):
        return None
    sentence = sentence[:1].upper() + sentence[1:]
    if not _LASTING.fullmatch(sentence) or _VAGUE.match(sentence) or not any(map(str.isalpha, keyword_stems(sentence))):
        return None
    if sentence.isupper() or not re.fullmatch(r"[\w\s'&/.-]+", sentence):
        return None
    return caser(sentence) + "."
