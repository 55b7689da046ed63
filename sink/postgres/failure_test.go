package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	target "github.com/sluice-cdc/sluice/sink/postgres"
	"github.com/sluice-cdc/sluice/testbed"
)

// killConnections kills what the sink has open on the server, again and again, until the context ends.
func killConnections(ctx context.Context, p *place, r *rand.Rand, f *fight) (killed int) {
	for ctx.Err() == nil {
		done := f.done.Load()
		rows, err := p.conn.Exec(ctx, fmt.Sprintf("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name='sluice' AND random()<%f", 0.3)).ReadAll()
		if err != nil {
			return killed
		}
		killed += len(rows[0].Rows)
		time.Sleep(time.Duration(r.IntN(25)) * time.Millisecond)
		f.pause(ctx, done)
	}
	return killed
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

// Connections die in the middle of batches while two processes take the partitions from each other. Each row ends as the source has it.
func TestKilledConnectionsAndRivals(t *testing.T) {
	p, _ := usersPlace(t)
	n := seed(t)
	s := newTeller(users("utf8mb4_general_ci"), 4)
	want := swaps(rand.New(rand.NewPCG(n, 3)), s, 60, 2000, 0.05)
	if err := p.opened().Prepare(t.Context(), group, source, []*change.Table{s.table}); err != nil {
		t.Fatal(change.Explain(err))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var killer, wg sync.WaitGroup
	f := new(fight)
	killer.Go(func() {
		t.Logf("%d connections killed", killConnections(ctx, placeOn(t, running), rand.New(rand.NewPCG(n, 4)), f))
	})
	for rival := range 2 {
		tg := p.opened()
		for at := range s.logs {
			wg.Go(func() { rivalOwner(t, s, tg, at, rand.New(rand.NewPCG(n, uint64(10*rival+at))), f) })
		}
	}
	wg.Wait()
	cancel()
	killer.Wait()
	t.Logf("ownership lost %d times", f.lost.Load())
	same(t, p.query(allUsers), texts(want))
	noDebts(t, p.opened())
}

// The server crashes and is shut down in the middle of the batches, with fsync on; what was answered is there, and the sink goes on by
// itself when the server is back.
func TestServerCrashes(t *testing.T) {
	s, err := testbed.StartPostgres(t.Context(), testbed.PostgresOptions{Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	p := placeOn(t, s)
	p.exec(usersTable)
	p.config.Unique = map[string][]string{"shop.users": {"*"}}
	log := newTeller(users("utf8mb4_general_ci"), 4)
	want := swaps(rand.New(rand.NewPCG(seed(t), 3)), log, 60, 4000, 0.02)
	tg := p.opened()
	if err := tg.Prepare(t.Context(), group, source, []*change.Table{log.table}); err != nil {
		t.Fatal(change.Explain(err))
	}
	var wg sync.WaitGroup
	for at := range log.logs {
		wg.Go(func() { rivalOwner(t, log, tg, at, rand.New(rand.NewPCG(1, uint64(at))), new(fight)) })
	}
	for i := range 4 {
		time.Sleep(200 * time.Millisecond)
		end := s.Kill
		if i%2 == 1 {
			end = s.Shutdown
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	after := placeOn(t, s) // the connection of before is gone
	after.data = p.data
	same(t, after.query(allUsers), texts(want))
	noDebts(t, tg)
}

// The process ends after the server has committed and before anybody heard of it: the next one goes on behind the batch, and the
// batch itself, sent again by the old one, does nothing.
func TestCrashBetweenApplyAndCommit(t *testing.T) {
	p, old := usersPlace(t)
	s := newTeller(users("utf8mb4_general_ci"), 1)
	s.write(nil, user(1, "a", 1, 1))
	s.write(user(1, "a", 1, 1), nil)
	_, epoch, _, err := old.Assign(t.Context(), group, s.identity(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Apply(t.Context(), s.batch(0, 0, 1, epoch)); err != nil {
		t.Fatal(err)
	}
	if err := old.Apply(t.Context(), s.batch(0, 1, 3, epoch)); err != nil { // the delete, whose answer "was lost"
		t.Fatal(err)
	}
	now := p.opened()
	next, _, found, err := now.Assign(t.Context(), group, s.identity(0))
	if err != nil || !found || next != 3 {
		t.Fatalf("next %d (found %v), %v; want 3", next, found, err)
	}
	var lost *sink.OwnershipLost
	again := p.opened() // knows nothing of what it did
	if err := again.Apply(t.Context(), s.batch(0, 0, 1, epoch)); !errors.As(err, &lost) {
		t.Errorf("the old owner got %v", err)
	}
	same(t, p.query(allUsers), nil)
}

// An owner of before may have a transaction on its way when another takes over: it changes nothing.
func TestLateOwnerChangesNothing(t *testing.T) {
	p, old := usersPlace(t)
	s := newTeller(users("utf8mb4_general_ci"), 1)
	s.write(nil, user(1, "a", 1, 1))
	_, epoch, _, err := old.Assign(t.Context(), group, s.identity(0))
	if err != nil {
		t.Fatal(err)
	}
	if _, next, _, err := p.opened().Assign(t.Context(), group, s.identity(0)); err != nil || next != epoch+1 {
		t.Fatalf("epoch %d after %d, %v", next, epoch, err)
	}
	var lost *sink.OwnershipLost
	if err := old.Apply(t.Context(), s.batch(0, 0, 1, epoch)); !errors.As(err, &lost) {
		t.Fatalf("the old owner got %v", err)
	}
	same(t, p.query("SELECT id FROM $S.users"), nil)
}

// A progress row that somebody removes under the owner must not go unseen.
func TestProgressRowRemoved(t *testing.T) {
	p, tg := usersPlace(t)
	s := newTeller(users("utf8mb4_general_ci"), 1)
	s.write(nil, user(1, "a", 1, 1))
	_, epoch, _, err := tg.Assign(t.Context(), group, s.identity(0))
	if err != nil {
		t.Fatal(err)
	}
	p.exec("DELETE FROM $O.progress")
	problemOf(t, tg.Apply(t.Context(), s.batch(0, 0, 1, epoch)), change.Fatal, "the progress row")
}

// Somebody holds a row for longer than the lock timeout: the batch is to come again, and does.
func TestARowThatIsHeld(t *testing.T) {
	p, _ := usersPlace(t)
	p.config.LockTimeout = time.Second
	tg := p.opened()
	s := newTeller(users("utf8mb4_general_ci"), 1)
	s.write(nil, user(1, "a", 1, 1))
	s.deliver(t, tg, 10)
	s.write(user(1, "a", 1, 1), user(1, "a", 1, 2))
	next, epoch, _, err := tg.Assign(t.Context(), group, s.identity(0))
	if err != nil {
		t.Fatal(err)
	}
	p.exec("BEGIN", "SELECT FROM $S.users FOR UPDATE")
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	if err := tg.Apply(ctx, s.batch(0, next, next+1, epoch)); change.SeverityOf(err) != change.Retry {
		t.Fatalf("got %v, want a retry", err)
	}
	p.exec("COMMIT")
	for try := 0; ; try++ {
		err := tg.Apply(t.Context(), s.batch(0, next, next+1, epoch))
		if err == nil {
			break
		}
		if change.SeverityOf(err) != change.Retry || try == 10 {
			t.Fatal(change.Explain(err))
		}
	}
	same(t, p.query(allUsers), []string{"1|a|1|2"})
}

// A server that is not there, a wrong user and a wrong database are told apart.
func TestNoServer(t *testing.T) {
	p := newPlace(t)
	at := func(bend func(c *target.Config)) error {
		config := p.config
		bend(&config)
		tg, err := target.New(config, sink.Setup{Group: group})
		if err != nil {
			t.Fatal(err)
		}
		defer tg.Close()
		_, err = tg.Positions(t.Context(), group)
		return err
	}
	free := testbed.FreePort()
	defer testbed.ReleasePort(free)
	if err := at(func(c *target.Config) { c.Address = fmt.Sprintf("127.0.0.1:%d", free) }); change.SeverityOf(err) != change.Retry {
		t.Errorf("no server: %v", err)
	}
	if err := at(func(c *target.Config) { c.User = "nobody" }); change.SeverityOf(err) != change.Configuration {
		t.Errorf("no such user: %v", err)
	}
	if err := at(func(c *target.Config) { c.Database = "nowhere" }); change.SeverityOf(err) != change.Configuration {
		t.Errorf("no such database: %v", err)
	}
	if err := at(func(c *target.Config) { c.PasswordFile = "/nowhere/password" }); change.SeverityOf(err) != change.Configuration {
		t.Errorf("no password file: %v", err)
	}
	if err := at(func(c *target.Config) { c.TLS = "require" }); change.SeverityOf(err) != change.Retry {
		t.Errorf("no TLS: %v", err)
	}
}

// A try whose answer was given up may still be on its way when the next try of the batch comes, with the same epoch: one of them is
// done, the other does nothing.
func TestALateTryOfTheSameOwner(t *testing.T) {
	p, one := usersPlace(t)
	two := p.opened()
	s := newTeller(users("utf8mb4_general_ci"), 1)
	s.write(nil, user(1, "a", 1, 1))
	if err := two.Prepare(t.Context(), group, source, []*change.Table{s.table}); err != nil {
		t.Fatal(err)
	}
	_, epoch, _, err := one.Assign(t.Context(), group, s.identity(0))
	if err != nil {
		t.Fatal(err)
	}
	p.exec("BEGIN", "SELECT FROM $O.progress FOR UPDATE")
	done := make(chan error, 2)
	for _, tg := range []*target.Target{one, two} {
		go func() { done <- tg.Apply(t.Context(), s.batch(0, 0, 1, epoch)) }()
	}
	for end := time.Now().Add(10 * time.Second); p.query("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")[0] != "2"; {
		if time.Now().After(end) {
			t.Fatal("the two tries do not wait")
		}
	}
	p.exec("COMMIT")
	var lost *sink.OwnershipLost
	first, second := <-done, <-done
	if first == nil {
		first, second = second, first
	}
	if second != nil || !errors.As(first, &lost) {
		t.Errorf("the two tries gave %v and %v, want one that was done and one that lost", first, second)
	}
	same(t, p.query(allUsers), []string{"1|a|1|1"})
}
