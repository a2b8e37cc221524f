# The names of the original's targets, as thin wrappers around cargo.

.PHONY: run test test-integration test-coverage load bench fmt vet clean

run:
	cargo run --release

test:
	cargo test --workspace

test-integration:
	cargo test -p osprey-tests

# What of the core is reached by its tests, the simulator, the small scope and the corpora, all in one process each: without the tests of the real server, which
# meet the core only from afar. With the lines that aren't: docs/SIMULATOR.md names why. As pages: make test-coverage ARGS=--html
in_process = $(basename $(notdir $(shell grep -L server_process core/tests/*.rs tests/tests/*.rs)))
test-coverage:
	@cargo llvm-cov --version >/dev/null 2>&1 || { \
		echo "test-coverage needs cargo-llvm-cov: cargo install cargo-llvm-cov && rustup component add llvm-tools" >&2; \
		exit 1; \
	}
	cargo llvm-cov -p osprey-core -p osprey-tests --lib $(foreach test,$(in_process),--test $(test)) $(or $(ARGS),--show-missing-lines)

# Load for one server. Options go behind it: make load ARGS="--op get --pipeline 16"
load:
	cargo run --release --bin osprey-bench -- $(ARGS)

# Osprey beside Redis and memcached, some ten minutes on a quiet machine: docs/benchmarks. To see that it works: make bench ARGS=--quick
bench:
	cargo build --release -p osprey --bin osprey --bin osprey-bench
	cargo run --release -p osprey-tests --bin bench -- $(ARGS)

fmt:
	cargo fmt --all

vet:
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps

# Only what cargo built. Databases are the user's: ./data stays.
clean:
	cargo clean

# The whole gate: format, lints, documentation, tests, no_std proof, fuzzing.
.PHONY: ci fuzz
ci:
	.ci/run

# Plants bugs, one after the other, and has the simulator find them; a few of them: make museum ARGS=--fast
.PHONY: museum
museum:
	RUSTFLAGS="$$RUSTFLAGS --cfg museum" cargo run --profile museum --target-dir target/museum -p osprey-tests --bin museum -- $(ARGS)

# The same for the server and the tools, whose bugs their tests have to find: make museum-real ARGS="--only draft_left"
.PHONY: museum-real
museum-real:
	RUSTFLAGS="$$RUSTFLAGS --cfg museum" cargo run --profile museum --target-dir target/museum -p osprey-tests --bin museum_real -- $(ARGS)

# Changes the core in one place at a time, and lists what no test noticed: needs cargo-mutants. A part: make mutants ARGS='--re wal/'
.PHONY: mutants
mutants:
	cargo mutants -p osprey-core --test-workspace=true --baseline=skip --timeout 120 --output target/mutants $(ARGS)

# One fuzz target until it is stopped: make fuzz TARGET=parser
fuzz:
	cargo +nightly fuzz run $(TARGET) -- -max_len=4096 -dict=fuzz/protocol.dict

# Instructions of the engine for a request, counted by valgrind and compared with tests/instructions.txt; to renew that: make instructions ARGS=--renew
.PHONY: instructions
instructions:
	cargo build --release -p osprey-tests --example request_cost
	cargo run --release -p osprey-tests --bin instructions -- $(ARGS)

# What osprey-core promises to its users, as a list that is compared in the gate: needs cargo-public-api and nightly. To renew it: make public-api ARGS=--renew
.PHONY: public-api
public-api:
	@docs/public-api $(ARGS)

# Whether every public item of both crates has an example, by the rule in tests/src/bin/api_examples.rs: needs nightly, for rustdoc's JSON. cargo test runs the examples.
.PHONY: api-examples
api-examples:
	cargo run --quiet -p osprey-tests --bin api_examples
