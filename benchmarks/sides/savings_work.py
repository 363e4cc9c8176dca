"""What both sides of `savings.py` get: the same dialogues, pairs, prompts and settings, written once as plain files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personatune.config import load_config
from personatune.dialogue import Context, Perspective, PreferencePair
from personatune.errors import UserError
from personatune.evaluation.persona import PersonaEvaluator
from personatune.evaluation.suite import probe_scripts
from personatune.intervals import bootstrap
from personatune.judging.probes import hold_dialogues
from personatune.model.backbone import load_tokenizer
from personatune.model.generation import Chatbot, Sampling
from personatune.model.prompts import EncodedDialogue, PromptFormat, prompt_format
from personatune.settings import Config
from personatune.storage import read_json, read_jsonl, write_json, write_jsonl
from personatune.training.sft_dialogues import encode_dialogues
from sides.real_data import pairs_from, read_perspectives

FORWARD, FROZEN, TRAINED = 2.0, 4.0, 6.0
"""Operations for each weight and token (Kaplan et al. 2020, arXiv 2001.08361, section 2.1): a forward pass, training
through a weight that stays as it is, and training that changes it."""


@dataclass(frozen=True)
class Work:
    """The work of one comparison, read from its folder."""

    folder: Path
    settings: dict[str, Any]
    config: Config

    @classmethod
    def load(cls, folder: Path) -> Work:
        """Read what `write_work` wrote."""
        settings = read_json(folder / "settings.json")
        return cls(folder, settings, load_config("standard", settings["overrides"]))

    def prompts(self) -> PromptFormat:
        """Return the prompt form of both sides."""
        return prompt_format(load_tokenizer(self.settings["model"]), "auto", self.config.model.max_length)

    def views(self, part: str) -> list[Perspective]:
        """Return the dialogues of a part: "train" or "validation"."""
        return [Perspective.from_json(row) for row in read_jsonl(self.folder / f"{part}.jsonl")]

    def encoded(self, part: str, prompts: PromptFormat) -> list[EncodedDialogue]:
        """Return a part's dialogues as tokens, every own turn weighing the same."""
        return encode_dialogues(prompts, self.views(part), self.config.sft)

    def pairs(self, part: str) -> list[PreferencePair]:
        """Return the pairs of a part: "pairs" or "test_pairs"."""
        return [PreferencePair.from_json(row) for row in read_jsonl(self.folder / f"{part}.jsonl")]

    def contexts(self) -> list[Context]:
        """Return the contexts of PPO, each answered in one update."""
        return [Context.from_json(row) for row in read_jsonl(self.folder / "contexts.jsonl")]

    def judged(self, model: Any, prompts: PromptFormat) -> dict[str, Any]:
        """Return the model's probe consistency on validation personas, with its interval; both sides decode alike."""
        evaluation = self.config.evaluation
        scripts = probe_scripts(
            self.views("judge"), self.settings["judge_personas"], evaluation.turns, self.config.seed
        )
        sampling = Sampling(evaluation.max_new_tokens, no_repeat_ngram=evaluation.no_repeat_ngram)
        bot = Chatbot(model, prompts, sampling, batch_size=evaluation.batch_size)
        dialogues = hold_dialogues(scripts, bot.in_dialogues())
        return PersonaEvaluator().compute_multi_turn_consistency(dialogues)["overall"].to_json()


def pair_accuracy(chosen: list[float], rejected: list[float]) -> dict[str, Any]:
    """Return the share of held-out pairs ranked right, with its interval; a tie is wrong."""
    return bootstrap([float(a > b) for a, b in zip(chosen, rejected, strict=True)]).to_json()


def write_work(folder: Path, settings: Mapping[str, Any]) -> Work:
    """Write the work into a folder, unless the same work lies there already (a resumed comparison).

    Raises:
        UserError: another comparison lies in the folder, or the data are too few.
    """
    place = folder / "settings.json"
    if place.is_file():
        if read_json(place) != dict(settings):
            raise UserError(f"{folder} holds a comparison with other settings; name another folder with --out")
        return Work.load(folder)
    config = load_config("standard", settings["overrides"])
    data = read_perspectives(settings["data"], max_turns=config.data.max_turns, seed=config.seed)
    train, validation = data.train[: settings["dialogues"]], data.validation[: settings["held_out_dialogues"]]
    if len(train) < settings["dialogues"] or len(validation) < settings["held_out_dialogues"]:
        raise UserError(f"{settings['data']}: {len(data.train)} training dialogues and {len(data.validation)} held "
                         f"out; {settings['dialogues']} and {settings['held_out_dialogues']} are needed")  # fmt: skip
    wanted = settings["updates"] * settings["prompts_per_update"]
    one_turn = [Context(view.persona, context.history[-1:]) for view in data.train for context, _ in view.replies()]
    contexts = list(dict.fromkeys(one_turn))[-wanted:]  # from dialogues that SFT does not see
    write_jsonl(folder / "train.jsonl", (view.to_json() for view in train))
    write_jsonl(folder / "validation.jsonl", (view.to_json() for view in validation))
    write_jsonl(folder / "judge.jsonl", (view.to_json() for view in data.validation))
    write_jsonl(folder / "pairs.jsonl", (pair.to_json() for pair in pairs_from(data.train, settings["pairs"])))
    held_out = pairs_from(data.validation, settings["test_pairs"])
    write_jsonl(folder / "test_pairs.jsonl", (pair.to_json() for pair in held_out))
    write_jsonl(folder / "contexts.jsonl", (context.to_json() for context in contexts))
    write_json(place, dict(settings))
    return Work.load(folder)
