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

// mover writes to rows whose slot moves, and knows what should be there.
type mover struct {
	*owner
	r       *rand.Rand
	version change.Version
	rows    map[int64]string // the status of each row that is there
	written int
	retries int
}

// write applies so many changes, again and again until the cluster takes them.
func (m *mover) write(t *testing.T, n int) {
	t.Helper()
	var changes []sink.Change
	for range n {
		m.version++
		id, status := m.r.Int64N(40), fmt.Sprint("s", m.r.IntN(4))
		if _, there := m.rows[id]; there && m.r.IntN(3) == 0 {
			changes = append(changes, drop(m.table, m.version, order(id, "", "", "")))
			delete(m.rows, id)
		} else {
			changes = append(changes, put(m.table, m.version, order(id, status, "", "", 1, 1)))
			m.rows[id] = status
		}
		m.written++
	}
	for try := 0; ; try++ {
		err := m.try(changes...)
		if err == nil {
			return
		}
		if change.SeverityOf(err) != change.Retry || try > 1000 {
			t.Fatal(change.Explain(err))
		}
		m.retries++
		time.Sleep(5 * time.Millisecond)
	}
}

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
	m := &mover{owner: indexed(placeOn(t, nodes...)), r: rand.New(rand.NewPCG(7, 7)), version: 10, rows: make(map[int64]string)}
	m.write(t, 100)
	moved := make(chan error, 1)
	for range 4 {
		go func() { moved <- moveSlot(t, nodes, "{src.shop.orders}") }()
		for done := false; !done; {
			m.write(t, 1+m.r.IntN(20))
			select {
			case err := <-moved:
				if err != nil {
					t.Fatal(err)
				}
				done = true
			default:
			}
		}
	}
	m.write(t, 20)
	if t.Logf("%d changes, %d retries", m.written, m.retries); m.retries == 0 {
		t.Error("no write met a move")
	}
	m.compare(t, nodes)
}

// compare holds rows, indexes and stream against what should be there.
func (m *mover) compare(t *testing.T, nodes []*testbed.RedisServer) {
	t.Helper()
	found, want := m.scan(), make(map[string]int)
	for id, status := range m.rows {
		if got := found[strconv.FormatInt(id, 10)]; got.Values == nil || got.Values[1].String() != status {
			t.Errorf("row %d is %v, want %s", id, got.Values, status)
		}
		want[status]++
	}
	if len(found) != len(m.rows) {
		t.Errorf("%d rows, want %d", len(found), len(m.rows))
	}
	holds := func(n int, args ...string) {
		t.Helper()
		got := "nothing"
		for _, node := range nodes { // only the one that has the slot answers
			if said, err := node.Do(t.Context(), args...); err == nil {
				got = said
			}
		}
		if got != strconv.Itoa(n) {
			t.Errorf("%v is %s, want %d", args, got, n)
		}
	}
	for i := range 4 {
		status := fmt.Sprint("s", i)
		holds(want[status], "SCARD", "{src.shop.orders}#by_status:"+status)
	}
	holds(len(m.rows), "ZCARD", "{src.shop.orders}#near")
	holds(m.written, "XLEN", "{src.shop.orders}#changes")
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
