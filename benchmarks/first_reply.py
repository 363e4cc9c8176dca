"""How soon a reply of the web demo begins, once the models are loaded and warm: the shipped model, asked 2 s at most.

    python benchmarks/first_reply.py [--chats 7]

Every chat is a new one. The last line is one JSON object with the seconds to the first piece of text and `versions`.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chats", type=int, default=7)
    chats = parser.parse_args().chats
    shelf = Shelf(load_bots([FLAGSHIP], sampling=Sampling(max_new_tokens=80, temperature=0.7, no_repeat_ngram=4)), None)
    warm_up(shelf, Reader(None))
    context = Context(Persona(DEFAULT_PERSONA), (Turn("partner", "Hi! Do you have any pets?"),))
    seconds = []
    for seed in range(chats):
        begun = time.perf_counter()
        piece = next(shelf.stream(FLAGSHIP, context, seed=seed))
        seconds.append(time.perf_counter() - begun)
        assert piece, "the first piece of a reply is empty"
    median, worst = statistics.median(seconds), max(seconds)
    print(f"first piece of a reply: median {median:.2f} s, worst {worst:.2f} s of {chats}; asked {ASKED:g} s")
    print(json.dumps({"median": median, "worst": worst, "asked": ASKED, "versions": {"torch": torch.__version__}}))


if __name__ == "__main__":
    benchmark(main)
