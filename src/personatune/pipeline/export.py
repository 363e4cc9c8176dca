"""Takes a model out of a run: as a PEFT adapter for its base, or merged into one plain model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from personatune.errors import UserError
from personatune.model.backbone import EMBEDDED, EMBEDDED_HUB_ID, EMBEDDED_LICENCE, load_tokenizer
from personatune.model.smaller_adapters import shrink_adapter
from personatune.pipeline.models import adapter_folder, load_model
from personatune.pipeline.run import Run
from personatune.report.build import collect_report
from personatune.report.model_card import model_card
from personatune.storage import read_json, replacing, write_json, write_text

Format = Literal["adapter", "merged"]


def export(
    run: Run,
    model: str,
    target: Path,
    form: Format = "adapter",
    *,
    rank: int | None = None,
    half: bool = False,
    evaluation: Path | None = None,
) -> str:
    """Write a run's model with its card to a folder and return what was done to the weights.

    Args:
        model: "sft", "ppo", "dpo" or a variant's name.
        evaluation: an evaluation.json of `personatune evaluate`, whose tables go into the card.
        rank: of the adapter, at most; None keeps it.
        half: 16 bits a weight.

    Raises:
        UserError: the run has no such model, the folder holds something else, or the options don't fit the form.
    """
    adapter = adapter_folder(run, model)
    if target.exists() and not (target / "README.md").is_file() and any(target.iterdir()):
        raise UserError(f"{target}: exists and holds no export; give an empty or a new folder")
    if form == "merged" and rank is not None:
        raise UserError("--rank is an adapter's; a merged model has none: leave it out or export the adapter")
    measured = read_json(evaluation) if evaluation is not None else None
    note = _merged(run, model, target, half) if form == "merged" else _adapter(run, adapter, target, rank, half)
    base = run.config.model.base
    embedded = base == EMBEDDED
    card = model_card(
        collect_report(run.directory),
        model,
        base=EMBEDDED_HUB_ID if embedded else base,
        base_licence=EMBEDDED_LICENCE if embedded else "other",
        note=note,
        evaluation=measured,
    )
    write_text(target / "README.md", card)
    return note


def _adapter(run: Run, adapter: Path, target: Path, rank: int | None, half: bool) -> str:
    lost = shrink_adapter(adapter, target, rank=rank, half=half)
    settings = read_json(target / "adapter_config.json")
    if run.config.model.base == EMBEDDED:  # the copy of its wheel lies elsewhere on every machine
        write_json(target / "adapter_config.json", {**settings, "base_model_name_or_path": EMBEDDED_HUB_ID})
    return f"adapter of rank {settings['r']}, {16 if half else 32} bits, {100 * lost:.1f} % of the update lost"


def _merged(run: Run, name: str, target: Path, half: bool) -> str:
    import torch

    model = load_model(run, name)
    with replacing(target) as temporary:
        (model.to(torch.float16) if half else model).save_pretrained(str(temporary))
        load_tokenizer(run.config.model.base, revision=run.config.model.revision).save_pretrained(str(temporary))
    return f"merged, {16 if half else 32} bits"
