"""The report of a run: what was measured stands there exactly, what was not says why, and nothing in it is alive."""

from __future__ import annotations

import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from personatune.dialogue import Persona
from personatune.errors import UserError
from personatune.judging.probes import make_script
from personatune.report.build import ReportPaths, build_report, collect_report
from personatune.report.evidence import read_curves
from personatune.report.highlights import marked_dialogue
from personatune.report.table import print_summary
from personatune.report.tracked import track_report
from personatune.settings import TrackingConfig
from personatune.training.tracking import open_tracker

SCRIPT = '<script>alert("x")</script>'


def goals_of(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {goal["name"]: goal for goal in report["goals"]}


def text_of(html: str) -> str:
    """Return what a reader of the page sees."""
    seen: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            seen.append(data)

    Reader().feed(re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL))
    return " ".join(" ".join(seen).split())


def summary_of(report: dict[str, Any], html: Path | None = None) -> str:
    screen = io.StringIO()
    print_summary(Console(file=screen, width=200), report, html)
    return screen.getvalue()


def test_every_goal_is_judged_by_its_true_figure(run_dir: Path) -> None:
    goals = goals_of(collect_report(run_dir))
    found = {name: (goal["target"], goal["value"], goal["met"]) for name, goal in goals.items()}
    assert found == {
        "Persona consistency after PPO": (0.85, 0.87, True),
        "Cost saved against full fine-tuning": (0.75, 0.8, True),
        "Time saved against full fine-tuning": (0.6, 0.5, False),
        "Held-out loss after SFT below the untouched model's": (2.75, 1.75, True),
        "Reward model ranks held-out pairs better than chance": (0.5, 0.71, True),
        "Reward model passes the checks of its own report": (1.0, 0.5, False),
        "KL of PPO inside its budget": (8.0, 2.25, True),
        "Engagement after PPO not below SFT's interval": (0.48, 0.49, True),
    }


def test_the_reward_models_figures_stand_beside_their_targets(paths: ReportPaths) -> None:
    page = paths.markdown.read_text(encoding="utf-8")
    assert "| ranked right, all | 71.0 % (62.0–79.0) | ≥ 80.0 % | missed | 100 |" in page
    assert "| persona sensitivity | 80.0 % (70.0–88.0) | ≥ 75.0 % | met | 100 |" in page
    assert "| length correlation | 0.0400 | – | – | – |" in page
    assert "missed: accuracy" in page


def test_failed_checks_and_alarms_of_ppo_are_told(paths: ReportPaths, run_dir: Path) -> None:
    page = paths.markdown.read_text(encoding="utf-8")
    assert "| – | reward model | missed: accuracy 71 % (target ≥ 80 %, n = 100) | went on |" in page
    assert "| 2 | entropy alarm | fell " in page
    assert "| learning rates halved, KL weight raised |" in page
    (run_dir / "ppo/summary.json").write_text(json.dumps({"updates": 1, "kl_max": 0.1}), encoding="utf-8")
    quiet = build_report(run_dir).markdown.read_text(encoding="utf-8")
    assert "no alarm sounded" in quiet


def test_the_models_keep_value_interval_and_n(run_dir: Path) -> None:
    models = collect_report(run_dir)["models"]
    assert list(models) == ["base", "sft", "ppo"]
    assert models["ppo"]["bleu"] == {"value": 3.21, "low": 2.5, "high": 4.0, "n": 40}


def test_costs_add_up_over_interrupts_and_over_the_run(run_dir: Path) -> None:
    costs = collect_report(run_dir)["costs"]
    assert costs["sft"]["wall_seconds"] == 125.0
    assert costs["total"]["wall_seconds"] == 325.0
    assert costs["total"]["peak_memory_bytes"] == 3.5 * 2**30
    assert costs["total"]["money"] == pytest.approx(costs["sft"]["money"] + costs["ppo"]["money"])


def test_the_three_files_are_written_and_the_json_is_the_report(paths: ReportPaths) -> None:
    report = json.loads(paths.json.read_text(encoding="utf-8"))
    fresh = collect_report(paths.json.parent.parent)
    assert {**report, "created": None} == {**json.loads(json.dumps(fresh)), "created": None}
    assert [path.name for path in (paths.json, paths.markdown, paths.html)] == [
        "report.json",
        "report.md",
        "report.html",
    ]
    assert paths.json.parent == paths.markdown.parent == paths.html.parent


