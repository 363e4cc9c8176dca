"""Renders random hostile dialogues in every prompt form and parses them back from the tokens.

10,000 dialogues a form: control tokens of all families, Unicode's traps, HTML, Markdown and template marks, in
personas, names and turns. Asked of each: as many turns by the same speakers with the same text, the persona's
sentences, no control token inside a text, the loss exactly on the replies and their end markers, and every prompt a
prefix of the whole.

The documented normalisation: blanks around a text go; a persona sentence's blanks are single ones; half a surrogate
pair is U+FFFD; a plain word that parts a template's messages (``[/INST]``) has a blank inside; SentencePiece's U+2581
is a blank. What SmolLM2's vocabulary has no bytes for: six control characters are lost (U+0004, 06, 13, 14, 16, 1D),
and U+40000 to U+BFFFF, none of which is assigned, aren't drawn.

    python campaigns/hostile_text.py [--quick] [--count N] [--form NAME]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass

from hypothesis import HealthCheck, Phase, given, seed, settings

from hostile.alphabets import HostileDialogue, dialogues
from hostile.forms import FORMS, ConfusionError, Form
from personatune.dialogue import Context, Perspective
from personatune.model.prompts import ChatPrompt, read_instruction

QUICK, FULL = 300, 10_000


@dataclass
class Tally:
    """What one form was asked, and the first confusion that was found."""

    form: str
    dialogues: int = 0
    turns: int = 0
    tokens: int = 0
    seconds: float = 0.0
    confusion: str | None = None


def whole(text: str) -> str:
    """Return text with U+FFFD for halves of surrogate pairs."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def expect_same(form: Form, found: str, said: str, what: str) -> None:
    """Compare a text that was read back with what was said, up to the documented normalisation."""
    kept = "".join(character for character in whole(said) if character not in form.lost)
    wanted = kept.replace(form.blank, " ").strip()
    if any(mark in wanted or mark in found for mark in form.marks):
        found, wanted = "".join(found.split()), "".join(wanted.split())
    if found != wanted:
        raise ConfusionError(f"{what}: said {wanted!r}, read back {found!r}")


def expect_words(form: Form, found: str, said: str, what: str) -> None:
    """Compare a text whose blanks are single ones, whatever they were.

    The chat form singles them before it tokenises, so U+001D parts words although its token may be missing.
    """
    if isinstance(form.prompts, ChatPrompt):
        said = " ".join(whole(said).split())
    kept = "".join(character for character in whole(said) if character not in form.lost).replace(form.blank, " ")
    expect_same(form, " ".join(found.split()), " ".join(kept.split()), what)


def expect_persona(form: Form, system: str, dialogue: HostileDialogue) -> None:
    """Compare the sentences (and the name) that a system message, or a tagged prompt's head, tells."""
    lines, name = system.split("\n"), None
    if isinstance(form.prompts, ChatPrompt):
        bare = system.endswith("\n-")  # a last sentence of nothing but lost characters
        told = read_instruction(f"{system} ." if bare else system)
        if told is None:
            raise ConfusionError(f"no instruction: {system!r}")
        lines, name = [*told.traits[:-1], "" if bare else told.traits[-1]], told.name
        expect_words(form, name or "", dialogue.persona.name or "", "name")
    traits = dialogue.persona.traits
    if len(lines) != len(traits):
        raise ConfusionError(f"{len(traits)} sentences told, {len(lines)} read back: {lines!r}")
    for line, trait in zip(lines, traits, strict=True):
        expect_words(form, line, trait, "persona sentence")


