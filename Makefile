# One verb a need. `make erase` and `make test` do everything on a fresh machine, set-up included.
PYTHON ?= python3
BIN := .venv/bin
CONCEPT ?=
SET ?=
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: help setup check test test-faults test-slow erase repro flow up down serve deploy worker ui image bench clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.done  ## make .venv with the pinned dependencies

# Pinned by requirements.lock; for a smaller torch on a machine without GPU set PIP_EXTRA_INDEX_URL to PyTorch's CPU index.
.venv/.done: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

check: setup  ## lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -c "import prefect.server.api.server"

test: setup  ## the default tests, a few minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-faults: setup  ## kills, faults of servers, mutated inputs, less than half an hour
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m faults -n 2 --dist loadfile \
		--log-file=.tverase/faults.log --log-file-level=WARNING -o log_file_mode=a

test-slow: setup  ## the real main job against its goals, about ten minutes
	OMP_NUM_THREADS=2 $(BIN)/python -m pytest -m slow

erase: setup  ## erase the concept of params.yaml (CONCEPT=skull, SET="finetune.steps=100 ...")
	$(BIN)/tverase run $(if $(CONCEPT),--set 'concepts=[$(CONCEPT)]') $(foreach s,$(SET),--set '$(s)')

repro: setup  ## the same through DVC
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro

flow: setup  ## the Prefect flow once, with params.yaml and Prefect's own log
	$(BIN)/python -m flows.client --or-start python -m flows.erase

up: setup  ## Prefect, MLflow and S3 on free ports of this machine, until `make down`
	$(BIN)/python -m flows.up

down: setup  ## stop what `make up` started; its data stay
	$(BIN)/python -m flows.up down

# Database and password are in .prefect. To use another server: export PREFECT_API_URL, and skip `make serve`.
serve deploy worker: PORT := 4200
ui: PORT := 5000

serve: setup  ## a Prefect server on http://127.0.0.1:4200 (PORT=4300 for another)
	$(BIN)/python -m flows.serve prefect --port $(PORT)

deploy: setup  ## tell the server what prefect.yaml and infra/ say: deployments, limits, automations (POOL=docker)
	$(BIN)/python -m flows.client --port $(PORT) infra/deploy $(if $(POOL),--pool $(POOL))

worker: setup  ## carry out what the server schedules, one run at a time
	$(BIN)/python -m flows.client --port $(PORT) \
		prefect worker start --pool tverase-local --type process --install-policy never --limit 1

ui: setup  ## MLflow on http://127.0.0.1:5000 (PORT=5050 for another)
	$(BIN)/python -m flows.serve mlflow --port $(PORT)

image: setup  ## tverase:0.1.0 for docker and Kubernetes (IMAGE=registry/tverase:1)
	PATH="$(CURDIR)/$(BIN):$$PATH" infra/image

bench: setup  ## the measures of docs/results.md, more than an hour
	$(BIN)/python -m benchmarks.base_model
	$(BIN)/python -m benchmarks.main_job
	$(BIN)/python -m benchmarks.erasure
	$(BIN)/python -m benchmarks.method

clean:  ## results, caches and local databases; never the shipped data and models
	@test ! -e .tverase/servers/running.json || $(BIN)/python -m flows.up down
	rm -rf outputs work .tverase .prefect mlflow.db mlartifacts dvc_plots .mypy_cache .ruff_cache .pytest_cache
