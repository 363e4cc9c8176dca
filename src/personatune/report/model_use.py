"""How to load what was exported: the part of a model card that differs from form to form."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Literal

import yaml

from personatune.dialogue import Persona
from personatune.model.prompts import persona_instruction
from personatune.plain_text import markdown_text, one_line

Form = Literal["adapter", "merged", "gguf", "ollama"]

_LIBRARIES = {"adapter": "peft", "merged": "transformers", "gguf": "gguf", "ollama": "gguf"}
_RELATIONS = {"adapter": "adapter", "merged": "finetune", "gguf": "quantized", "ollama": "quantized"}
_PERSONA = persona_instruction(Persona(("I have two dogs.", "I am a chef.")))
_ASK = f'''system = """{_PERSONA}"""
messages = [{{"role": "system", "content": system}}, {{"role": "user", "content": "Hi, do you have pets?"}}]
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
out = model.generate(**prompt, max_new_tokens=40, do_sample=False)
print(tokenizer.decode(out[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))'''
_ADAPTER = """```python
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

model = AutoPeftModelForCausalLM.from_pretrained(".")  # this folder, or its name on the hub
tokenizer = AutoTokenizer.from_pretrained({base})
{ask}
```"""
_MERGED = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".")  # this folder, or its name on the hub
tokenizer = AutoTokenizer.from_pretrained(".")
{ask}
```

Servers that read this form, vLLM's for one, take the folder as it is; the persona is the system message, as above."""
_GGUF = """For llama.cpp and programs built on it. The persona is the system message:

```
{persona}
```

The file carries the chat template and the token that ends a reply. transformers reads it too
(`from_pretrained(".", gguf_file="{file}")`)."""
_OLLAMA = """One Modelfile for each persona; run these in this folder:

```
{commands}
```

The persona's text is in the Modelfile (`SYSTEM`), so each name is a character of its own. Control tokens that a person
types into the chat are Ollama's to keep out; the persona's own text holds none."""


def card_for_form(
    card: str, form: Form, *, base: str, note: str, files: Sequence[str] = (), names: Sequence[str] = ()
) -> str:
    """Return a model card with the head, the note on the weights and the instructions of one form.

    Args:
        card: as `model_card` writes it, or the shipped model's.
        base: hub id of the base model.
        note: what was done to the weights.
        files: the weights' names in the folder.
        names: of the personas that have a Modelfile.
    """
    _, head_text, body = re.split(r"^---$", card, maxsplit=2, flags=re.MULTILINE)
    head: dict[str, Any] = yaml.safe_load(head_text)
    head |= {"library_name": _LIBRARIES[form], "base_model_relation": _RELATIONS[form]}
    lines = [line for line in body.split("\n") if not line.startswith("- Weights: ")]
    method = next((place for place, line in enumerate(lines) if line.startswith("- Method: ")), None)
    if method is not None:
        lines.insert(method + 1, f"- Weights: {markdown_text(note)}")
    made = next((place for place, line in enumerate(lines) if line.startswith("## How it was made")), len(lines))
    use = ["## How to use it", "", *_use(form, base, files, names).splitlines(), ""]
    body = "\n".join([*lines[:made], *use, *lines[made:]])
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---{body}\n"


def _use(form: Form, base: str, files: Sequence[str], names: Sequence[str]) -> str:
    if form == "adapter":
        return _ADAPTER.format(base=json.dumps(one_line(base)), ask=_ASK)
    if form == "merged":
        return _MERGED.format(ask=_ASK)
    if form == "gguf":
        return _GGUF.format(persona=_PERSONA, file=files[0])
    commands = "\n".join(f"ollama create {name} -f {name}.Modelfile && ollama run {name}" for name in names)
    return _OLLAMA.format(commands=commands)
