"""The words and set phrases that deny, like, wish or report: what `judging.polarity` reads a sentence by."""

# ruff: noqa: E501  (one phrase is read best as one row)
from __future__ import annotations

import re

NEGATIONS = frozenset(
    """
    not no never without neither nor none nobody nothing don't doesn't didn't isn't aren't wasn't weren't haven't hasn't
    hadn't can't cannot couldn't won't wouldn't shouldn't ain't hardly barely rarely seldom refuse refuses refused
    quit unable ban bans banned
    """.split()
)
AVERSIONS = frozenset(
    """
    hate hates hated hating dislike dislikes disliked despise despises loathe loathes detest detests allergic allergy
    allergies afraid scared terrified frightened fear fears phobia avoid avoids avoiding scares terrifies intolerant
    disgusts
    """.split()
)
LIKINGS = frozenset(
    """
    like likes liked love loves loved loving enjoy enjoys enjoyed enjoying adore adores prefer prefers favorite
    favourite favorites favourites fan fond
    """.split()
)
CLAUSE_BREAKS = frozenset("but though although however because so since while unless yet".split())
SELF = frozenset("i i'm i've i'd i'll we we're we've we'd we'll".split())
SUBJECTS = SELF | frozenset("he she they it it's you you're my there there's that's".split())
JOINTS = frozenset([",", "and", "or", "no", "nope", "nah", "yes", "yeah", "just", "only", "then", ""])
# "I don't have a dog I have two cats" begins anew at the second "I"; "I don't think I have a dog" does not.
CARRIES_ON = frozenset(
    """
    think believe know say said guess suppose feel that what like wish hope mean sure where when how why who if whether
    as than things thing everything anything nothing something way reason time day one ones remember tell
    """.split()
)
# Whose dog it is, when a clause begins with "my friend has".
PEOPLE = frozenset(
    """
    friend friends neighbour neighbours neighbor neighbors colleague colleagues coworker coworkers boss roommate
    flatmate housemate cousin cousins uncle aunt brother brothers sister sisters mother mom mum mama dad father papa
    parents grandma grandpa grandmother grandfather grandparents husband wife boyfriend girlfriend partner spouse
    fiance fiancee ex son sons daughter daughters kid kids children child nephew niece buddy
    """.split()
)
NOT_A_VERB = frozenset("and or , who that which whose with at in on for to i when because but from 's of".split())

_NOT = r"(?:not|never|don't|doesn't|didn't|can't|cannot|couldn't|won't|wouldn't|isn't|hasn't|haven't)"
# Marks that the reading of a sentence understands; no text holds them.
PAST, WISH, HOPE, EXCEPT = "\x01past", "\x01wish", "\x01hope", "\x01except"
BEFORE_DISLIKED, BEFORE_LIKED = "\x01disliked", "\x01liked"

