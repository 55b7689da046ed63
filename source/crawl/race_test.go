package crawl

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// TestUnderFire crawls a table again and again, whole and by named keys, while writers insert, update, delete
// and move its rows. When they stop, the topic is the table.
func TestUnderFire(t *testing.T) {
	for name, k := range map[string]kind{"newest": newest, "without GTIDs": noGTIDs, "MariaDB": mariaDB, "8.0": mysql80} {
		t.Run(name, func(t *testing.T) { underFire(t, start(t, k)) })
	}
}

func underFire(t *testing.T, s *server) {
	const keys, writers, crawls = 2000, 6, 5
	s.exec("CREATE TABLE t (a INT, b VARCHAR(20), v INT, PRIMARY KEY (a, b))")
	s.numbers("t", keys, "n % 8, CONCAT('k', n), n")
	st := follow(t, s)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	for i := range writers {
		working.Go(func() { s.write(ctx, rand.New(rand.NewPCG(seed, uint64(i))), keys) })
	}
	defer working.Wait()
	defer cancel()
	m := st.manager(func(c *Config) { c.Bytes = 3 << 10; c.Workers = 4 })
	defer st.run(m)()
	for i := range crawls {
		whole := st.begin(m, Request{Table: s.table("t"), ID: fmt.Sprint("whole", i), Sweep: true})
		var named []string
		for k := range 40 {
			named = append(named, fmt.Sprintf(`[%d,"K%d"]`, (k*7)%8, k*7))
		}
		st.begin(m, Request{Table: s.table("t"), Keys: "[" + strings.Join(named, ",") + "]"})
		if p := st.over(m, whole); p.State != Done {
			t.Fatalf("%s: %s", p.State, p.Reason)
		}
	}
	cancel()
	working.Wait()
	st.compare(s.table("t"))
	t.Logf("%d chunks", st.chunks)
	if stale := st.known(s.table("t")).stale; stale > 0 {
		t.Errorf("%d rows of chunks were not what the stream had said last", stale)
	}
}

// write changes rows until ctx ends, and then lets the last statement come to its end: a server goes on with one whose connection is
// closed. Deadlocks and duplicates are part of the game.
func (s *server) write(ctx context.Context, random *rand.Rand, keys int) {
	for ctx.Err() == nil {
		n := random.IntN(keys) + 1
		key := fmt.Sprintf("a = %d AND b = 'k%d'", n%8, n)
		statement := ""
		switch random.IntN(6) {
		case 0:
			statement = "DELETE FROM t WHERE " + key
		case 1, 2:
			statement = fmt.Sprintf("INSERT IGNORE INTO t VALUES (%d, 'k%d', %d)", n%8, n, random.IntN(1000))
		case 3:
			statement = fmt.Sprintf("UPDATE IGNORE t SET a = %d WHERE %s", random.IntN(8), key)
		case 4: // other bytes, the same key to the collation
			statement = fmt.Sprintf("UPDATE t SET b = IF(BINARY b = 'k%d', 'K%d', 'k%d') WHERE %s", n, n, n, key)
		default:
			statement = fmt.Sprintf("UPDATE t SET v = v + 1 WHERE a = %d AND v %% 10 = %d", n%8, n%10)
		}
		_, _ = s.db.Exec(statement)
	}
}

// TestTableChanges changes the table's definition again and again while it is crawled.
func TestTableChanges(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(40))")
	s.numbers("t", 20000, "n, CONCAT('v', n)")
	st := follow(t, s)
	m := st.manager(func(c *Config) { c.Bytes = 20 << 10 })
	id := st.begin(m, Request{Table: s.table("t")})
	defer st.run(m)()
	for i := range 6 {
		eventually(t, "chunks are published", func() bool { return st.published() > 8*i || !m.Busy() })
		s.exec(fmt.Sprintf("ALTER TABLE t ADD COLUMN c%d INT DEFAULT %d", i, i))
		s.exec(fmt.Sprintf("UPDATE t SET v = 'changed' WHERE id %% 6 = %d", i))
	}
	if p := st.over(m, id); p.State != Done {
		t.Fatalf("%s: %s", p.State, p.Reason)
	}
	// A column that came later is not in the rows that were read before: a crawl over the top brings it.
	if p := st.crawl(Request{Table: s.table("t")}, nil); p.State != Done {
		t.Fatalf("%s: %s", p.State, p.Reason)
	}
	st.compare(s.table("t"))
}

// TestStaleDefinition gives the crawl a definition that is older than the server's, as a stream has it that
// read the table while the DDL was being committed.
func TestStaleDefinition(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
	s.numbers("t", 100, "n, n")
	st := follow(t, s)
	w, err := st.Open(t.Context(), s.table("t"))
	if err != nil {
		t.Fatal(err)
	}
	st.Discard(w)
	s.exec("ALTER TABLE t MODIFY v BIGINT")
	st.caughtUp()
	st.mu.Lock()
	known := st.known(s.table("t"))
	known.learnt = known.definitions // it believes that it knows
	if known.table.Columns[1].Type.String() != "int" {
		t.Fatal("the definition was read again")
	}
	st.mu.Unlock()
	if p := st.crawl(Request{Table: s.table("t")}, nil); p.State != Done || p.Rows != 100 {
		t.Fatalf("%s after %d rows: %s", p.State, p.Rows, p.Reason)
	}
	st.compare(s.table("t"))
	if got := known.table.Columns[1].Type.String(); got != "bigint" {
		t.Errorf("the rows were read as %s", got)
	}
}
