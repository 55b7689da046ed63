package mysql_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/route"
	"github.com/sluice-cdc/sluice/sink"
	target "github.com/sluice-cdc/sluice/sink/mysql"
)

const usersTable = "CREATE TABLE $DB.users (id BIGINT AUTO_INCREMENT PRIMARY KEY, email VARCHAR(50) NOT NULL UNIQUE, " +
	"seat INT UNIQUE, n INT NOT NULL) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"

// lockWait is innodb_lock_wait_timeout of the sink's sessions.
const lockWait = 5 * time.Second

const allUsers = "SELECT id, email, seat, n FROM %s.users ORDER BY id"

func usersPlace(t testing.TB, shards int, ways ...func(*place)) (*place, *target.Target) {
	p := newPlace(t, shards)
	for _, way := range ways {
		way(p)
	}
	p.in(usersTable)
	p.config.Unique = map[string][]string{"shop.users": {"email", "seat"}}
	return p, p.opened()
}

// Rows of different partitions swap their UNIQUE values while the partitions are applied at once: what is left
// is what the source has, with conflicts rare (when the repairs do not hide a hole) and frequent.
func TestSwapsOfUniqueValues(t *testing.T) {
	columns := func(*place) {}
	for _, test := range []struct {
		share          float64
		batch, changes int
		way            func(*place)
		name           string
	}{
		{0.003, 200, 6000, columns, ""}, {0.003, 20, 6000, columns, ""}, {0.3, 200, 6000, columns, ""}, {0.3, 7, 1500, columns, ""},
		{0.003, 100, 4000, inSideTables, " beside a side table"}, {0.3, 20, 2000, inSideTables, " beside a side table"},
	} {
		t.Run(fmt.Sprintf("%.1f %% in batches of %d%s", test.share*100, test.batch, test.name), func(t *testing.T) {
			p, tg := usersPlace(t, 1, test.way)
			r := rand.New(rand.NewPCG(seed(t), 1))
			s := newTeller(users("utf8mb4_general_ci"), 6)
			want := swaps(r, s, 150, test.changes, test.share)
			s.deliver(t, tg, test.batch)
			same(t, p.query(fmt.Sprintf(allUsers, p.shards[0].Database)), texts(want))
			noDebts(t, tg)
		})
	}
}

