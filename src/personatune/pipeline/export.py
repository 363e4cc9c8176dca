"""Takes a model out of a run, or the shipped one: as an adapter, one plain model, a GGUF file, or Ollama's folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, get_args

from personatune.cards.character import CardCharacter
from personatune.cards.examples import SILENCE
from personatune.dialogue import Persona, Turn
from personatune.errors import UserError
from personatune.export.gguf_file import GgufNames, Precision, write_gguf
from personatune.export.modelfile import modelfile, ollama_model
from personatune.export.names import names_of, safe_name
from personatune.model.backbone import EMBEDDED, EMBEDDED_HUB_ID, EMBEDDED_LICENCE, load_base_model, load_tokenizer
from personatune.model.lora import join_adapters
from personatune.model.prompts import PromptFormat, prompt_format
from personatune.model.smaller_adapters import shrink_adapter
from personatune.pipeline.flagship import FLAGSHIP, flagship_folder
from personatune.pipeline.models import adapter_folder, load_model, load_prompts
from personatune.pipeline.run import Run
from personatune.report.build import collect_report
from personatune.report.model_card import model_card
from personatune.report.model_use import Form, card_for_form
from personatune.storage import read_json, replacing, write_json, write_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Format = Form

_BITS = {"f16": "16 bits a weight", "q8_0": "8 bits a weight and a 16-bit scale for every 32 of them"}


@dataclass(frozen=True)
class _Source:
    """What is exported: an adapter on a base, how it was made, and how to load both as one model."""

    name: str
    adapter: Path
    base: str
    revision: str | None
    prompts: Callable[[], PromptFormat]
    merged: Callable[[], PreTrainedModel]
    card: Callable[[], str]

    @property
    def base_id(self) -> str:
        """The embedded model's copy lies elsewhere on every machine; its name on the hub is the same everywhere."""
        return EMBEDDED_HUB_ID if self.base == EMBEDDED else self.base

    @property
    def licence(self) -> str:
        return EMBEDDED_LICENCE if self.base == EMBEDDED else "other"


def export(
    run: Run | None,
    model: str,
    target: Path,
    form: Format = "adapter",
    *,
    strength: float = 1.0,
    rank: int | None = None,
    half: bool = False,
    evaluation: Path | None = None,
    precision: Precision | None = None,
    personas: Sequence[Persona | CardCharacter] = (),
) -> str:
    """Write a model with its card to a folder and return what was done to the weights.

    Args:
        run: None for the shipped model.
        model: "sft", "ppo", "dpo" or a variant's name; "flagship" is the shipped model.
        evaluation: an evaluation.json of `personatune evaluate`, whose tables go into the card.
        strength: how many times an adapter takes the step from SFT to ``model``: less than 1 goes part of the way, more
            goes on (Zheng et al. 2024, arXiv 2404.16792).
        rank: of the adapter, at most; None keeps it.
        half: 16 bits a weight, of an adapter or a merged model.
        precision: of a GGUF file; 16 bits by default.
        personas: whom Ollama's folder holds.

    Raises:
        UserError: no such model, the folder holds something else, or the options don't fit the form.
    """
    source = _shipped() if run is None else _of_run(run, model, evaluation)
    step = None if strength == 1.0 else _step_from_sft(run, model, form)
    if run is None and evaluation is not None:
        raise UserError("--evaluation goes into the card of a run's model; the shipped model brings its own card")
    _require_empty(target)
    _require_fitting(form, rank=rank, half=half, precision=precision, personas=personas)
    files: list[str] = []
    names: list[str] = []
    with replacing(target) as temporary:
        if form == "adapter":
            note = _adapter(source, temporary, rank, half, step, strength)
        elif form == "merged":
            note = _merged(source, temporary, half)
        else:
            files = [f"{safe_name(source.name, 'model')}-{precision or 'f16'}.gguf"]
            note = _gguf(source, temporary / files[0], precision or "f16")
        if form == "ollama":
            names = _modelfiles(source, temporary, files[0], personas)
        told = card_for_form(source.card(), form, base=source.base_id, note=note, files=files, names=names)
        write_text(temporary / "README.md", told)
    return note


def _of_run(run: Run, model: str, evaluation: Path | None) -> _Source:
    config = run.config
    measured = read_json(evaluation) if evaluation is not None else None

    def card() -> str:
        licence = EMBEDDED_LICENCE if config.model.base == EMBEDDED else "other"
        base = EMBEDDED_HUB_ID if config.model.base == EMBEDDED else config.model.base
        report = collect_report(run.directory)
        return model_card(report, model, base=base, base_licence=licence, evaluation=measured)

    return _Source(
        name=f"{run.name}-{model}",
        adapter=adapter_folder(run, model),
        base=config.model.base,
        revision=config.model.revision,
        prompts=lambda: load_prompts(config),
        merged=lambda: load_model(run, model),
        card=card,
    )


def _shipped() -> _Source:
    from personatune.settings import ModelConfig

    defaults = ModelConfig()
    folder = flagship_folder()
    return _Source(
        name=FLAGSHIP,
        adapter=folder,
        base=EMBEDDED,
        revision=None,
        prompts=lambda: prompt_format(load_tokenizer(EMBEDDED), defaults.prompt_format, defaults.max_length),
        merged=lambda: _on_plain_base(folder, EMBEDDED, None),
        card=lambda: (folder / "README.md").read_text(encoding="utf-8"),
    )


def _require_empty(target: Path) -> None:
    """Check that the folder may be replaced: it is new, empty, or holds an export and nothing else."""
    if not target.name:
        raise UserError(f"--to {target}: give the new folder a name, as in {target / 'my-model'}")
    if not target.exists():
        return
    card = target / "README.md"
    ours = card.is_file() and "\n- personatune\n" in card.read_text(encoding="utf-8", errors="replace")[:2000]
    if target.is_file() or (any(target.iterdir()) and not (ours and all(file.is_file() for file in target.iterdir()))):
        raise UserError(f"{target}: exists and holds no export; give an empty or a new folder")


def _require_fitting(
    form: Format,
    *,
    rank: int | None,
    half: bool,
    precision: Precision | None,
    personas: Sequence[Persona | CardCharacter],
) -> None:
    if form not in get_args(Form):
        raise UserError(f"--format {form}: expected {', '.join(get_args(Form))}")
    if form != "adapter" and rank is not None:
        raise UserError(f"--rank is an adapter's; a {form} model has none: leave it out or export the adapter")
    if form in {"gguf", "ollama"} and half:
        raise UserError(f"--half is an adapter's or a merged model's; of {form}, --precision says the bits")
    if form in {"adapter", "merged"} and precision is not None:
        raise UserError(f"--precision is a GGUF file's; of {form}, --half gives 16 bits")
    if form == "ollama" and not personas:
        raise UserError("--format ollama writes one Modelfile for each persona: give --persona, once or several times")
    if form != "ollama" and personas:
        raise UserError(f"--persona goes into Ollama's Modelfiles; {form} has none: leave it out, or --format ollama")


def _step_from_sft(run: Run | None, model: str, form: Format) -> tuple[Path, Path]:
    """Return the adapter of SFT and the branch that ``model`` adds to it."""
    if form != "adapter":
        raise UserError(f"--strength is an adapter's; leave it out for a {form} model")
    branch = None if run is None else run.folder(model) / "branch"
    if run is None or branch is None or not branch.is_dir():
        raise UserError(f"--strength is of a step that stands on SFT (dpo, ppo, a variant); {model} has none")
    return adapter_folder(run, "sft"), branch


def _adapter(
    source: _Source, target: Path, rank: int | None, half: bool, step: tuple[Path, Path] | None, strength: float
) -> str:
    with TemporaryDirectory() as folder:
        adapter = source.adapter
        if step is not None:
            adapter = Path(folder) / "adapter"
            join_adapters(*step, adapter, strength=strength)
        lost = shrink_adapter(adapter, target, rank=rank, half=half)
    settings = read_json(target / "adapter_config.json")
    if source.base == EMBEDDED:
        write_json(target / "adapter_config.json", {**settings, "base_model_name_or_path": EMBEDDED_HUB_ID})
    told = "" if step is None else f"the step from SFT {strength:g} times, "
    return f"{told}adapter of rank {settings['r']}, {16 if half else 32} bits, {100 * lost:.1f} % of the update lost"


def _merged(source: _Source, target: Path, half: bool) -> str:
    import torch

    model = source.merged()
    (model.to(torch.float16) if half else model).save_pretrained(str(target))
    load_tokenizer(source.base, revision=source.revision).save_pretrained(str(target))
    return f"merged, {16 if half else 32} bits"


def _gguf(source: _Source, target: Path, precision: Precision) -> str:
    names = GgufNames(f"personatune {source.name}", source.base_id, source.licence)
    model = _on_plain_base(source.adapter, source.base, source.revision)
    write_gguf(model, source.prompts(), target, precision, names)
    return f"merged, GGUF {precision}: {_BITS[precision]}"


def _on_plain_base(adapter: Path, base: str, revision: str | None) -> PreTrainedModel:
    """Return adapter and base as one model in 32 bits, whatever the run trained it on."""
    from personatune.model.lora import load_adapter

    plain = load_base_model(base, revision=revision, dtype="float32")
    return load_adapter(plain, adapter).merge_and_unload().eval()


def _modelfiles(source: _Source, folder: Path, weights: str, personas: Sequence[Persona | CardCharacter]) -> list[str]:
    shared = ollama_model(source.prompts(), weights, source.licence)
    names = names_of(personas)
    for name, person in zip(names, personas, strict=True):
        opening: tuple[Turn, ...] = ()
        if isinstance(person, CardCharacter):
            # as in training, nobody speaks before the partner did
            greeting = (SILENCE, Turn("self", person.greetings[0])) if person.greetings else ()
            opening = (*person.examples, *greeting)
            person = person.persona  # noqa: PLW2901
        write_text(folder / f"{name}.Modelfile", modelfile(shared, person, opening))
    return names
