package mysql_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/route"
)

// Who has a connection of a shard never waits for another one: else partitions that all begin at once, as many as there may be connections,
// would wait for each other for ever. With one connection a single partition shows it.
func TestOneConnection(t *testing.T) { eachWay(t, oneConnection) }

func oneConnection(t *testing.T, way func(*place)) {
	p := newPlace(t, 3)
	p.config.Routes = []route.Spec{{Table: "shop.users", By: "seat", Rule: route.RuleSpec{Name: "modulus"}}}
	p.config.Connections = 1
	way(p)
	s := newTeller(users("utf8mb4_general_ci"), 8)
	want := moves(rand.New(rand.NewPCG(seed(t), 5)), s, 40, 400)
	tg := p.open() // closed only if it can be
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.deliver(t, tg, 20)
	}()
	const patience = time.Minute
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("the partitions have not ended within %s: they wait for each other", patience)
	}
	tg.Close()
	same(t, p.wandered(want), texts(want))
}

// wandered returns the rows of moves, each from the shards that have it.
func (p *place) wandered(want [][]change.Value) (rows []string) {
	p.t.Helper()
	for id := range want {
		rows = append(rows, p.eachShard(fmt.Sprintf("SELECT id,email,seat,n FROM $DB.users WHERE id=%d", id))...)
	}
	return rows
}