// Rows that are in the way of others are found by asking, whatever the case of the values that they hold, and not by trying: the number of INSERTs
// says so.
func TestHoldersAreFound(t *testing.T) {
	p, tg := usersPlace(t, 1)
	s := newTeller(users("utf8mb4_general_ci"), 1)
	inserts := func() (n int) {
		t.Helper()
		if _, err := fmt.Sscanf(p.query("SHOW GLOBAL STATUS LIKE 'Com_insert'")[0], "Com_insert|%d", &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	rows := make([][]change.Value, 400)
	set := func(i int, row []change.Value) {
		s.write(rows[i], row)
		rows[i] = row
	}
	for i := range rows {
		set(i, user(i, fmt.Sprintf("u%d", i), i, 1))
	}
	s.deliver(t, tg, len(rows))
	for i := range rows {
		set(i, user(i, fmt.Sprintf("u%d", i), i, 2))
	}
	const swapped = 20
	for i := 0; i < swapped; i += 2 { // each takes the other's e-mail
		set(i, user(i, "for a moment", i, 3))
		set(i+1, user(i+1, fmt.Sprintf("U%d", i), i+1, 3))
		set(i, user(i, fmt.Sprintf("U%d", i+1), i, 3))
	}
	before := inserts()
	s.deliver(t, tg, 10*len(rows))
	same(t, p.query(fmt.Sprintf(allUsers, p.shards[0].Database)), texts(rows))
	noDebts(t, tg)
	// The one that failed, the one of all others, and for each of the swapped its own and a debt's, and then some.
	if n := inserts() - before; n > 2+3*swapped {
		t.Errorf("%d INSERTs for %d rows that are in each other's way", n, swapped)
	}
}

// A batch of deletes waits for no row but its own, in the table and among the debts, also where it names more keys than there are rows: a server
// that reads all of them waits for what another partition has locked.
func TestDeletesWaitForTheirRowsOnly(t *testing.T) {
	p, tg := usersPlace(t, 1)
	s := newTeller(users("utf8mb4_general_ci"), 1)
	rows := make([][]change.Value, 600)
	for i := range rows {
		rows[i] = user(i, fmt.Sprintf("u%d", i), i, 1)
		s.write(nil, rows[i])
	}
	s.deliver(t, tg, len(rows))
	p.in("DELETE FROM $DB.users WHERE id BETWEEN 10 AND 590", "ANALYZE TABLE $DB.users",
		"INSERT INTO $DB._sluice_debt VALUES ('users', REPEAT('x', 16), 'other', 't', 's', 'k', 'FALSE', 1, 1)")
	other, err := p.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	// A sink that waits for it goes on at some time, so that this ends in an error and not never.
	release := time.AfterFunc(2*lockWait, func() { other.Rollback() })
	defer func() { release.Stop(); other.Rollback() }()
	for _, table := range []string{"users WHERE id = 599", "_sluice_debt"} {
		if _, err := other.Exec("SELECT * FROM " + p.shards[0].Database + "." + table + " FOR UPDATE"); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range rows[:500] {
		s.write(row, nil)
	}
	began := time.Now()
	s.deliver(t, tg, 2*len(rows))
	if took := time.Since(began); took > lockWait/2 {
		t.Errorf("it took %v: it waited for another's row", took)
	}
	same(t, p.query(fmt.Sprintf("SELECT COUNT(*), MIN(id) FROM %s.users", p.shards[0].Database)), []string{"9|591"})
}

// The same with three shards, where almost every change moves its row.
func TestSwapsBetweenShards(t *testing.T) {
	p, _ := usersPlace(t, 3)
	p.config.Routes = []route.Spec{{Table: "shop.users", By: "n", Rule: route.RuleSpec{Name: "modulus"}}}
	tg := p.opened()
	s := newTeller(users("utf8mb4_general_ci"), 4)
	want := swaps(rand.New(rand.NewPCG(seed(t), 6)), s, 60, 1500, 0.1)
	s.deliver(t, tg, 50)
	var got []string
	for i := range want {
		for _, shard := range p.shards {
			got = append(got, p.query(fmt.Sprintf("SELECT id, email, seat, n FROM %s.users WHERE id=%d", shard.Database, i))...)
		}
	}
	same(t, got, texts(want))
	noDebts(t, tg)
}

// The same histories written by REPLACE, as plain overwrite does it, lose rows: the test above would see it.
func TestSwapsByReplaceLoseRows(t *testing.T) {
	lost := 0
	for try := 0; try < 10 && lost == 0; try++ {
		p := newPlace(t, 1)
		p.in(usersTable)
		r := rand.New(rand.NewPCG(seed(t), 1))
		s := newTeller(users("utf8mb4_general_ci"), 6)
		want := swaps(r, s, 150, 6000, 0.03)
		var wg sync.WaitGroup
		for _, log := range s.logs {
			wg.Go(func() {
				for from := 0; from < len(log); from += 200 {
					replaceAll(p, log[from:min(from+200, len(log))])
				}
			})
		}
		wg.Wait()
		lost = different(p.query(fmt.Sprintf(allUsers, p.shards[0].Database)), texts(want))
	}
	if lost == 0 {
		t.Error("ten histories by REPLACE lost no row: the swaps do not meet each other, and the other test shows nothing")
	}
	t.Logf("%d rows differ", lost)
}

// replaceAll writes the newest of each key, again and again until no deadlock hits it.
func replaceAll(p *place, log []sink.Change) {
	newest := make(map[string]*sink.Change)
	for i := range log {
		newest[string(log[i].Key)] = &log[i]
	}
	var rows []string
	for _, c := range newest {
		seat := c.After[2].String()
		rows = append(rows, fmt.Sprintf("(%s,'%s',%s,%s)", c.After[0], c.After[1], seat, c.After[3]))
	}
	for range 1000 {
		_, err := p.db.ExecContext(context.Background(), "REPLACE INTO "+p.shards[0].Database+".users VALUES "+strings.Join(rows, ","))
		if err == nil || !strings.Contains(err.Error(), "Deadlock") {
			return
		}
	}
}

// A key with AUTO_INCREMENT takes NULL for a wish for 0 in ON DUPLICATE KEY UPDATE: a guard on it renames the
// holder instead of failing.
func TestHolderWithAutoIncrementKeyIsNotRenamed(t *testing.T) {
	eachWay(t, holderWithAutoIncrementKeyIsNotRenamed)
}

func holderWithAutoIncrementKeyIsNotRenamed(t *testing.T, way func(*place)) {
	p, tg := usersPlace(t, 1, way)
	s := newTeller(users("utf8mb4_general_ci"), 1)
	s.write(nil, user(1, "a", 1, 1))
	s.write(nil, user(2, "b", 2, 1))
	s.deliver(t, tg, 10)
	s.write(nil, user(3, "a", 3, 1)) // newer than the holder: it wins
	s.deliver(t, tg, 10)
	same(t, p.query(fmt.Sprintf(allUsers, p.shards[0].Database)), []string{"2|b|2|1", "3|a|3|1"})
	debts, err := tg.Debts(t.Context(), group)
	if err != nil || len(debts) != 1 || debts[0].Key != "id=1" {
		t.Errorf("debts %+v, %v; want one of id=1, whose next change did not come", debts, err)
	}
}

// A debt that is paid is struck when somebody looks. A row that has paid and is deleted at that very moment, with its debt, does not
// owe.
func TestDebtOfARowThatGoesMeanwhile(t *testing.T) { eachWay(t, debtOfARowThatGoesMeanwhile) }

func debtOfARowThatGoesMeanwhile(t *testing.T, way func(*place)) {
	p, tg := usersPlace(t, 1, way)
	s := newTeller(users("utf8mb4_general_ci"), 2)
	first, second := 0, 1
	for s.partition([]byte(fmt.Sprint([]change.Value{number(second)}))) == s.partition([]byte(fmt.Sprint([]change.Value{number(first)}))) {
		second++
	}
	at := s.partition([]byte(fmt.Sprint([]change.Value{number(first)})))
	s.write(nil, user(first, "shared", 1, 1))
	s.deliver(t, tg, 10)
	s.write(user(first, "shared", 1, 1), user(first, "own", 1, 2))
	s.write(nil, user(second, "shared", 2, 1))
	for _, partition := range []int{1 - at, at} { // the holder is deleted, and comes again by its own change
		if err := s.deliverPartition(tg, partition, 10); err != nil {
			t.Fatal(err)
		}
	}
	database := p.shards[0].Database
	same(t, p.query("SELECT key_text FROM "+database+"._sluice_debt"), []string{fmt.Sprintf("id=%d", first)})

	held, err := p.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	inSession := func(statement string) {
		t.Helper()
		if _, err := held.ExecContext(context.Background(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	inSession("LOCK TABLES " + database + ".users WRITE")
	looked := make(chan error, 1)
	go func() {
		debts, err := tg.Debts(context.Background(), group)
		if err == nil && len(debts) > 0 {
			err = fmt.Errorf("%+v", debts)
		}
		looked <- err
	}()
	p.heldUp() // the debt has been read, the row has not
	inSession(fmt.Sprintf("DELETE FROM %s.users WHERE id = %d", database, first))
	p.exec("DELETE FROM " + database + "._sluice_debt")
	inSession("UNLOCK TABLES")
	if err := <-looked; err != nil {
		t.Errorf("a debt that was paid is said to be open: %v", err)
	}
}

// An upsert that meets a newer holder writes nothing, and owes.
func TestNewerHolderWins(t *testing.T) { eachWay(t, newerHolderWins) }

func newerHolderWins(t *testing.T, way func(*place)) {
	p, tg := usersPlace(t, 1, way)
	s := newTeller(users("utf8mb4_general_ci"), 2)
	var first, second int
	for second = 1; s.partition([]byte(fmt.Sprint([]change.Value{number(second)}))) == s.partition([]byte(fmt.Sprint([]change.Value{number(first)}))); second++ {
	}
	s.write(nil, user(first, "shared", 1, 1))                      // version 1
	s.write(user(first, "shared", 1, 1), user(first, "own", 1, 2)) // version 2
	s.write(nil, user(second, "shared", 2, 1))                     // version 3, in the other partition
	at := s.partition([]byte(fmt.Sprint([]change.Value{number(first)})))
	if err := s.deliverPartition(tg, 1-at, 10); err != nil {
		t.Fatal(err)
	}
	log := s.logs[at]
	s.logs[at] = log[:1]
	if err := s.deliverPartition(tg, at, 10); err != nil {
		t.Fatal(err)
	}
	same(t, p.query(fmt.Sprintf(allUsers, p.shards[0].Database)), []string{fmt.Sprintf("%d|shared|2|1", second)})
	if debts, err := tg.Debts(t.Context(), group); err != nil || len(debts) != 1 {
		t.Errorf("debts %+v, %v; want one", debts, err)
	}
	s.logs[at] = log
	if err := s.deliverPartition(tg, at, 10); err != nil {
		t.Fatal(err)
	}
	noDebts(t, tg)
	same(t, p.query("SELECT COUNT(*) FROM "+p.shards[0].Database+".users"), []string{"2"})
}

// Unique keys over an expression or a column's first characters are found by what the server makes of them.
func TestPrefixAndFunctionalUniqueKeys(t *testing.T) { eachWay(t, prefixAndFunctionalUniqueKeys) }

func prefixAndFunctionalUniqueKeys(t *testing.T, way func(*place)) {
	p := newPlace(t, 1)
	way(p)
	definition := "CREATE TABLE $DB.users (id BIGINT PRIMARY KEY, email VARCHAR(50) NOT NULL, seat INT, n INT NOT NULL, " +
		"UNIQUE prefix (email(4))"
	if running().Flavor.MySQL9Words() {
		definition += ", UNIQUE expression ((seat % 10))"
	}
	p.in(definition + ") CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
	p.config.Unique = map[string][]string{"shop.users": {"*"}}
	tg := p.opened()
	s := newTeller(users("utf8mb4_general_ci"), 1)
	s.write(nil, user(1, "ab%_xxx", 1, 1))
	s.write(nil, user(2, "b", 2, 1))
	s.deliver(t, tg, 10)
	s.write(nil, user(3, "AB%_yyy", 3, 1)) // meets 1 in the prefix
	s.write(nil, user(4, "B", 4, 1))       // meets 2
	s.deliver(t, tg, 10)
	want := []string{"3|AB%_yyy|3|1", "4|B|4|1"}
	same(t, p.query(fmt.Sprintf(allUsers, p.shards[0].Database)), want)
	if running().Flavor.MySQL9Words() {
		s.write(nil, user(5, "c", 13, 1)) // meets 3 in the expression
		s.deliver(t, tg, 10)
		same(t, p.query(fmt.Sprintf(allUsers, p.shards[0].Database)), []string{"4|B|4|1", "5|c|13|1"})
	}
}

// The key's spelling changes under a collation that calls both one: the events part into two partitions, which
// are applied in any order, and the newest spelling is left, byte for byte.
func TestSpellingOfKeys(t *testing.T) { eachWay(t, spellingOfKeys) }

func spellingOfKeys(t *testing.T, way func(*place)) {
	table := &change.Table{
		TableName: change.TableName{DB: "shop", Name: "names"},
		Columns: []change.Column{
			{Name: "name", Type: change.VarChar, Length: 20, Charset: "utf8mb4", Collation: "utf8mb4_general_ci"},
			{Name: "n", Type: change.Int},
		},
		Key: []int{0},
	}
	spellings := []string{"a", "A", "a ", "A  ", "á", "Á"}
	r := rand.New(rand.NewPCG(seed(t), 2))
	p := newPlace(t, 1)
	way(p)
	tg := p.opened()
	for try := range 25 {
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
			want = []string{fmt.Sprintf("%x|%s", state[0].Bytes, state[1])}
		}
		got := p.query("SELECT LOWER(HEX(name)), n FROM " + p.shards[0].Database + ".names")
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("history %d: got %v, want %v", try, got, want)
		}
		p.in("TRUNCATE TABLE $DB.names", "UPDATE $DB._sluice_progress SET _sluice_next=-1")
	}
}
