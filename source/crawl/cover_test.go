package crawl

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/source/merge"
)

type keyTable struct {
	name    string
	columns string
	rows    int
	insert  string // expressions
	key     []string
}

// keyTables are tables whose keys are all kinds of types. Expressions may use n.
var keyTables = []keyTable{
	{"int_key", "id INT PRIMARY KEY, v VARCHAR(40)", 30000, "n*3 - 45000, CONCAT('v', n)", nil},
	{"unsigned_key", "id BIGINT UNSIGNED PRIMARY KEY, v INT", 5000, "18446744073709551615 - n*n*1000, n", nil},
	{"composite_key", "a INT, b VARCHAR(20) COLLATE utf8mb4_0900_ai_ci, c DATE, v INT, PRIMARY KEY (a, b, c)", 20000,
		"n%3, CONCAT('b', n%100), DATE_ADD('1999-12-31', INTERVAL n DAY), n", nil},
	{"skewed_key", "a INT, b INT, PRIMARY KEY (a, b)", 60000, "IF(n<10, n, IF(n>59990, n, 500)), n", nil},
	{"text_key", "id VARCHAR(64) COLLATE utf8mb4_0900_ai_ci PRIMARY KEY, v INT", 30000, "CONCAT(CHAR(97 + n%26), LEFT(SHA2(n,256),32), '  '), n", nil},
	{"mixed_key", "id VARCHAR(64) CHARACTER SET latin1 COLLATE latin1_swedish_ci PRIMARY KEY, v INT", 5000,
		"CONCAT(ELT(1 + n%6, 'A', 'b', 'Ä', 'ö', 'Z', ' '), n), n", nil},
	{"char_key", "id CHAR(20) CHARACTER SET latin1 PRIMARY KEY", 5000, "CONCAT(n, IF(n%2, 'x', ''))", nil},
	{"no_pad_key", "id CHAR(20) COLLATE utf8mb4_0900_ai_ci, x VARCHAR(10) COLLATE utf8mb4_0900_bin, PRIMARY KEY (x, id)", 3000,
		"n, CONCAT(n%7, REPEAT(' ', n%3))", nil},
	{"wide_chars_key", "id VARCHAR(20) CHARACTER SET utf16 PRIMARY KEY", 3000, "CONCAT(n, '日本')", nil},
	{"utf8_key", "id VARCHAR(20) CHARACTER SET utf8 PRIMARY KEY", 3000, "CONCAT('日', n)", nil},
	{"binary_key", "id BINARY(16) PRIMARY KEY, v INT", 30000, "UNHEX(LEFT(SHA2(n,256),32)), n", nil},
	{"padded_key", "id BINARY(8) PRIMARY KEY", 3000, "CONCAT(n, CHAR(0))", nil},
	{"varbinary_key", "id VARBINARY(40) PRIMARY KEY, v INT", 5000, "IF(n = 1, '', CONCAT(CHAR(n%256), CHAR(0), n)), n", nil},
	{"decimal_key", "id DECIMAL(20,6) PRIMARY KEY, v INT", 20000, "(n - 10000) * 1.000001, n", nil},
	{"date_key", "id DATE PRIMARY KEY, v INT", 5000, "IF(n < 3, IF(n = 1, '0000-00-00', '2024-00-00'), DATE_ADD('1000-01-01', INTERVAL n*60 DAY)), n", nil},
	{"datetime_key", "id DATETIME(6) PRIMARY KEY, v INT", 20000, "DATE_ADD('1999-12-31', INTERVAL n*1234567 MICROSECOND), n", nil},
	{"timestamp_key", "id TIMESTAMP(3) PRIMARY KEY, v INT", 5000, "FROM_UNIXTIME(n*100000), n", nil},
	{"time_key", "id TIME(2) PRIMARY KEY, v INT", 5000, "SEC_TO_TIME((n - 2500)*100.25), n", nil},
	{"year_key", "y YEAR, id INT, PRIMARY KEY (y, id)", 5000, "IF(n%10, 1901 + n%200, 0), n", nil},
	{"bit_key", "id BIT(40) PRIMARY KEY, v INT", 5000, "n*100000, n", nil},
	{"enum_key", "e ENUM('zebra','ape','Mouse'), id INT, PRIMARY KEY (e, id)", 5000, "1 + n%3, n", nil},
	{"set_key", "s SET('x','y','z'), id INT, PRIMARY KEY (s, id)", 5000, "n%8, n", nil},
	{"unique_key", "a INT NOT NULL, b INT NOT NULL, c INT, UNIQUE KEY u (b, a)", 5000, "n%17, n, n", []string{"a", "b"}},
	{"hidden_key", "v INT", 5000, "n", nil},
	{"empty_key", "id INT PRIMARY KEY", 0, "n", nil},
	{"single_key", "id INT PRIMARY KEY", 1, "n", nil},
}

// TestEveryKeyOnce crawls tables with all kinds of keys, in small chunks, while rows are inserted and changed
// in them and beside them: each row that was not touched is read once, and the topics are the tables.
func TestEveryKeyOnce(t *testing.T) {
	for name, k := range map[string]kind{"newest": newest, "MariaDB": mariaDB, "8.0": mysql80} {
		t.Run(name, func(t *testing.T) {
			rows := 2000
			if k == newest {
				rows = 8000
			}
			everyKeyOnce(t, start(t, k), rows)
		})
	}
}

