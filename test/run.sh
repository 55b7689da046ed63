#!/usr/bin/env bash
# make test: build, vet, unit and golden tests under the race detector, then the walks through real servers.
# Packages run a few at a time: each may start servers of its own, and two cores are enough for two of them.
set -uo pipefail
cd "$(dirname "$0")/.."

unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
	echo "gofmt: these files are not formatted:"
	echo "$unformatted"
	exit 1
fi
go build ./... || exit 1
go vet ./... || exit 1

# Each server that a test met, or could not meet, leaves a line here (testbed.Met).
SLUICE_MET=$(mktemp)
export SLUICE_MET
trap 'rm -f "$SLUICE_MET"' EXIT

go test -race -p 2 -timeout 20m ./... || failed=1

go test -count=1 -v ./test/report || failed=1
exit "${failed:-0}"
