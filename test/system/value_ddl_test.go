package system

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// valueDDL are statements that change values, or take rows away or bring them, without a row event. Each has a table of its own.
var valueDDL = []struct {
	name       string
	partitions bool
	source     []string // %s is the table
	target     []string // what the operator runs at the target, where types are not the sink's to change
}{
	{"truncate", false, []string{"TRUNCATE TABLE %s"}, nil},
	{"truncate_partition", true, []string{"ALTER TABLE %s TRUNCATE PARTITION low"}, nil},
	{"drop_partition", true, []string{"ALTER TABLE %s DROP PARTITION low"}, nil},
	{"exchange_partition", true, []string{"ALTER TABLE %s EXCHANGE PARTITION low WITH TABLE aside.spare"}, nil},
	{"import_tablespace", false, nil, nil}, // see importTablespace
	{"add_column", false, []string{"ALTER TABLE %s ADD COLUMN added VARCHAR(10) NOT NULL DEFAULT 'was not'"}, nil},
	{"add_generated", false, []string{"ALTER TABLE %s ADD COLUMN twice INT AS (n * 2) STORED"}, nil},
	{"convert_type", false, []string{"ALTER TABLE %s MODIFY at DATETIME(0) NOT NULL"}, []string{"ALTER TABLE %s MODIFY at DATETIME(0) NOT NULL"}},
	{"convert_number", false, []string{"ALTER TABLE %s MODIFY price DECIMAL(8,1) NOT NULL"}, []string{"ALTER TABLE %s MODIFY price DECIMAL(8,1) NOT NULL"}},
	{"convert_charset", false, []string{"ALTER TABLE %s CONVERT TO CHARACTER SET latin1"}, nil},
	{"ghost_swap", false, []string{
		"CREATE TABLE shop._gho LIKE %s", "ALTER TABLE shop._gho ADD COLUMN swapped INT NOT NULL DEFAULT 7",
		"INSERT INTO shop._gho SELECT t.*, 7 FROM %s t WHERE id % 3 > 0", "RENAME TABLE %s TO aside._del, shop._gho TO %s", "DROP TABLE aside._del",
	}, nil},
	{"percona_swap", false, []string{
		"CREATE TABLE aside._new LIKE %s", "INSERT INTO aside._new SELECT id, n + 1, note, at, price FROM %s", "RENAME TABLE %s TO aside._old, aside._new TO %s",
	}, nil},
	{"untouched", false, nil, nil},
}

// TestValueChangingDDL runs each of these statements on a table at rest, with no write after it, and expects the shard and the
// index to be equal by content: the crawls and sweeps that the statements start are all that can bring it about.
func TestValueChangingDDL(t *testing.T) {
	needs(t, string(testbed.Elasticsearch))
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	shard, target := b.mysql(testbed.MySQLOptions{})
	search, err := testbed.StartSearch(t.Context(), testbed.SearchOptions{Kind: testbed.Elasticsearch})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { search.Stop() })
	exec1(t, target, "CREATE DATABASE shop")
	exec1(t, db, "CREATE DATABASE shop", "CREATE DATABASE aside")
	const columns = "(id INT NOT NULL PRIMARY KEY, n INT NOT NULL, note VARCHAR(40) NOT NULL, at DATETIME(6) NOT NULL, price DECIMAL(8,2) NOT NULL)"
	const rows = " WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 300) " +
		"SELECT n, n * 3, CONCAT('note ', n), TIMESTAMPADD(MICROSECOND, n * 987654, '2024-05-06 07:08:09'), n * 1.37 FROM s"
	exec1(t, db, "CREATE TABLE aside.spare "+columns, "INSERT INTO aside.spare"+rows+" WHERE n < 90 AND n % 2 = 0")
	for _, c := range valueDDL {
		partitions := ""
		if c.partitions {
			partitions = " PARTITION BY RANGE (id) (PARTITION low VALUES LESS THAN (100), PARTITION high VALUES LESS THAN MAXVALUE)"
		}
		exec1(t, db, "CREATE TABLE shop."+c.name+" "+columns+partitions, "INSERT INTO shop."+c.name+rows)
	}
	config := b.sourceConfig(m, "crawl: {chunk_bytes: 10000}\n")
	b.start("source", "sluice-source", "", []string{"--config", config})
	b.start("shard", "sluice-sink-mysql", "", []string{"--config", b.oneShardConfig("shard", shard, "")})
	b.start("search", "sluice-sink-elasticsearch", "", []string{"--config", b.searchConfig("search", search.URL())})
	b.settled(config, time.Minute)
	for _, c := range valueDDL {
		b.equal(db, target, c.name)
	}
	for _, c := range valueDDL {
		for _, q := range c.target {
			exec1(t, target, strings.ReplaceAll(q, "%s", "shop."+c.name))
		}
		for _, q := range c.source {
			exec1(t, db, strings.ReplaceAll(q, "%s", "shop."+c.name))
		}
	}
	b.importTablespace(m, "shop.import_tablespace")
	// A registry takes a DECIMAL of another scale for an incompatible change: the table stops until somebody says yes, with the
	// words that the error has.
	eventually(t, 30*time.Second, "the refused form is told with its remedy", func() bool {
		return strings.Contains(b.cli("status", "--config", config), "mend   sluice schema accept shop.convert_number ")
	})
	b.cli("schema", "accept", "shop.convert_number", "--config", config)
	b.caughtUp(m, config, time.Minute)
	for _, c := range valueDDL {
		b.equal(db, target, c.name)
		b.indexEqual(db, search.URL(), c.name)
		t.Logf("%s: equal in the shard and in the index", c.name)
	}
}

// indexEqual waits until the table's index has its rows and no others.
func (b *bed) indexEqual(source *sql.DB, url, table string) {
	b.t.Helper()
	var c *rig.Comparison
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		c, err = rig.CompareSearch(b.t.Context(), rig.Place{Name: "source", DB: source, Database: "shop"}, url, "shop.shop."+table, table)
		if err == nil && c.Differences == 0 {
			return
		}
	}
	b.t.Errorf("%s: %v, %+v", table, err, c)
}

// importTablespace gives the table the rows of another one's file.
func (b *bed) importTablespace(m *testbed.MySQL, table string) {
	b.t.Helper()
	db, err := m.Open("app", "")
	if err != nil {
		b.t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // the lock of FLUSH ... FOR EXPORT is the session's
	var folder string
	if err := db.QueryRow("SELECT @@datadir").Scan(&folder); err != nil {
		b.t.Fatal(err)
	}
	exec1(b.t, db, "CREATE TABLE aside.exported LIKE "+table, "INSERT INTO aside.exported SELECT id, n + 1000, note, at, price FROM "+table+" WHERE id % 5 > 0",
		"FLUSH TABLES aside.exported FOR EXPORT")
	saved := b.t.TempDir()
	for _, end := range []string{".ibd", ".cfg"} {
		b.copyFile(filepath.Join(folder, "aside", "exported"+end), filepath.Join(saved, end))
	}
	exec1(b.t, db, "UNLOCK TABLES", "ALTER TABLE "+table+" DISCARD TABLESPACE")
	for _, end := range []string{".ibd", ".cfg"} {
		b.copyFile(filepath.Join(saved, end), filepath.Join(folder, "shop", "import_tablespace"+end))
	}
	exec1(b.t, db, "ALTER TABLE "+table+" IMPORT TABLESPACE")
}

func (b *bed) copyFile(from, to string) {
	b.t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, content, 0o640)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}
