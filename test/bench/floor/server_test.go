package floor_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/test/bench/floor"
	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

const rowsOfTest = 1234

// available skips a test whose servers cannot be had.
func available(t *testing.T, names ...string) {
	t.Helper()
	if full := os.Getenv("SLUICE_FULL"); full == "" || full == "0" {
		t.Skip("starts servers: make system runs it")
	}
	for _, name := range names {
		if err := testbed.Available(t.Context(), name); err != nil {
			t.Skipf("%s: %v", name, err)
		}
	}
}

func startMySQL(t *testing.T) (*testbed.MySQL, *sql.DB) {
	t.Helper()
	m, err := testbed.StartMySQL(t.Context(), testbed.MySQLOptions{Version: testbed.MySQL97})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Stop() })
	if err := m.Exec(t.Context(), "SET GLOBAL time_zone = '+00:00'"); err != nil {
		t.Fatal(err)
	}
	db, err := m.Open("app", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return m, db
}

// fill makes table shop.rows with rows of several types, and shop.copy, which is empty but for one row that is to be written over.
func fill(t *testing.T, m *testbed.MySQL) {
	t.Helper()
	const columns = "(id INT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, price DECIMAL(9,2), b VARBINARY(20), at DATETIME(3), ts TIMESTAMP(3) NULL, j JSON, u INT NOT NULL, UNIQUE KEY (u))"
	err := m.Exec(t.Context(), "SET time_zone = '+00:00'", "CREATE DATABASE shop", "CREATE TABLE shop.`rows` "+columns, "CREATE TABLE shop.copy "+columns,
		"USE shop", "SET cte_max_recursion_depth = 100000",
		fmt.Sprintf(`INSERT INTO shop.rows WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
			SELECT i, i * 7, CONCAT('it''s \\ é ', SHA2(i, 256)), IF(i %% 5, i / 4, NULL), UNHEX(LEFT(SHA2(i, 256), 32)), '2026-01-02 03:04:05.678' + INTERVAL i SECOND,
				'2026-01-02 03:04:05' + INTERVAL i MINUTE, JSON_OBJECT('i', i), i FROM n`, rowsOfTest),
		"INSERT INTO shop.copy SELECT id, 0, 'old', NULL, NULL, NULL, NULL, NULL, u FROM shop.rows WHERE id = 77")
	if err != nil {
		t.Fatal(err)
	}
}

func dsn(m *testbed.MySQL) string { return "app:app@tcp(" + m.Address() + ")/" }

// programs is where the command is built, once.
var programs string

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "sluice-floor-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(programs)
	os.Exit(code)
}

var build = sync.OnceValues(func() (string, error) { return floor.Build(programs) })

// run runs the command as a process and looks at what it says of itself.
func run(t *testing.T, rows int64, args ...string) floor.Result {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	p, err := floor.Start(path, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	r, err := p.Wait(2 * time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	if r.Name != args[0] || r.Rows != rows || r.Seconds <= 0 || r.CPUSeconds <= 0 {
		t.Errorf("it says %+v; want %s, %d rows, and time and processor time", r, args[0], rows)
	}
	return r
}

// TestProduce has records made up, and then those of that topic sent again.
func TestProduce(t *testing.T) {
	available(t, "kafka")
	broker, err := testbed.StartKafka(t.Context(), testbed.KafkaOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broker.Stop() })
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Address()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopics(t.Context(), 3, 1, nil, "made-up", "again"); err != nil {
		t.Fatal(err)
	}
	const size = 200
	r := run(t, rowsOfTest, "produce", "-brokers", broker.Address(), "-topic", "made-up", "-bytes", fmt.Sprint(size), "-rows", fmt.Sprint(rowsOfTest))
	madeUp := topic(t, broker.Address(), "made-up", rowsOfTest)
	total := int64(0)
	for record, count := range madeUp {
		key, value, _ := strings.Cut(record, "=")
		if len(value) != size || count != 1 {
			t.Fatalf("a record %q with a value of %d bytes is there %d times; want %d bytes and once", record, len(value), count, size)
		}
		total += int64(len(key)/2 + len(value)) // the key is in hex
	}
	if r.Bytes != total {
		t.Errorf("it says %d bytes, the topic has %d", r.Bytes, total)
	}
	run(t, 2*rowsOfTest, "produce", "-brokers", broker.Address(), "-topic", "again", "-like", "made-up", "-rows", fmt.Sprint(2*rowsOfTest), "-compression", "snappy")
	for record := range madeUp {
		madeUp[record] = 2
	}
	if diff := cmp.Diff(madeUp, topic(t, broker.Address(), "again", 2*rowsOfTest)); diff != "" {
		t.Errorf("records that were sent twice in turn (-want +got):\n%.2000s", diff)
	}
}

// topic reads so many records and counts how often each is there.
func topic(t *testing.T, broker, name string, records int) map[string]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	seen, partitions := map[string]int{}, map[int32]bool{}
	for n := 0; n < records; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("topic %s has %d records, want %d: %v", name, n, records, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			seen[fmt.Sprintf("%x=%s", r.Key, r.Value)]++
			partitions[r.Partition] = true
			n++
		})
	}
	if len(partitions) != 3 {
		t.Errorf("the records of topic %s are in %d partitions, want 3", name, len(partitions))
	}
	return seen
}

