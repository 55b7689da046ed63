package system

import (
	"context"
	"database/sql"
	varint "encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
)

// prepareXA runs statements in an XA transaction of a session of its own, up to XA PREPARE.
func prepareXA(t testing.TB, db *sql.DB, xid string, statements ...string) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	all := append([]string{"XA START '" + xid + "'"}, statements...)
	for _, q := range append(all, "XA END '"+xid+"'", "XA PREPARE '"+xid+"'") {
		if _, err := conn.ExecContext(context.Background(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

// TestSourceXA prepares transactions that are committed, rolled back, and left prepared over restarts of source and server.
// What is rolled back never reaches the topic; what is committed reaches it then, once.
func TestSourceXA(t *testing.T) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	exec1(t, db, "CREATE DATABASE shop", "CREATE TABLE shop.xa (id INT NOT NULL PRIMARY KEY, v VARCHAR(40) NOT NULL)",
		"INSERT INTO shop.xa VALUES (1, 'there'), (2, 'there'), (3, 'there')")
	insert := func(id int, v string) string { return fmt.Sprintf("INSERT INTO shop.xa VALUES (%d, '%s')", id, v) }
	prepareXA(t, db, "before", insert(10, "prepared before the source began"), "UPDATE shop.xa SET v = 'changed' WHERE id = 1")
	config := b.sourceConfig(m, "limits: {checkpoint_every: 100ms}\n")
	p := b.begin("source", "faultpoints", config, nil)
	b.says(p, 10*time.Second, "crawl is over")

	prepareXA(t, db, "a", insert(20, "committed"))
	exec1(t, db, "XA COMMIT 'a'")
	prepareXA(t, db, "b", insert(21, "rolled back"), "UPDATE shop.xa SET v = 'rolled back' WHERE id = 2")
	exec1(t, db, "XA ROLLBACK 'b'")
	prepareXA(t, db, "c", insert(22, "committed late"), "DELETE FROM shop.xa WHERE id = 3")
	prepareXA(t, db, "d", insert(23, "rolled back late"))
	prepareXA(t, db, "e", insert(24, "left open"))
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exec1(t, db, insert(25, "plain"))
	for _, q := range []string{"XA START 'o'", insert(26, "one phase"), "XA END 'o'", "XA COMMIT 'o' ONE PHASE"} {
		if _, err := conn.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	conn.Close()
	b.caughtUp(m, config, 10*time.Second)
	b.xaTopic(t, "a transaction is left prepared", "20 25 26")

	p.Kill() // once without a word, and once more while the server is away
	exec1(t, db, insert(27, "while the source was away"))
	p.Start()
	b.caughtUp(m, config, 10*time.Second)
	if err := size(m.Kill, m.Shutdown)(); err != nil { // in order takes the server ten seconds
		t.Fatal(err)
	}
	p.Kill()
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Start()
	eventually(t, 10*time.Second, "the server answers", func() bool { return db.Ping() == nil })
	b.caughtUp(m, config, 20*time.Second)
	b.xaTopic(t, "both were restarted", "20 25 26 27")

	exec1(t, db, "XA COMMIT 'c'", "XA ROLLBACK 'd'")
	b.caughtUp(m, config, 10*time.Second)
	h := b.xaTopic(t, "the prepared ones are closed", "20 22 25 26 27")
	for key, ops := range h.events {
		if strings.Count(ops, "c") > 1 || strings.Count(ops, "d") > 1 || strings.Count(ops, "u") > 0 {
			t.Errorf("key %x: %q", key, ops)
		}
	}
	b.compareTopic(cdc(m), "xa")

	exec1(t, db, "XA COMMIT 'before'", "XA COMMIT 'e'")
	b.caughtUp(m, config, 10*time.Second)
	if n := strings.Count(p.Log(), "crawl wanted"); n < 2 {
		t.Errorf("an unknown XA COMMIT made no crawl: %d wanted", n)
	}
	b.xaTopic(t, "all are closed", "10 20 22 24 25 26 27")
	h = b.compareTopic(cdc(m), "xa")
	t.Logf("ops %v", opsText(h.ops))
}

// xaTopic expects these keys above 9, and no others, ever to have been in the topic.
func (b *bed) xaTopic(t testing.TB, when, want string) *history {
	t.Helper()
	h := b.readTopic("xa")
	var got []string
	for id := 10; id < 40; id++ {
		if h.events[string(keyOf(h, int64(id)))] != "" {
			got = append(got, fmt.Sprint(id))
		}
	}
	if text := strings.Join(got, " "); text != want {
		t.Errorf("%s: keys %q have been in the topic, want %q", when, text, want)
	}
	return h
}

// keyOf returns the key bytes of an integer key, framed as the topic's others are.
func keyOf(h *history, id int64) []byte {
	for key := range h.events {
		return varint.AppendVarint([]byte(key[:5]), id)
	}
	return nil
}
