"""Which sentences of a chat tell something lasting about the speaker, and how they read as a persona sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from personatune.words import keyword_stems, words

_SHORTEST, _LONGEST = 4, 14  # words of a persona sentence

_SENTENCE_END = re.compile(
    r"(?<=[.!?])[\s.!?]+|\n+|\s+[-–—]+\s+|\.{2,}|\s*[:;]-?[)(DPp]+(?:\s|$)|[^\x00-\u024f\u2019]+"
)
_FILLERS = re.compile(
    r"^(?:(?:well|and|but|so|yeah|yes|yep|yup|ya|oh|ooh|ah|ha(?:ha)*h?|lol|hi|hello|hey|no|nope|nah|ok(?:ay)?|cool|nice|"
    r"hmm+|um+|uh|i mean|honestly|actually|personally|also|like|plus|because|cuz|cause|cos|thanks|good|great|wow|true|"
    r"same|sure|me too|basically|currently|i think|i guess|i would say|i'd say)\b[\s,!.]*)+",
    re.IGNORECASE,
)
_TAIL = re.compile(
    r"[,(\[\"~*]|\s-\s|--|\s(?:but|so|because|cuz|cause|bc|although|though|tho|since|which|if|when|whenever|unless|even|"
    r"and (?:i|then|so|it|my|he|she|they|we|am|was|just|now|got|have|had)|lol|haha\w*|lmao|hehe|xd|right now|at the moment|"
    r"as well|also|too|either|anyways?|actually|honestly|obviously|of course|at least|for sure|i guess|i think|i suppose|"
    r"these days|currently|now|myself|where|while|like i|or (?:something|anything|whatever)|and stuff|& )(?=\W|$)",
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
        (r"\bdo ?n'?t\b", "don't"),
        (r"\bdoes ?n'?t\b", "doesn't"),
        (r"\bcan'?t\b", "can't"),
        (r"\b(?:really|actually|also|just|honestly|literally|definitely|totally|absolutely|kind of|kinda|sort of|pretty"
         r"|super|currently|basically|personally|probably|still|already|mostly|mainly|only|do|always) (?=(?:love|like|enjoy|hate"
         r"|have|am|work|live|play|study|a|an|in|from|studying|majoring|prefer|speak|want|watch|into|obsessed)\b)", ""),
        (r"\bfav(?:e|s)?\b", "favorite"),
        (r"\bu\b", "you"),
        (r"\bi\b", "I"),
    )
)  # fmt: skip

# What makes a statement hang on its conversation, on the day, or on the chat itself.
_PASSING = frozenset(
    """
    that it its it's this those these them him her he she they he's she's they're their his itself there here one ones same
    such today tonight tomorrow yesterday just you your yours you're yourself u ur we us our let's again either neither
    guess wonder wondering sorry glad sure gonna gotta prompt chat chatting bot robot ai conversation question answer
    talking lol haha minutes mins far thing things stuff something someone somebody anyone anything else bed nap
    asleep awake tired hungry bored sick excited late early morning afternoon evening week weekend last next recently
    later soon yet happened maybe might would could should hear heard say said saying mean meant idk thought app bad feeling
    hoping trying finished started guys hi hello dude fuck fucking shit damn ass bitch sex sexy sexual drunk porn kill suicide
    point what why how whatever anymore ago weather point problem issue mood idea agree luck chance prize class homework
    assignment final finals test exam test feel felt seconds hour hours nothing everything both done ready ate turn gets sit
    gender racist hitler nazi penis boobs
    """.split()
)

_PEOPLE = (
    r"mom|mother|dad|father|parents|brother|brothers|sister|sisters|siblings?|wife|husband|son|sons|daughters?|kids?|children|"
    r"family|girlfriend|boyfriend|fiance|fiancee|grandma|grandpa|grandparents|grandmother|grandfather|uncle|aunt|cousins?|"
    r"roommates?|dogs?|cats?|puppy|kittens?|pets?|twins?|nieces?|nephews?|family"
)
_OWNED = (
    rf"{_PEOPLE}|fish|birds?|parrot|horses?|chickens?|snake|hamster|rabbits?|bunny|turtle|lizard|degree|job|garden|tattoos?|"
    r"collection|guitar|piano|car|truck|motorcycle|bike|boat|farm|house|apartment|phd|masters?|minor|major|business|"
    r"company|channel|blog|podcast|allerg\w+|diabetes|asthma|adhd|anxiety|autism|freckles|hair|eyes|accent|passion|hobby|hobbies|"
    r"xbox|playstation|switch|drone|library|scholarship|internship|phobia|tooth|citizenship"
)
_COUNT = r"(?:a|an|one|two|three|four|five|six|seven|eight|nine|ten|\d+|no|twin|many|several|some|my own)"
_LIKING = r"(?:love|like|enjoy|hate|prefer|adore|dislike|don't like|don't enjoy|can't stand|am (?:really |very )?into|am obsessed with|am addicted to)"
_DOING = (
    r"read|write|sing|dance|paint|draw|cook|bake|run|swim|hike|bike|ski|snowboard|surf|climb|garden|knit|sew|crochet|travel|"
    r"camp|fish|hunt|code|program|skateboard|skate|golf|act|coach|teach|tutor|volunteer|collect|speak|own|drive|ride|train|"
    r"design|build|play|watch|listen to|eat|drink|make|study|wear|follow"
)
_STABLE = re.compile(
    r"I (?:"
    # who I am
    r"am (?:a|an|the (?:oldest|youngest|middle|only)|half|part|one of) (?!bit\b|little bit\b|lot\b|few\b|step\b|couple\b|mess\b|"
    r"firm\b|fool\b|loser\b|human\b|person\b|real\b|girl$|guy$|boy$|man$).+"
    r"|am (?:originally )?(?:from|majoring in|studying|minoring in|allergic to|afraid of|scared of|fluent in|learning|"
    r"married|engaged|single|divorced|vegan|vegetarian|left[- ]handed|bilingual|introverted|extroverted|shy|colorblind|"
    r"retired|pregnant|obsessed with|addicted to|into|passionate about|interested in|good at|terrible at|bad at)\b.*"
    r"|am (?:in|at) (?:college|high school|grad school|school|law school|med school|medical school|the army|the navy|the military|a band|byu|my)\b.*"
    r"|am \d+(?: years old)?"
    r"|am (?:\d+|very tall|tall|short|american|canadian|mexican|chinese|korean|japanese|indian|german|italian|irish|asian|african|"
    r"hispanic|latina|latino|british|brazilian|catholic|mormon|christian|muslim|jewish|lds|atheist)\b.*"
    # what I have, do, like
    rf"|have (?:always wanted to|never been to|been to|lived in|worked (?:at|as|in|for)|been (?:playing|married|working|studying|living|learning|a)) .+"
    rf"|have (?:{_COUNT} )?(?:[\w'-]+ ){{0,3}}(?:{_OWNED})\b.*"
    rf"|{_LIKING} .+"
    r"|(?:work|worked|live|lived|grew up|was born|was raised|moved|served|graduated|am working|am living) "
    r"(?:as|at|in|for|with|on|near|by|to|from|a mission|my mission|full time|part time|abroad)\b.+"
    rf"|(?:usually |often |sometimes |never |always )?(?:{_DOING}) .+"
    r"|can (?:play|speak|cook|sing|dance|juggle|draw|code|ride|knit|sew|bake) .+"
    r"|can't (?:cook|swim|drive|sing|dance|draw|eat|drink)\b.*"
    r"|(?:don't|never) (?:eat|drink|drive|watch|play|own|smoke|have any|have a)\b.*"
    r"|(?:want|plan|am planning|hope|am hoping|dream|would love) to (?:be|become|travel|visit|live|learn|work|study|teach|own|write|go to|move to|open) .+"
    r"|dream of .+"
    r"|used to (?:play|live|work|be|have|teach|dance|sing|swim|own|do) .+"
    r"|spend (?:most of )?my .+"
    r")$"
    rf"|My (?:favorite|favourite) .+ (?:is|are|was|would be) .+$"
    rf"|My (?:best friend|[\w]+ )?(?:{_PEOPLE})(?:'s name)? (?:is|are|has|have|had|was|were|works?|lives?|loves?|likes?|plays?|died|passed|owns?|speaks?|"
    r"came from|immigrated|taught) .+$"
    r"|My (?:major|job|hobby|hobbies|dream job|hometown|minor|degree|dream|biggest fear|passion|birthday|specialty|religion) (?:is|are|was|were|includes?) .+$",
    re.IGNORECASE,
)
_EMPTY_OBJECTS = re.compile(
    rf"^I (?:really )?{_LIKING} (?:to (?:think|know|see|hear|believe|say|help|talk|be|do)\b|being (?:able|here)|the (?:sound|way|fact|thought|name|prompt|"
    r"question|first|second|last|new|old|part|other|whole|concept)\b|talking|seeing|hearing|when|how|what|not|all of|a lot|very|too|me\b|my (?:life|name)\b|"
    r"both|some of|most|more|any|doing|having|making|getting|going$|about|at|in|for|with|as|than|on|to$|lots|pretty|and|or|an?\b.*\bguy)",
    re.IGNORECASE,
)
_DANGLING = re.compile(
    r"\b(?:a|an|the|and|or|of|to|in|at|for|with|on|by|from|my|is|are|was|than|as|about|into|not|very|really|i|am|have|be|"
    r"been|most|more|kind|kinda|pretty|super|up|some|because|would|like|all|only|lot|out|over|know|who)$",
    re.IGNORECASE,
)


class Caser:
    """Gives names their capital letter back, as the corpus itself mostly writes them inside sentences."""

    def __init__(self, texts: Iterable[str]) -> None:
        capital: Counter[str] = Counter()
        small: Counter[str] = Counter()
        for text in texts:
            for word in re.findall(r"(?<=[a-z,] )[A-Za-z][A-Za-z']+", text):
                (small if word.islower() else capital if word[1:].islower() else small)[word.lower()] += 1
        self._names = frozenset(
            word
            for word, count in capital.items()
            if count >= 3 and count > 1.5 * small[word] and not word.startswith("i'")
        )

    def __call__(self, sentence: str) -> str:
        return re.sub(r"[A-Za-z][A-Za-z']*", lambda m: m[0].capitalize() if m[0] in self._names else m[0], sentence)


def self_statements(text: str, caser: Caser) -> Iterator[str]:
    """Yield the lasting statements a chat message makes about its writer: "im from nigeria lol" -> "I am from Nigeria."."""
    for raw in _SENTENCE_END.split(text):
        if raw and not raw.rstrip().endswith("?") and (sentence := persona_sentence(raw, caser)):
            yield sentence


def persona_sentence(raw: str, caser: Caser) -> str | None:
    """Return one sentence in persona form, or None when it says nothing lasting about the speaker."""
    if not re.search(r"\b(?:i|im|ive|my)\b", raw, re.IGNORECASE):
        return None
    sentence = _FILLERS.sub("", raw.strip())
    for pattern, replacement in _EXPANSIONS:
        sentence = pattern.sub(replacement, sentence)
    start = _TAIL.search(sentence)
    if start:
        sentence = sentence[: start.start()]
    sentence = " ".join(sentence.strip(" .!?,'").split())
    while sentence and _DANGLING.search(sentence):
        sentence = _DANGLING.sub("", sentence).rstrip()
    said = words(sentence)
    if not _SHORTEST <= len(said) <= _LONGEST or not _PASSING.isdisjoint(said):
        return None
    sentence = sentence[:1].upper() + sentence[1:]
    if not _STABLE.match(sentence) or _EMPTY_OBJECTS.match(sentence) or not keyword_stems(sentence):
        return None
    if sentence.isupper() or not re.fullmatch(r"[\w\s',&/.-]+", sentence):
        return None
    return caser(sentence) + "."
