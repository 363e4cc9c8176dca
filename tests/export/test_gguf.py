"""GGUF files are read by two programs that know nothing of ours, transformers and the gguf package: same replies."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from personatune.dialogue import Context, Persona, Turn
from personatune.errors import UserError
from personatune.export.gguf_file import GgufNames, Precision, write_gguf
from personatune.model.prompts import ChatPrompt, PromptFormat, persona_instruction

if TYPE_CHECKING:
    from tests.conftest import TinyModels
    from transformers import PreTrainedModel

NAMES = GgufNames("tiny persona", "someone/tiny", "apache-2.0")
ASKED = Context(Persona(("I have two dogs.", "I am a chef.")), (Turn("partner", "Hi, what pets do you have?"),))


def written(tiny: TinyModels, file: Path, precision: Precision = "f16", family: str = "llama", **shape: Any) -> Any:
    model = tiny.model(family, hidden=64, **shape)
    write_gguf(model, tiny.prompts(), file, precision, NAMES)
    return model


def read_by_transformers(file: Path) -> tuple[PreTrainedModel, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    return model.eval(), tokenizer


def logits(model: Any, ids: list[int]) -> Any:
    import torch

    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0]


def said(model: Any, ids: list[int], stop: int = 2) -> list[int]:
    import torch

    with torch.no_grad():
        out = model.generate(
            input_ids=torch.tensor([ids]), max_new_tokens=16, do_sample=False, pad_token_id=0, eos_token_id=stop
        )
    return list(out[0][len(ids) :].tolist())


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_sixteen_bits_give_the_logits_of_the_weights_rounded_to_sixteen_bits(
    tiny: TinyModels, tmp_path: Path, family: str
) -> None:
    import torch

    extra = {"mistral": {"sliding_window": None}}.get(family, {})
    model = tiny.model(family, hidden=64)
    for name, value in extra.items():
        setattr(model.config, name, value)
    write_gguf(model, tiny.prompts(), tmp_path / "m.gguf", "f16", NAMES)
    ids = tiny.prompts().encode_prompt(ASKED)
    reply = said(model, ids)
    read, _ = read_by_transformers(tmp_path / "m.gguf")
    assert said(read, ids) == reply
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.data = weight.data.half().float()
    torch.testing.assert_close(logits(read, ids), logits(model, ids), rtol=1e-5, atol=1e-5)


def test_eight_bits_keep_every_weight_within_half_a_step_and_the_logits_close(tiny: TinyModels, tmp_path: Path) -> None:
    import torch

    model = written(tiny, tmp_path / "m.gguf", "q8_0")
    read, _ = read_by_transformers(tmp_path / "m.gguf")
    stored = dict(read.named_parameters())
    for name, weight in model.named_parameters():
        if weight.ndim == 1:
            assert torch.equal(stored[name], weight)
            continue
        blocks, back = weight.reshape(-1, 32), stored[name].reshape(-1, 32)
        step = blocks.abs().amax(dim=1, keepdim=True) / 127
        rounded_scale = blocks.abs() * 2**-11  # the step itself is kept in 16 bits
        assert bool(((blocks - back).abs() <= step / 2 + rounded_scale + 1e-7).all()), name
    ids = tiny.prompts().encode_prompt(ASKED)
    own, others = logits(model, ids), logits(read, ids)
    # random weights of this spread blow rounding up; a trained model stays far below (see the slow test)
    assert float((others - own).square().mean().sqrt()) < 0.1 * float(own.std())


def test_the_tokenizer_reads_back_with_the_same_ids_for_any_text(tiny: TinyModels, tmp_path: Path) -> None:
    written(tiny, tmp_path / "m.gguf")
    _, read = read_by_transformers(tmp_path / "m.gguf")
    own = tiny.tokenizer()
    for text in ("I have 2 dogs,  and 100 cats!\n\nDon't you?", "naïve 👩‍🍳 日本", "<|im_start|>user\nhi<|im_end|>\n"):
        assert read(text, add_special_tokens=False)["input_ids"] == own(text, add_special_tokens=False)["input_ids"]
    assert (read.bos_token_id, read.eos_token_id, read.pad_token_id) == (1, 2, 0)


def test_the_files_own_chat_template_writes_the_prompt_the_model_was_trained_on(
    tiny: TinyModels, tmp_path: Path
) -> None:
    written(tiny, tmp_path / "m.gguf")
    _, read = read_by_transformers(tmp_path / "m.gguf")
    messages = [
        {"role": "system", "content": persona_instruction(ASKED.persona)},
        {"role": "user", "content": ASKED.history[0].text},
    ]
    ids = read.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ids == tiny.prompts().encode_prompt(ASKED)


def test_the_gguf_package_finds_shape_tokens_and_types(tiny: TinyModels, tmp_path: Path) -> None:
    from gguf import GGUFReader

    model = written(tiny, tmp_path / "m.gguf", "q8_0")
    reader = GGUFReader(tmp_path / "m.gguf")
    told = {name: field.contents() for name, field in reader.fields.items()}
    assert told["general.architecture"] == "llama"
    assert told["general.license"] == "apache-2.0"
    assert told["llama.attention.head_count_kv"] == 2
    assert told["llama.rope.freq_base"] == 10000.0
    assert told["tokenizer.ggml.pre"] == "gpt-2"
    assert told["tokenizer.ggml.token_type"][:4] == [3, 3, 3, 1]
    assert len(told["tokenizer.ggml.tokens"]) == model.config.vocab_size
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.attn_q.weight"] == "Q8_0"
    assert kinds["output_norm.weight"] == "F32"
    assert "output.weight" not in kinds  # tied to the embedding
    assert len(kinds) == 9 * 3 + 2


def test_rows_that_do_not_divide_into_blocks_stay_in_sixteen_bits(tiny: TinyModels, tmp_path: Path) -> None:
    from gguf import GGUFReader

    model = tiny.model(hidden=24)
    write_gguf(model, tiny.prompts(), tmp_path / "m.gguf", "q8_0", NAMES)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "m.gguf").tensors}
    assert kinds["blk.0.attn_q.weight"] == "F16"
    read, _ = read_by_transformers(tmp_path / "m.gguf")
    ids = tiny.prompts().encode_prompt(ASKED)
    assert np.allclose(logits(read, ids), logits(model, ids), atol=0.05)


def test_queries_are_permuted_as_llama_cpp_rotates_them(tiny: TinyModels, tmp_path: Path) -> None:
    """Row 2i of a head in the file is row i here, row 2i + 1 is row i + size/2: neighbours rotate together there."""
    from gguf import GGUFReader

    model = written(tiny, tmp_path / "m.gguf")
    file = {tensor.name: tensor.data for tensor in GGUFReader(tmp_path / "m.gguf").tensors}
    own = model.state_dict()["model.layers.1.self_attn.q_proj.weight"].half().numpy()
    for head in range(4):
        for row in range(8):
            assert (file["blk.1.attn_q.weight"][head * 16 + 2 * row] == own[head * 16 + row]).all()
            assert (file["blk.1.attn_q.weight"][head * 16 + 2 * row + 1] == own[head * 16 + row + 8]).all()


def test_what_the_format_cannot_hold_is_refused_in_one_line(tiny: TinyModels, tmp_path: Path) -> None:
    prompts = tiny.prompts()
    with pytest.raises(UserError, match="gguf: gpt2 can't be written, llama, mistral, qwen2 can"):
        write_gguf(tiny.model("gpt2"), prompts, tmp_path / "m.gguf", "f16", NAMES)
    scaled = tiny.model()
    scaled.config.rope_parameters = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}
    with pytest.raises(UserError, match="rotary scaling 'llama3'"):
        write_gguf(scaled, prompts, tmp_path / "m.gguf", "f16", NAMES)
    assert not (tmp_path / "m.gguf").exists()


@pytest.mark.parametrize("kind", ["spaces", "unigram"])
def test_a_tokenizer_that_splits_otherwise_is_refused(tiny: TinyModels, tmp_path: Path, kind: str) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<s>": 0, "</s>": 1, "a": 2}
    words = models.BPE(vocabulary, []) if kind == "spaces" else models.Unigram([(word, 0.0) for word in vocabulary], 0)
    other = Tokenizer(words)
    other.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=other, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = tiny.tokenizer().chat_template
    prompts: PromptFormat = ChatPrompt(tokenizer, 512)
    with pytest.raises(UserError, match="byte-level BPE that splits as GPT-2"):
        write_gguf(tiny.model(), prompts, tmp_path / "m.gguf", "f16", NAMES)


def test_llama_cpp_says_the_same(tiny: TinyModels, tmp_path: Path) -> None:
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("llama-cpp-python isn't installed (its wheel compiles llama.cpp)")
    from llama_cpp import Llama

    model = written(tiny, tmp_path / "m.gguf")
    ids = tiny.prompts().encode_prompt(ASKED)
    reader = Llama(str(tmp_path / "m.gguf"), n_ctx=512, verbose=False)
    reply = []
    for token in reader.generate(ids, temp=0.0):
        reply.append(token)
        if token == 2 or len(reply) == 16:
            break
    assert reply == said(model, ids)
