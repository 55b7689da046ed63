package system

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/localregistry"
)

// TestSessionWithoutRegistry: what a source has registered it knows until it ends. With the registry gone it goes on, and begins again from its
// checkpoint when a connection is lost.
func TestSessionWithoutRegistry(t *testing.T) {
	b := newBed(t)
	registry, err := localregistry.Start(t.Context(), localregistry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	b.registry = registry.URL()
	m, db := b.mysql(testbed.MySQLOptions{})
	exec1(t, db, "CREATE DATABASE shop", "CREATE TABLE shop.notes (id INT PRIMARY KEY, v INT)", "INSERT INTO shop.notes VALUES (1, 1)")
	config := b.sourceConfig(m, "")
	p := b.begin("source", "", config, nil)
	b.says(p, 20*time.Second, "crawl is over")

	registry.Close()
	const begins = "reading the binlog"
	before := strings.Count(p.Log(), begins)
	var dump int
	if err := db.QueryRow("SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'").Scan(&dump); err != nil {
		t.Fatal(err)
	}
	exec1(t, db, fmt.Sprint("KILL ", dump), "INSERT INTO shop.notes VALUES (2, 2)", "UPDATE shop.notes SET v = 3")
	b.caughtUp(m, config, 30*time.Second) // its checkpoint is at the log's end: all of it is in the topic
	if after := strings.Count(p.Log(), begins); after == before {
		t.Errorf("its session went on, so nothing was tried:\n%s", p.LogTail(10))
	}
}
