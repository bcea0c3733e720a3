# The verbs of this house. `make help` lists them; each is one script or one cargo command, so that
# what a verb does can be read here or one file further.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.tools/bin:$(PATH)
STEP := scripts/step

.PHONY: help demo test lint proto bench bench-attribution bench-classify bench-next-item bench-recommend doc deny tools ci golden helm-render

help: ## Lists the verbs.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: ## The guided tour: five services in one process. Needs a Rust toolchain and gcc, nothing else.
	cargo run --release --locked -p rapport-suite --bin rapport -- demo

test: tools ## Installs what the tests need, starts Postgres and Redis, and runs every test.
	@$(STEP) "test dependencies" scripts/install-test-deps
	@scripts/test

lint: tools ## Format, clippy, protos, licences, charts, image, scripts: all that needs no server.
	@$(STEP) "format" cargo fmt --all --check
	@$(STEP) "scripts" scripts/lint-scripts
	@$(STEP) "protos" scripts/proto
	@$(STEP) "serenade's lock" scripts/lint-serenade
	@$(STEP) "dependencies" $(MAKE) --no-print-directory deny
	@$(STEP) "charts" scripts/charts
	@$(STEP) "image" hadolint Containerfile
	@$(STEP) "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings

proto: tools ## Lints and formats the protos and refuses a change that breaks a client.
	@scripts/proto

bench: ## Runs the benchmarks, or those of BENCH="NAME …"; RESULTS.md in bench/ says what each means.
	cargo build --release --locked --workspace --bins
	"$${CARGO_TARGET_DIR:-target}/release/rapport-bench" $(BENCH)

# Real files to measure on: a folder `data` here, or one beside this checkout.
DATA ?= $(firstword $(wildcard data ../shared/data) data)
TARGET = $${CARGO_TARGET_DIR:-target}

bench-attribution: ## Attribution beside ChannelAttribution on PATHS=FILE: same answer, how much faster.
	@$(STEP) "rivals" scripts/venv rivals
	cargo build --release --locked -p rapport-lab
	.tools/rivals/bin/python bench/rivals/attribution.py "$(TARGET)/release/rapport-lab" \
	  "$(or $(PATHS),$(DATA)/evaluate/journeys.csv.gz)"

bench-classify: ## Texts beside TF-IDF + LinearSVC on TRAIN=FILE TEST=FILE: same rows, accuracy and macro-F1.
	@$(STEP) "rivals" scripts/venv rivals
	cargo build --release --locked -p rapport-lab
	.tools/rivals/bin/python bench/rivals/classify.py "$(TARGET)/release/rapport-lab" \
	  "$(or $(TRAIN),$(DATA)/care/zh_emotion/train.csv.gz)" "$(or $(TEST),$(DATA)/care/zh_emotion/test.csv.gz)" --drop-overlap

bench-next-item: ## Session models beside Serenade on TRAIN=FILE TEST=FILE: quality, predictions per CPU-second.
	cargo run --release --locked --manifest-path bench/serenade/Cargo.toml --target-dir "$(TARGET)/serenade" -- \
	  "$(or $(TRAIN),$(DATA)/next_item/diginetica/train.csv.gz)" "$(or $(TEST),$(DATA)/next_item/diginetica/test.csv.gz)"

bench-recommend: ## iALS beside implicit on TRAIN=FILE TEST=FILE: CPU-seconds to the same loss, ranking.
	@$(STEP) "rivals" scripts/venv rivals
	cargo build --release --locked -p rapport-lab
	cargo build --release --locked -p recommend-domain --example ials_rate
	.tools/rivals/bin/python bench/rivals/recommend.py "$(TARGET)/release/examples/ials_rate" "$(TARGET)/release/rapport-lab" \
	  "$(or $(TRAIN),$(DATA)/recommend/gowalla/train.csv.gz)" "$(or $(TEST),$(DATA)/recommend/gowalla/test.csv.gz)"

doc: ## Builds the documentation of every crate; a broken link is an error.
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

deny: tools ## Refuses forbidden crates, licences and sources.
	@cargo-deny --locked check bans licenses sources

tools: ## Installs the pinned tools into .tools; quick when they are there.
	@scripts/tools

ci: ## What CI runs: lint, then every test. Stops at the first failure.
	@$(STEP) "lint" $(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test

golden: helm-render ## Rewrites the golden files (references, snapshots, k8s/). Read the diff before committing.
	@$(STEP) "references" scripts/golden
	INSTA_UPDATE=always scripts/test

helm-render: tools ## Renders helm/rapport into k8s/.
	@scripts/helm-render
