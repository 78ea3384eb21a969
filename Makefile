# make demo   a real model through the whole pipeline, the trade-off table at the end
# make test   the tests
# Both set up .venv first, if it is not there (tools/setup_env.sh).
SHELL := /bin/bash
VENV := .venv/bin
ENDED := { code=$$?; echo "pytest ended with $$code; the last test was $$(cat .pytest_cache/d/running/test)"; exit $$code; }

.PHONY: help setup demo test test-slow lint readme lock clean

help:
	@sed -n '1,3s/^# //p' Makefile

setup:
	@tools/setup_env.sh

demo: setup
	$(VENV)/quantcurve run recipes/smollm2-135m-openvino.yaml

test: setup
	$(VENV)/python -m pytest -m "not slow" || $(ENDED)

test-slow: setup
	$(VENV)/python -m pytest -m slow || $(ENDED)

lint: setup
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/python tools/make_manifest.py --check

# Rewrites the shown output in README.md; `.ci/run` checks that it is current.
readme: setup
	$(VENV)/cog -r -I tools README.md

# Pins every package anew, without llama-cpp-python and torch, which files of their own pin, and without torchvision and
# sentence-transformers, which optimum-intel and the demo's encoder declare and nothing here imports. With
# UV_FIND_LINKS naming a folder with PyTorch's build for CPUs, its packages for GPUs stay out.
lock:
	$(VENV)/uv pip compile --quiet --generate-hashes --no-annotate --no-header --upgrade \
	  --no-emit-package llama-cpp-python --no-emit-package torch --no-emit-package torchvision \
	  --no-emit-package sentence-transformers --extra demo --extra encoder-demo --extra dev --extra openvino --extra eval \
	  --output-file requirements.lock pyproject.toml

clean:
	rm -rf .venv build dist
