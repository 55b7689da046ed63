package sinktest

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Table is a table that a place must be able to hold.
type Table struct {
	*change.Table
	Uniques [][]string // secondary unique keys by column names; empty where Options.Uniques is false
}

// Spec says what a place is for.
type Spec struct {
	Group  string
	Source string
	Tables []Table
}

// Options describes the target under test.
type Options struct {
	// New makes a fresh, empty place that holds the tables of the spec, and returns a function that opens a target
	// on it. Targets opened on one place share its data, at the same time too: a second one is a second
	// process. The suite closes them; what the place itself needs is cleaned up by t.Cleanup.
	New func(t testing.TB, spec Spec) (open func() sink.Target)

	// Uniques says that the target obeys secondary unique keys (rule R5). Else those cases are left out.
	Uniques bool

	// EqualWrites says that the target writes a change whose version is that of the row, because its own rule lets the later of two equal
	// versions win and it does not read before it writes. A source gives no version twice (rule R3): an equal one is the same change, and
	// the suite gives such a target no other.
	EqualWrites bool

	// Without names the column types that the target cannot hold; they are left out of the test of all types.
	Without []change.Type

	// Histories is how many random histories are tried by default; 0 means 30.
	Histories int

	// Timeout bounds each call of the target; 0 means 20 s.
	Timeout time.Duration
}

const (
	group  = "suite"
	source = "src"
)

// Run runs the suite.
func Run(t *testing.T, o Options) {
	if o.Histories == 0 {
		o.Histories = 30
	}
	if testing.Short() { // the race detector's run, in which each takes several times as long
		o.Histories = min(o.Histories, 2)
	}
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	for _, c := range cases {
		if c.uniques && !o.Uniques {
			continue
		}
		t.Run(c.name, func(t *testing.T) { c.run(t, o) })
	}
	t.Run("every type", func(t *testing.T) { everyType(t, o) })
	t.Run("a column is added", func(t *testing.T) { addedColumn(t, o) })
	t.Run("random histories", func(t *testing.T) { randomHistories(t, o, deliverInTurn) })
	t.Run("random histories at once", func(t *testing.T) { randomHistories(t, o, deliverAtOnce) })
}

// seed returns the seed of this run: SLUICE_SEED, else a new one.
func seed(t *testing.T) uint64 {
	if text := os.Getenv("SLUICE_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SLUICE_SEED: %v", err)
		}
		return n
	}
	return rand.Uint64()
}

func histories(t *testing.T, o Options) int {
	text := os.Getenv("SLUICE_HISTORIES")
	if text == "" {
		return o.Histories
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("SLUICE_HISTORIES: %v", err)
	}
	return n
}

// handle is a target as one process has it: with the epochs that it was given.
type handle struct {
	t      testing.TB
	o      Options
	target sink.Target
	epochs map[sink.Partition]int64
}

func newHandle(t testing.TB, o Options, open func() sink.Target, tables ...*change.Table) *handle {
	h := &handle{t: t, o: o, target: open(), epochs: make(map[sink.Partition]int64)}
	t.Cleanup(func() {
		if err := h.target.Close(); err != nil {
			t.Errorf("close the target: %v", err)
		}
	})
	h.prepare(tables...)
	return h
}

func (h *handle) prepare(tables ...*change.Table) {
	h.t.Helper()
	p, ok := h.target.(sink.Preparer)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), h.o.Timeout)
	defer cancel()
	if err := p.Prepare(ctx, group, source, tables); err != nil {
		h.t.Fatalf("prepare: %s", change.Explain(err))
	}
}

// assign takes the partition over and returns the offset to go on from; known is false where the target keeps no
// progress, or knows none yet.
func (h *handle) assign(p sink.Partition) (next int64, known bool) {
	h.t.Helper()
	progress, ok := h.target.(sink.Progress)
	if !ok {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), h.o.Timeout)
	defer cancel()
	next, epoch, found, err := progress.Assign(ctx, group, p)
	if err != nil {
		h.t.Fatalf("assign %s: %v", p, err)
	}
	if epoch <= h.epochs[p] {
		h.t.Fatalf("assign %s: epoch %d after %d", p, epoch, h.epochs[p])
	}
	h.epochs[p] = epoch
	return next, found
}

// apply applies once, with the epoch that the handle was given.
func (h *handle) apply(p sink.Partition, from, next int64, changes ...sink.Change) error {
	ctx, cancel := context.WithTimeout(context.Background(), h.o.Timeout)
	defer cancel()
	b := &sink.Batch{Group: group, Partition: p, From: from, Next: next, Epoch: h.epochs[p], Changes: changes,
		ThroughMillis: next * 1000}
	for i := range changes {
		b.Bytes += changes[i].Bytes
	}
	return h.target.Apply(ctx, b)
}

// must applies until it is done, as the runtime does: errors of kind Retry are tried again.
func (h *handle) must(p sink.Partition, from, next int64, changes ...sink.Change) {
	h.t.Helper()
	for try := 0; ; try++ {
		err := h.apply(p, from, next, changes...)
		if err == nil {
			return
		}
		if change.SeverityOf(err) != change.Retry || try == 50 {
			h.t.Fatalf("apply %s %d..%d: %s", p, from, next, change.Explain(err))
		}
		time.Sleep(time.Duration(try) * time.Millisecond)
	}
}

func partition(table *change.Table, n, count int32) sink.Partition {
	return sink.Partition{Source: source, Topic: source + "." + table.String(), TopicID: [16]byte{1, 2, 3}, Count: count, Partition: n}
}
