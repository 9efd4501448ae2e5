# make run: set-up and the whole pipeline.  make quick: set-up and the fast tests.  make test: set-up and all tests.
# make verify: set-up and two runs of the smallest graph, whose outputs must be equal byte by byte.
# Nothing here needs an activated environment.
PYTHON  ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
FLAVOUR ?= cpu
ARGS    ?=
# Test processes, one thread each; tests of one file stay in one of them. Losses that are written in tests are those of a
# CPU, which is what they run on where there is a GPU too.
JOBS    ?= 2
PYTEST   = CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder

export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Without bytecode every process compiles its packages anew: nearly a third of the processor time of GRPO's start.
unexport PYTHONDONTWRITEBYTECODE
# No run calls home or reaches for a model hub; tasks/__init__.py sets the same for a stage run by hand.
export HF_HUB_OFFLINE       ?= 1
export TRANSFORMERS_OFFLINE ?= 1
export DO_NOT_TRACK         ?= 1
export DVC_NO_ANALYTICS     ?= 1
export VLLM_NO_USAGE_STATS  ?= 1
export PREFECT_SERVER_ANALYTICS_ENABLED ?= false

.PHONY: setup check quick test gpu run verify rehearse clean
.DEFAULT_GOAL := run

setup: ## Make .venv with the pinned packages; ends at once when it is up to date
	@test -n "$(PYTHON)" || { echo "setup: no python3 found; install Python 3.11 or 3.12"; exit 1; }
	@$(PYTHON) setup/setup.py --flavour $(FLAVOUR)

check: setup ## Style, types and layers
	ruff check .
	mypy
	lint-imports

quick: setup ## The tests that start no server, no vLLM and no whole graph; ARGS goes to pytest, e.g. ARGS=tests/core
	$(PYTEST) -m "not slow and not server" $(ARGS)

test: setup ## All tests
	$(PYTEST) $(ARGS)

gpu: setup ## The tests that need a GPU and FLAVOUR=cuda; without either they are skipped
	python -m pytest -q -m gpu $(ARGS)

run: setup ## The pipeline of params.yaml; only what changed runs
	@start=$$(date +%s); dvc repro $(ARGS) && python -m tasks.report show && python -m tasks.seconds $$start

verify: setup ## Run the smallest graph twice and compare every output byte by byte; ARGS="--folder kept" keeps both runs
	python -m measure.verify $(ARGS)

rehearse: setup ## The 7B profile through every stage on a processor: real widths and pixels, few layers and rows
	python -m measure.rehearsal $(ARGS)

clean: ## Remove outputs, work in progress and tool caches; keeps .venv, raw data, shipped weights and DVC's cache
	rm -rf data/ingest data/verdicts data/annotate data/filter data/sft data/grpo data/benchmark data/.work
	rm -rf models/sft models/grpo models/.work reports/tensorboard
	rm -rf .cache .import_linter_cache .ruff_cache .mypy_cache .pytest_cache
	find flows tasks measure tests setup -name __pycache__ -type d -prune -exec rm -rf {} +
