# make demo · make test · make train TASK=... · make bench · make tables · make films · make lint
# Each makes the virtual environment that it needs, says what it does, and can be run again.
#   PYTHON=python3.12   the interpreter to make it with (default: the first of 3.10 to 3.13 that is found)
#   VENV=DIR            where it is made (default .venv)
#   PIP_ARGS='...'      more arguments for pip install, for example another index
VENV ?= .venv
PYTHON ?=
PIP_ARGS ?=
TASK ?= pointmaze-v1
# settings for the machine; empty: cpu, or those that the run in OUT began with
PRESET ?=
OUT ?= runs/$(TASK)
# the short ones; learn trains for hours
BENCH ?= sim tick
ARGS ?=
# processes that share the tests which need no ROS; those over ROS run alone, by the wall clock
TEST_JOBS ?= 2
export PYTHON PIP_ARGS

BIN := $(VENV)/bin
ENSURE := ./scripts/make_venv $(VENV)

# On x86-64 ROS comes as wheels in the virtual environment; a ROS that is sourced would be mixed with it.
ifeq ($(shell uname -m),x86_64)
unexport PYTHONPATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH
endif

.PHONY: help demo test train bench tables films lint clean
help:
	@echo "make demo                      simulated robot and controller over ROS 2; a hand-over, an obstacle (no torch needed)"
	@echo "make test [ARGS='-k name']     all tests"
	@echo "make train TASK=$(TASK)   train on a task, into runs/TASK; run it again to go on after a stop"
	@echo "                               (PRESET=gpu: with settings for a CUDA device)"
	@echo "make bench [BENCH=name]        the short benchmarks, or those named (ddiffpg bench lists all)"
	@echo "make tables                    docs/results.md and its plots, from the recorded runs; trains nothing"
	@echo "make films                     docs/results/*.gif and *-modes.png, from the policies that ship; trains nothing"
	@echo "make lint                      ruff and pyright"
	@echo "make clean                     remove $(VENV) and build outputs (not runs/)"

demo:
	@$(ENSURE) sim,ros
	@echo "== $(BIN)/ddiffpg demo $(ARGS)"
	@$(BIN)/ddiffpg demo $(ARGS)

test:
	@$(ENSURE) dev
ifeq ($(strip $(ARGS)),)
	@echo "== $(BIN)/python -m pytest, what needs no ROS in $(TEST_JOBS) processes"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile --ignore tests/ros; first=$$?; \
		$(BIN)/python -m pytest tests/ros --reruns 1 --only-rerun NotSeen && exit $$first
else
	@echo "== $(BIN)/python -m pytest $(ARGS)"
	@$(BIN)/python -m pytest $(ARGS)
endif

train:
	@$(ENSURE) train,export
	@echo "== $(BIN)/ddiffpg train $(TASK) $(if $(PRESET),--preset $(PRESET) )--out $(OUT) --resume $(ARGS)"
	@$(BIN)/ddiffpg train $(TASK) $(if $(PRESET),--preset $(PRESET) )--out $(OUT) --resume $(ARGS)

bench:
	@$(ENSURE) dev
	@set -e; for name in $(BENCH); do echo "== $(BIN)/ddiffpg bench $$name $(ARGS)"; \
		$(BIN)/ddiffpg bench $$name $(ARGS); done

tables:
	@$(ENSURE) train
	@echo "== $(BIN)/python benchmarks/tables.py"
	@$(BIN)/python benchmarks/tables.py

# One that shows a mode which did not arrive is written all the same, and make ends with an error.
films:
	@$(ENSURE) sim
	@failed=0; for policy in policies/*.onnx; do out=docs/results/$$(basename $$policy .onnx); \
		echo "== $(BIN)/ddiffpg film --policy $$policy --out $$out.gif --picture $$out-modes.png $(ARGS)"; \
		$(BIN)/ddiffpg film --policy $$policy --out $$out.gif --picture $$out-modes.png $(ARGS) || failed=1; \
		done; exit $$failed

lint:
	@$(ENSURE) dev
	@echo "== ruff check, pyright"
	@$(BIN)/ruff check .
	@$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache
