#!/usr/bin/env bash
# make test: format, build, vet; unit and golden tests and one walk through each real server; then the race detector over the
# pure and concurrent packages. Two packages run at a time: each may start servers of its own.
set -uo pipefail
cd "$(dirname "$0")/.."
began=$SECONDS

unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
	printf 'gofmt: these files are not formatted:\n%s\n' "$unformatted"
	exit 1
fi
go build ./... || exit 1
go vet ./... || exit 1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Each server that a test met, or could not meet, leaves a line here (testbed/met.go); skipped tests are added below.
export SLUICE_MET=$work/met
: >"$SLUICE_MET"

failed=0
# said LOG: of each failed test, what it said itself, without the logs of the processes that it ran.
said() {
	awk '/^=== RUN +[^ \/]+$/ { n = 0 }
		/^ +[a-z0-9_]+\.go:[0-9]+: / { left = 8 }
		/^(=== |time=)/ { left = 0 }
		left-- > 0 && n < 60 { line[n++] = substr($0, 1, 400) }
		/^--- FAIL/ { for (i = 0; i < n; i++) print line[i]; print }
		/^--- / { n = 0 }' "$1"
}
# slow LOG: the tests that take longest, of which none should take over a minute.
slow() {
	sed -nE 's/^--- PASS: ([^ ]+) \(([0-9.]+)s\)$/\2 \1/p' "$1" | sort -rn | awk '$1 > 20 && NR <= 20 { printf "slow: %5.0f s  %s\n", $1, $2 }'
}
# run NAME ARGS...: go test with everything in a log, of which packages, failures and skips are shown as they come.
run() {
	local name=$1 log=$work/$1.log
	shift
	go test -v "$@" 2>&1 | tee "$log" | grep --line-buffered -E '^(ok|FAIL|panic:)|^ *--- FAIL|^--- SKIP'
	if [ "${PIPESTATUS[0]}" -ne 0 ]; then
		failed=1
		echo "---- what the failed tests say"
		said "$log"
		echo "---- what failed"
		grep -nE -B40 -A60 '^ *--- FAIL|^panic:|\[build failed\]' "$log" | head -400
	fi
	slow "$log"
	[ "$name" = servers ] && grep -E '^--- SKIP' "$log" | sed -E 's/^--- SKIP: ([^ ]*).*/skip \1/' >>"$SLUICE_MET"
}

# The servers first, one after the other, so that packages that run side by side need not wait for each other's downloads.
go run ./testbed/cmd/testbed fetch || echo "some servers could not be had: see the last lines"

# The longest package first, so that all others run beside it. Their lines come in this order, so the first comes late.
echo "test/system, the longest, and all other packages beside it: some 25 minutes until the first line"
run servers -count=1 -p 2 -timeout 45m ./test/system ./...
# Not sink/redis: building its client with -race takes ten minutes on two cores.
raced=$(go list ./change/... ./mysql/... ./schema/... ./route/... ./shape/... ./kafka/... ./source/... ./sink/... ./internal/... | grep -v /sink/redis)
# shellcheck disable=SC2086 # a list of packages
run race -count=1 -race -short -p 2 -timeout 20m $raced

echo "make test: $((SECONDS - began)) s"
go test -count=1 -v ./test/report || failed=1
exit "$failed"
