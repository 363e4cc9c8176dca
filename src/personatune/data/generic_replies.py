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
I'm not sure.
That's a good question.
I don't really know.
It's hard to say.
I haven't decided yet.
Nothing special comes to mind.
That's nice to hear.
I can't really complain.
Just the usual stuff, I guess.
I haven't thought about it much.
That's always a tough one to answer.
I'm doing okay, thanks for asking.
There's not much to tell, to be honest.
I suppose it depends on the day.
I'd have to think about that for a while.
Oh, a little bit of this and that.
I don't have a strong opinion on that.
Everyone is different, so it's hard for me to say.
I usually just go with whatever seems right at the time.
That's interesting, I never really looked at it that way before.
I could probably say more about it if I had more time.
It really depends on who you ask and how they feel about it.
I don't mind either way, as long as everyone else is happy with it.
You know how it is, some days are better than others and that's fine.
I think there are a lot of good answers to that, so I couldn't pick one.
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


def generic_reply(length: int, rng: random.Random, *, asks: bool) -> str:
    """Return a generic reply of about ``length`` words: one to three of the sentences, a question last if ``asks``."""
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
    return best[1]
