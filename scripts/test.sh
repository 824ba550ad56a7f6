#!/usr/bin/env bash
# Runs every test: with the race detector where goroutines meet, then all fuzz
# targets for a while. The last line is the runner's own count.
set -uo pipefail
cd "$(dirname "$0")/.."

if [ "${CI:-}" = true ]; then
	export FUZZTIME=${FUZZTIME:-30s} E2E_RACE=1
else
	export FUZZTIME=${FUZZTIME:-5s}
fi

module=$(go list -m)
racy="^$module/internal/(journal|state|ingest|identity|web|app|source|tail|agent|publish|flow|egress|transport|mail)(/|\$)"
mapfile -t with < <(go list ./... | grep -E "$racy")
mapfile -t without < <(go list ./... | grep -vE "$racy")

mkdir -p .cache
go build -o .cache/testcount ./scripts/cmd/testcount || exit 1
{
	CGO_ENABLED=1 go test -json -race -timeout 20m "${with[@]}"
	go test -json -timeout 25m "${without[@]}"
	FUZZJSON=1 ./scripts/fuzz.sh
} 2>&1 | .cache/testcount
