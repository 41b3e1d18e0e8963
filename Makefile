# SPDX-License-Identifier: GPL-2.0-or-later
# Two targets do all the set-up themselves on a fresh Debian machine with Python 3.11: demo and test.

PYTHON ?= python3
export PYTHON
run = .venv/bin/python

# Peers that the tests hold us against, the assembler for guest programs, and what loads a machine.
test_packages = qemu-system-misc qemu-utils device-tree-compiler gcc-riscv64-linux-gnu libc6-dev-riscv64-cross \
	opensbi u-boot-qemu stress-ng cpio e2fsprogs libnbd-bin python3-libnbd nbdkit fio openssl \
	iproute2 tcpdump tshark dnsmasq-base tftp-hpa curl iperf3 socat gdb-multiarch

# What the demo writes goes here; its base stays as it was made.
overlay = guests/cache/riscv64/overlay.qcow2

.PHONY: demo test soak lint bench venv dev guests clean

# Boot Debian's kernel. On a terminal it ends in a shell; else a scripted session that powers off.
demo: venv guests $(overlay)
	@if [ -t 0 ] && [ -t 1 ]; then session=shell; else session=demo; fi; \
	$(run) -m asyncemu run examples/debian.toml --set "machine.append=console=ttyS0 session=$$session"

$(overlay): | venv guests
	@$(run) -m asyncemu img create -q -f qcow2 -b disk.img -F raw $@

# Lint, types, layers, then every test but the soak.
test: dev guests lint
	$(run) -m pytest -n 2 --dist worksteal -m "not soak"

# What takes minutes: fifty boots under load, a hundred ends at random moments.
soak: dev guests
	$(run) -m pytest -m soak --timeout 3000

lint: dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	MYPYPATH=$$(echo examples/guides/* | tr ' ' :) .venv/bin/mypy examples/guides/*/*.py
	.venv/bin/lint-imports

bench: dev guests
	$(run) -m benchmarks run boot event_model

venv:
	@scripts/make-venv ""

dev: packages
	@scripts/make-venv dev

.PHONY: packages
packages:
	@scripts/install-packages $(test_packages)

guests:
	@scripts/install-packages e2fsprogs
	@$(PYTHON) -m guests.fetch >/dev/null

clean:
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
