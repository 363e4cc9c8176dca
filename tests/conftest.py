"""Fixtures every test may use: real data, and tiny random models of four families with a tokenizer of their own."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from personatune.dialogue import Context, Persona, Perspective, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from personatune.model.prompts import PromptFormat

_REPOSITORY = Path(__file__).resolve().parent.parent

# Nothing here may ask a hub; set before any test imports transformers.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests that need it skip where it is missing."""
    place = Path(os.environ.get("PERSONATUNE_SHARED_DATA", _REPOSITORY.parent / "shared" / "data"))
    if not place.is_dir():
        pytest.skip(f"no real data at {place}; set PERSONATUNE_SHARED_DATA")
    return place


class HandMadeDialogues:
    """Dialogues of two people who ask each other what their personas answer, drawn by seed."""

    # The name in each sentence is that of one person's friend: no two people share a sentence, as splits need it.
    _TRAITS = (
        ("What animals share your house?", "I have {} {} named {name}.", (("two", "three"), ("dogs", "cats", "birds"))),
        ("What do you do for a living?", "I work as a {} with {name}.", (("chef", "nurse", "teacher", "pilot"),)),
        ("Where is home for you?", "I live in {} near {name}.", (("Berlin", "Chicago", "Paris", "Boston", "Rome"),)),
        ("What color do you like best?", "My favorite color is {} like {name}'s.", (("green", "blue", "orange"),)),
        ("What do you do for fun?", "I love {} with {name}.", (("hiking", "painting", "swimming", "fishing"),)),
    )
    _OPENINGS = ("Hi, how are you today?", "Hello there!", "Good morning to you.", "Hey, nice to meet you.")
    _ANSWERS = ("I am fine, thanks.", "Pretty good, and you?", "Doing well, thank you.", "Very happy today.")

    @classmethod
    def persona(cls, rng: random.Random) -> Persona:
        name = "".join(
            rng.choice(parts) for parts in (("Ba", "Do", "Ki", "Lu", "Ma", "Te"), "rnls", "aeio", "bdkmt", "aey")
        )
        return Persona(
            tuple(
                form.format(*(rng.choice(choices) for choices in values), name=name) for _, form, values in cls._TRAITS
            )
        )

    @classmethod
    def rows(cls, count: int, seed: int = 0) -> list[dict[str, Any]]:
        """Return dialogues in the own format: A asks, B answers from the persona; both have one."""
        rng = random.Random(seed)
        rows = []
        for number in range(count):
            own, other = cls.persona(rng), cls.persona(rng)
            turns = [("A", rng.choice(cls._OPENINGS)), ("B", rng.choice(cls._ANSWERS))]
            asked = rng.sample(range(len(cls._TRAITS)), 3)
            for index in asked:
                turns += [("A", cls._TRAITS[index][0]), ("B", own.traits[index])]
            turns.append(("A", other.traits[asked[0]]))
            rows.append(
                {
                    "id": f"made-{number}",
                    "personas": {"A": list(other.traits), "B": list(own.traits)},
                    "turns": [{"speaker": speaker, "text": text} for speaker, text in turns],
                }
            )
        return rows

    @classmethod
    def perspectives(cls, count: int, seed: int = 0, turns: int = 4) -> list[Perspective]:
        """Return the dialogues as B lives them, ``turns`` turns of each from the partner's opening on."""
        return [
            Perspective(
                row["id"],
                Persona(tuple(row["personas"]["B"])),
                tuple(
                    Turn("self" if turn["speaker"] == "B" else "partner", turn["text"]) for turn in row["turns"][:turns]
                ),
            )
            for row in cls.rows(count, seed)
        ]

    @classmethod
    def contexts(cls, count: int, seed: int = 0) -> list[Context]:
        return [Context(view.persona, view.turns[:3]) for view in cls.perspectives(count, seed)]

    @classmethod
    def write(cls, file: Path, count: int, seed: int = 0) -> Path:
        file.write_text("".join(json.dumps(row) + "\n" for row in cls.rows(count, seed)), encoding="utf-8")
        return file


CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""SmolLM2's template but for its default system message."""


class TinyModels:
    """Random models small enough for a test, and a tokenizer trained on a few lines of dialogue."""

    families = ("llama", "qwen2", "mistral", "gpt2")

    def __init__(self) -> None:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        from personatune.model.prompts import persona_instruction

        self._backend = Tokenizer(models.BPE())
        self._backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=700,
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        rows = HandMadeDialogues.rows(30, seed=99)
        lines = [turn["text"] for row in rows for turn in row["turns"]]
        lines += [
            persona_instruction(Persona(tuple(row["personas"]["B"]))) for row in rows
        ]  # short prompts, fast tests
        self._backend.train_from_iterator([*lines, "system user assistant\n"], trainer)
        self.vocabulary = self._backend.get_vocab_size()

    def tokenizer(self, chat_template: str | None = CHATML) -> PreTrainedTokenizerBase:
        """Return a tokenizer with SmolLM2's special tokens; without a template it ends text with <|endoftext|>."""
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=self._backend,
            bos_token="<|im_start|>",
            eos_token="<|im_end|>" if chat_template else "<|endoftext|>",
            pad_token="<|endoftext|>",
            additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        )
        tokenizer.chat_template = chat_template
        return cast("PreTrainedTokenizerBase", tokenizer)

    def prompts(self, max_length: int = 512) -> PromptFormat:
        """Return the chat form."""
        from personatune.model.prompts import ChatPrompt

        return ChatPrompt(self.tokenizer(), max_length)

    def model(
        self,
        family: str = "llama",
        *,
        layers: int = 3,
        hidden: int = 32,
        vocabulary: int | None = None,
        seed: int = 0,
        spread: float = 0.25,
    ) -> PreTrainedModel:
        """Return a new random model in evaluation mode; ``spread`` is that of its weights (large: decided opinions)."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        common: dict[str, Any] = {
            "vocab_size": vocabulary or self.vocabulary,
            "initializer_range": spread,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        }
        if family == "gpt2":
            shape = {"n_embd": hidden, "n_layer": layers, "n_head": 4, "n_positions": 1024}
        else:
            shape = {
                "hidden_size": hidden,
                "intermediate_size": 2 * hidden,
                "num_hidden_layers": layers,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "max_position_embeddings": 1024,
                "tie_word_embeddings": True,
            }
        config = AutoConfig.for_model(family, **common, **shape)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return AutoModelForCausalLM.from_config(config).eval()

    def save(self, folder: Path, family: str = "llama", **shape: Any) -> Path:
        """Write model and tokenizer as a folder that `load_base_model` reads."""
        self.model(family, **shape).save_pretrained(folder)
        self.tokenizer().save_pretrained(folder)
        return folder


@pytest.fixture(scope="session")
def tiny() -> TinyModels:
    return TinyModels()


@pytest.fixture(scope="session")
def dialogues() -> type[HandMadeDialogues]:
    return HandMadeDialogues


@pytest.fixture(params=TinyModels.families)
def family(request: pytest.FixtureRequest) -> str:
    """Each of the model families in turn; GPT-2 stands for DialoGPT too."""
    return str(request.param)
