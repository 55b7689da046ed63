#!/usr/bin/env bash
# make test: format, build, vet; unit and golden tests and one walk through each real server; then the race detector over the
# pure and concurrent packages. Several packages run at a time: each may start servers of its own.
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
# said LOG: of each failed test, what it said itself, without the logs of the processes that it ran; of a run that did not end in time, which
# tests were running, and where in their code.
said() {
	awk '/^panic: test timed out/ { late = 8; ended = 1 }
		late-- > 0 { print }
		ended && /^\t.*_test\.go:[0-9]+/ && where++ < 40 { print }
		/^=== RUN +[^ \/]+$/ { n = 0 }
		/^ +[a-z0-9_]+\.go:[0-9]+: / { left = 8 }
		/^(=== |--- |time=)/ { left = 0 }
		left-- > 0 && n < 60 { line[n++] = substr($0, 1, 400) }
		/^--- FAIL/ { for (i = 0; i < n; i++) print line[i]; print }
		/^--- / { n = 0 }' "$1"
}
# slow LOG: the tests that take longest, of which none should take over a minute.
slow() {
	sed -nE 's/^--- PASS: ([^ ]+) \(([0-9.]+)s\)$/\2 \1/p' "$1" | sort -rn | awk '$1 > 45 && NR <= 6 { printf "slow: %5.0f s  %s\n", $1, $2 }'
}
# run NAME ARGS...: go test with everything in a log, of which packages, failures and skips are shown as they come.
run() {
	local name=$1
	shift
	go test -v "$@" 2>&1 | tee "$work/$name.log" | grep --line-buffered -E '^(ok|FAIL|panic:)|^ *--- FAIL|^--- SKIP'
	echo "${PIPESTATUS[0]}" >"$work/$name.status"
}
# tell NAME: what a run had to say besides.
tell() {
	local log=$work/$1.log
	if [ "$(cat "$work/$1.status")" != 0 ]; then
		failed=1
		said "$log" >>"$work/said"
		echo "---- what failed in $1"
		grep -nE -B40 -A60 '^ *--- FAIL|^panic:|\[build failed\]' "$log" | head -400
	fi
	slow "$log"
	[ "$1" = race ] || grep -E '^--- SKIP' "$log" | sed -E 's/^--- SKIP: ([^ ]*).*/skip \1/' >>"$SLUICE_MET"
}

# The servers first, one after the other, so that packages that run side by side need not wait for each other's downloads.
go run ./testbed/cmd/testbed fetch || echo "some servers could not be had: see the last lines"

# Several at a time, for most of them wait for servers. test/system is the longest by far: its walks to targets other than MySQL and
# Elasticsearch are a run of their own. The race detector's run is not for sink/redis: building its client with -race takes ten minutes on two cores.
walks='^Test(Redis|Postgres|MongoDB|HBase|ClickHouse|Files|Webhook|Shape|DeadLetters|Reshard|TwoSourcesThreeShards)'
raced=$(go list ./change/... ./mysql/... ./schema/... ./route/... ./shape/... ./kafka/... ./source/... ./sink/... ./internal/... | grep -v /sink/redis)
others=$(go list ./... | grep -v /test/system)
echo "several packages at a time: some minutes until the first line"
# shellcheck disable=SC2086 # lists of packages
{
	run system -count=1 -timeout 45m -skip "$walks" ./test/system &
	(
		run walks -count=1 -timeout 45m -run "$walks" ./test/system
		run race -count=1 -race -short -p 1 -timeout 20m $raced
	) &
	run others -count=1 -p 2 -timeout 45m $others
}
wait
for name in system walks others race; do
	tell "$name"
done

if [ "$failed" != 0 ]; then
	echo "---- what the failed tests say"
	tail -n 120 "$work/said"
fi
echo "make test: $((SECONDS - began)) s"
go test -count=1 -v ./test/report || failed=1
exit "$failed"
