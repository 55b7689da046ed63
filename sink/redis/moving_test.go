package redis_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/testbed"
)

// TestSlotThatMoves moves the table's slot from node to node, key by key, while rows change, go and come: nothing is written by half.
func TestSlotThatMoves(t *testing.T) {
	if err := testbed.Available(t.Context(), "redis"); err != nil {
		t.Skip(err)
	}
	nodes, err := testbed.StartRedisCluster(t.Context(), 2, testbed.RedisOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		t.Cleanup(func() { n.Stop() })
	}
	p := placeOn(t, nodes...)
	o := indexed(p)
	moved := make(chan error, 1)
	r := rand.New(rand.NewPCG(7, 7))
	rows := make(map[int64]string) // the status of each row that is there
	version, written, retries := change.Version(10), 0, 0
	write := func(n int) {
		var changes []sink.Change
		for range n {
			version++
			id, status := r.Int64N(40), fmt.Sprint("s", r.IntN(4))
			if _, there := rows[id]; there && r.IntN(3) == 0 {
				changes = append(changes, drop(o.table, version, order(id, "", "", "")))
				delete(rows, id)
			} else {
				changes = append(changes, put(o.table, version, order(id, status, "", "", 1, 1)))
				rows[id] = status
			}
			written++
		}
		for try := 0; ; try++ {
			err := o.try(changes...)
			if err == nil {
				return
			}
			if change.SeverityOf(err) != change.Retry || try > 1000 {
				t.Fatal(change.Explain(err))
			}
			retries++
			time.Sleep(5 * time.Millisecond)
		}
	}
	write(100)
	for round := range 4 {
		go func() { moved <- moveSlot(t, nodes, "{src.shop.orders}") }()
		for done := false; !done; {
			write(1 + r.IntN(20))
			select {
			case err := <-moved:
				if err != nil {
					t.Fatal(err)
				}
				done = true
			default:
			}
		}
		t.Logf("round %d: %d changes, %d retries so far", round, written, retries)
	}
	write(20)
	found := o.scan()
	want := make(map[string]int)
	for id, status := range rows {
		if got := found[strconv.FormatInt(id, 10)]; got.Values == nil || got.Values[1].String() != status {
			t.Errorf("row %d is %v, want %s", id, got.Values, status)
		}
		want[status]++
	}
	if len(found) != len(rows) {
		t.Errorf("%d rows, want %d", len(found), len(rows))
	}
	ask := func(args ...string) string {
		for _, n := range nodes {
			if said, err := n.Do(t.Context(), args...); err == nil {
				return said
			}
		}
		return "nothing"
	}
	for i := range 4 {
		status := fmt.Sprint("s", i)
		if got := ask("SCARD", "{src.shop.orders}#by_status:"+status); got != strconv.Itoa(want[status]) {
			t.Errorf("%s rows are in the index %s, want %d", got, status, want[status])
		}
	}
	if got := ask("ZCARD", "{src.shop.orders}#near"); got != strconv.Itoa(len(rows)) {
		t.Errorf("%s rows are in the geo index, want %d", got, len(rows))
	}
	if got := ask("XLEN", "{src.shop.orders}#changes"); got != strconv.Itoa(written) {
		t.Errorf("the stream has %s entries, want %d", got, written)
	}
	if retries == 0 {
		t.Error("no write met the move")
	}
}

// moveSlot moves a key's slot to the other of two nodes, a few keys at a time, as redis-cli --cluster reshard does.
func moveSlot(t *testing.T, nodes []*testbed.RedisServer, key string) error {
	ctx := t.Context()
	from, to := nodes[0], nodes[1]
	if _, err := from.Do(ctx, "EXISTS", key); err != nil {
		from, to = to, from
	}
	slot, err := from.Do(ctx, "CLUSTER", "KEYSLOT", key)
	if err != nil {
		return err
	}
	ids := make(map[*testbed.RedisServer]string)
	for _, n := range nodes {
		if ids[n], err = n.Do(ctx, "CLUSTER", "MYID"); err != nil {
			return err
		}
	}
	if _, err := to.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[from]); err != nil {
		return err
	}
	if _, err := from.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to]); err != nil {
		return err
	}
	for {
		keys, err := from.Do(ctx, "CLUSTER", "GETKEYSINSLOT", slot, "3")
		if err != nil {
			return err
		}
		if keys == "" {
			break
		}
		migrate := append([]string{"MIGRATE", "127.0.0.1", strconv.Itoa(to.Port), "", "0", "5000", "KEYS"}, strings.Split(keys, "\n")...)
		if _, err := from.Do(ctx, migrate...); err != nil {
			return fmt.Errorf("migrate %s: %w", keys, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	for _, n := range []*testbed.RedisServer{to, from} {
		if _, err := n.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", ids[to]); err != nil {
			return err
		}
	}
	return nil
}
