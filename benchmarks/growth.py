"""How time and memory of one PPO update grow: with prompt length, replies per prompt, layers, prompts, model size.

    python benchmarks/growth.py [--quick] [--out runs/growth] [--no-conventional] [--only prompt_tokens ...]

One axis moves at a time around a centre (four prompts of 160 tokens, four replies of 16 tokens each, two epochs,
branches on the top 8 layers). Every point is a fresh process per side that runs updates and measures itself; the first
is not counted. Model sizes are random models of Llama's shape: speed doesn't depend on what the weights are. Points
that are done are kept in ``growth.json``, so the same command goes on where it stopped; ``growth.png`` shows all of
them. The last line is one JSON object: the file's content. ``--quick``: two prompts, one epoch, and the ends of each
axis only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from matplotlib.figure import Figure
from transformers import AutoConfig, AutoModelForCausalLM

from personatune.dialogue import Perspective
from personatune.model.backbone import load_tokenizer, locate
from personatune.storage import read_json, write_json
from sides.command import benchmark
from sides.ours import load_prompts
from sides.paired import BENCHMARKS, Side, alternate
from sides.real_data import default_source, prompts_of_length, read_perspectives
from sides.turns import versions

CENTRE = {"prompt_tokens": 160, "replies_per_prompt": 4, "layers": 8, "prompts": 4}
AXES: dict[str, tuple[int, ...]] = {
    "prompt_tokens": (100, 160, 240, 360),
    "replies_per_prompt": (1, 2, 4, 8),
    "layers": (1, 4, 8, 16, 30),
    "prompts": (1, 2, 4, 8),
    "model_width": (192, 384, 576, 768),
}
CONVENTIONAL_TOO = ("prompt_tokens", "replies_per_prompt", "prompts", "model_width")  # it has no k
_LABELS = {
    "prompt_tokens": "tokens of a prompt",
    "replies_per_prompt": "replies per prompt",
    "layers": "layers the branches change (k of 30)",
    "prompts": "prompts an update",
    "model_width": "width of a model of 30 layers",
}


def main() -> None:
    """Measure what isn't measured yet, draw, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two prompts, one epoch, the ends of each axis")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--data", default=default_source())
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--rounds", type=int, default=None, help="counted updates of a point (3; quick 1)")
    parser.add_argument("--only", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--no-conventional", action="store_true")
    options = parser.parse_args()
    out = options.out or Path("runs") / ("growth-quick" if options.quick else "growth")
    centre = {**CENTRE, "prompts": 2 if options.quick else 4, "epochs": 1 if options.quick else 2}
    rounds = options.rounds or (1 if options.quick else 3)
    found: dict[str, Any] = {"points": [], "centre": centre}
    if (out / "growth.json").is_file():
        found = read_json(out / "growth.json")
    views = read_perspectives(options.data, max_turns=24).train
    for axis in options.only:
        values = (AXES[axis][0], AXES[axis][-1]) if options.quick else AXES[axis]
        sides = ["ours"] + (["conventional"] if axis in CONVENTIONAL_TOO and not options.no_conventional else [])
        for value in values:
            for side in sides:
                if not any((row["axis"], row["value"], row["side"]) == (axis, value, side) for row in found["points"]):
                    point = known(found["points"], centre, axis, value, side) or measure(
                        options.model, views, {**centre, axis: value}, side, rounds
                    )
                    found["points"].append({"axis": axis, "value": value, "side": side, **point})
                    found["versions"] = versions("personatune")
                    write_json(out / "growth.json", found)
                    print(f"{axis} {value} {side}: {point['seconds']:.2f} s, {point['peak_bytes'] / 2**30:.2f} GiB")
    draw(found["points"], out / "growth.png")
    print(json.dumps(found))


def known(
    points: Sequence[dict[str, Any]], centre: dict[str, int], axis: str, value: int, side: str
) -> dict[str, Any] | None:
    """Return what was measured at the centre, where several axes meet, or None for any other point."""
    if centre.get(axis) != value:
        return None
    same = (row for row in points if row["side"] == side and centre.get(row["axis"]) == row["value"])
    return next(({name: row[name] for name in ("seconds", "peak_bytes", "tokens")} for row in same), None)


def measure(
    model: str, views: Sequence[Perspective], settings: dict[str, int], side: str, rounds: int
) -> dict[str, Any]:
    """Run updates of one side at one point in a fresh process; returns median ``seconds`` and ``peak_bytes``."""
    with TemporaryDirectory() as folder:
        width = settings.get("model_width")
        place = locate(model) if width is None else _random_model(Path(folder) / "model", width, model)
        work: dict[str, Any] = {
            "model": place, "max_length": 512, "rounds": rounds + 1, "reply_tokens": 16, "rank": 16, "alpha": 32,
            "learning_rate": 1e-4, "replies_per_prompt": settings["replies_per_prompt"], "epochs": settings["epochs"],
            "layers": settings["layers"],
        }  # fmt: skip
        prompts = load_prompts(work)
        contexts = prompts_of_length(views, prompts, settings["prompt_tokens"], settings["prompts"])
        work["contexts"] = [context.to_json() for context in contexts]
        work["prompts"] = [prompts.encode_prompt(context, work["reply_tokens"]) for context in contexts]
        work["pad_id"] = prompts.pad_id
        file = Path(folder) / "work.json"
        file.write_text(json.dumps(work), encoding="utf-8")
        script = {"ours": ["sides/ours.py", "ppo"], "conventional": ["conventional/one_update.py"]}[side]
        command = [sys.executable, str(BENCHMARKS / script[0]), *script[1:], str(file)]
        result = alternate({side: Side(side, command, Path(folder) / "log")}, rounds, say=lambda _line: None)[side]
    return {
        "seconds": statistics.median(turn["seconds"] for turn in result["turns"][1:]),
        "peak_bytes": result["end"]["peak_bytes"],
        "tokens": result["turns"][-1]["tokens"],
    }


def _random_model(folder: Path, width: int, like: str) -> str:
    """Save a random model of SmolLM2's shape but for its width, with the tokenizer of the model."""
    tokenizer = load_tokenizer(like)
    config = AutoConfig.for_model(
        "llama",
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=30,
        num_attention_heads=width // 64,
        num_key_value_heads=max(1, width // 192),
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def draw(points: list[dict[str, Any]], target: Path) -> None:
    """Draw seconds (above) and peak memory (below) along each axis, both from zero."""
    axes = [axis for axis in AXES if any(row["axis"] == axis for row in points)]
    figure = Figure(figsize=(3.4 * len(axes), 6), layout="constrained")
    panels = figure.subplots(2, len(axes), squeeze=False)
    for column, axis in enumerate(axes):
        for row, (key, unit, label) in enumerate((("seconds", 1, "seconds"), ("peak_bytes", 2**30, "GiB at the peak"))):
            panel = panels[row][column]
            for side, style in (("ours", "o-"), ("conventional", "s--")):
                line = sorted((p["value"], p[key] / unit) for p in points if (p["axis"], p["side"]) == (axis, side))
                if line:
                    panel.plot(*zip(*line, strict=True), style, label=side)
            panel.set_ylim(bottom=0)
            panel.set_xlim(left=0)
            panel.set_xlabel(_LABELS[axis])
            panel.grid(alpha=0.3)
            if column == 0:
                panel.set_ylabel(label)
                panel.legend()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120)


if __name__ == "__main__":
    benchmark(main)
