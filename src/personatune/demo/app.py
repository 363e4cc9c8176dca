"""The page itself, in gradio: what stands where, and which action each button takes. All else is in `demo.page`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from personatune.demo.bubbles import chat_text, said_in_chat
from personatune.demo.page import ChatView, DuelView, Message, Page, exchange_at
from personatune.demo.personas import as_text, built_in_personas, first_persona
from personatune.demo.tab import Tab, sides
from personatune.errors import UserError

if TYPE_CHECKING:
    import gradio as gr
else:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nothing leaves this machine unasked
    try:
        import gradio as gr
    except ImportError as error:
        raise UserError("the demo needs gradio: pip install 'personatune[demo]'") from error

AT_ONCE = 8
"""Actions that run at the same time; replies among them take turns, token by token."""

_HOUR = 3600
"""In seconds: so often uploaded cards and exports of more than a day ago are deleted from gradio's folder."""
_HEAD = """
<h1>personatune</h1>
<p>Talk with somebody who stays in character, and see where they don't.</p>
"""
_LEGEND = (
    '<p class="pt-legend"><span class="pt-expressed">✓ expresses</span> <span class="pt-contradicted">✗ contradicts'
    '</span> <span class="pt-doubtful">? may contradict</span> <span class="pt-hinted">≈ may express</span> a persona '
    "sentence, by the critic and by keywords.</p>"
)


def build(page: Page) -> gr.Blocks:
    """Return the page; `launch_options` belong to its launch."""
    _html_part()  # kept from here on: inside an action gradio makes no whole components
    with gr.Blocks(title="personatune demo", analytics_enabled=False, delete_cache=(_HOUR, 24 * _HOUR)) as blocks:
        tab = gr.State(None, delete_callback=_leave)
        gr.HTML(_HEAD, elem_classes="pt-head")
        with gr.Row(elem_classes="pt-columns"):
            with gr.Column(scale=2, min_width=280, elem_classes="pt-side"):
                persona = _Persona()
            with gr.Column(scale=5, min_width=300), gr.Tabs():
                with gr.Tab("Chat"):
                    chat = _Chat(page)
                with gr.Tab("Side by side, blind"):
                    duel = _Duel(page)
        _wire_persona(page, blocks, tab, persona, chat, duel)
        _wire_chat(page, tab, chat)
        _wire_duel(page, tab, duel)
    blocks.queue(default_concurrency_limit=AT_ONCE, max_size=64)
    return blocks


def launch_options() -> dict[str, Any]:
    """Return what the page needs of its launch: its looks, nothing kept, no links to elsewhere."""
    from personatune.demo.personas import MAX_UPLOAD_BYTES

    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    return {
        "theme": gr.themes.Default(primary_hue="teal", secondary_hue="teal", neutral_hue="slate", **fonts),
        "css": resources.files("personatune.demo").joinpath("style.css").read_text(encoding="utf-8"),
        "max_file_size": MAX_UPLOAD_BYTES,
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "quiet": True,
    }


class _Persona:
    def __init__(self) -> None:
        self.shown = gr.HTML(elem_classes="pt-shown")
        with gr.Accordion("Another persona", open=False):
            self.pick = gr.Dropdown(list(built_in_personas()), value=None, label="Pick one")
            self.card = gr.File(
                label="Or a character card",
                file_types=[".json", ".png", ".charx"],
                type="filepath",
                height=130,
            )
            self.user = gr.Textbox("User", label="What a card calls you", max_length=60)
            self.text = gr.Textbox(
                as_text(first_persona()),
                label="Or write: one sentence a line",
                lines=5,
                max_lines=12,
                elem_id="pt-text",
            )
            self.begin = gr.Button("Begin with this persona", variant="primary", elem_id="pt-begin")
        self.line = gr.HTML(elem_id="pt-persona-line")


