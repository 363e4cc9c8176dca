"""Branches: trunk and top in a row are the plain model, branches leave each other and the reference alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
import torch
from torch import Tensor

from personatune.errors import UserError
from personatune.model.branches import SplitModel, Trunk, pad_batch
from personatune.model.shared_prompts import SharedRows, lay_out
from personatune.settings import BranchConfig

if TYPE_CHECKING:
    from tests.conftest import TinyModels

LAYERS = 4
SEQUENCES = ([5, 9, 40, 77, 120, 33, 8], [200, 14, 7], [61, 62, 63, 64, 65])


def branch(layers: int | Literal["all"] = 2) -> BranchConfig:
    return BranchConfig(layers=layers, rank=4, alpha=8)


def batch() -> SharedRows:
    """Plain rows: prompts without replies."""
    return lay_out([(sequence, {}) for sequence in SEQUENCES], 0, torch.device("cpu"))


def padded() -> tuple[Tensor, Tensor]:
    return pad_batch(SEQUENCES, 0, torch.device("cpu"))


def disturb(split: SplitModel, name: str, seed: int = 1) -> None:
    """Give a branch weights of its own, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in split.parameters(name):
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.2)


def outputs(split: SplitModel, name: str | None) -> Tensor:
    """Logits of the split path on the tokens of the batch, padding left out."""
    _, mask = padded()
    with torch.no_grad(), split.active(name):
        return split.logits(split.top(split.trunk(batch())))[mask.bool()]


@pytest.mark.parametrize("layers", [1, 2, "all"])
def test_trunk_and_top_in_a_row_are_the_plain_forward_pass(
    tiny: TinyModels, family: str, layers: int | Literal["all"]
) -> None:
    split = SplitModel(tiny.model(family, layers=LAYERS), branch(layers))
    assert split.trunk_layers == (0 if layers == "all" else LAYERS - int(layers))
    ids, mask = padded()
    with torch.no_grad():
        plain = split.backbone(input_ids=ids, attention_mask=mask).logits[mask.bool()]
    assert torch.allclose(outputs(split, None), plain, atol=1e-4)


def test_padding_on_the_right_changes_no_row(tiny: TinyModels, family: str) -> None:
    split = SplitModel(tiny.model(family, layers=LAYERS), branch())
    rows = outputs(split, None).split([len(sequence) for sequence in SEQUENCES])
    for sequence, row in zip(SEQUENCES, rows, strict=True):
        with torch.no_grad():
            alone = split.backbone(input_ids=torch.tensor([sequence])).logits[0]
        assert torch.allclose(row, alone, atol=1e-4)


def test_a_new_branch_changes_nothing(tiny: TinyModels, family: str) -> None:
    split = SplitModel(tiny.model(family, layers=LAYERS), branch())
    before = outputs(split, None)
    split.add_branch("policy", head=False, seed=3)
    assert torch.equal(outputs(split, "policy"), before)


def test_the_reference_is_exactly_the_backbone_after_branches_were_trained(tiny: TinyModels, family: str) -> None:
    split = SplitModel(tiny.model(family, layers=LAYERS), branch())
    before = outputs(split, None)
    for seed, name in enumerate(("reward", "policy", "critic")):
        split.add_branch(name, head=name != "policy", seed=seed)
        disturb(split, name, seed)
    assert torch.equal(outputs(split, None), before)
    for name in ("reward", "policy", "critic"):
        assert not torch.allclose(outputs(split, name), before, atol=1e-2)


def test_branches_dont_disturb_one_another(tiny: TinyModels) -> None:
    split = SplitModel(tiny.model(layers=LAYERS), branch())
    split.add_branch("reward", head=True, seed=1)
    split.add_branch("policy", head=False, seed=2)
    disturb(split, "reward")
    reward_before = outputs(split, "reward")
    optimizer = torch.optim.SGD(split.parameters("policy"), lr=0.5)
    disturb(split, "policy", 7)
    with split.active("policy"):
        split.logits(split.top(split.trunk(batch()))).square().mean().backward()
    optimizer.step()
    assert torch.equal(outputs(split, "reward"), reward_before)
    assert all(weight.grad is None for weight in split.parameters("reward"))


def test_training_a_branch_gives_gradients_to_it_alone(tiny: TinyModels, family: str) -> None:
    split = SplitModel(tiny.model(family, layers=LAYERS), branch())
    split.add_branch("policy", head=True, seed=1)
    disturb(split, "policy")
    with split.active("policy"):
        hidden = split.top(split.trunk(batch()))
    (split.logits(hidden).square().mean() + split.scalar("policy", hidden).square().mean()).backward()
    own = {id(weight) for weight in split.parameters("policy")}
    assert all(weight.grad is not None and bool(weight.grad.abs().sum() > 0) for weight in split.parameters("policy"))
    assert all(weight.grad is None for weight in split.backbone.parameters() if id(weight) not in own)