def check(form: Form, dialogue: HostileDialogue) -> int:
    """Render a dialogue, parse it back and compare; return the number of its tokens.

    Raises:
        ConfusionError: they differ.
    """
    prompts, turns = form.prompts, dialogue.turns
    view = Perspective("hostile", dialogue.persona, turns)
    encoded = prompts.encode_dialogue(view, [float(place + 1) for place in range(len(turns))])
    ids, weights = encoded.input_ids, encoded.loss_weights
    found = form.read(form.rendered(ids))
    expect_persona(form, found.system, dialogue)
    silent = len(found.turns) - len(turns)  # a dialogue that the persona's speaker opens has a silent partner in front
    if silent != (turns[0].speaker == "self"):
        raise ConfusionError(f"{len(turns)} turns, read back {len(found.turns)}")
    for said, read in zip(turns, found.turns[silent:], strict=True):
        if said.speaker != read.speaker:
            raise ConfusionError(f"said by {said.speaker}, read back as {read.speaker}'s: {read.text!r}")
        expect_same(form, read.text, said.text, "turn")
    for place, turn in enumerate(turns):
        marked = [index for index, weight in enumerate(weights) if weight == place + 1]
        if turn.speaker == "partner":
            if marked:
                raise ConfusionError(f"loss on the partner's turn {place}")
            continue
        run = ids[marked[0] : marked[-1] + 1] if marked else []
        if len(run) != len(marked) or run[-1:] != [prompts.stop_ids[0]]:
            raise ConfusionError(f"the loss of turn {place} isn't one run up to the end marker")
        if form.controls.intersection(run[:-1]):
            raise ConfusionError(f"a control token inside turn {place}")
        expect_same(form, form.unescape(form.rendered(run[:-1]).strip()).strip(), turn.text, "text under the loss")
        if place == 0:  # there is nothing that it answers
            continue
        prompt = prompts.encode_prompt(Context(dialogue.persona, turns[:place]))
        if ids[: marked[0]] != prompt:
            raise ConfusionError(f"what stands before reply {place} isn't its prompt")
        if [*prompt, *prompts.encode_reply(turn.text.strip())] != ids[: marked[-1] + 1]:
            raise ConfusionError(f"reply {place} after its prompt isn't what the dialogue holds")
    if set(weights) - {0.0, *(float(place + 1) for place in range(len(turns)))}:
        raise ConfusionError("loss weights that nobody gave")
    return len(ids)


def run(form: Form, count: int, number: int = 0) -> Tally:
    """Check ``count`` dialogues in one form; a confusion is told by the smallest dialogue that shows it."""
    tally = Tally(form.name)
    begin = time.monotonic()

    @settings(
        max_examples=count, deadline=None, database=None, phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @seed(number)
    @given(dialogues())
    def every_dialogue(dialogue: HostileDialogue) -> None:
        tokens = check(form, dialogue)
        tally.dialogues += 1
        tally.turns += len(dialogue.turns)
        tally.tokens += tokens

    try:
        every_dialogue()
    except Exception as error:  # whatever a tokenizer or a template comes up with is a finding too
        tally.confusion = f"{type(error).__name__}: {error}"[:1000]
    tally.seconds = round(time.monotonic() - begin, 1)
    return tally


def main() -> int:
    """Run the forms asked for; return 1 where one was confused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} dialogues a form instead of {FULL:,}")
    parser.add_argument("--count", type=int, help="dialogues a form")
    parser.add_argument("--form", action="append", choices=list(FORMS), help="only this one; several times")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    count = options.count or (QUICK if options.quick else FULL)
    print(f"{'form':<16} {'dialogues':>9} {'turns':>8} {'tokens':>10} {'seconds':>8}  confusion")
    tallies = []
    for name in options.form or FORMS:
        tally = run(FORMS[name](), count, options.seed)
        tallies.append(tally)
        print(
            f"{tally.form:<16} {tally.dialogues:>9,} {tally.turns:>8,} {tally.tokens:>10,} {tally.seconds:>8.1f}  "
            f"{tally.confusion or 'none'}",
            flush=True,
        )
    confused = [tally.form for tally in tallies if tally.confusion]
    print(json.dumps({"campaign": "hostile_text", "forms": [asdict(tally) for tally in tallies], "confused": confused}))
    return 1 if confused else 0


if __name__ == "__main__":
    sys.exit(main())
