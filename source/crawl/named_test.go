package crawl

import (
	"strings"
	"testing"
)

// TestNamedKeys asks for keys that are there, that are not, and that the collation finds under other bytes.
func TestNamedKeys(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE t (a VARCHAR(20) COLLATE utf8mb4_0900_ai_ci, b DECIMAL(10,2), v INT, PRIMARY KEY (b, a))",
		"INSERT INTO t VALUES ('one', 1, 1), ('Two', 2.5, 2), ('three', -3, 3), ('other', 1, 4)")
	st := follow(t, s)
	m := st.manager(nil)
	table := s.table("t")
	st.keys[table] = []string{"a", "b"} // another order than the index's
	id := st.begin(m, Request{Table: table, Keys: `[["one", 1], ["two", 2.5], {"a": "three", "b": "-3.00"}, ["none", 9], ["one", 1.0]]`})
	defer st.run(m)()
	if p := st.over(m, id); p.State != Done || p.Rows != 5 {
		t.Fatalf("%s after %d rows: %s", p.State, p.Rows, p.Reason)
	}
	topic := st.known(table)
	if topic.deletes != 2 || len(topic.reads) != 3 {
		t.Errorf("%d deletes and %d rows, want 2 (two, none) and 3 (one, Two, three)", topic.deletes, len(topic.reads))
	}
	want := s.rows(table, "a", "b")
	for key, r := range topic.topic {
		if r.image != want[key] {
			t.Errorf("key %x: the topic holds %q, the table %q", key, r.image, want[key])
		}
	}
}

// TestNamedKeyTypes writes a key of each type as a person would, and as the topic has it.
func TestNamedKeyTypes(t *testing.T) {
	for _, k := range []kind{newest, mariaDB} {
		s := start(t, k)
		for _, c := range []struct{ column, value, key string }{
			{"INT", "-5", `-5`},
			{"BIGINT UNSIGNED", "18446744073709551615", `18446744073709551615`},
			{"DECIMAL(20,4)", "-0.5", `"-0.5"`},
			{"DATE", "'2024-02-29'", `"2024-02-29"`},
			{"DATETIME(3)", "'2024-02-29 12:34:56.7'", `"2024-02-29 12:34:56.7"`},
			{"TIMESTAMP(6)", "'2024-02-29 12:34:56.78'", `"2024-02-29 12:34:56.78"`},
			{"TIME(2)", "'-100:02:03.4'", `"-100:02:03.4"`},
			{"YEAR", "2024", `2024`},
			{"CHAR(10) CHARACTER SET latin1", "'ä'", `"ä   "`},
			{"VARCHAR(10) CHARACTER SET utf16", "'日本'", `"日本"`},
			{"VARCHAR(10) CHARACTER SET gbk", "'日本'", `"日本"`},
			{"VARCHAR(10) CHARACTER SET utf8mb4", "'a''\\\\\\\"'", `"a'\\\""`},
			{"BINARY(6)", "x'00ff41'", `"0x00ff41"`},
			{"VARBINARY(6)", "x'00ff41'", `"0x00ff41"`},
			{"VARBINARY(6)", "''", `""`},
			{"BIT(33)", "x'0123456789' & 0x1ffffffff", `"0x123456789"`},
			{"ENUM('x','ä','z') CHARACTER SET latin1", "'ä'", `"ä"`},
			{"SET('x','y','z')", "'x,z'", `"z,x"`},
		} {
			s.exec("DROP TABLE IF EXISTS t", "CREATE TABLE t (id "+c.column+", PRIMARY KEY (id))")
			s.db.SetMaxOpenConns(1)
			s.exec("SET SESSION time_zone = '+00:00', SESSION sql_mode = ''", "INSERT INTO t VALUES ("+strings.ReplaceAll(c.value, " & 0x1ffffffff", "")+")")
			s.namedKeyType(c.column, c.key)
		}
	}
}

func (s *server) namedKeyType(column, key string) {
	t := s.t
	t.Helper()
	sh, ctx := s.shape("t"), t.Context()
	st := &testStream{s: s}
	session := s.session()
	var bodies []string
	for body := range s.rows(s.table("t")) {
		bodies = append(bodies, body)
	}
	keys, err := namedList(sh, "["+key+"]")
	if err != nil {
		t.Errorf("%s: %v", column, err)
		return
	}
	encoder := st.encoder(sh)
	if err := session.bodies(ctx, sh, encoder, keys); err != nil {
		t.Errorf("%s: %v", column, err)
		return
	}
	if len(bodies) != 1 || string(keys[0].body) != bodies[0] {
		t.Errorf("%s: the key %s becomes %x, the row has %x", column, key, keys[0].body, bodies)
	}
	fromTopic := namedKey{body: keys[0].body}
	if err := sh.locate(&fromTopic); err != nil {
		t.Errorf("%s: %v", column, err)
		return
	}
	for what, k := range map[string]namedKey{"as a person writes it": keys[0], "as the topic has it": fromTopic} {
		found, err := session.probe(ctx, sh, sh.equal(k.bound), false, 0)
		if err != nil || found == nil {
			t.Errorf("%s: %s: %v is not found: %v", column, what, k.bound, err)
		}
	}
}

