# make demo and make test are the two commands of the README; `make help` lists the rest.

CARGO ?= cargo
SEEDS ?= 200
PREFIX ?= /usr/local
DAEMONS = groupd spreadlogd vipd imgcache purged whosonline logmon
COMMANDS = groupctl logpub vipctl imgcachectl purge online logtop

.PHONY: help build demo test check simulate mutants fuzz busy ci-simulate conformance bench-cache bench-cache-memory bench-purge cache-limit bench-view bench-online bench-flood bench-logs torture bench-vip ci-vip vip-mutants install clean

help:
	@echo 'make demo          run the whole thing on this machine: no root, no network'
	@echo 'make test          run the tests; ends with a list of what was skipped and why'
	@echo 'make check         formatting, lints, docs, man pages'
	@echo 'make simulate      the ring in simulation: SEEDS=n, or SEED=s to replay one'
	@echo 'make mutants       plant each known bug and see the simulator catch it'
	@echo 'make ci-simulate   the simulation at the size that CI asks for'
	@echo 'make fuzz          feed every parser for SECONDS=60 each, or TARGET=name alone'
	@echo 'make busy          both cores busy for SECONDS=600: no view may change'
	@echo 'make conformance   http-cache-tests against imgcache and nginx; needs node and npm'
	@echo 'make bench-view    how fast views change, in network namespaces'
	@echo 'make bench-cache   imgcache beside nginx and varnish; needs wrk and nginx'
	@echo 'make bench-cache-memory  imgcache with a million objects, and idle connections beside nginx'
	@echo 'make bench-purge   how fast three caches confirm one purge, and a list of 10,000'
	@echo 'make cache-limit   CacheSize by du, with rm and restarts: SECONDS=600'
	@echo 'make bench-online  parsing and presence per core, the path from the bus, Redis beside it'
	@echo 'make bench-flood   ordered messages per second, in network namespaces'
	@echo 'make bench-logs    log lines per second into two files, and rsyslog in the same place'
	@echo 'make torture       kill, stop, cut, fill disks; no line lost, none twice: SECONDS=n SEED=s QUORUM=q'
	@echo 'make ci-vip        who holds which address, in simulation: 20,000 schedules, or VIP_SEEDS=n'
	@echo 'make vip-mutants   plant each known bug into vipd and see the simulation catch it'
	@echo 'make bench-vip     how long an address is not answered, beside keepalived; RUNS=n'
	@echo 'make install       install programs and man pages below PREFIX=/usr/local'

build:
	@./tools/need cargo cc make
	$(CARGO) build --release --bins

demo:
	@./tools/need cargo cc awk
	$(CARGO) build --release --bins
	@examples/demo/run target/release

test:
	@./tools/need cargo cc
	@rm -rf target/skipped && mkdir -p target/skipped
	$(CARGO) build --workspace --bins
	@status=0; $(CARGO) test --workspace --no-fail-fast || status=$$?; tests/skipped target/skipped; exit $$status

check:
	@./tools/need cargo cargo-fmt cargo-clippy cc
	$(CARGO) fmt --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --quiet
	@tools/check-man man/*.[0-9]

simulate:
	@./tools/need cargo cc
	$(CARGO) build --release -p totem --bin simulate
	target/release/simulate $(if $(SEED),--replay $(SEED),--seeds $(SEEDS))

ci-simulate:
	@./tools/need cargo cc
	$(CARGO) build --release -p totem --bin simulate
	target/release/simulate --seeds 2650 --require

mutants:
	@./tools/need cargo cc
	$(CARGO) test --release -p totem --features mutants --test simulate
	$(CARGO) build --release -p totem --features mutants --bin mutants
	target/release/mutants

# The sanitizer's flags are not stable yet; RUSTC_BOOTSTRAP lets a stable compiler take them.
FUZZ_TARGETS = $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
fuzz:
	@./tools/need cargo cc c++ cargo-fuzz
	for target in $(or $(TARGET),$(FUZZ_TARGETS)); do \
	    RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $$target -- -max_total_time=$(or $(SECONDS),60) -rss_limit_mb=2048 || exit 1; \
	done

conformance:
	@./tools/need cargo cc node npm openssl
	$(CARGO) build -p imgcache
	@tests/conformance/run $${CARGO_TARGET_DIR:-target}/debug target/conformance

busy:
	@./tools/need cargo cc ip unshare nsenter
	$(CARGO) build --release --bins
	SECONDS_BUSY=$(or $(SECONDS),600) tests/plays/busy.sh target/release

bench-view:
	@./tools/need cargo cc ip unshare nsenter
	$(CARGO) build --release --bins
	bench/view target/release

bench-cache:
	@./tools/need cargo cc wrk nginx python3 taskset curl
	$(CARGO) build --release -p imgcache
	bench/cache $${CARGO_TARGET_DIR:-target}/release

bench-cache-memory:
	@./tools/need cargo cc ip unshare python3 curl nginx
	$(CARGO) build --release -p imgcache
	bench/cache-memory $${CARGO_TARGET_DIR:-target}/release

bench-purge:
	@./tools/need cargo cc ip unshare python3 curl
	$(CARGO) build --release -p imgcache -p purge -p groupd
	bench/purge $${CARGO_TARGET_DIR:-target}/release

cache-limit:
	@./tools/need cargo cc ip unshare python3 curl du
	$(CARGO) build --release -p imgcache
	tests/plays/cache-limit.sh $${CARGO_TARGET_DIR:-target}/release --seconds $(or $(SECONDS),600) --seed $(or $(SEED),1)

bench-online:
	@./tools/need cargo cc awk python3
	bench/online

bench-logs:
	@./tools/need cargo cc awk ip unshare python3 rsyslogd
	$(CARGO) build --release --bins -p groupd -p logpub -p spreadlogd
	timeout $${BENCH_SECONDS:-1800} bench/logs target/release

torture:
	@./tools/need cargo cc ip unshare python3
	$(CARGO) build --release --bins -p groupd -p logpub -p spreadlogd
	bash tests/plays/torture.sh target/release --seconds $(or $(SECONDS),600) --seed $(or $(SEED),$$(date +%s)) \
	    $(if $(QUORUM),--quorum $(QUORUM))

bench-flood:
	@./tools/need cargo cc ip unshare nsenter
	$(CARGO) build --release --bins
	bench/flood target/release

ci-vip:
	@./tools/need cargo cc
	VIP_SEEDS=$${VIP_SEEDS:-20000} $(CARGO) test -p vipd --lib never_two_holders

vip-mutants:
	@tools/vip-mutants

bench-vip:
	@./tools/need cargo cc ip unshare python3
	$(CARGO) build --release --bins
	bench/vip target/release

install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin
	for program in $(COMMANDS); do install target/release/$$program $(DESTDIR)$(PREFIX)/bin; done
	for program in $(DAEMONS); do install target/release/$$program $(DESTDIR)$(PREFIX)/sbin; done
	for page in man/*.[0-9]; do \
	    section=$${page##*.}; \
	    install -d $(DESTDIR)$(PREFIX)/share/man/man$$section; \
	    install -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$$section; \
	done

clean:
	$(CARGO) clean
