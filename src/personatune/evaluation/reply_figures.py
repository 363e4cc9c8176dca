"""Every figure of one contender's replies to contexts that people answered too, made dialogue by dialogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from personatune.copying import copies_trait
from personatune.dialogue import Context, Perspective, RankingTask, Turn
from personatune.evaluation.engagement import Encoder
from personatune.evaluation.judged import JudgedEvaluator
from personatune.evaluation.persona import repetition
from personatune.evaluation.quality import NllTokensWords, QualityEvaluator, tokens, word_f1
from personatune.evaluation.ranking import RATES, RankingEvaluator, best_kinds, dialogue_of
from personatune.evaluation.reply_features import engagement_scores, relevance
from personatune.evaluation.results import Figures, Tally, by_group
from personatune.judging.keywords import contradicted_traits, expressed_traits

REFERENCE_FIGURES = ("f1", "bleu", "rouge_1", "rouge_2", "rouge_l")
PERPLEXITIES = ("perplexity_token", "perplexity_word")
JUDGED = ("prompt_to_line", "c_score")
_ROUGE = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}


@dataclass(frozen=True, slots=True)
class Answered:
    """One turn that a person answered: the dialogue it stands in, what came before, and what the person said."""

    dialogue: str
    context: Context
    reference: str


def add_reply_figures(
    figures: Figures,
    turns: Sequence[Answered],
    replies: Sequence[str],
    *,
    people: bool,
    encoder: Encoder | None,
    judge: JudgedEvaluator | None,
    why_no_encoder: str = "no sentence encoder",
    why_no_judge: str = "no judge",
) -> None:
    """Add what replies say of themselves and beside people's.

    F1, BLEU, ROUGE and Distinct are 0 to 100; ``trait_score`` is traits expressed minus traits contradicted, a reply
    (the keyword form of the C-score); shares are 0 to 1.

    Args:
        people: the replies are the references; figures that compare with these are left out.
    """
    groups = [turn.dialogue for turn in turns]
    contexts = [turn.context for turn in turns]
    lines = [_partner_line(context) for context in contexts]

    def per_reply(name: str, values: Sequence[float]) -> None:
        figures.add(name, by_group(groups, figures.items, values))

    quality = QualityEvaluator(figures.samples, figures.seed)
    if people:
        figures.leave_out(REFERENCE_FIGURES, "people's replies are the references")
    else:
        references = [turn.reference for turn in turns]
        per_reply("f1", [100 * word_f1(*pair) for pair in zip(replies, references, strict=True)])
        for name, values in _rouge(replies, references).items():
            per_reply(name, values)
        figures.add_estimate("bleu", quality.compute_bleu(replies, references))
    for n in (1, 2):
        if any(len(tokens(reply)) >= n for reply in replies):
            figures.add_estimate(f"distinct_{n}", quality.compute_distinct_n(replies, n))
        else:
            figures.leave_out([f"distinct_{n}"], f"no reply is {n} words long")
    per_reply("reply_words", [float(len(tokens(reply))) for reply in replies])
    own: dict[str, list[str]] = {item: [] for item in figures.items}
    for group, reply in zip(groups, replies, strict=True):
        own[group].append(reply)
    figures.add("repetition", [(repetition(said), 1) if said else (0, 0) for said in own.values()])
    pairs = [(reply, context.persona) for reply, context in zip(replies, contexts, strict=True)]
    per_reply("copy_share", [float(copies_trait(*pair)) for pair in pairs])
    expressed = [len(expressed_traits(*pair)) for pair in pairs]
    contradicted = [len(contradicted_traits(*pair)) for pair in pairs]
    per_reply("trait_score", [float(yes - no) for yes, no in zip(expressed, contradicted, strict=True)])
    per_reply("contradicting_share", [float(count > 0) for count in contradicted])
    if encoder is None:
        figures.leave_out(["relevance"], why_no_encoder)
    else:
        per_reply("relevance", relevance(encoder, replies, lines))
    for name, scores in engagement_scores(replies, lines).items():
        per_reply(name, scores)
    _add_judged(figures, turns, replies, judge, why_no_judge)


def add_perplexity(figures: Figures, losses: Sequence[NllTokensWords]) -> None:
    """Add both perplexities from one (nats, tokens, words) a dialogue, in the order of the items."""
    figures.add("perplexity_token", [(nll, count) for nll, count, _ in losses])
    figures.add("perplexity_word", [(nll, words) for nll, _, words in losses])


def add_ranking(figures: Figures, tasks: Sequence[RankingTask], scores: Sequence[Sequence[float]]) -> None:
    """Add the rates of ranked candidates, in percent; ``n`` counts records or turns.

    Raises:
        UserError: a score is missing or no finite number.
    """
    estimates = RankingEvaluator(figures.samples, figures.seed).evaluate(tasks, scores)
    best = best_kinds(tasks, scores)
    groups = [dialogue_of(task) for task in tasks]
    for name, estimate in estimates.items():
        figures.tallies[name] = by_group(groups, figures.items, [100.0 * (kind == RATES[name]) for kind in best])
        figures.metrics[name] = estimate


def _add_judged(
    figures: Figures,
    turns: Sequence[Answered],
    replies: Sequence[str],
    judge: JudgedEvaluator | None,
    why_no_judge: str,
) -> None:
    """Judge each reply by itself: these replies follow people's lines, not each other, so line-to-line has no sense."""
    if judge is None:
        figures.leave_out(JUDGED, why_no_judge)
        return
    alone = [
        Perspective(turn.dialogue, turn.context.persona, (Turn("self", reply),))
        for turn, reply in zip(turns, replies, strict=True)
    ]
    rows = [judged.tallies() for judged in judge.judge_dialogues(alone)]
    for measure in JUDGED:
        sums = {item: [0.0, 0.0] for item in figures.items}
        for turn, row in zip(turns, rows, strict=True):
            for sum_, count in row[measure]:
                sums[turn.dialogue][0] += sum_
                sums[turn.dialogue][1] += count
        tallies: list[Tally] = [(sum_, count) for sum_, count in sums.values()]
        figures.add(measure, tallies, "no reply and persona sentence to judge")


def _rouge(replies: Sequence[str], references: Sequence[str]) -> dict[str, list[float]]:
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(list(_ROUGE.values()), use_stemmer=False)
    scores = [scorer.score(reference, reply) for reply, reference in zip(replies, references, strict=True)]
    return {name: [100 * score[theirs].fmeasure for score in scores] for name, theirs in _ROUGE.items()}


def _partner_line(context: Context) -> str:
    return next((turn.text for turn in reversed(context.history) if turn.speaker == "partner"), "")
