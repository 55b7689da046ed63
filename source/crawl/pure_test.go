package crawl

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/source/merge"
)

// testShape makes a shape of columns "name TYPE", all of them its key.
func testShape(columns ...string) *shape {
	t := &change.Table{TableName: change.TableName{DB: "shop", Name: "orders"}}
	unique := mysql.Unique{Name: "PRIMARY"}
	for i, c := range columns {
		name, typ, _ := strings.Cut(c, " ")
		column := change.Column{Name: name}
		column.Type, _ = change.ParseType(strings.ToLower(typ))
		if column.Type.Character() {
			column.Charset, column.Collation = "utf8mb4", "utf8mb4_0900_ai_ci"
		}
		t.Columns, t.Key, unique.Columns = append(t.Columns, column), append(t.Key, i), append(unique.Columns, i)
	}
	sh, err := newShape(t, &mysql.TableExtras{Uniques: []mysql.Unique{unique}})
	if err != nil {
		panic(err)
	}
	return sh
}

func (st *testStream) encoder(sh *shape) *avro.Encoder {
	encoder, err := avro.NewEncoder(sh.table, "test", schema.Options{})
	if err != nil {
		st.s.t.Fatal(err)
	}
	if sh.decoder, err = avro.NewKeyDecoder(encoder.KeySchema()); err != nil {
		st.s.t.Fatal(err)
	}
	return encoder
}

func TestBetween(t *testing.T) {
	sh := testShape("a INT", "b VARCHAR")
	for _, c := range []struct {
		from, to []string
		want     string
	}{
		{nil, nil, "TRUE"},
		{[]string{"1", "'x'"}, nil, "((`a` > 1) OR (`a` = 1 AND `b` > 'x'))"},
		{nil, []string{"1", "'x'"}, "((`a` < 1) OR (`a` = 1 AND `b` <= 'x'))"},
		{[]string{"1", "'x'"}, []string{"2", "'y'"},
			"((`a` > 1) OR (`a` = 1 AND `b` > 'x')) AND ((`a` < 2) OR (`a` = 2 AND `b` <= 'y'))"},
	} {
		if got := sh.between(c.from, c.to); got != c.want {
			t.Errorf("%v to %v:\n got %s\nwant %s", c.from, c.to, got, c.want)
		}
	}
}

