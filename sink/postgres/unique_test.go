package postgres_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	target "github.com/sluice-cdc/sluice/sink/postgres"
)

const usersTable = `CREATE SCHEMA IF NOT EXISTS $S; CREATE TABLE $S.users (id bigint PRIMARY KEY, email varchar(50) NOT NULL CONSTRAINT email UNIQUE,
	seat int CONSTRAINT seat UNIQUE, n int NOT NULL)`

const allUsers = "SELECT id, email, seat, n FROM $S.users ORDER BY id"

func usersPlace(t testing.TB) (*place, *target.Target) {
	p := newPlace(t)
	p.exec(usersTable)
	p.config.Unique = map[string][]string{"shop.users": {"email", "seat"}}
	return p, p.opened()
}

// Rows of different partitions swap their unique values while the partitions are applied at once: what is left is what the source
// has, with conflicts rare (when the repairs do not hide a hole) and frequent.
func TestSwapsOfUniqueValues(t *testing.T) {
	for _, test := range []struct {
		share          float64
		batch, changes int
	}{{0.003, 200, 6000}, {0.003, 20, 6000}, {0.3, 200, 3000}, {0.3, 7, 1000}} {
		t.Run(fmt.Sprintf("%.1f %% in batches of %d", test.share*100, test.batch), func(t *testing.T) {
			p, tg := usersPlace(t)
			r := rand.New(rand.NewPCG(seed(t), 1))
			s := newTeller(users("utf8mb4_general_ci"), 6)
			want := swaps(r, s, 150, test.changes, test.share)
			s.deliver(t, tg, test.batch)
			same(t, p.query(allUsers), texts(want))
			noDebts(t, tg)
		})
	}
}

// apart returns two ids whose changes are in different partitions, and the first's partition.
func (s *teller) apart() (first, second, at int) {
	of := func(id int) int { return s.partition([]byte(fmt.Sprint([]change.Value{number(id)}))) }
	for second = 1; of(second) == of(first); second++ {
	}
	return first, second, of(first)
}

func (s *teller) deliverOne(t testing.TB, tg *target.Target, partition int) {
	t.Helper()
	if err := s.deliverPartition(tg, partition, 10); err != nil {
		t.Fatal(change.Explain(err))
	}
}

// An upsert that meets a newer holder writes nothing, and owes until its own next change comes.
func TestNewerHolderWins(t *testing.T) {
	p, tg := usersPlace(t)
	s := newTeller(users("utf8mb4_general_ci"), 2)
	first, second, at := s.apart()
	s.write(nil, user(first, "shared", 1, 1))                      // version 1
	s.write(user(first, "shared", 1, 1), user(first, "own", 1, 2)) // version 2
	s.write(nil, user(second, "shared", 2, 1))                     // version 3, in the other partition
	s.deliverOne(t, tg, 1-at)
	log := s.logs[at]
	s.logs[at] = log[:1]
	s.deliverOne(t, tg, at)
	same(t, p.query(allUsers), []string{fmt.Sprintf("%d|shared|2|1", second)})
	if debts, err := tg.Debts(t.Context(), group); err != nil || len(debts) != 1 || debts[0].Key != fmt.Sprintf("id=%d", first) {
		t.Errorf("debts %+v, %v; want one of id=%d", debts, err, first)
	}
	s.logs[at] = log
	s.deliverOne(t, tg, at)
	noDebts(t, tg)
	same(t, p.query("SELECT count(*) FROM $S.users"), []string{"2"})
}

// A holder that is deleted by another row's change while its own next change, a delete, waits for it: the debt is seen and paid.
func TestDebtOfAHolderThatIsDeletedMeanwhile(t *testing.T) {
	p, tg := usersPlace(t)
	s := newTeller(users("utf8mb4_general_ci"), 2)
	first, second, at := s.apart()
	s.write(nil, user(first, "shared", 1, 1))
	s.deliver(t, tg, 10)
	s.write(user(first, "shared", 1, 1), nil)
	s.write(nil, user(second, "shared", 2, 1))
	// Somebody holds the row, so that both wait for it.
	p.exec("BEGIN", fmt.Sprintf("SELECT FROM $S.users WHERE id=%d FOR UPDATE", first))
	done := make(chan error, 2)
	go func() { done <- s.deliverPartition(tg, 1-at, 10) }()
	go func() { done <- s.deliverPartition(tg, at, 10) }()
	p.exec("SELECT pg_sleep(0.5)", "COMMIT")
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(change.Explain(err))
		}
	}
	same(t, p.query(allUsers), []string{fmt.Sprintf("%d|shared|2|1", second)})
	noDebts(t, tg)
}

// Unique indexes over an expression, and over some of the rows, are found by what the server makes of them.
func TestExpressionAndPartialIndexes(t *testing.T) {
	p := newPlace(t)
	p.exec(`CREATE SCHEMA $S; CREATE TABLE $S.users (id bigint PRIMARY KEY, email varchar(50) NOT NULL, seat int, n int NOT NULL)`,
		"CREATE UNIQUE INDEX lower ON $S.users (lower(email))", "CREATE UNIQUE INDEX active ON $S.users (seat) WHERE n > 0")
	p.config.Unique = map[string][]string{"shop.users": {"*"}}
	tg := p.opened()
	s := newTeller(users("utf8mb4_general_ci"), 1)
	s.write(nil, user(1, "abc", 1, 1))
	s.write(nil, user(2, "b", 2, 0))
	s.deliver(t, tg, 10)
	s.write(nil, user(3, "ABC", 3, 1)) // meets 1 in the expression
	s.write(nil, user(4, "d", 2, 1))   // meets 2 in a column, but not in the index
	s.deliver(t, tg, 10)
	same(t, p.query(allUsers), []string{"2|b|2|0", "3|ABC|3|1", "4|d|2|1"})
	s.write(nil, user(5, "e", 2, 7)) // meets 4
	s.deliver(t, tg, 10)
	same(t, p.query(allUsers), []string{"2|b|2|0", "3|ABC|3|1", "5|e|2|7"})
}

