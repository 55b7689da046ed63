package postgres_test

import (
	"errors"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// What the table or PostgreSQL cannot hold is refused with its offset, its key and the cause, and nothing of the batch is there; without that
// one record the batch goes through.
func TestRefusedRow(t *testing.T) {
	for _, test := range []struct {
		name, ddl string
		row       []change.Value
		want      string
	}{
		{"out of range", "seat smallint", user(7, "a", 100_000, 1), "smallint"},
		{"NULL", "seat int NOT NULL", user(7, "a", -1, 1), "null value in column"},
		{"a check", "seat int CHECK (seat < 5)", user(7, "a", 9, 1), "violates check constraint"},
		{"NUL in text", "seat int", user(7, "a\x00", 1, 1), "set text_nul: remove"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPlace(t)
			p.exec("CREATE SCHEMA $S; CREATE TABLE $S.users (id bigint PRIMARY KEY, email varchar(50) NOT NULL, n int NOT NULL, " + test.ddl + ")")
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
			if !errors.As(err, &refused) || refused.Offset != 5 {
				t.Fatalf("got %v, want offset 5 refused", err)
			}
			problemOf(t, err, change.Poison, "id=7", p.data+".users", test.want)
			same(t, p.query("SELECT count(*) FROM $S.users"), []string{"0"})
			b.Changes = append(append([]sink.Change(nil), b.Changes[:5]...), b.Changes[6:]...)
			if err := tg.Apply(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			same(t, p.query("SELECT count(*) FROM $S.users"), []string{"4"})
		})
	}
}

// dates is a table whose dates PostgreSQL may not have.
func dates() *change.Table {
	return &change.Table{TableName: change.TableName{DB: "shop", Name: "dates"}, Key: []int{0}, Columns: []change.Column{
		{Name: "id", Type: change.Int}, {Name: "d", Type: change.Date}, {Name: "at", Type: change.Timestamp, Scale: 3}, text("note", change.Text, "utf8mb4", "utf8mb4_bin")}}
}

// A date that no calendar has, and NUL, are refused; or changed, and then verify expects what they became.
func TestZeroDatesAndNUL(t *testing.T) {
	rows := [][]change.Value{
		{number(1), str("0000-00-00"), str("0000-00-00 00:00:00.000"), str("a\x00b")},
		{number(2), str("2026-02-30"), str("2026-02-28 00:00:00.000"), str("c")},
	}
	p := newPlace(t)
	s := newTeller(dates(), 1)
	s.write(nil, rows[1])
	problemOf(t, s.deliverPartition(p.opened(), 0, 10), change.Poison, "id=2", "column d", "set zero_dates: to_null")
	p.exec("DROP TABLE $S.dates")

	p.config.ZeroDates, p.config.TextNUL = "to_null", "remove"
	tg := p.opened()
	s = newTeller(dates(), 1)
	for _, row := range rows {
		s.write(nil, row)
	}
	s.deliver(t, tg, 10)
	same(t, p.query("SELECT id, d, at, note FROM $S.dates ORDER BY id"), []string{"1|NULL|NULL|ab", "2|NULL|2026-02-28 00:00:00+00|c"})
	var want []string
	for _, row := range rows {
		shaped, err := tg.Shape(source, s.table, row, nil)
		if err != nil || len(shaped) != 1 {
			t.Fatalf("%v, %v", shaped, err)
		}
		want = append(want, show(shaped[0].Values))
	}
	same(t, scan(t, tg, sink.Scan{Source: source, Table: s.table}), want)

	keyed := dates()
	keyed.Name, keyed.Key = "keyed", []int{1, 0}
	s = newTeller(keyed, 1)
	s.write(nil, rows[1])
	problemOf(t, s.deliverPartition(tg, 0, 10), change.Poison, "column d", "mend the key at the source")
}

// What jsonb cannot hold is refused with its row; its own spelling is a difference that the configuration has accepted.
func TestJSONB(t *testing.T) {
	table := &change.Table{TableName: change.TableName{DB: "shop", Name: "docs"}, Key: []int{0}, Columns: []change.Column{{Name: "id", Type: change.Int}, {Name: "j", Type: change.JSON}}}
	p := newPlace(t)
	p.config.JSON = "jsonb"
	tg := p.opened()
	s := newTeller(table, 1)
	s.write(nil, []change.Value{number(1), str(`{"b": [1, 2.50], "aa": null}`)})
	s.deliver(t, tg, 10)
	same(t, scan(t, tg, sink.Scan{Source: source, Table: table}), []string{show([]change.Value{number(1), str(`{"b": [1, 2.50], "aa": null}`)})})
	s.write(nil, []change.Value{number(2), str(`"\u0000"`)})
	problemOf(t, s.deliverPartition(tg, 0, 10), change.Poison, "id=2", "Unicode")
}

// A batch with two schemas of the table is applied in two parts; one that fails in the second leaves the progress between.
func TestTwoSchemasInABatch(t *testing.T) {
	p := newPlace(t)
	tg := p.opened()
	s := newTeller(users("utf8mb4_general_ci"), 1)
	s.write(nil, user(1, "a", 1, 1))
	wider := *s.table
	wider.Columns = append(append([]change.Column(nil), s.table.Columns...), text("extra", change.Text, "utf8mb4", "utf8mb4_bin"))
	s.table = &wider
	s.write(nil, append(user(2, "b", 2, 2), str("x\x00")))
	_, epoch, _, err := tg.Assign(t.Context(), group, s.identity(0))
	if err != nil {
		t.Fatal(err)
	}
	problemOf(t, tg.Apply(t.Context(), s.batch(0, 0, 2, epoch)), change.Poison, "id=2")
	if positions, err := tg.Positions(t.Context(), group); err != nil || len(positions) != 1 || positions[0].Next != 1 || positions[0].ThroughMillis != 0 {
		t.Errorf("positions %+v, %v", positions, err)
	}
	s.logs[0][1].After[4] = str("x")
	if err := tg.Apply(t.Context(), s.batch(0, 0, 2, epoch)); err != nil {
		t.Fatal(change.Explain(err))
	}
	same(t, p.query("SELECT id, extra FROM $S.users ORDER BY id"), []string{"1|NULL", "2|x"})
}