class _Chat:
    def __init__(self, page: Page) -> None:
        names = list(page.shelf.names)
        with gr.Row(elem_classes="pt-settings"):
            self.model = gr.Dropdown(names, value=names[0], label="Model", scale=2, min_width=140, elem_id="pt-model")
            self.rerank = gr.Checkbox(
                False,
                label="Re-rank with the critic",
                info="says the likeliest of 8 replies that contradicts nothing",
                interactive=page.shelf.can_rerank,
                scale=3,
                min_width=200,
                elem_id="pt-rerank",
            )
        self.shown = _chatbot("pt-chat", 420, editable="user", feedback_options=("Like", "Dislike"))
        self.line = gr.HTML(elem_id="pt-chat-line")
        with gr.Row(elem_classes="pt-say"):
            self.box = _box("pt-say")
            self.send = gr.Button("Send", variant="primary", scale=1, min_width=70, elem_id="pt-send")
        with gr.Row(elem_classes="pt-buttons"):
            self.stop = gr.Button("Stop", size="sm", min_width=60, elem_id="pt-stop")
            self.retry = gr.Button("Retry", size="sm", min_width=60, elem_id="pt-retry")
            self.undo = gr.Button("Undo", size="sm", min_width=60, elem_id="pt-undo")
            self.export = gr.Button("Export", size="sm", min_width=60, elem_id="pt-export")
        self.files = gr.File(label="The chat as files", visible=False, file_count="multiple", elem_id="pt-files")
        gr.HTML(_LEGEND)
        self.gauge = gr.HTML(elem_id="pt-gauge")


class _Duel:
    def __init__(self, page: Page) -> None:
        names = sides(page.shelf)
        other = next((name for name in page.shelf.names[1:]), names[-1])
        with gr.Row(elem_classes="pt-settings"):
            self.first = gr.Dropdown(names, value=names[0], label="One side", min_width=140)
            self.second = gr.Dropdown(names, value=other, label="The other side", min_width=140)
        with gr.Row(elem_classes="pt-sides"):
            self.left = _chatbot("pt-left", 380, label="A", show_label=True)
            self.right = _chatbot("pt-right", 380, label="B", show_label=True)
        self.line = gr.HTML(elem_id="pt-duel-line")
        with gr.Row(elem_classes="pt-buttons"):
            self.votes = {
                "A": gr.Button("A is better", size="sm", min_width=70, elem_id="pt-vote-a"),
                "B": gr.Button("B is better", size="sm", min_width=70, elem_id="pt-vote-b"),
                "tie": gr.Button("A tie", size="sm", min_width=60, elem_id="pt-vote-tie"),
                "neither": gr.Button("Neither", size="sm", min_width=60, elem_id="pt-vote-neither"),
            }
        with gr.Row(elem_classes="pt-say"):
            self.box = _box("pt-duel-say")
            self.send = gr.Button("Send", variant="primary", scale=1, min_width=70, elem_id="pt-duel-send")
        with gr.Row(elem_classes="pt-buttons"):
            self.stop = gr.Button("Stop", size="sm", min_width=60, elem_id="pt-duel-stop")
            self.back = gr.Button("Take back", size="sm", min_width=60, elem_id="pt-duel-back")


def _chatbot(name: str, height: int, **options: Any) -> gr.Chatbot:
    """Return a chat that shows text as it is: no markdown, no formulas, no HTML but our own.

    All text is escaped before (`_message`): without markdown gradio still reads it as HTML. Its sanitiser comes second.
    """
    plain: dict[str, Any] = {"render_markdown": False, "allow_tags": False, "latex_delimiters": [], "buttons": []}
    return gr.Chatbot(elem_id=name, height=height, **{"show_label": False, **plain, **options})


def _box(name: str) -> gr.Textbox:
    return gr.Textbox(
        placeholder="Say something …", show_label=False, container=False, scale=6, lines=1, max_lines=4, elem_id=name
    )


# --- actions -------------------------------------------------------------------------------------------------------


