# make demo   the main job on drawn scenes: prepare, train, score, caption, report; then real photographs, told by a
#             captioner that is here; DEMO="--seed 1" and more options in place of these
# make bench  the table of speeds: minutes alone on a quiet machine; BENCH="--only search" and more options
# make browser  the tests of the page of showtell serve in headless Chromium, which it installs (Debian, Ubuntu)
# make torture  faults of the disk at every file operation of every command: hours; TORTURE=--quick for minutes
# make docs   the documentation site in build/docs; warnings are errors
# make results  docs/results/flickr8k.md from the captions in docs/results/captions; needs data/flickr8k, METEOR's extra and Java
# make test   lint, types, import contract, tests: minutes
# make thorough  the tests marked so: more variants, whole trainings, processes; CI runs it after make test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
DEMO ?= --captioner models/flickr8k --images examples

.PHONY: demo test check thorough slow browser bench docs results clean

demo: $(STAMP)
	$(BIN)/showtell demo --out demo $(DEMO)

# Bytecode: without it each process of the tests compiles the package and its tests again.
test thorough: export PYTHONDONTWRITEBYTECODE =
test: check
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(STAMP)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

thorough: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "thorough and not slow and not java and not browser"

slow: $(STAMP)
	$(BIN)/python -m pytest -m "slow or java"

browser: $(STAMP)
	command -v chromium || command -v google-chrome || { \
	  sudo=$$(test "$$(id -u)" = 0 || echo sudo); $$sudo apt-get update -qq && $$sudo apt-get install -y -qq chromium; }
	$(BIN)/python -c 'import sys; from importlib.util import find_spec; sys.exit(not all(map(find_spec, sys.argv[1:])))' \
	  playwright axe_playwright_python || \
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browser]'
	$(BIN)/python -m pytest -m browser tests/serve

bench: $(STAMP)
	$(BIN)/python -c 'import sys; from importlib.util import find_spec; sys.exit(not all(map(find_spec, sys.argv[1:])))' \
	  onnxscript onnxruntime transformers pycocoevalcap openvino || \
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[export,bench]'
	$(BIN)/python -m benchmarks $(BENCH)

torture: $(STAMP)
	$(BIN)/python -m benchmarks.torture $(TORTURE)

docs: $(STAMP)
	$(BIN)/python -c 'import sys; from importlib.util import find_spec; sys.exit(not all(map(find_spec, sys.argv[1:])))' \
	  sphinx myst_parser pydata_sphinx_theme || \
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs build/docs

CAPTIONS := docs/results/captions
results: $(STAMP)
	$(BIN)/showtell leaderboard $(CAPTIONS)/flickr8k.jsonl $(CAPTIONS)/flickr8k-without-retrieval.jsonl \
	  $(CAPTIONS)/flickr8k-two-encoders.jsonl $(CAPTIONS)/flickr8k-best-rl.jsonl --baseline $(CAPTIONS)/flickr8k-without-retrieval.jsonl \
	  --data data/flickr8k --split dev --meteor -o docs/results/flickr8k.md

$(STAMP): pyproject.toml constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name it: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,track,tune,datasets,heif,jxl,xmp,inspect,languages,export,serve,dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) demo
