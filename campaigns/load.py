"""The server under load: people who talk at once, some who leave in the middle, and strangers who mean no good.

    python campaigns/load.py [--clients 50] [--minutes 10] [--model tiny] [--talks 2] [--turns 3] [--quick]

``personatune serve`` runs as a process of its own on a free port, with one persona a client, each with a code word.
``--model tiny`` is a random model of three layers; ``flagship`` the shipped one, or whatever ``serve`` takes.

1. *Alone.* Every conversation is had once, one after the other. Half are greedy, half drawn with a seed of their own,
   so each has the same replies whenever it is had. A random model says no code word: what it says depends on every
   token of its prompt, so a reply that is not the one given alone shows that something of another conversation got in.
2. *Together.* All clients have their conversations again and again, for the time that is asked, half of them streaming.
   12 % of the requests are left in the middle of the reply. Beside them strangers send bodies of 3 MB and of 1 GB by
   their head, broken JSON, 1,001 messages, a wrong key, letters one a second, nothing at all, or far too many requests.
3. *After.* Clients begin a reply each and all leave: the count of decoded tokens and the processor have to stand still.

A client is an address of its own of this machine (127.0.x.y, Linux), since the server counts requests by address.
Promised, else exit code 1: no error but 429 with a time to come back; no mixed-up conversation; every client is
heard; memory that stays within 3 % from the first third to the end (10 % in runs under five minutes, in which
buffers still fill up); no open file left over; at most one token more for a reply that nobody waits for; nothing on
standard error; a stop within 10 s. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx

from crowd.people import Person, Tally, code_words
from crowd.server import Server, Watch
from crowd.strangers import Strangers

PER_MINUTE = 600  # requests of one address
MEMORY_GROWTH, WARMING_UP = 0.03, 0.10  # from the first third of the time to its end
LATE_FILES = 8  # open files at the end beyond those before the load: connections that still rest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--talks", type=int, default=2, help="conversations of each client")
    parser.add_argument("--turns", type=int, default=3, help="of a conversation")
    parser.add_argument("--tokens", type=int, default=40, help="of a reply at most")
    parser.add_argument("--waiting", type=int, default=16, help="requests that may stand in line")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="12 clients for 20 seconds, 4 in line")
    asked = parser.parse_args()
    if asked.quick:
        asked.clients, asked.minutes, asked.talks, asked.turns, asked.waiting = 12, 1 / 3, 2, 2, 4
    rng = random.Random(asked.seed)
    words = code_words(asked.clients, rng)
    people = [Person(at, words, asked.talks, asked.turns, asked.tokens, rng) for at in range(asked.clients)]
    with tempfile.TemporaryDirectory() as folder:
        model = _tiny(Path(folder)) if asked.model == "tiny" else asked.model
        personas = [one.persona for one in people]
        with Server(model, personas, Path(folder), per_minute=PER_MINUTE, waiting=asked.waiting) as server:
            found = asyncio.run(_campaign(server, people, 60 * asked.minutes))
            found["stopped_after"] = server.stop()
            found["exit_code"], found["complaints"] = server.exit_code, server.complaints()
    broken = _broken(found)
    _print(found, broken)
    about = {"model": asked.model, "clients": asked.clients, "minutes": asked.minutes}
    print(json.dumps({**about, **found, "broken": broken}))
    return 1 if broken else 0


def _tiny(folder: Path) -> str:
    """Write a random model and its tokenizer, as the tests make them; return where."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from tests.conftest import TinyModels

    return str(TinyModels().save(folder / "model"))


async def _campaign(server: Server, people: Sequence[Person], seconds: float) -> dict[str, Any]:
    tally, watch = Tally(), Watch()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(one.client(server.url, server.key)) for one in people]
        for one, client in zip(people, clients, strict=True):
            await one.listen_alone(client)
        files = server.files()
        began = time.monotonic()
        end = began + seconds
        strangers = Strangers(server, tally, end, PER_MINUTE).tasks()
        watching = asyncio.create_task(_watch(server, watch, end))
        talking = [one.talk_until(end, client, tally) for one, client in zip(people, clients, strict=True)]
        await asyncio.gather(*talking, *strangers, watching)
        took = time.monotonic() - began
    after = await _all_leave(server, people)
    metrics = await asyncio.to_thread(server.metrics)
    alone = [reply for one in people for replies in one.alone.values() for reply in replies]
    return {
        "seconds": took,
        "requests": tally.requests,
        "replies": tally.replies,
        "streamed": tally.streamed,
        "turned_away_429": tally.turned_away,
        "given_up": tally.given_up,
        "by_design": dict(sorted(tally.by_design.items())),
        "errors": tally.errors,
        "mixed_up": tally.mixed_up,
        "alone": len(alone),
        "distinct_alone": len(set(alone)),
        "with_own_word": tally.own_words,
        "fewest_replies_of_a_client": min(tally.heard[one.number] for one in people),
        "median_seconds": statistics.median(tally.seconds) if tally.seconds else None,
        "p95_seconds": statistics.quantiles(tally.seconds, n=20)[-1] if len(tally.seconds) > 1 else None,
        "memory_mib": {"start": watch.memory_at(0), "third": watch.memory_at(1 / 3), "end": watch.memory_at(1)},
        "memory_mib_an_hour": watch.growth_an_hour(),
        "files": {"before": files, "most": max(count for _, _, count in watch.samples), "after": server.files()},
        "cancelled_in_the_making": int(metrics["personatune_cancelled_replies_total"]),
        "late_tokens": int(metrics["personatune_late_tokens_total"]),
        "tokens": int(metrics["personatune_reply_tokens_total"]),
        "failed": int(metrics["personatune_failed_replies_total"]),
        **after,
    }


