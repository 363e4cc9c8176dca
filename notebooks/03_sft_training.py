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
# # 3 · Supervised fine-tuning with LoRA, against full fine-tuning
#
# LoRA leaves the model's weights as they are and trains small matrices beside them. This notebook trains them, then
# trains *every* weight of the same model on the same data to the same held-out loss, and compares what both took.
#
# With `QLORA = True` the base model lies in memory in four bits (NF4) and LoRA trains beside it: less memory, more time
# on a CPU. It is another run, so give it another name in `RUN`.

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
from personatune.pipeline.notebook import as_cell, bring_to, open_run, report_plot
from personatune.report.build import collect_report
from personatune.report.figures import duration_text, memory_text
from personatune.report.model_plots import loss_against_time_plot, savings_plot
from personatune.report.sections import comparison_table
from personatune.storage import read_json, read_jsonl

set_up_libraries()
run = open_run(PRESET, RUN, data=DATA, qlora=QLORA, settings=SETTINGS, runs=RUNS)
ran = bring_to(run, "sft")

# %% [markdown]
# ## What is trained

# %%
summary = read_json(run.folder("sft") / "summary.json")
model = summary["model"]
print(f"base model: {run.config.model.base} ({model['architecture']}, {model['layers']} layers)")
print(f"weights: {model['parameters']:,}, trained: {model['trainable_parameters']:,} ({model['trainable_share']:.1%})")
print(f"held in {run.config.lora.quantization if run.config.lora.quantization != 'none' else model['dtype']}")
print(f"ended: {summary['stopped']}")

# %% [markdown]
# ## The loss
#
# The training loss jumps from batch to batch, since batches are small. What counts is the held-out loss: the same
# dialogues of personas that are not trained on, judged now and then.

# %%
as_cell(report_plot(run, "supervised-fine-tuning"))

# %%
first, best = summary["curve"][0], summary["best"]
print(f"held-out loss: {first['loss']:.3f} → {best['loss']:.3f} nats a token")
print(f"{best['tokens']:,} tokens in {duration_text(best['seconds'])} of training")

# %% [markdown]
# ## One reply while it learns
#
# The same question to the same held-out persona at every evaluation.

# %%
rows = read_jsonl(run.folder("sft") / "samples.jsonl")
for row in rows:
    print(" · ".join(f"{key}: {value}" for key, value in row.items() if key != "name"))

# %% [markdown]
# ## Against full fine-tuning
#
# "LoRA saves so and so much" is worth nothing as a quotation. The stage `compare` measures it here: the same data in
# the same order, the same batches, the same machine, until full fine-tuning reaches the held-out loss that LoRA had.
# Full fine-tuning first gets the best of several learning rates, so that the other side isn't weak.

# %%
bring_to(run, "compare")
comparison = read_json(run.folder("compare") / "comparison.json")
as_cell(loss_against_time_plot(comparison))

# %% [markdown]
# Both curves begin at the untouched model's loss. The dashed line is the target. What matters is where each curve
# crosses it, not where it ends.

# %%
goals = {"time_saved": run.config.goals.time_saved, "cost_saved": run.config.goals.cost_saved}
as_cell(savings_plot(comparison, goals))

# %% [markdown]
# Time is seconds of training until the target. Cost is those hours at the price of the cheapest machine whose memory
# holds the measured peak, so memory counts twice. A negative share was lost. A short run's times swing from one run to
# the next: read them as one measurement, not as a law.

# %%
as_cell(comparison_table(collect_report(run.directory)))

# %%
lora, full = comparison["lora"], comparison["full"]
print(f"LoRA: {duration_text(lora['wall_seconds'])}, peak {memory_text(lora['peak_memory_bytes'])}")
print(f"full: {duration_text(full['wall_seconds'])}, peak {memory_text(full['peak_memory_bytes'])}")
for name, goal in goals.items():
    saved = comparison["savings"][name]
    if saved is None:
        print(f"{name.replace('_', ' ')}: not measured: {comparison['why']}")
    else:
        print(f"{name.replace('_', ' ')}: {saved:.0%}, goal {goal:.0%}: {'met' if saved >= goal else 'missed'}")

# %% [markdown]
# Next: `04_reward_and_ppo` learns from preferences.
