"""Every reader of strangers' files, each with what is done first with what it read: nothing may crash there either."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hostile import originals
from hostile.originals import Original
from personatune.cards.character import CardCharacter
from personatune.cards.files import convert, is_card_file, read_card
from personatune.config import load_config, save_config
from personatune.costs.savings import PriceTable
from personatune.data.pair_files import read_pairs
from personatune.data.preference_files import describe_pairs, read_preference_file
from personatune.data.processing import DataProcessor, PreparedData
from personatune.data.ranking_files import read_ranking_file
from personatune.data.sources import DatasetLoader
from personatune.data.written_dialogues import held_out, written_dialogues
from personatune.dialogue import Context, Persona, Turn
from personatune.judging.persona_probes.format import read_personas
from personatune.judging.persona_probes.validation import check_files
from personatune.pipeline.given_replies import GivenReplies
from personatune.pipeline.run import Run
from personatune.settings import DataConfig
from personatune.storage import write_jsonl
from personatune.training.checkpoints import CheckpointManager

_TALK = (Turn("partner", "forge"),)


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        originals: makes the valid files.
        read: reads a file and uses it; raises `UserError` where it can't.
        words: what it looks for, as keys, tags and labels.
    """

    name: str
    originals: Callable[[], Sequence[Original]]
    read: Callable[[Path], object]
    words: tuple[str, ...]


def _dialogues(path: Path) -> None:
    loaded = DatasetLoader(str(path)).load()
    prepared = DataProcessor(DataConfig(source=str(path), min_traits=1, test_share=0.1), 0).process(loaded)
    prepared.save(path.parent / "prepared")
    PreparedData.load(path.parent / "prepared")


def _card(path: Path) -> None:
    is_card_file(path)
    source = read_card(path)
    character = CardCharacter(source.card, "Sam")
    character.context(_TALK)
    for suffix in (".json", ".png", ".charx"):
        convert(source, path.parent / f"converted{suffix}", "v3", None)
        read_card(path.parent / f"converted{suffix}")


def _probes(path: Path) -> None:
    read_personas(path)
    check_files([path])


def _preferences(path: Path) -> None:
    pairs = read_preference_file(path)
    describe_pairs(pairs)
    write_jsonl(path.parent / "again.out", (pair.to_json() for pair in pairs))


def _ranking(path: Path) -> None:
    read_ranking_file(path)


def _replies(path: Path) -> None:
    GivenReplies.read(path).respond([Context(Persona(("I cook.",)), (Turn("partner", "Hi!"),))])


def _written(path: Path) -> None:
    for dialogue in written_dialogues([path]):
        held_out(dialogue)
        list(dialogue.pairs(3))


def _settings(path: Path) -> None:
    config = load_config(path)
    save_config(config, path.parent / "again.out")
    if load_config(path.parent / "again.out") != config:
        raise AssertionError("saved settings aren't read back as they were")


def _prices(path: Path) -> None:
    PriceTable.load(path)


def _manifest(path: Path) -> None:
    run = path.parent / "stranger"
    run.mkdir(exist_ok=True)
    save_config(load_config("quick"), run / "config.yaml")
    shutil.copyfile(path, run / path.name)
    opened = Run.open(path.parent, "stranger")
    opened.finished()
    opened.forget("evaluate")


def _valid_checkpoint(folder: Path) -> Path:
    manager = CheckpointManager(folder)
    tensors = {"adapter": {"a": torch.ones(2, 3)}, "optimizer": {"0.exp_avg": torch.zeros(4)}}
    return manager.save(3, tensors, {"step": 3, "loss": 0.5, "list": [1, 2]}, best=True)


