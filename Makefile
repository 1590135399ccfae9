# Every task of the project; CI runs the same ones. `make` alone lists them.
# Without make, type the commands of a recipe.

PYTHON ?= python3
PORT ?= 5000
DAYS ?= 30
BIN := .venv/bin
READY := .venv/.ready

# Where uv is installed, it makes the same environment sooner; `make UV=` uses pip all the same.
# Not `uv pip sync`: it would leave out what torch's CUDA build needs, which the lock does not name.
# PYTHON as a path: for a bare name uv may take another Python, one that it installed itself.
UV ?= $(shell command -v uv 2>/dev/null)
ifneq ($(UV),)
  VENV = "$(UV)" venv --quiet --allow-existing --python "$$(command -v $(PYTHON))"
  INSTALL = "$(UV)" pip install --python $(BIN)/python
else
  VENV = $(PYTHON) -m venv
  INSTALL = python -m pip install
endif

# `python` in dvc.yaml must be that of .venv. Telemetry is off in everything we start.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: repro
repro: $(READY)  ## run the stages that changed, and print the result
	@git rev-parse --git-dir >/dev/null 2>&1 || { echo "make: this folder must be in git, which a ZIP \
	is not: git init" >&2; exit 2; }
	@python -m dvc repro || exit 2
	@python src/knownline summary

.PHONY: summary
summary: $(READY)  ## print the result again
	@python src/knownline summary

.PHONY: retrain
retrain: $(READY)  ## retrain on fresh data and push, as cron and CI do (SEED=7 sets the seed)
	@python src/knownline retrain --push $${SEED:+--seed "$$SEED"}

.PHONY: prove
prove: $(READY)  ## reproduce the champion's run and compare every result
	@samerun store pull
	@run=$$(knownline champion | sed -n 's/^run *//p'); [ -n "$$run" ] || exit 2; \
	  samerun reproduce $$run; status=$$?; \
	  if [ -n "$$(python -m dvc remote list)" ]; then samerun store push || exit; fi; \
	  exit $$status

.PHONY: ui
ui: $(READY)  ## start MLflow's UI at the address it prints (PORT=5001 sets the port)
	@samerun ui --port $(PORT)

.PHONY: test
test: lint  ## lint, types, import contract, and the fast tests (16 minutes on two cores)
	@python -m pytest --numprocesses auto --dist worksteal -m "not slow"

.PHONY: test-all
test-all: lint  ## the same with all tests, including the slow ones
	@python -m pytest --numprocesses auto --dist worksteal

.PHONY: lint
lint: $(READY)  ## check style, format, types and the import contract
	@ruff check --quiet .
	@ruff format --check --quiet .
	@mypy
	@for each in pyproject.toml samerun/pyproject.toml; do \
	  lint-imports --verbose --config $$each >/dev/null || lint-imports --config $$each || exit; done

.PHONY: format
format: $(READY)  ## format every file
	@ruff check --fix --quiet . ; ruff format --quiet .

.PHONY: bench
bench: $(READY)  ## benchmarks beside peers (an hour, 10 GB of disk)
	@python -m pip install --quiet --constraint requirements.lock --editable ./samerun --editable '.[bench,cluster]'
	@python -m benchmarks.scale
	@python -m benchmarks.peers --picture docs/pictures/scale.png
	@python -m benchmarks.peers --inputs 10 --sizes 10000000
	@python -m benchmarks.serial
	@python -m benchmarks.gpu
	@python -m benchmarks.whole_run
	@python -m benchmarks.adoption
	@python -m benchmarks.wrapper
	@python -m benchmarks.watching
	@python -m benchmarks.bad_servers

.PHONY: drill
drill: $(READY)  ## kills, full disks, many processes, damage: count what was lost (hours)
	@python -m tests.drill
	@KNOWNLINE_DRILL=1 python -m pytest --numprocesses auto --quiet tests/pipeline/test_server.py

.PHONY: screenshots
screenshots: $(READY)  ## take new pictures for the README (needs Chromium)
	@python -m tests.screenshots

.PHONY: rehearse
rehearse: $(READY)  ## simulate 30 days of retraining with real remotes and a server (DAYS=8: fewer)
	@python -m tests.rehearsal --days $(DAYS)

.PHONY: lock
lock: $(READY)  ## compile requirements.lock from both pyproject.toml files
	@printf '%s\n' '--editable ./samerun[dev,server]' '--editable .[cluster,dev,server]' >.lock.in
	@python -m piptools compile --quiet --strip-extras --no-emit-index-url --no-emit-find-links \
	  --no-emit-trusted-host --no-emit-options --allow-unsafe --upgrade \
	  --output-file requirements.lock .lock.in; status=$$?; rm .lock.in; exit $$status
	@# Remove our two folders, and a build's local label (+cpu): pip then takes the build it finds.
	@python -c 'import re; from pathlib import Path; p = Path("requirements.lock"); \
	  t = re.sub(r"(?m)^-e .*\n(    #.*\n)*", "", p.read_text()); \
	  p.write_text(re.sub(r"(?m)^(torch==[0-9.]+)\+\w+$$", r"\1", t))'

$(READY): requirements.lock pyproject.toml samerun/pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(0 if sys.version_info >= (3, 11) \
	  else "make: PYTHON must be 3.11 or newer (got " + v + "): make PYTHON=python3.12 ...")'
	@echo "Making .venv from requirements.lock (once, some minutes) ..."
	@$(VENV) .venv
	@$(INSTALL) --quiet --requirement requirements.lock
	@$(INSTALL) --quiet --no-deps --editable ./samerun --editable .
	@touch $@
