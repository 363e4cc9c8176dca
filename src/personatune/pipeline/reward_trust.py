"""No PPO on a reward model that fails its own report, unless it is told to go on."""

from __future__ import annotations

from personatune.errors import UserError
from personatune.pipeline.run import Run
from personatune.progress import Progress
from personatune.storage import read_json
from personatune.training.reward_report import checks


def require_trust(run: Run, progress: Progress, *, despite: bool = False) -> list[str]:
    """Hold the reward model's report against ``reward.targets``; return the failed checks, each in one line.

    Args:
        despite: go on whatever ``ppo.on_untrusted_reward`` says.

    Raises:
        UserError: a check failed and nobody said to go on; names every failed check and the ways out.
    """
    report = read_json(run.folder("reward") / "report.json")
    failed = [str(check) for check in checks(report, run.config.reward.targets) if not check.met]
    if not failed:
        return []
    if run.config.ppo.on_untrusted_reward == "refuse" and not despite:
        raise UserError(
            f"ppo of run {run.name}: the reward model fails its own report: {'; '.join(failed)}; begin a run with more "
            f"preferences.pairs or other dialogues (docs/rlhf.md), go on with personatune ppo --run {run.name} "
            f"--despite-reward, or begin a run with ppo.on_untrusted_reward=warn"
        )
    progress.say("PPO goes on although the reward model fails its own report:")
    for line in failed:
        progress.say(f"  missed: {line}")
    return failed