PHRASES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # two negations make none
        (rf"\b{_NOT}((?: [\w']+){{0,4}}?) without\b", r"\1 with"),
        (r"\b(?:never|not|can't|cannot|couldn't|wouldn't|won't|don't)(?: ever)? (?:say|said|says?) no to\b", "love"),
        (r"\b(?:there(?:'s| is| was)? )?(?:isn't|not|hardly) a (?:day|night|week|morning)\b(.{0,30}?)\b(?:don't|doesn't)\b", r"\1"),
        (r"\bnothing (?:beats|better than|is better than|like an?|against|but)\b", "love"),
        (r"\b(?:nobody|no one) (\w+ )?(?:loves|likes|enjoys)\b", "love"),
        (r"\bwho (?:doesn't|wouldn't) (?:love|like|want)\b", "i love"),
        # an aversion or a liking that looks like a negation
        (r"\b(?:can't|cannot|can not|couldn't|could never) (?:stand|bear|abide|stomach)\b", "hate"),
        (r"\b(?:can't|cannot|never) get enough( of)?\b", "love"),
        (r"\b(?:can't|cannot|can not|couldn't) (?:wait|live without|resist|believe|imagine life without|help)\b", "love"),
        (r"\b(?:stay|stays|stayed|keep|keeps|steer|steers|shy|run) (?:far )?(?:away from|clear of|clear from)\b", "avoid"),
        # a "not" that denies nothing
        (r"\b(?:not (?:only|just|to mention|gonna lie|going to lie|sure|bad|too bad|really sure)|won't lie|no (?:doubt|problem|"
         r"worries|wonder|secret|matter|denying|less than|fewer than|kidding|lie|question)|none other than|never mind|why not|"
         r"can't (?:deny|complain)|don't (?:worry|get me wrong|mind|forget|tell|just|only|ask)|isn't bad|if you don't mind)\b", " "),
        # a denial in other words
        (r"\b(?:no longer|not any ?more|not any longer)\b", "not"),
        (r"\b(?:stopped|gave up|given up|giving up|gave away)\b", "not"),
        (r"\b(?:anything|everything|anyone|everyone|all) (?:but|except(?: for)?)\b", f"all {EXCEPT}"),
        (r"\b(?:except(?: for)?|apart from|instead of|rather than)\b", EXCEPT),
        (r"\brather ([^.!?;,]{1,40}?) than\b", r"\1 not"),
        (r"\binstead\b", ","),
        # said of what is liked before it is called so: "fish is disgusting", "cats make me sneeze"
        (r"\b(?:(?:is|are|was)(?:n't| not)|not) (?:really )?(?:for me|my (?:thing|cup of tea|style|favou?rites?))\b", BEFORE_DISLIKED),
        (r"(?:\band (?:i|me) )?\b(?:don't|doesn't|never|didn't) (?:get along|agree with me|mix|interest me)\b", BEFORE_DISLIKED),
        (r"\b(?:makes?|made) me (?:sick|sneeze|nervous|cringe|gag|ill|itch|itchy|shudder|angry|mad|sad|anxious|queasy)\b",
         BEFORE_DISLIKED),
        (r"\b(?:scares?|terrif(?:y|ies)|frightens?|bothers?|annoys?|disgusts?|irritates?) me\b(?! (?:most |more |the most )?(?:is|are|:))",
         BEFORE_DISLIKED),
        (r"\b(?:freaks?|creeps?|grosses) me out\b|\bgets? on my nerves\b|\bdrives? me (?:crazy|mad|nuts|insane|up the wall)\b",
         BEFORE_DISLIKED),
        (r"\b(?:is|are|tastes?|smells?) (?:just |so |really |simply |plain |absolutely )?"
         r"(?:disgusting|gross|yucky|nasty|revolting|vile|horrible|awful|terrible|the worst)\b", BEFORE_DISLIKED),
        (r"\b(?:is|are|tastes?) (?:just |so |really |simply |absolutely )?(?:delicious|tasty|yummy|the best|my favou?rites?|wonderful|"
         r"great|amazing|lovely|fantastic)\b|\bmakes? me (?:happy|smile)\b", BEFORE_LIKED),
        # what was, is only wished for, or may come
        (r"(?<!am )(?<!i'm )(?<!get )(?<!got )(?<!getting )(?<!was )(?<!are )(?<!is )\bused to\b", PAST),
        (r"\bonce (had|owned|was|worked|lived|did|played|kept)\b", rf"{PAST} \1"),
        (r"\b(?:i|we) (?:do |really |often |sometimes |just |so )*wish\b|\bif only\b|\bif (?:i|we) (?:had|were|was|could)\b|\bas if\b", WISH),
        (r"\b(?:i'd|we'd|i would|we would) (?:have|be)\b(?=[^.!?;]*\bif\b)", WISH),
        (r"\b(?:want|wants|hope|hoping|plan|planning|going|like|love|thinking|dream|dreaming|decided) (?:to|of|about) "
         r"(?:have|having|own|owning|get|getting|adopt|adopting|become|becoming)\b", HOPE),
        (r"\b(would|i'd|'d) (?:like|love)\b", r"\1 want"),
    )
)  # fmt: skip
"""What is put in place of set phrases, in this order, before a text is read word by word."""
