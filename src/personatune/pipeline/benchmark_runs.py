"""Runs contenders over benchmarks: replies, scores and losses first, kept chunk by chunk, then every figure of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personatune import __version__
from personatune.dialogue import RankingTask, Respond
from personatune.evaluation.drift_figures import drift_figures
from personatune.evaluation.engagement import EngagementEvaluator
from personatune.evaluation.judged import JudgedDialogue, JudgedEvaluator
from personatune.evaluation.multiple_choice import without_persona
from personatune.evaluation.probe_figures import named_dialogues, probe_figures
from personatune.evaluation.qa_figures import QA, qa_figures
from personatune.evaluation.reply_figures import PERPLEXITIES, add_perplexity, add_ranking, add_reply_figures
from personatune.evaluation.results import Figures, Result
from personatune.evaluation.self_chat import FIRST, SECOND, SelfChat, hold_self_chats
from personatune.judging.probes import ProbeDialogue, hold_dialogues, judge_dialogue
from personatune.pipeline.benchmark_sets import BenchmarkSet
from personatune.pipeline.contenders import Contender
from personatune.pipeline.judging import Judges
from personatune.pipeline.kept_work import Chunk, in_chunks, key_of
from personatune.progress import Progress, SilentProgress
from personatune.settings import EvaluationConfig
from personatune.storage import read_json, write_json

FIGURES_VERSION = 1  # raise it when figures are computed otherwise: kept results are then made anew
_RANKED_AT_ONCE = 8  # records between two writings
_LOSSES_AT_ONCE = 16  # dialogues
_SIDES = 2  # of a self-chat


@dataclass(frozen=True)
class BenchmarkRunner:
    """Measures one contender on one benchmark at a time.

    Attributes:
        parts: folder of finished results and of unfinished work.
        settings: number of bootstrap samples, rows at once.
        seed: of sampled replies and of intervals.
    """

    parts: Path
    settings: EvaluationConfig
    judges: Judges
    seed: int = 0
    progress: Progress = field(default_factory=SilentProgress)

    def run(self, contender: Contender, benchmark: BenchmarkSet) -> Result:
        """Return the result, from the folder where it is finished there.

        Raises:
            UserError: replies made elsewhere don't fit the benchmark, or a model gives no numbers.
        """
        place = self._place(contender, benchmark, "result.json", self._result_head(contender, benchmark))
        if place.is_file():
            return Result.from_json(read_json(place))
        figures = self._figures(contender, benchmark)
        result = Result(
            contender.name,
            contender.kind,
            benchmark.name,
            benchmark.items,
            figures.metrics,
            figures.tallies,
            figures.absent,
            self._told(contender, benchmark),
        )
        write_json(place, result.to_json())
        self._judge_answers(contender, benchmark).unlink(missing_ok=True)
        return result

    def replies(self, contender: Contender, benchmark: BenchmarkSet) -> list[list[str]]:
        """Return the replies of probe dialogues, dialogue by dialogue; they are kept for `run`."""
        return self._probe_replies(contender, benchmark)

    def judged_dialogues(
        self, contender: Contender, benchmark: BenchmarkSet
    ) -> tuple[list[ProbeDialogue], list[JudgedDialogue] | None]:
        """Return probe dialogues as they were held, and the entailment judge's verdicts on them (None: no judge)."""
        held = self._probe_replies(contender, benchmark)
        dialogues = [judge_dialogue(*pair) for pair in zip(benchmark.scripts, held, strict=True)]
        judge: JudgedEvaluator | None = self._judging(contender, benchmark)["judge"]
        judged = judge.judge_dialogues(named_dialogues(benchmark.items, dialogues)) if judge is not None else None
        self._judge_answers(contender, benchmark).unlink(missing_ok=True)
        return dialogues, judged

    def _figures(self, contender: Contender, benchmark: BenchmarkSet) -> Figures:
        if benchmark.scripts:
            return self._probed(contender, benchmark)
        if benchmark.questions:
            return self._asked(contender, benchmark)
        if benchmark.pairs:
            return self._self_chatted(contender, benchmark)
        return self._beside_people(contender, benchmark)

    def _judging(self, contender: Contender, benchmark: BenchmarkSet) -> dict[str, Any]:
        samples = self.settings.bootstrap_samples
        kept = self._judge_answers(contender, benchmark)
        return {
            "judge": self.judges.evaluator(kept, samples, self.seed, self.progress),
            "why_no_judge": self.judges.why_no_judge,
            "encoder": self.judges.encoder,
            "why_no_encoder": self.judges.why_no_encoder,
        }

    def _probed(self, contender: Contender, benchmark: BenchmarkSet) -> Figures:
        if contender.respond is None:
            return self._absent(benchmark, ["replies"], contender.why_silent or "it doesn't answer")
        if contender.kind == "ceiling" and not benchmark.written:
            return self._absent(benchmark, ["replies"], "nobody wrote answers to these questions")
        held = self._probe_replies(contender, benchmark)
        dialogues = [judge_dialogue(*pair) for pair in zip(benchmark.scripts, held, strict=True)]
        judging = self._judging(contender, benchmark)
        samples = self.settings.bootstrap_samples
        return probe_figures(benchmark.items, dialogues, **judging, samples=samples, seed=self.seed)

    def _beside_people(self, contender: Contender, benchmark: BenchmarkSet) -> Figures:
        figures = Figures(benchmark.items, self.settings.bootstrap_samples, self.seed)
        if benchmark.turns:
            people = contender.kind == "ceiling"
            if contender.respond is None and not people:
                figures.leave_out(["replies"], contender.why_silent or "it doesn't answer")
            else:
                replies = self._replies(contender, benchmark)
                judging = self._judging(contender, benchmark)
                add_reply_figures(figures, benchmark.turns, replies, people=people, **judging)
        if benchmark.tasks:
            if contender.rank is None:
                figures.leave_out(["hits1"], contender.why_no_rank or "it can't rank")
            else:
                scores = self._scores(contender, benchmark, "ranking", benchmark.tasks, benchmark.all_tasks)
                add_ranking(figures, benchmark.tasks, scores)
        if benchmark.dialogues:
            if contender.model is None:
                figures.leave_out(PERPLEXITIES, f"{contender.name} gives text no likelihood")
            else:
                add_perplexity(figures, self._losses(contender, benchmark))
        return figures

    def _self_chatted(self, contender: Contender, benchmark: BenchmarkSet) -> Figures:
        why = _why_no_self_chat(contender)
        if why is not None:
            return self._absent(benchmark, ["replies"], why)
        chats = self._self_chats(contender, benchmark)
        samples = self.settings.bootstrap_samples
        judge = self.judges.evaluator(self._judge_answers(contender, benchmark), samples, self.seed, self.progress)
        why_no_judge = self.judges.why_no_judge
        return drift_figures(benchmark.items, chats, judge, why_no_judge=why_no_judge, samples=samples, seed=self.seed)

    def _asked(self, contender: Contender, benchmark: BenchmarkSet) -> Figures:
        if contender.kind == "ceiling":
            why = "people wrote the right answers; nobody chose among the four"
            return self._absent(benchmark, QA, why)
        if contender.rank is None:
            return self._absent(benchmark, QA, contender.why_no_rank or "it can't rank")
        asked = benchmark.questions
        tasks, every = [task.task for task in asked], [task.task for task in benchmark.all_questions]
        scores = self._scores(contender, benchmark, "questions", tasks, every)
        nobody, nobody_ever = without_persona(asked), without_persona(benchmark.all_questions)
        bare = self._scores(contender, benchmark, "questions-without-persona", nobody, nobody_ever)
        samples = self.settings.bootstrap_samples
        return qa_figures(benchmark.items, asked, scores, bare, samples=samples, seed=self.seed)

    def _absent(self, benchmark: BenchmarkSet, names: Sequence[str], why: str) -> Figures:
        figures = Figures(benchmark.items, self.settings.bootstrap_samples, self.seed)
        figures.leave_out(names, why)
        return figures

    # --- what the contender says, scores and expects ---------------------------------------------------------------

    def _probe_replies(self, contender: Contender, benchmark: BenchmarkSet) -> list[list[str]]:
        scripts = benchmark.scripts

        def hold(chunk: Chunk) -> list[list[str]]:
            respond = self._respond(contender, chunk)
            return [list(held.replies) for held in hold_dialogues([scripts[index] for index in chunk], respond)]

        return self._kept(contender, benchmark, "replies", len(scripts), self._rows(contender, len(scripts)), hold)

    def _replies(self, contender: Contender, benchmark: BenchmarkSet) -> list[str]:
        """Answer every turn that a person answered; models answer the dialogues in lock-step and encode only news."""
        turns = benchmark.turns
        if contender.kind == "ceiling":
            return [turn.reference for turn in turns]
        if contender.chatbot is None:
            assert contender.respond is not None
            return contender.respond([turn.context for turn in turns])
        own: dict[str, list[int]] = {item: [] for item in benchmark.items}
        for index, turn in enumerate(turns):
            own[turn.dialogue].append(index)
        order = sorted(own.values(), key=len)  # dialogues of one length are over together

        def answer(chunk: Chunk) -> list[list[str]]:
            respond = self._respond(contender, chunk)
            rows = [order[index] for index in chunk]
            said: list[list[str]] = [[] for _ in rows]
            for step in range(max(map(len, rows))):
                speaking = [number for number, row in enumerate(rows) if step < len(row)]
                replies = respond([turns[rows[number][step]].context for number in speaking])
                for number, reply in zip(speaking, replies, strict=True):
                    said[number].append(reply)
            return said

        chunk_size = self._rows(contender, len(order))
        said = self._kept(contender, benchmark, "replies", len(order), chunk_size, answer)
        by_turn: dict[int, str] = {}
        for row, replies in zip(order, said, strict=True):
            by_turn.update(zip(row, replies, strict=True))
        return [by_turn[index] for index in range(len(turns))]

    def _self_chats(self, contender: Contender, benchmark: BenchmarkSet) -> list[SelfChat]:
        pairs = benchmark.pairs

        def hold(chunk: Chunk) -> list[dict[str, Any]]:
            first, second = (self._respond(contender, chunk, side * len(pairs)) for side in (FIRST, SECOND))
            chosen = [pairs[index] for index in chunk]
            chats = hold_self_chats(first, second, chosen, seed=self.seed, start=chunk[0])
            return [chat.to_json() for chat in chats]

        rows = self._rows(contender, len(pairs), _SIDES)
        kept = self._kept(contender, benchmark, "self-chats", len(pairs), rows, hold)
        return [SelfChat.from_json(chat) for chat in kept]

    def _scores(
        self,
        contender: Contender,
        benchmark: BenchmarkSet,
        what: str,
        tasks: Sequence[RankingTask],
        all_tasks: Sequence[RankingTask],
    ) -> list[list[float]]:
        assert contender.rank is not None
        rank = contender.rank
        if contender.whole_file:  # a matter of seconds, and the IDF is that of the whole file
            wanted = {task.id for task in tasks}
            scores = zip(all_tasks, rank(all_tasks), strict=True)
            return [own for task, own in scores if task.id in wanted]

        def score(chunk: Chunk) -> list[list[float]]:
            return rank([tasks[index] for index in chunk])

        return self._kept(contender, benchmark, what, len(tasks), _RANKED_AT_ONCE, score)

    def _losses(self, contender: Contender, benchmark: BenchmarkSet) -> list[tuple[float, int, int]]:
        from personatune.evaluation.suite import dialogue_nll

        model, prompts = contender.model, contender.prompts
        assert model is not None
        assert prompts is not None

        def losses(chunk: Chunk) -> list[tuple[float, int, int]]:
            return dialogue_nll(model, prompts, [benchmark.dialogues[index] for index in chunk])

        rows = self._kept(contender, benchmark, "perplexity", len(benchmark.dialogues), _LOSSES_AT_ONCE, losses)
        return [(nll, count, words) for nll, count, words in rows]

    # --- how it is done ---------------------------------------------------------------------------------------------

    def _respond(self, contender: Contender, chunk: Chunk, draw: int = 0) -> Respond:
        """Return a chatbot for one chunk of dialogues, whose draws depend on the chunk and ``draw`` alone."""
        if contender.chatbot is not None:
            contender.chatbot.batch_size = len(chunk)
        respond = contender.in_dialogues(self.seed + chunk[0] + draw)
        assert respond is not None
        return respond

    def _rows(self, contender: Contender, items: int, sides: int = 1) -> int:
        """Return how many dialogues are held at once: as many as memory allows, the last ones not left alone.

        Whoever is no model takes all.

        Args:
            sides: of a dialogue that the contender speaks for: each has a cache of its own.
        """
        if contender.model is None or contender.prompts is None:
            return items
        from personatune.model.batch_rows import rows_that_fit

        batch = self.settings.batch_size * sides
        most = max(1, rows_that_fit(contender.model, contender.prompts.max_length, batch) // sides)
        return math.ceil(items / math.ceil(items / most))

    def _kept(
        self,
        contender: Contender,
        benchmark: BenchmarkSet,
        what: str,
        items: int,
        chunk_size: int,
        work: Callable[[Chunk], Sequence[Any]],
    ) -> list[Any]:
        head = {**self._work_head(contender, benchmark), "what": what}
        place = self._place(contender, benchmark, f"{what}.jsonl", head)
        with self.progress.task(f"{contender.name} on {benchmark.name}: {what}", items) as task:
            return in_chunks(place, head, items, chunk_size, work, task)

    def _place(self, contender: Contender, benchmark: BenchmarkSet, what: str, head: dict[str, Any]) -> Path:
        readable = "".join(letter if letter.isalnum() else "-" for letter in contender.name)[-40:].strip("-")
        return self.parts / f"{benchmark.name}.{readable}.{key_of(head)}.{what}"

    def _judge_answers(self, contender: Contender, benchmark: BenchmarkSet) -> Path:
        return self._place(contender, benchmark, "judge.json", self._work_head(contender, benchmark))

    def _work_head(self, contender: Contender, benchmark: BenchmarkSet) -> dict[str, Any]:
        return {
            "version": FIGURES_VERSION,
            "contender": contender.name,
            "identity": contender.identity,
            "decoding": contender.decoding,
            "scoring": contender.scoring,
            "benchmark": benchmark.fingerprint,
            "seed": self.seed,
        }

    def _result_head(self, contender: Contender, benchmark: BenchmarkSet) -> dict[str, Any]:
        return {
            **self._work_head(contender, benchmark),
            "personatune": __version__,
            "judges": self.judges.to_json(),
            "engagement": EngagementEvaluator().weights,
            "bootstrap_samples": self.settings.bootstrap_samples,
        }

    def _told(self, contender: Contender, benchmark: BenchmarkSet) -> dict[str, Any]:
        """Return what is printed with the figures."""
        told: dict[str, Any] = {"seed": self.seed}
        if benchmark.talks and contender.decoding is not None:
            told["decoding"] = contender.decoding
        if (benchmark.tasks or benchmark.questions) and contender.scoring:
            told["scoring"] = contender.scoring
        if contender.prompts is not None:
            told["prompt"] = type(contender.prompts).__name__
            tokenizer = contender.prompts.tokenizer
            name = Path(str(tokenizer.name_or_path)).name or type(tokenizer).__name__
            told["tokenizer"] = f"{name} ({len(tokenizer):,} tokens)"
        return told


def _why_no_self_chat(contender: Contender) -> str | None:
    if contender.kind == "ceiling":
        return "no people have talked for these personas"
    if contender.kind == "replies":
        return "its replies answer given lines; in a self-chat every line follows from the one before"
    return None if contender.respond is not None else contender.why_silent or "it doesn't answer"
