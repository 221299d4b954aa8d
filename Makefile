# Python 3.10 to 3.14 and make are enough: every target makes its environment first, once, in .venv.
# Another Python: make PYTHON=/path/to/python. Another scale: make run SOTA_VISION_PROFILE=cpu (or gpu).

FITS   := import sys, venv, ensurepip; sys.exit(not (3,10) <= sys.version_info[:2] <= (3,14))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python; do \
            $$p -c '$(FITS)' >/dev/null 2>&1 && echo $$p && break; done)
NONE   := No Python 3.10 to 3.14 with venv found: install one (Debian and Ubuntu: apt install python3-venv) \
          or name it with make PYTHON=/path/to/python
BIN    := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
ENV    := .venv/made

export PYTHONUTF8 := 1
.PHONY: help run lab play site site-test test test-all ruff nbdev-test wheel-check pytest pytest-all quotes readme clean
.NOTPARALLEL:

help:         ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1: /p' Makefile

# Compiled to bytecode now, so that a hundred short-lived processes do not each do it again where Python may not write.
$(ENV): settings.ini setup.py pyproject.toml
	$(or $(PYTHON),$(error $(NONE))) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/python -m uv pip install --compile-bytecode --python $(BIN)/python \
	  --reinstall-package sota_vision --editable '.[dev]'
	@touch $@

run: export SOTA_VISION_PROFILE ?= tiny
run: $(ENV)   ## execute the whole series, leave it in executed/
	$(BIN)/sota_series

lab: $(ENV)   ## open the series in JupyterLab
	$(BIN)/jupyter lab nbs

play: export SOTA_VISION_PROFILE ?= tiny
play: $(ENV)  ## open the playground: every widget on one page
	$(BIN)/voila nbs/playground.ipynb

.venv/site: $(ENV) tools/site/requirements.txt
	$(BIN)/python -m uv pip install --python $(BIN)/python --requirement tools/site/requirements.txt
	@touch $@

site site-test: export SOTA_VISION_PROFILE := tiny
site site-test: export SOTA_VISION_DATA :=
site site-test: export OMP_NUM_THREADS := 1
site: .venv/site     ## make the web site and its EPUB from the notebooks as they are, in _docs
	$(BIN)/python -W ignore -m tools.site

build/axe:
	npm install --silent --no-save --prefix $@ axe-core@4

site-test: site build/axe   ## look at every page of the site in Chromium; npm brings the checker of accessibility
	SOTA_VISION_NEED_BROWSER=1 SOTA_VISION_SITE=_docs $(BIN)/python -m pytest -rs -n 2 tests/test_site_browser.py

test test-all nbdev-test wheel-check pytest pytest-all: export SOTA_VISION_PROFILE := tiny
test test-all nbdev-test wheel-check pytest pytest-all: export SOTA_VISION_DATA :=
test: ruff nbdev-test pytest                     ## what a change needs: faults, every notebook, the quick tests
test-all: ruff nbdev-test wheel-check pytest-all ## the same with the wheel and the slow tests, as CI runs them

ruff: $(ENV)          ## look for faults and lines over 120 characters, in notebooks too
	$(BIN)/ruff check .

nbdev-test pytest pytest-all: export OMP_NUM_THREADS := 1
nbdev-test: export SOTA_VISION_PROFILE := quick
nbdev-test: $(ENV)    ## run every notebook and the tests in it
	$(BIN)/nbdev_test --n_workers 2 --do_print --timing

wheel-check: $(ENV)   ## the wheel beside the newest fastai and nbdev: every module, command and notebook
	$(BIN)/python tests/wheel_check.py

pytest: $(ENV)        ## exports, notebooks and README agree, imports point down only, and all other quick tests
	$(BIN)/python -m pytest -rs -n 2 --dist loadfile --no-loadscope-reorder -m 'not slow' tests

pytest-all: $(ENV)    ## the slow tests, too: processes that are killed, browsers, servers, hostile files
	$(BIN)/python -m pytest -rs -n 2 --dist loadfile --no-loadscope-reorder tests

quotes: $(ENV)        ## write what the ledger says now into the prose that quotes it
	$(BIN)/python tools/quotes.py

readme: $(ENV)        ## make README.md from nbs/index.ipynb
	$(BIN)/python tools/readme.py

clean:        ## remove the environment and everything made, but not your runs
	rm -rf .venv build dist executed _docs *.egg-info .pytest_cache .ruff_cache .hypothesis
