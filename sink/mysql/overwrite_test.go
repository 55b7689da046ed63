package mysql_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/route"
	target "github.com/sluice-cdc/sluice/sink/mysql"
)

// Without version columns rows are replaced in the order of their partition, and move between shards.
func TestOverwrite(t *testing.T) {
	p := newPlace(t, 3)
	p.config.Mode = target.ModeOverwrite
	p.config.Routes = []route.Spec{{Table: "shop.users", By: "seat", Rule: route.RuleSpec{Name: "modulus"}}}
	tg := p.opened()
	r := rand.New(rand.NewPCG(seed(t), 5))
	s := newTeller(users("utf8mb4_bin"), 3)
	want := moves(r, s, 50, 2000)
	s.deliver(t, tg, 50)
	var got []string
	for i := range want {
		for _, shard := range p.shards {
			got = append(got, p.query(fmt.Sprintf("SELECT * FROM %s.users WHERE id=%d", shard.Database, i))...)
		}
	}
	same(t, got, texts(want))
}

// With several partitions, rows that can meet rows of other partitions are refused: the older might win.
func TestOverwriteRefusesWhatItCannotOrder(t *testing.T) {
	p := newPlace(t, 1)
	p.in("CREATE TABLE $DB.users (id BIGINT PRIMARY KEY, email VARCHAR(50) COLLATE utf8mb4_bin NOT NULL UNIQUE, seat INT, n INT NOT NULL)")
	p.config.Mode, p.config.Unique = target.ModeOverwrite, map[string][]string{"shop.users": {"email"}}
	for partitions, want := range map[int]string{1: "", 2: "unique keys"} {
		s := newTeller(users("utf8mb4_bin"), partitions)
		s.write(nil, user(1, "a", 5, 1))
		at := s.partition(s.logsKey())
		err := s.deliverPartition(p.opened(), at, 10)
		if (err == nil) != (want == "") || (err != nil && (change.SeverityOf(err) != change.Poison || !strings.Contains(err.Error(), want))) {
			t.Errorf("%d partitions: got %v, want %q", partitions, err, want)
		}
	}
}
