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
# # 2 · The baseline: what can be had without training?
#
# A figure means nothing alone. Before any training, this notebook judges the untouched model on held-out personas,
# beside three floors that know no language at all.

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
from personatune.report.figures import METRICS, figure_text
from personatune.report.markdown import samples_parts
from personatune.report.model_plots import drift_plot, models_plot
from personatune.report.sections import models_table

set_up_libraries()
run = open_run(PRESET, RUN, data=DATA, qlora=QLORA, settings=SETTINGS, runs=RUNS)
ran = bring_to(run, "baseline")

# %% [markdown]
# ## How consistency is measured
#
# With every held-out persona a *probe dialogue* is held: a partner asks about its sentences one after the other, with
# small talk in between. An answer is *consistent* if it carries the asked sentence's keyword and turns none of it
# round, *contradicting* if it does, *neutral* otherwise. The questions never contain the keyword. No judge and no API
# is needed, and the same dialogues are held with every model.
#
# ## The floors
#
# - **tfidf** answers with the training reply that shares most weighted words with persona and question.
# - **copier** repeats the persona sentence nearest to the question: consistent by the word, but no conversation.
# - **generic** says what fits anything.

# %%
base = collect_report(run.directory)["models"]["base"]
everyone = {"base": base, **floor_figures(run)}
as_cell(models_plot(everyone, ["probe_consistency", "contradiction_rate", "copy_share", "repetition"]))

# %% [markdown]
# Each dot is a mean over held-out personas, the whiskers are its 95 % interval: another draw of personas would land
# about there. The arrow points to the better end. Read the panels together: the copier is as consistent as its word
# matching lets it be, and copies all the time. A model has to be consistent *without* copying.
#
# ## Turn by turn

# %%
as_cell(drift_plot(everyone))

# %%
known = {metric.name: metric for metric in METRICS}
for who, metrics in everyone.items():
    figure = metrics["probe_consistency"]
    print(f"{who:>8}: {figure_text(figure, known['probe_consistency'].unit)} consistent, n = {figure['n']} personas")

# %% [markdown]
# ## Everything that is measured about the untouched model
#
# The columns that are still empty belong to the models to come. Perplexity is how surprised the model is by what
# people said; Distinct counts different words; engagement is a weighted mean of what a reply does, its weights fitted
# to people's ratings. Definitions and blind spots: `docs/measures.md`.

# %%
as_cell(models_table(collect_report(run.directory)))

# %% [markdown]
# ## Read before you believe
#
# The first dialogues of the evaluation, not picked. A tick marks a consistent answer, a cross a contradiction, a dot
# an answer without the asked sentence.

# %%
Markdown("\n\n".join(samples_parts(collect_report(run.directory))))

# %% [markdown]
# Does it answer as the persona, or as the assistant it was made to be? Next: `03_sft_training` teaches it.
