# pypid: `make run` starts it, `make test` tests it. Nothing has to be done before either; see docs/project/developing.rst.

PYTHON := $(or $(PYTHON),$(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done))
CONFIG ?= etc/pypid.ini
JOBS ?= 2
# The optional parts that `make run` installs: extras of setup.py with commas between them, as in EXTRAS=s3,postgresql
EXTRAS ?= all
BIN := .venv/bin
CONTAINER ?= $(shell command -v podman || echo docker)
PYPICLOUD := packages/pypid-pypicloud
NEEDS := setup.py pyproject.toml constraints.txt src/pypid/__init__.py $(PYPICLOUD)/setup.py
PATHS := src tests benchmarks setup.py $(PYPICLOUD)/setup.py packages/binary pypid.tac
UNIT := $(sort $(patsubst %/__init__.py,%,$(filter-out tests/live/% tests/nightly/% tests/support/%,$(wildcard tests/*/__init__.py))) $(wildcard tests/test_*.py))
# Where the unit tests write, if TMPDIR is not set: in memory, if there is room. They sync so often that on a disk they waited
# a third of their time. The live tests write to the disk, as pypid does.
MEMORY = $(shell [ "$$(df --output=avail -m /dev/shm 2>/dev/null | tail -n 1)" -ge 2048 ] 2>/dev/null && [ -w /dev/shm ] && echo /dev/shm)
# One process more than cores: some test always waits, for a process that starts, a timeout, or a client that tries again.
TRIAL = exec $(BIN)/python -m tests.parallel -j$$(($(JOBS) + 1))
# A client that cannot be installed is tried once in a run of make: see tests/live/clients.py
ifndef TEST_RUN
export TEST_RUN := $(shell date +%s.%N)
endif

.PHONY: help run test ready check docs man links screenshots unit clients live nightly long gauntlet bench dist binary deb image clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' $(MAKEFILE_LIST)

run: .venv/run-$(EXTRAS).stamp  ## start the daemon in the foreground, with CONFIG (etc/pypid.ini); Ctrl-C stops it
	@exec $(BIN)/pypid serve --config $(CONFIG)

test: ready unit live  ## everything below, as CI does it

ready: .venv/test.stamp
	@$(MAKE) --no-print-directory --jobs=$(JOBS) --output-sync=target check docs clients

check: .venv/test.stamp  ## style, types, layers, ceilings and plain language
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.ceilings
	$(BIN)/python -m tests.prose

docs: .venv/test.stamp  ## build/docs from docs/; a warning is an error
	$(if $(wildcard docs/conf.py),$(BIN)/sphinx-build -W --keep-going -q -d build/doctrees docs build/docs,@echo "docs/conf.py is not there yet")

man: .venv/test.stamp  ## build/man/pypid.1, the manual page
	$(BIN)/sphinx-build -b man -W --keep-going -q -d build/doctrees docs build/man

links: .venv/test.stamp  ## check the links of docs/ to other sites; needs the internet, so it is not part of test
	$(BIN)/sphinx-build -b linkcheck --keep-going -q -d build/doctrees docs build/links

screenshots: .venv/test.stamp  ## the pictures in docs/_static, of a real site with example projects; needs Chromium
	CI=1 $(BIN)/trial --temp-directory=build/trial-screenshots tests.nightly.test_screenshots.DrawingTests
	cp build/screenshots/project-light.png build/screenshots/project-dark.png docs/_static/

unit: .venv/test.stamp  ## the fast tests: rules, contracts, routes
	@export TMPDIR="$(or $(TMPDIR),$(MEMORY),/tmp)"; $(TRIAL) $(subst /,.,$(UNIT:.py=))

clients: .venv/test.stamp  ## .clients/, the programs that live tests drive
	@$(BIN)/python -m tests.live.clients

live: clients  ## a real daemon with real clients; what the machine lacks is skipped by name
	@$(TRIAL) tests.live

nightly: long gauntlet  ## for a scheduled run: packages, containers, charts, an upgrade, fuzzing, full disks; then gauntlet

long: clients
	@$(TRIAL) tests.nightly

gauntlet: .venv/test.stamp  ## kills, failing disks, deletions and losses, in up to 30 minutes
	@exec $(BIN)/python -m tests.live.gauntlet -j$(JOBS)

bench: .venv/run-all.stamp  ## what we claim about speed and memory: build/figures/figures.rst, in less than 20 minutes
	@$(BIN)/python benchmarks/peers.py --install
	@$(BIN)/python benchmarks/_all.py

# Where setup.py looks for the documentation that it puts into the package
define copy_docs
	@rm -rf docs/_build build/lib $(PYPICLOUD)/build; mkdir -p dist; \
		if [ -e build/docs/index.html ]; then mkdir -p docs/_build && cp -r build/docs docs/_build/html; \
			[ ! -d build/man ] || cp -r build/man docs/_build/man; \
		else echo "The documentation is not built, so it will be missing. To have it: make docs, then this again." >&2; fi
endef

dist: docs man build/tools.stamp  ## dist/*.whl and dist/*.tar.gz, with the documentation; also the wheel of pypid-pypicloud
	$(copy_docs)
	@rm -f dist/pypid_server-* dist/pypid_pypicloud-*
	build/tools/bin/python -m build --quiet --outdir dist .
	build/tools/bin/python -m build --quiet --outdir dist --wheel $(PYPICLOUD)
	@rm -rf docs/_build $(PYPICLOUD)/build; ls -l dist

binary: dist/pypid  ## one file, dist/pypid, for a bare Python of the version that builds it

dist/pypid: build/tools.stamp $(shell find src etc packages -name '*.egg-info' -prune -o -type f -not -name '*.pyc' -not -name dropin.cache -print)
	$(copy_docs)
	@rm -rf build/binary
	build/tools/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --target build/binary \
		--constraint constraints.txt '.[all]'
	build/tools/bin/python packages/binary/prune.py build/binary
	build/tools/bin/shiv --site-packages build/binary --console-script pypid --preamble packages/binary/preamble.py --output-file $@ \
		--python "/usr/bin/env $$(build/tools/bin/python -c 'import sys; print("python%d.%d" % sys.version_info[:2])')"
	@rm -rf build/binary docs/_build

# What builds the distributions and the binary, and nothing else
build/tools.stamp: constraints.txt | .venv/bin/python
	@$(BIN)/python -m venv --clear build/tools
	@build/tools/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt build shiv
	@touch $@

deb: docs man  ## dist/pypid-server_VERSION_ARCH.deb, for the Debian or Ubuntu release that builds it
	$(copy_docs)
	@PIP='$(BIN)/python -m pip' EXTRAS=$(EXTRAS) sh etc/deb/build.sh
	@rm -rf docs/_build

image: docs .containerignore  ## the container image `pypid`, by podman or docker
	$(copy_docs)
	$(CONTAINER) build $(if $(findstring podman,$(CONTAINER)),--format docker) --file etc/Containerfile --tag pypid .
	@rm -rf docs/_build

clean:  ## forget what was built and installed; never what pypid keeps (var/)
	rm -rf .venv .clients build dist docs/_build packages/*/build packages/*/*.egg-info src/*.egg-info src/twisted/plugins/dropin.cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

.venv/bin/python:
	@test -w . || { echo "$$(id -un) cannot write in $$(pwd): make a copy of your own, then run make there." >&2; exit 1; }
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found. On Debian: apt install python3 python3-venv;" \
		"elsewhere name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments. On Debian: apt install python3-venv" >&2; exit 1; }
	@echo "Setting pypid up in .venv, for this folder only. The first time this takes a minute or two."
	@$(PYTHON) -m venv --clear .venv || { rm -rf .venv; exit 1; }

# Install pypid with $(WITH) in place. The distribution was called `pypid` once: an installation of that name is removed first,
# because both have the command `pypid`. Of pip's output one line for each package that it fetches is shown.
define install
	@rm -rf src/pypid.egg-info
	@! ls -d .venv/lib/python3*/site-packages/pypid-*.dist-info >/dev/null 2>&1 || $(BIN)/python -m pip uninstall --quiet --yes pypid
	@{ PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --progress-bar off --disable-pip-version-check --constraint constraints.txt \
		--editable '.[$(WITH)]' && \
		$(BIN)/python -m pip install --quiet --no-deps ./$(PYPICLOUD) && touch $@.done; } | \
		sed -un 's/^Collecting \([^ ]*\).*/  \1/p; s/^Installing collected .*/  installing all of them/p'
	@rm $@.done 2>/dev/null || { echo "pip could not install pypid; see above." >&2; exit 1; }
endef

.venv/run-$(EXTRAS).stamp: WITH = $(EXTRAS)
.venv/run-$(EXTRAS).stamp: $(NEEDS) | .venv/bin/python
	@echo "Installing pypid with [$(EXTRAS)] and what it needs into .venv:"
	$(install)
	@touch $@

.venv/test.stamp: WITH = all,test,docs
.venv/test.stamp: $(NEEDS) | .venv/bin/python
	@echo "Installing pypid, what it needs and the tools of the tests into .venv:"
	$(install)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[ldap]' >/dev/null 2>&1 || \
		echo "python-ldap cannot be built here, so the tests of LDAP are skipped. On Debian:" \
			"apt install gcc python3-dev libldap2-dev libsasl2-dev; then rm $@ and make again."
	@# `trial` does not look in the current folder, in which `tests` lies
	@pwd > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/checkout.pth"
	@touch $@ .venv/run-all.stamp
