"""What the partner of a probe dialogue says between the questions: nothing that asks for or tells of a persona."""

from __future__ import annotations

OPENINGS: tuple[str, ...] = (
    "Hi there! How is your day going?",
    "Hello! Nice to meet you.",
    "Hey, how are you doing today?",
    "Good evening! How are you?",
    "Hi! It's nice to have someone to chat with.",
    "Hello there, how's it going?",
    "Hey! What's up?",
    "Hi, I hope you are doing well.",
    "Hello! How has your week been?",
    "Hey there, it's good to talk to you.",
)

INTERLUDES: tuple[str, ...] = (
    "Haha, nice.",
    "Oh, I see. That's interesting!",
    "That sounds great.",
    "Wow, I didn't expect that!",
    "I'm having such a slow day today.",
    "Thanks for telling me.",
    "It's really nice talking to you.",
    "Sorry, I was away for a second. I'm back now.",
    "Cool! I have all the time in the world, by the way.",
    "Hmm, I never thought about it like that.",
    "I can hardly believe how fast this week went.",
    "That makes sense to me.",
    "Okay! You seem easy to talk to.",
    "It has been raining here since the morning.",
    "I just got myself comfortable on the couch.",
    "I wish the day had a few more hours.",
    "Ha, that made me smile.",
    "I think we are getting along well.",
    "Good to know! Let me think what else I could ask.",
    "I was a bit nervous about chatting with a stranger, to be honest.",
)