@pytest.mark.parametrize("layers", [1, 2, "all"])
def test_gradients_of_the_split_path_equal_those_of_a_plain_peft_forward(
    tiny: TinyModels, family: str, layers: int | Literal["all"]
) -> None:
    split = SplitModel(tiny.model(family, layers=LAYERS), branch(layers))
    split.add_branch("policy", head=False, seed=1)
    disturb(split, "policy")
    ids, mask = padded()
    weights = split.parameters("policy")

    def gradients(logits: Tensor) -> list[Tensor]:
        chosen = torch.log_softmax(logits[:, :-1], dim=-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
        return list(torch.autograd.grad(-(chosen * mask[:, 1:]).sum() / mask.sum(), weights))

    assert split.peft is not None
    with split.active("policy"):
        fast = gradients(split.logits(split.top(split.trunk(batch()))))
        plain = gradients(split.peft(input_ids=ids, attention_mask=mask).logits)
    for mine, theirs in zip(fast, plain, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-5)


def test_the_model_generates_and_runs_as_before_after_splitting(tiny: TinyModels, family: str) -> None:
    model = tiny.model(family, layers=LAYERS)
    ids = torch.tensor([list(SEQUENCES[0])])
    with torch.no_grad():
        before = model(input_ids=ids).logits
        split = SplitModel(model, branch())
        split.add_branch("policy", head=False, seed=1)
        split.top(split.trunk(batch()))
        with split.active(None):
            assert torch.equal(model(input_ids=ids).logits, before)


def test_a_saved_branch_comes_back_head_included(tiny: TinyModels, family: str, tmp_path: Path) -> None:
    split = SplitModel(tiny.model(family, layers=LAYERS), branch())
    split.add_branch("reward", head=True, seed=1)
    disturb(split, "reward")
    split.save_branch("reward", tmp_path / "branch")
    other = SplitModel(tiny.model(family, layers=LAYERS), branch())
    other.add_branch("reward", head=True, seed=9)
    other.load_branch("reward", tmp_path / "branch")
    assert torch.equal(outputs(other, "reward"), outputs(split, "reward"))
    assert torch.equal(other.heads["reward"].weight, split.heads["reward"].weight)
    assert sorted(file.name for file in (tmp_path / "branch").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "head.safetensors",
    ]


def test_a_saved_branch_loads_with_plain_peft(tiny: TinyModels, family: str, tmp_path: Path) -> None:
    from peft import PeftModel

    split = SplitModel(tiny.model(family, layers=LAYERS), branch())
    split.add_branch("policy", head=False, seed=1)
    disturb(split, "policy")
    split.save_branch("policy", tmp_path / "branch")
    plain = PeftModel.from_pretrained(tiny.model(family, layers=LAYERS), str(tmp_path / "branch"))
    ids, mask = padded()
    with torch.no_grad():
        logits = plain(input_ids=ids, attention_mask=mask).logits[mask.bool()]
    assert torch.allclose(outputs(split, "policy"), logits, atol=1e-4)


def test_tensors_of_a_branch_can_be_put_back(tiny: TinyModels) -> None:
    split = SplitModel(tiny.model(layers=LAYERS), branch())
    split.add_branch("critic", head=True, seed=1)
    disturb(split, "critic")
    kept = {name: tensor.clone() for name, tensor in split.branch_tensors("critic").items()}
    before = outputs(split, "critic")
    disturb(split, "critic", 5)
    split.restore_branch("critic", kept)
    assert torch.equal(outputs(split, "critic"), before)
    assert torch.equal(split.heads["critic"].weight, kept["head.weight"])


@pytest.fixture
def saved(tiny: TinyModels, tmp_path: Path) -> Path:
    split = SplitModel(tiny.model(layers=LAYERS), branch())
    split.add_branch("reward", head=True, seed=1)
    split.save_branch("reward", tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize("shape", [{"hidden": 64}, {"layers": 3}, {"family": "qwen2", "hidden": 16}])
def test_a_branch_of_another_backbone_is_a_users_error(tiny: TinyModels, saved: Path, shape: dict[str, Any]) -> None:
    split = SplitModel(tiny.model(**{"layers": LAYERS, **shape}), branch())
    split.add_branch("reward", head=True, seed=1)
    with pytest.raises(UserError, match="made for another backbone or other branch settings"):
        split.load_branch("reward", saved)


def test_a_branch_of_another_rank_is_a_users_error(tiny: TinyModels, saved: Path) -> None:
    split = SplitModel(tiny.model(layers=LAYERS), BranchConfig(layers=2, rank=8, alpha=8))
    split.add_branch("reward", head=True, seed=1)
    with pytest.raises(UserError, match="other branch settings"):
        split.load_branch("reward", saved)


def _without(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def _truncated(name: str) -> Any:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:40])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, r"saved: no adapter_model\.safetensors"),
        (_without("head.safetensors"), r"saved: no head\.safetensors"),
        (_truncated("adapter_model.safetensors"), r"adapter_model\.safetensors: damaged"),
        (_truncated("head.safetensors"), r"head\.safetensors: damaged"),
    ],
)
def test_a_damaged_branch_is_a_users_error(tiny: TinyModels, saved: Path, damage: Any, message: str) -> None:
    damage(saved)
    split = SplitModel(tiny.model(layers=LAYERS), branch())
    split.add_branch("reward", head=True, seed=1)
    with pytest.raises(UserError, match=message):
        split.load_branch("reward", saved)


