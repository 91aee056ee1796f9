# bgpnet: `make demo` shows it, `make test` checks it. `make help` lists the rest.
VENV := .venv
PY := $(VENV)/bin/python
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help demo lab check test test-kubernetes test-containerlab conformance soak fuzz bench bench-kubernetes cni image
.PHONY: labimage install manifests format clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 19

demo: .demo-ready cni ## three nodes whose pods reach each other over tunl0, and a report (build/demo.json)
	@bgpnet lab demo -t containerlab/mesh.clab.yml --out build

lab: .demo-ready cni ## the same lab left running, with a shell in it
	@bgpnet lab shell -t containerlab/mesh.clab.yml

check: .test-ready ## the quick checks: format, types, import contracts, unit tests
	@ruff format --check .
	@ruff check .
	@mypy
	@lint-imports
	@$(PY) -m pytest tests/unit -q

test: .building check cni .built-ready ## everything that CI runs: quick checks, then real kernels, speakers, datastores, Kubernetes
	@$(PY) -m pytest tests/contract tests/integration tests/chaos -q --durations=10
	@$(MAKE) --no-print-directory test-kubernetes

test-kubernetes: .cluster-ready cni ## a real Kubernetes on this machine, or the cluster that BGPNET_KUBECONFIG names
	@$(PY) -m pytest tests/kubernetes -q --durations=10

conformance: .cluster-ready cni ## Kubernetes' own conformance tests of the network, all 47; what passed is not run again
	@$(PY) tests/kubernetes/conformance.py $(CONFORMANCE)

soak: .test-ready cni .built-ready ## the long chaos runs: more kills, more seeds
	@BGPNET_SOAK=1 $(PY) -m pytest tests/chaos -q -s

fuzz: .test-ready ## a million inputs each: the CNI program in process (10,000 executed), the speaker's lines
	@$(PY) tests/fuzz/cni_fuzzer.py
	@BGPNET_SOAK=1 $(PY) -m pytest tests/integration/test_cni_fuzz.py -q -k "not in_process"
	@$(PY) tests/fuzz/lines_fuzzer.py

bench: .test-ready cni ## CNI beside ptp + host-local, bgpnetctl beside the bare interpreter, etcd, BGP beside BIRD (build/bench.json)
	@$(PY) -m benchmarks.cni
	@$(PY) -m benchmarks.ctl
	@$(PY) -m benchmarks.store
	@$(PY) -m benchmarks.ipam
	@$(PY) -m benchmarks.bgp

bench-kubernetes: .cluster-ready cni ## 100 pods on one node of a real cluster beside ptp + host-local; memory, idle CPU (build/bench.json)
	@$(PY) -m benchmarks.kubernetes

cni: build/cni/bgpnet ## the program that container runtimes execute

# The plugin is one translation unit: plugin.c includes the others. Hardening costs it no measurable time.
HARDENED := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -Wl,-z,relro,-z,now
CNI_CC := $(shell command -v musl-gcc || echo cc)

build/cni/bgpnet: bgpnet/cni/plugin.c $(wildcard bgpnet/cni/*.c)
	@mkdir -p $(@D)
	@$(CNI_CC) -O2 -static -std=gnu11 -Wall -Wextra -Werror $(HARDENED) -o $@ $<

image: ## the container image, by docker or podman (BASE= another base, ENGINE= another engine); labimage: containerlab's
	@scripts/image node

labimage: image ## the same with routers of other makes, as containerlab/*.clab.yml wants it
	@scripts/image lab
	@shared="$$(sed -n 's|^ *- \(/run/bgpnet-[a-z]*\):.*|\1|p' containerlab/*.clab.yml)"; \
		mkdir -p $$shared || { echo "containerlab wants these folders to be there; as root: mkdir -p" $$shared >&2; exit 1; }

test-containerlab: .test-ready ## a topology of containerlab/ by the real containerlab, which has to be on PATH
	@command -v containerlab >/dev/null || { \
		echo "containerlab is not on PATH; install it (https://containerlab.dev/install), then run this again" >&2; exit 1; }
	@$(PY) -m pytest tests/integration/test_image.py -q -s -k containerlab

install: .demo-ready cni ## what the demo needs, and no more

manifests: .demo-ready ## manifests/crds from the model's types, and manifests/bgpnet.yaml, which is all in one file
	@$(PY) -m bgpnet.kube.crd.main manifests/crds
	@scripts/render

format: .test-ready ## rewrite the sources in their one format
	@ruff format . && ruff check --fix .

clean: ## what make made
	@rm -rf build $(VENV) *.egg-info

.PHONY: .demo-ready .test-ready .building .built-ready .cluster-ready
.demo-ready:
	@scripts/install demo
	@$(MAKE) --no-print-directory $(VENV)/installed

.test-ready:
	@scripts/install test
	@$(MAKE) --no-print-directory $(VENV)/installed-dev

# Kubernetes and its tests take ten minutes to build where they are not built yet: behind the other tests, which need
# some of it and come first. Only what they leave of the processors (SCHED_IDLE): a compiler that is merely nice finishes
# its slice of milliseconds before it gives way.
.building: .test-ready
	@scripts/install kubernetes
	@mkdir -p build
	@idle=$$(chrt --idle 0 true 2>/dev/null && echo "chrt --idle 0"); \
		(for name in $(BUILT) $(API) $(CLUSTER); do $$idle nice -n 19 scripts/gobuild $$name || exit 1; done) \
		>build/gobuild.log 2>&1 &

BUILT := etcd containerd cnitool multus
API := "kubernetes kube-apiserver kubectl kube-proxy"
CLUSTER := kubernetes coredns e2e

.built-ready:
	@for name in $(BUILT) $(API); do scripts/gobuild $$name >/dev/null || exit 1; done

.cluster-ready: .test-ready
	@scripts/install kubernetes
	@for name in $(BUILT) $(CLUSTER); do scripts/gobuild $$name >/dev/null || exit 1; done

$(VENV)/installed: pyproject.toml
	@echo "making the virtual environment"
	@test -x $(PY) || $$(scripts/python) -m venv $(VENV)
	@scripts/again $(PY) -m pip install -q --disable-pip-version-check -e .
	@$(PY) -m compileall -q bgpnet bgpnet_ctl
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "adding the test tools"
	@scripts/again $(PY) -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@