func everyKeyOnce(t *testing.T, s *server, rows int) {
	s.exec("CREATE TABLE beside (id INT AUTO_INCREMENT PRIMARY KEY, v INT)")
	tables := s.makeKeyTables(rows)
	st := follow(t, s)
	m := st.manager(func(c *Config) { c.Bytes = 30 << 10 })
	for _, table := range tables {
		st.keys[s.table(table.name)] = table.key
		st.begin(m, Request{Table: s.table(table.name), ID: table.name})
	}
	stop := st.run(m)
	for m.Busy() {
		s.exec("INSERT INTO beside (v) VALUES (1), (2), (3)")
	}
	stop()
	for _, table := range tables {
		st.once(table.name, min(table.rows, rows))
	}
	t.Logf("%d chunks, the largest of %d rows", st.chunks, st.largest)
}

// once checks that a crawl of a table that nobody touched has read every row once.
func (st *testStream) once(name string, rows int) {
	st.s.t.Helper()
	table := st.s.table(name)
	st.compare(table)
	st.mu.Lock()
	defer st.mu.Unlock()
	if p := st.records[name]; p.State != Done || p.Rows != int64(rows) {
		st.s.t.Errorf("%s: %s after %d rows of %d: %s", name, p.State, p.Rows, rows, p.Reason)
	}
	t := st.known(table)
	if len(t.reads) != rows {
		st.s.t.Errorf("%s: %d keys were read, there are %d rows", name, len(t.reads), rows)
	}
	for key, times := range t.reads {
		if times != 1 {
			st.s.t.Errorf("%s: key %x was read %d times", name, key, times)
			return
		}
	}
}

// TestResume stops the Manager again and again, and takes the crawl up from the last record that was
// published: nothing is lost and nothing is read twice.
func TestResume(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE t (a INT, b VARCHAR(20), v VARCHAR(100), PRIMARY KEY (a, b))")
	s.numbers("t", 50000, "n%5, n, REPEAT('x', 50)")
	st := follow(t, s)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	restarts := 0
	for record := (Progress{}); record.State != Done; restarts++ {
		m := st.manager(func(c *Config) { c.Bytes = 40 << 10 })
		if record.ID == "" {
			st.begin(m, Request{Table: s.table("t"), ID: "t"})
		} else {
			m.Restore([]Progress{record})
		}
		until := st.published() + random.IntN(8)
		stop := st.run(m)
		eventually(t, "some chunks are published", func() bool { return st.published() > until || !m.Busy() })
		stop()
		st.mu.Lock()
		record = st.records["t"]
		st.mu.Unlock()
	}
	t.Logf("%d restarts", restarts)
	st.once("t", 50000)
}

func (st *testStream) published() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.chunks
}

// TestBudget: however long rows are, a chunk holds no more than its bytes and one row.
func TestBudget(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)")
	// Many short rows, so that the chunks grow, and then long ones.
	s.numbers("t", 20000, "n, IF(n > 18000 AND n % 50 = 0, REPEAT('x', 300000), 'short')")
	st := follow(t, s)
	const budget = 200 << 10
	largest := 0
	st.beforeRead = func(_ tableName, rows []merge.Row) {
		bytes := 0
		for i := range rows {
			bytes += len(rows[i].Key) + len(rows[i].Value)
		}
		st.mu.Lock()
		largest = max(largest, bytes)
		st.mu.Unlock()
	}
	began := time.Now()
	st.crawl(Request{Table: s.table("t"), ID: "t"}, func(c *Config) { c.Bytes = budget; c.Workers = 1 })
	t.Logf("%d chunks, %s", st.chunks, time.Since(began))
	st.once("t", 20000)
	if largest > budget+301_000 {
		t.Errorf("a chunk held %d bytes, the budget is %d", largest, budget)
	}
	t.Logf("%d chunks, the largest of %d bytes", st.chunks, largest)
}

// TestCondition crawls the rows of a WHERE. Few rows meet it, and no statement walks far.
func TestCondition(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v INT, word VARCHAR(20))")
	s.numbers("t", 60000, "n, n % 1000, CONCAT('w', n % 7)")
	st := follow(t, s)
	p := st.crawl(Request{Table: s.table("t"), ID: "t", Where: "v = 7 OR word = 'w3' AND v < 5"}, nil)
	var want int
	if err := s.db.QueryRow("SELECT COUNT(*) FROM t WHERE v = 7 OR word = 'w3' AND v < 5").Scan(&want); err != nil {
		t.Fatal(err)
	}
	if p.State != Done || p.Rows != int64(want) || len(st.known(s.table("t")).reads) != want {
		t.Errorf("%s: %d rows and %d keys, want %d", p.State, p.Rows, len(st.known(s.table("t")).reads), want)
	}
	p = st.crawl(Request{Table: s.table("t"), ID: "bad", Where: "no_such_column = 1"}, nil)
	if p.State != Failed || !strings.Contains(p.Reason, "no_such_column = 1") {
		t.Errorf("%s: %s", p.State, p.Reason)
	}
}
