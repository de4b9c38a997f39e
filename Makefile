# The two commands are `make run` and `make test`; `make help` shows the rest.
# One profile for everything, so that `run` and `test` share their dependencies. CARGO_TARGET_DIR is honoured.

PROFILE ?= dev
CARGO   ?= cargo
export PATH := $(CURDIR)/.tools/bin:$(PATH)

# With a token and a repository to mirror it is the real thing, else the demo. `make run UP=...` decides otherwise.
UP ?= $(shell bootstrap/configured pipeline.toml && echo "--config pipeline.toml" || echo "--demo")

.DEFAULT_GOAL := help
# The steps of `test` are in the order in which they fail fastest; cargo itself uses all cores.
.NOTPARALLEL:
.PHONY: help bootstrap bootstrap-tests run build test bench-cost bench-freshness bench-reconcile bench-replay bench-webhooks fmt fmt-check lint doc build-tests doctest nextest clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

bootstrap: ## fetch nats-server and libduckdb.so into .tools/, pinned and checked
	@bootstrap/bootstrap

run: build ## mirror: GitHub with GITHUB_TOKEN and the repositories of pipeline.toml, else a demo
	$(CARGO) run --quiet --profile $(PROFILE) --bin prmirror -- up $(UP)

build: bootstrap ## build every binary
	$(CARGO) build --workspace --bins --profile $(PROFILE)

test: bootstrap-tests fmt-check lint doc build-tests doctest nextest ## every check and every test

# COST=--large adds 30,000 pull requests, COST=--huge the first mirror of 120,000 (both fail when a stage
# needs too much memory), COST=--hour tells whether one token's hour suffices for 30,000, COST="--latency 200"
# lets GitHub take longer. Not by -p: features are those of the whole workspace, and nothing is built twice.
bench-cost: build ## count what mirroring costs: points, requests, seconds; a table in Markdown
	@$(CARGO) run --quiet --profile $(PROFILE) --bin cost -- $(COST)

# An hour of a busy afternoon; FRESHNESS="--from 2024-11-11T12:00:00Z --until 2024-11-11T18:00:00Z", say, for
# another stretch, "--only polling --speed 20" for one way alone, sooner. Fails on a promise that is not kept, or about which
# nothing happened.
bench-freshness: build ## measure how long changes take from GitHub to the table, in recorded time
	@$(CARGO) run --quiet --profile $(PROFILE) --bin freshness -- $(FRESHNESS)

# RECONCILE=10000000 for ten million, RECONCILE="--thorough" compares every row. Fails when a run takes more than
# two seconds a million, or --within SECONDS.
bench-reconcile: bootstrap ## time reconciliation over a million pull requests, rule by rule; a table in Markdown
	@$(CARGO) run --quiet --profile $(PROFILE) --bin reconcile -- $(RECONCILE)

# The first run asks the simulator for every recorded answer, which takes minutes; they are kept beside the
# binaries. Fails below 500 answers a second, or REPLAY="--at-least N".
bench-replay: build ## measure a replay of the recorded answers, and DuckDB's read_json of the same; Markdown
	@$(CARGO) run --quiet --profile $(PROFILE) --bin bench-replay -- $(REPLAY)

# WEBHOOKS="--rate 500 --seconds 20" sends less.
bench-webhooks: build ## send 1,000 webhooks a second for a minute to a receiver; a table in Markdown
	@$(CARGO) run --quiet --profile $(PROFILE) --bin webhooks -- $(WEBHOOKS)

fmt: ## format the code
	$(CARGO) fmt --all

lint: bootstrap ## clippy with warnings denied; licences and sources too where cargo-deny is installed
	$(CARGO) clippy --workspace --all-targets --profile $(PROFILE) -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		echo "$(CARGO) deny check licenses bans sources"; $(CARGO) deny check licenses bans sources; \
	else echo "cargo-deny is not installed: licences and sources are not checked"; fi

doc: bootstrap ## build the documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --profile $(PROFILE)

clean: ## remove what was built and fetched here; the cache shared by checkouts stays
	$(CARGO) clean
	rm -rf .tools

# The parts of `test`.

bootstrap-tests:
	@bootstrap/bootstrap --tests

fmt-check:
	$(CARGO) fmt --all --check

# Binaries first and together with the tests: tests start the stages of other packages, and only one
# resolution of features makes every dependency be built once.
build-tests: bootstrap-tests
	$(CARGO) build --workspace --bins --tests --profile $(PROFILE)

doctest: build-tests
	$(CARGO) test --workspace --doc --quiet --profile $(PROFILE)

nextest: build-tests
	$(CARGO) nextest run --workspace --cargo-profile $(PROFILE)
