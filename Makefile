# `make demo` and `make test` need Python >= 3.11 and a package index, nothing else: no GPU, no framework.
PYTHON ?= python3
# The programs are called below as a user would call them; make prints each call.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test coverage test-frameworks test-tensorflow test-lowest crash fuzz check format reproduce figure3 bench-store bench-forward bench-solver bench-solver-full bench-gpu clean

demo: .venv/ready-report
	@rm -rf demo && mkdir demo
	actstore dump demo:digits --data digits --layers input --layers 'hidden*' --layers output -o demo/digits.h5
	probe fit demo/digits.h5 --target digit --gap 1e-6 -o demo/probes.h5
	probe show demo/probes.h5
	probe plot demo/probes.h5 -o demo/error-by-layer.svg
	@echo; echo "The same probes from scikit-learn: another engine, the same optimum."
	probe fit demo/digits.h5 --target digit --gap 1e-6 --engine sklearn -o demo/probes-sklearn.h5
	probe show demo/probes.h5 demo/probes-sklearn.h5
	@echo; echo "Look into demo/: digits.h5 (the store), probes.h5 (the probes), error-by-layer.svg (the figure)."

# As many processes as there are cores; one that has nothing left takes from another.
test: .venv/ready-test
	.venv/bin/python -m pytest -n auto --dist worksteal

# 1,000 kills, every failing call, every crash and power loss between two of them; then for half an hour random sequences
# of everything that is done to stores, 1,000 at least. One part: make crash CRASH='--part sequences --minutes 5 --seed 7'
crash: .venv/ready-test
	PYTHONPATH=.:tests .venv/bin/python -m crash $(CRASH)

test-frameworks: .venv-frameworks/ready
	.venv-frameworks/bin/python -m pytest -m framework tests

# The package at its lower bounds; with the frameworks onnx, jax and keras at theirs (torch and transformers are pinned).
test-lowest: .venv-lowest/ready .venv-lowest-frameworks/ready
	.venv-lowest/bin/python -m pytest tests $(LOWEST)
	KERAS_BACKEND=jax .venv-lowest-frameworks/bin/python -m pytest -m framework -k 'onnx or keras or jax' tests/frameworks $(LOWEST)

# Keras once more: TensorFlow wants an older h5py than the rest, so it has an environment and pins of its own.
test-tensorflow: .venv-tensorflow/ready
	.venv-tensorflow/bin/python -m pytest -m framework -k keras tests

# 20,000 mutations of a store, 5,000 of files of others, 5,000 of probe files; fewer: make fuzz FUZZ='--seed 2 --count 1000'
fuzz: .venv/ready-test
	.venv/bin/python -m tests.fuzz $(FUZZ)

# Whether intervals of 95% cover: three seeds of 2,000 samples each, a quarter of an hour; docs/metrics.md has the table.
coverage: .venv/ready-test
	PYTHONPATH=. .venv/bin/python -m tests.benchmarks.coverage $(COVERAGE)

check: .venv/ready-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/ready-dev
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# Hours; it goes on where it was cut off. One page: make reproduce-figure7; small: QUICK=1; MNIST elsewhere: MNIST=FILE.
REPRODUCE = .venv-reproduce/bin/python docs/reproductions/reproduce.py $(if $(QUICK),--quick) $(if $(MNIST),--mnist $(MNIST))

reproduce: .venv-reproduce/ready
	$(REPRODUCE)

reproduce-%: .venv-reproduce/ready
	$(REPRODUCE) $*

figure3: reproduce-figure3

# Everything is written under BENCH, which says what disk is measured; the machine should do nothing else.
BENCH ?= build/bench

bench-store: .venv-bench/ready
	@mkdir -p $(BENCH)
	.venv-bench/bin/python tests/benchmarks/bench_writing.py --folder $(BENCH)
	.venv-bench/bin/python tests/benchmarks/bench_reading.py --folder $(BENCH)

bench-forward: .venv-bench/ready
	@mkdir -p $(BENCH)
	.venv-bench/bin/python tests/benchmarks/bench_forward.py --folder $(BENCH)

