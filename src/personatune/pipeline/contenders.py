"""Who is compared: any model, floor, the human ceiling, or replies made elsewhere, behind one face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from personatune.dialogue import Context, Rank, Respond
from personatune.errors import UserError, did_you_mean
from personatune.evaluation.floors import CEILING, FLOORS, GenericReplier, HumanCeiling, PersonaCopier, TfidfFloor
from personatune.pipeline.flagship import FLAGSHIP, flagship_folder
from personatune.pipeline.reply_strategies import recalling, split_recall, split_strategy, strategic
from personatune.pipeline.run import Run
from personatune.storage import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from personatune.model.generation import Chatbot, Sampling
    from personatune.model.prompts import PromptFormat

Kind = Literal["model", "floor", "ceiling", "replies"]
_STAGES = ("base", "sft", "ppo", "dpo")
_FLOOR_SCORES = {
    "tfidf": "TF-IDF cosine with persona and last line, IDF of the file's candidates",
    "copier": "TF-IDF cosine with the persona, IDF of the file's candidates",
    "generic": "TF-IDF cosine with the nearest generic reply, IDF of the file's candidates",
}
_ADAPTER_SETTINGS = "adapter_config.json"


@dataclass(frozen=True)
class Contender:
    """One row of a table.

    Attributes:
        name: as printed; unique among the references a user can give.
        kind: "model", "floor", "ceiling" (people) or "replies" (a file made elsewhere).
        respond: answers contexts; None where it can't (``why_silent`` says why). For dialogues held turn by turn take
            `in_dialogues`.
        rank: scores candidates; None where it can't (``why_no_rank`` says why).
        whole_file: `rank` must get all tasks of a file in one call (its IDF is that of the file).
        scoring: how `rank` scores, to be printed with its figures.
        model, prompts, chatbot: of models only.
        identity: JSON value that changes when the contender answers otherwise (weights, revision), for resuming.
    """

    name: str
    kind: Kind
    respond: Respond | None
    rank: Rank | None
    why_silent: str | None = None
    why_no_rank: str | None = None
    whole_file: bool = False
    scoring: dict[str, Any] = field(default_factory=dict)
    model: PreTrainedModel | None = None
    prompts: PromptFormat | None = None
    chatbot: Chatbot | None = None
    identity: dict[str, Any] = field(default_factory=dict)

    def in_dialogues(self, seed: int | None = None) -> Respond | None:
        """Return a fresh function for one set of dialogues held in lock-step: models encode only what is new.

        With a seed of their own, sampled replies don't depend on what was drawn before.
        """
        return self.chatbot.in_dialogues(seed) if self.chatbot is not None else self.respond

    @property
    def decoding(self) -> dict[str, Any] | None:
        """How a model's replies are drawn, to be printed with every figure of them."""
        return self.chatbot.decoding if self.chatbot is not None else None