// TestLoad copies a table within a server, over a row that is there.
func TestLoad(t *testing.T) {
	available(t, "mysql-9.7")
	m, db := startMySQL(t)
	fill(t, m)
	r := run(t, rowsOfTest, "load", "-from", dsn(m), "-table", "shop.rows", "-to", dsn(m), "-into", "shop.copy", "-connections", "3", "-statement", "100")
	if r.Bytes < rowsOfTest*150 {
		t.Errorf("it says %d bytes for %d rows of more than 150", r.Bytes, rowsOfTest)
	}
	same(t, db, db)
}

// same compares shop.rows at the one server with shop.copy at the other, row by row and byte by byte.
func same(t *testing.T, source, target *sql.DB) {
	t.Helper()
	const query = "SELECT id, k, c, CONCAT(price), HEX(b), CONCAT(at), UNIX_TIMESTAMP(ts), CONCAT(j), u FROM shop.%s ORDER BY id"
	want, got := text(t, source, fmt.Sprintf(query, "`rows`")), text(t, target, fmt.Sprintf(query, "copy"))
	if len(want) != rowsOfTest {
		t.Fatalf("the source has %d rows, want %d", len(want), rowsOfTest)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-source +copy):\n%.2000s", diff)
	}
}

func text(t *testing.T, db *sql.DB, query string) (lines []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	names, _ := rows.Columns()
	values, into := make([]sql.NullString, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%+v", values))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// TestDump loads what mysqldump has written into another table.
func TestDump(t *testing.T) {
	available(t, "mysql-9.7")
	m, db := startMySQL(t)
	fill(t, m)
	output := filepath.Join(t.TempDir(), "dump.sql")
	command, err := floor.DumpCommand(m, "shop", "rows")
	if err != nil {
		t.Fatal(err)
	}
	run(t, rowsOfTest, append([]string{"dump", "-rows", fmt.Sprint(rowsOfTest), "-o", output, "--"}, command...)...)
	written, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	client, err := m.Tool("mysql", "--no-defaults", "--socket="+m.Socket, "--user=root", "shop")
	if err != nil {
		t.Fatal(err)
	}
	client.Stdin = bytes.NewReader(bytes.ReplaceAll(written, []byte("`rows`"), []byte("`copy`")))
	if out, err := client.CombinedOutput(); err != nil {
		t.Fatalf("load the dump: %v: %s", err, out)
	}
	same(t, db, db)
	// Without a file it goes nowhere.
	r := run(t, rowsOfTest, append([]string{"dump", "-rows", fmt.Sprint(rowsOfTest), "-bytes", "99", "--"}, command...)...)
	if r.Bytes != 99 {
		t.Errorf("it says %d bytes, it was told 99", r.Bytes)
	}
}

// TestBinlog compares the copied files with the server's, but for the last: the server marks the one that it writes to, and does not send
// the mark.
func TestBinlog(t *testing.T) {
	available(t, "mysql-9.7")
	m, _ := startMySQL(t)
	fill(t, m)
	if err := m.Exec(t.Context(), "FLUSH BINARY LOGS", "DELETE FROM shop.copy", "FLUSH BINARY LOGS"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	command, err := floor.BinlogCommand(m, "binlog.000001", dir)
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"binlog", "-rows", fmt.Sprint(rowsOfTest), "-dir", dir, "--"}, command...)
	r := run(t, rowsOfTest, args...)
	total := int64(0)
	for _, name := range []string{"binlog.000001", "binlog.000002", "binlog.000003"} {
		copied, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		original, err := os.ReadFile(filepath.Join(m.DataDir, name))
		if err != nil {
			t.Fatal(err)
		}
		total += int64(len(copied))
		if len(original) != len(copied) || name != "binlog.000003" && !bytes.Equal(original, copied) {
			t.Errorf("%s: the copy of %d bytes is not the server's of %d", name, len(copied), len(original))
		}
	}
	if r.Bytes != total {
		t.Errorf("it says %d bytes, the files have %d", r.Bytes, total)
	}
	if _, err := floor.Binlog(t.Context(), floor.ToolOptions{Command: command, Dir: dir}); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("into a folder with files: %v; want to be told so", err)
	}
}

