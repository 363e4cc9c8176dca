"""The reference that the code writes itself: every command with its options, every public name with its docstring."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from site_links import outside_code

GROUPS: dict[str, tuple[str, ...]] = {
    "What it is about": (
        "Persona", "Turn", "Dialogue", "Perspective", "Context", "PreferencePair", "Probe", "UserError",
    ),
    "Settings and costs": ("load_config", "get_default_config", "merge_configs", "save_config", "MetricsTracker"),
    "Data": ("DatasetLoader", "DataProcessor", "PreferenceGenerator"),
    "Models": ("load_base_model", "load_tokenizer", "get_model_info", "LoRAWrapper", "parse_prompt"),
    "Training": (
        "SFTTrainer", "RewardModel", "RewardModelTrainer", "PPOTrainer", "compute_rewards", "CheckpointManager",
    ),
    "Evaluation": ("PersonaEvaluator", "EngagementEvaluator", "QualityEvaluator", "BenchmarkEvaluator"),
}  # fmt: skip
OTHERS = "More"


def command_line() -> str:
    """Return a section for every command of the program, as Markdown of typer's own making."""
    import typer.main
    from typer.cli import get_docs_for_click

    from personatune.cli import app

    command: Any = typer.main.get_command(app)
    context = command.make_context("personatune", ["doctor"], resilient_parsing=True)
    text = get_docs_for_click(obj=command, ctx=context, name="personatune", indent=1)
    for name, shortened, whole in _help_texts(command):
        text = text.replace(f"* `{name}`: {shortened}\n", f"* `{name}`: {whole}\n")
    text = re.sub(r"^\* `--help`: Show this message and exit\.\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\*\*Options\*\*:\n\n(?=\n|\Z|#|\*\*)", "", text)
    return outside_code(text, lambda piece: piece.replace("<", "&lt;"))


def _help_texts(group: Any) -> Iterator[tuple[str, str, str]]:
    """Yield name, shortened help and whole help of every command: typer cuts them to a line of a terminal."""
    for name, command in group.commands.items():
        yield name, command.get_short_help_str(), " ".join((command.help or "").split())
        if hasattr(command, "commands"):
            yield from _help_texts(command)


def public_names() -> str:
    """Return mkdocstrings' directives for every public name of the package, group by group."""
    import personatune

    homes = personatune._PUBLIC
    grouped = {name for names in GROUPS.values() for name in names}
    groups = {**GROUPS, OTHERS: tuple(name for name in homes if name not in grouped)}
    return "\n".join(
        f"## {title}\n\n" + "\n".join(f"::: personatune.{homes[name]}.{name}\n" for name in names)
        for title, names in groups.items()
        if names
    )