def load_contender(
    reference: str,
    *,
    run: str | None = None,
    runs: Path = Path("runs"),
    base: str | None = None,
    sampling: Sampling | None = None,
    batch_size: int = 16,
    seed: int = 0,
    pool: Sequence[str] = (),
    human: Mapping[Context, str] | None = None,
) -> Contender:
    """Find what a reference names and make it ready; models are loaded at once.

    Args:
        reference: ``MODEL+recall`` is shown only the persona sentences that a line may ask for, ``MODEL+critic`` or
            ``MODEL+best-of-8`` says one of several candidates (`reply_strategies`); ``tfidf``, ``copier``,
            ``generic``, ``human``; ``base``, ``sft``, ``ppo`` or ``dpo`` (of ``run``); ``RUN/sft``; ``RUN/NAME`` of a
            variant; ``flagship`` (the shipped model, which recalls; ``flagship+plain`` doesn't); a ``.jsonl`` file of
            replies; a folder with an adapter or a model; a hub id; ``embedded``.
        run: the run that ``sft`` and its like belong to; ``base`` without one is ``base`` or the embedded model.
        base: the model under an adapter folder, and what ``base`` means without a run.
        sampling: how models answer; greedy, 60 tokens at most, by default.
        pool: training replies that ``tfidf`` answers with.
        human: what a person said in each context, for ``human``.

    Raises:
        UserError: nothing of that name, a stage that isn't done, a damaged file.
    """
    untrained = _untrained(reference, pool, human)
    if untrained is not None:
        return untrained
    if reference.endswith(".jsonl"):
        return _replies(Path(reference))
    plain, strategy = split_strategy(reference)
    plain, recall = split_recall(plain)
    model, prompts, identity = _load(plain, run, runs, base)
    found = _model(reference, model, prompts, identity, sampling=sampling, batch_size=batch_size, seed=seed)
    if recall is not None and found.chatbot is not None:
        narrow = recalling(found.chatbot, recall)
        identity = {**identity, **narrow.prompts.told}
        found = replace(found, chatbot=narrow, respond=narrow, identity=identity)
    if strategy is None or found.chatbot is None:
        return found
    of = _stage_of_a_run(plain, run, runs)
    whose = of[0] if of else Run.open(runs, run) if run else None
    bot = strategic(found.chatbot, strategy, whose, seed=seed)
    return replace(found, chatbot=bot, respond=bot, identity={**identity, **strategy.identity(bot)})


_Loaded = tuple["PreTrainedModel", "PromptFormat", dict[str, Any]]


def _untrained(reference: str, pool: Sequence[str], human: Mapping[Context, str] | None) -> Contender | None:
    """Return the floor or the ceiling of that name."""
    if reference == CEILING:
        people = HumanCeiling(human)
        silent = None if human else "no human replies to these contexts"
        respond = None if silent else people.respond
        scoring = {"score": "1 for the gold reply"}
        return Contender(CEILING, "ceiling", respond, people.rank, why_silent=silent, whole_file=True, scoring=scoring)
    if reference not in FLOORS:
        return None
    floor: TfidfFloor | PersonaCopier | GenericReplier
    floor = TfidfFloor(pool) if reference == "tfidf" else PersonaCopier() if reference == "copier" else GenericReplier()
    silent = "tfidf answers with training replies, and none were given" if reference == "tfidf" and not pool else None
    return Contender(
        reference,
        "floor",
        None if silent else floor.respond,
        floor.rank,
        why_silent=silent,
        whole_file=True,
        scoring={"score": _FLOOR_SCORES[reference]},
    )


def _replies(file: Path) -> Contender:
    from personatune.pipeline.given_replies import GivenReplies

    given = GivenReplies.read(file)
    why = f"{file} holds replies, no model: it can't score candidates"
    return Contender(file.name, "replies", given.respond, None, why_no_rank=why, identity={"sha256": given.sha256})


