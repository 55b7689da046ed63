package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/route"
	target "github.com/sluice-cdc/sluice/sink/mysql"
)

// bySeat is two shards with the users by their seat, which is no part of the key, and with unique keys at neither.
func bySeat(t *testing.T) (*place, *target.Target, *teller) {
	p := newPlace(t, 2)
	p.config.Routes = []route.Spec{{Table: "shop.users", By: "seat", Rule: route.RuleSpec{Name: "modulus"}}}
	return p, p.opened(), newTeller(users("utf8mb4_general_ci"), 1)
}

// inShard returns the users of a shard.
func (p *place) inShard(i int) []string {
	p.t.Helper()
	return p.query(fmt.Sprintf(allUsers, p.shards[i].Database))
}

// hold keeps everybody else from a shard's users until the function that it returns is called.
func (p *place) hold(shard int) (release func()) {
	p.t.Helper()
	conn, err := p.db.Conn(p.t.Context())
	if err == nil {
		_, err = conn.ExecContext(p.t.Context(), "LOCK TABLES "+p.shards[shard].Database+".users WRITE")
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return func() {
		if _, err := conn.ExecContext(context.Background(), "UNLOCK TABLES"); err != nil {
			p.t.Error(err)
		}
		conn.Close()
	}
}

// heldUp waits until a session of the sink waits for a held table, and returns its number.
func (p *place) heldUp() (session int64) {
	p.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		err := p.db.QueryRowContext(p.t.Context(), "SELECT id FROM information_schema.PROCESSLIST "+
			"WHERE user = 'app' AND state LIKE 'Waiting for table%'").Scan(&session)
		if err == nil {
			return session
		}
		if err != sql.ErrNoRows {
			p.t.Fatal(err)
		}
	}
	p.t.Fatal("no session of the sink waits")
	return 0
}

// A row that moves is written to its new shard before it is deleted from the old one (R7): while the new shard is held up, readers
// find it where it was.
func TestAMoveWritesFirst(t *testing.T) {
	p, tg, s := bySeat(t)
	s.write(nil, user(1, "a", 0, 1))
	s.write(nil, user(2, "b", 1, 1))
	s.deliver(t, tg, 10)
	s.write(user(1, "a", 0, 1), user(1, "a", 1, 2))
	release := p.hold(1)
	applied := make(chan error, 1)
	go func() { applied <- s.deliverPartition(tg, 0, 10) }()
	p.heldUp()
	time.Sleep(300 * time.Millisecond) // what does not wait for the held shard gets done
	if got := p.inShard(0); len(got) != 1 || got[0] != "1|a|0|1" {
		t.Errorf("its old shard has %v before its new shard has the row", got)
	}
	release()
	if err := <-applied; err != nil {
		t.Fatal(change.Explain(err))
	}
	same(t, p.inShard(0), nil)
	same(t, p.inShard(1), []string{"1|a|1|2", "2|b|1|1"})
}

// A batch that one shard has and another has not is gone on with from where the last shard stands (R6), and what was cut off in the
// middle has left nothing there, no progress either.
func TestABatchThatIsCutOffInOneShard(t *testing.T) {
	p, tg, s := bySeat(t)
	s.write(nil, user(1, "a", 0, 1))
	s.write(nil, user(2, "b", 1, 1))
	s.deliver(t, tg, 10)
	next, epoch, _, err := tg.Assign(t.Context(), group, s.identity(0))
	if err != nil || next != 2 {
		t.Fatalf("next is %d, %v", next, err)
	}
	s.write(user(1, "a", 0, 1), user(1, "a", 0, 2))
	s.write(user(2, "b", 1, 1), user(2, "b", 1, 2))
	release := p.hold(1)
	applied := make(chan error, 1)
	go func() { applied <- tg.Apply(t.Context(), s.batch(0, 2, 4, epoch)) }()
	p.exec(fmt.Sprintf("KILL %d", p.heldUp()))
	if err := <-applied; change.SeverityOf(err) != change.Retry {
		t.Fatalf("the batch that was cut off gave %v", err)
	}
	release()
	same(t, p.inShard(0), []string{"1|a|0|2"})
	same(t, p.inShard(1), []string{"2|b|1|1"})
	s.deliver(t, p.opened(), 10) // the next process
	same(t, p.inShard(0), []string{"1|a|0|2"})
	if got := p.inShard(1); len(got) != 1 || got[0] != "2|b|1|2" {
		t.Errorf("the shard never gets the batch that was cut off in it: it has %v", got)
	}
}