# Minutes. What was measured lies in BENCH/*.jsonl: tests/benchmarks/bench_solver.py --continue, --table-only.
bench-solver: .venv-bench/ready
	@mkdir -p $(BENCH)
	test -f build/bench/ewt.npz || .venv-bench/bin/python tests/benchmarks/word_vectors.py
	.venv-bench/bin/python tests/benchmarks/bench_solver.py --folder $(BENCH)
	.venv-bench/bin/python tests/benchmarks/bench_sweep.py --folder $(BENCH)
	.venv-bench/bin/python tests/benchmarks/bench_streaming.py --folder $(BENCH) --mb 256

# A day or so; it goes on where it was cut off.
bench-solver-full: .venv-bench/ready
	@mkdir -p $(BENCH)
	test -f build/bench/ewt.npz || .venv-bench/bin/python tests/benchmarks/word_vectors.py
	.venv-bench/bin/python tests/benchmarks/bench_solver.py --folder $(BENCH) --full --continue
	.venv-bench/bin/python tests/benchmarks/bench_sweep.py --folder $(BENCH) --full --continue
	.venv-bench/bin/python tests/benchmarks/bench_streaming.py --folder $(BENCH) --mb 2048 --memory-mb 256

# In whatever environment has a CuPy that fits the GPU (and torch, to be set against): make bench-gpu GPU_PYTHON=python
GPU_PYTHON ?= .venv-bench/bin/python
bench-gpu: $(if $(filter .venv-bench/%,$(GPU_PYTHON)),.venv-bench/ready)
	PYTHONPATH=. $(GPU_PYTHON) tests/benchmarks/bench_gpu.py

clean:
	rm -rf .venv .venv-frameworks .venv-tensorflow .venv-lowest .venv-lowest-frameworks .venv-bench .venv-reproduce build/bench build/reproductions demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# One environment grows by extras; frameworks get their own, so that the first stays a machine without any.
.venv/ready-%: pyproject.toml constraints.txt | .venv/bin/python
	.venv/bin/python -m pip install --quiet -c constraints.txt -e '.[$*]'
	@touch $@

.venv-frameworks/ready: pyproject.toml constraints.txt
	@$(call python_is_new_enough)
	$(PYTHON) -m venv .venv-frameworks
	.venv-frameworks/bin/python -m pip install --quiet -c constraints.txt -e '.[test-frameworks]'
	@touch $@

.venv-tensorflow/ready: pyproject.toml constraints-tensorflow.txt
	@$(call python_is_new_enough)
	$(PYTHON) -m venv .venv-tensorflow
	.venv-tensorflow/bin/python -m pip install --quiet -c constraints-tensorflow.txt -e '.[test-tensorflow]'
	@touch $@

.venv-lowest/ready: pyproject.toml constraints-lowest.txt
	@$(call python_is_new_enough)
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet -c constraints-lowest.txt -e '.[test]'
	@touch $@

.venv-lowest-frameworks/ready: pyproject.toml constraints-lowest-frameworks.txt
	@$(call python_is_new_enough)
	$(PYTHON) -m venv .venv-lowest-frameworks
	.venv-lowest-frameworks/bin/python -m pip install --quiet -c constraints-lowest-frameworks.txt -e '.[test,onnx,keras,jax]' torch==2.13.0
	@touch $@

.venv-bench/ready: pyproject.toml constraints.txt
	@$(call python_is_new_enough)
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet -c constraints.txt -e '.[bench,torch]'
	@touch $@

.venv-reproduce/ready: pyproject.toml constraints.txt
	@$(call python_is_new_enough)
	$(PYTHON) -m venv .venv-reproduce
	.venv-reproduce/bin/python -m pip install --quiet -c constraints.txt -e '.[report,torch]'
	@touch $@

.venv/bin/python:
	@$(call python_is_new_enough)
	$(PYTHON) -m venv .venv

python_is_new_enough = $(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or \
	sys.exit("actstore needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + "; try: make PYTHON=python3.12 ...")'
