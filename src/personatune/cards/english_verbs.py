"""English verb forms, as far as turning "she lives" into "I live" needs them."""

from __future__ import annotations

import re

# Verbs of self-descriptions. After a subject any word in -s is a verb; this list tells "and works" from "and dogs".
BASE_FORMS = frozenset(
    """
    accept accompany adorn achieve act adapt admire admit adore advise agree aim allow appear appreciate apologize argue
    arrive ask aspire assist attend avoid awaken babysit bake battle be become befriend begin behave believe belong
    bite blame bleed blush boast bother break breathe breed bring build bury buy call care carry carve catch
    cause celebrate challenge chase cherish choose claim clean climb cling collect combine come comfort command
    communicate compete complain compose conceal consider consume contain continue control cook crave create
    cry dry dance dare deal decide defend deliver depend deserve design desire despise detest develop devote die dig
    dislike display distrust do donate draw dream dress drink drive dwell earn eat embrace embroider emit encourage
    endure engage enjoy enter entertain escape excel exercise exhibit expect explore express face fall fear feed feel
    fight find finish fish fix flee flirt fly focus follow forage forbid forge forget forgive frequent garden gather get
    giggle give go govern grow guard guide handle harbor hate have heal hear help hesitate hide hold honor hope host
    hum hunt identify ignore imagine inherit insist intend invent invite judge keep kill knit know lack laugh lead lean
    learn leave lend lie lift like listen live loathe long look lose love maintain make manage marry master meditate
    meet mend mentor miss mock mourn move need neglect notice nurse obey observe obsess offer operate order own paint
    perform play plan plant pose possess practice practise pray prefer prepare pretend produce protect prove provide
    pursue push put raise rarely read receive refuse regard regret reject relax rely remain remember repair represent
    rescue resemble resent reside resist respect respond rest return reveal ride rule run sail save say scare scold
    see seek seem sell send serve sew share shine show shun sing sketch sleep smell smile smoke solve spar speak spend
    stand stay steal stop strive struggle study suffer suspect swear swim take talk teach tell tend thank think thrive
    tolerate train travel treasure treat trust try understand use value view visit volunteer wait wake walk wander want
    wash watch wear whisper wield win wish wonder work worry worship write yearn
    """.split()
)

PAST_FORMS = frozenset(
    """
    ate became began bent bit bled blew bought bore bred broke brought built burnt came caught chose clung crept cut
    dealt did drank dreamt drew drove dug fell fed felt fled flew forbade forgave forgot fought found froze gave got
    grew had heard held hid hit hung hurt kept knew laid lay lost left lent led learnt let lit made meant met paid put
    ran rang read rode rose said sang sank sat saw set sent shook shot shrank shut slept slid sold sought spent spoke
    spread sprang stole stood struck stuck swam swept swore taught thought threw told took tore understood went were
    was woke won wore wove wrote
    """.split()
)
MODALS = frozenset(
    """
    can can't cannot could couldn't may might must mustn't shall should shouldn't will won't would wouldn't did didn't
    had hadn't was wasn't
    """.split()
)
ADVERBS = frozenset(
    """
    also always almost already even ever just never now often once only perhaps quite rather seldom sometimes somehow
    still then too very well soon thus both all
    """.split()
)

# Third person singular to first person, where it is more than dropping -s.
IRREGULAR = {
    "is": "am",
    "isn't": "am not",
    "has": "have",
    "hasn't": "haven't",
    "does": "do",
    "doesn't": "don't",
}
PLURAL_IRREGULAR = {"are": "am", "aren't": "am not", "were": "was", "weren't": "wasn't"}
"""The same for a character called "they"."""

_IES_FROM_IE = frozenset({"dies", "lies", "ties", "vies", "unties"})
_HISSING = re.compile(r"(?:ss|sh|ch|x|zz|o)es$")
_NO_VERB = re.compile(r"(?:ss|us|is|ous|'s)$")


def is_adverb(word: str) -> bool:
    """Say whether a lower-case word can stand between subject and verb."""
    return word in ADVERBS or (word.endswith("ly") and len(word) > 4)


def is_past(word: str) -> bool:
    """Say whether a lower-case word is a past form, the same in every person."""
    return word in PAST_FORMS or (word.endswith("ed") and len(word) > 3)


def base_form(word: str) -> str | None:
    """Return the base of a lower-case third-person form ("watches" gives "watch"), None if it can't be one."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) < 4 or not word.endswith("s") or _NO_VERB.search(word) or word in ADVERBS:
        return None
    if word in _IES_FROM_IE:
        return word[:-1]
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    if word == "focuses":
        return "focus"
    return word[:-2] if _HISSING.search(word) else word[:-1]


def is_known_verb(word: str) -> bool:
    """Say whether a lower-case word is the third person of a verb that self-descriptions use."""
    return word in IRREGULAR or base_form(word) in BASE_FORMS