def _wire_persona(page: Page, blocks: gr.Blocks, tab: gr.State, own: _Persona, chat: _Chat, duel: _Duel) -> None:
    everything = [tab, own.shown, own.text, own.line, *_chat_parts(chat), *_duel_parts(duel)]

    def shown(now: Tab, text: Any, line: str) -> list[Any]:
        views = (*_chat_values(page.chat_view(now)), *_duel_values(page.duel_view(now)))
        return [now, page.persona_shown(now), text, line, *views]

    def enter() -> list[Any]:
        return shown(page.new_tab(), gr.skip(), "")

    def pick(now: Tab | None, label: str | None) -> tuple[Tab, Any, str]:
        now = now or page.new_tab()
        return now, *_kept(page.pick(now, label))

    def import_card(now: Tab | None, upload: str | None, user: str) -> tuple[Tab, Any, str]:
        now = now or page.new_tab()
        return now, *_kept(page.import_card(now, upload, user))

    def begin(now: Tab | None, text: str) -> list[Any]:
        now = now or page.new_tab()
        return shown(now, gr.skip(), page.begin(now, text))

    blocks.load(enter, None, everything, api_name="enter", show_progress="hidden")
    draft = [tab, own.text, own.line]
    own.pick.input(pick, [tab, own.pick], draft, api_name="pick", show_progress="hidden")
    own.card.upload(import_card, [tab, own.card, own.user], draft, api_name="import_card", show_progress="minimal")
    own.begin.click(begin, [tab, own.text], everything, api_name="begin", show_progress="hidden")


def _wire_chat(page: Page, tab: gr.State, chat: _Chat) -> None:
    parts = [tab, *_chat_parts(chat)]
    how = [chat.model, chat.rerank]

    def shown(now: Tab, views: Iterator[ChatView]) -> Iterator[list[Any]]:
        for view in views:
            yield [now, *_chat_values(view)]

    def say(now: Tab | None, text: str, model: str, rerank: bool) -> Iterator[list[Any]]:
        now = now or page.new_tab()
        yield from shown(now, page.say(now, text, model, rerank))

    def retry_last(now: Tab | None, model: str, rerank: bool) -> Iterator[list[Any]]:
        now = now or page.new_tab()
        yield from shown(now, page.retry(now, -1, model, rerank))

    def retry(now: Tab, model: str, rerank: bool, event: gr.RetryData) -> Iterator[list[Any]]:
        yield from shown(now, page.retry(now, exchange_at(now, _index(event)), model, rerank))

    def edit(now: Tab, model: str, rerank: bool, event: gr.EditData) -> Iterator[list[Any]]:
        text = said_in_chat(str(event.value))
        yield from shown(now, page.edit(now, exchange_at(now, _index(event)), text, model, rerank))

    def undo_last(now: Tab | None) -> list[Any]:
        now = now or page.new_tab()
        return [now, *_chat_values(page.undo(now))]

    def undo(now: Tab, event: gr.UndoData) -> list[Any]:
        return [now, *_chat_values(page.undo(now, exchange_at(now, _index(event))))]

    def rate(now: Tab, event: gr.LikeData) -> list[Any]:
        liked = event.liked if isinstance(event.liked, bool) else None
        return [now, *_chat_values(page.rate(now, exchange_at(now, _index(event)), liked))]

    def forget(now: Tab | None) -> list[Any]:
        now = now or page.new_tab()
        return [now, *_chat_values(page.forget(now))]

    def export(now: Tab | None) -> tuple[Tab, Any, str]:
        now = now or page.new_tab()
        files, line = page.export(now)
        return now, gr.File(value=files or None, visible=bool(files)), line

    quiet: dict[str, Any] = {"show_progress": "hidden"}
    gr.on([chat.box.submit, chat.send.click], say, [tab, chat.box, *how], parts, api_name="say", **quiet)
    chat.retry.click(retry_last, [tab, *how], parts, api_name="retry", **quiet)
    chat.shown.retry(retry, [tab, *how], parts, api_name=False, **quiet)
    chat.shown.edit(edit, [tab, *how], parts, api_name=False, **quiet)
    chat.undo.click(undo_last, [tab], parts, api_name="undo", **quiet)
    chat.shown.undo(undo, [tab], parts, api_name=False, **quiet)
    chat.shown.clear(forget, [tab], parts, api_name="forget", **quiet)
    chat.shown.like(rate, [tab], parts, api_name=False, **quiet)
    chat.export.click(export, [tab], [tab, chat.files, chat.line], api_name="export", **quiet)
    chat.stop.click(_leave, [tab], None, api_name="stop", queue=False, **quiet)


