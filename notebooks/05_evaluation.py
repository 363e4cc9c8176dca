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
# # 5 · Evaluation: all models side by side
#
# The untouched model, the fine-tuned one and the one after PPO answer the same questions to the same held-out
# personas, with the same decoding, beside the floors of notebook 2.

# %% tags=["parameters"]
PRESET = "quick"  # "kaggle-2xt4" on a Kaggle notebook with two T4s; "standard" takes hours on two cores
RUN = "notebooks"  # one run for all six notebooks: each goes on where the last stopped
DATA = None  # None is the preset's source; else a name (chitchat), a file, a folder or a hub id
QLORA = False  # True: the base model lies in memory in four bits
DESPITE_REWARD = False  # True: PPO starts even where the preset refuses a reward model that fails its own checks
SETTINGS = ["tracking.backends=[csv]"]  # single settings, as in "sft.learning_rate=2e-4"; the notebooks read the CSV
RUNS = "../runs"  # where runs are kept

# %%
from IPython.display import Markdown

from personatune.cli.options import set_up_libraries
from personatune.pipeline.notebook import as_cell, bring_to, floor_figures, open_run
from personatune.report.build import collect_report
from personatune.report.figures import MODELS, turns_of
from personatune.report.markdown import samples_parts
from personatune.report.model_plots import drift_plot, models_plot
from personatune.report.sections import models_table

set_up_libraries()
run = open_run(PRESET, RUN, data=DATA, qlora=QLORA, settings=SETTINGS, runs=RUNS)
ran = bring_to(run, "evaluate", despite_reward=DESPITE_REWARD)

# %% [markdown]
# ## Consistency, and what it may have been bought with

# %%
report = collect_report(run.directory)
models = report["models"]
everyone = {**models, **floor_figures(run)}
as_cell(models_plot(everyone, ["probe_consistency", "contradiction_rate", "copy_share", "repetition"]))

# %% [markdown]
# A dot is a mean over personas, its whiskers the 95 % interval, the arrow points to the better end. Two models whose
# intervals overlap widely can't be told apart by this test. A model that is consistent by copying sits where the copier
# sits in both upper and lower panels.
#
# ## How it reads

# %%
as_cell(models_plot(models, ["prompt_to_line", "engagement", "perplexity_token", "f1", "distinct_2", "reply_words"]))

# %% [markdown]
# *Lines that contradict no trait* is judged by a small local critic, not by keywords, so it sees contradictions that
# share no word. *Perplexity* is about what people said, *F1* about the words shared with what a person replied. Short
# replies contradict little and engage little: look at words per reply beside every other figure.
#
# ## All figures

# %%
as_cell(models_table(report))

# %% [markdown]
# ## Drift: does it forget who it is?
#
# The same dialogues, turn by turn. A model that drifts is consistent at first and falls later. Each turn holds fewer
# answers than the whole, so the bands are wide.

# %%
as_cell(drift_plot(everyone))

# %%
for name, metrics in models.items():
    turns = turns_of(metrics)
    if len(turns) > 1:
        first, last = min(turns), max(turns)
        change = turns[last]["value"] - turns[first]["value"]
        print(f"{MODELS[name]}: {100 * change:+.0f} points from turn {first} to turn {last} (n = {turns[last]['n']})")

# %% [markdown]
# ## Read the dialogues
#
# The first personas of the evaluation, in its order, all models. Tick: consistent, cross: contradicting, dot: without
# the asked sentence.

# %%
Markdown("\n\n".join(samples_parts(report)))

# %% [markdown]
# ## Against others
#
# `personatune evaluate --model base --model RUN/sft --model RUN/ppo --on probes` measures the same models on
# PersonaProbes, a benchmark of hand-written personas, with paired differences (`docs/evaluation.md`).
#
# Next: `06_analysis_and_demo` holds the goals against what was measured, and chats.
