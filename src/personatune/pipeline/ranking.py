"""Rank files of candidates with any contender; scores are kept as they come, so that an interrupted run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from personatune.data.ranking_files import RankingFile
from personatune.errors import UserError
from personatune.evaluation.ranking import RankingEvaluator
from personatune.pipeline.contenders import Contender
from personatune.progress import Progress, SilentProgress
from personatune.storage import write_jsonl

SCORES_VERSION = 1  # raise it when scores are computed otherwise: kept ones are then made anew


def rank_files(
    files: Sequence[RankingFile],
    load_contenders: Sequence[Callable[[], Contender]],
    aside: Path,
    *,
    progress: Progress | None = None,
    bootstrap_samples: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return one result for each contender and file, contenders first; one contender is in memory at a time.

    Args:
        aside: folder for the scores of a run that isn't finished; they stay there until `forget_scores`.

    Raises:
        UserError: a contender that can't rank, or a model that gives no numbers.
    """
    results = []
    for load in load_contenders:
        contender = load()
        for file in files:
            scores = kept_scores(contender, file, aside, progress or SilentProgress())
            results.append(ranking_result(contender, file, scores, bootstrap_samples, seed))
        del contender
    return results


def ranking_result(
    contender: Contender, file: RankingFile, scores: Sequence[Sequence[float]], bootstrap_samples: int, seed: int
) -> dict[str, Any]:
    """Return the rates in percent, their intervals, and everything a reader needs to make them again."""
    rates = RankingEvaluator(bootstrap_samples, seed).evaluate(file.tasks, scores)
    return {
        **{name: estimate.value for name, estimate in rates.items()},
        "n": len(file.tasks),
        "intervals": {name: {"low": estimate.low, "high": estimate.high} for name, estimate in rates.items()},
        "model": contender.name,
        "kind": contender.kind,
        "file": str(file.path),
        "format": file.format,
        "sha256": file.sha256,
        "scoring": contender.scoring,
        "records_without": dict(file.without),
    }


def kept_scores(contender: Contender, file: RankingFile, aside: Path, progress: Progress) -> list[list[float]]:
    """Score all candidates of a file; those of a call before are taken up where they are of the same contender.

    Raises:
        UserError: the contender can't rank.
    """
    if contender.rank is None:
        raise UserError(f"--model {contender.name}: {contender.why_no_rank}")
    if contender.whole_file:  # a matter of seconds, and the IDF is that of the whole file
        return contender.rank(file.tasks)
    head = {
        "version": SCORES_VERSION,
        "file": file.sha256,
        "model": contender.name,
        "identity": contender.identity,
        "scoring": contender.scoring,
    }
    place = _place(aside, file, contender.name)
    scores = _read(place, head, file)
    if 0 < len(scores) < len(file.tasks):
        progress.say(f"{len(scores)} of {len(file.tasks)} records are ranked already; going on there")
    write_jsonl(place, [head, *({"scores": row} for row in scores)])
    with (
        progress.task(f"Ranking {file.path.name} with {contender.name}", len(file.tasks) - len(scores)) as task,
        place.open("a", encoding="utf-8") as stream,
    ):
        for record in file.tasks[len(scores) :]:
            [row] = contender.rank([record])
            scores.append(row)
            stream.write(json.dumps({"scores": row}) + "\n")  # NaN is kept too: the evaluator names the record
            stream.flush()
            task.advance()
    return scores


def forget_scores(files: Sequence[RankingFile], names: Sequence[str], aside: Path) -> None:
    """Delete the kept scores of these contenders on these files; the results are written now."""
    for file in files:
        for name in names:
            _place(aside, file, name).unlink(missing_ok=True)
    with suppress(OSError):  # not there, or another run's scores are in it
        aside.rmdir()


def _place(aside: Path, file: RankingFile, name: str) -> Path:
    return aside / f"{sha256(f'{file.sha256} {name}'.encode()).hexdigest()[:16]}.jsonl"


def _read(place: Path, head: dict[str, Any], file: RankingFile) -> list[list[float]]:
    """Return the kept scores, as many as are whole; none where they are of other weights or another file."""
    try:
        lines = place.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return []
    scores: list[list[float]] = []
    for number, line in enumerate(lines):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break  # the line that was being written
        if number == 0:
            if row != head:
                return []
            continue
        scores.append(row["scores"])
    fitting = zip(file.tasks, scores, strict=False)
    return scores if all(len(task.candidates) == len(row) for task, row in fitting) else []