def _model(
    name: str,
    model: PreTrainedModel,
    prompts: PromptFormat,
    identity: dict[str, Any],
    *,
    sampling: Sampling | None,
    batch_size: int,
    seed: int,
) -> Contender:
    from personatune.model.candidates import CandidateScorer
    from personatune.model.generation import Chatbot, Sampling

    bot = Chatbot(model, prompts, sampling or Sampling(max_new_tokens=60), batch_size=batch_size, seed=seed)
    scoring = {
        "score": "mean token log-likelihood, end token included",
        "prompt": type(prompts).__name__,
        "max_length": prompts.max_length,
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    return Contender(
        name,
        "model",
        bot,
        CandidateScorer(model, prompts),
        scoring=scoring,
        model=model,
        prompts=prompts,
        chatbot=bot,
        identity=identity,
    )


def _load(reference: str, run: str | None, runs: Path, base: str | None) -> _Loaded:
    """Load a stage of a run, an adapter folder, or a model that stands alone."""
    stage = _stage_of_a_run(reference, run, runs)
    if stage is not None:
        return _load_stage(*stage)
    if reference == FLAGSHIP:
        return _load_adapter(flagship_folder(), None)
    if reference in _STAGES and reference != "base":
        raise UserError(f"--model {reference}: which run's? add --run NAME, or write NAME/{reference}")
    folder = Path(reference)
    if (folder / _ADAPTER_SETTINGS).is_file():
        return _load_adapter(folder, base)
    try:
        return _load_plain((base or "embedded") if reference == "base" else reference)
    except UserError as error:
        known = [*FLOORS, CEILING, *_STAGES, FLAGSHIP, "embedded"]
        hint = "" if folder.is_dir() or "/" in reference else did_you_mean(reference, known)
        if hint:
            raise UserError(f"--model {reference}: neither a folder nor a model that can be loaded{hint}") from error
        raise


def _stage_of_a_run(reference: str, run: str | None, runs: Path) -> tuple[Run, str] | None:
    """Read ``sft`` with a run, or ``NAME/sft``; None where the reference speaks of no run."""
    if reference in _STAGES:
        return None if run is None else (Run.open(runs, run), reference)
    name, slash, stage = reference.rpartition("/")
    if slash and stage in _STAGES and (runs / name / "config.yaml").is_file():
        return Run.open(runs, name), stage
    return _variant_of_a_run(reference, runs)


def _variant_of_a_run(reference: str, runs: Path) -> tuple[Run, str] | None:
    """Read ``RUN/NAME``, where NAME is a variant that is done (it may have slashes)."""
    name, slash, variant = reference.partition("/")
    if not slash or not (runs / name / "config.yaml").is_file():
        return None
    run = Run.open(runs, name)
    return (run, variant) if variant in run.finished() else None


def _load_stage(run: Run, stage: str) -> _Loaded:
    from personatune.pipeline.models import load_model, load_prompts

    model = load_model(run, stage)
    weights = run.directory / stage / "adapter"
    identity = {"base": run.config.model.base, "revision": run.config.model.revision, **_weights_of(weights)}
    return model, load_prompts(run.config), identity


def _load_adapter(folder: Path, base: str | None) -> _Loaded:
    from personatune.model.backbone import load_base_model, load_tokenizer
    from personatune.model.lora import load_adapter

    source = base or _recorded_base(folder)
    model = load_adapter(load_base_model(source), folder).merge_and_unload().eval()
    return model, _prompts(load_tokenizer(source)), {"base": source, **_weights_of(folder)}


def _recorded_base(folder: Path) -> str:
    """Return the base an adapter says it was trained on; the embedded model's copy lies elsewhere on every machine."""
    from personatune.model.backbone import EMBEDDED, EMBEDDED_HUB_ID, EMBEDDED_NAME

    recorded = str(read_json(folder / _ADAPTER_SETTINGS).get("base_model_name_or_path") or "")
    copied = Path(recorded).is_absolute() and EMBEDDED_NAME.lower() in Path(recorded).name.lower()
    if not recorded or copied or recorded == EMBEDDED_HUB_ID:
        return EMBEDDED
    if Path(recorded).is_absolute() and not Path(recorded).is_dir():
        raise UserError(f"{folder}: made for {recorded}, which isn't on this machine; name the base model: --base ID")
    return recorded


def _load_plain(source: str) -> _Loaded:
    from personatune.model.backbone import load_base_model, load_tokenizer

    return load_base_model(source), _prompts(load_tokenizer(source)), {"source": source, **_weights_of(Path(source))}


def _prompts(tokenizer: Any) -> PromptFormat:
    from personatune.model.prompts import prompt_format
    from personatune.settings import ModelConfig

    defaults = ModelConfig()
    return prompt_format(tokenizer, defaults.prompt_format, defaults.max_length)


def _weights_of(folder: Path) -> dict[str, Any]:
    """Return size and time of a folder's weights: other weights, another contender."""
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return {"weights": [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]}
