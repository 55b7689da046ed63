package system

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// procedureTables and procedures: rows come, change and go by stored procedures, one transaction a row, and one row is counted
// up from two connections.
var procedureSetup = []string{
	"CREATE DATABASE shop",
	"CREATE TABLE shop.items (id INT NOT NULL PRIMARY KEY, name VARCHAR(40) NOT NULL, n INT NOT NULL, at DATETIME(6) NOT NULL)",
	"CREATE TABLE shop.counter (id INT NOT NULL PRIMARY KEY, n BIGINT NOT NULL)",
	"INSERT INTO shop.counter VALUES (1, 0)",
	`CREATE PROCEDURE shop.fill(IN rows_wanted INT) BEGIN
	  DECLARE i INT DEFAULT 0;
	  WHILE i < rows_wanted DO INSERT INTO shop.items VALUES (i, CONCAT('item ', i), 0, NOW(6)); SET i = i + 1; END WHILE; END`,
	`CREATE PROCEDURE shop.touch(IN rows_wanted INT) BEGIN
	  DECLARE i INT DEFAULT 0;
	  WHILE i < rows_wanted DO UPDATE shop.items SET n = n + 1, name = CONCAT(name, '!') WHERE id = i; SET i = i + 1; END WHILE; END`,
	`CREATE PROCEDURE shop.clear(IN rows_wanted INT) BEGIN
	  DECLARE i INT DEFAULT 0;
	  WHILE i < rows_wanted DO DELETE FROM shop.items WHERE id = i; SET i = i + 1; END WHILE; END`,
	`CREATE PROCEDURE shop.count(IN times INT) BEGIN
	  DECLARE i INT DEFAULT 0;
	  WHILE i < times DO UPDATE shop.counter SET n = n + 1 WHERE id = 1; SET i = i + 1; END WHILE; END`,
}

// TestProcedures runs procedures that insert, update and delete rows one by one, and count one row up from two connections;
// after each the index is equal.
func TestProcedures(t *testing.T) {
	needs(t, "mysql-9.7", "elasticsearch")
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	exec1(t, db, procedureSetup...)
	search, err := testbed.StartSearch(t.Context(), testbed.SearchOptions{Kind: testbed.Elasticsearch})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { search.Stop() })
	b.source(m, "")
	b.start("search", "sluice-sink-elasticsearch", "", []string{"--config", b.searchConfig("search", search.URL())})
	rows := size(3_000, 100_000)
	source := rig.Place{Name: "source", DB: db, Database: "shop"}
	for _, step := range []string{"fill", "touch", "count", "clear"} {
		call := fmt.Sprintf("CALL shop.%s(%d)", step, rows)
		if step == "count" {
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					if _, err := db.ExecContext(context.Background(), call); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		} else {
			exec1(t, db, call)
		}
		for _, table := range []string{"items", "counter"} {
			var last string
			eventually(t, size(time.Minute, 10*time.Minute), "the index is equal after "+step, func() bool {
				c, err := rig.CompareSearch(t.Context(), source, search.URL(), "shop.shop."+table, table)
				if err == nil && c.Differences == 0 {
					last = fmt.Sprintf("%s: shop.%s: source %d, index %v, differences 0", step, table, c.Source, c.Targets)
					return true
				}
				return false
			})
			t.Log(last)
		}
	}
}
