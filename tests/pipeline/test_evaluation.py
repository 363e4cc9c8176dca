"""`evaluate` on benchmarks: floors and people in every table, resuming, one line for a mistake."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from personatune.errors import UserError
from personatune.judging.entailment import EntailmentJudge
from personatune.judging.probes import hold_dialogues
from personatune.judging.small_talk import INTERLUDES, OPENINGS
from personatune.judging.small_talk_answers import SMALL_TALK_ANSWERS
from personatune.pipeline import benchmark_runs
from personatune.pipeline.benchmark_sets import BenchmarkSet, parse_benchmarks, read_benchmark
from personatune.pipeline.evaluation import evaluate_contenders, run_pool
from personatune.pipeline.judging import Judges
from personatune.pipeline.kept_work import in_chunks
from personatune.report.evaluation_page import as_html, as_markdown
from personatune.settings import EvaluationConfig

SETTINGS = EvaluationConfig(max_new_tokens=4, bootstrap_samples=100, batch_size=2)
FLOORS = ["tfidf", "copier", "generic", "human"]


class WordJudge:
    """Entailed where a sentence holds all words of the other, contradicted where it also says "not"."""

    name = "word judge"

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        rows = np.zeros((len(pairs), 3), dtype=np.float32)
        for row, (premise, hypothesis) in zip(rows, pairs, strict=True):
            said = set(premise.lower().split())
            row[(2 if "not" in said else 0) if set(hypothesis.lower().split()) <= said else 1] = 1
        return rows


class LetterEncoder:
    """A text as its letters."""

    source = "letters"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.full((len(texts), 128), 1e-3, dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for letter in text:
                row[ord(letter) % 128] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def judges(judge: EntailmentJudge | None = None) -> Judges:
    return Judges(judge, "no judge (--judge none)", encoder=LetterEncoder())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def second_model(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save(tmp_path_factory.mktemp("models") / "second", seed=1))


def convai2_file(folder: Path) -> Path:
    """Three dialogues of two turns; the gold reply shares words with the persona."""
    lines = []
    for number, (pet, job) in enumerate((("dog", "nurse"), ("cat", "chef"), ("bird", "pilot"))):
        lines += [f"1 your persona: i have a {pet} .", f"2 your persona: i work as a {job} ."]
        lines += [f"3 hello , any pets {number} ?\tyes , a {pet} .\t\ti like rain .|the sun .|yes , a {pet} ."]
        lines += [f"4 and your job ?\ti am a {job} .\t\tgood idea .|no way .|i am a {job} ."]
    file = folder / "candidates.txt"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def nli_file(folder: Path) -> Path:
    record = {
        "persona": ["i have a dog."],
        "prefix": ["any pets?"],
        "candidates": {
            "label": ["a dog, yes."],
            "neg": ["i have no dog."],
            "similar": ["i have a dog."],
            "rand": ["red."],
        },
    }
    file = folder / "records.jsonl"
    file.write_text("\n".join(json.dumps(record) for _ in range(3)), encoding="utf-8")
    return file


def evaluated(
    models: Sequence[str], sets: Sequence[BenchmarkSet], out: Path, judge: EntailmentJudge | None = None
) -> dict[str, Any]:
    return evaluate_contenders(
        models, sets, out, settings=SETTINGS, judges=judges(judge), pool=run_pool(None, Path("runs"))
    )


def figures(evaluation: dict[str, Any], benchmark: int = 0) -> dict[str, Any]:
    return {row["contender"]: row["metrics"] for row in evaluation["benchmarks"][benchmark]["rows"]}


def without_time(evaluation: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in evaluation.items() if name != "created"}


def test_every_small_talk_line_has_a_written_answer() -> None:
    assert set(SMALL_TALK_ANSWERS) == {*OPENINGS, *INTERLUDES}


def test_the_probes_need_nothing_but_the_package_and_show_floors_and_people(model: str, tmp_path: Path) -> None:
    probes = read_benchmark("probes", None, limit=4)
    evaluation = evaluated([model], [probes], tmp_path, WordJudge())
    found = figures(evaluation)
    assert list(found) == [model, *FLOORS]
    assert found["human"]["probe_consistency"]["value"] == 1
    assert found["human"]["copy_share"]["value"] == 0
    assert found["copier"]["copy_share"]["value"] == 1
    assert found["generic"]["probe_consistency"]["value"] == 0
    assert {"relevance", "repetition", "c_score", "line_to_line", "engagement_equal"} <= set(found[model])
    assert found[model]["probe_consistency"]["n"] == 4
    readings = evaluation["benchmarks"][0]["overall"]
    assert readings[0]["contender"] == "human"
    assert next(row for row in readings if row["contender"] == "copier")["exposed"]


def test_more_wordings_ask_more_and_intervals_still_resample_personas(tmp_path: Path) -> None:
    one, three = (read_benchmark("probes", None, limit=4, wordings=count) for count in (1, 3))
    assert three.items == one.items
    assert len(three.scripts) == 3 * len(one.scripts)
    assert three.fingerprint != one.fingerprint
    evaluation = evaluated(["generic"], [three], tmp_path, WordJudge())
    found = figures(evaluation)
    assert found["human"]["probe_consistency"] == {"value": 1, "low": 1, "high": 1, "n": 4}
    assert found["copier"]["line_to_line"]["n"] == 4
    asked = sum(probe is not None for script in three.scripts for _, probe in script.lines)
    assert f"{asked} questions, 3 wordings of each" in as_markdown(evaluation)


def test_each_wording_is_a_dialogue_of_the_transcripts(tmp_path: Path) -> None:
    probes = read_benchmark("probes", None, limit=2, wordings=2)
    pages = tmp_path / "pages"
    evaluate_contenders(
        ["generic"],
        [probes],
        tmp_path / "out",
        settings=SETTINGS,
        judges=judges(None),
        pool=run_pool(None, Path("runs")),
        transcripts=pages,
    )
    (page,) = pages.iterdir()
    names = re.findall(r"^## \d+\. (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert names == [f"{item}, wording {number}" for item in probes.items for number in (1, 2)]


def test_any_dialogues_personas_can_be_asked_by_rule(dialogues: Any, tmp_path: Path) -> None:
    source = str(dialogues.write(tmp_path / "made.jsonl", 4))
    whole, cut = (read_benchmark("derived", source, limit=limit) for limit in (None, 3))
    assert (len(whole.items), len(cut.items)) == (8, 3)
    assert len({script.persona for script in whole.scripts}) == 8
    assert cut.scripts == whole.scripts[:3]
    evaluation = evaluated(["copier", "generic"], [cut], tmp_path / "out")
    found = figures(evaluation)
    assert found["copier"]["copy_share"] == {"value": 1, "low": 1, "high": 1, "n": 3}
    assert found["generic"]["probe_consistency"]["value"] == 0
    rows = {row["contender"]: row for row in evaluation["benchmarks"][0]["rows"]}
    assert rows["human"]["absent"] == {"replies": "no human replies to these contexts"}
    assert {row["metric"] for row in evaluation["benchmarks"][0]["differences"]} >= {"probe_consistency", "copy_share"}
    asked = sum(probe is not None for script in cut.scripts for _, probe in script.lines)
    assert f"{asked} questions made by rule" in as_markdown(evaluation)


def test_the_seed_draws_whose_personas_are_asked_first(dialogues: Any, tmp_path: Path) -> None:
    source = str(dialogues.write(tmp_path / "made.jsonl", 6))
    one, same, other = (read_benchmark("derived", source, limit=4, seed=seed) for seed in (1, 1, 2))
    assert one.scripts == same.scripts
    assert {script.persona for script in one.scripts} != {script.persona for script in other.scripts}


def test_derived_questions_stand_beside_the_probes_whose_answers_were_written(dialogues: Any, tmp_path: Path) -> None:
    source = str(dialogues.write(tmp_path / "made.jsonl", 3))
    sets = [read_benchmark("probes", None, limit=2), read_benchmark("derived", source, limit=2)]
    evaluation = evaluated(["generic"], sets, tmp_path / "out")
    assert figures(evaluation, 0)["human"]["probe_consistency"]["value"] == 1
    row = next(row for row in evaluation["benchmarks"][1]["rows"] if row["contender"] == "human")
    assert row["absent"] == {"replies": "nobody wrote answers to these questions"}


def test_personas_that_no_rule_fits_are_told(tmp_path: Path) -> None:
    file = tmp_path / "odd.jsonl"
    turns = [{"speaker": "A", "text": "Hi there."}, {"speaker": "B", "text": "Hello to you."}]
    row = {"id": "odd", "personas": {"A": ["Fog.", "Rust."], "B": ["Ash.", "Mud."]}, "turns": turns}
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="three sentences that a rule makes a question for"):
        read_benchmark("derived", str(file))


def test_without_a_judge_its_figures_are_absent_and_say_why(tmp_path: Path) -> None:
    evaluation = evaluated(["copier"], [read_benchmark("probes", None, limit=2)], tmp_path)
    row = evaluation["benchmarks"][0]["rows"][0]
    assert "c_score" not in row["metrics"]
    assert row["absent"]["c_score"] == "no judge (--judge none)"
    assert "judged measures: not measured: no judge (--judge none)" in as_markdown(evaluation)


def test_convai2_measures_replies_ranking_and_perplexity_of_a_model(model: str, tmp_path: Path) -> None:
    convai2 = read_benchmark("convai2", str(convai2_file(tmp_path)))
    evaluation = evaluated([model], [convai2], tmp_path / "out", WordJudge())
    found = figures(evaluation)
    assert {"hits1", "f1", "bleu", "rouge_l", "perplexity_token", "perplexity_word", "c_score"} <= set(found[model])
    assert found["human"]["hits1"]["value"] == 100
    assert "f1" not in found["human"]
    assert found["tfidf"]["hits1"]["n"] == 6
    rows = {row["contender"]: row for row in evaluation["benchmarks"][0]["rows"]}
    assert rows["tfidf"]["absent"]["perplexity_word"] == "tfidf gives text no likelihood"
    assert rows[model]["settings"]["decoding"]["max_new_tokens"] == 4
    assert "tokens)" in rows[model]["settings"]["tokenizer"]


def test_a_limit_cuts_dialogues_but_floors_keep_the_idf_of_the_file(tmp_path: Path) -> None:
    file = convai2_file(tmp_path)
    whole = read_benchmark("convai2", str(file))
    cut = read_benchmark("convai2", str(file), limit=1)
    assert (len(cut.items), len(cut.tasks), len(cut.all_tasks)) == (1, 2, 6)
    assert cut.split.endswith("first 1")
    assert cut.fingerprint != whole.fingerprint


def test_ranking_rates_add_to_a_hundred_and_have_no_overall_reading(model: str, tmp_path: Path) -> None:
    evaluation = evaluated([model], [read_benchmark("rank", str(nli_file(tmp_path)))], tmp_path / "out")
    for metrics in figures(evaluation).values():
        assert sum(metric["value"] for metric in metrics.values()) == pytest.approx(100)
    assert evaluation["benchmarks"][0]["why_no_overall"] == "no human replies to measure against"


def test_own_dialogues_are_a_benchmark_too(dialogues: Any, tmp_path: Path) -> None:
    source = dialogues.write(tmp_path / "made.jsonl", 3)
    evaluation = evaluated(["copier"], [read_benchmark("spc", str(source), limit=2)], tmp_path / "out")
    assert evaluation["benchmarks"][0]["split"] == "all dialogues (the source marks no held-out part), first 2"
    assert figures(evaluation)["human"]["copy_share"]["value"] > 0  # these people read their personas out
    assert figures(evaluation)["copier"]["f1"]["n"] == 2


def test_two_models_are_compared_pair_by_pair_and_each_difference_is_named(
    model: str, second_model: str, tmp_path: Path
) -> None:
    evaluation = evaluated([model, second_model], [read_benchmark("probes", None, limit=3)], tmp_path)
    rows = evaluation["benchmarks"][0]["differences"]
    assert {(row["first"], row["second"]) for row in rows} == {(model, second_model)}
    assert all(row["p"] <= row["p_holm"] <= 1 for row in rows)


class StoppedError(Exception):
    pass


def test_an_interrupted_evaluation_goes_on_and_gives_the_same(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = [read_benchmark("probes", None, limit=5), read_benchmark("convai2", str(convai2_file(tmp_path)))]
    expected = evaluated([model], sets, tmp_path / "whole", WordJudge())
    held: list[int] = []
    real = hold_dialogues
    stopping = True

    def counting(scripts: Any, *rest: Any) -> Any:
        if stopping and len(held) == 6:  # three floors and people, then three chunks of the model's dialogues
            raise StoppedError
        held.append(len(scripts))
        return real(scripts, *rest)

    monkeypatch.setattr(benchmark_runs, "hold_dialogues", counting)
    out = tmp_path / "stopped"
    with pytest.raises(StoppedError):
        evaluated([model], sets, out, WordJudge())
    stopping = False
    assert held == [5, 5, 5, 5, 2, 2]
    assert without_time(evaluated([model], sets, out, WordJudge())) == without_time(expected)
    assert held[6:] == [1]  # what was done was not done again
    assert without_time(evaluated([model], sets, out, WordJudge())) == without_time(expected)
    assert held[7:] == []


def test_work_is_kept_by_whole_chunks_and_cut_as_before(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def work(chunk: list[int]) -> list[int]:
        asked.append(chunk)
        return [index * 10 for index in chunk]

    place = tmp_path / "work.jsonl"
    assert in_chunks(place, {"of": "a"}, 5, 2, work) == [0, 10, 20, 30, 40]
    place.write_text("\n".join(place.read_text().splitlines()[:2]) + '\n{"values": [2', encoding="utf-8")
    asked.clear()
    assert in_chunks(place, {"of": "a"}, 5, 4, work) == [0, 10, 20, 30, 40]
    assert asked == [[2, 3], [4]]
    assert in_chunks(place, {"of": "b"}, 5, 4, work) == [0, 10, 20, 30, 40]
    assert asked[2:] == [[0, 1, 2, 3], [4]]


def test_replies_made_elsewhere_take_part_and_wrong_ones_are_named(tmp_path: Path) -> None:
    convai2 = read_benchmark("convai2", str(convai2_file(tmp_path)))
    rows = [{"history": [turn.text for turn in item.context.history], "reply": "yes"} for item in convai2.turns]
    fitting = tmp_path / "mine.jsonl"
    fitting.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    evaluation = evaluated([str(fitting)], [convai2], tmp_path / "out")
    row = evaluation["benchmarks"][0]["rows"][0]
    assert row["metrics"]["reply_words"]["value"] == 1
    assert "it can't score candidates" in row["absent"]["hits1"]
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"history": ["what?"], "reply": "yes"}), encoding="utf-8")
    with pytest.raises(UserError, match="no reply to context 1 of 6"):
        evaluated([str(other)], [convai2], tmp_path / "out")


def test_markdown_and_html_hold_the_tables_and_escape_what_they_print(tmp_path: Path) -> None:
    evaluation = evaluated(["copier"], [read_benchmark("probes", None, limit=2)], tmp_path)
    evaluation["benchmarks"][0]["source"] = "<script>alert(1)</script>|"
    page, text = as_html(evaluation), as_markdown(evaluation)
    assert "<script>" not in page
    assert "<script>" not in text
    assert "overall reading" in page
    assert "human (ceiling)" in page
    assert "| – | human (ceiling) |" in text


def test_published_figures_stand_beside_and_ours_only_on_the_same_split(tmp_path: Path) -> None:
    evaluation = evaluated(["tfidf"], [read_benchmark("rank", str(nli_file(tmp_path)))], tmp_path / "out")
    rows = evaluation["benchmarks"][0]["published"]
    assert {"BlenderBot3-3B"} <= {row["system"] for row in rows}
    assert not [row for row in rows if row["kind"] == "measured"]  # three records are not the published set


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["probs"],
            "--on probs: expected one of probes, derived, convai2, spc, rank, qa, selfchat; did you mean 'probes'?",
        ),
        (["probes,convai2"], "--on convai2: which file? It takes a ConvAI2 file with candidates"),
        (["rank=a", "rank=b"], "--on rank: named twice"),
        ([""], "expected one of"),
    ],
)
def test_a_benchmark_that_cannot_be_read_is_one_line(values: list[str], message: str) -> None:
    with pytest.raises(UserError) as found:
        parse_benchmarks(values)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_benchmarks_are_named_together_or_one_by_one() -> None:
    wanted = {"probes": None, "convai2": "a,b.txt", "rank": "c.json"}
    assert parse_benchmarks(["probes,convai2=a,b.txt,rank=c.json"]) == wanted
    assert parse_benchmarks(["probes", "convai2=a,b.txt", "rank=c.json"]) == wanted


def test_files_of_the_other_kind_and_limits_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give it as --on rank="):
        read_benchmark("convai2", str(nli_file(tmp_path)))
    with pytest.raises(UserError, match="--limit 0: expected 1 or more"):
        read_benchmark("probes", None, limit=0)
    with pytest.raises(UserError, match="--wordings 4: every trait has 3 questions"):
        read_benchmark("probes", None, wordings=4)
    with pytest.raises(UserError, match="--probes-split tset: expected one of"):
        read_benchmark("probes", None, split="tset")


@pytest.mark.shared
def test_people_and_tfidf_have_the_known_figures_on_convai2(shared_data: Path, tmp_path: Path) -> None:
    file = shared_data / "convai2" / "valid_self_original_cands_first500.txt"
    convai2 = read_benchmark("convai2", str(file))
    assert (len(convai2.items), len(convai2.turns)) == (500, 3907)
    from personatune.evaluation.quality import QualityEvaluator, tokens

    said = [turn.reference for turn in convai2.turns]
    quality = QualityEvaluator(100)
    assert round(quality.compute_distinct_n(said, 1).value, 2) == 7.73
    assert round(quality.compute_distinct_n(said, 2).value, 1) == 44.0
    assert round(sum(len(tokens(reply)) for reply in said) / len(said), 2) == 11.94
