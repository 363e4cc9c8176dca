"""Writes a model with its tokenizer as one GGUF file, which llama.cpp, Ollama and transformers read.

The format is https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; names of tensors are the `gguf` package's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from personatune.errors import UserError
from personatune.export.gguf_vocabulary import read_vocabulary
from personatune.storage import replacing

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from personatune.model.prompts import PromptFormat

Precision = Literal["f16", "q8_0"]

_ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2"}
"""transformers' model type to GGUF's architecture; Mistral without a sliding window is a Llama."""
_BLOCK = 32  # weights that share one scale in Q8_0


@dataclass(frozen=True)
class GgufNames:
    """What the file says of its origin: ``base`` is the hub id of the base model."""

    name: str
    base: str
    licence: str


def write_gguf(
    model: PreTrainedModel, prompts: PromptFormat, target: Path, precision: Precision, names: GgufNames
) -> None:
    """Write one GGUF file.

    Matrices are stored as ``precision`` says, vectors in 32 bits. "q8_0" keeps 8 bits a weight and a 16-bit scale for
    every 32 of them; a matrix whose rows don't divide into 32 is kept in 16 bits, as llama.cpp does.

    Raises:
        UserError: an architecture, a rotary scaling or a tokenizer that can't be written.
    """
    import gguf

    require_writable(model)
    config = model.config
    vocabulary = read_vocabulary(prompts.tokenizer, config.vocab_size)
    with replacing(target) as temporary:
        writer = gguf.GGUFWriter(str(temporary), _ARCHITECTURES[config.model_type])
        try:
            _describe(writer, model, names, precision)
            _add_shape(writer, config)
            _add_tokenizer(writer, prompts, vocabulary)
            for name, values, kind in _tensors(model, precision):
                writer.add_tensor(name, values, raw_dtype=kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def require_writable(model: PreTrainedModel) -> None:
    """Check that a model's layers are ones that GGUF readers compute in the same way.

    Raises:
        UserError: they aren't.
    """
    config = model.config
    known = ", ".join(_ARCHITECTURES)
    if config.model_type not in _ARCHITECTURES:
        raise UserError(f"gguf: {config.model_type} can't be written, {known} can; --format merged takes any model")
    rope = dict(getattr(config, "rope_parameters", None) or {})
    if rope.get("rope_type", "default") != "default":
        raise UserError(f"gguf: rotary scaling {rope['rope_type']!r} can't be written, only the plain one")
    if config.model_type == "mistral" and getattr(config, "sliding_window", None):
        raise UserError("gguf: a Mistral model with a sliding window can't be written, one without can")
    if config.model_type == "qwen2" and getattr(config, "use_sliding_window", False):
        raise UserError("gguf: a Qwen 2 model with a sliding window can't be written, one without can")
    if getattr(config, "hidden_act", "silu") != "silu":
        raise UserError(f"gguf: activation {config.hidden_act!r} can't be written, only 'silu'")
    wrong = [name for name in model.state_dict() if _gguf_name(name, config) is None]
    if wrong:
        raise UserError(f"gguf: {config.model_type} with {wrong[0]} can't be written; {known} without extras can")


def _describe(writer: Any, model: PreTrainedModel, names: GgufNames, precision: Precision) -> None:
    import gguf

    parameters = sum({weight.data_ptr(): weight.numel() for weight in model.parameters()}.values())
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(names.name)
    writer.add_basename(names.base.rpartition("/")[2])
    writer.add_finetune("personatune")
    writer.add_size_label(gguf.size_label(parameters, 0, 0, 0))
    writer.add_license(names.licence)
    writer.add_languages(["en"])
    kinds = {"f16": gguf.LlamaFileType.MOSTLY_F16, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}
    writer.add_file_type(kinds[precision])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_shape(writer: Any, config: Any) -> None:
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(float(config.rope_parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(size)
    if size * heads != config.hidden_size:  # readers take the quotient unless they are told
        writer.add_key_length(size)
        writer.add_value_length(size)


def _add_tokenizer(writer: Any, prompts: PromptFormat, vocabulary: Any) -> None:
    tokenizer = prompts.tokenizer
    with_ends = list(tokenizer("a")["input_ids"])
    writer.add_add_space_prefix(False)
    writer.add_add_bos_token(tokenizer.bos_token_id is not None and with_ends[0] == tokenizer.bos_token_id)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    for add, number in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if number is not None:
            add(number)
    if prompts.stop_ids[0] != tokenizer.eos_token_id:  # what ends a turn is not what ends a text
        writer.add_eot_token_id(prompts.stop_ids[0])
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _tensors(model: PreTrainedModel, precision: Precision) -> Iterator[tuple[str, np.ndarray[Any, Any], Any]]:
    """Yield name, stored values and their type of each tensor; a tied output matrix is the embedding's and left out."""
    import gguf
    import torch

    config = model.config
    wanted = gguf.GGMLQuantizationType.F16 if precision == "f16" else gguf.GGMLQuantizationType.Q8_0
    for name, weight in model.state_dict().items():
        own = _gguf_name(name, config)
        if own is None or (own == "output.weight" and config.tie_word_embeddings):
            continue
        values = weight.detach().to("cpu", torch.float32).numpy()
        if _ARCHITECTURES[config.model_type] == "llama" and ".attn_q." in own:
            values = _interleaved(values, config.num_attention_heads)
        elif _ARCHITECTURES[config.model_type] == "llama" and ".attn_k." in own:
            values = _interleaved(values, config.num_key_value_heads)
        kind = wanted if values.ndim > 1 else gguf.GGMLQuantizationType.F32
        if kind == gguf.GGMLQuantizationType.Q8_0 and values.shape[-1] % _BLOCK:
            kind = gguf.GGMLQuantizationType.F16
        yield own, gguf.quants.quantize(np.ascontiguousarray(values), kind), kind


def _gguf_name(name: str, config: Any) -> str | None:
    """Return a tensor's name in the file, or None where the format has none for it."""
    own, _, kind = name.rpartition(".")
    mapped = _name_map(_ARCHITECTURES[config.model_type], config.num_hidden_layers).get_name(own)
    return None if mapped is None else f"{mapped}.{kind}"


@lru_cache(maxsize=4)
def _name_map(architecture: str, layers: int) -> Any:
    import gguf

    number = next(key for key, known in gguf.MODEL_ARCH_NAMES.items() if known == architecture)
    return gguf.get_tensor_name_map(number, layers)


def _interleaved(values: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Return the rows of a query or key projection (heads·size × H, or its bias) as llama.cpp rotates them.

    transformers turns row i of a head together with row i + size/2, llama.cpp two neighbouring rows.
    """
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)
