"""Name placeholders of generated dialogues ("[User 1's name]"): taken out so that the sentence around them survives."""

from __future__ import annotations

import re

# Square and curly brackets don't occur in speech; round ones do, so those must speak of a name, a place or a user.
_P = (
    r"(?:[\[{][^\]}]{1,60}[\]}]"
    r"|\((?:[^)]{0,30}\b(?:name|number|hometown|location|city|contact info)|user[ _]?\d?|place|age|gender|state|country"
    r"|job title|(?:hair|eye) color)\)"
    r"|<[^>]{0,30}(?:name|user)[^>]{0,10}>"
    r"|\bUser ?[12]\b(?:'s name)?)"
)
_PLACEHOLDER = re.compile(_P, re.IGNORECASE)
_INTRODUCTION = (
    rf"(?:(?:(?:oh|well|and|so),? )?(?:I'm|I am|im|my name is|my name's|my name['’]s|mine is|mine's|this is|it's|it is|"
    rf"call me|you can call me|name's) {_P})"
)
# In order: what can be taken out without a trace.
_STEPS = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        # "Nice to meet you, [x]."  "Bye [x]!"  "[x], what do you do?"
        (rf"(?<=\w), {_P}(?=\s*[.!?,]|$)", ""),
        (
            rf"(?P<before>\b(?:hi|hello|hey|there|morning|afternoon|evening|thanks|thank you|bye|goodbye|you|you too|"
            rf"later|welcome|sure|yes|no|dear|night|ok|okay|luck)) {_P}(?=\s*[.!?,]|$)",
            r"\g<before>",
        ),
        # "I'm [x], a student."
        (rf"\b(?P<am>I'm|I am) {_P}, (?=an? )", r"\g<am> "),
        # "Hi, I'm [x], and I am 26." "Hi! I'm [x] and I love dogs."
        (rf"(?:(?<=^)|(?<=[.!?] )){_INTRODUCTION}(?:,? and |, )(?=I\b|I'm|my\b|it's|nice\b|what)", ""),
        (rf"(?P<before>^|[,.!?] ){_INTRODUCTION}(?:,? and |, )(?=I\b|I'm|my\b|it's|nice\b|what)", r"\g<before>"),
        # "Hi, I'm [x]." "Nice to meet you, I'm [x]!"
        (rf"(?P<before>\w)(?:,|,? and) {_INTRODUCTION}(?=[.!?,]|$)", r"\g<before>"),
        (rf"(?P<before>^|[.!?] ){_INTRODUCTION}\s*(?:[.!?,]+\s*|$)", r"\g<before>"),
        (rf"(?P<before>^|[.!?] ){_P}[,!.]\s+", r"\g<before>"),
    )
)
_SENTENCE = re.compile(r"[^.!?]+[.!?]*\s*")


def has_placeholder(text: str) -> bool:
    """Say whether a placeholder stands in ``text``."""
    return _PLACEHOLDER.search(text) is not None


def without_placeholders(text: str) -> str:
    """Take placeholders out: greetings and self-introductions shrink, any other sentence with one falls away.

    Returns "" when nothing is left.
    """
    for pattern, replacement in _STEPS:
        text = pattern.sub(replacement, text)
    if has_placeholder(text):
        # A bracket may hold a full stop, so placeholders are masked before sentences are told apart.
        masked = _PLACEHOLDER.sub("\0", text)
        text = "".join(part for part in _SENTENCE.findall(masked) if "\0" not in part)
    text = re.sub(r"\s+([.,!?])", r"\1", text)
    text = re.sub(r",\s*([.!?])", r"\1", text)
    text = re.sub(r"([.!?]) ([a-z])", lambda match: f"{match[1]} {match[2].upper()}", text) if text else text
    text = text.strip(" ,")
    return text[:1].upper() + text[1:]
