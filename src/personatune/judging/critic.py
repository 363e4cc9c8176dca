"""The critic: the local entailment model that judges replies against persona sentences, and others in its place."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from personatune.embedded import sha256_of
from personatune.errors import DamagedFileError, UserError
from personatune.hub import why_no_hub
from personatune.judging.entailment import LABELS, EntailmentJudge
from personatune.plain_text import whole_characters
from personatune.storage import read_json

if TYPE_CHECKING:
    from torch import Tensor

    from personatune.judging.critic_network import CriticNetwork

SHIPPED = "critic"
"""The name of the shipped critic wherever a judge is named."""

_BATCH = 64
_OURS_AT_ONCE = 16  # so that what a layer makes of them stays in the cores' own cache
_SETTINGS, _WEIGHTS = "critic.json", "critic.safetensors"


class Critic:
    """The trained critic; answers are kept, so a pair is judged once.

    Args:
        folder: with ``critic.json`` and ``critic.safetensors``, as `save_critic` writes them.

    Raises:
        UserError: the folder holds no critic, or one for another base model.
    """

    def __init__(self, folder: Path) -> None:
        self._settings, self._network = _load(folder)
        self._kept: dict[tuple[str, str], NDArray[np.float32]] = {}

    @property
    def name(self) -> str:
        """Name and fingerprint: "critic 3f2a90c1"."""
        return f"{SHIPPED} {self._settings['fingerprint']}"

    @property
    def card(self) -> dict[str, Any]:
        """What it was trained on and how well it did, as measured after training."""
        return dict(self._settings)

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Return for each (premise, hypothesis) the probabilities of `LABELS`, (n, 3); rows add to 1.

        They are calibrated by one temperature, fitted on held-out pairs (Guo et al. 2017, arXiv 1706.04599).
        """
        new = list(dict.fromkeys(pair for pair in pairs if pair not in self._kept))
        if new:
            rows = (self.logits(new) / self._settings["temperature"]).softmax(dim=-1).numpy()
            self._kept.update(zip(new, rows, strict=True))
        if not pairs:
            return np.zeros((0, len(LABELS)), dtype=np.float32)
        return np.stack([self._kept[pair] for pair in pairs])

    def logits(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        """Return for each (premise, hypothesis) the logits of `LABELS`, (n, 3), before the temperature, unkept."""
        import torch

        logits = torch.empty(len(pairs), len(LABELS))
        with torch.inference_mode():
            self._network.read((pair[0] for pair in pairs), (pair[1] for pair in pairs))
            lengths = [self._network.length(*pair) for pair in pairs]
            order = sorted(range(len(pairs)), key=lengths.__getitem__)
            for start in range(0, len(order), _OURS_AT_ONCE):
                rows = order[start : start + _OURS_AT_ONCE]
                logits[rows] = self._network([pairs[row][0] for row in rows], [pairs[row][1] for row in rows])
        return logits


class CrossEncoderJudge:
    """Any NLI cross-encoder that transformers loads, by folder or hub id.

    Its labels must be named in its config ("entailment", "neutral", "contradiction", in any order and case): an order
    can't be guessed, and a wrong one would turn every figure round.

    Raises:
        UserError: there is no such model, or its labels are not these three.
    """

    def __init__(self, source: str) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        no_hub = "" if Path(source).is_dir() else why_no_hub()
        local = Path(source).is_dir() or bool(no_hub)
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=local, trust_remote_code=False)
            self._model = AutoModelForSequenceClassification.from_pretrained(
                source, local_files_only=local, trust_remote_code=False, use_safetensors=True
            ).eval()
        except (OSError, ValueError) as error:
            reason = no_hub or str(error).splitlines()[0]
            raise UserError(f"judge {source}: {reason}; expected {SHIPPED}, a folder or a hub id") from error
        self._source = source
        self._columns = _columns(source, self._model.config.id2label)
        self._kept: dict[tuple[str, str], NDArray[np.float32]] = {}

    @property
    def name(self) -> str:
        """The folder's or model's own name."""
        return Path(self._source).name if Path(self._source).is_dir() else self._source

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """Return for each (premise, hypothesis) the probabilities of `LABELS`, (n, 3); rows add to 1."""
        import torch

        new = list(dict.fromkeys(pair for pair in pairs if pair not in self._kept))
        new.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            inputs = self._tokenizer(
                *(list(map(whole_characters, sentences)) for sentences in zip(*batch, strict=True)),
                split_special_tokens=True, padding=True, truncation=True, max_length=128, return_tensors="pt",
            )  # fmt: skip
            with torch.inference_mode():
                rows = torch.softmax(self._model(**inputs).logits.float(), dim=-1)[:, self._columns].numpy()
            self._kept.update(zip(batch, rows, strict=True))
        if not pairs:
            return np.zeros((0, len(LABELS)), dtype=np.float32)
        return np.stack([self._kept[pair] for pair in pairs])


def load_judge(reference: str = SHIPPED) -> EntailmentJudge:
    """Return the shipped critic ("critic"), a critic trained by ``judge train`` (its folder), or an NLI cross-encoder.

    Raises:
        UserError: there is no such judge, or its labels are not entailment, neutral and contradiction.
    """
    if reference == SHIPPED:
        return Critic(shipped_folder())
    if (Path(reference) / _SETTINGS).is_file():
        return Critic(Path(reference))
    return CrossEncoderJudge(reference)


def shipped_folder() -> Path:
    """Return the folder of the critic that comes with the package."""
    return Path(str(resources.files("personatune.judging").joinpath("critic_weights")))


def _load(folder: Path) -> tuple[dict[str, Any], CriticNetwork]:
    from personatune.judging.critic_files import read_spreads, read_weights
    from personatune.judging.critic_network import CriticNetwork

    if not (folder / _SETTINGS).is_file():
        raise UserError(f"{folder}: no critic there ({_SETTINGS} is missing); train one: personatune judge train")
    settings = read_json(folder / _SETTINGS)
    _check_fingerprint(folder / _WEIGHTS, settings["fingerprint"])
    network = CriticNetwork(settings["base"], settings["alone"])
    try:
        network.load_trained_state(read_weights(folder / _WEIGHTS))
    except ValueError as error:
        raise UserError(f"{folder / _WEIGHTS}: {error}; expected weights for {settings['base']}") from error
    return settings, network.multiply_in_eight_bits(read_spreads(folder / _WEIGHTS)).eval()


def _check_fingerprint(weights: Path, fingerprint: str) -> None:
    """Check that the weights are those that the settings beside them were written with.

    Raises:
        DamagedFileError: they aren't.
    """
    try:
        found = sha256_of(weights)
    except OSError as error:
        raise DamagedFileError(f"{weights}: {error.strerror or error}; expected the weights of a critic") from error
    if not found.startswith(fingerprint):
        raise DamagedFileError(
            f"{weights}: not the weights that {_SETTINGS} beside it tells of (SHA-256 {found[:8]}, expected "
            f"{fingerprint}); install personatune again, or train a critic: personatune judge train"
        )


def _columns(source: str, names: dict[int, str]) -> list[int]:
    found = {str(name).lower(): int(column) for column, name in names.items()}
    if set(found) != set(LABELS):
        raise UserError(
            f"judge {source}: its labels are {', '.join(map(str, names.values()))}, expected {', '.join(LABELS)}; "
            "name them in the model's config.json (id2label)"
        )
    return [found[label] for label in LABELS]
