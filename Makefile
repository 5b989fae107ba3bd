# theramap: `make demo` and `make test` each work alone in a fresh clone.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null && echo $$p && break; \
  done || echo python3)
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements.lock
# PyTorch's own index has the CPU build; a plain `torch` from PyPI brings gigabytes of CUDA.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
GPU ?= 0
STAMP := $(VENV)/.installed-gpu$(GPU)

.PHONY: demo test test-slow torture bench train crossvalidate train-outcome image audit lint types lock \
  system-packages clean

demo: $(STAMP)
	$(BIN)/theramap demo demo-out

test: $(STAMP) system-packages
	$(BIN)/pytest -m "not slow"

test-slow: $(STAMP) system-packages
	$(BIN)/pytest -m slow --timeout 1200

# Kills every process of the gateway at random while studies come in; KILLS=200 SEED=1.
KILLS ?= 200
SEED ?= 1
torture: $(STAMP) system-packages
	$(BIN)/python -m tests.torture --kills $(KILLS) --seed $(SEED)

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks

# The lesion model that ships, from published images in DATA (models/petct_lesion/README.md); both go on where
# they were broken off.
DATA ?= ../shared/data
train: $(STAMP)
	$(BIN)/python -m models.petct_lesion.training train --data $(DATA)

crossvalidate: $(STAMP)
	$(BIN)/python -m models.petct_lesion.training crossvalidate --data $(DATA)

train-outcome: $(STAMP)
	$(BIN)/python -m models.sts_metastasis.training --data $(DATA)

# The CPU image, really built twice, and run by Linux itself and by podman (docs/container.md).
image: $(STAMP) system-packages
	for p in buildah mmdebstrap podman runc; do \
	  command -v $$p >/dev/null || apt-get install -y -qq --no-install-recommends $$p || exit 1; done
	IMAGE_FOLDER=build/image $(BIN)/pytest -m slow tests/integration/test_image*.py -rA -s

# Every locked version against the published vulnerabilities; needs their data: api.osv.dev, or OSV_URL.
audit:
	PYTHON="$(PYTHON)" .ci/audit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

$(STAMP): pyproject.toml $(LOCK) .ci/install .ci/nnunet-peer .ci/without-dependencies
	PYTHON="$(PYTHON)" VENV="$(VENV)" LOCK="$(LOCK)" GPU="$(GPU)" TORCH_INDEX="$(TORCH_INDEX)" .ci/install
	touch $@

# What the integration tests need beside Python; without root they say by name what is missing.
system-packages:
	@.ci/system-packages

lock:
	PYTHON="$(PYTHON)" .ci/lock > $(LOCK).new && mv $(LOCK).new $(LOCK)

clean:
	rm -rf $(VENV) demo-out build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