def test_every_form_prints_the_same_figures(paths: ReportPaths) -> None:
    report = json.loads(paths.json.read_text(encoding="utf-8"))
    page, terminal = text_of(paths.html.read_text(encoding="utf-8")), summary_of(report, paths.html)
    for text in (page, paths.markdown.read_text(encoding="utf-8"), terminal):
        for shown in ("87.0 % (79.0–93.0)", "≥ 85.0 %", "50.0 %", "≥ 60.0 %", "1.75 nats a token", "12.5 (11.2–14.0)"):
            assert shown in text
        for shown in ("2 min 05 s", "3.50 GiB", "5 min 25 s", "met", "missed"):
            assert shown in text
    assert "17" in page
    assert "91.0" not in page
    assert f"Report: {paths.html}" in terminal
    assert "personatune chat --run tiny" in terminal


def test_judged_figures_name_their_judge_and_absent_ones_their_reason(paths: ReportPaths) -> None:
    for text in (paths.markdown.read_text(encoding="utf-8"), html.unescape(paths.html.read_text(encoding="utf-8"))):
        assert "critic 1a2b3c4d (contradiction from 0.65)" in text
        assert "relevance: not measured: no sentence encoder" in text


def test_dialogues_of_one_persona_stand_side_by_side_with_their_verdicts(paths: ReportPaths) -> None:
    sample = collect_report(paths.json.parent.parent)["samples"][0]
    verdicts = {model: [turn["verdict"] for turn in turns] for model, turns in sample["models"].items()}
    assert verdicts == {
        "base": [None, "contradicting", None, None],
        "sft": [None, "neutral", None, None],
        "ppo": [None, "consistent", None, None],
    }
    page = text_of(paths.html.read_text(encoding="utf-8"))
    assert "I love cats. ✗ contradicting" in page  # no question of this dialogue is known, so no sentence is named
    assert "My dogs are great. ✓ 1" in page


def test_the_sentence_a_question_asked_for_follows_its_verdict_others_the_keywords() -> None:
    persona = Persona(("I have two dogs.", "I am a nurse.", "I love pizza.", "I live in Canada."))
    script = make_script(persona, 5, 3)
    assert script is not None
    replies = ["I am no nurse, I am a vet."] + ["My dogs love pizza."] * (len(script.lines) - 1)
    turns = [turn for (line, _), reply in zip(script.lines, replies, strict=True)
             for turn in (["partner", line], ["self", reply])]  # fmt: skip
    verdicts = [None if probe is None else "contradicting" for _, probe in script.lines]
    dialogue = {"persona": list(persona.traits), "turns": turns, "verdicts": verdicts}
    own = [row for row in marked_dialogue(dialogue, 5, 3) if row["speaker"] == "self"]
    assert own[0]["contradicted"] == [1]
    for row, (_, probe) in zip(own[1:], script.lines[1:], strict=True):
        asked = {persona.traits.index(probe.trait)} if probe else set()
        assert set(row["expressed"]) == {0, 2} - asked
        assert set(row["contradicted"]) == asked
    unknown = marked_dialogue(dialogue, 5, 4 if make_script(persona, 5, 4) != script else 5)
    assert {tuple(row["expressed"]) for row in unknown if row["text"] == replies[1]} == {(0, 2)}


def test_learning_curves_and_the_price_of_consistency_are_drawn(paths: ReportPaths) -> None:
    page = text_of(paths.html.read_text(encoding="utf-8"))
    assert "train loss from 2.5 to 1.5; held out loss from 2.75 to 1.88" in page
    assert "loss from 0.7 to 0.7" in page
    assert "score from -0.25 to 0.75; judge from 0.5 to 0.625" in page
    assert "untouched from 33% to 23%; after SFT from 62% to 52%; after PPO from 87% to 77%; bands" in page
    assert "untouched 33% for 0.0 s" in page
    assert "after SFT 62% for 2 min 05 s" in page


