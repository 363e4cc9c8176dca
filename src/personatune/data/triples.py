"""Persona sentences as triples (who, relation, what), after Welleck et al. 2019 (arXiv 1811.00671).

Two sentences with the same triple say the same; an opposed relation, or another value where only one can be true,
contradicts; another relation says nothing. Rules read the triple; a sentence that no rule fits has none.
"""

# ruff: noqa: E501  (one rule is read best as one row)
from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from personatune.lexicon import NUMBER_DIGITS, group_of, group_values
from personatune.words import digits_value, is_content_word, stem, words

EXCLUSIVE = frozenset(
    "job workplace lives_in from age marital_status nationality hair height study birth_order vehicle".split()
)
"""Relations of which a speaker has one value; "favourite …" is exclusive too."""

COUNTED = frozenset(("have",))


@dataclass(frozen=True, slots=True)
class Triple:
    """What a sentence states.

    Attributes:
        who: "i", or the relative or friend it speaks of ("mother").
        relation: "like", "have", "job", "favourite color", "do", …
        what: stems of the value's content words.
        affirmed: False for "don't", "never", "hate".
        count: how many, where something is counted ("two dogs": 2).
        text: the value as it stands in the sentence.
    """

    who: str
    relation: str
    what: frozenset[str]
    affirmed: bool
    count: int | None
    text: str

    @property
    def exclusive(self) -> bool:
        return self.affirmed and (self.relation in EXCLUSIVE or self.relation.startswith("favourite "))

    def same_thing(self, other: Triple) -> bool:
        """Say whether both speak of the same thing: one value holds the other."""
        return self.what <= other.what or other.what <= self.what

    def groups(self) -> frozenset[str]:
        """Return the lexicon's groups that the value's words belong to ("us state", "job")."""
        return _groups(self.text)


_LOST = (
    (re.compile(r"[’`´]"), "'"),
    (re.compile(r"\bi ?' ?m\b|\bi m\b|\bim\b"), "i am"),
    (re.compile(r"\bi ?' ?ve\b|\bi ve\b|\bive\b"), "i have"),
    (re.compile(r"\bi ?' ?d\b"), "i would"),
    (re.compile(r"\bi ?' ?ll\b"), "i will"),
    (
        re.compile(r"\b(do|does|did|is|are|was|were|have|has|had|could|would|should)(?:n ?' ?t|nt| n ' t|n t)\b"),
        r"\1 not",
    ),
    (re.compile(r"\bca(?:n ?' ?t|nt|n t)\b|\bcannot\b|\bcan not\b"), "can not"),
    (re.compile(r"\b(it|that|he|she|there|what) ?' ?s\b"), r"\1 is"),
    (re.compile(r"\b(we|they|you) ?' ?re\b"), r"\1 are"),
    (re.compile(r"\bgonna\b"), "going to"),
    (re.compile(r"\bwanna\b"), "want to"),
    (re.compile(r"\bfavorite\b|\bfave?\b"), "favourite"),
)
_ADVERBS = re.compile(
    r"\b(?:really|also|just|still|actually|definitely|absolutely|truly|totally|usually|mostly|currently|now|both|"
    r"recently|always|often|sometimes|especially|very|so|quite|pretty|kind of|sort of|kinda|too|as well|even|only|"
    r"personally|honestly|presently|generally|typically|probably|secretly|do(?= (?:like|love|enjoy|have|own|play|eat|work|live)\b))\b"
)
_OPENING = re.compile(
    r"^(?:(?:well|and|but|so|yeah|yes|yep|no|nope|oh|ah|haha|lol|hi|hello|hey|ok|okay|cool|nice|great|wow|hmm|me too|same here|"
    r"that is (?:cool|nice|great|awesome|good)|sounds (?:good|great|fun)|because|since|awesome|thanks|thank you|sure|good)\b[\s,!.]*)+"
)


@lru_cache(maxsize=200_000)
def plain_sentence(text: str) -> str:
    """Return a sentence in lower case with contractions and lost apostrophes spelt out, and without filler."""
    plain = f" {text.lower()} "
    for pattern, better in _LOST:
        plain = pattern.sub(better, plain)
    plain = re.sub(r"[^a-z0-9' ]+", " ", plain.replace(" , ", " "))
    plain = " ".join(plain.split())
    plain = _OPENING.sub("", plain)
    return " ".join(_ADVERBS.sub(" ", plain).split())