// Two processes whose transactions wait for each other's values end by themselves, and sooner than the server's deadlock detector
// would have it.
func TestTwoProcessesThatMeet(t *testing.T) {
	p, one := usersPlace(t)
	two := p.opened()
	s := newTeller(users("utf8mb4_general_ci"), 2)
	r := rand.New(rand.NewPCG(seed(t), 9))
	want := swaps(r, s, 20, 400, 0.5)
	done := make(chan error, 2)
	go func() { done <- s.deliverPartition(one, 0, 40) }()
	go func() { done <- s.deliverPartition(two, 1, 40) }()
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(change.Explain(err))
		}
	}
	same(t, p.query(allUsers), texts(want))
	noDebts(t, one)
}

// Keys that MySQL's collation calls one row are two here: each spelling's delete is in the log, so the newest is left alone.
func TestSpellingOfKeys(t *testing.T) {
	table := &change.Table{TableName: change.TableName{DB: "shop", Name: "names"}, Key: []int{0}, Columns: []change.Column{
		{Name: "name", Type: change.VarChar, Length: 20, Charset: "utf8mb4", Collation: "utf8mb4_general_ci"}, {Name: "n", Type: change.Int}}}
	spellings := []string{"a", "A", "a ", "A  ", "á", "Á"}
	r := rand.New(rand.NewPCG(seed(t), 2))
	p := newPlace(t)
	tg := p.opened()
	for try := range 15 {
		s := newTeller(table, 5)
		s.version += change.Version(try) * 1_000_000
		var state []change.Value
		for i := range 30 {
			after := []change.Value{change.StringValue(spellings[r.IntN(len(spellings))]), number(i)}
			if r.IntN(6) == 0 {
				after = nil
			}
			if state != nil || after != nil {
				s.write(state, after)
			}
			state = after
		}
		s.deliver(t, tg, 1+r.IntN(8))
		var want []string
		if state != nil {
			want = []string{fmt.Sprintf("%s|%s", state[0].Bytes, state[1])}
		}
		if got := p.query("SELECT name, n FROM $S.names"); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("history %d: got %q, want %q", try, got, want)
		}
		p.exec("TRUNCATE TABLE $S.names", "UPDATE $O.progress SET next_offset=-1")
		tg = p.opened()
	}
}

// A row of another source is neither written over nor deleted nor skipped in silence, whichever way leads to it and whatever its version.
func TestAnotherSourcesRow(t *testing.T) {
	for _, version := range []change.Version{1, 1 << 62} {
		p, tg := usersPlace(t)
		s := newTeller(users("utf8mb4_general_ci"), 1)
		s.write(nil, user(1, "a", 1, 1))
		s.deliver(t, tg, 10)
		p.exec("INSERT INTO $O.source (id, name) VALUES (77, 'warehouse')",
			fmt.Sprintf("INSERT INTO $S.users (id, email, seat, n, _sluice_version, _sluice_source) VALUES (9, 'b', 9, 9, %d, 77)", version))
		for _, c := range []struct {
			row  []change.Value
			want string
		}{{user(9, "c", 5, 1), "a row with its key"}, {user(8, "b", 6, 1), "a row with its value of the unique index email"}} {
			s.write(nil, c.row)
			problemOf(t, s.deliverPartition(tg, 0, 10), change.Poison, c.want, "from source warehouse")
			s.logs[0] = s.logs[0][:len(s.logs[0])-1]
		}
		s.write(user(9, "b", 9, 9), nil)
		s.deliver(t, tg, 10)
		same(t, p.query(allUsers), []string{"1|a|1|1", "9|b|9|9"})
	}
}

// TestSourcesShareATable: what is read back, is there, and is emptied is one source's.
func TestSourcesShareATable(t *testing.T) {
	p, tg := usersPlace(t)
	s := newTeller(users("utf8mb4_bin"), 1)
	s.write(nil, user(1, "a", 1, 1))
	s.write(nil, user(2, "b", 2, 1))
	s.deliver(t, tg, 10)
	p.exec("INSERT INTO $O.source (id, name) VALUES (77, 'archive')",
		"INSERT INTO $S.users (id, email, seat, n, _sluice_version, _sluice_source) VALUES (3, 'c', 3, 1, 5, 77), (4, 'd', 4, 1, 5, 0)")
	read := func(source string, keys ...[]change.Value) (ids []string) {
		t.Helper()
		err := tg.Scan(t.Context(), sink.Scan{Source: source, Table: s.table, Keys: keys}, func(r sink.Row) error {
			ids = append(ids, r.Values[0].String())
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	same(t, read(source), []string{"1", "2", "4"})
	same(t, read("archive"), []string{"3", "4"})
	same(t, read(source, []change.Value{change.IntValue(1)}, []change.Value{change.IntValue(3)}), []string{"1"})
	if err := tg.Empty(t.Context(), source, []*change.Table{s.table}); err != nil {
		t.Fatal(err)
	}
	same(t, read("archive"), []string{"3"})
	for name, want := range map[string]int{source: 0, "archive": 1} {
		if occupied, err := tg.Occupied(t.Context(), name, []*change.Table{s.table}); err != nil || len(occupied) != want {
			t.Errorf("occupied by %s: %v, %v", name, occupied, err)
		}
	}
}
