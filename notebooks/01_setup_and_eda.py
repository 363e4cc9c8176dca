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
# # 1 · Setup, and a look at the data
#
# The six notebooks train one small chatbot that stays in character, and judge it. This one looks at the machine, then
# reads the dialogues, cleans them, splits them by persona, and shows what is left.
#
# The settings are the same in all six. Change them here first, then in the others: they share one run, and a run can't
# change its settings once it has begun.

# %% tags=["parameters"]
PRESET = "quick"  # "kaggle-2xt4" on a Kaggle notebook with two T4s; "standard" takes hours on two cores
RUN = "notebooks"  # one run for all six notebooks: each goes on where the last stopped
DATA = None  # None is the preset's source; else a name (chitchat), a file, a folder or a hub id
QLORA = False  # True: the base model lies in memory in four bits
DESPITE_REWARD = False  # True: PPO starts even where the preset refuses a reward model that fails its own checks
SETTINGS = ["tracking.backends=[csv]"]  # single settings, as in "sft.learning_rate=2e-4"; the notebooks read the CSV
RUNS = "../runs"  # where runs are kept

# %%
from rich.console import Console

import personatune as pt
from personatune.cli.options import set_up_libraries
from personatune.data.grounding import persona_turns
from personatune.data.inspection import grounding_by_reply, trait_words
from personatune.data.processing import PreparedData
from personatune.doctor import print_diagnosis
from personatune.pipeline.models import load_prompts
from personatune.pipeline.notebook import as_cell, bring_to, open_run
from personatune.report.data_plots import cleaning_plot, grounding_plot, lengths_plot, splits_table, trait_words_plot

set_up_libraries()
print("personatune", pt.__version__)

# %% [markdown]
# ## Is everything there?
#
# `personatune doctor` looks at Python, the machine, the packages and the embedded parts. A cross is a problem and says
# what to do; a dot is worth knowing.

# %%
healthy = print_diagnosis(Console())

# %% [markdown]
# ## The run
#
# A run is a folder with plain files. What its stages leave there is what every later notebook reads, so closing this
# one loses nothing. The stage `prepare` reads, cleans and splits the dialogues.

# %%
run = open_run(PRESET, RUN, data=DATA, qlora=QLORA, settings=SETTINGS, runs=RUNS)
bring_to(run, "prepare")
print("run:", run.name, "· done:", ", ".join(run.done()))

# %%
data = PreparedData.load(run.folder("prepare"))
source = data.statistics["source"]
print(source["description"])
print(f"licence: {source['licence'] or 'not known'}")
as_cell(splits_table(data.statistics))

# %% [markdown]
# *Personas* are split, not dialogues: no persona sentence stands in two splits, so a model can't pass the test by
# having learnt the persona by heart. *Persona turns* are replies that draw on the persona of who says them. The
# training split keeps the windows richest in persona turns; validation and test are as they came.
#
# ## What cleaning did
#
# Nothing is dropped silently. Every row that was skipped, dialogue that was dropped and turn that was mended is counted
# under its reason.

# %%
as_cell(cleaning_plot(data.counts))

# %% [markdown]
# Red bars are dialogues (or one speaker's view of them) that are gone, yellow ones are rows that could not be used at
# all, blue ones are turns that were mended and stay. The axis is logarithmic: a bar twice as long is far more than
# twice as much.
#
# ## How long are turns?

# %%
as_cell(lengths_plot(data.statistics))

# %% [markdown]
# The training split leans to short turns, because it keeps the windows with most persona turns *per word*: a minute of
# training then teaches more about personas.
#
# ## What are the personas about?

# %%
as_cell(trait_words_plot(trait_words(data.train + data.validation + data.test)))

# %% [markdown]
# These are the content words of the persona sentences, each counted once a persona. Very frequent ones make easy
# questions; a model can guess them without looking.
#
# ## Do replies draw on the persona?
#
# A reply is *grounded* when it says a telling word of the persona that the question before it did not say. It is the
# signal from which a model learns to look into its persona at all.

# %%
as_cell(grounding_plot({split: grounding_by_reply(getattr(data, split)) for split in ("train", "validation", "test")}))

# %% [markdown]
# In real chat many replies are small talk: that is the distance between the lines. Training weighs grounded turns more
# than others.
#
# ## Two dialogues
#
# The star marks a reply that draws on the persona.

# %%
for view in data.train[:2]:
    print(" | ".join(view.persona.traits))
    for turn, drawing in zip(view.turns, persona_turns(view), strict=True):
        print(f"  {turn.speaker:>7}: {turn.text}{' *' if drawing else ''}")
    print()

# %% [markdown]
# ## What the model sees, token by token
#
# One dialogue is one training sequence. The loss falls on the persona's own replies only, in brackets here; all the
# rest is context.

# %%
prompts = load_prompts(run.config)
view = data.train[0]
encoded = prompts.encode_dialogue(view, [1.0] * len(view.turns))
pieces = [
    (str(prompts.tokenizer.decode([token])), weight > 0)
    for token, weight in zip(encoded.input_ids, encoded.loss_weights, strict=True)
]
print("".join(f"[{piece}]" if learnt else piece for piece, learnt in pieces))
print(f"{sum(learnt for _, learnt in pieces)} of {len(pieces)} tokens are learnt")

# %% [markdown]
# Next: `02_baseline_testing` judges the model before any training.