_NOT = r"(?P<not>(?:do|did|am|is|are|was|were|have|would|could|can|will) not |never |can not |do not even )?"
_LIKE = (
    r"(?:like|love|enjoy|adore|prefer|am into|am fond of|am obsessed with|am crazy about|am addicted to|"
    r"am passionate about|have a passion for|can not get enough of|would rather|"
    r"am (?:a |an )?(?:big |huge |avid |great )*(?:fan|lover) of)"
)
_DISLIKE = (
    r"(?:hate|dislike|despise|detest|loathe|can not stand|am not (?:a |an )?(?:big |huge |much of a )*fan of|"
    r"am not into|am not fond of|do not care for|(?:do|did) not (?:like|love|enjoy)|never (?:liked|enjoyed|like)|am sick of)"
)
_KIN = (
    r"(?:mother|mom|mum|father|dad|parents|brothers?|sisters?|siblings|sons?|daughters?|kids|children|husband|wife|boyfriend|"
    r"girlfriend|fiance|partner|grandmother|grandma|grandfather|grandpa|grandparents|aunt|uncle|cousins?|best friend|friends?|"
    r"roommates?|boss|family|dogs?|cats?|pets?)"
)
_KIN_NAMES = {"mom": "mother", "mum": "mother", "dad": "father", "grandma": "grandmother", "grandpa": "grandfather"}
_NUMBERS = "|".join(name for name in NUMBER_DIGITS if name != "zero")
_PLACE_END = r"(?P<v>[a-z' ]+?)(?: with| and | but| for (?:the|my|a|\d)| because| since| where| which| now|$)"

_RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (relation, re.compile(pattern))
    for relation, pattern in (
        ("favourite", r"\bmy (?:all time |absolute |number one )?favourite (?P<x>[a-z' ]+?) (?:is|are|was|has to be|would be|would have to be)(?: the color)? (?P<v>.+)"),
        ("favourite", r"^(?P<v>[a-z' ]+?) (?:is|are) my (?:all time |absolute )?favourite(?: (?P<x>[a-z]+))?$"),
        ("age", rf"\bi (?:am|turned|just turned|will be|am about to be) (?P<v>\d+|(?:{_NUMBERS})(?: (?:{_NUMBERS}))?)(?: years?(?: old| of age| young)?| yrs? old)?$"),
        ("age", rf"\bi am (?:a )?(?P<v>\d+|(?:{_NUMBERS})(?: (?:{_NUMBERS}))?) years? old\b"),
        ("dislike", rf"\bi {_DISLIKE} (?P<v>.+)"),
        ("like", rf"\bi {_LIKE} (?P<v>.+)"),
        ("marital_status", r"\bi (?P<not>am not |have never been |have not been )?(?:am |got |have been |am getting )?(?:a |an |happily |recently )?(?P<v>married|single|divorced|engaged|widowed|widow|widower)\b"),
        ("marital_status", r"\bi (?P<not>do not |have never )?(?:have|had) an? (?:\w+ )?(?P<v>husband|wife|boyfriend|girlfriend|fiance)\b"),
        ("nationality", r"\bi am (?:an? )?(?P<v>(?:half |part )?(?:" + "|".join((*group_values("nationality"), *group_values("cuisine"))) + r"))(?: (?:man|woman|citizen|american|girl|guy))?$"),
        ("hair", r"\bi (?:have|am|was born with)(?: a)? (?P<v>(?:long |short |curly |straight |dark |light |dyed )*(?:blonde?|brown|red|black|brunette|redhead|bald|grey|gray|white|purple|blue|pink|green|ginger))(?: hair(?:ed)?| haired| head)?$"),
        ("height", r"\bi am (?P<v>tall|short|\w+ feet(?: \w+)?(?: tall)?|\w+ foot(?: \w+)?(?: tall)?)(?: for my age| man| woman| guy| girl)?$"),
        ("from", r"\bi (?:am|come|hail|am originally|originally come) from " + _PLACE_END),
        ("from", r"\bi was (?:born|raised|born and raised|brought up) (?:in|on|near|at) " + _PLACE_END),
        ("from", r"\bi grew up (?:in|on|near|at) " + _PLACE_END),
        ("lives_in", r"\b(?:i|we) (?P<not>do not )?(?:live|am living|reside|moved|have lived|have been living|am moving|stay)(?: \w+)? (?:in|on|to|near|at|by|outside) " + _PLACE_END),
        ("lives_with", r"\bi (?P<not>do not )?(?:live|am living|stay|have been living)(?: at home| \w+)? (?:with )?(?P<v>(?:my|a|an|two|three|other|alone|by myself|someone|some)\b.*)"),
        ("job", r"\bi (?P<not>do not |am not )?(?:work|am working|am employed|worked|moonlight) as (?:a |an |the )?(?P<v>.+)"),
        ("job", r"\bmy (?:job|profession|occupation|career|current job) is (?:being |to be )?(?:a |an )?(?P<v>.+)"),
        ("workplace", r"\bi (?P<not>do not )?(?:work|am working|am employed|have a job|got a job|have worked)(?: part time| full time| \w+)? (?:at|for|in|with|on) (?:a |an |the |my )?(?P<v>.+)"),
        ("study", r"\bi (?P<not>do not |did not )?(?:am )?(?:study|studying|studied|major in|majored in|majoring in|am majoring in|have a degree in|am studying|got my degree in|am getting my degree in|am going to school for|went to school for)(?: to be(?:come)?)? (?:a |an )?(?P<v>.+)"),
        ("teach", r"\bi teach (?P<v>.+)"),
        ("can", r"\bi (?P<not>can not|could not|never learned(?: how)? to|do not know how to|am not (?:good|great) at|am (?:bad|terrible|awful) at) (?P<v>(?!wait|believe|imagine|stand|help|say|remember|decide).+)"),
        ("can", r"\bi (?:can|know how to|am able to|am (?:good|great|skilled|excellent|amazing|talented) (?:at|in|with)|learned(?: how)? to) (?P<v>.+)"),
        ("want", r"\bi (?P<not>do not |never )?(?:want|wish|hope|dream|plan|aspire|would like|would love|am hoping|am planning|am going|need)(?: to| of| for| on)*(?: be(?:come)?)? (?P<v>.+)"),
        ("used_to", r"\bi (?:used to|once|was once|formerly)(?: be| work as)?(?: an?)? (?P<v>.+)"),
        ("afraid", r"\bi am (?P<not>not )?(?:deathly |terribly )?(?:afraid|scared|terrified|frightened) of (?P<v>.+)"),
        ("allergic", r"\bi (?:am|have) (?P<not>not )?(?:allergic to|an allergy to|allergies to) (?P<v>.+)"),
        ("have", r"\bi (?P<not>do not |never |have never |did not )(?:have|had|own|owned|keep|got|get)(?: any| an?)? (?P<v>(?!to\b|been\b).+)"),
        ("have", r"\bi have (?P<not>no) (?P<v>.+)"),
        ("have", r"\bi (?:have got|have|own|keep|adopted|bought|got|rescued|raise)(?: (?:a|an|my own|some|about))? (?P<v>(?!to\b|been\b|never\b|always\b|not\b|had\b|a hard time|trouble|done\b|seen\b|heard\b|lost\b|\w+ed\b).+)"),
        ("drive", r"\bi (?P<not>do not |can not )?drive(?: an?| my)? (?P<v>.+)"),
        ("play", r"\bi (?P<not>do not |never )?(?:play|played|am learning to play|am playing|have been playing)(?: the| on the| for the| for| with)? (?P<v>.+)"),
        ("eat", r"\bi (?P<not>do not |never |can not )?(?:eat|drink|cook|bake|am eating|smoke)(?: an?| the| some| any| only)? (?P<v>.+)"),
        ("watch", r"\bi (?P<not>do not |never )?(?:watch|read|listen to|am watching|am reading|follow|collect|write)(?: an?| the| some| any| to)? (?P<v>.+)"),
        ("be", r"\bi am (?P<not>not )?(?:a |an |the )?(?P<v>(?!sorry|sure|glad|doing|good$|fine|going|gonna|happy to|in\b|at\b|on\b|here|from|just|with|about|well|great$|ok|okay|interested|trying|looking|thinking).+)"),
        ("do", r"\bi (?P<not>do not |never |did not |would never |will never )?(?P<v>(?!am\b|was\b|have\b|had\b|would\b|will\b|could\b|can\b|should\b|think\b|guess\b|know\b|mean\b|hope\b|wonder\b|see\b|feel\b|bet\b|agree\b|understand\b|do\b|not\b|never\b|heard\b|am\b|m\b|said\b|did\b)[a-z]+ .+)"),
    )
)  # fmt: skip
_OF_KIN = re.compile(
    rf"^my (?:\w+ )?(?P<who>{_KIN}) (?P<rel>is|are|was|were|has|have|works?|worked|lives?|lived|likes?|loves?|hates?|"
    r"plays?|played|owns?|taught|died|passed|does not|do not|did not|never|always|left|used to)\b ?(?P<v>.*)"
)
_END_OF_VALUE = re.compile(
    r"\b(?:but|because|since|although|though|so that|which|when|whenever|if|while|unless|what about you|how about you|"
    r"do you|are you|have you|and (?:i|my|you|it|we|he|she|they)\b)"
)
# The first word of a row stands for all. Only words for the very same thing: the lexicon's synonyms also hold cases.
_SAME = {
    stem(other): stem(row.split()[0])
    for row in """mother mom mommy mum mama
        father dad daddy papa
        grandmother grandma granny nana
        grandfather grandpa
        child kid children kids
        film movie movies
        doctor physician
        lawyer attorney
        writer author novelist
        programmer coder developer
        dog puppy puppies pup doggy
        cat kitten kitty
        rabbit bunny
        bicycle bike
        car automobile
        television tv
        autumn fall
        math mathematics maths
        university college
        running jogging jog
        vegetables veggies
        america usa
        fat chubby overweight
        thin slim skinny
        rich wealthy
        shy introverted introvert
        outgoing extroverted extrovert
        gray grey
        hamburger burger cheeseburger
        mountain hills
        ocean sea
        beer beers
        job work""".splitlines()
    for other in row.split()[1:]
}
_TOPIC_FILLER = frozenset("kind type of tv genre to".split())
_WEAK = frozenset(
    map(
        stem,
        """old year years lot lots really big small large good great nice little new free spare time live living own most
        kind sort type all day everyday weekend weekends week daily anything everything much many whole place cute
        beautiful amazing favorite favourite best also""".split(),
    )
)