def test_dpo_trainings_of_the_run_have_their_curve_and_their_facts(run_dir: Path) -> None:
    rows = [{"stage": "dpo", "of": "dpo"}, {"stage": "methods/dpo-0", "of": "dpo"}, {"stage": "../x", "of": "dpo"}]
    (run_dir / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name in ("dpo", "methods/dpo-0", "../x"):
        (run_dir / name).mkdir(parents=True)
        (run_dir / name / "summary.json").write_text(json.dumps({"steps": 41}), encoding="utf-8")
    (run_dir / "dpo/metrics.csv").write_text("step,name,value\n1,loss,0.75\n2,loss,0.25\n", encoding="utf-8")
    report = collect_report(run_dir)
    assert report["dpo"] == {"dpo": {"steps": 41}}
    page = text_of(build_report(run_dir).html.read_text(encoding="utf-8"))
    assert "DPO: dpo" in page
    assert "loss from 0.75 to 0.25" in page


def test_the_page_names_on_a_phone_what_each_cell_is(paths: ReportPaths) -> None:
    page = paths.html.read_text(encoding="utf-8")
    assert '<td data-label="target"><span>≥ 85.0 %</span></td>' in page
    assert '<td data-label="result"><span class="pill met">met</span></td>' in page
    assert '87.0 % <span class="ci">(79.0–93.0)</span>' in page


def test_a_finished_report_goes_to_the_trackers_with_figures_dialogues_and_files(
    paths: ReportPaths, tmp_path: Path
) -> None:
    tracker = open_tracker(tmp_path, TrackingConfig(backends=["csv"]), run="tiny", stage="report")
    handed: dict[str, tuple[str, list[str]]] = {}
    tracker.files = lambda name, kind, paths: handed.update({name: (kind, [file.name for file in paths])})  # type: ignore[method-assign]
    track_report(tracker, paths.json.parent.parent, paths)
    tracker.close()
    curves = read_curves(tmp_path / "metrics.csv")
    assert curves["ppo/probe_consistency"] == [(0.0, 0.87)]
    assert (curves["goals/met"], curves["goals/missed"]) == ([(0.0, 6.0)], [(0.0, 2.0)])
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[0]["line"] == "Do you have pets?"
    assert (rows[0]["untouched"], rows[0]["untouched: verdict"]) == ("I love cats.", "contradicting")
    assert rows[0]["after PPO"] == "My dogs are great."
    drawn = sorted(file.name for file in (tmp_path / "figures").iterdir())
    assert len(drawn) == 7
    assert "consistency-per-turn.png" in drawn
    assert all((tmp_path / "figures" / name).read_bytes().startswith(b"\x89PNG") for name in drawn)
    assert handed == {"tiny-report": ("report", ["report.html", "report.md", "report.json"])}


def test_published_figures_carry_their_source_and_the_run_is_not_measured_on_their_data(paths: ReportPaths) -> None:
    rows = collect_report(paths.json.parent.parent)["benchmarks"]["rows"]
    hits = {row["system"]: row["value"] for row in rows if row["metric"] == "hits_1"}
    assert hits["TransferTransfo"] == 82.1
    assert hits["this run"] is None
    assert all(row["source"] for row in rows if row["value"] is not None)
    page = text_of(paths.html.read_text(encoding="utf-8"))
    assert "this run not measured" in page


def test_hostile_text_stays_text_in_every_form(paths: ReportPaths) -> None:
    html, markdown = paths.html.read_text(encoding="utf-8"), paths.markdown.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "<script" not in markdown
    assert SCRIPT in text_of(html)
    assert "&lt;script&gt;" in markdown


def test_a_run_named_like_markup_keeps_its_name(run_dir: Path) -> None:
    report = {**collect_report(run_dir), "run": "[red]x[/red]"}
    assert "personatune chat --run '[red]x[/red]'" in summary_of(report)


def test_the_page_needs_nothing_from_elsewhere(paths: ReportPaths) -> None:
    html = paths.html.read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href|action)\s*=\s*["\'](?!#)', html)
    assert not re.search(r"@import|url\((?!#)", html)
    assert not re.search(r"<(?:link|script|iframe|img|object|embed)\b", html)
    assert html.count("<svg") == 7


def test_ids_in_the_page_are_unique_and_every_reference_finds_one(paths: ReportPaths) -> None:
    html = paths.html.read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', html)) <= set(ids)


def test_an_empty_run_says_for_every_part_why_it_was_not_measured(run_dir: Path) -> None:
    for part in ("prepare", "baseline", "sft", "reward", "ppo", "evaluate", "compare"):
        for file in (run_dir / part).iterdir():
            file.unlink()
    (run_dir / "costs.jsonl").unlink()
    paths = build_report(run_dir)
    report = json.loads(paths.json.read_text(encoding="utf-8"))
    assert report["models"] == {}
    assert report["costs"] == {}
    assert report["reward"] is None
    assert all(goal["value"] is None and goal["met"] is None and goal["why"] for goal in report["goals"])
    assert report["missing"]["reward"] == "the stage reward has left no reward/report.json"
    page = text_of(paths.html.read_text(encoding="utf-8"))
    assert "not measured: the stage evaluate has left no evaluate/ppo.json" in page
    assert "not measured: the run has no ledger costs.jsonl" in page
    assert "Goals met 0 of 8 8 not measured" in page
    assert "not measured: the stage compare has left no compare/comparison.json" in " ".join(
        re.sub(r"[│┃]", " ", summary_of(report)).split()
    )


def test_one_missing_model_leaves_the_others_and_says_why(run_dir: Path) -> None:
    (run_dir / "evaluate/ppo.json").unlink()
    report = collect_report(run_dir)
    assert goals_of(report)["Persona consistency after PPO"]["met"] is None
    printed = summary_of(report)
    assert "models.ppo: not measured: the stage evaluate has left no evaluate/ppo.json" in printed
    assert "62.0 % (54.0–68.0)" in printed


def test_a_reward_model_whose_interval_reaches_chance_misses(run_dir: Path) -> None:
    accuracy = {"all": {"value": 0.58, "low": 0.48, "high": 0.67, "n": 100}}
    (run_dir / "reward/report.json").write_text(json.dumps({"accuracy": accuracy}), encoding="utf-8")
    goal = goals_of(collect_report(run_dir))["Reward model ranks held-out pairs better than chance"]
    assert (goal["met"], goal["why"]) == (False, "its interval reaches down to chance")


@pytest.mark.parametrize(
    ("change", "value", "met"),
    [
        ({"lora": {"reached": False}}, None, None),
        ({"full": {"reached": False}, "why": "stopped at 1.9"}, None, None),
        ({"savings": {"cost_saved": None}}, None, None),
        ({"savings": {"cost_saved": -0.25}}, -0.25, False),
    ],
)
def test_savings_are_judged_only_where_they_mean_something(
    run_dir: Path, change: dict[str, Any], value: float | None, met: bool | None
) -> None:
    source = run_dir / "compare/comparison.json"
    source.write_text(json.dumps({**json.loads(source.read_text(encoding="utf-8")), **change}), encoding="utf-8")
    goal = goals_of(collect_report(run_dir))["Cost saved against full fine-tuning"]
    assert (goal["value"], goal["met"]) == (value, met)
    assert (goal["why"] is None) == (value is not None)


def test_a_saving_by_the_clock_of_a_busy_machine_is_shown_and_not_judged(run_dir: Path) -> None:
    source = run_dir / "compare/comparison.json"
    why = "other work ran beside one side"
    source.write_text(
        json.dumps({**json.loads(source.read_text(encoding="utf-8")), "disturbed": why}), encoding="utf-8"
    )
    for name in ("Cost", "Time"):
        goal = goals_of(collect_report(run_dir))[f"{name} saved against full fine-tuning"]
        assert (goal["value"] is None, goal["met"], goal["why"]) == (False, None, why)


def test_a_ppo_over_its_budget_misses_and_tells_why_it_stopped(run_dir: Path) -> None:
    summary = {"updates": 2, "kl_start": 0.0, "kl_end": 9.5, "kl_max": 9.5, "stopped": "KL 9.50 spent the budget"}
    (run_dir / "ppo/summary.json").write_text(json.dumps(summary), encoding="utf-8")
    goal = goals_of(collect_report(run_dir))["KL of PPO inside its budget"]
    assert (goal["value"], goal["met"], goal["why"]) == (9.5, False, "PPO stopped: KL 9.50 spent the budget")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.yaml"):
        build_report(tmp_path)


@pytest.mark.parametrize("damage", ["{", "[]", '{"metrics": 3}'])
def test_a_damaged_evaluation_names_its_file_and_writes_nothing(run_dir: Path, damage: str) -> None:
    (run_dir / "evaluate/sft.json").write_text(damage, encoding="utf-8")
    with pytest.raises(UserError, match=r"evaluate/sft\.json: ") as caught:
        build_report(run_dir)
    assert "\n" not in str(caught.value)
    assert not (run_dir / "report").exists()


def test_a_damaged_curve_names_its_row(tmp_path: Path) -> None:
    damaged = tmp_path / "metrics.csv"
    damaged.write_text("step,name,value\n1,loss,2.0\n2,loss,\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics\.csv, row 3"):
        read_curves(damaged)


def test_curves_keep_finite_values_in_order_of_their_steps(tmp_path: Path) -> None:
    source = tmp_path / "metrics.csv"
    source.write_text("step,name,value\n2,loss,1.5\n1,loss,2.0\n3,loss,nan\n", encoding="utf-8")
    assert read_curves(source) == {"loss": [(1.0, 2.0), (2.0, 1.5)]}
