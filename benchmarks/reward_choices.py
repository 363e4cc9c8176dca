"""Whether a reward model knows more than the policy that it is to teach, on personas that neither has seen.

    python benchmarks/reward_choices.py [--run demo] [--runs runs] [--split validation] [--limit N]

On PersonaProbes. Which of a persona's own written answers belongs to a question (all are true, one was asked for): the
share that the reward model finds, beside the policy's likelihood (mean nats a token) and chance; and the share of
written contradictions that it ranks below the right answer. Of the policy's own greedy answers: how often a consistent
one scores above one that isn't (area under the ROC curve, by keywords; 50 % is chance). A reward model passes its
report on pairs like those it learnt from; here it has to be better than the policy where the policy errs. Intervals are
95 % over personas. Needs the stages ``sft`` and ``reward``. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from personatune.dialogue import Context, RankingTask, Turn
from personatune.evaluation.results import by_group
from personatune.intervals import Estimate, bootstrap, ratio
from personatune.judging.persona_probes import ProbePersona, load_persona_probes, persona_probe_scripts
from personatune.judging.persona_probes.scripts import WORDINGS
from personatune.judging.probes import hold_dialogues
from personatune.model.candidates import CandidateScorer
from personatune.model.generation import Chatbot, Sampling
from personatune.pipeline.models import load_model, load_prompts
from personatune.pipeline.reply_strategies import RewardPick
from personatune.pipeline.run import Run
from personatune.training.reward import RewardModel
from sides.command import benchmark
from sides.turns import versions


def main() -> None:
    """Ask the reward model and the policy, print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="demo")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--split", choices=("train", "validation", "test"), default="validation")
    parser.add_argument("--limit", type=int, default=None, help="personas")
    options = parser.parse_args()
    run = Run.open(options.runs, options.run)
    reward = RewardPick.load(run).reward
    people = load_persona_probes(options.split)[: options.limit]
    tasks = [task for person in people for task in choices(person)]
    owners = [person.id for person in people for _ in choices(person)]
    policy, prompts = load_model(run, "sft"), load_prompts(run.config)
    by_reward = scored(reward, tasks)
    by_likelihood = [np.array(own) for own in CandidateScorer(policy, prompts)(tasks)]
    own = [len(task.candidates) - 1 for task in tasks]  # the last one contradicts, the others are the persona's
    figures = {
        "chance": by_persona(owners, [1 / count for count in own]),
        "likelihood finds the asked": by_persona(owners, first(by_likelihood, own)),
        "reward finds the asked": by_persona(owners, first(by_reward, own)),
        "reward ranks the contradiction below": by_persona(owners, [float(s[0] > s[-1]) for s in by_reward]),
    }
    scripts = persona_probe_scripts(options.split, wordings=WORDINGS)[: WORDINGS * len(people)]
    sampling = Sampling(run.config.evaluation.max_new_tokens, no_repeat_ngram=run.config.evaluation.no_repeat_ngram)
    bot = Chatbot(policy, prompts, sampling, batch_size=run.config.evaluation.batch_size)
    contexts, answers, consistent = [], [], []
    for dialogue in hold_dialogues(scripts, bot.in_dialogues()):
        for (line, _), reply, verdict in zip(dialogue.script.lines, dialogue.replies, dialogue.verdicts, strict=True):
            if verdict is not None:
                contexts.append(Context(dialogue.script.persona, (Turn("partner", line),)))
                answers.append(reply)
                consistent.append(verdict == "consistent")
    area = float(roc_auc_score(consistent, reward.score(contexts, answers)))
    for name, figure in figures.items():
        print(f"{name}: {100 * figure.value:.1f} % ({100 * figure.low:.1f}-{100 * figure.high:.1f})")
    print(f"reward ranks {sum(consistent)} consistent greedy answers above {len(answers) - sum(consistent)} others: "
          f"{100 * area:.1f} %")  # fmt: skip
    shown = {name: figure.to_json() for name, figure in figures.items()}
    told = {"run": options.run, "split": options.split, "questions": len(tasks), "auc": area}
    print(json.dumps({**told, "figures": shown, "versions": versions("personatune")}))


def choices(person: ProbePersona) -> list[RankingTask]:
    """Return every question with the asked trait's written answer first, then the others', a contradiction last."""
    tasks = []
    for asked in person.traits:
        others = tuple(trait.consistent for trait in person.traits if trait is not asked)
        candidates = (asked.consistent, *others, asked.contradiction)
        kinds = ("gold", *["rand"] * len(others), "neg")
        for number, question in enumerate(asked.questions):
            context = Context(person.persona(), (Turn("partner", question),))
            tasks.append(RankingTask(f"{person.id}/{asked.trait}/{number}", context, candidates, kinds))
    return tasks


def scored(reward: RewardModel, tasks: Sequence[RankingTask]) -> list[np.ndarray]:
    """Return the reward model's score of each candidate of each task."""
    contexts = [task.context for task in tasks for _ in task.candidates]
    scores = iter(reward.score(contexts, [candidate for task in tasks for candidate in task.candidates]))
    return [np.array([next(scores) for _ in task.candidates]) for task in tasks]


def first(scores: Sequence[np.ndarray], own: Sequence[int]) -> list[float]:
    """Return 1 for each task whose asked answer scores highest among the persona's own, else 0."""
    return [float(row[:count].argmax() == 0) for row, count in zip(scores, own, strict=True)]


def by_persona(owners: Sequence[str], values: Sequence[float]) -> Estimate:
    """Return the mean of values with its interval over the personas that they belong to."""
    return bootstrap(by_group(owners, list(dict.fromkeys(owners)), values), statistic=ratio)


if __name__ == "__main__":
    benchmark(main)
