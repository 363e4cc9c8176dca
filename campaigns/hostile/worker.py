"""Feeds one reader with hostile files in a process of its own, for its parent sees a hang or a crash from outside.

An input may take 20 seconds of the processor and 1 GiB of memory more than before. What it must not do is written down
as a finding, with the input.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
import traceback
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

from hypothesis import HealthCheck, Phase, given, seed, settings

from hostile.mutations import Input, inputs
from hostile.readers import Reader, readers
from personatune.errors import UserError
from personatune.plain_text import LONGEST_LINE

CPU_SECONDS = 20.0
MEMORY_BYTES = 2**30
KEPT_INPUTS = 3  # of one finding
_AT_ONCE = 50  # inputs of one call of hypothesis


class TooLongError(BaseException):
    """An input took too long; no reader catches it."""


@dataclass
class Tally:
    """What one reader was fed.

    Attributes:
        findings: what happened, to how often.
        kept: the first inputs of each.
    """

    reader: str
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    findings: dict[str, int] = field(default_factory=dict)
    kept: dict[str, list[str]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        (folder / "tally.json").write_text(json.dumps(asdict(self)), encoding="utf-8")


def work(name: str, folder: Path, seconds: float, number: int) -> None:
    """Feed the reader called ``name`` for so long, from seed ``number`` on; counts and findings go to ``folder``."""
    warnings.simplefilter("ignore")
    reader = next(one for one in readers(folder) if one.name == name)
    originals = list(reader.originals())
    for original in originals:
        _whole(reader, folder, original.name, original.content, original.finish(original.content))
    signal.signal(signal.SIGPROF, _too_long)
    _limit_memory()
    tally = Tally(name)
    if (folder / "tally.json").is_file():  # an earlier worker died
        before = json.loads((folder / "tally.json").read_text(encoding="utf-8"))
        tally = Tally(**before)
    drawn = inputs(originals, reader.words)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        number += 1

        @settings(
            max_examples=_AT_ONCE, deadline=None, database=None, phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @seed(number)
        @given(drawn)
        def some(given_input: Input) -> None:
            if time.monotonic() < deadline:
                _feed(reader, folder, given_input, tally)

        some()
    tally.write(folder)


def _whole(reader: Reader, folder: Path, name: str, *contents: bytes) -> None:
    """Check that the undamaged file is read: a reader that refuses everything would never be found out."""
    errors = []
    for content in contents:
        (folder / name).write_bytes(content)
        try:
            reader.read(folder / name)
            return
        except UserError as error:
            errors.append(str(error))
    if not name.startswith(("slip", "bare", "pairs.jsonl", "replies")):  # meant to be refused, or for other contexts
        raise AssertionError(f"{reader.name}: the valid {name} is refused: {errors}")


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise TooLongError


def _limit_memory() -> None:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    data = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmData")) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (data + MEMORY_BYTES, -1))


def _feed(reader: Reader, folder: Path, given_input: Input, tally: Tally) -> None:
    place = folder / given_input.name
    place.write_bytes(given_input.content)
    (folder / "now.txt").write_text(f"{given_input.name}\n{given_input.made}\n", encoding="utf-8")
    tally.inputs += 1
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        reader.read(place)
        found = ""
        tally.accepted += 1
    except UserError as error:
        found = told_badly(str(error), given_input.name)
        tally.refused += not found
    except TooLongError:
        found = f"hang: more than {CPU_SECONDS:.0f} s"
    except MemoryError:
        found = f"memory: more than {MEMORY_BYTES / 2**20:.0f} MiB"
    except Exception as error:  # what this campaign looks for
        found = f"crash: {type(error).__name__} in {_where(error)}: {str(error)[:160]!r}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if found:
        keep(tally, folder, found, given_input.name, given_input.made, given_input.content)
    if found or tally.inputs % 20 == 0:
        tally.write(folder)


def told_badly(line: str, name: str) -> str:
    """Return what is wrong with a `UserError`'s line, or an empty text."""
    if "\n" in line or not line.replace("\u200d", "").isprintable():  # emoji keep their joiner, as on purpose
        return f"message: not one plain line: {line[:80]!r}"
    if len(line) > LONGEST_LINE + 100:
        return f"message: {len(line):,} characters"
    return "" if name in line else f"message: doesn't name the file: {line[:160]!r}"


def keep(tally: Tally, folder: Path, found: str, name: str, made: str, content: bytes) -> None:
    """Count a finding, and keep the first inputs of it."""
    kind = found.partition(": '")[0]
    tally.findings[kind] = tally.findings.get(kind, 0) + 1
    kept = tally.kept.setdefault(kind, [])
    if len(kept) < KEPT_INPUTS:
        place = folder.parent / "findings" / f"{folder.name}-{sum(map(len, tally.kept.values()))}-{name}"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
        kept.append(str(place))
        print(f"  {tally.reader}: {found} ({made}): {place}", file=sys.stderr, flush=True)


def _where(error: BaseException) -> str:
    """Name the deepest line of this project that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "personatune" in Path(frame.filename).parts]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "no line of ours"