def checkpoint_files(folder: Path) -> list[Original]:
    """Return the files of a checkpoint, and those beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    made = _valid_checkpoint(folder)
    files = [*sorted(made.iterdir()), *folder.glob("*.json")]
    return [Original(file.name, file.read_bytes()) for file in files]


def _checkpoint(path: Path) -> None:
    folder = path.parent / "checkpoints"
    shutil.rmtree(folder, ignore_errors=True)
    made = _valid_checkpoint(folder)
    place = folder if path.name == "best.json" else made
    content = path.read_bytes()
    (place / path.name).write_bytes(content)
    if path.name not in ("best.json", "manifest.json") and len(content) % 2:  # every other one passes the hashes
        manifest = json.loads((made / "manifest.json").read_text(encoding="utf-8"))
        manifest["sha256"][path.name] = hashlib.sha256(content).hexdigest()
        (made / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    manager = CheckpointManager(folder)
    manager.load_last()
    manager.load_best()


_SPEECH = ("speaker", "text", "role", "content", "user", "assistant", "system", "self", "partner", "from", "value")
_DIALOGUE = (
    "id", "personas", "persona", "turns", "conversation", "messages", "utterances", "history", "candidates",
    "personality", "response", "User 1", "User 2",
    "user_1_personas", "user_2_personas", "split", "train", "valid", "ratings", *_SPEECH,
)  # fmt: skip
_CARD = (
    "spec", "chara_card_v2", "chara_card_v3", "spec_version", "data", "name", "description", "first_mes", "mes_example",
    "character_book", "entries", "keys", "content", "extensions", "alternate_greetings", "assets", "tags", "{{char}}",
)  # fmt: skip
_PROBE = (
    "id", "kind", "split", "name", "traits", "trait", "topic", "questions", "keywords", "contradicting", "consistent",
    "contradiction", "contradicting_answers", "everyday", "brand", "train", "job", "pet",
)  # fmt: skip
_PAIR = ("context", "persona", "traits", "history", "partner", "self", "chosen", "rejected", "kind", "origin", "name")
_RANK = ("persona", "prefix", "candidates", "label", "neg", "similar", "rand", "1 your persona: ", "2 a\tb\t\tc|b")
_REPLY = ("persona", "traits", "history", "reply")
_WRITTEN = ("persona", "turns", "partner", "bot", "trait", "wrong")
_SETTING = (
    "seed", "data", "source", "fraction", "model", "base", "lora", "rank", "sft", "learning_rate", "epochs", "ppo",
    "reward_terms", "alarms", "length", "action", "tracking", "backends", "goals", "preferences", "kinds", "on", "2e-4",
)  # fmt: skip
_LABEL = ("premise", "hypothesis", "label", "entailment", "neutral", "contradiction", "0", "1", "2", "-", "\t")
_PRICE = (
    "machines",
    "name",
    "kind",
    "cpu",
    "gpu",
    "memory_gib",
    "price_per_hour",
    "currency",
    "storage",
    "source",
    "retrieved",
)
_STATE = (
    "step",
    "sha256",
    "versions",
    "state.json",
    "adapter.safetensors",
    "../state.json",
    "folder",
    "checkpoint-000003",
)
_MANIFEST = ("stage", "finished", "of", "prepare", "sft", "dpo", "ppo", "evaluate", "../..", "methods/dpo/1")


def readers(folder: Path) -> list[Reader]:
    """Return all readers; ``folder`` is for what their valid files are made in."""
    return [
        Reader("CSV, TSV", originals.tables, _dialogues, ("user 1 personas", "user 2 personas", "persona", *_DIALOGUE)),
        Reader("JSONL", originals.dialogue_lines, _dialogues, _DIALOGUE),
        Reader("JSON", originals.dialogue_trees, _dialogues, (*_DIALOGUE, "sender", "rows")),
        Reader("ConvAI2 text", originals.convai2_texts, _dialogues, ("1 your persona: ", "2 a\tb", "\t")),
        Reader("Parquet", originals.parquets, _dialogues, ("PAR1", "persona", "dialogue")),
        Reader("card, JSON", originals.card_jsons, _card, _CARD),
        Reader("card, PNG", originals.card_pngs, _card, (*_CARD, "tEXt", "IEND", "chara", "ccv3")),
        Reader("card, charx", originals.card_archives, _card, (*_CARD, "card.json", "PK", "../x")),
        Reader("probes", originals.probe_files, _probes, _PROBE),
        Reader("preferences, votes", originals.preference_files, _preferences, _PAIR),
        Reader("ranking", originals.ranking_files, _ranking, _RANK),
        Reader("written replies", originals.reply_files, _replies, _REPLY),
        Reader("written dialogues", originals.written_files, _written, _WRITTEN),
        Reader("settings", originals.settings_files, _settings, _SETTING),
        Reader("critic's pairs", originals.pair_tables, _pairs, _LABEL),
        Reader("price table", originals.price_tables, _prices, _PRICE),
        Reader("checkpoint", lambda: checkpoint_files(folder / "checkpoint"), _checkpoint, _STATE),
        Reader("run's manifest", originals.manifests, _manifest, _MANIFEST),
    ]  # fmt: skip


def _pairs(path: Path) -> Any:
    return read_pairs(path)
