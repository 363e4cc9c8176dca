"""`evaluate --on qa` and `--on selfchat`: what is asked, who can take part, what is kept, what is printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from personatune.errors import UserError
from personatune.evaluation.self_chat import ROUNDS, hold_self_chats
from personatune.judging.persona_probes import load_persona_probes
from personatune.pipeline import benchmark_runs
from personatune.pipeline.benchmark_sets import BenchmarkSet, parse_benchmarks, read_benchmark
from personatune.pipeline.evaluation import evaluate_contenders, run_pool
from personatune.pipeline.judging import Judges
from personatune.report.evaluation_page import as_html, as_markdown
from personatune.settings import EvaluationConfig

SETTINGS = EvaluationConfig(max_new_tokens=3, bootstrap_samples=100, batch_size=1)


class NotJudge:
    """Contradicted where a sentence says "not", else neutral."""

    name = "not judge"

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        return np.array([[0, 0, 1] if "not" in premise.split() else [0, 1, 0] for premise, _ in pairs], np.float32)


@pytest.fixture(scope="module")
def model(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def replies(tmp_path: Path) -> str:
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"history": ["Hi."], "reply": "Hello."}), encoding="utf-8")
    return str(file)


def evaluated(models: Sequence[str], sets: Sequence[BenchmarkSet], out: Path, judge: Any = None) -> dict[str, Any]:
    return evaluate_contenders(
        models,
        sets,
        out,
        settings=SETTINGS,
        judges=Judges(judge, "no judge (--judge none)"),
        pool=run_pool(None, Path("runs")),
    )


def rows_of(evaluation: dict[str, Any]) -> dict[str, Any]:
    return {row["contender"]: row for row in evaluation["benchmarks"][0]["rows"]}


def test_both_need_no_file_and_take_one() -> None:
    assert parse_benchmarks(["qa,selfchat=mine.yaml"]) == {"qa": None, "selfchat": "mine.yaml"}


def test_every_trait_of_the_test_personas_is_asked_for_after_talk_that_tells_nothing() -> None:
    qa = read_benchmark("qa", None)
    personas = {persona.id: persona for persona in load_persona_probes("test")}
    assert qa.items == list(personas)
    assert len(qa.questions) == 6 * len(personas)
    for number, persona in enumerate(personas.values()):
        asked = [task for task in qa.questions if task.dialogue == number]
        assert [task.turn for task in asked] == [1, 1, 3, 3, 6, 6]
        assert {task.trait for task in asked} == {trait.trait for trait in persona.traits}
        replies = {trait.consistent for trait in persona.traits}
        for task in asked:
            assert sum(turn.speaker == "self" for turn in task.task.context.history) == task.turn
            assert replies.isdisjoint(turn.text for turn in task.task.context.history)


def test_a_limit_changes_no_question_and_no_pair() -> None:
    for name in ("qa", "selfchat"):
        whole, cut = read_benchmark(name, None), read_benchmark(name, None, limit=2)
        assert cut.items == whole.items[:2]
        assert cut.questions == [task for task in whole.questions if task.dialogue < 2]
        assert cut.pairs == whole.pairs[:2]
        assert cut.fingerprint != whole.fingerprint
        assert cut.split.endswith("first 2")


def test_every_persona_talks_in_one_pair() -> None:
    pairs = read_benchmark("selfchat", None).pairs
    assert len({persona for pair in pairs for persona in pair}) == 2 * len(pairs) == 32


def test_questions_are_answered_by_models_and_floors_and_who_cannot_says_why(
    model: str, replies: str, tmp_path: Path
) -> None:
    evaluation = evaluated([model, replies], [read_benchmark("qa", None, limit=3)], tmp_path / "out")
    rows = rows_of(evaluation)
    names = {f"{name}{turn}" for name in ("qa_accuracy", "qa_accuracy_bare", "qa_pmi_accuracy")
             for turn in ("", "_1", "_3", "_6")}  # fmt: skip
    for contender in (model, "tfidf", "copier", "generic"):
        assert set(rows[contender]["metrics"]) == names
        assert rows[contender]["metrics"]["qa_accuracy"]["n"] == 3
    # Who never looks at the persona gains nothing from it; who looks at nothing else knows nothing without it.
    generic, copier = rows["generic"]["metrics"], rows["copier"]["metrics"]
    assert generic["qa_pmi_accuracy"]["value"] == 0
    assert generic["qa_accuracy"] == generic["qa_accuracy_bare"]
    assert copier["qa_accuracy_bare"]["value"] == 0
    assert copier["qa_pmi_accuracy"] == copier["qa_accuracy"]
    assert copier["qa_accuracy"]["value"] > 0.25
    assert rows["human"]["metrics"] == {}
    assert "people wrote the right answers" in rows["human"]["absent"]["qa_pmi_accuracy"]
    assert "it can't score candidates" in rows["mine.jsonl"]["absent"]["qa_accuracy"]
    assert rows[model]["settings"]["scoring"]["score"].startswith("mean token log-likelihood")
    text = as_markdown(evaluation)
    assert "18 questions after turns 1, 3 and 6" in text
    assert "after turn 6" in text
    assert "overall reading" not in text
    assert "of human: not measured: people wrote the right answers" in text


def test_floors_answer_a_part_as_they_answer_the_whole(tmp_path: Path) -> None:
    cut = evaluated(["tfidf"], [read_benchmark("qa", None, limit=2)], tmp_path / "cut")
    whole = evaluated(["tfidf"], [read_benchmark("qa", None)], tmp_path / "whole")
    parts = {name: json.loads(next((tmp_path / name / "parts").glob("qa.tfidf.*.result.json")).read_text())
             for name in ("cut", "whole")}  # fmt: skip
    assert parts["cut"]["tallies"]["qa_accuracy"] == parts["whole"]["tallies"]["qa_accuracy"][:2]
    assert rows_of(cut)["tfidf"]["metrics"] != rows_of(whole)["tfidf"]["metrics"]


def test_self_chats_show_halves_and_drift_of_models_and_floors(model: str, replies: str, tmp_path: Path) -> None:
    chats = read_benchmark("selfchat", None, limit=3)
    evaluation = evaluated([model, replies], [chats], tmp_path / "out", NotJudge())
    rows = rows_of(evaluation)
    for contender in (model, "tfidf", "copier", "generic"):
        found = rows[contender]["metrics"]
        for measure in ("prompt_to_line", "line_to_line", "c_score", "trait_coverage", "copy_share"):
            parts = [found[f"{measure}_{part}"]["value"] for part in ("first_half", "second_half", "drift")]
            assert parts[2] == pytest.approx(parts[1] - parts[0])
        assert found["prompt_to_line_drift"]["n"] == 3
        assert f"prompt_to_line_{ROUNDS}" in found
    assert rows["copier"]["metrics"]["copy_share_first_half"]["value"] == 1
    assert rows["copier"]["metrics"]["repetition_drift"]["value"] > 0  # it runs out of persona
    assert rows["human"]["absent"]["replies"] == "no people have talked for these personas"
    assert "every line follows from the one before" in rows["mine.jsonl"]["absent"]["replies"]
    text, page = as_markdown(evaluation), as_html(evaluation)
    assert "prompt to line ↑" in text
    assert "round 8" in text
    assert "replies of human: not measured" in text.lower()
    assert "by keywords" in page


def test_without_a_judge_self_chats_are_told_by_keywords(tmp_path: Path) -> None:
    evaluation = evaluated(["copier"], [read_benchmark("selfchat", None, limit=2)], tmp_path)
    row = rows_of(evaluation)["copier"]
    assert row["absent"]["c_score"] == "no judge (--judge none)"
    assert "copy_share_drift" in row["metrics"]
    assert "C-score" in as_markdown(evaluation)
    assert "not measured: no judge (--judge none)" in as_markdown(evaluation)


class StoppedError(Exception):
    pass


def test_interrupted_self_chats_go_on_and_give_the_same(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = [read_benchmark("selfchat", None, limit=2)]
    expected = rows_of(evaluated([model], sets, tmp_path / "whole"))
    held: list[int] = []
    real = hold_self_chats
    stopping = True

    def counting(first: Any, second: Any, pairs: Any, **options: Any) -> Any:
        if stopping and len(held) == 4:  # three floors, then one of the model's two chunks
            raise StoppedError
        held.append(options["start"])
        return real(first, second, pairs, **options)

    monkeypatch.setattr(benchmark_runs, "hold_self_chats", counting)
    with pytest.raises(StoppedError):
        evaluated([model], sets, tmp_path / "stopped")
    stopping = False
    assert rows_of(evaluated([model], sets, tmp_path / "stopped")) == expected
    assert held == [0, 0, 0, 0, 1]


def test_two_models_are_compared_on_answers_and_on_drift(model: str, tiny: Any, tmp_path: Path) -> None:
    second = str(tiny.save(tmp_path / "second", seed=1))
    sets = [read_benchmark(name, None, limit=2) for name in ("qa", "selfchat")]
    found = evaluated([model, second], sets, tmp_path / "out", NotJudge())["benchmarks"]
    assert {row["metric"] for row in found[0]["differences"]} == {"qa_pmi_accuracy", "qa_accuracy"}
    assert {"prompt_to_line_drift", "line_to_line_drift"} <= {row["metric"] for row in found[1]["differences"]}


def test_own_personas_too_few_to_ask_or_to_pair_are_one_line(tmp_path: Path) -> None:
    persona = load_persona_probes("test")[0]
    file = tmp_path / "one.yaml"
    file.write_text(yaml.safe_dump([persona.model_dump()]), encoding="utf-8")
    with pytest.raises(UserError, match=r"nothing to ask about .*one.yaml: \d × fewer than 3 answers"):
        read_benchmark("qa", str(file))
    with pytest.raises(UserError, match="self-chat: found 0 pairs among 1 personas"):
        read_benchmark("selfchat", str(file))
