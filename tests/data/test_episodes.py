"""Conversations for PPO: the partner goes on as in the real dialogue, or as the probe dialogue has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personatune.data.episodes import probe_episodes
from personatune.data.preferences import PreferenceGenerator
from personatune.dialogue import Context, Episode, Persona, Perspective, Probe, ProbeScript, Turn
from personatune.settings import PreferencesConfig

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues

DOGS = Persona(("I have two dogs.", "I work as a nurse."))
PETS, JOB = (Probe(trait, question, ("x",)) for trait, question in zip(DOGS.traits, ("Pets?", "Job?"), strict=True))


def talk(name: str, *turns: tuple[str, str]) -> Perspective:
    return Perspective(name, DOGS, tuple(Turn(*turn) for turn in turns))


def test_an_episode_survives_json_and_one_without_lines_is_a_context() -> None:
    context = Context(DOGS, (Turn("partner", "Hi!"),))
    for episode in (Episode(context), Episode(context, ("Pets?", "Job?"))):
        assert Episode.from_json(episode.to_json()) == episode
    assert Episode(context).to_json() == context.to_json()


def test_a_real_dialogue_goes_on_with_the_partners_own_lines() -> None:
    view = talk(
        "d/1",
        ("partner", "Do you have any pets?"),
        ("self", "I have two dogs."),
        ("partner", "Nice."),
        ("partner", "What do you do?"),
        ("self", "I am busy."),
        ("self", "Very busy."),
        ("partner", "Bye."),
    )
    generator = PreferenceGenerator([view], PreferencesConfig(), seed=0)
    opening = Context(DOGS, (Turn("partner", "Do you have any pets?"),))
    assert generator.episodes(3) == [Episode(opening, ("Nice. What do you do?", "Bye."))]
    assert generator.episodes(2) == [Episode(opening, ("Nice. What do you do?",))]


def test_a_probe_dialogue_is_cut_into_conversations_with_a_question_each() -> None:
    script = ProbeScript(DOGS, (("Hi!", None), ("Pets?", PETS), ("Haha.", None), ("Job?", JOB), ("Cool.", None)))

    def opened(line: str) -> Context:
        return Context(DOGS, (Turn("partner", line),))

    assert probe_episodes(script, 2) == [Episode(opened("Hi!"), ("Pets?",)), Episode(opened("Haha."), ("Job?",))]
    assert probe_episodes(script, 5) == [Episode(opened("Hi!"), ("Pets?", "Haha.", "Job?", "Cool."))]


def test_real_and_probe_dialogues_take_turns(dialogues: type[HandMadeDialogues]) -> None:
    views = dialogues.perspectives(12, turns=8)
    scripts = [ProbeScript(DOGS, ((f"Hi {number}!", None), ("Pets?", PETS))) for number in range(30)]
    episodes = PreferenceGenerator(views, PreferencesConfig(), seed=0).episodes(2, scripts, count=20)
    assert len(set(episodes)) == len(episodes) == 20
    assert sum(episode.context.persona == DOGS for episode in episodes) == 10
    assert all(len(episode.lines) <= 1 for episode in episodes)
    assert sum(len(episode.lines) for episode in episodes) >= 18
