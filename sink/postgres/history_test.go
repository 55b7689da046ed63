package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	target "github.com/sluice-cdc/sluice/sink/postgres"
)

const (
	group  = "g"
	source = "shop"
)

// seed returns the seed of a random test: SLUICE_SEED, else a new one, and prints it.
func seed(t testing.TB) uint64 {
	n := rand.Uint64()
	if text := os.Getenv("SLUICE_SEED"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("replay with SLUICE_SEED=%d", n)
	return n
}

// tell is a source that writes the log of one table.
type teller struct {
	table   *change.Table
	version change.Version
	logs    [][]sink.Change
}

func newTeller(table *change.Table, partitions int) *teller {
	return &teller{table: table, version: 1_000_000, logs: make([][]sink.Change, partitions)}
}

func (s *teller) key(row []change.Value) []change.Value {
	key := make([]change.Value, len(s.table.Key))
	for i, c := range s.table.Key {
		key[i] = row[c]
	}
	return key
}

// partition is a hash of the key's bytes, so that 'a' and 'A' may part.
func (s *teller) partition(key []byte) int {
	sum := uint32(2166136261)
	for _, c := range key {
		sum = (sum ^ uint32(c)) * 16777619
	}
	return int(sum>>7) % len(s.logs)
}

// write appends one change; before or after may be nil. A change of the key's bytes is a delete and a create.
func (s *teller) write(before, after []change.Value) {
	switch {
	case before == nil:
		s.append(change.Create, nil, after)
	case after == nil:
		s.append(change.Delete, before, nil)
	case fmt.Sprint(s.key(before)) != fmt.Sprint(s.key(after)):
		s.append(change.Delete, before, nil)
		s.append(change.Create, nil, after)
	default:
		s.append(change.Update, before, after)
	}
}

func (s *teller) append(op change.Op, before, after []change.Value) {
	row := after
	if row == nil {
		row = before
	}
	key := s.key(row)
	bytes := []byte(fmt.Sprint(key))
	p := s.partition(bytes)
	s.version++
	s.logs[p] = append(s.logs[p], sink.Change{
		Op: op, Table: s.table, KeyNames: s.table.KeyNames(), KeyValues: key, Key: bytes, Before: before, After: after,
		TrustedBefore: op != change.Read, Version: s.version, Offset: int64(len(s.logs[p])), AppendMillis: int64(s.version)})
	if op == change.Delete {
		c := s.logs[p][len(s.logs[p])-1]
		c.Tombstone, c.TrustedBefore, c.Before, c.Offset = true, false, nil, c.Offset+1
		s.logs[p] = append(s.logs[p], c)
	}
}

func (s *teller) identity(p int) sink.Partition {
	return sink.Partition{Source: source, Topic: source + "." + s.table.String(), TopicID: [16]byte{9}, Count: int32(len(s.logs)), Partition: int32(p)}
}

// deliverTimeout bounds what takes seconds: a machine that others share may stand still for minutes.
const deliverTimeout = 10 * time.Minute

// deliver applies all partitions at once, each in batches of up to batchMax changes.
func (s *teller) deliver(t testing.TB, tg *target.Target, batchMax int) {
	t.Helper()
	var wg sync.WaitGroup
	for p := range s.logs {
		wg.Go(func() {
			if err := s.deliverPartition(tg, p, batchMax); err != nil {
				t.Error(change.Explain(err))
			}
		})
	}
	wg.Wait()
}

func (s *teller) deliverPartition(tg *target.Target, p, batchMax int) error {
	ctx, cancel := context.WithTimeout(context.Background(), deliverTimeout)
	defer cancel()
	next, epoch, found, err := tg.Assign(ctx, group, s.identity(p))
	if err != nil {
		return err
	}
	if !found {
		next = 0
	}
	for log := s.logs[p]; next < int64(len(log)); {
		b := s.batch(p, next, min(next+int64(batchMax), int64(len(log))), epoch)
		switch err := tg.Apply(ctx, b); {
		case err == nil:
			next = b.Next
		case change.SeverityOf(err) != change.Retry || ctx.Err() != nil:
			return err
		}
	}
	return nil
}

func (s *teller) batch(p int, from, next, epoch int64) *sink.Batch {
	return &sink.Batch{Group: group, Partition: s.identity(p), From: from, Next: next, Epoch: epoch, ThroughMillis: next,
		Changes: s.logs[p][from:next]}
}

// users is a table with two unique keys besides the primary, one of which may be NULL.
func users(collation string) *change.Table {
	return &change.Table{
		TableName: change.TableName{DB: "shop", Name: "users"},
		Columns: []change.Column{
			{Name: "id", Type: change.BigInt},
			{Name: "email", Type: change.VarChar, Length: 50, Charset: "utf8mb4", Collation: collation},
			{Name: "seat", Type: change.Int, Nullable: true},
			{Name: "n", Type: change.Int},
		},
		Key: []int{0},
	}
}

func number(n int) change.Value { return change.IntValue(int64(n)) }

func user(id int, email string, seat, n int) []change.Value {
	row := []change.Value{number(id), change.StringValue(email), {}, number(n)}
	if seat >= 0 {
		row[2] = number(seat)
	}
	return row
}

// swaps writes changes over rows of which some swap their unique values, as an application does it: one of them
// is set aside first.
func swaps(r *rand.Rand, s *teller, rows, changes int, share float64) [][]change.Value {
	state := make([][]change.Value, rows)
	for i := range state {
		state[i] = user(i, fmt.Sprintf("u%d@example.com", i), i, 0)
		s.write(nil, state[i])
	}
	set := func(i int, email change.Value, seat change.Value) {
		after := []change.Value{number(i), email, seat, number(int(s.version % 1000))}
		s.write(state[i], after)
		state[i] = after
	}
	for range changes {
		a, b := r.IntN(rows), r.IntN(rows)
		if a == b || r.Float64() >= share {
			set(a, state[a][1], state[a][2])
			continue
		}
		emailA, seatA, emailB, seatB := state[a][1], state[a][2], state[b][1], state[b][2]
		set(a, change.StringValue(fmt.Sprintf("aside%d", a)), change.Value{})
		set(b, emailA, seatA)
		set(a, emailB, seatB)
	}
	return state
}

func texts(rows [][]change.Value) []string {
	var out []string
	for _, row := range rows {
		if row == nil {
			continue
		}
		fields := make([]string, len(row))
		for i, v := range row {
			fields[i] = v.String()
		}
		out = append(out, strings.Join(fields, "|"))
	}
	return out
}

// same fails where the lists differ, and says how.
func same(t testing.TB, got, want []string) {
	t.Helper()
	if n := different(got, want); n > 0 {
		t.Errorf("%d rows differ", n)
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing %s", want[i])
		case i >= len(want):
			t.Errorf("too many: %s", got[i])
		case got[i] != want[i]:
			t.Errorf("got %s, want %s", got[i], want[i])
		default:
			continue
		}
		return
	}
}

func different(got, want []string) int {
	have := make(map[string]int)
	for _, s := range got {
		have[s]++
	}
	n := 0
	for _, s := range want {
		if have[s] == 0 {
			n++
		}
		have[s]--
	}
	return n
}

func noDebts(t testing.TB, tg *target.Target) {
	t.Helper()
	debts, err := tg.Debts(t.Context(), group)
	for try := 0; change.SeverityOf(err) == change.Retry && try < 20; try++ { // connections that were killed are in the pool still
		debts, err = tg.Debts(t.Context(), group)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range debts {
		t.Errorf("the debt of %s %s was not paid", d.Table, d.Key)
	}
}