def test_a_head_of_another_width_is_a_users_error(tiny: TinyModels, saved: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(1, 7), "bias": torch.zeros(1)}, saved / "head.safetensors")
    split = SplitModel(tiny.model(layers=LAYERS), branch())
    split.add_branch("reward", head=True, seed=1)
    with pytest.raises(UserError, match="made for another backbone"):
        split.load_branch("reward", saved)


def test_more_layers_than_there_are_is_a_users_error(tiny: TinyModels) -> None:
    with pytest.raises(UserError, match=r"branch\.layers = 5: the model has 4 layers; use 4 or all"):
        SplitModel(tiny.model(layers=LAYERS), branch(5))


def test_a_critic_on_more_layers_than_the_branches_have_is_a_users_error(tiny: TinyModels) -> None:
    message = r"branch\.critic_layers = 5: the branches change 4 layers; use 4 or null"
    with pytest.raises(UserError, match=message):
        SplitModel(tiny.model(layers=LAYERS), BranchConfig(layers="all", critic_layers=5))


@pytest.mark.parametrize(("most", "layers"), [(3, 1), (3, 2), (3, 3), ("all", 1), ("all", 4)])
def test_a_branch_on_fewer_layers_begins_at_what_the_references_pass_has_there(
    tiny: TinyModels, family: str, most: int | Literal["all"], layers: int
) -> None:
    split = SplitModel(tiny.model(family, layers=LAYERS), branch(most))
    split.add_branch("policy", head=False, seed=1)
    split.add_branch("critic", head=True, seed=2, layers=layers)
    disturb(split, "policy")
    disturb(split, "critic")
    below = LAYERS - layers
    assert split.below("critic") == below
    changed = {name.split(".layers.")[-1].split(".h.")[-1].split(".")[0] for name in split.branch_tensors("critic")}
    assert changed == {"head", *(str(layer) for layer in range(below, LAYERS))}
    trunk = split.trunk(batch())
    with torch.no_grad(), split.active(None), split.raising(trunk, below) as raised:
        split.top(trunk)
    assert raised[0].below == below
    assert (raised[0].hidden is None) == (below == 0)
    ids, mask = padded()
    assert split.peft is not None
    with split.active("critic"):
        plain = split.peft(input_ids=ids, attention_mask=mask).logits
        short, long = (split.logits(split.top(start)) for start in (raised[0], trunk))
    seen = mask.bool()
    assert torch.allclose(short[seen], plain[seen], atol=1e-4)
    assert torch.allclose(long[seen], plain[seen], atol=1e-4)
    assert not torch.allclose(plain[seen], outputs(split, "policy"), atol=1e-2)


def test_an_architecture_that_cant_be_split_runs_whole(tiny: TinyModels) -> None:
    model: Any = tiny.model(layers=LAYERS)
    decoder = model.get_decoder()
    plain = type(decoder).forward

    class Skipping(type(decoder)):  # type: ignore[misc]
        """Adds the embeddings to what comes out: layers alone don't make this decoder."""

        def forward(self, input_ids: Any = None, **inputs: Any) -> Any:
            result = plain(self, input_ids=input_ids, **inputs)
            first = self.embed_tokens(input_ids) if input_ids is not None else inputs["inputs_embeds"]
            result.last_hidden_state = result.last_hidden_state + 3 * first
            return result

    decoder.__class__ = Skipping
    split = SplitModel(model, BranchConfig(layers=2, critic_layers=1, rank=4, alpha=8))
    assert (split.top_layers, split.critic_layers, split.trunk_layers) == (LAYERS, LAYERS, 0)
    split.add_branch("policy", head=False, seed=1)
    ids, mask = padded()
    with torch.no_grad():
        whole = model(input_ids=ids, attention_mask=mask).logits[mask.bool()]
    assert torch.allclose(outputs(split, "policy"), whole, atol=1e-4)
    assert isinstance(split.trunk(batch()), Trunk)
    assert split.trunk(batch()).hidden is None


def test_a_branch_keeps_its_settings_with_it(tiny: TinyModels, saved: Path) -> None:
    settings = json.loads((saved / "adapter_config.json").read_text(encoding="utf-8"))
    assert (settings["r"], settings["lora_alpha"]) == (4, 8)
    assert all(".2." in name or ".3." in name for name in settings["target_modules"])
