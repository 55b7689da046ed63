package clickhouse_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// ownServer starts a server for one test.
func ownServer(t *testing.T, name string) *place {
	t.Helper()
	serverOf(t, name) // skips where none can be had
	s, err := startServer(t.Context(), name, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	return placeOn(t, name, s)
}

// TestServerIsKilled while partitions are written: each batch that was called done is there, and what failed is tried again.
func TestServerIsKilled(t *testing.T) {
	for _, c := range [][2]string{{old, "state"}, {old, "history"}, {modern, "state"}} {
		t.Run(c[0]+" "+c[1], func(t *testing.T) { t.Parallel(); serverIsKilled(t, c[0], c[1]) })
	}
}

func serverIsKilled(t *testing.T, name, mode string) {
	p := ownServer(t, name)
	p.config.Mode, p.config.InsertWait, p.config.Timeout = mode, 5*time.Millisecond, 20*time.Second
	orders := table("orders", note)
	target := p.prepared(orders)
	const partitions, batches, rows = 4, 12, 5
	var wg sync.WaitGroup
	failed, half := make(chan int, partitions*1000), make(chan struct{})
	var once sync.Once
	for part := range partitions {
		wg.Go(func() {
			for n := range batches {
				var changes []sink.Change
				for i := range rows {
					offset := n*rows + i
					changes = append(changes, put(orders, change.Version(offset+1), row(int64(part*1000+offset), text("x"))))
				}
				b := batch(changes...)
				b.Partition.Partition = int32(part)
				for try := 0; ; try++ {
					err := target.Apply(t.Context(), b)
					if err == nil {
						break
					}
					failed <- 1
					if change.SeverityOf(err) != change.Retry || try == 900 {
						t.Errorf("batch %d of %d: %s", n, part, change.Explain(err))
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
				if n == batches/2 {
					once.Do(func() { close(half) })
				}
			}
		})
	}
	<-half
	if err := errors.Join(p.server.Kill(), p.server.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	t.Logf("%d tries failed", len(failed))
	if got := scan(t, target, orders); len(got) != partitions*batches*rows {
		t.Errorf("%d rows, want %d", len(got), partitions*batches*rows)
	}
	if mode == "history" {
		p.says("SELECT count() FROM $.shop_orders_history FINAL", fmt.Sprint(partitions*batches*rows))
	}
}

// TestServerHangs: a statement ends after its time, and the target goes on when the server does.
func TestServerHangs(t *testing.T) {
	p := ownServer(t, old)
	p.config.Timeout = time.Second
	orders := table("orders", note)
	target := p.prepared(orders)
	apply(t, target, put(orders, 10, row(1, text("a"))))
	if err := p.server.Pause(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; { // a busy machine stops it late
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := p.server.Query(ctx, "SELECT 1")
		cancel()
		if err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not stop")
		}
	}
	began := time.Now()
	err := target.Apply(t.Context(), batch(put(orders, 11, row(2, text("b")))))
	problemOf(t, err, change.Retry, "could not be inserted")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := target.Apply(ctx, batch(put(orders, 11, row(2, text("b"))))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a batch that was cut off gives %v", err)
	}
	if err := p.server.Resume(); err != nil {
		t.Fatal(err)
	}
	apply(t, target, put(orders, 11, row(2, text("b"))), put(orders, 12, row(1, text("c"))))
	if rows := scan(t, target, orders); len(rows) != 2 || rows["1"].Values[1].String() != "c" {
		t.Errorf("rows are %v", rows)
	}
}

// TestBatchIsCutOff while it waits for its block: the others of the block are tried again, and go through.
func TestBatchIsCutOff(t *testing.T) {
	p := newPlace(t, old)
	p.config.InsertWait = 10 * time.Second
	orders := table("orders", note)
	target := p.prepared(orders)
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error, 2)
	first := batch(put(orders, 10, row(1, text("a"))))
	second := batch(put(orders, 11, row(2, text("b"))))
	second.Partition.Partition = 1
	go func() { results <- target.Apply(ctx, first) }()
	go func() { results <- target.Apply(t.Context(), second) }()
	time.Sleep(200 * time.Millisecond)
	began := time.Now()
	cancel()
	cut, others := <-results, <-results
	if !errors.Is(cut, context.Canceled) {
		cut, others = others, cut
	}
	if !errors.Is(cut, context.Canceled) {
		t.Errorf("the batch that was cut off gives %v", cut)
	}
	if others == nil || change.SeverityOf(others) != change.Retry {
		t.Errorf("the other gives %v, want one more try", others)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestTooManyParts: the server's refusal is waited out, and the remedy is named.
func TestTooManyParts(t *testing.T) {
	p := newPlace(t, old)
	p.config.CreateTables = false
	p.query("CREATE DATABASE $")
	p.query("CREATE TABLE $.shop_orders " + plainOrders + " ENGINE = ReplacingMergeTree(_sluice_version) PARTITION BY id ORDER BY id SETTINGS parts_to_throw_insert = 1, parts_to_delay_insert = 0")
	p.query(`ALTER TABLE $.shop_orders COMMENT COLUMN _sluice_version '{"source":"src","database":"shop","table":"orders","key":["id"],"mode":"state"}'`)
	p.query("SYSTEM STOP MERGES")
	defer p.query("SYSTEM START MERGES")
	orders := table("orders", note)
	target := p.prepared(orders)
	var err error
	for v := change.Version(1); v < 9 && err == nil; v++ {
		err = target.Apply(t.Context(), batch(put(orders, v, row(1, text("a")))))
	}
	problemOf(t, err, change.Retry, "Too many parts", "insert_wait")
}

// TestPoisonOfOne: what one batch of a block is refused for stops it alone.
func TestPoisonOfOne(t *testing.T) {
	p := newPlace(t, modern)
	p.config.CreateTables = false
	p.query("CREATE DATABASE $")
	p.query("CREATE TABLE $.shop_orders (id Int64, note Nullable(String), _sluice_version UInt64, _sluice_deleted UInt8, _sluice_exact String, CONSTRAINT small CHECK id < 100) ENGINE = ReplacingMergeTree(_sluice_version) ORDER BY id")
	p.query(`ALTER TABLE $.shop_orders COMMENT COLUMN _sluice_version '{"source":"src","database":"shop","table":"orders","key":["id"],"mode":"state"}'`)
	p.config.InsertWait = 500 * time.Millisecond
	orders := table("orders", note)
	target := p.prepared(orders)
	good, bad := batch(put(orders, 10, row(1, text("a")))), batch(put(orders, 11, row(1000, text("b"))))
	bad.Partition.Partition = 1
	result := make(chan error)
	go func() { result <- target.Apply(t.Context(), good) }()
	problemOf(t, target.Apply(t.Context(), bad), change.Poison, "Constraint")
	if err := <-result; err != nil {
		t.Error(change.Explain(err))
	}
	p.says("SELECT id FROM $.shop_orders", "1")
}
