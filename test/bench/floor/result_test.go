package floor

import (
	"database/sql"
	"strings"
	"testing"
	"time"
)

func TestLineIsReadBack(t *testing.T) {
	want := Result{Name: "produce", Rows: 2_000_000, Bytes: 390_000_000, Seconds: 3.125, CPUSeconds: 2.75}
	line := want.String()
	const text = "floor produce: rows 2000000 bytes 390000000 seconds 3.125 rows/s 640000 MB/s 124.8 cpu_seconds 2.750"
	if line != text {
		t.Errorf("the line is %q, want %q", line, text)
	}
	got, err := Parse(line + "\n")
	if err != nil || got != want {
		t.Errorf("read back: %+v, %v; want %+v", got, err, want)
	}
}

func TestOtherLinesAreRefused(t *testing.T) {
	line := Result{Name: "load", Rows: 1, Seconds: 1}.String()
	for _, bad := range []string{"", "floor load: reach Kafka: no", strings.Replace(line, "rows 1", "rows one", 1), strings.Replace(line, "cpu_seconds", "cpu", 1),
		strings.TrimPrefix(line, "floor "), line + " and more"} {
		if r, err := Parse(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, r)
		}
	}
}

// TestClockCountsThisProcess burns a little and looks whether it is there, in both.
func TestClockCountsThisProcess(t *testing.T) {
	c := startClock()
	for began, n := time.Now(), 0; cpuSeconds()-c.cpu < 0.05; n++ {
		if time.Since(began) > time.Minute {
			t.Fatal("a loop of a minute has used no 50 ms of processor time")
		}
	}
	if r := c.result("load", 7, 8); r.CPUSeconds < 0.05 || r.Seconds < 0.02 || r.Rows != 7 || r.Bytes != 8 {
		t.Errorf("%+v; want at least 0.05 CPU seconds, of at most two cores, and rows and bytes as given", r)
	}
}

var someColumns = []column{{"id", "bigint", true}, {"part", "varchar", true}, {"price", "decimal", false}, {"c", "char", false}, {"b", "varbinary", false},
	{"at", "datetime", false}, {"ts", "timestamp", false}, {"on", "bit", false}, {"j", "json", false}, {"nothing", "int", false}}

var someRow = []sql.RawBytes{[]byte("7"), []byte(`a|'\`), []byte("1.50"), []byte("é\n\x00\""), []byte("\x00\xff"), []byte("2026-01-02 03:04:05"),
	[]byte("2026-01-02 03:04:05.5"), []byte("\x01"), []byte(`{"a": 1}`), nil}

func TestRowInSQL(t *testing.T) {
	var b strings.Builder
	writeRow(&b, someColumns, someRow)
	const want = `(7,'a|\'\\',1.50,'é\n\0"',x'00ff','2026-01-02 03:04:05','2026-01-02 03:04:05.5',x'01','{"a": 1}',NULL)`
	if b.String() != want {
		t.Errorf("%s\nwant %s", &b, want)
	}
}

func TestDocument(t *testing.T) {
	got, err := appendAction(nil, someColumns, someRow)
	const want = `{"index":{"_id":"7|a|'\\"}}` + "\n" +
		`{"id":7,"part":"a|'\\","price":1.50,"c":"é\n\u0000\"","b":"AP8=","at":"2026-01-02T03:04:05","ts":"2026-01-02T03:04:05.5Z","on":true,"j":{"a": 1},"nothing":null}` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("%v, %s\nwant %s", err, got, want)
	}
}

// TestStatementsHoldEachRowOnce deals rows over connections and statements that do not come out even.
func TestStatementsHoldEachRowOnce(t *testing.T) {
	columns := []column{{"id", "int", true}, {"v", "int", false}}
	w := &statements{to: Table{Database: "d", Name: "t"}, perEach: 3, statements: make([][]string, 2), open: make([]strings.Builder, 2), inOpen: make([]int, 2)}
	head, tail := w.around(columns)
	for i := range 10 {
		n := []byte{byte('0' + i)}
		if err := w.add(head, tail, columns, []sql.RawBytes{n, n}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range w.open {
		w.close(i, tail)
	}
	const h, u = "INSERT INTO `d`.`t` (`id`,`v`) VALUES ", " AS n ON DUPLICATE KEY UPDATE `v`=n.`v`"
	want := h + "(0,0),(2,2),(4,4)" + u + ";" + h + "(6,6),(8,8)" + u + "|" + h + "(1,1),(3,3),(5,5)" + u + ";" + h + "(7,7),(9,9)" + u
	if got := strings.Join(w.statements[0], ";") + "|" + strings.Join(w.statements[1], ";"); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
