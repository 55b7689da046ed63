# Everything a person or CI types. The servers that tests need are fetched by the repository's own code (testbed/)
# into a cache outside the tree: $SLUICE_CACHE, else ~/.cache/sluice.

GO      ?= go
BIN     := bin
PKGS    := ./...
.PHONY: help build demo fetch test torture fanout mutants system bench microbench lint clean

help:            ## the targets
	@grep -hE '^[a-z]+: .*##|^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

build:           ## every binary into bin/
	$(GO) build -o $(BIN)/ ./cmd/...

demo: build      ## one MySQL under fire, two shards, two kills, every row compared (3 minutes)
	$(BIN)/sluice-demo

fetch:           ## fetch all test servers into the cache
	$(GO) run ./testbed/cmd/testbed fetch

test:            ## what CI runs: unit, golden, race, one walk through each real server
	@test/run.sh

# A variable that is not set has the default that test/chaos/settings.go gives it.
TORTURE := DURATION SEED SESSIONS RATE SOURCE SHARDS COMPARE GAP AT_ONCE CRAWL_GAP SCALE REGISTRY KINDS WITHOUT EVIDENCE
DURATION ?= 30m

torture:         ## a thousand sessions and faults of two dozen kinds: DURATION=30m SEED=7 SESSIONS=1000 SHARDS=9.7,9.7
	@$(GO) test -c -o $(BIN)/torture.test ./test/chaos
	@cd test/chaos && $(foreach name,$(TORTURE),$(if $($(name)),SLUICE_TORTURE_$(name)='$($(name))')) \
		exec ../../$(BIN)/torture.test -test.run '^TestTorture$$' -test.timeout 0

system:          ## the whole at full size: a million rows, ten kills each, gigabyte transactions (hours)
	SLUICE_FULL=1 $(GO) test -v -timeout 6h ./test/system/... ./test/parity/... ./test/mutants/... ./test/bench/...

fanout:          ## one log and a consumer group for each kind of target, one added after another, each then filled anew (a quarter of an hour)
	SLUICE_FULL=1 $(GO) test -v -timeout 2h -run '^TestFanout$$' ./test/system

mutants:         ## every error that internal/mutant can plant, each to be caught by its test (half an hour)
	SLUICE_FULL=1 $(GO) test -v -timeout 2h ./test/mutants

# See docs/benchmarks.md. OUT is the file of the whole table.
OUT ?= $(BIN)/bench.md

bench:           ## us, our peers and what the machine allows, side by side: QUICK=1 ONLY=backlog,crawl ROWS=200000 PAIRS=3 ALONE=1 OUT=bench.md
	@$(GO) build -o $(BIN)/ \
		./cmd/sluice-source ./cmd/sluice-sink-mysql ./cmd/sluice-sink-elasticsearch ./test/bench/cmd/...
	@exec $(BIN)/bench -programs $(BIN) -o '$(OUT)' $(if $(QUICK),-quick) $(if $(ALONE),-alone) \
		$(if $(ONLY),-only '$(ONLY)') $(if $(ROWS),-rows '$(ROWS)') $(if $(PAIRS),-pairs '$(PAIRS)')

microbench:      ## micro-benchmarks of the hot path
	$(GO) test -run '^$$' -bench . -benchmem ./mysql/rowimage ./schema/avro ./source/merge ./mysql/gtid

lint:            ## gofmt, vet, staticcheck, govulncheck
	@test -z "$$(gofmt -l . )" || { gofmt -l .; echo "gofmt: run gofmt -w on the files above"; exit 1; }
	$(GO) vet $(PKGS)
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 $(PKGS)
	$(GO) run golang.org/x/vuln/cmd/govulncheck@latest $(PKGS)

clean:           ## remove what was built; the cache of servers stays
	rm -rf $(BIN)
