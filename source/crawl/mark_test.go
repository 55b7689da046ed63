package crawl

import (
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
)

// TestTheMarkLiesBehindTheRows changes a row while the SELECT of a chunk waits to read it: the chunk has the new row, so it must
// not be published before the stream has carried the change (R4, step 4).
func TestTheMarkLiesBehindTheRows(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1, 1)")
	st := follow(t, s)
	m := st.manager(nil)
	w, err := st.Open(t.Context(), s.table("t"))
	if err != nil {
		t.Fatal(err)
	}
	writer, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	write := func(statement string) {
		t.Helper()
		if _, err := writer.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	write("LOCK TABLES t WRITE")
	read := make(chan error, 1)
	session, c := s.session(), &chunk{window: w}
	rows := &task{crawl: &crawl{table: s.table("t")}, step: rowsStep, shape: s.shape("t"), limit: 10}
	go func() { read <- m.see(t.Context(), session, rows, c, nil) }()
	eventually(t, "the SELECT waits", func() bool {
		n := 0
		err := s.reads.QueryRow("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE state LIKE 'Waiting for table%' AND info LIKE ?", "%"+s.name+"%").Scan(&n)
		return err == nil && n > 0
	})
	write("UPDATE t SET v = 2")
	file, offset, _, err := s.facts.BinlogStatus(t.Context(), s.db)
	if err != nil {
		t.Fatal(err)
	}
	write("UNLOCK TABLES")
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if len(c.rows) != 1 || !strings.Contains(image(w.Encoder, c.rows[0].Value), `v="2"`) {
		t.Fatalf("the chunk is %d rows, and not the changed one", len(c.rows))
	}
	if changed := (change.Position{File: file, Offset: offset}); c.high.Compare(changed) < 0 {
		t.Errorf("the chunk has a row of %s and may be published from %s on", changed, c.high)
	}
}
