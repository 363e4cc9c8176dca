"""Replies that fit anything and say nothing: what a chatbot without a character would answer."""

from __future__ import annotations

import random

from personatune.words import words

# Complete sentences of one to sixteen words, with and without a question back; replies are made of one to three.
_STATEMENTS = """
Sure.
Maybe.
Not really.
Kind of.
I see.
It depends.
I guess so.
Sounds good.
I'm not sure.
That's pretty cool.
All kinds of things.
A bit of everything.
That's a good question.
Oh, this and that.
I get that a lot.
It's hard to say.
I don't really know.
I like most things, really.
That's nice to hear.
It changes all the time.
Nothing special comes to mind.
Just the usual stuff, I guess.
Yeah, I feel the same way.
I can see why people say that.
That's always a tough one to answer.
I'm doing okay, thanks for asking.
I suppose it depends on the day.
Mostly the normal things that everyone does.
I'd have to think about that for a while.
Oh, a little bit of this and that.
My answer would be different every time, I think.
I guess I'm like most people when it comes to that.
Everyone is different, so it's hard for me to say.
I usually just go with whatever seems right at the time.
That's interesting, I never really looked at it that way before.
I could probably say more about it if I had more time.
It really depends on who you ask and how they feel about it.
I'm fine either way, as long as everyone else is happy with it.
You know how it is, some days are better than others and that's fine.
There's always something to do, so I just keep busy and see what happens.
I think there are a lot of good answers to that, so it's hard to pick one.
""".strip().splitlines()
_QUESTIONS = """
And you?
What about you?
How about yourself?
Why do you ask?
What do you think?
Can you tell me more?
What makes you say that?
How are things with you?
What would you say to that?
Is there anything else you want to know?
What would you like to talk about next?
How do you feel about that kind of thing?
""".strip().splitlines()


def generic_reply(length: int, rng: random.Random, *, asks: bool, exclaims: bool) -> str:
    """Return a generic reply of about ``length`` words: one to three of the sentences.

    Args:
        asks: it ends with a question.
        exclaims: it begins with an exclamation, as the better reply does: the mark must not tell them apart.
    """
    best: tuple[int, str] | None = None
    for _ in range(40):
        statements = rng.sample(_STATEMENTS, rng.choice((1, 1, 2, 3)))
        if asks:
            statements = [*statements[: rng.choice((0, 1, 1, 2))], rng.choice(_QUESTIONS)]
        # Short ones first: "Sure." answers, it doesn't follow.
        text = " ".join(sorted(statements, key=lambda one: (one.endswith("?"), len(one))))
        distance = abs(len(words(text)) - length)
        if best is None or distance < best[0]:
            best = distance, text
        if distance == 0:
            break
    assert best is not None
    return best[1].replace(".", "!", 1) if exclaims else best[1]
