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
# # 6 · Analysis: were the goals met? And a chat
#
# Every goal stands in the run's settings or follows from a measurement. This notebook reads the report's JSON and says
# for each whether it was met or missed, weighs gain against cost, and talks with the models.

# %% tags=["parameters"]
PRESET = "quick"  # "kaggle-2xt4" on a Kaggle notebook with two T4s; "standard" takes hours on two cores
RUN = "notebooks"  # one run for all six notebooks: each goes on where the last stopped
DATA = None  # None is the preset's source; else a name (chitchat), a file, a folder or a hub id
QLORA = False  # True: the base model lies in memory in four bits
DESPITE_REWARD = False  # True: PPO starts even where the preset refuses a reward model that fails its own checks
SETTINGS = ["tracking.backends=[csv]"]  # single settings, as in "sft.learning_rate=2e-4"; the notebooks read the CSV
RUNS = "../runs"  # where runs are kept

# %%
from pathlib import Path

from personatune.chat.session import ChatSession, parse_persona
from personatune.cli.options import set_up_libraries
from personatune.model.generation import Sampling
from personatune.pipeline.contenders import load_contender
from personatune.pipeline.notebook import as_cell, bring_to, open_run, report_plot
from personatune.report.figures import goal_met_text, goal_target_text, goal_value_text
from personatune.report.model_plots import models_plot
from personatune.report.sections import comparison_table, costs_table, goals_table
from personatune.storage import read_json

set_up_libraries()
run = open_run(PRESET, RUN, data=DATA, qlora=QLORA, settings=SETTINGS, runs=RUNS)
bring_to(run, "report", despite_reward=DESPITE_REWARD)
report = read_json(run.directory / "report" / "report.json")

# %% [markdown]
# ## The goals
#
# A goal that is missed is printed as missed, with its true figure and, where it can be said, the reason. "Not measured"
# is neither.

# %%
for goal in report["goals"]:
    print(
        f"{goal_met_text(goal).upper():>12}  {goal['name']}: {goal_value_text(goal)}, target {goal_target_text(goal)}"
    )
verdicts = [goal["met"] for goal in report["goals"]]
print(f"\n{verdicts.count(True)} met, {verdicts.count(False)} missed, {verdicts.count(None)} not measured")

# %%
as_cell(goals_table(report))

# %% [markdown]
# ## Gain against cost
#
# From left to right the three models, each at what all the stages that made it cost, with what it can do. A step that
# costs and gains nothing, or loses, should not be taken: that is a result too.

# %%
as_cell(report_plot(run, "consistency-for-its-cost"))

# %% [markdown]
# What it was bought with: engagement falls when replies get short, and a copied persona sentence is no conversation.

# %%
as_cell(models_plot(report["models"], ["engagement", "reply_words", "copy_share", "repetition"]))

# %%
as_cell(report_plot(run, "time-per-stage"))

# %%
as_cell(costs_table(report))

# %%
as_cell(comparison_table(report))

# %% [markdown]
# ## A chat
#
# The same persona and the same lines for the fine-tuned model, the one after PPO, and the *shipped* model, which comes
# with the package and was trained for longer on more data (`docs/flagship.md`). Under each reply stands which persona
# sentence it uses or contradicts, found by keywords. Change the persona and the lines, and run the cell again.

# %%
PERSONA = "I have a tortoise called Humphrey. | I repair church organs. | I live in Bergen. | I can't stand coffee."
LINES = ["Hi there! How are you?", "Do you have any pets?", "What do you do for a living?", "Fancy a cup of coffee?"]
SPEAKERS = {"after SFT": f"{RUN}/sft", "after PPO": f"{RUN}/ppo", "the shipped model": "flagship"}

# %%
for who, reference in SPEAKERS.items():
    sampling = Sampling(max_new_tokens=40, temperature=0.7, no_repeat_ngram=4)
    bot = load_contender(reference, runs=Path(RUNS), sampling=sampling, seed=run.config.seed).chatbot
    session = ChatSession(parse_persona(PERSONA), bot.stream)
    print(who)
    for line in LINES:
        reply = "".join(session.say(line)).strip()
        print(f"  you: {line}\n  bot: {reply}")
        if not reply:
            continue
        why = session.why()
        for word, sentences in (("uses", why.used), ("contradicts", why.contradicted)):
            if sentences:
                print(f"       {word}: {' | '.join(sentences)}")
    print()

# %% [markdown]
# In a terminal: `personatune chat --run notebooks`, or without `--run` for the shipped model. In the browser:
# `personatune demo`. The whole report, with everything above in one page: `report/report.html` in the run's folder.
