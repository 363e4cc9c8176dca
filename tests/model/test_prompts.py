"""Prompts: what training sees is what generation sees, the loss falls on own turns, control tokens can't be forged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personatune.dialogue import Context, Persona, Perspective, Turn
from personatune.errors import UserError
from personatune.model.prompts import (
    ChatPrompt,
    PromptFormat,
    TaggedPrompt,
    escape_tags,
    parse_prompt,
    prompt_format,
    render_tagged,
    unescape_tags,
)

if TYPE_CHECKING:
    from tests.conftest import TinyModels

PERSONA = Persona(("I have two dogs.", "I work as a chef."))
TURNS = (
    Turn("partner", "Hi, how are you today?"),
    Turn("self", "I am fine, thanks."),
    Turn("partner", "What do you do for a living?"),
    Turn("self", "I work as a chef."),
)

# Mistral's way: the system message goes into the first user message, and roles must alternate.
STRICT_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system = "
    "messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system = '' %}{% endif %}<|im_start|>"
    "{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "{% if message['role'] == 'user' %}[INST] {% if loop.first and system %}{{ system + '\n\n' }}{% endif %}"
    "{{ message['content'] }} [/INST]{% else %} {{ message['content'] }}<|im_end|>{% endif %}{% endfor %}"
)
# Llama 2's way: blanks on both sides of a reply.
BLANKS_TEMPLATE = STRICT_TEMPLATE.replace("{{ message['content'] }}<|im_end|>", "{{ message['content'] }} <|im_end|>")
NO_SYSTEM_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '<|im_end|>' }}{% endfor %}"
)
# Says nothing about a system message: it is swallowed.
DEAF_TEMPLATE = "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}<|im_end|>{% endif %}{% endfor %}"


@pytest.fixture(params=["chat", "strict", "blanks", "tagged"])
def prompts(request: pytest.FixtureRequest, tiny: TinyModels) -> PromptFormat:
    if request.param == "tagged":
        return TaggedPrompt(tiny.tokenizer(None), 512)
    if request.param == "chat":
        return ChatPrompt(tiny.tokenizer(), 512)
    return ChatPrompt(tiny.tokenizer({"strict": STRICT_TEMPLATE, "blanks": BLANKS_TEMPLATE}[request.param]), 512)


speech = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
spiced = st.lists(
    st.one_of(
        speech,
        st.sampled_from(
            [
                "<|im_end|>",
                "<|im_start|>",
                "<|endoftext|>",
                "[SEP]",
                "[RESPONSE]",
                "[PERSONA]",
                "|",
                "\\",
                "\ue0000\ue001",
            ]
        ),
    ),
    max_size=4,
).map("".join)


def as_perspective(turns: tuple[Turn, ...], persona: Persona = PERSONA) -> Perspective:
    return Perspective("made", persona, turns)


def loss_runs(ids: list[int], weights: list[float]) -> list[tuple[float, list[int]]]:
    """Group neighbouring tokens of one weight above 0."""
    runs: list[tuple[float, list[int]]] = []
    before = 0.0
    for token, weight in zip(ids, weights, strict=True):
        if weight and weight == before:
            runs[-1][1].append(token)
        elif weight:
            runs.append((weight, [token]))
        before = weight
    return runs


def test_the_prompt_of_every_reply_is_a_prefix_of_the_dialogue(prompts: PromptFormat) -> None:
    whole = prompts.encode_dialogue(as_perspective(TURNS), [1.0] * 4).input_ids
    for context, reply in as_perspective(TURNS).replies():
        answered = [*prompts.encode_prompt(context), *prompts.encode_reply(reply)]
        assert whole[: len(answered)] == answered


@settings(max_examples=150, deadline=None)
@given(said=st.lists(spiced.filter(str.strip), min_size=1, max_size=5), trait=spiced.filter(str.strip))
def test_whatever_is_said_prompts_stay_prefixes(tiny: TinyModels, said: list[str], trait: str) -> None:
    turns = tuple(Turn("partner" if i % 2 == 0 else "self", text) for i, text in enumerate([*said, "Bye."]))
    view = as_perspective(turns, Persona((trait,)))
    forms: list[PromptFormat] = [ChatPrompt(tiny.tokenizer(), 4096), TaggedPrompt(tiny.tokenizer(None), 4096)]
    for form in forms:
        whole = form.encode_dialogue(view, [1.0] * len(turns)).input_ids
        for context, reply in view.replies():
            answered = [*form.encode_prompt(context), *form.encode_reply(reply.strip())]
            assert whole[: len(answered)] == answered


def test_the_loss_falls_on_own_turns_and_their_end_markers_only(prompts: PromptFormat) -> None:
    encoded = prompts.encode_dialogue(as_perspective(TURNS), [9.0, 0.25, 9.0, 2.0])
    runs = loss_runs(encoded.input_ids, encoded.loss_weights)
    assert [weight for weight, _ in runs] == [0.25, 2.0]
    assert [prompts.decode_reply(ids) for _, ids in runs] == ["I am fine, thanks.", "I work as a chef."]
    assert [ids[-1] for _, ids in runs] == [prompts.stop_ids[0]] * 2


def test_a_turn_of_weight_zero_has_no_loss(prompts: PromptFormat) -> None:
    encoded = prompts.encode_dialogue(as_perspective(TURNS), [1.0, 0.0, 1.0, 0.5])
    assert [weight for weight, _ in loss_runs(encoded.input_ids, encoded.loss_weights)] == [0.5]


def test_a_dialogue_that_the_persona_speaker_opens_gets_a_silent_partner_in_front(prompts: PromptFormat) -> None:
    turns = (Turn("self", "Hello there!"), *TURNS[:2])
    encoded = prompts.encode_dialogue(as_perspective(turns), [0.5, 1.0, 2.0])
    runs = loss_runs(encoded.input_ids, encoded.loss_weights)
    assert [(weight, prompts.decode_reply(ids)) for weight, ids in runs] == [
        (0.5, "Hello there!"),
        (2.0, "I am fine, thanks."),
    ]


def test_the_chat_form_is_what_the_template_itself_would_write(tiny: TinyModels) -> None:
    tokenizer = tiny.tokenizer()
    form = ChatPrompt(tokenizer, 512)
    text = tokenizer.decode(form.encode_prompt(Context(PERSONA, TURNS[:3])))
    assert text == (
        "<|im_start|>system\nYou are chatting as a person. Answer briefly and stay true to who you are:\n"
        "- I have two dogs.\n- I work as a chef.<|im_end|>\n"
        "<|im_start|>user\nHi, how are you today?<|im_end|>\n<|im_start|>assistant\nI am fine, thanks.<|im_end|>\n"
        "<|im_start|>user\nWhat do you do for a living?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_tagged_form_is_what_its_documentation_says(tiny: TinyModels) -> None:
    tokenizer = tiny.tokenizer(None)
    text = tokenizer.decode(TaggedPrompt(tokenizer, 512).encode_prompt(Context(PERSONA, TURNS[:3])))
    assert text == (
        "[PERSONA] I have two dogs. | I work as a chef. [DIALOGUE] Hi, how are you today? [RESPONSE] "
        "I am fine, thanks.<|endoftext|> [SEP] What do you do for a living? [RESPONSE]"
    )


@settings(max_examples=200, deadline=None)
@given(line=spiced, trait=spiced)
def test_text_never_becomes_a_control_token(tiny: TinyModels, line: str, trait: str) -> None:
    forms: list[PromptFormat] = [ChatPrompt(tiny.tokenizer(), 4096), TaggedPrompt(tiny.tokenizer(None), 4096)]
    for form in forms:
        special = set(form.tokenizer.all_special_ids)

        def controls(said: str, known: str, form: PromptFormat = form, special: set[int] = special) -> list[int]:
            context = Context(Persona((known,)), (Turn("partner", said), Turn("self", said), Turn("partner", said)))
            return [token for token in form.encode_prompt(context) if token in special]

        assert controls(line, trait) == controls("hello", "plain")
        assert not special.intersection(form.encode_reply(line)[:-1])


@settings(max_examples=200, deadline=None)
@given(line=spiced)
def test_a_reply_decodes_to_what_was_encoded(tiny: TinyModels, line: str) -> None:
    forms: list[PromptFormat] = [ChatPrompt(tiny.tokenizer(), 4096), TaggedPrompt(tiny.tokenizer(None), 4096)]
    for form in forms:
        assert form.decode_reply([*form.encode_reply(line), 7, 8]) == line.strip()


@settings(max_examples=200)
@given(
    traits=st.lists(spiced.map(str.strip).filter(bool), min_size=1, max_size=4),
    said=st.lists(spiced.map(str.strip).filter(bool), min_size=1, max_size=4),
)
def test_the_tagged_form_is_read_back_as_it_was_rendered(traits: list[str], said: list[str]) -> None:
    turns = [Turn("partner" if (len(said) - i) % 2 else "self", line) for i, line in enumerate(said)]
    context = Context(Persona(tuple(traits)), tuple(turns))
    assert parse_prompt(render_tagged(context)) == context


@settings(max_examples=200)
@given(text=spiced)
def test_escaping_is_undone_by_unescaping(text: str) -> None:
    assert unescape_tags(escape_tags(text)) == text


def test_the_form_with_the_persona_speakers_own_turns_tagged_is_read_too() -> None:
    context = parse_prompt("[PERSONA] I cook. | I swim. [DIALOGUE] Hi! [RESPONSE] Hello. [SEP] Job? [RESPONSE]")
    assert context == Context(
        Persona(("I cook.", "I swim.")), (Turn("partner", "Hi!"), Turn("self", "Hello."), Turn("partner", "Job?"))
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[PERSONA] I cook.",
        "[PERSONA] I cook. [RESPONSE]",
        "[DIALOGUE] Hi [PERSONA] I cook. [RESPONSE]",
        "so [PERSONA] I cook. [DIALOGUE] Hi [RESPONSE]",
        "[PERSONA] I cook. [DIALOGUE] Hi [SEP] you",
        "[PERSONA] a [DIALOGUE] Hi [PERSONA] b [RESPONSE]",
    ],
)
def test_a_prompt_that_is_none_is_a_users_error(text: str) -> None:
    with pytest.raises(UserError, match=r"expected \[PERSONA\] a \| b \[DIALOGUE\]"):
        parse_prompt(text)


def test_a_context_that_is_too_long_loses_its_oldest_turns_and_keeps_the_persona(prompts: PromptFormat) -> None:
    history = tuple(
        Turn("partner" if i % 2 == 0 else "self", f"Line number {i} of a very long story.") for i in range(21)
    )
    prompts.max_length = 200
    ids = prompts.encode_prompt(Context(PERSONA, history), reserve=30)
    text = prompts.tokenizer.decode(ids)
    assert len(ids) <= 170
    assert all(trait in text for trait in PERSONA.traits)
    assert "number 20 of" in text
    assert "number 0 of" not in text
    kept = history[next(i for i in range(21) if f"number {i} of" in text) :]
    assert kept[0].speaker == "partner"
    assert ids == prompts.encode_prompt(Context(PERSONA, kept))
    longer = Context(PERSONA, history[-len(kept) - 2 :])
    prompts.max_length = 10_000
    assert len(prompts.encode_prompt(longer)) > 170  # no turn more than needed was dropped


def test_a_dialogue_that_is_too_long_keeps_the_weights_of_the_turns_it_keeps(prompts: PromptFormat) -> None:
    turns = tuple(Turn("partner" if i % 2 == 0 else "self", f"Line number {i} of a long story.") for i in range(20))
    prompts.max_length = 200
    encoded = prompts.encode_dialogue(as_perspective(turns), [float(i) for i in range(20)])
    runs = loss_runs(encoded.input_ids, encoded.loss_weights)
    assert len(encoded.input_ids) <= 200
    assert 1 <= len(runs) < 10
    for weight, ids in runs:
        assert prompts.decode_reply(ids) == f"Line number {int(weight)} of a long story."
    assert runs[-1][0] == 19.0


def test_a_persona_longer_than_the_context_is_a_users_error(prompts: PromptFormat) -> None:
    prompts.max_length = 64
    persona = Persona(tuple(f"I own a very large collection of {i} stamps." for i in range(20)))
    with pytest.raises(UserError, match=r"persona of 20 sentences.*model.max_length is 64; shorten the persona"):
        prompts.encode_prompt(Context(persona, TURNS[:1]))
    with pytest.raises(UserError, match=r"model\.max_length is 64"):
        prompts.encode_dialogue(as_perspective(TURNS, persona), [1.0] * 4)


def test_a_template_without_a_system_role_falls_back_to_the_tagged_form(tiny: TinyModels) -> None:
    for template in (NO_SYSTEM_TEMPLATE, DEAF_TEMPLATE, None):
        tokenizer = tiny.tokenizer(template)
        assert isinstance(prompt_format(tokenizer, "auto", 512), TaggedPrompt)
        with pytest.raises(UserError, match="no chat template with a system message; use tagged"):
            prompt_format(tokenizer, "chat", 512)


def test_a_template_with_a_system_role_is_used_unless_tags_are_asked_for(tiny: TinyModels) -> None:
    assert isinstance(prompt_format(tiny.tokenizer(), "auto", 512), ChatPrompt)
    assert isinstance(prompt_format(tiny.tokenizer(STRICT_TEMPLATE), "auto", 512), ChatPrompt)
    assert isinstance(prompt_format(tiny.tokenizer(), "tagged", 512), TaggedPrompt)


def test_templates_that_demand_alternation_take_any_window_of_a_dialogue(tiny: TinyModels) -> None:
    form = ChatPrompt(tiny.tokenizer(STRICT_TEMPLATE), 512)
    for start in range(4):
        view = as_perspective(TURNS[start:])
        encoded = form.encode_dialogue(view, [1.0] * len(view.turns))
        learnt = [form.decode_reply(ids) for _, ids in loss_runs(encoded.input_ids, encoded.loss_weights)]
        assert learnt == [turn.text for turn in view.turns if turn.speaker == "self"]
        for context, _ in view.replies():
            assert form.encode_prompt(context)


def test_the_tagged_form_needs_an_end_of_text_token(tiny: TinyModels) -> None:
    tokenizer: Any = tiny.tokenizer(None)
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no end-of-text token"):
        TaggedPrompt(tokenizer, 512)


def test_the_personas_name_is_told(tiny: TinyModels) -> None:
    form = tiny.prompts()
    named = form.tokenizer.decode(form.encode_prompt(Context(Persona(("I cook.",), "Ann"), TURNS[:1])))
    assert "as a person named Ann." in named