// TestBulk writes documents into an index that is made like another.
func TestBulk(t *testing.T) {
	available(t, "mysql-9.7", "elasticsearch")
	search, err := testbed.StartSearch(t.Context(), testbed.SearchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { search.Stop() })
	m, db := startMySQL(t)
	fill(t, m)
	ask(t, http.MethodPut, search.URL()+"/like", `{"settings":{"number_of_shards":2,"number_of_replicas":0},"mappings":{"dynamic":"strict","properties":{
		"id":{"type":"integer"},"k":{"type":"integer"},"c":{"type":"keyword"},"price":{"type":"double"},"b":{"type":"binary"},"at":{"type":"date"},
		"ts":{"type":"date"},"j":{"type":"object","enabled":false},"u":{"type":"integer"}}}}`)
	run(t, rowsOfTest, "bulk", "-from", dsn(m), "-table", "shop.rows", "-url", search.URL(), "-index", "rows", "-like", "like", "-request", "40000", "-connections", "2")
	c, err := rig.CompareSearch(t.Context(), rig.Place{Name: "source", DB: db, Database: "shop"}, search.URL(), "rows", "rows")
	if err != nil || c.Source != rowsOfTest || c.Differences != 0 {
		t.Errorf("%+v, %v; want %d rows without differences", c, err, rowsOfTest)
	}
	// An index that knows other fields takes none of them, and that is an error.
	ask(t, http.MethodPut, search.URL()+"/other", `{"mappings":{"dynamic":"strict","properties":{"id":{"type":"integer"}}}}`)
	_, err = floor.Bulk(t.Context(), floor.BulkOptions{URL: search.URL(), Index: "other", From: floor.Table{DSN: dsn(m), Database: "shop", Name: "rows"}, Rows: 3})
	if err == nil || !strings.Contains(err.Error(), "strict_dynamic_mapping_exception") {
		t.Errorf("into an index with other fields: %v; want what the server says", err)
	}
}

func ask(t *testing.T, method, url, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s", method, url, response.Status)
	}
}

// TestWrongUsage says what is missing.
func TestWrongUsage(t *testing.T) {
	for _, c := range []struct {
		run  func() error
		want string
	}{
		{func() error {
			_, err := floor.Produce(t.Context(), floor.ProduceOptions{Rows: 1, Compression: "lz5"})
			return err
		}, `compression "lz5"; want none, snappy, lz4 or zstd`},
		{func() error { _, err := floor.Produce(t.Context(), floor.ProduceOptions{Rows: 1}); return err }, "Set the bytes of a row, or a topic"},
		{func() error { _, err := floor.ParseTable("", "rows"); return err }, `table "rows"; want database.table`},
		{func() error { _, err := floor.Dump(t.Context(), floor.ToolOptions{}); return err }, "want a program with its arguments behind --"},
	} {
		if err := c.run(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v; want %q", err, c.want)
		}
	}
}
