"""What each named part of PPO's reward does to the replies: every term beside the learned reward alone, and none.

    python benchmarks/reward_terms.py [--run demo] [--runs runs] [--weight 1] [--updates 16] [--rate 2e-4] [--limit N]

Needs a run whose reward model is done. Every row is PPO from the same SFT checkpoint over the same prompts, one seed;
the other settings are the run's. First what it was paid for: means over the second half of its updates, with paired
differences to the row "none" (95 %, over updates). Then what came of it: greedy answers to PersonaProbes' validation
personas by keywords, paired over personas. Rows that are done stay in the run (``reward-terms/…``), so the same command
goes on where it stopped. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from personatune.evaluation.probe_figures import probe_figures
from personatune.intervals import bootstrap, paired_difference
from personatune.judging.persona_probes import load_persona_probes, persona_probe_scripts
from personatune.judging.probes import hold_dialogues
from personatune.model.generation import Chatbot, Sampling
from personatune.pipeline.conduct import run_variant
from personatune.pipeline.models import load_model, load_prompts
from personatune.pipeline.run import Run
from personatune.pipeline.variants import Variant
from personatune.settings import Config
from personatune.storage import read_json, write_json
from personatune.terminal_progress import RichProgress
from personatune.training.reward_terms import BUILT_IN
from sides.command import benchmark
from sides.turns import versions

NONE = "none"
PAID = ("learned_score", "kl", "reply_tokens", *(f"term_{name}" for name in BUILT_IN))
ANSWERS = ("probe_consistency", "contradiction_rate", "copy_share", "repetition", "reply_words")
Row = Mapping[str, Sequence[float]]


def main() -> None:
    """Train and ask every row, print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="demo")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--weight", type=float, default=1.0)
    parser.add_argument("--updates", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--limit", type=int, default=None, help="personas")
    options = parser.parse_args()
    rows: dict[str, tuple[Row, Row]] = {}
    stopped = {}
    run = Run.open(options.runs, options.run)
    run.require("benchmarks/reward_terms.py", "sft", "preferences", "reward")
    for term in (NONE, *BUILT_IN):
        config = settings(run.config, term, options.weight, options.updates, options.rate)
        name = f"reward-terms/{term}-{options.weight:g}-{options.updates}-{options.rate:g}"
        run_variant(run, Variant("ppo", name, config), RichProgress(), despite_reward=True)
        summary = read_json(run.folder(name) / "summary.json")
        stopped[term] = summary["stopped"]
        late = summary["metrics"][len(summary["metrics"]) // 2 :]
        rows[term] = {key: [update[key] for update in late] for key in PAID}, answers(run, name, options.limit)
        print_row(term, rows[term], rows[NONE], stopped[term])
    means = {term: {key: sum(found) / len(found) for part in row for key, found in part.items()}
             for term, row in rows.items()}  # fmt: skip
    print(json.dumps({"rows": means, "stopped": stopped, "versions": versions("personatune")}))


def settings(config: Config, term: str, weight: float, updates: int, rate: float) -> Config:
    """Return a run's settings for one row: all terms are logged, at most one counts; the judge looks at the end."""
    weights = {name: weight if name == term else 0.0 for name in BUILT_IN}
    changes = {"reward_terms": weights, "updates": updates, "policy_learning_rate": rate, "judge_every": updates}
    return config.model_copy(update={"ppo": config.ppo.model_copy(update=changes)})


def answers(run: Run, name: str, limit: int | None) -> Row:
    """Return each validation persona's figures for the greedy answers of a trained row; asked once and kept."""
    people = load_persona_probes("validation")[:limit]
    kept = run.folder(name) / f"answers-{len(people)}.json"
    if not kept.is_file():
        evaluation = run.config.evaluation
        sampling = Sampling(evaluation.max_new_tokens, no_repeat_ngram=evaluation.no_repeat_ngram)
        bot = Chatbot(load_model(run, name), load_prompts(run.config), sampling, batch_size=evaluation.batch_size)
        held = hold_dialogues(persona_probe_scripts("validation")[: len(people)], bot.in_dialogues())
        figures = probe_figures([person.id for person in people], held, encoder=None, judge=None)
        write_json(kept, {name: [top / below for top, below in figures.tallies[name]] for name in ANSWERS})
    found: Row = read_json(kept)
    return found


def print_row(term: str, row: tuple[Row, Row], none: tuple[Row, Row], stopped: str | None) -> None:
    """Print a row: means, and how they differ from PPO on the learned reward alone."""
    print(f"{term}{f' (stopped: {stopped})' if stopped else ''}")
    for part, other in zip(row, none, strict=True):
        for key, found in part.items():
            told = f"  {key} {bootstrap(found).value:.3f}"
            if term != NONE:
                count = min(len(found), len(other[key]))  # an alarm may have stopped either
                gap = paired_difference(found[:count], other[key][:count])
                told += f" ({gap.value:+.3f}: {gap.low:+.3f} to {gap.high:+.3f})"
            print(told, flush=True)


if __name__ == "__main__":
    benchmark(main)
