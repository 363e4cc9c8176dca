"""Formulas of predicted memory: what grows with what, and what several processes share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from personatune.config import load_config
from personatune.costs.estimate.parts import NF4_BYTES
from personatune.costs.estimate.quantities import GIB, Architecture, Kept, Lengths, Moment, Place, Term
from personatune.costs.estimate.stages import BESIDE, STAGES, estimate
from personatune.costs.memory import available_memory, footprint, free_heap, resident_memory
from personatune.settings import Config

ARCHITECTURE = Architecture(
    name="hand-made",
    layers=10,
    hidden=100,
    vocabulary=5000,
    parameters=500_000 + 10 * 120_400,
    layer_parameters=120_400,
    linear_parameters=120_000,
    lora_width=1500,
    cache_width=50,
    inner=300,
    number_bytes=4,
    lora=Kept(layer=8000.0, ends=500.0),
    branch=Kept(layer=8000.0, ends=500.0),
    full=Kept(layer=9000.0, ends=900.0),
)
LENGTHS = Lengths(dialogue=200, loss_share=0.5, prompt=100, reply=20, source="a test")
CPU = Place("cpu")


def peak(stage: str, config: Config | None = None, place: Place = CPU, lengths: Lengths = LENGTHS) -> Moment:
    return estimate(stage, ARCHITECTURE, config or load_config("standard"), lengths, place).peak


def moment(stage: str, name: str, config: Config, place: Place = CPU) -> Moment:
    [found] = [m for m in estimate(stage, ARCHITECTURE, config, LENGTHS, place).moments if m.name == name]
    return found


def with_settings(*settings: str) -> Config:
    return load_config("standard", settings)


@pytest.mark.parametrize("stage", STAGES | BESIDE)
def test_every_stage_holds_the_weights_once(stage: str) -> None:
    assert peak(stage).of("weights") == 4 * ARCHITECTURE.parameters


def test_a_training_step_adds_a_gradient_and_two_moments_for_each_trained_number() -> None:
    step = moment("sft", "optimiser's step", with_settings("lora.rank=8"))
    assert step.of("adapters") == 8 * 1500 * 10 * 4
    assert step.of("gradients") == step.of("adapters")
    assert step.of("optimiser") == 2 * step.of("adapters")


def test_full_fine_tuning_holds_all_that_for_every_weight() -> None:
    step = moment("compare", "optimiser's step", with_settings())
    assert step.of("gradients") == step.of("weights") == 4 * ARCHITECTURE.parameters
    assert step.of("optimiser") == 8 * ARCHITECTURE.parameters


def test_what_autograd_keeps_grows_with_the_tokens_of_a_micro_batch() -> None:
    small, large = (moment("sft", "loss", with_settings(f"sft.batch_size={rows}")).of("activations") for rows in (2, 8))
    assert large == 4 * small == 4 * 2 * 200 * (10 * 8000 + 500)
    micro = moment("sft", "loss", with_settings("sft.batch_size=8", "sft.micro_batch_size=2"))
    assert micro.of("activations") == small


def test_gradients_exist_beside_what_is_kept_only_where_they_are_accumulated() -> None:
    whole, parts = (
        moment("sft", "way back", with_settings("sft.batch_size=8", f"sft.micro_batch_size={rows}")) for rows in (8, 2)
    )
    assert whole.of("gradients") == 0
    assert parts.of("gradients") == parts.of("adapters") > 0
    head = 5000 * 100 * 4
    assert moment("compare", "way back", with_settings()).of("gradients") == head


def test_attention_with_dropout_keeps_scores_on_a_cpu_and_none_on_a_gpu() -> None:
    dropping = replace(ARCHITECTURE, lora=Kept(layer=8000.0, ends=500.0, scores=16.0))
    config = with_settings("sft.batch_size=2")
    cpu, gpu = (estimate("sft", dropping, config, LENGTHS, Place(kind)).moments[0] for kind in ("cpu", "gpu"))
    assert cpu.of("activations") - gpu.of("activations") == 2 * 200 * 10 * 16 * 200


def test_logits_exist_in_chunks_below_a_frozen_head_and_whole_below_a_trained_one() -> None:
    config = with_settings("sft.batch_size=8")
    assert moment("sft", "loss", config).of("logits") == 256 * 5000 * 4
    assert moment("compare", "loss", config).of("logits") == 3 * 800 * 5000 * 4


def test_a_branch_keeps_its_own_layers_only() -> None:
    few, all_of_them = (
        moment("reward", "optimiser's step", with_settings(f"branch.layers={layers}")) for layers in ("2", "all")
    )
    assert few.of("adapters") == pytest.approx(all_of_them.of("adapters") / 5, rel=0.01)
    kept = [moment("reward", "loss", with_settings(f"branch.layers={layers}")) for layers in ("2", "all")]
    assert kept[0].of("activations") < kept[1].of("activations") / 3


def test_the_trunk_cache_stays_within_its_limit_and_is_none_without_a_trunk() -> None:
    many = "preferences.pairs=10000"
    wide = moment("reward", "loss", with_settings(many, "branch.layers=2")).of("caches")
    assert wide == 10000 * 140 * 100 * 4
    tight = with_settings(many, "branch.layers=2", "branch.trunk_memory_gb=0.25")
    assert moment("reward", "loss", tight).of("caches") == 0.25 * GIB
    assert moment("reward", "loss", with_settings(many, "branch.layers=all")).of("caches") == 0


def test_a_critic_on_fewer_layers_takes_less_to_train_and_has_its_own_input_kept() -> None:
    few, half, whole, own = (
        moment("ppo", "optimiser's step", with_settings(f"branch.layers={layers}", f"branch.critic_layers={critic}"))
        for layers, critic in (("4", "null"), ("4", "2"), ("all", "null"), ("all", "2"))
    )
    assert half.of("gradients") == pytest.approx(0.75 * few.of("gradients"), rel=0.01)
    assert half.of("optimiser") == 2 * half.of("gradients")
    assert half.of("caches") == 2 * few.of("caches") > 0
    assert (whole.of("caches"), own.of("caches")) == (0, few.of("caches"))
    limit = with_settings("branch.layers=4", "branch.critic_layers=2", "branch.trunk_memory_gb=0")
    assert moment("ppo", "optimiser's step", limit).of("caches") == 0
    none = with_settings("branch.layers=4", "branch.critic_layers=2", "ppo.advantages=rloo")
    step = moment("ppo", "optimiser's step", none)
    assert step.of("caches") == few.of("caches")
    assert step.of("gradients") == pytest.approx(few.of("gradients") / 2, rel=0.01)
    rewards = {
        moment("reward", "loss", with_settings("branch.layers=4", f"branch.critic_layers={critic}")).bytes
        for critic in ("null", "2")
    }
    assert len(rewards) == 1  # the reward model knows nothing of it


def test_the_key_value_cache_grows_with_rows_and_tokens() -> None:
    few, many = (
        moment("ppo", "sampling", with_settings(f"ppo.replies_per_prompt={replies}")).of("caches") for replies in (2, 8)
    )
    assert many == 4 * few
    assert few == 8 * 2 * (100 + 64) * 2 * 10 * 50 * 4


LEAN = replace(ARCHITECTURE, joined=20_000)
"""The same as a Llama in float32, which decodes on copies of its weights."""


def test_decoding_on_a_cpu_holds_copies_of_the_weights_as_long_as_the_model_lives() -> None:
    config = with_settings("branch.layers=2")
    for name in ("sampling", "way back", "judge"):
        [plain, lean] = (
            next(m for m in estimate("ppo", a, config, LENGTHS, CPU).moments if m.name == name)
            for a in (ARCHITECTURE, LEAN)
        )
        copies = [term.bytes for term in lean.terms if term.why.startswith("copies for decoding")]
        assert copies == [4 * (10 * 20_000 + 2 * 100_000 + 5000 * 100)]
        assert not any(term.why.startswith("copies for decoding") for term in plain.terms)
    gpu = estimate("ppo", LEAN, config, LENGTHS, Place("gpu"))
    assert gpu == estimate("ppo", ARCHITECTURE, config, LENGTHS, Place("gpu"))


def test_replies_share_the_cache_of_their_prompt_where_decoding_is_lean() -> None:
    config = with_settings("ppo.prompts_per_update=3", "ppo.replies_per_prompt=4", "ppo.max_new_tokens=20")
    [found] = [m for m in estimate("ppo", LEAN, config, LENGTHS, CPU).moments if m.name == "sampling"]
    [cache] = [term.bytes for term in found.terms if term.why.startswith("keys and values")]
    assert cache == (3 * (100 + 128) + 12 * (20 + 32)) * LEAN.cache_bytes


def test_four_bits_pack_the_linear_maps_and_nothing_else() -> None:
    plain, packed = (peak("sft", with_settings(f"lora.quantization={kind}")).of("weights") for kind in ("none", "nf4"))
    saved = 10 * 120_000 * (4 - NF4_BYTES) - 120_000 / 3 * 4  # one map at a time is unpacked
    assert plain - packed == pytest.approx(saved)


def test_processes_share_a_batch_and_under_fsdp_the_layers_too() -> None:
    config = with_settings("sft.batch_size=8")
    one, two = (moment("sft", "loss", config, Place("gpu", n)) for n in (1, 2))
    assert two.of("activations") == one.of("activations") / 2
    assert two.of("weights") == one.of("weights")
    sharded = moment("sft", "loss", config, Place("gpu", 4, sharded=True))
    assert sharded.of("weights") == 500_000 * 4 + 10 * 120_400 * 4 / 4 + 2 * 120_400 * 4


def test_slack_comes_on_top_of_what_lives_for_a_step_and_the_floor_once() -> None:
    terms = (Term("weights", 100, "stays"), Term("activations", 50, "goes", brief=True))
    found = Moment("now", terms).at(Place("cpu", floor=7, slack=0.5))
    assert found.bytes == 100 + 50 + 7 + 25
    assert found.of("other") == 7 + 25


def test_longer_texts_never_take_less() -> None:
    longer = replace(LENGTHS, dialogue=400, prompt=300, reply=60)
    for stage in STAGES | BESIDE:
        assert peak(stage, lengths=longer).bytes >= peak(stage).bytes


def test_free_heap_is_no_part_of_the_footprint() -> None:
    import torch

    block = [torch.ones(4096) for _ in range(2000)]  # 32 MB in pieces that come from the heap
    separators = block[::50]
    before = free_heap()
    held = footprint()
    del block
    assert len(separators) == 40
    if before:  # glibc
        assert free_heap() - before > 15 * 2**20
        assert held - footprint() > 15 * 2**20


def test_the_memory_of_this_machine_is_looked_up() -> None:
    assert 10 * 2**20 < resident_memory() < 64 * GIB
    assert available_memory() > 10 * 2**20
