# Everything is done from here: `make demo` and `make test` do all of their own set-up.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BUILD   := $(CURDIR)/build
TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
TRIPLE  := $(shell uname -m)-unknown-linux-gnu
BILLET  := $(TARGET_DIR)/release/billet
AGENT   := $(TARGET_DIR)/$(TRIPLE)/agent/billet-agent
RAMDISK := $(BUILD)/ramdisk/billet.efi
IPXE    := $(BUILD)/ramdisk/ipxe.efi
IMAGE   := $(BUILD)/images/debian-12.raw.zst
VENV    := $(BUILD)/venv
DENY    := $(BUILD)/tools/bin/cargo-deny
export CARGO_TERM_COLOR ?= auto

.PHONY: help
help: ## Says what can be made
	@echo "Billet: bare metal GPUs from servers that you already have."
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

.PHONY: setup
setup: ## Installs what building and testing needs (Debian's packages, through sudo where not root)
	@scripts/setup

# --- what is built ---------------------------------------------------------

.PHONY: build
build: setup ## Builds the program and the agent, optimised
	cargo build --locked --release -p billet-cli
	@$(MAKE) --no-print-directory agent

# The agent is static: the ramdisk has nothing else in it. It is for the target
# by name, so that build scripts and macros are not made static too. Where Rust
# links with LLD, code that is there twice is kept once: two functions may have one
# address then, which Rust allows and nothing in the agent minds.
comma := ,
FOLD := $(if $(filter x86_64-%,$(TRIPLE)),-C link-arg=-Wl$(comma)--icf=all)
.PHONY: agent
agent:
	RUSTFLAGS="-C target-feature=+crt-static $(FOLD)" cargo build --locked --profile agent --target $(TRIPLE) -p billet-agent

# Both are kept: they are made anew only when what they are made of, or what
# makes the ramdisk, changed.
RAMDISK_MAKER := $(wildcard crates/media/src/ramdisk.rs crates/media/src/ramdisk/*.rs)
.PHONY: ramdisk
ramdisk: build $(RAMDISK) ## Builds the boot ramdisk: a distribution kernel and the agent
$(RAMDISK): $(AGENT) $(RAMDISK_MAKER)
	$(BILLET) ramdisk build --agent $(AGENT) --out $(BUILD)/ramdisk

# What runs tenants' iPXE scripts; a server finds it beside the ramdisk.
.PHONY: ipxe
ipxe: build $(IPXE) ## Gets iPXE from the distribution's packages
$(IPXE): | $(BILLET)
	$(BILLET) ramdisk ipxe --out $(BUILD)/ramdisk

# Made anew where what it is made by changed: an older one may lack what tests ask of it.
IMAGE_MAKER := $(wildcard crates/media/src/build.rs crates/media/src/build/*.rs)
.PHONY: image
image: build $(IMAGE) ## Builds a Debian 12 disk image from the distribution's packages
$(IMAGE): $(IMAGE_MAKER) | $(BILLET)
	$(BILLET) image build debian-12 --out $(IMAGE)
$(AGENT) $(BILLET): ;

# --- the demonstration ------------------------------------------------------

.PHONY: demo
demo: ## One machine's whole life: found, leased, used, erased with proof (KEEP=1 leaves it running)
	@$(MAKE) --no-print-directory ramdisk image
	@BILLET=$(BILLET) RAMDISK=$(RAMDISK) IMAGE=$(IMAGE) KEEP=$(KEEP) demo/demo

# --- tests ------------------------------------------------------------------

.PHONY: test
test: setup fmt lint doc deny test-rust ## All of the above and below: what CI runs

.PHONY: fmt
fmt:
	cargo fmt --all --check

.PHONY: lint
lint:
	cargo clippy --locked --workspace --all-targets -- -D warnings

.PHONY: doc
doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet

# Advisories need a database that is fetched from outside; where it cannot be
# had, that is said, and the rest is checked all the same.
.PHONY: deny
deny: $(DENY)
	$(DENY) --locked check bans licenses sources
	@$(DENY) --locked check advisories 2>$(BUILD)/advisories.log \
	  || { grep -q 'failed to fetch' $(BUILD)/advisories.log \
	       && echo "advisories: not checked, the advisory database cannot be fetched here" \
	       || { cat $(BUILD)/advisories.log; exit 1; }; }
$(DENY):
	cargo install --quiet cargo-deny --version 0.20.2 --locked --debug --root $(BUILD)/tools

$(VENV)/.done: tests/bmc-conformance/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.PHONY: test-rust
test-rust: setup $(VENV)/.done ## The tests alone
	@$(MAKE) --no-print-directory test-artifacts
	BILLET_TEST_VENV=$(VENV) BILLET_REQUIRE_POSTGRES=1 BILLET_TEST_QEMU=1 \
	BILLET_BIN=$(TARGET_DIR)/debug/billet BILLET_RAMDISK=$(RAMDISK) BILLET_IMAGE=$(IMAGE) \
	  cargo test --locked --workspace -- $(ALONE:%=--skip %)

# What media makes, booted with nothing else around it. The end-to-end tests
# boot the same, so these are for when one of those fails.
ALONE := the_built_image_boots_grows_and_lets_its_tenant_in \
         the_ramdisk_boots_from_a_virtual_cd_and_has_its_record
.PHONY: test-boot
test-boot: setup ## Boots the ramdisk and the image alone
	BILLET_TEST_QEMU=1 cargo test --locked -p billet-media --test media qemu::

# The end-to-end tests boot the real ramdisk and a real image. They are built
# with the program as the tests have it, so that it is compiled once.
.PHONY: test-artifacts
test-artifacts: agent
	cargo test --locked --workspace --no-run
	@$(MAKE) --no-print-directory BILLET=$(TARGET_DIR)/debug/billet $(RAMDISK) $(IMAGE)
	@$(MAKE) --no-print-directory BILLET=$(TARGET_DIR)/debug/billet $(IPXE) \
	  || echo "iPXE cannot be had here: what needs it is skipped"

# What is kept in crates/fuzz/corpus is gone through by the tests; this looks for more.
.PHONY: fuzz
fuzz: ## Fuzzes the parsers of what comes from outside (TARGET=… SECONDS=60)
	@scripts/fuzz "$(TARGET)" $(or $(SECONDS),60)

# --- figures ----------------------------------------------------------------

.PHONY: bench
bench: build ramdisk image ## Measures, beside what it compares with, and prints the figures
	BILLET_BIN=$(BILLET) BILLET_RAMDISK=$(RAMDISK) BILLET_IMAGE=$(IMAGE) BILLET_TEST_QEMU=1 \
	  cargo bench --locked -p billet-e2e --bench figures -- $(ONLY)

.PHONY: clean
clean: ## Removes what was built here
	cargo clean
	rm -rf $(BUILD) .demo
