"""How soon a reply of the web demo begins, once the models are loaded and warm: the shipped model, asked 2 s at most.

    python benchmarks/first_reply.py [--chats 7]

Every chat is a new one, of six turns with the same lines; with persona recall, as shipped, and without. A turn's prompt
is read from its beginning, so a chat's last turn is its slowest. The last line is one JSON object with the seconds to
the first piece of text, turn by turn, and `versions`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from personatune.cli.options import DEFAULT_PERSONA
from personatune.demo.reading import Reader
from personatune.demo.server import warm_up
from personatune.demo.shelf import Shelf, load_bots
from personatune.dialogue import Context, Persona, Turn
from personatune.model.generation import Sampling
from personatune.pipeline.flagship import FLAGSHIP
from sides.command import benchmark

ASKED = 2.0
SIDES = (FLAGSHIP, f"{FLAGSHIP}+plain")
LINES = (
    "Hi! Do you have any pets?",
    "What do you do for a living?",
    "That sounds like a long day.",
    "What would you never eat?",
    "Where do you go at the weekend?",
    "Who would you like to see again?",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chats", type=int, default=7)
    chats = parser.parse_args().chats
    sampling = Sampling(max_new_tokens=80, temperature=0.7, no_repeat_ngram=4)
    shelf = Shelf(load_bots(SIDES, sampling=sampling), None)
    warm_up(shelf, Reader(None))
    seconds: dict[str, list[list[float]]] = {side: [[] for _ in LINES] for side in SIDES}
    for seed in range(chats):
        for side in SIDES if seed % 2 else reversed(SIDES):  # neither is always first
            hold_chat(shelf, side, seed, seconds[side])
    medians = {side: [statistics.median(turn) for turn in turns] for side, turns in seconds.items()}
    worst = {side: max(max(turn) for turn in turns) for side, turns in seconds.items()}
    print(f"seconds to the first piece of a reply, medians of {chats} chats; asked {ASKED:g} s")
    print("turn" + "".join(f"{side:>16}" for side in SIDES) + f"{'ratio':>8}")
    for turn in range(len(LINES)):
        of_turn = [medians[side][turn] for side in SIDES]
        print(f"{turn + 1:4}" + "".join(f"{value:16.2f}" for value in of_turn) + f"{of_turn[0] / of_turn[1]:8.2f}")
    print(f"worst{worst[SIDES[0]]:15.2f}{worst[SIDES[1]]:16.2f}")
    told = {"median": medians, "worst": worst, "asked": ASKED, "versions": {"torch": torch.__version__}}
    print(json.dumps(told))


def hold_chat(shelf: Shelf, name: str, seed: int, seconds: list[list[float]]) -> None:
    """Hold one chat, and add the seconds to the first piece of each reply to its turn's."""
    turns: list[Turn] = []
    for line, of_turn in zip(LINES, seconds, strict=True):
        turns.append(Turn("partner", line))
        begun = time.perf_counter()
        pieces = shelf.stream(name, Context(Persona(DEFAULT_PERSONA), tuple(turns)), seed=seed)
        reply = next(pieces)
        of_turn.append(time.perf_counter() - begun)
        assert reply, "the first piece of a reply is empty"
        turns.append(Turn("self", reply + "".join(pieces)))


if __name__ == "__main__":
    benchmark(main)
