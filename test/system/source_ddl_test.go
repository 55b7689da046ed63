package system

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/localregistry"
)

// TestSourceTakesOutWhatIsGone takes rows away without row events, in every way there is, and expects none of them to stay in
// the topics.
func TestSourceTakesOutWhatIsGone(t *testing.T) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	exec1(t, db, "CREATE DATABASE shop", "CREATE DATABASE other")
	tables := []string{"truncated", "remade", "moved", "away", "unlogged", "parts", "swapped", "swapped_new", "dropped", "untouched"}
	for _, name := range tables {
		partitions := ""
		if name == "parts" {
			partitions = " PARTITION BY RANGE (id) (PARTITION low VALUES LESS THAN (300), PARTITION high VALUES LESS THAN MAXVALUE)"
		}
		exec1(t, db, fmt.Sprintf("CREATE TABLE shop.%s (id INT NOT NULL PRIMARY KEY, v VARCHAR(40) NOT NULL)%s", name, partitions),
			fmt.Sprintf("INSERT INTO shop.%s WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 600) SELECT n, CONCAT('%s ', n) FROM s", name, name))
	}
	config := b.sourceConfig(m, "crawl: {chunk_bytes: 20000}\n")
	p := b.begin("source", "", config, nil)
	b.caughtUp(m, config, 30*time.Second)

	exec1(t, db, "TRUNCATE TABLE shop.truncated", "INSERT INTO shop.truncated VALUES (5, 'after'), (7000, 'after')",
		"DROP TABLE shop.remade", "CREATE TABLE shop.remade (id INT NOT NULL PRIMARY KEY, v VARCHAR(40) NOT NULL)",
		"INSERT INTO shop.remade VALUES (9, 'new life')",
		"RENAME TABLE shop.away TO other.away",
		"RENAME TABLE shop.moved TO shop.moved_here", "UPDATE shop.moved_here SET v = 'here' WHERE id < 10",
		"ALTER TABLE shop.parts DROP PARTITION low",
		"RENAME TABLE shop.swapped TO shop.swapped_old, shop.swapped_new TO shop.swapped",
		"UPDATE shop.swapped SET v = 'swapped' WHERE id = 1",
		"DROP TABLE shop.dropped")
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"SET sql_log_bin = 0", "DELETE FROM shop.unlogged WHERE id % 3 = 0",
		"UPDATE shop.unlogged SET v = 'unlogged' WHERE id % 3 = 1", "INSERT INTO shop.unlogged VALUES (9000, 'unlogged')", "SET sql_log_bin = 1"} {
		if _, err := conn.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	conn.Close()
	p.Kill() // the sweeps that are wanted are in the checkpoint, or come again
	p.Start()
	b.caughtUp(m, config, 30*time.Second)
	if _, differ := b.differences(cdc(m), "unlogged"); len(differ) == 0 {
		t.Error("what was not logged has come all the same?")
	}
	b.crawlAgain(p, config, 20*time.Second, "shop.unlogged")
	for _, name := range []string{"truncated", "remade", "moved_here", "unlogged", "parts", "swapped", "swapped_old", "untouched"} {
		b.compareTopic(cdc(m), name)
	}
	for _, name := range []string{"moved", "away", "swapped_new", "dropped"} {
		if h := b.readTopic(name); len(h.newest) > 0 {
			t.Errorf("shop.%s is gone, its topic has %d rows", name, len(h.newest))
		}
	}
}

// TestSourceAlterBesideWriters changes a table's form again and again while rows are written. Each row carries a proof of its
// own values, so that an event that was read by the wrong form shows even where a later one covers it.
func TestSourceAlterBesideWriters(t *testing.T) {
	b := newBed(t)
	registry, err := localregistry.Start(t.Context(), localregistry.Options{Compatibility: "NONE"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { registry.Close() })
	b.registry = registry.URL()
	m, db := b.mysql(testbed.MySQLOptions{})
	exec1(t, db, "CREATE DATABASE shop",
		"CREATE TABLE shop.form (id INT NOT NULL PRIMARY KEY, a INT NOT NULL, b VARCHAR(20) NOT NULL, c INT NULL, proof VARCHAR(60) NOT NULL)",
		"INSERT INTO shop.form WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 900) SELECT n, n * 7, CONCAT('b', n), n, CONCAT(n, '/', n * 7, '/b', n) FROM s")
	config := b.sourceConfig(m, "crawl: {chunk_bytes: 20000}\n")
	p := b.begin("source", "", config, nil)
	b.says(p, 10*time.Second, "crawl begins")
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	for i := range 3 {
		random := rand.New(rand.NewPCG(seed(t), uint64(i)))
		writing.Go(func() {
			for ctx.Err() == nil { // statements without ctx, so that the last one is over when this is: see drive
				id, a := random.IntN(1200), random.IntN(1_000_000)
				row := fmt.Sprintf("%d, %d, 'b%d', '%d/%d/b%d'", id, a, a, id, a, a)
				// a is called d for a while: what does not fit now is tried again.
				for _, q := range []string{"REPLACE INTO shop.form (id, a, b, proof) VALUES (" + row + ")", "REPLACE INTO shop.form (id, d, b, proof) VALUES (" + row + ")"} {
					_, _ = db.Exec(q)
				}
				if random.IntN(8) == 0 {
					_, _ = db.Exec(fmt.Sprintf("DELETE FROM shop.form WHERE id = %d", id))
				}
			}
		})
	}
	for i, q := range []string{
		"ADD COLUMN e INT NULL AFTER a", "DROP COLUMN c", "RENAME COLUMN a TO d", "MODIFY COLUMN b VARCHAR(20) NOT NULL AFTER id",
		"MODIFY COLUMN d BIGINT NOT NULL", "ADD COLUMN f INT NOT NULL DEFAULT 42 FIRST", "CHANGE COLUMN d a BIGINT NOT NULL",
		"DROP COLUMN e, ADD COLUMN g VARCHAR(10) NOT NULL DEFAULT 'g'", "MODIFY COLUMN a INT UNSIGNED NOT NULL AFTER proof",
	} {
		time.Sleep(250 * time.Millisecond)
		exec1(t, db, "ALTER TABLE shop.form "+q)
		if i%4 == 3 {
			p.Kill()
			p.Start()
		}
	}
	time.Sleep(250 * time.Millisecond)
	cancel()
	writing.Wait()
	b.caughtUp(m, config, 30*time.Second)
	h := b.compareTopic(cdc(m), "form")
	t.Logf("ops %v, %d forms seen", opsText(h.ops), b.proven("form"))
}

// proven holds the row of each event against its proof and returns how many forms of the table the events had.
func (b *bed) proven(table string) int {
	b.t.Helper()
	forms, wrong := map[string]bool{}, 0
	b.readEach(table, func(form *change.Table, e *avro.Decoded) {
		if e.Op == change.Delete && e.Source.Snapshot == "incremental" {
			return // a sweep's, which knows the key alone
		}
		for _, image := range [][]change.Value{e.Before, e.After} {
			values, names := map[string]string{}, ""
			for i, v := range image {
				values[form.Columns[i].Name] = v.String()
				names += form.Columns[i].Name + " " + form.Columns[i].Type.String() + ","
			}
			want := strings.Join([]string{values["id"], values["a"] + values["d"], values["b"]}, "/")
			f, has := values["f"]
			if image != nil && (values["proof"] != want || has && f != "42") {
				if wrong++; wrong <= 5 {
					b.t.Errorf("%s: a row says %v", e.Op, values)
				}
			}
			if image != nil {
				forms[names] = true
			}
		}
	})
	return len(forms)
}
