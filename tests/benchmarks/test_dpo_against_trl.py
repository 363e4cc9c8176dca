"""Our DPO losses are TRL's on the same batch, under a policy that has left its reference."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from personatune.dialogue import PreferencePair
from personatune.model.branches import SplitModel
from personatune.model.lora import load_adapter
from personatune.settings import BranchConfig, DPOConfig
from personatune.training.dpo import DPOTrainer
from personatune.training.dpo_losses import pair_losses
from personatune.training.rollouts import POLICY

if TYPE_CHECKING:
    from tests.conftest import HandMadeDialogues, TinyModels

LOSSES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "DPO": (
        {"beta": 0.3, "length_normalised": False, "sft_weight": 0.0},
        {"beta": 0.3, "loss_type": ["sigmoid"]},
    ),
    "length-normalised": (
        {"beta": 2.0, "sft_weight": 0.0},
        {"beta": 2.0, "loss_type": ["sigmoid_norm"]},
    ),
    "RPO": (
        {"beta": 0.3, "length_normalised": False, "sft_weight": 0.7},
        {"beta": 0.3, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7], "one_by_one": True},
    ),
}


@pytest.mark.slow
def test_the_losses_are_trls_on_the_same_batch(
    tiny: TinyModels, dialogues: type[HandMadeDialogues], tmp_path: Path
) -> None:
    from sides.paired import BENCHMARKS
    from sides.turns import MARK
    from trl_peer.environment import FOLDER, TRL, trl_python

    if not (FOLDER / f"ready-{TRL}").is_file():
        pytest.skip(f"no TRL {TRL} at {FOLDER.name}; make it with: make trl")
    pairs = [
        PreferencePair(context, f"I love my dogs, all {number} of them.", "Cats are nice.", "generic", "made")
        for number, context in enumerate(dialogues.contexts(4, seed=1))
    ]
    tiny.save(tmp_path / "reference", layers=3, spread=0.1)
    split = SplitModel(tiny.model(layers=3, spread=0.1), BranchConfig(layers=2, rank=4, alpha=8))
    config = DPOConfig(learning_rate=1e-2, epochs=3, batch_size=2)
    trainer = DPOTrainer(split, tiny.prompts(), config, tmp_path / "dpo")
    trainer.train(pairs, pairs)
    split.save_branch(POLICY, tmp_path / "branch")
    merged = load_adapter(tiny.model(layers=3, spread=0.1), tmp_path / "branch").merge_and_unload()
    merged.save_pretrained(tmp_path / "policy")
    encoded = trainer._encode(pairs, "again")
    work = {
        "policy": str(tmp_path / "policy"),
        "reference": str(tmp_path / "reference"),
        "pad_id": trainer.prompts.pad_id,
        "pairs": [
            {
                "prompt_ids": trainer.prompts.encode_prompt(pair.context),
                "chosen_ids": trainer.prompts.encode_reply(pair.chosen),
                "rejected_ids": trainer.prompts.encode_reply(pair.rejected),
            }
            for pair in pairs
        ],
        "losses": {name: theirs for name, (_, theirs) in LOSSES.items()},
    }
    (tmp_path / "work.json").write_text(json.dumps(work), encoding="utf-8")
    command = [trl_python(), str(BENCHMARKS / "trl_peer" / "dpo.py"), str(tmp_path / "work.json")]
    environment = {"PYTHONPATH": str(BENCHMARKS), "PATH": "", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1].removeprefix(MARK))["losses"]
    [numbers] = encoded.data.buckets(encoded.units(range(4)))
    for name, (ours, _) in LOSSES.items():
        trainer.config = DPOConfig(**ours)
        with torch.no_grad():
            reference = encoded.reference[numbers]
            losses, figures = pair_losses(trainer.split, trainer.config, encoded.data.batch(numbers), reference)
        assert float(losses.mean()) == pytest.approx(found[name], abs=1e-4), name
        assert float(figures["lead"].abs().min()) > 1e-2  # not the loss of equal models
