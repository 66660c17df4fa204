# The front door. Each target makes .venv when it is needed; the README says the same in plain pip and commands.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
QUESTION ?= examples/question.wav
# A folder of real recordings; without one the box is trained and judged on synthetic speech alone.
SPEECH ?= $(wildcard ../shared/speech)
HEAR := $(if $(SPEECH),--speech $(SPEECH))

.PHONY: help talk serve test clients browser ray lint types box tiny clean

help:  ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

talk: $(VENV)/.core  ## ask the model in the box a spoken question; its spoken reply goes to reply.wav
	$(BIN)/duologue talk $(QUESTION) -o reply.wav

serve: $(VENV)/.serve  ## serve the model in the box to Realtime clients, on ws://127.0.0.1:8080/v1/realtime
	$(BIN)/duologue serve

test: $(VENV)/.dev  ## run the tests, one thread each, on all cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -q -rs

clients: $(VENV)/.dev  ## test the server with the clients of others: openai, openai-agents, pipecat, livekit
	$(PIP) -e '.[clients]'
	$(BIN)/python -m pytest tests/serve -q -rs

browser: $(VENV)/.dev  ## test the page, and npm's clients, in the Chromium and the Node of this machine
	@! command -v npm >/dev/null || npm ci --prefix tests/npm --ignore-scripts --no-audit --no-fund --loglevel=error
	$(BIN)/python -m pytest -m browser -q -rs

ray: $(VENV)/.dev  ## test replicas on a Ray cluster of this machine alone, in a minute
	$(PIP) -e '.[ray]'
	$(BIN)/python -m pytest -m ray -q -rs

lint: $(VENV)/.dev  ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## check types
	$(BIN)/mypy

box: $(VENV)/.dev  ## make the model in the box from nothing: synthesise, train, evaluate, pack (hours)
	$(BIN)/duologue train recipes/box.py $(if $(SPEECH),speech=$(SPEECH),speech=none) --out runs/box
	$(BIN)/duologue eval runs/box/model --suite answers --suite duplex --suite codec --out runs/box/report $(HEAR)
	$(BIN)/python -m duologue.train.pack runs/box/model --figures runs/box/report

tiny: $(VENV)/.dev  ## the same recipe's small sister, in two minutes
	$(BIN)/duologue train recipes/tiny.py --out runs/tiny

clean:  ## remove .venv and what tools left behind
	rm -rf $(VENV) tests/npm/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis

# A stamp appears only when its installation has succeeded, so one that was stopped is begun again.
$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $@

$(VENV)/.serve: $(VENV)/.core
	$(PIP) -e '.[serve]'
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) -e '.[dev]'
	@touch $@
