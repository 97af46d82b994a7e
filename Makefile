# Begin with `make demo` and `make test`. Each target sets up .venv from requirements.lock when it has to.
VENV := .venv
PYTHON ?= python3
export RLU_CACHE_DIR := $(CURDIR)/.cache

.PHONY: demo test test-slow lint docs experiments mutate coverage prove soc setup clean

demo: setup
	$(VENV)/bin/rlu tune --device sim --data digits --seed 1 --out runs/demo --resume
	$(VENV)/bin/rlu report runs/demo docs/results/published-run -o runs/demo/report.html

test: setup lint
	$(VENV)/bin/python -m pytest -m "not slow" -n auto --dist loadfile

test-slow: setup
	$(VENV)/bin/python -m pytest -m slow

experiments: setup
	$(VENV)/bin/rlu experiment all --docs docs

mutate: setup
	$(VENV)/bin/python -m tb.mutate

coverage: setup
	$(VENV)/bin/python -m tb.coverage

prove: setup
	$(VENV)/bin/python -m tb.prove --deep

soc: setup
	$(VENV)/bin/rlu soc
	$(VENV)/bin/rlu soc --cpu picorv32
	$(VENV)/bin/rlu soc --board ulx3s-85f

lint: setup
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

docs: setup
	$(VENV)/bin/python -m docs.programs.generate

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed: apt-get install python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: apt-get install python3.11, then make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv is not installed: apt-get install python3-venv"; exit 1; }
	@command -v g++ >/dev/null || { echo "a C++ compiler is not installed: apt-get install g++"; exit 1; }
	@command -v perl >/dev/null || { echo "perl is not installed: apt-get install perl"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[train,search,export,zigzag,fed,ray,fpga,registers,soc,dev]'
	@touch $@

clean:
	rm -rf $(VENV) .cache build runs *.egg-info
