package crawl

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/schema/avro"
)

// makeKeyTables makes those tables of keyTables that the server can have.
func (s *server) makeKeyTables(mostRows int) (made []keyTable) {
	s.t.Helper()
	s.db.SetMaxOpenConns(1) // session settings
	defer s.db.SetMaxOpenConns(0)
	s.exec("SET SESSION sql_mode = ''")
	for _, table := range keyTables {
		into := table.name
		if table.name == "hidden_key" {
			if !s.facts.IsMySQL(8, 0, 30) {
				continue
			}
			s.exec("SET SESSION sql_generate_invisible_primary_key = 1")
			into += " (v)"
		}
		columns := table.columns
		if !s.facts.IsMySQL(8, 0, 17) {
			columns = strings.NewReplacer("0900_ai_ci", "general_ci", "0900_bin", "bin").Replace(columns)
		}
		s.exec(fmt.Sprintf("CREATE TABLE %s (%s)", table.name, columns))
		if table.rows > 0 {
			s.numbers(into, min(table.rows, mostRows), table.insert)
		}
		if table.name == "hidden_key" {
			s.exec("SET SESSION sql_generate_invisible_primary_key = 0")
		}
		made = append(made, table)
	}
	return made
}

// TestChunksWalkTheIndex: a chunk near the end of a table touches its own rows and no others, whatever the
// key's types are.
func TestChunksWalkTheIndex(t *testing.T) {
	for name, k := range map[string]kind{"newest": newest, "MariaDB": mariaDB, "8.0": mysql80} {
		t.Run(name, func(t *testing.T) {
			s := start(t, k)
			session := s.session()
			for _, table := range s.makeKeyTables(2000) {
				if table.rows > 1000 {
					s.walksTheIndex(session, s.shape(table.name, table.key...))
				}
			}
		})
	}
}

func (s *server) walksTheIndex(session *session, sh *shape) {
	t, ctx := s.t, s.t.Context()
	t.Helper()
	name := sh.table.Name
	from, err := session.probe(ctx, sh, "TRUE", true, 200)
	if err != nil || from == nil {
		t.Fatalf("%s: %v", name, err)
	}
	to, err := session.probe(ctx, sh, "TRUE", true, 20)
	if err != nil || to == nil {
		t.Fatalf("%s: %v", name, err)
	}
	encoder, err := avro.NewEncoder(sh.table, "test", schema.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for what, bounds := range map[string][2][]string{"to the end": {from.bound, nil}, "to a bound": {from.bound, to.bound}} {
		before := session.handlerReads(t)
		got, err := session.read(ctx, &selection{shape: sh, where: sh.between(bounds[0], bounds[1]), limit: 50, encoder: encoder, budget: 1 << 30})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if reads := session.handlerReads(t) - before; len(got.rows) != 50 || reads > 100 {
			t.Errorf("%s, %s: %d rows with %d reads of the index", name, what, len(got.rows), reads)
		}
		before = session.handlerReads(t)
		if _, err := session.probe(ctx, sh, sh.equal(from.bound), false, 0); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if reads := session.handlerReads(t) - before; reads > 5 {
			t.Errorf("%s: one key with %d reads of the index", name, reads)
		}
	}
}

// handlerReads is how many rows and index entries the session has read.
func (s *session) handlerReads(t *testing.T) int {
	t.Helper()
	rows, err := s.conn.QueryContext(t.Context(), "SHOW SESSION STATUS LIKE 'Handler_read%'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	total := 0
	for rows.Next() {
		var name string
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			t.Fatal(err)
		}
		if name != "Handler_read_rnd_next" { // SHOW STATUS itself reads its own table
			total += n
		}
	}
	return total
}

// TestPlan: ranges lie side by side, cover the table, and none is much too large.
func TestPlan(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE skewed (a INT, b INT, PRIMARY KEY (a, b))", "CREATE TABLE ints (id INT PRIMARY KEY)",
		"CREATE TABLE none (id INT PRIMARY KEY)", "CREATE TABLE single (id INT PRIMARY KEY)", "INSERT INTO single VALUES (7)",
		"CREATE TABLE uuids (id CHAR(36) PRIMARY KEY)", "CREATE TABLE holes (id BIGINT PRIMARY KEY, v INT)",
		"CREATE TABLE tenants (tenant VARCHAR(10), id BIGINT, PRIMARY KEY (tenant, id))")
	s.numbers("skewed", 60000, "IF(n<10, n, IF(n>59990, n, 500)), n")
	s.numbers("ints", 30000, "n*3 - 45000")
	s.numbers("uuids", 90000, "UUID()")
	s.numbers("holes", 90000, "IF(n < 100, n, n + 4000000000000), n") // most lie at the far end
	s.numbers("tenants", 90000, "IF(n < 80000, 'big', CONCAT('t', n % 10)), n")
	session := s.session()
	for _, c := range []struct {
		table  string
		ranges int // at least
	}{
		{"uuids", 4}, {"holes", 3}, {"tenants", 4}, {"skewed", 3}, {"ints", 2}, {"none", 1}, {"single", 1},
	} {
		// Of twenty pages, as it looks at by itself, the server makes anything from 33,000 to 92,000 rows of the 60,000 that are skewed.
		s.exec("ALTER TABLE "+c.table+" STATS_SAMPLE_PAGES = 10000", "ANALYZE TABLE "+c.table)
		before := session.handlerReads(t)
		sh := s.shape(c.table)
		ranges, err := session.plan(t.Context(), sh, 8)
		if err != nil {
			t.Fatalf("%s: %v", c.table, err)
		}
		reads := session.handlerReads(t) - before
		estimate, err := session.explainRows(t.Context(), sh.hinted(), "TRUE")
		if err != nil {
			t.Fatal(err)
		}
		var sizes []int
		total, largest := 0, 0
		for i, r := range ranges {
			if (i == 0) != (r.From == nil) || (i == len(ranges)-1) != (r.To == nil) {
				t.Errorf("%s: range %d is %v", c.table, i, r)
			}
			if i > 0 && fmt.Sprint(r.From) != fmt.Sprint(ranges[i-1].To) {
				t.Errorf("%s: a gap before range %d", c.table, i)
			}
			var n int
			if err := s.db.QueryRow("SELECT COUNT(*) FROM " + sh.source() + " WHERE " + sh.between(r.From, r.To)).Scan(&n); err != nil {
				t.Fatal(err)
			}
			sizes, total, largest = append(sizes, n), total+n, max(largest, n)
		}
		t.Logf("%s: %v of %d rows by the server's estimate, %d reads of the index", c.table, sizes, estimate, reads)
		if len(ranges) < c.ranges || largest > total*6/10 && len(ranges) > 1 {
			t.Errorf("%s: ranges of %v rows, want %d that are not much larger than half", c.table, sizes, c.ranges)
		}
	}
}
