package mysql_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/route"
	"github.com/sluice-cdc/sluice/sink"
)

// What the table cannot hold is refused with its offset, its key and the server's words, and nothing of the
// batch is there; without that one record the batch goes through.
func TestRefusedRow(t *testing.T) { eachWay(t, refusedRow) }

func refusedRow(t *testing.T, way func(*place)) {
	tests := []struct {
		name, ddl string
		row       []change.Value
		want      string
	}{
		{"too long", "email VARCHAR(5) NOT NULL, seat INT, n INT NOT NULL", user(7, "too long", 1, 1), "Data too long"},
		{"not in the charset", "email VARCHAR(50) CHARACTER SET latin1 NOT NULL, seat INT, n INT NOT NULL", user(7, "漢", 1, 1), "Incorrect string value"},
		{"out of range", "email VARCHAR(50) NOT NULL, seat TINYINT, n INT NOT NULL", user(7, "a", 1000, 1), "Out of range"},
		{"NULL", "email VARCHAR(50) NOT NULL, seat INT NOT NULL, n INT NOT NULL", user(7, "a", -1, 1), "cannot be null"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newPlace(t, 1)
			way(p)
			p.in("CREATE TABLE $DB.users (id BIGINT PRIMARY KEY, " + test.ddl + ")")
			tg := p.opened()
			s := newTeller(users("utf8mb4_general_ci"), 1)
			for i := range 5 {
				s.write(nil, user(i, "a", 1, 1))
			}
			s.write(nil, test.row)
			s.write(user(2, "a", 1, 1), nil)
			_, epoch, _, err := tg.Assign(t.Context(), group, s.identity(0))
			if err != nil {
				t.Fatal(err)
			}
			b := s.batch(0, 0, int64(len(s.logs[0])), epoch)
			err = tg.Apply(t.Context(), b)
			var refused *sink.Refused
			var problem *change.Problem
			if !errors.As(err, &refused) || refused.Offset != 5 || !errors.As(err, &problem) || problem.Kind != change.Poison {
				t.Fatalf("got %v, want offset 5 refused as poison", err)
			}
			if text := err.Error(); !strings.Contains(text, "id=7") || !strings.Contains(text, ".users") || !strings.Contains(text, test.want) {
				t.Errorf("the error names not the table, the key and %q: %s", test.want, text)
			}
			count := "SELECT COUNT(*) FROM " + p.shards[0].Database + ".users"
			same(t, p.query(count), []string{"0"})
			b.Changes = append(append([]sink.Change(nil), b.Changes[:5]...), b.Changes[6:]...)
			if err := tg.Apply(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			same(t, p.query(count), []string{"4"})
		})
	}
}

// A row that no packet holds is refused by its size; batches of rows that fit are cut into packets.
func TestPackets(t *testing.T) { eachWay(t, packets) }

func packets(t *testing.T, way func(*place)) {
	p := newPlace(t, 1)
	way(p)
	p.in("CREATE TABLE $DB.users (id BIGINT PRIMARY KEY, email LONGTEXT NOT NULL, seat INT, n INT NOT NULL)")
	before := p.query("SELECT @@GLOBAL.max_allowed_packet")[0]
	p.exec("SET GLOBAL max_allowed_packet = 1048576")
	defer p.exec("SET GLOBAL max_allowed_packet = " + before)
	tg := p.opened()
	s := newTeller(users("utf8mb4_general_ci"), 1)
	for i := range 12 {
		s.write(nil, user(i, strings.Repeat("x'", 150_000), i, 1))
	}
	for i := range 3000 {
		s.write(nil, user(100+i, "small", i, 1))
	}
	s.deliver(t, tg, 5000)
	for i := range 2000 {
		s.write(user(100+i, "small", i, 1), nil)
	}
	s.deliver(t, tg, 5000)
	same(t, p.query("SELECT COUNT(*), SUM(LENGTH(email)) FROM "+p.shards[0].Database+".users"), []string{"1012|3605000"})
	s.write(nil, user(99, strings.Repeat("y", 1_100_000), 1, 1))
	err := s.deliverPartition(tg, 0, 100)
	if change.SeverityOf(err) != change.Poison || !strings.Contains(change.Explain(err), "max_allowed_packet") || !strings.Contains(err.Error(), "id=99") {
		t.Errorf("got %v, want the row refused by its size", err)
	}
}

// TestLongUniqueValues: where all rows of a batch are in each other's way, their unique values are asked for in as many queries as the server's
// packets need.
func TestLongUniqueValues(t *testing.T) {
	p := newPlace(t, 1)
	p.in("CREATE TABLE $DB.users (id BIGINT PRIMARY KEY, email VARCHAR(50) COLLATE utf8mb4_general_ci NOT NULL, seat INT, n INT NOT NULL, UNIQUE KEY (email))")
	before := p.query("SELECT @@GLOBAL.max_allowed_packet")[0]
	p.exec("SET GLOBAL max_allowed_packet = 16384")
	defer p.exec("SET GLOBAL max_allowed_packet = " + before)
	p.config.Unique = map[string][]string{"shop.users": {"email"}}
	tg := p.opened()
	s := newTeller(users("utf8mb4_general_ci"), 1)
	const rows = 450
	email := func(i int) string { return fmt.Sprintf("%d%s", i%rows, strings.Repeat("x", 45)) }
	for i := range rows {
		s.write(nil, user(i, email(i), i, 1))
	}
	s.deliver(t, tg, 5000)
	last := rows - 1 // its value is free while all others take their neighbour's
	s.write(user(last, email(last), last, 1), user(last, "free", last, 1))
	for i := last - 1; i >= 0; i-- {
		s.write(user(i, email(i), i, 1), user(i, email(i+1), i, 2))
	}
	s.write(user(last, "free", last, 1), user(last, email(0), last, 2))
	s.deliver(t, tg, 5000)
	var want []string
	for i := range rows {
		want = append(want, fmt.Sprintf("%d|%s|2", i, email(i+1)))
	}
	same(t, p.query("SELECT id, email, n FROM "+p.shards[0].Database+".users ORDER BY id"), want)
}

