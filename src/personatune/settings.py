"""The tree of settings: every section, its types, units and bounds. `personatune.config` reads and writes it.

The trade-off behind each value stands beside it in ``configs/standard.yaml``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]


def _on_off(value: Any) -> Any:
    """Give back what YAML 1.1 takes for a truth value."""
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


class Section(BaseModel):
    """A branch of the tree: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=False, validate_default=True, protected_namespaces=())


class DataConfig(Section):
    source: str = "chitchat"  # a name (chitchat), a file or folder, or a hub id
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0  # share of the dialogues read, drawn by seed
    max_dialogues: Positive | None = None  # training perspectives kept at most, those richest in persona turns first
    validation_share: Share = 0.1  # of the personas
    test_share: Share = 0.1  # of the personas
    min_traits: Positive = 3
    max_traits: Positive = 5
    written: Annotated[int, Field(ge=0)] | None = 0  # dialogues of the package's own to add; None: all
    recomposed: Annotated[int, Field(ge=0)] = 0  # dialogues to put together from two written ones each
    copies_count: bool = True  # as persona turns: turns that say a persona sentence word by word
    lower_case_share: Share = 0.0  # of the training dialogues, shown in lower case, half of them with spaced marks
    max_turns: Positive = 24  # of a training sequence; the window richest in persona turns is kept

    @field_validator("recomposed")
    @classmethod
    def _something_to_recompose(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("written") == 0:
            raise PydanticCustomError("recomposed", "needs dialogues to be made of; raise data.written (null: all)")
        return value


class ModelConfig(Section):
    base: str = "embedded"  # "embedded" (SmolLM2-135M-Instruct from its wheel), a folder, or a hub id
    revision: str | None = None  # of a hub id
    prompt_format: Literal["auto", "chat", "tagged"] = "auto"
    max_length: Annotated[int, Field(ge=32)] = 512  # tokens of a sequence; older turns go first, the persona stays
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"


class LoraConfig(Section):
    rank: Positive = 16
    alpha: Positive = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: list[str] | Literal["all-linear"] = "all-linear"
    quantization: Literal["none", "nf4"] = "none"  # nf4 is QLoRA (extra "qlora")


class SFTConfig(Section):
    learning_rate: Rate = 5e-4
    epochs: Positive = 1
    max_steps: Positive | None = None
    b_rate_ratio: Annotated[float, Field(ge=1)] = 1.0  # learning rate of LoRA's B matrices over that of A (LoRA+)
    batch_size: Positive = 2  # dialogues
    micro_batch_size: Positive | None = None  # dialogues in memory at once; None: the whole batch
    compile: Annotated[Literal["auto", "on", "off"], BeforeValidator(_on_off)] = "auto"  # torch.compile of the layers
    warmup_share: Share = 0.05
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    persona_turn_weight: Annotated[float, Field(gt=0)] = 1.0  # loss weight of a turn that draws on the persona
    other_turn_weight: Annotated[float, Field(ge=0)] = 0.3  # loss weight of small talk
    copied_turn_weight: Annotated[float, Field(ge=0)] | None = None  # of one that copies a trait; None: as others
    evaluations: Positive = 5  # held-out evaluations over the run, evenly spread
    patience: Positive = 3  # evaluations without progress before the run stops
    samples: Annotated[int, Field(ge=0)] = 2  # replies logged at each evaluation
    validation_dialogues: Positive = 24


class PreferencesConfig(Section):
    pairs: Positive = 400  # for training the reward model
    test_pairs: Positive = 100  # from held-out personas
    ppo_prompts: Positive = 200
    kinds: dict[str, Annotated[float, Field(ge=0)]] = {  # relative shares
        "persona_swap": 1.0,
        "contradiction": 1.0,
        "misplaced": 0.0,  # what the speaker says elsewhere in the dialogue
        "conflict": 0.0,  # people's lines that state the opposite: nothing was trained on them yet (docs/results.md)
        "generic": 1.0,
        "off_topic": 1.0,
        "model_sample": 1.0,
    }
    written_share: Share = 0.5  # of contradiction and misplaced, at most: from the dialogues of `data.written`
    max_history_turns: Positive = 3
    samples_per_context: Positive = 2
    max_new_tokens: Positive = 28
    length_tolerance: Share = 0.2  # of the chosen reply's words that the rejected one may differ by; 3 words always
    mirrors: bool = True  # a pair is followed by the same replies in the context where the other one is right
    votes: str | None = None  # a file of pairs that people voted on (`personatune demo`), added to the others


class BranchConfig(Section):
    """Reward, policy and critic: LoRA branches on the top layers of one backbone; the layers below are shared."""

    layers: Positive | Literal["all"] = 8
    critic_layers: Positive | None = None  # of PPO's critic; None: as many as the other branches
    rank: Positive = 16
    alpha: Positive = 32
    trunk_memory_gb: Annotated[float, Field(ge=0)] = 2.0  # of the shared layers' output; more goes to disk

    @field_validator("critic_layers")
    @classmethod
    def _within_layers(cls, value: int | None, info: ValidationInfo) -> int | None:
        most = info.data.get("layers")  # with "all" the model tells (`model.lora.critic_layers`)
        if isinstance(value, int) and isinstance(most, int) and value > most:
            raise PydanticCustomError("critic_layers", f"more than branch.layers = {most}; use {most} or null")
        return value


class RewardTargets(Section):
    """What a reward model must reach on held-out personas before PPO trusts it (see ``ppo.on_untrusted_reward``)."""

    accuracy: Share = 0.80  # of ranking all held-out pairs
    kind_accuracy: Share = 0.65  # of ranking the pairs of each kind
    length_correlation: Share = 0.2  # of score and words, either way
    persona_sensitivity: Share = 0.85  # replies whose score falls under another persona


class RewardConfig(Section):
    learning_rate: Rate = 5e-4
    epochs: Positive = 2
    batch_size: Positive = 8  # pairs
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    length_control: Literal["residual", "none"] = "residual"  # take out of scores what length alone adds
    targets: RewardTargets = RewardTargets()


Action = Literal["off", "warn", "cool", "stop"]  # cool: learning rates halved, KL weight doubled, once; then stop
_ChosenAction = Annotated[Action, BeforeValidator(_on_off)]


class LengthAlarm(Section):
    """Sounds when the mean reply has less or more tokens than these times the reference's."""

    action: _ChosenAction = "cool"
    low: Annotated[float, Field(ge=0)] = 0.5
    high: Annotated[float, Field(gt=0)] = 2.0


class RiseAlarm(Section):
    """Sounds when a share is this much above the reference's."""

    action: _ChosenAction = "cool"
    rise: Share = 0.15


class EntropyAlarm(Section):
    """Sounds when the entropy of the next token is below this share of the reference's."""

    action: _ChosenAction = "cool"
    floor: Share = 0.5


class DivergenceAlarm(Section):
    """Sounds when the judge's figure is this much below its first one while the learned reward rose."""

    action: _ChosenAction = "cool"
    fall: Share = 0.1


class AlarmsConfig(Section):
    window: Positive = 3  # updates that are averaged, so that one odd batch is no alarm
    length: LengthAlarm = LengthAlarm()
    repetition: RiseAlarm = RiseAlarm()  # of a reply's word triples that the speaker said before
    copying: RiseAlarm = RiseAlarm(rise=0.2)  # of replies that copy a persona sentence
    entropy: EntropyAlarm = EntropyAlarm()
    divergence: DivergenceAlarm = DivergenceAlarm()


class DPOConfig(Section):
    """Preference learning without a reward model, on the policy branch (`training/dpo.py`, docs/methods.md)."""

    learning_rate: Rate = 2e-4  # decays linearly to 0
    epochs: Positive = 2
    batch_size: Positive = 8  # pairs
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    beta: Annotated[float, Field(gt=0)] = 2.0  # of the log-ratios; 0.1 is usual where they are sums over tokens
    length_normalised: bool = True  # log-probabilities averaged over a reply's tokens, not summed
    reference: bool = True  # take the reference's log-probabilities off; False is SimPO
    margin: Annotated[float, Field(ge=0)] = 0.0  # by which the better reply has to lead (SimPO's gamma)
    sft_weight: Annotated[float, Field(ge=0)] = 1.0  # of the chosen reply's mean token loss (RPO's alpha)
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = (
        0.0  # share of pairs taken to be the wrong way round (cDPO)
    )
    evaluations: Positive = 4  # looks at held-out pairs, evenly spread; the best of them is kept


class PPOConfig(Section):
    advantages: Literal["gae", "rloo", "grpo"] = "gae"  # gae is PPO; the others train no critic (docs/methods.md)
    on_untrusted_reward: Literal["refuse", "warn"] = "refuse"  # where the reward model misses its ``reward.targets``
    updates: Positive = 20
    prompts_per_update: Positive = 8
    replies_per_prompt: Positive = 2
    epochs: Positive = 2  # passes over one update's rollouts
    minibatch_size: Positive = 16  # replies in one optimiser step; drawn so that those to a prompt stay together
    policy_learning_rate: Rate = 1e-4
    critic_learning_rate: Rate = 5e-4
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 0.95
    clip_range: Rate = 0.2
    value_clip_range: Annotated[float, Field(gt=0)] = 0.2
    kl_coef: Annotated[float, Field(ge=0)] = 0.05  # weight of the per-token KL penalty at the start
    kl_target: Annotated[float, Field(gt=0)] = 2.0  # nats a reply, for the adaptive controller
    kl_horizon: Positive = 200  # replies over which the controller corrects a full error
    kl_budget: Annotated[float, Field(gt=0)] = 8.0  # nats a reply; above it the run stops
    truncation_penalty: Annotated[float, Field(ge=0)] = 1.0  # taken from the reward of a reply without an end
    reward_terms: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = {}  # name or module:function -> weight
    turns_per_episode: Positive = 1  # replies of one conversation, the partner's lines given; 1: single replies
    turn_credit: Literal["own", "discounted"] = "own"  # what a reply is paid for: its own score, or later ones' too
    turn_discount: Share = 0.5  # of the next reply's return, with turn_credit discounted
    max_new_tokens: Positive = 28
    judge_every: Positive = 5  # updates between looks of the independent judge
    judge_personas: Positive = 8
    alarms: AlarmsConfig = AlarmsConfig()


class EvaluationConfig(Section):
    personas: Positive = 24  # held-out personas, one probe dialogue each
    turns: Annotated[int, Field(ge=5)] = 6  # partner lines in a probe dialogue
    quality_contexts: Positive = 40  # held-out turns for BLEU, ROUGE, Distinct
    perplexity_dialogues: Positive = 24
    max_new_tokens: Positive = 40
    temperature: Annotated[float, Field(ge=0)] = 0.0  # 0: greedy, so that figures repeat
    repetition_penalty: Annotated[float, Field(ge=1)] = 1.0
    no_repeat_ngram: Annotated[int, Field(ge=0)] = 4  # own words; small greedy models repeat whole lines otherwise
    batch_size: Positive = 16
    judge: str = "critic"  # of contradictions: the packaged critic, a folder, an NLI cross-encoder's hub id, or none
    bootstrap_samples: Annotated[int, Field(ge=100)] = 1000


class CompareConfig(Section):
    """LoRA against full fine-tuning on the same data to the same held-out loss."""

    full_learning_rate: Rate | None = None  # None: the best of ``full_learning_rates``
    full_learning_rates: Annotated[list[Rate], Field(min_length=1)] = [1e-5, 3e-5, 1e-4]
    choice_steps: Positive = 6  # steps tried at each rate, the best held-out loss chooses; not counted in its time
    target_evaluation: Positive | None = None  # which of SFT's held-out evaluations sets the target; None: the best one
    max_steps_ratio: Annotated[float, Field(gt=0)] = 2.0  # full fine-tuning may take this many times LoRA's steps


class DistributedConfig(Section):
    """How processes share the work, where ``accelerate launch`` starts more than one (docs/distributed.md)."""

    strategy: Literal["auto", "ddp", "fsdp"] = "auto"  # auto: fsdp where accelerate was told --use_fsdp, else ddp


class CostConfig(Section):
    price_table: str | None = None  # a JSON file like the packaged one


class MachineConfig(Section):
    """Where a preset is meant to run; `personatune estimate` predicts for it. A run looks at the machine it is on."""

    gpus: Annotated[int, Field(ge=0)] = 0  # 0: the machine this is run on
    memory_gb: Annotated[float, Field(gt=0)] | None = None  # GiB that one GPU can give; None: unknown


class GoalConfig(Section):
    persona_consistency: Share = 0.85
    cost_saved: Share = 0.75
    time_saved: Share = 0.60


class TrackingConfig(Section):
    backends: list[Literal["csv", "wandb", "tensorboard", "trackio"]] | Literal["auto"] = (
        "auto"  # csv is always written
    )
    project: str = "personatune"
    online: bool = False  # W&B writes offline runs, trackio its local store, unless asked


class Config(Section):
    """All settings of one run."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0  # what every generator takes
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    lora: LoraConfig = LoraConfig()
    sft: SFTConfig = SFTConfig()
    preferences: PreferencesConfig = PreferencesConfig()
    branch: BranchConfig = BranchConfig()
    reward: RewardConfig = RewardConfig()
    dpo: DPOConfig = DPOConfig()
    ppo: PPOConfig = PPOConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    compare: CompareConfig = CompareConfig()
    distributed: DistributedConfig = DistributedConfig()
    costs: CostConfig = CostConfig()
    machine: MachineConfig = MachineConfig()
    goals: GoalConfig = GoalConfig()
    tracking: TrackingConfig = TrackingConfig()
