# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4 · Preferences, a reward model, and PPO
#
# Fine-tuning shows the model good replies. It never shows it a bad one, so it never learns not to contradict itself.
# Here it gets pairs of a better and a worse reply, a reward model learns to tell them apart, and PPO moves the chatbot
# towards what the reward model likes, but not far from where it was.

# %% tags=["parameters"]
PRESET = "quick"  # "kaggle-2xt4" on a Kaggle notebook with two T4s; "standard" takes hours on two cores
RUN = "notebooks"  # one run for all six notebooks: each goes on where the last stopped
DATA = None  # None is the preset's source; else a name (chitchat), a file, a folder or a hub id
QLORA = False  # True: the base model lies in memory in four bits
DESPITE_REWARD = False  # True: PPO starts even where the preset refuses a reward model that fails its own checks
SETTINGS = ["tracking.backends=[csv]"]  # single settings, as in "sft.learning_rate=2e-4"; the notebooks read the CSV
RUNS = "../runs"  # where runs are kept

# %%
from personatune.cli.options import set_up_libraries
from personatune.data.preference_files import read_preference_file
from personatune.pipeline.notebook import as_cell, bring_to, open_run, report_plot
from personatune.report.build import collect_report
from personatune.report.data_plots import pair_kinds_plot
from personatune.report.evidence import read_curves
from personatune.report.model_plots import ppo_plot, reward_checks_plot
from personatune.report.sections import alarms_table, reward_table
from personatune.storage import read_json, read_jsonl

set_up_libraries()
run = open_run(PRESET, RUN, data=DATA, qlora=QLORA, settings=SETTINGS, runs=RUNS)
ran = bring_to(run, "preferences")

# %% [markdown]
# ## Preference pairs
#
# The better reply is what a person said (or wrote for this project). The worse one is made from it, so that it is wrong
# in one way only, and about as long: length must not give it away.

# %%
summary = read_json(run.folder("preferences") / "summary.json")
for part in ("train", "test"):
    for kind, why in summary[part]["unfilled"].items():
        print(f"{part}, {kind}: {why}")
as_cell(pair_kinds_plot(summary))

# %%
pairs = read_preference_file(run.folder("preferences") / "train.jsonl")
for kind in dict.fromkeys(pair.kind for pair in pairs):
    pair = next(pair for pair in pairs if pair.kind == kind)
    print(f"{kind}")
    print(f"  persona: {' | '.join(pair.context.persona.traits)}")
    print(f"  partner: {pair.context.history[-1].text}")
    print(f"  better:  {pair.chosen}")
    print(f"  worse:   {pair.rejected}\n")

# %% [markdown]
# ## The reward model
#
# A LoRA branch with a single number as its output, on the same frozen model. It learns that the better reply scores
# higher (Bradley–Terry).

# %%
bring_to(run, "reward")
as_cell(report_plot(run, "reward-model"))

# %% [markdown]
# These are the pairs it trains on. Whether it learnt something is said by held-out pairs of other personas only.
#
# ## Does it deserve trust?
#
# PPO finds whatever a reward model pays for, mistakes included. So it has to pass a report of its own first: rank all
# pairs, rank each kind, not care about length, and care about whose persona it is.

# %%
reward = read_json(run.folder("reward") / "report.json")
as_cell(reward_checks_plot(reward))

# %%
as_cell(reward_table(collect_report(run.directory)))

# %%
missed = [check["name"] for check in reward["checks"] if not check["met"]]
if missed:
    print(f"The reward model fails {len(missed)} of its {len(reward['checks'])} checks: {', '.join(missed)}.")
    print("It does not deserve trust. A gain in its reward below proves nothing.")
    refuses = run.config.ppo.on_untrusted_reward == "refuse"
    how = "refuses to go on with it" if refuses else "goes on all the same, to show the whole road, and says so"
    print(f"This run's setting (ppo.on_untrusted_reward = {run.config.ppo.on_untrusted_reward}) {how}.")
else:
    print(f"The reward model passes all of its {len(reward['checks'])} checks.")

# %% [markdown]
# The number of pairs stands behind each bar. With few pairs a figure is moved by luck, and a reward model learns
# little: more pairs (`preferences.pairs`), a larger model and the preset `standard` are the way out, or DPO, which
# needs no reward model (`personatune dpo`).
#
# ## PPO
#
# In each update the chatbot answers some prompts, the reward model scores the answers, and the weights move a little
# towards those that scored better than expected. A penalty on the KL divergence keeps it near the fine-tuned
# model it started from. An independent judge, which the chatbot is not trained on, holds probe dialogues now and then.

# %%
bring_to(run, "ppo", despite_reward=DESPITE_REWARD)
ppo = read_json(run.folder("ppo") / "summary.json")
curves = read_curves(run.folder("ppo") / "metrics.csv")
as_cell(ppo_plot(curves, ppo))

# %% [markdown]
# - **reward** is what the reward model pays. It should rise; if it rises while the judge falls, the model is being paid
#   for the wrong thing (reward hacking).
# - **KL** is the distance from the fine-tuned model. The dashed red line is the budget: above it the run stops.
# - **judge** is the share of consistent answers on personas that are not trained on.
# - **tokens, copies, entropy** are what alarms listen to: ever shorter or longer replies, copied persona sentences, and
#   ever less variety are how a chatbot cheats. A red vertical line is an alarm.

# %%
as_cell(report_plot(run, "reward-against-kl"))

# %%
as_cell(alarms_table(collect_report(run.directory)))

# %%
judged = ppo["judged"]
print(f"reward: {ppo['metrics'][0]['score']:+.3f} → {ppo['metrics'][-1]['score']:+.3f}")
print(f"KL: {ppo['kl_start']:.3f} → {ppo['kl_end']:.3f} nats a reply, budget {ppo['kl_budget']:g}")
if judged:
    print(f"judge: {judged[0]['judge']:.0%} before, {judged[-1]['judge']:.0%} after")
    if judged[-1]["judge"] < judged[0]["judge"] and ppo["metrics"][-1]["score"] > ppo["metrics"][0]["score"]:
        print("The reward rose while the judge fell: what was learnt is not what was wanted.")
print(f"stopped early: {ppo['stopped'] or 'no'}; kept: update {ppo['best_update']}, the judge's best")

# %% [markdown]
# ## Some of its replies

# %%
for row in read_jsonl(run.folder("ppo") / "samples.jsonl")[-6:]:
    print(" · ".join(f"{key}: {value}" for key, value in row.items()))

# %% [markdown]
# Next: `05_evaluation` puts all models side by side.
