# Two commands matter: `make demo` and `make test`. Both set up what they need in .venv first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Tests of one file stay in one process: they share ports, ptys and processes. The long files of tests/crash come early.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: bench demo test check lint set-up clean simulate soak deb sbom lock fuzz
set-up: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[hotplug,bench,test]'
	touch $@

demo: set-up
	$(BIN)/hwsim demo

test: set-up lint
	$(PYTEST)

check: set-up lint
	$(PYTEST) -m 'not slow'

simulate: set-up
	$(BIN)/python -m tests.simulation --seeds 10000

soak: set-up
	$(BIN)/python -m tests.simulation --soak --first $$(date +%s)

# Until it is stopped; what reaches something new is kept in the repository. TARGET: reply message stream api serial usb.
TARGET ?= reply
fuzz: set-up
	$(BIN)/python -m tests.fuzz $(TARGET) tests/fuzz/corpus/$(TARGET) -max_len=600 -rss_limit_mb=1024 -timeout=20

lint: set-up
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

bench: set-up
	$(BIN)/python -m tests.bench $(BENCH)

# The Debian package, in build/; its bill of materials lies inside, that of an installation with pip beside it.
deb: set-up sbom
	$(BIN)/python udev/make_deb.py

sbom: set-up
	$(BIN)/python udev/make_sbom.py build/sbom.cdx.json

# Pins the newest versions with their hashes; a release does this once, and commits the file.
lock: set-up
	$(BIN)/python udev/make_lock.py --write

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis .demo *.egg-info
