#!/usr/bin/env bash
# Runs every test: with the race detector where goroutines meet, then all fuzz
# targets for a while. The last line is the runner's own count.
set -uo pipefail
cd "$(dirname "$0")/.."

if [ "${CI:-}" = true ]; then export FUZZTIME=${FUZZTIME:-30s}; else export FUZZTIME=${FUZZTIME:-5s}; fi

module=$(go list -m)
racy="^$module/internal/(journal|state|ingest|identity|web|app)(/|\$)"
mapfile -t with < <(go list ./... | grep -E "$racy")
mapfile -t without < <(go list ./... | grep -vE "$racy")

{
	# The slowest first: the packages below fill the time that it leaves.
	CGO_ENABLED=1 go test -json -race -timeout 20m "${with[@]}"
	go test -json -timeout 20m "${without[@]}"
	FUZZJSON=1 ./scripts/fuzz.sh
} 2>&1 | go run ./scripts/cmd/testcount