// TestSourcesShareATable: what is read back, is there, and is emptied is one source's.
func TestSourcesShareATable(t *testing.T) { eachWay(t, sourcesShareATable) }

func sourcesShareATable(t *testing.T, way func(*place)) {
	p := newPlace(t, 1)
	way(p)
	tg := p.opened()
	first, second := newTeller(users("utf8mb4_general_ci"), 1), newTeller(users("utf8mb4_general_ci"), 1)
	first.write(nil, user(1, "a", 1, 1))
	first.write(nil, user(2, "b", 1, 1))
	first.deliver(t, tg, 10)
	second.write(nil, user(3, "c", 1, 1))
	other := second.identity(0)
	other.Source, other.Topic = "archive", "archive.shop.users"
	_, epoch, _, err := tg.Assign(t.Context(), group, other)
	if err != nil {
		t.Fatal(err)
	}
	log := second.logs[0]
	if err := tg.Apply(t.Context(), &sink.Batch{Group: group, Partition: other, Next: int64(len(log)), Epoch: epoch, Changes: log}); err != nil {
		t.Fatal(change.Explain(err))
	}
	p.exec("INSERT INTO " + p.shards[0].Database + ".users (id, email, seat, n) VALUES (4, 'nobody', 1, 1)")
	read := func(source string, keys ...[]change.Value) (ids []string) {
		t.Helper()
		err := tg.Scan(t.Context(), sink.Scan{Source: source, Table: first.table, Keys: keys}, func(r sink.Row) error {
			ids = append(ids, r.Values[0].String())
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	same(t, read("shop"), []string{"1", "2", "4"})
	same(t, read("archive"), []string{"3", "4"})
	same(t, read("elsewhere"), []string{"4"})
	same(t, read("shop", []change.Value{change.IntValue(1)}, []change.Value{change.IntValue(3)}), []string{"1"})
	for source, want := range map[string]int64{"shop": 3, "archive": 2} {
		sums, err := tg.Sums(t.Context(), sink.Scan{Source: source, Table: first.table})
		if err != nil || len(sums) != 1 || sums[0].Rows != want {
			t.Errorf("sums of %s: %+v, %v; want %d rows", source, sums, err, want)
		}
	}
	if err := tg.Empty(t.Context(), "shop", []*change.Table{first.table}); err != nil {
		t.Fatal(err)
	}
	same(t, p.query("SELECT id FROM "+p.shards[0].Database+".users"), []string{"3"})
	for source, want := range map[string]int{"shop": 0, "archive": 1} {
		if occupied, err := tg.Occupied(t.Context(), source, []*change.Table{first.table}); err != nil || len(occupied) != want {
			t.Errorf("occupied by %s: %v, %v", source, occupied, err)
		}
	}
}

// A row of another source is not written over, nor deleted.
func TestAnotherSourcesRow(t *testing.T) { eachWay(t, anotherSourcesRow) }

func anotherSourcesRow(t *testing.T, way func(*place)) {
	p := newPlace(t, 1)
	way(p)
	tg := p.opened()
	first, second := newTeller(users("utf8mb4_general_ci"), 1), newTeller(users("utf8mb4_general_ci"), 1)
	second.version = 1 // greater or smaller does not matter: they are not compared
	first.write(nil, user(1, "a", 1, 1))
	first.deliver(t, tg, 10)
	other := second.identity(0)
	other.Source, other.Topic = "archive", "archive.shop.users"
	_, epoch, _, err := tg.Assign(t.Context(), group, other)
	if err != nil {
		t.Fatal(err)
	}
	apply := func() error {
		log := second.logs[0]
		b := &sink.Batch{Group: group, Partition: other, Next: int64(len(log)), Epoch: epoch, Changes: log}
		return tg.Apply(t.Context(), b)
	}
	second.write(nil, user(1, "b", 1, 1))
	var refused *sink.Refused
	if err := apply(); !errors.As(err, &refused) || !strings.Contains(change.Explain(err), "source shop") {
		t.Errorf("got %v, want the row refused, and its source named", err)
	}
	second.logs[0] = nil
	second.version = 1 << 60
	second.write(user(1, "b", 1, 1), nil)
	if err := apply(); err != nil {
		t.Error(err)
	}
	same(t, p.query(fmt.Sprintf("SELECT id,email,seat,n FROM %s.users", p.shards[0].Database)), []string{"1|a|1|1"})
}

// What the route has no place for stops the table, with the row named.
func TestUnroutableRow(t *testing.T) {
	p := newPlace(t, 2)
	p.config.Routes = []route.Spec{{Table: "shop.users", By: "seat", Rule: route.RuleSpec{Name: "range",
		Lists: map[string][]string{"s0": {"0..9"}, "s1": {"20.."}}}}}
	tg := p.opened()
	for _, seat := range []int{-1, 15} {
		s := newTeller(users("utf8mb4_general_ci"), 1)
		s.write(nil, user(1, "a", 5, 1))
		s.write(nil, user(2, "b", seat, 1))
		err := s.deliverPartition(tg, 0, 10)
		var refused *sink.Refused
		if !errors.As(err, &refused) || refused.Offset != 1 || change.SeverityOf(err) != change.Poison {
			t.Errorf("seat %d: got %v, want offset 1 refused", seat, err)
		}
	}
}