@lru_cache(maxsize=200_000)
def triple_of(sentence: str) -> Triple | None:
    """Return the triple of one sentence, or None where no rule is sure. Questions state nothing."""
    if "?" in sentence:
        return None
    plain = plain_sentence(sentence)
    kin = _OF_KIN.match(plain)
    if kin:
        who = _KIN_NAMES.get(kin["who"], kin["who"])
        denied = bool(re.match(r"(?:does not|do not|did not|never)", kin["rel"])) or kin["v"].startswith("not ")
        return _triple(who, f"kin {kin['rel'].split()[0].rstrip('s')}", kin["v"], affirmed=not denied)
    for relation, pattern in _RULES:
        match = pattern.search(plain)
        if match is None or (relation != "favourite" and re.search(r"\bif\b|\bwish\b", plain[: match.start()])):
            continue
        found = match.groupdict()
        value = found["v"]
        name = relation
        if relation == "favourite":
            topic = " ".join(word for word in words(found.get("x") or "") if word not in _TOPIC_FILLER)
            name = f"favourite {topic}".strip()
        elif relation == "be" and _is_job(value):
            name = "job"
        affirmed = not found.get("not")
        if relation == "dislike":
            name, affirmed = "like", False
        return _triple("i", name, value, affirmed=affirmed)
    return None


def _triple(who: str, relation: str, value: str, *, affirmed: bool) -> Triple | None:
    end = _END_OF_VALUE.search(value)
    value = value[: end.start()] if end else value
    said = words(value)
    what = frozenset(_canonical(word) for word in said if is_content_word(word)) - _WEAK
    values = (digits_value(NUMBER_DIGITS.get(word, word)) for word in said[:3])
    numbers = [value for value in values if value is not None]
    if relation == "age":
        what = frozenset((str(sum(numbers)),)) if numbers else frozenset()
    elif relation in COUNTED:
        what = frozenset(word for word in what if not word.isdigit() and group_of(word) != "number")
    if not what:
        return None
    count = numbers[0] if numbers and relation in COUNTED and numbers[0] < 50 else None
    return Triple(who, relation, what, affirmed, count, value.strip())


def _canonical(word: str) -> str:
    """One stem for a word and its plain synonyms; a case of something ("son" of child) stays itself."""
    found = stem(word)
    return _SAME.get(found, found)


@lru_cache(maxsize=50_000)
def _groups(text: str) -> frozenset[str]:
    said = words(text)
    parts = [*said, *(" ".join(said[at : at + 2]) for at in range(len(said) - 1))]
    return frozenset(group for part in parts if (group := group_of(part)))


def _is_job(value: str) -> bool:
    said = words(value)[:4]
    return any(group_of(word) == "job" for word in said) or any(
        group_of(" ".join(said[at : at + 2])) == "job" for at in range(len(said) - 1)
    )
