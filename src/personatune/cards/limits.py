"""How large anything in a card may be. Cards found in the wild stay below a tenth of each of these."""

from __future__ import annotations

MEBIBYTE = 2**20

MAX_JSON_BYTES = 8 * MEBIBYTE
"""The card itself. Parsed JSON takes up to twenty times its size in memory."""

MAX_PNG_BYTES = 64 * MEBIBYTE
MAX_PNG_CHUNKS = 50_000  # encoders write 8 KiB of pixels a chunk: a picture of 64 MiB has 8,000

MAX_ARCHIVE_BYTES = 256 * MEBIBYTE
MAX_ARCHIVE_ENTRIES = 2_000
MAX_DIRECTORY_BYTES = MEBIBYTE
"""The list of files at the end of an archive, looked at before a library reads it: each entry costs a kilobyte."""
MAX_UNPACKED_BYTES = 512 * MEBIBYTE
"""All files of an archive together, unpacked. Nothing but card.json is unpacked to read a card."""

MAX_NESTING = 64
"""Objects within objects. The formats need six; `extensions` of programs a dozen."""

MAX_TEXT_CHARACTERS = 200_000
"""One text of a card, about forty thousand words."""
MAX_TOLD_CHARACTERS = 20_000
"""Of a description (and of example dialogues), what persona sentences are looked for in: they are twenty at most."""
MAX_LORE_CONTENT = 2_000
"""Of an entry's content, what is told: four times what a turn has room for."""
MAX_SENTENCE_CHARACTERS = 600
"""A sentence longer than this is no sentence, and nothing looks inside it."""
MAX_NAME_CHARACTERS = 200
MAX_GREETINGS = 500
MAX_LORE_ENTRIES = 2_000
MAX_KEYS = 100
MAX_BOOK_KEYS = 20_000
"""Of all entries together: so many are looked for in a second."""
MAX_KEY_CHARACTERS = 1_000

MAX_SCAN_DEPTH = 100
"""Turns a lorebook looks back over, whatever the card asks."""
MAX_SCANNED_CHARACTERS = 10_000
"""Of the turns (and of entries that fired), the last ones."""
MAX_PERSONA_CHARACTERS = 1_200
"""Of a card's persona sentences together: about 280 of the 512 tokens that the presets' prompts have."""
MAX_LORE_CHARACTERS = 500
"""Of the sentences that a turn's lorebook entries add: about 120 tokens more; the rest is the dialogue's."""
MAX_LORE_PASSES = 4
"""How often entries that fired may set off others (`recursive_scanning`)."""

MAX_EXAMPLE_TURNS = 8
"""Of a card's example dialogues, those that go before the chat."""
