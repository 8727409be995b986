# Olelo. `make run` and `make test` are all that a newcomer needs; `make help` prints this.
#
#   make run      install what is missing, build, start on 127.0.0.1:5060 (UDP and TCP)
#   make test     install what is missing, build, run all tests
#   make check    formatting and lints, warnings denied
#   make doc      print the reference of all modules to doc/
#   make bench    micro-benchmarks
#   make deaths   calls while processes are killed: SECONDS=30 ARGS="--every 50 --rate 1000"
#   make fuzz     look for bytes that break a parser: TARGET=message SECONDS=600
#   make install  copy the programs and etc/ below PREFIX (/usr/local)

PREFIX ?= /usr/local
RUN_DIR ?= $(CURDIR)/run
SUDO := $(shell [ "$$(id -u)" = 0 ] || command -v sudo)

.PHONY: help run test check doc bench deaths fuzz install deps python

help:
	@sed -n 's/^# \{0,1\}//p' Makefile

# Interpreters are built from source: compilers of C and C++ and make are all that Debian may lack.
deps:
	@command -v cargo >/dev/null || { echo "Rust is missing: see https://rustup.rs"; exit 1; }
	@command -v cc >/dev/null && command -v c++ >/dev/null && command -v make >/dev/null || \
		{ $(SUDO) apt-get update && $(SUDO) apt-get install -y --no-install-recommends build-essential; }

run: deps
	cargo build --release -p olelo -p olctl
	@mkdir -p $(RUN_DIR)
	@echo
	@echo "Olelo listens on 127.0.0.1:5060 (UDP and TCP). In another terminal try:"
	@echo "  target/release/olctl -s $(RUN_DIR)/kamailio_ctl core.psx"
	@echo "  target/release/olctl -s $(RUN_DIR)/kamailio_ctl top"
	@echo "  target/release/olctl doc KSR.tm.t_relay"
	@echo "  sipsak -s sip:127.0.0.1:5060 -vv            (apt-get install sipsak)"
	@echo "Register phones as sip:NAME@localhost with the proxy 127.0.0.1:5060, then call NAME."
	@echo "Route in another language: make run ARGS=\"-A WITH_JS\" (or WITH_PYTHON, WITH_SQUIRREL, WITH_NATIVE)"
	@echo "Change etc/olelo.lua and load it without a gap:"
	@echo "  target/release/olctl -s $(RUN_DIR)/kamailio_ctl app_lua.reload"
	@echo "Ctrl-C ends it."
	@echo
	target/release/olelo -f etc/olelo.cfg -DD -E -w etc -Y $(RUN_DIR) $(ARGS)

# Python's library is opened at run time: only tests and those who route in Python need one.
PYTHON_IS_THERE = import os, sysconfig; v = sysconfig.get_config_var; \
	raise SystemExit(not (v("Py_ENABLE_SHARED") and os.path.exists(v("LIBDIR") + "/" + v("INSTSONAME"))))
python:
	@python3 -c '$(PYTHON_IS_THERE)' 2>/dev/null || \
		{ command -v python3 >/dev/null && /sbin/ldconfig -p | grep -q 'libpython3\.[0-9]*\.so\.1\.0'; } || \
		{ $(SUDO) apt-get update && $(SUDO) apt-get install -y --no-install-recommends python3 && \
		  $(SUDO) apt-get install -y --no-install-recommends \
			libpython$$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])'); }

# The server's programs are built first: behaviour tests run them.
test: deps python
	cargo build -p olelo -p olctl
	@if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --workspace --no-fail-fast; \
	 else cargo test --workspace; fi

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

doc:
	cargo run -p olelo -- --docs doc

bench:
	cargo bench -p olelo-sip -p olelo-benches

TARGET ?= message
SECONDS ?= 600
DICTIONARY = dictionaries/$(if $(filter cfg native,$(TARGET)),cfg,sip)

# What is new goes to libfuzzer/corpus, which is not kept; see tests/fuzz/README.md.
fuzz:
	@mkdir -p tests/fuzz/libfuzzer/corpus/$(TARGET)
	cd tests/fuzz && cargo +nightly fuzz run -s none --fuzz-dir libfuzzer $(TARGET) \
		libfuzzer/corpus/$(TARGET) corpus/$(TARGET) -- \
		-dict=$(DICTIONARY) -max_total_time=$(SECONDS) -timeout=60 -rss_limit_mb=2048

deaths: deps
	cargo build --release -p olelo -p olelo-tests --bins
	target/release/deaths --seconds $(or $(SECONDS),30) $(ARGS)

install: deps
	cargo build --release -p olelo -p olctl
	install -D -t $(DESTDIR)$(PREFIX)/sbin target/release/olelo
	install -D -t $(DESTDIR)$(PREFIX)/bin target/release/olctl
	install -D -m 644 -t $(DESTDIR)/etc/olelo etc/olelo.cfg etc/routes.cfg etc/olelo.lua etc/olelo.js etc/olelo.py etc/olelo.sq