async def _watch(server: Server, watch: Watch, end: float) -> None:
    began = time.monotonic()
    while time.monotonic() < end:
        watch.add(time.monotonic() - began, server)
        await asyncio.sleep(1)


async def _all_leave(server: Server, people: Sequence[Person]) -> dict[str, float]:
    """Have clients begin a long reply each, leave all at once, and look what is still computed."""
    body = {"messages": [{"role": "user", "content": "Tell me all about it."}], "stream": True, "max_tokens": 128}

    async def begin(one: Person, client: httpx.AsyncClient) -> None:
        named = {**body, "model": f"persona-{one.number + 1}"}
        async with client.stream("POST", "/v1/chat/completions", json=named) as answered:
            async for _ in answered.aiter_lines():
                await asyncio.sleep(3600)

    async with AsyncExitStack() as stack:
        tasks = []
        for one in people[:8]:
            client = await stack.enter_async_context(one.client(server.url, server.key))
            tasks.append(asyncio.create_task(begin(one, client)))
        for _ in range(100):  # a model may say nothing at all
            if (await asyncio.to_thread(server.metrics))["personatune_busy"]:
                break
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        left = time.monotonic()
    while (metrics := await asyncio.to_thread(server.metrics))["personatune_busy"] or metrics["personatune_waiting"]:
        if time.monotonic() - left > 60:
            break
        await asyncio.sleep(0.05)
    idle_after, tokens = time.monotonic() - left, metrics["personatune_reply_tokens_total"]
    cpu = server.cpu_seconds()
    await asyncio.sleep(2)
    cpu = server.cpu_seconds() - cpu
    later = (await asyncio.to_thread(server.metrics))["personatune_reply_tokens_total"]
    return {"idle_after_seconds": idle_after, "cpu_seconds_of_two_idle": cpu, "tokens_when_idle": later - tokens}


def _broken(found: Mapping[str, Any]) -> list[str]:
    """Return the promises that weren't kept."""
    memory, files = found["memory_mib"], found["files"]
    growth = MEMORY_GROWTH if found["seconds"] >= 300 else WARMING_UP
    kept = {
        "no errors": not found["errors"],
        "no mixed-up conversation": not found["mixed_up"],
        "replies that show a mix-up": found["distinct_alone"] >= 0.8 * found["alone"],
        "every client is heard": found["fewest_replies_of_a_client"] > 0,
        "flat memory": memory["end"] <= (1 + growth) * memory["third"],
        "no files left open": files["after"] <= files["before"] + LATE_FILES,
        "at most one late token a cancelled reply": found["late_tokens"] <= found["cancelled_in_the_making"],
        "nothing computed when all have left": not found["tokens_when_idle"] and found["cpu_seconds_of_two_idle"] < 0.5,
        "the model never failed": not found["failed"],
        "nothing on standard error": not found["complaints"],
        "a clean stop within 10 s": found["exit_code"] == 0 and found["stopped_after"] < 10,
    }
    return [name for name, held in kept.items() if not held]


def _print(found: Mapping[str, Any], broken: Sequence[str]) -> None:
    for name, value in found.items():
        if isinstance(value, dict):
            for key, part in value.items():
                print(f"{name + ': ' + key:62} {_shown(part):>12}")
        elif isinstance(value, list):
            print(f"{name:62} {len(value):>12}")
            for line in value[:5]:
                print(f"    {line}")
        else:
            print(f"{name:62} {_shown(value):>12}")
    print(f"broken: {', '.join(broken)}" if broken else "every promise was kept")


def _shown(value: Any) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    sys.exit(main())