// TestNamedListRefuses names what is wrong.
func TestNamedListRefuses(t *testing.T) {
	sh := testShape("a INT", "b VARCHAR")
	for text, want := range map[string]string{
		`{}`:                    "want a JSON list",
		`[1]`:                   "keys[0]: 1 values; the key is (a, b)",
		`[[1, "x"], [1]]`:       "keys[1]: 1 values",
		`[{"a": 1}]`:            `keys[0]: no value for "b"`,
		`[{"a":1,"b":2,"c":3}]`: "keys[0]: 3 columns",
		`[["x", "y"]]`:          `keys[0]: column a: "x" is no int`,
		`[[1.5, "y"]]`:          `keys[0]: column a: "1.5" is no int`,
		`[[null, "y"]]`:         "keys[0]: column a: want a number or text",
		`[[1, "y"]] [2]`:        "there is more after the list",
	} {
		_, err := namedList(sh, text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// TestSweep: rows vanish without an event, and a re-crawl with a sweep takes them out of the topic.
func TestSweep(t *testing.T) {
	for name, k := range map[string]kind{"newest": newest, "MariaDB": mariaDB} {
		t.Run(name, func(t *testing.T) {
			s := start(t, k)
			s.exec("CREATE TABLE t (id VARCHAR(20), v INT, PRIMARY KEY (id))")
			s.numbers("t", 2000, "CONCAT('k', n), n")
			st := follow(t, s)
			if p := st.crawl(Request{Table: s.table("t")}, nil); p.State != Done || p.Rows != 2000 {
				t.Fatalf("%s after %d rows: %s", p.State, p.Rows, p.Reason)
			}
			s.unlogged("DELETE FROM t WHERE v % 3 = 0", "UPDATE t SET id = UPPER(id) WHERE v % 5 = 0", "UPDATE t SET v = -v WHERE v % 7 = 0")
			p := st.crawl(Request{Table: s.table("t"), ID: "again", Sweep: true}, func(c *Config) { c.SweepBytes = 100 << 10 })
			if p.State != Done {
				t.Fatalf("%s: %s", p.State, p.Reason)
			}
			st.compare(s.table("t"))
			if got, want := st.finished[len(st.finished)-1], Done; got != want {
				t.Errorf("the last record says %s", got)
			}
		})
	}
}

// TestSweepOfDroppedTable: a table that is gone leaves no key in its topic.
func TestSweepOfDroppedTable(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY)")
	s.numbers("t", 1000, "n")
	st := follow(t, s)
	st.crawl(Request{Table: s.table("t")}, nil)
	s.exec("DROP TABLE t")
	st.caughtUp()
	p := st.crawl(Request{Table: s.table("t"), Sweep: true}, nil)
	if p.State != Done {
		t.Fatalf("%s: %s", p.State, p.Reason)
	}
	for key, r := range st.known(s.table("t")).topic {
		if r.image != "" {
			t.Fatalf("key %x is still there", key)
		}
	}
}

// TestSweepResumes stops the Manager in the middle of sweeps.
func TestSweepResumes(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
	s.numbers("t", 6000, "n, n")
	st := follow(t, s)
	st.crawl(Request{Table: s.table("t")}, nil)
	s.unlogged("DELETE FROM t WHERE v % 2 = 0")
	record := Progress{}
	for restarts := 0; record.State != Done; restarts++ {
		m := st.manager(func(c *Config) { c.SweepBytes = 400 << 10 })
		if record.ID == "" {
			st.begin(m, Request{Table: s.table("t"), ID: "t", Sweep: true})
		} else {
			m.Restore([]Progress{record})
		}
		until := st.published() + 9
		stop := st.run(m)
		eventually(t, "chunks are published", func() bool { return st.published() > until || !m.Busy() })
		stop()
		st.mu.Lock()
		record = st.records["t"]
		st.mu.Unlock()
		if restarts > 200 {
			t.Fatalf("no end: %+v", record)
		}
	}
	st.compare(s.table("t"))
}
