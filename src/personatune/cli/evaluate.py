"""``evaluate``: the evaluation stage of a run, or any contenders against each other on benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from personatune.cli.options import RUNS, Redo, Runs, Settings, one_writer, set_up_libraries, told_interrupts
from personatune.errors import UserError

app = typer.Typer()

_MODEL_HELP = (
    "base; sft, ppo or dpo with --run; RUN/sft; flagship (flagship+plain without recall); an adapter's or a model's "
    "folder; a hub id; any of these with +recall (shown only the persona sentences that a line may ask for), +critic "
    "or +best-of-8 (one of several candidates is said); a .jsonl file of replies; tfidf, copier, generic, "
    "human. May be given several times. Without it: the stage evaluate of --run."
)
_ON_HELP = (
    "probes, qa, selfchat, derived=SOURCE, convai2=FILE, spc=SOURCE, rank=FILE: several with commas, or the option "
    "again. The first three are made of the packaged personas and need no file."
)


@app.command()
def evaluate(
    models: Annotated[list[str] | None, typer.Option("--model", help=_MODEL_HELP)] = None,
    on: Annotated[list[str] | None, typer.Option("--on", help=_ON_HELP)] = None,
    run: Annotated[
        str | None, typer.Option("--run", help="The run that base, sft and ppo belong to; without --model: demo.")
    ] = None,
    judge: Annotated[
        str, typer.Option(help="critic (the packaged one), a critic's folder, an NLI cross-encoder's id, or none.")
    ] = "critic",
    probes_split: Annotated[
        str, typer.Option(help="Of the packaged personas: train, validation, test or all.")
    ] = "test",
    wordings: Annotated[
        int,
        typer.Option(help="Of each trait's three questions, how many the probes ask, each in its own dialogue."),
    ] = 1,
    limit: Annotated[
        int | None, typer.Option(help="At most so many dialogues (rank: records, selfchat: chats) of each benchmark.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the evaluation; by default under --runs.")] = None,
    base: Annotated[str | None, typer.Option(help="The base of an adapter folder, or what 'base' means.")] = None,
    transcripts: Annotated[
        Path | None, typer.Option(help="A folder: write each model's probe dialogues there, with the judges' marks.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of probe wording, sampled replies and intervals.")] = 0,
    settings: Settings = None,
    runs: Runs = RUNS,
    redo: Redo = False,
) -> None:
    """Judge the models of a run; with --model, anyone on benchmarks: figures, differences, published ones beside."""
    if not models:
        if on:
            raise UserError("--on names benchmarks for contenders; say who: --model base --model sft --run NAME")
        from personatune.cli.stages import run_stage

        run_stage("evaluate", run or "demo", runs, redo)
        return
    from personatune.config import load_config
    from personatune.pipeline.benchmark_sets import parse_benchmarks, read_benchmark

    wanted = parse_benchmarks(on or ["probes"])
    if wordings != 1 and "probes" not in wanted:
        raise UserError(f"--wordings {wordings}: only probes have several wordings; add probes to --on")
    chosen = load_config("standard", settings or []).evaluation
    sets = [
        read_benchmark(name, place, limit=limit, turns=chosen.turns, seed=seed, split=probes_split, wordings=wordings)
        for name, place in wanted.items()
    ]
    out = out or runs / "evaluation"
    set_up_libraries(long_work=True)
    from personatune.pipeline.evaluation import evaluate_contenders, run_pool
    from personatune.pipeline.judging import find_judges
    from personatune.report.evaluation_page import print_evaluation, wide_console, write_evaluation
    from personatune.terminal_progress import RichProgress

    with one_writer(out), told_interrupts():
        if redo:
            _forget(out)
        evaluation: dict[str, Any] = evaluate_contenders(
            models,
            sets,
            out,
            settings=chosen,
            judges=find_judges(judge),
            pool=run_pool(run, runs),
            run=run,
            runs=runs,
            base=base,
            seed=seed,
            transcripts=transcripts,
            progress=RichProgress(),
        )
        written = write_evaluation(evaluation, out)
    print_evaluation(wide_console(), evaluation, written)


def _forget(out: Path) -> None:
    """Delete what earlier calls kept in the folder, and nothing else that may lie there."""
    import shutil

    shutil.rmtree(out / "parts", ignore_errors=True)
