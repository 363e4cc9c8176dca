"""What each kind of preference pair teaches the reward model: every kind left out once, at equal numbers of pairs.

    python benchmarks/pair_kinds.py [--run demo] [--runs runs] [--pairs N] [--epochs 2] [--seed 0] [--out FOLDER]
        [--without KIND ...]

Needs a run whose stages ``sft`` and ``preferences`` are done. The row "all" trains on ``--pairs`` of its pairs, drawn
over the kinds as they are (default: what is left without the largest kind); the row "without X" on as many of the
others. All rows are judged on the same pairs of held-out personas, by kind, and on persona swaps; the differences to
"all" are paired by pair. Rows that are done are kept in ``--out``, so the same command goes on where it stopped. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from personatune.dialogue import PreferencePair
from personatune.errors import UserError
from personatune.intervals import bootstrap
from personatune.pipeline.models import load_prompts
from personatune.pipeline.run import Run
from personatune.pipeline.stages import read_pairs, split_model
from personatune.storage import read_json, write_json
from personatune.terminal_progress import RichProgress
from personatune.training.identity import rows_mark
from personatune.training.reward import RewardModel, RewardModelTrainer
from personatune.training.reward_report import swap_personas
from sides.command import benchmark
from sides.turns import versions

ALL = "all"


def main() -> None:
    """Train and judge every row, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="demo")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--pairs", type=int, default=None)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument(
        "--without", nargs="+", default=None, metavar="KIND", help="these rows only; default: every kind"
    )
    options = parser.parse_args()
    run = Run.open(options.runs, options.run)
    run.require("benchmarks/pair_kinds.py", "sft", "preferences")
    train, test = (read_pairs(run, name) for name in ("train", "test"))
    kinds = Counter(pair.kind for pair in train)
    count = options.pairs or len(train) - max(kinds.values())
    file = (options.out or options.runs / "pair-kinds" / options.run) / "rows.json"
    rows: dict[str, Any] = read_json(file) if file.is_file() else {}
    names = {}
    mark = rows_mark(pair.to_json() for pair in [*train, *test])  # rows of a run that was made anew don't count
    chosen_kinds = sorted(kinds) if options.without is None else options.without
    if unknown := set(chosen_kinds) - set(kinds):
        raise UserError(f"--without {' '.join(sorted(unknown))}: expected kinds of {', '.join(sorted(kinds))}")
    for left_out in (None, *chosen_kinds):
        label = ALL if left_out is None else f"without {left_out}"
        names[label] = f"{label}, {count} pairs, {options.epochs} epochs, seed {options.seed}, {mark[:8]}"
        if names[label] not in rows:
            chosen = subset(train, left_out, count, options.seed)
            rows[names[label]] = measure(run, chosen, test, options.epochs, options.seed)
            write_json(file, rows)
        print(as_line(names[label], rows[names[label]], rows[names[ALL]]), flush=True)
    shown = {name: {key: row[key] for key in ("trained", "swaps")} for name, row in rows.items()}
    print(json.dumps({"rows": shown, "test": Counter(pair.kind for pair in test), "versions": versions("personatune")}))


def subset(pairs: Sequence[PreferencePair], left_out: str | None, count: int, seed: int) -> list[PreferencePair]:
    """Return ``count`` pairs without one kind, drawn by seed, in the order they had.

    Raises:
        UserError: fewer are left.
    """
    left = [place for place, pair in enumerate(pairs) if pair.kind != left_out]
    if len(left) < count:
        raise UserError(f"{len(left)} pairs without {left_out}, expected {count} at least; --pairs {len(left)}")
    return [pairs[place] for place in sorted(random.Random(f"{seed}/{left_out}").sample(left, count))]


def measure(
    run: Run, train: Sequence[PreferencePair], test: Sequence[PreferencePair], epochs: int, seed: int
) -> dict[str, Any]:
    """Train one reward model and return which held-out pairs it ranks right, with their kinds, and persona swaps."""
    split = split_model(run)
    model = RewardModel(split, load_prompts(run.config), seed=seed)
    config = run.config.reward.model_copy(update={"epochs": epochs})
    with TemporaryDirectory() as folder:
        trainer = RewardModelTrainer(model, config, Path(folder), seed=seed, progress=RichProgress())
        trainer.train(train)
    contexts = [pair.context for pair in test]
    better = model.score(contexts, [pair.chosen for pair in test])
    worse = model.score(contexts, [pair.rejected for pair in test])
    swapped = model.score(swap_personas(contexts), [pair.chosen for pair in test])
    row = {
        "trained": Counter(pair.kind for pair in train),
        "right": [float(b > w) for b, w in zip(better, worse, strict=True)],
        "kinds": [pair.kind for pair in test],
        "swaps": bootstrap([float(b > s) for b, s in zip(better, swapped, strict=True)]).to_json(),
    }
    del split, model, trainer
    gc.collect()
    return row


def as_line(name: str, row: dict[str, Any], every: dict[str, Any]) -> str:
    """Return one row of the table: share ranked right, overall and by kind, the difference to "all", persona swaps."""
    parts = []
    for kind in (None, *sorted(set(row["kinds"]))):
        places = [place for place, own in enumerate(row["kinds"]) if kind in (None, own)]
        right = bootstrap([row["right"][place] for place in places])
        change = bootstrap([row["right"][place] - every["right"][place] for place in places])
        told = f"{kind or 'overall'} {100 * right.value:.1f} %"
        if row is not every:
            told += f" ({100 * change.value:+.1f}: {100 * change.low:+.1f} to {100 * change.high:+.1f})"
        parts.append(told)
    return f"{name}: {'; '.join(parts)}; falls in {100 * row['swaps']['value']:.1f} % of persona swaps"


if __name__ == "__main__":
    benchmark(main)
