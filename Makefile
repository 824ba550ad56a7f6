# Tocsin's tasks. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := $(CURDIR)/bin
GOLANGCI_VERSION := v2.15.0
NFPM_VERSION := v2.44.1
export CGO_ENABLED ?= 0
export PATH := $(BIN):$(PATH)

.PHONY: help run build test test-fast test-hosts race lint fmt fuzz bench cover gen check soak tools screenshots package

help: ## list the tasks
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

run: ## run the server from the source
	go run ./cmd/tocsin serve

build: ## build bin/tocsin
	go build -trimpath -o $(BIN)/tocsin ./cmd/tocsin

tools: ## install what the tests need (packages, SDKs); says what it can't
	./scripts/tools.sh

test: tools ## every test, with the race detector where it finds most
	./scripts/test.sh

test-fast: ## the tests that need nothing installed
	go test -short ./...

test-hosts: tools ## every source against its real component
	go test -count 1 -timeout 10m -run '^TestHost' ./internal/e2e

race: ## every Go test with the race detector
	CGO_ENABLED=1 go test -race ./...

lint: $(BIN)/golangci-lint ## gofumpt, goimports, golangci-lint, and generated files
	golangci-lint run ./...
	@$(MAKE) --no-print-directory gen
	@git diff --exit-code -- docs packaging internal/licence || { echo 'generated files are stale: commit what make gen made'; exit 1; }

$(BIN)/golangci-lint:
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

$(BIN)/nfpm:
	GOBIN=$(BIN) go install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)

package: $(BIN)/nfpm ## build dist/tocsin_VERSION_ARCH.deb
	./scripts/package.sh

fmt: $(BIN)/golangci-lint ## format the code
	golangci-lint fmt ./...

fuzz: ## each fuzz target for FUZZTIME (30s)
	./scripts/fuzz.sh

bench: ## ratios measured in one run, written to docs/benchmarks.md
	go run ./cmd/tocsin bench --out docs/benchmarks.md

soak: ## long runs: crashes under load, for SOAK (1h)
	TOCSIN_SOAK=$${SOAK:-1h} go test -run 'TestSoak' -timeout 0 -v ./internal/...

screenshots: tools ## the pictures of the documentation, from a real run
	@mkdir -p docs/screenshots
	go test -count 1 -tags screenshots -run TestScreenshots ./internal/e2e

cover: ## coverage of the Go tests
	go test -coverprofile=cover.out ./... && go tool cover -func=cover.out | tail -1

gen: ## write the files that are made from the code
	@go run ./cmd/tocsin docs --dir docs --sample packaging/tocsin.yaml
	@go run ./scripts/cmd/licences

check: lint test ## what CI runs