def _wire_duel(page: Page, tab: gr.State, duel: _Duel) -> None:
    parts = [tab, *_duel_parts(duel)]

    def challenge(now: Tab | None, text: str, first: str, second: str) -> Iterator[list[Any]]:
        now = now or page.new_tab()
        for view in page.challenge(now, text, first, second):
            yield [now, *_duel_values(view)]

    def voting(choice: Any) -> Callable[[Tab | None], list[Any]]:
        def vote(now: Tab | None) -> list[Any]:
            now = now or page.new_tab()
            return [now, *_duel_values(page.vote(now, choice))]

        return vote

    def take_back(now: Tab | None) -> list[Any]:
        now = now or page.new_tab()
        return [now, *_duel_values(page.take_back(now))]

    def forget(now: Tab | None) -> list[Any]:
        now = now or page.new_tab()
        return [now, *_duel_values(page.forget_duel(now))]

    quiet: dict[str, Any] = {"show_progress": "hidden"}
    inputs = [tab, duel.box, duel.first, duel.second]
    gr.on([duel.box.submit, duel.send.click], challenge, inputs, parts, api_name="challenge", **quiet)
    for choice, button in duel.votes.items():
        button.click(voting(choice), [tab], parts, api_name=f"vote_{choice.lower()}", **quiet)
    gr.on([duel.left.clear, duel.right.clear], forget, [tab], parts, api_name="forget_duel", **quiet)
    duel.back.click(take_back, [tab], parts, api_name="take_back", **quiet)
    duel.stop.click(_leave, [tab], None, api_name="stop_duel", queue=False, **quiet)


def _leave(now: Tab | None) -> None:
    """Stop what a tab is having written, when it asks for that and when it is gone."""
    if now is not None:
        now.stop()


# --- values --------------------------------------------------------------------------------------------------------


def _chat_parts(chat: _Chat) -> list[Any]:
    return [chat.shown, chat.box, chat.gauge, chat.line]


def _chat_values(view: ChatView) -> tuple[Any, ...]:
    messages = [_message(one) for one in view.messages]
    shown: Any = messages
    if view.ratings is not None:
        # one value for each message of the model, a greeting's is none
        unrated = sum(one.role == "assistant" for one in view.messages) - len(view.ratings)
        words = {True: "Like", False: "Dislike", None: None}
        shown = gr.Chatbot(value=messages, feedback_value=[None] * unrated + [words[one] for one in view.ratings])
    return (shown, *(gr.skip() if one is None else one for one in (view.box, view.gauge)), view.line)


def _duel_parts(duel: _Duel) -> list[Any]:
    return [duel.left, duel.right, duel.box, duel.line]


def _duel_values(view: DuelView) -> tuple[Any, ...]:
    left, right = ([_message(one) for one in side] for side in (view.left, view.right))
    return left, right, gr.skip() if view.box is None else view.box, view.line


def _message(message: Message) -> dict[str, Any]:
    if not message.html:
        return {"role": message.role, "content": {"type": "text", "text": chat_text(message.text)}}
    part = _html_part()
    props = {**part["props"], "value": message.html}
    return {"role": message.role, "content": {**part, "value": message.html, "props": props}}


@lru_cache(maxsize=1)
def _html_part() -> dict[str, Any]:
    """Return what gradio makes of HTML in a message, made once: for each token of a long chat it took 90 ms anew."""
    empty = gr.HTML("", render=False)
    [message] = gr.Chatbot(render=False).postprocess([{"role": "assistant", "content": empty}]).root
    return dict(message.content[0].model_dump())


def _kept(change: tuple[str | None, str]) -> tuple[Any, str]:
    text, line = change
    return (gr.skip() if text is None else text), line


def _index(event: Any) -> int:
    """Return which message an event is about; in a message of several parts gradio names the part too."""
    return int(event.index[0] if isinstance(event.index, (list, tuple)) else event.index)
