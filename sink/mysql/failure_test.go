package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/route"
	"github.com/sluice-cdc/sluice/sink"
	target "github.com/sluice-cdc/sluice/sink/mysql"
	"github.com/sluice-cdc/sluice/testbed/proxy"
)

// killConnections kills what the sink has open on the server, again and again, until the context ends.
func killConnections(ctx context.Context, p *place, r *rand.Rand, f *fight) (killed int) {
	for ctx.Err() == nil {
		done := f.done.Load()
		ids, err := openConnections(ctx, p)
		if err != nil && ctx.Err() == nil {
			p.t.Errorf("list the connections: %v", err)
			return killed
		}
		for _, id := range ids {
			if r.IntN(3) == 0 {
				if _, err := p.db.ExecContext(ctx, "KILL "+id); err == nil {
					killed++
				}
			}
		}
		time.Sleep(time.Duration(r.IntN(15)) * time.Millisecond)
		f.pause(ctx, done)
	}
	return killed
}

// openConnections returns the ids of the sink's connections, which have no database. information_schema.PROCESSLIST is no use: it ends with an
// error while some statement has bytes in it that are no text.
func openConnections(ctx context.Context, p *place) (ids []string, err error) {
	rows, err := p.db.QueryContext(ctx, "SHOW PROCESSLIST")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns() // Id, User, Host, db, ...; some servers have one more
	if err != nil {
		return nil, err
	}
	fields, into := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
	for i := range fields {
		into[i] = &fields[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		if string(fields[1]) == "app" && fields[3] == nil {
			ids = append(ids, string(fields[0]))
		}
	}
	return ids, rows.Err()
}

// moves writes changes over rows that wander between shards by a column that is no part of the key.
func moves(r *rand.Rand, s *teller, rows, changes int) [][]change.Value {
	state := make([][]change.Value, rows)
	for range changes {
		i := r.IntN(rows)
		after := user(i, fmt.Sprintf("u%d", i), r.IntN(100), int(s.version%100_000))
		if state[i] != nil && r.IntN(8) == 0 {
			after = nil
		}
		if state[i] != nil || after != nil {
			s.write(state[i], after)
		}
		state[i] = after
	}
	return state
}

// Connections die in the middle of batches, between the statements of a transaction and between the
// commits of the shards, while two processes take the partitions from each other. Each row ends in one shard, as
// the source has it.
func TestKilledConnectionsAndRivals(t *testing.T) {
	changes := 1500
	switch {
	case os.Getenv("SLUICE_FULL") != "":
		changes = 6000
	case testing.Short():
		changes = 300
	}
	t.Run("columns", func(t *testing.T) { killedConnectionsAndRivals(t, newPlace(t, 3), changes) })
	t.Run("side table", func(t *testing.T) {
		p := newPlace(t, 3)
		inSideTables(p)
		want := killedConnectionsAndRivals(t, p, changes)
		same(t, p.lines(), want)
	})
}

// killedConnectionsAndRivals returns what the lines of a side table should be.
func killedConnectionsAndRivals(t *testing.T, p *place, changes int) []string {
	p.config.Routes = []route.Spec{{Table: "shop.users", By: "seat", Rule: route.RuleSpec{Name: "modulus"}}}
	n := seed(t)
	s := newTeller(users("utf8mb4_general_ci"), 4)
	want := moves(rand.New(rand.NewPCG(n, 3)), s, 60, changes)
	if err := p.opened().Prepare(t.Context(), group, source, []*change.Table{s.table}); err != nil {
		t.Fatal(change.Explain(err))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var killer, wg sync.WaitGroup
	f := new(fight)
	killed := 0
	killer.Go(func() { killed = killConnections(ctx, p, rand.New(rand.NewPCG(n, 4)), f) })
	for rival := range 2 {
		tg := p.opened()
		for at := range s.logs {
			wg.Go(func() { rivalOwner(t, s, tg, at, rand.New(rand.NewPCG(n, uint64(10*rival+at))), f) })
		}
	}
	wg.Wait()
	cancel()
	killer.Wait()
	t.Logf("%d connections killed, ownership lost %d times", killed, f.lost.Load())
	if killed == 0 || f.lost.Load() == 0 {
		t.Errorf("%d connections killed, ownership lost %d times: nothing was tried", killed, f.lost.Load())
	}
	same(t, p.wandered(want), texts(want))
	return s.lines(60)
}

// fight is what happens while two owners take the partitions from each other.
type fight struct{ done, lost atomic.Int64 }

// pause waits until a batch was done since a round before, for a quarter of a second at most: where connections never live for as long as a batch takes on
// a busy machine, nothing would ever be done.
func (f *fight) pause(ctx context.Context, since int64) {
	for end := time.Now().Add(250 * time.Millisecond); ctx.Err() == nil && f.done.Load() == since && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// rivalOwner applies the partition to its end, assigning it anew whenever it is lost. The more often it is lost with nothing done, the longer
// it leaves it to the other.
func rivalOwner(t *testing.T, s *teller, tg *target.Target, at int, r *rand.Rand, f *fight) {
	ctx, cancel := context.WithTimeout(t.Context(), deliverTimeout)
	defer cancel()
	var next, epoch int64 = -1, 0
	inRow, last := 0, error(nil)
	for end := int64(len(s.logs[at])); next < end; {
		if ctx.Err() != nil {
			t.Errorf("partition %d is at %d of %d after %v; the last error: %v", at, next, end, deliverTimeout, last)
			return
		}
		if epoch == 0 {
			n, e, found, err := tg.Assign(ctx, group, s.identity(at))
			if err != nil {
				if change.SeverityOf(err) != change.Retry {
					t.Errorf("assign: %s", change.Explain(err))
					return
				}
				if ctx.Err() == nil {
					last = err
				}
				continue
			}
			if next, epoch = n, e; !found {
				next = 0
			}
			continue
		}
		b := s.batch(at, next, min(end, next+1+r.Int64N(40)), epoch)
		var gone *sink.OwnershipLost
		switch err := tg.Apply(ctx, b); {
		case err == nil:
			next, inRow = b.Next, 0
			f.done.Add(1)
		case errors.As(err, &gone):
			f.lost.Add(1)
			epoch = 0
			time.Sleep(time.Duration(r.IntN(60<<min(inRow, 5))) * time.Millisecond)
			inRow++
		case change.SeverityOf(err) != change.Retry:
			t.Errorf("apply: %s", change.Explain(err))
			return
		case ctx.Err() == nil:
			last = err
		}
	}
}

// An owner of before may have a packet on its way when another takes over: it changes nothing.
func TestLateOwnerChangesNothing(t *testing.T) {
	p := newPlace(t, 2)
	p.config.Routes = []route.Spec{{Table: "shop.users", By: "id", Rule: route.RuleSpec{Name: "modulus"}}}
	s := newTeller(users("utf8mb4_general_ci"), 1)
	s.write(nil, user(1, "a", 1, 1))
	s.write(nil, user(2, "b", 2, 1))
	old, now := p.opened(), p.opened()
	_, epoch, found, err := old.Assign(t.Context(), group, s.identity(0))
	if err != nil || found {
		t.Fatalf("found %v, %v", found, err)
	}
	if _, next, _, err := now.Assign(t.Context(), group, s.identity(0)); err != nil || next <= epoch {
		t.Fatalf("epoch %d after %d, %v", next, epoch, err)
	}
	var lost *sink.OwnershipLost
	if err := old.Apply(t.Context(), s.batch(0, 0, 2, epoch)); !errors.As(err, &lost) {
		t.Fatalf("the old owner got %v", err)
	}
	for _, shard := range p.shards {
		same(t, p.query("SELECT id FROM "+shard.Database+".users"), nil)
	}
	positions, err := now.Positions(t.Context(), group)
	if err != nil || len(positions) != 2 || positions[0].Next != -1 || positions[1].Epoch != epoch+1 {
		t.Errorf("positions %+v, %v", positions, err)
	}
}

// A connection that is broken when the process ends is no error of it: everything was applied before.
func TestCloseAfterABreak(t *testing.T) {
	p := newPlace(t, 1)
	link, err := proxy.Start(t.Context(), p.shards[0].Address, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer link.Close()
	p.shards[0].Address, p.config.Shards = link.Address(), p.shards
	tg := p.open()
	if _, err := tg.Positions(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	link.Cut()
	time.Sleep(100 * time.Millisecond) // until the reset has come
	if err := tg.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// A progress row that somebody removes under the owner must not go unseen.
func TestProgressRowRemoved(t *testing.T) {
	p := newPlace(t, 1)
	tg := p.opened()
	s := newTeller(users("utf8mb4_general_ci"), 1)
	s.write(nil, user(1, "a", 1, 1))
	_, epoch, _, err := tg.Assign(t.Context(), group, s.identity(0))
	if err != nil {
		t.Fatal(err)
	}
	p.in("DELETE FROM $DB._sluice_progress")
	if err := tg.Apply(t.Context(), s.batch(0, 0, 1, epoch)); err == nil || change.SeverityOf(err) != change.Fatal {
		t.Errorf("got %v, want a fatal error", err)
	}
}

// Replay goes back: the rows are written again from there, and whoever owned the partition does not any more.
func TestSetProgress(t *testing.T) { eachWay(t, setProgress) }

func setProgress(t *testing.T, way func(*place)) {
	p := newPlace(t, 2)
	way(p)
	p.config.Routes = []route.Spec{{Table: "shop.users", By: "id", Rule: route.RuleSpec{Name: "modulus"}}}
	tg := p.opened()
	s := newTeller(users("utf8mb4_general_ci"), 1)
	for i := range 10 {
		s.write(nil, user(i, "e"+number(i).String(), i, 1))
	}
	s.deliver(t, tg, 3)
	other := s.identity(0)
	other.TopicID[0]++
	if _, _, _, err := tg.Assign(t.Context(), group, other); err != nil {
		t.Fatal(err)
	}
	replayer := p.opened()
	occupied, err := replayer.Occupied(t.Context(), source, []*change.Table{s.table})
	if err != nil || len(occupied) != 2 {
		t.Errorf("occupied %v, %v", occupied, err)
	}
	if err := replayer.Empty(t.Context(), source, []*change.Table{s.table}); err != nil {
		t.Fatal(err)
	}
	if err := replayer.SetProgress(t.Context(), group, []sink.Reset{{Partition: s.identity(0), Next: 4}}); err != nil {
		t.Fatal(err)
	}
	s.write(nil, user(10, "e10", 10, 1))
	var lost *sink.OwnershipLost
	if err := tg.Apply(t.Context(), s.batch(0, 10, 11, 1)); !errors.As(err, &lost) {
		t.Errorf("the old owner got %v", err)
	}
	positions, err := tg.Positions(t.Context(), group)
	if err != nil || len(positions) != 2 || positions[0].Next != 4 || positions[1].Next != 4 {
		t.Errorf("positions %+v, %v; want 4 in both shards, and none of the other topic id", positions, err)
	}
	s.deliver(t, tg, 5)
	same(t, p.query(fmt.Sprintf("SELECT COUNT(*) FROM (SELECT id FROM %s.users UNION ALL SELECT id FROM %s.users) x",
		p.shards[0].Database, p.shards[1].Database)), []string{"7"})
}