// TestLiteralsCannotEscape: whatever a value holds, a literal is one literal.
func TestLiteralsCannotEscape(t *testing.T) {
	evil := []byte(`1' OR 1=1 -- \`)
	for _, typ := range []change.Type{change.VarChar, change.VarBinary} {
		text, err := literal(&change.Column{Type: typ, Charset: "utf8mb4", Collation: "utf8mb4_bin"}, evil)
		if err != nil || strings.Contains(text, "OR") {
			t.Errorf("%s: %s, %v", typ, text, err)
		}
	}
	for _, typ := range []change.Type{change.Int, change.Decimal, change.Date, change.Timestamp, change.Enum, change.Year} {
		if text, err := literal(&change.Column{Name: "c", Type: typ}, evil); err == nil {
			t.Errorf("%s took it: %s", typ, text)
		}
	}
}

func TestCheckCondition(t *testing.T) {
	for _, good := range []string{"a = 1", "a IN (1, 2) AND (b = ')' OR c LIKE \"--;%\")", `a = 'it''s'`, `a = '\''`, "`odd ) name` = 1", "a - b / 2 > 1"} {
		if err := checkCondition(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "  ", "a = 1)", "(a = 1", "a = 'x", "1=1) INTO OUTFILE 'x' -- ", "a = 1; DROP TABLE t", "a /* x */ = 1", "a = 1 # x", "`a"} {
		if checkCondition(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestFraction: a guess lies between its ends, as far as bytes and numbers can say.
func TestFraction(t *testing.T) {
	for _, c := range []struct {
		column          change.Column
		low, high, want string // in the middle
	}{
		{change.Column{Type: change.Int}, "-10", "20", "5"},
		{change.Column{Type: change.BigInt, Unsigned: true}, "0", "18446744073709551615", "9223372036854775807"},
		{change.Column{Type: change.Decimal, Scale: 2}, "-1.00", "2.01", "0.50"},
		{change.Column{Type: change.Decimal, Scale: 3}, "-0.900", "-0.100", "-0.500"},
		{change.Column{Type: change.Date}, "2024-01-01", "2024-01-03", "2024-01-02"},
		{change.Column{Type: change.Date}, "0000-00-00", "3000-01-01", "2000-01-01"},
		{change.Column{Type: change.DateTime, Scale: 3}, "2024-01-01 00:00:00.000", "2024-01-01 00:00:00.500", "2024-01-01 00:00:00.250"},
		{change.Column{Type: change.Time, Scale: 1}, "-10:00:00.0", "10:00:01.0", "00:00:00.5"},
		{change.Column{Type: change.VarBinary}, "\x00", "\x80", "\x40\x00\x00\x00\x00\x00"},
		{change.Column{Type: change.VarChar, Charset: "latin1"}, "user-a", "user-c", "user-b00000"},
		{change.Column{Type: change.VarChar, Charset: "utf8mb4"}, "日A", "月C", ""}, // never half a character
	} {
		got, ok := fraction(&c.column, []byte(c.low), []byte(c.high), 4)
		if c.column.Type == change.VarChar && c.low[0] >= 0x80 {
			if ok && bytes.ContainsFunc(got, func(r rune) bool { return r == 0xfffd }) {
				t.Errorf("%s to %s: %q is not UTF-8", c.low, c.high, got)
			}
			continue
		}
		if !ok || string(got) != c.want {
			t.Errorf("%s from %q to %q: got %q, %v, want %q", c.column.Type, c.low, c.high, got, ok, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		low, high := rapid.SliceOf(rapid.Byte()).Draw(t, "low"), rapid.SliceOf(rapid.Byte()).Draw(t, "high")
		eighths := rapid.Int64Range(1, 7).Draw(t, "eighths")
		if bytes.Compare(low, high) > 0 {
			low, high = high, low
		}
		got, ok := fraction(&change.Column{Type: change.VarBinary}, low, high, eighths)
		if ok && bytes.Compare(got, high) >= 0 {
			t.Fatalf("%x is not below %x", got, high)
		}
		fraction(&change.Column{Type: change.VarChar, Charset: "latin1"}, low, high, eighths) // must not panic
	})
}

func TestSizer(t *testing.T) {
	s := newSizer(100*time.Millisecond, 1<<20, 100)
	if got := s.rows(); got != rowsFirst {
		t.Errorf("the first chunk has %d rows", got)
	}
	for range 20 { // a fast server: bytes decide
		s.took(s.rows(), int64(s.rows()*100), time.Microsecond*time.Duration(s.rows()))
		s.published(s.rows())
	}
	if got := s.rows(); got < 9_000 || got > 12_000 {
		t.Errorf("%d rows of 100 bytes for 1 MiB", got)
	}
	for range 20 { // a slow one: time decides
		s.took(s.rows(), int64(s.rows()*100), 50*time.Microsecond*time.Duration(s.rows()))
		s.published(s.rows())
	}
	if got := s.rows(); got < 1_800 || got > 2_200 {
		t.Errorf("%d rows of 50 µs for 100 ms", got)
	}
	for range 20 { // one that takes a second to answer anything: no ever smaller chunks
		s.took(s.rows(), int64(s.rows()*100), time.Second)
	}
	if got := s.rows(); got != rowsSlow {
		t.Errorf("%d rows where each statement is slow", got)
	}
	n := s.rows()
	for s.smaller(s.rows()) {
		if s.rows() >= n {
			t.Fatalf("%d rows after %d", s.rows(), n)
		}
		n = s.rows()
	}
	if s.rows() != 1 {
		t.Errorf("the smallest chunk has %d rows", s.rows())
	}
	s.published(1)
	if got := s.rows(); got < 2 || got > 3 {
		t.Errorf("%d rows after a success at the smallest", got)
	}
}

// TestAnswer: all ways in which a named key can be found.
func TestAnswer(t *testing.T) {
	keys := []namedKey{{body: []byte("a")}, {body: []byte("b")}, {body: []byte("c")}, {body: []byte("c")}}
	found := []merge.Row{{Key: []byte("a"), Value: []byte("row a")}, {Key: []byte("B"), Value: []byte("row B")}}
	gone := func(key []byte) ([]byte, error) { return append([]byte("gone "), key...), nil }
	for _, c := range []struct {
		sweep bool
		want  string
	}{{false, "-b -c a B"}, {true, "-b -c B"}} {
		rows, err := answer(keys, found, c.sweep, gone)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range rows {
			if r.Delete {
				got = append(got, "-"+string(r.Key))
				if string(r.Value) != "gone "+string(r.Key) {
					t.Errorf("the delete of %s has the value %q", r.Key, r.Value)
				}
			} else {
				got = append(got, string(r.Key))
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("sweep %v: got %s, want %s", c.sweep, s, c.want)
		}
	}
}

func TestLine(t *testing.T) {
	p := Progress{Table: change.TableName{DB: "shop", Name: "orders"}, State: Running, Rows: 97310, Estimate: 120940}
	for _, c := range []struct {
		change func(*Status)
		want   string
	}{
		{func(*Status) {}, "crawl  shop.orders              ████████████████░░░░  80 %      97,310 rows     48,200/s   0:09 left"},
		{func(s *Status) { s.State = Done }, "crawl  shop.orders              ████████████████████ 100 %      97,310 rows   done"},
		{func(s *Status) { s.Estimate = 5 }, "crawl  shop.orders              ███████████████████░  99 %      97,310 rows     48,200/s   0:09 left"},
		{func(s *Status) { s.Note = "no lock" }, "crawl  shop.orders              ████████████████░░░░  80 %      97,310 rows     48,200/s   0:09 left   (no lock)"},
		{func(s *Status) { s.State, s.Reason = Failed, "gone" }, "crawl  shop.orders              ████████████████░░░░  80 %      97,310 rows   failed: gone"},
		{func(s *Status) { s.State, s.Ranges, s.Left = Sweeping, make([]Range, 4), 0 },
			"crawl  shop.orders              ░░░░░░░░░░░░░░░░░░░░   0 %      97,310 rows   sweeping     48,200/s"},
	} {
		s := Status{Progress: p, RowsPerSecond: 48200, Left: 9 * time.Second}
		c.change(&s)
		if got := s.Line(); got != c.want {
			t.Errorf("\n got %s\nwant %s", got, c.want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0:00", 9600 * time.Millisecond: "0:10", 754 * time.Second: "12:34", 11105 * time.Second: "3:05:05"} {
		if got := clock(d); got != want {
			t.Errorf("%s: got %s, want %s", d, got, want)
		}
	}
}

func TestMeter(t *testing.T) {
	var m meter
	now := time.Unix(1e9, 0)
	for range 100 {
		m.add(now, 500)
		now = now.Add(500 * time.Millisecond)
	}
	if got := m.perSecond(now); got < 950 || got > 1050 {
		t.Errorf("%f rows/s", got)
	}
	if got := left(&Progress{Rows: 1000, Estimate: 3000, State: Running}, 100); got != 20*time.Second {
		t.Errorf("%s left", got)
	}
}
