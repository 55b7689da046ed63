package system

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
	"github.com/sluice-cdc/sluice/verify"
)

// filesPage is the sink's config. In the short form every batch is a visible file, so that the test need not wait for the last.
const filesPage = `group: history
kafka: {brokers: [%q], registry: %q}
topics: ["shop.shop.*"]
session_timeout: 6s
batch: {max_wait: 300ms}
files: {path: %q, roll_time: %s, roll_size: 2MiB}
sources: {shop: {address: %q, user: cdc, password: cdc}}
`

// filesBed is a shop, and a folder with its history.
type filesBed struct {
	*bed
	db     *sql.DB
	folder string
	config string
}

// filesTable says how the rows of a table are made text at MySQL and in DuckDB, where %s stands before a column's name.
type filesTable struct {
	name, key string
	columns   []string // name, or name=SQL of MySQL=SQL of DuckDB
}

const (
	mysqlMoment = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', %[1]s)"
	duckMoment  = "epoch_us(%[2]s)"
)

var filesTables = []filesTable{
	{"customers", "id", []string{"id", "email", "name", "city", "credit", "vip=vip+0=%[2]s", "born=CAST(born AS CHAR)=%[2]s::VARCHAR", "created_at=" + mysqlMoment + "=" + duckMoment}},
	{"orders", "id", []string{"id", "user_id", "code", "status", "total", "note", "tags", "detail=detail=%[2]s::VARCHAR", "updated_at=" + mysqlMoment + "=" + duckMoment}},
	{"order_items", "order_id, line_no", []string{"order_id", "line_no", "sku", "qty", "price=price=%[2]s::DOUBLE"}},
	{"products", "sku", []string{"sku", "title", "shelf", "weight=weight*1e0=%[2]s::DOUBLE", "image=LOWER(HEX(image))=lower(hex(%[2]s))", "stock"}},
}

// selects returns the SQL of the columns, at MySQL or, with a prefix, in DuckDB.
func (t *filesTable) selects(duck bool, prefix string) string {
	var list []string
	for _, c := range t.columns {
		parts := strings.Split(c, "=")
		expression := "%[1]s"
		if duck {
			expression = "%[2]s::VARCHAR"
		}
		if len(parts) > 1 {
			expression = parts[1+map[bool]int{true: 1}[duck]]
		}
		if strings.Contains(expression, "%") {
			expression = fmt.Sprintf(expression+"%.0[1]s%.0[2]s", parts[0], prefix+parts[0])
		}
		list = append(list, expression)
	}
	return strings.Join(list, ", ")
}

// TestFilesWalk: MySQL, the local broker, the sink as a process that is killed again and again while the shop is written to. In the end every
// record of the log is in exactly one file, and the newest row of each key, as DuckDB reads it, is the source's, as verify says too. A
// copy as of a moment in the middle of the writes is what the database showed then, when all writers were held up.
func TestFilesWalk(t *testing.T) {
	needs(t, "mysql-9.7", "duckdb")
	b := &filesBed{bed: newBed(t), folder: t.TempDir()}
	m, db := b.mysql(testbed.MySQLOptions{})
	b.db = db
	shop := rig.Shop{Database: "shop", Rows: size(3_000, 200_000)}
	if err := shop.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	b.source(m, "")
	b.config = b.file("files.yaml", fmt.Sprintf(filesPage, b.broker, b.registry, b.folder, size("0s", "20s"), m.Address()))
	history := b.start("files", "sluice-sink-files", "", []string{"--config", b.config})
	b.sluice(0, "wait", "--now", "--timeout", size("90s", "20m")) // the first crawl: before it no copy can be made

	w := &rig.Writer{DB: db, Shop: shop, Connections: size(4, 16), PerSecond: size(200, 2000), Seed: seed(t)}
	length, kills := size(5*time.Second, 3*time.Minute), size(1, 15)
	var asOf time.Time
	var then map[string][]string
	var looking sync.WaitGroup
	looking.Go(func() {
		time.Sleep(length / 3)
		asOf, then = b.look()
	})
	b.underFire(w, length, kills, history)
	looking.Wait()
	b.sluice(0, "wait", "--now", "--timeout", size("90s", "20m"))
	if full() {
		time.Sleep(90 * time.Second) // what is left becomes visible: a batch comes each minute
	}
	t.Logf("%d rows, %d changes, %d kills of the sink", shop.Rows, w.Changes(), kills)
	b.everyRecordOnce()
	b.newestEqual()
	b.copyEqual(asOf, then)
}

// sluice runs a command of the sink and returns what it prints.
func (b *filesBed) sluice(want int, args ...string) string {
	b.t.Helper()
	cmd := exec.Command(binary(b.t, "sluice-sink-files", ""), append(args, "--config", b.config)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != want {
		b.t.Fatalf("%v: exit %d, want %d (%v)\n%s%s", args, code, want, err, out.String(), errs.String())
	}
	return out.String()
}

// look holds all writers up and reads every table, and when that was.
func (b *filesBed) look() (at time.Time, rows map[string][]string) {
	ctx := context.Background()
	conn, err := b.db.Conn(ctx)
	if err != nil {
		b.t.Error(err)
		return at, nil
	}
	defer conn.Close()
	var locks []string
	for i := range filesTables {
		locks = append(locks, "shop."+filesTables[i].name+" READ")
	}
	if _, err := conn.ExecContext(ctx, "LOCK TABLES "+strings.Join(locks, ", ")); err != nil {
		b.t.Error(err)
		return at, nil
	}
	time.Sleep(5 * time.Millisecond)
	at = time.Now()
	rows = b.rowsOf(conn)
	if _, err := conn.ExecContext(ctx, "UNLOCK TABLES"); err != nil {
		b.t.Error(err)
	}
	return at, rows
}

// rowsOf reads all rows at MySQL, by table.
func (b *filesBed) rowsOf(conn *sql.Conn) map[string][]string {
	ctx := context.Background()
	all := make(map[string][]string)
	if _, err := conn.ExecContext(ctx, "SET time_zone = '+00:00'"); err != nil {
		b.t.Error(err)
	}
	for i := range filesTables {
		t := &filesTables[i]
		rows, err := conn.QueryContext(ctx, fmt.Sprintf("SELECT %s FROM shop.%s", t.selects(false, ""), t.name))
		if err != nil {
			b.t.Error(err)
			return all
		}
		values := make([]sql.NullString, len(t.columns))
		into := make([]any, len(values))
		for i := range values {
			into[i] = &values[i]
		}
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				b.t.Error(err)
			}
			text := make([]any, len(values))
			for i, v := range values {
				if v.Valid {
					text[i] = v.String
				}
			}
			all[t.name] = append(all[t.name], t.line(text))
		}
		if err := rows.Err(); err != nil {
			b.t.Error(err)
		}
		rows.Close()
		slices.Sort(all[t.name])
	}
	return all
}

// line makes one text of a row. Floats are compared as numbers.
func (t *filesTable) line(values []any) string {
	for i, v := range values {
		if name, _, _ := strings.Cut(t.columns[i], "="); v != nil && (name == "price" || name == "weight") {
			if f, err := strconv.ParseFloat(fmt.Sprint(v), 64); err == nil {
				values[i] = strconv.FormatFloat(f, 'g', -1, 64)
			}
		}
	}
	return fmt.Sprintf("%q", values)
}

// duck runs SQL in DuckDB.
func (b *filesBed) duck(sql string) [][]any {
	b.t.Helper()
	cmd, err := testbed.Python(b.t.Context(), "duckdb", filepath.Join("..", "..", "sink", "files", "testdata", "query.py"), "duckdb")
	if err != nil {
		b.t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(sql), &out, &errs
	if err := cmd.Run(); err != nil {
		b.t.Fatalf("duckdb: %v\n%s\n%s", err, sql, errs.String())
	}
	var rows [][]any
	for d := json.NewDecoder(&out); d.More(); {
		d.UseNumber()
		var row []any
		if err := d.Decode(&row); err != nil {
			b.t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// compare holds rows that DuckDB has read against those of MySQL.
func (b *filesBed) compare(what string, t *filesTable, got [][]any, want []string) int {
	b.t.Helper()
	lines := make([]string, len(got))
	for i := range got {
		lines[i] = t.line(got[i])
	}
	slices.Sort(lines)
	differences := 0
	for i := range max(len(lines), len(want)) {
		if i >= len(lines) || i >= len(want) || lines[i] != want[i] {
			if differences++; differences == 1 {
				b.t.Errorf("%s: %s has %d rows, want %d; the first that differs: %.300s, want %.300s", what, t.name, len(lines), len(want), at(lines, i), at(want, i))
			}
		}
	}
	return len(lines)
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "none"
}

// newestEqual compares the newest row of each key, by DuckDB and by verify.
func (b *filesBed) newestEqual() {
	b.t.Helper()
	conn, err := b.db.Conn(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	want := b.rowsOf(conn)
	compared := 0
	for i := range filesTables {
		t := &filesTables[i]
		key := "key_" + strings.ReplaceAll(t.key, ", ", ", key_")
		compared += b.compare("newest", t, b.duck(fmt.Sprintf(`SELECT %s FROM (SELECT *, row_number() OVER (PARTITION BY %s ORDER BY _version DESC, _offset) AS place
			FROM read_parquet('%s/table=shop.%s/day=*/*.parquet', union_by_name = true)) WHERE place = 1 AND _op <> 'd'`, t.selects(true, "after_"), key, b.folder, t.name)), want[t.name])
	}
	report := &verify.Report{}
	if err := json.Unmarshal([]byte(b.sluice(0, "verify", "-o", "json")), report); err != nil {
		b.t.Fatal(err)
	}
	rows := int64(0)
	for _, r := range report.Tables {
		if rows += r.SourceRows; r.SourceRows != r.TargetRows || r.SourceRows == 0 {
			b.t.Errorf("verify: %s has %d rows, in files %d", r.Table, r.SourceRows, r.TargetRows)
		}
	}
	b.t.Logf("verify: %d rows, differences 0; compared by DuckDB: %d rows", rows, compared)
}

// copyEqual makes a copy and compares it with what MySQL showed then.
func (b *filesBed) copyEqual(asOf time.Time, then map[string][]string) {
	b.t.Helper()
	to := b.t.TempDir()
	var copied []sink.Copied
	out := b.sluice(0, "copy", "--as-of", asOf.Format(time.RFC3339Nano), "--to", to, "-o", "json")
	if err := json.Unmarshal([]byte(out), &copied); err != nil || len(copied) != len(filesTables) {
		b.t.Fatalf("copy printed %s (%v)", out, err)
	}
	rows := 0
	for i := range filesTables {
		t := &filesTables[i]
		rows += b.compare("copy as of "+asOf.Format(time.RFC3339Nano), t, b.duck(fmt.Sprintf("SELECT %s FROM read_parquet('%s/as_of=*/table=shop.%s/*.parquet', union_by_name = true)",
			t.selects(true, ""), to, t.name)), then[t.name])
	}
	b.t.Logf("copy as of %s, up to %s: %d rows", asOf.UTC().Format(time.RFC3339Nano), copied[0].GTID, rows)
}

// everyRecordOnce holds the offsets of the log against those in the files, and the files' names against each other.
func (b *filesBed) everyRecordOnce() {
	b.t.Helper()
	have := make(map[string]int)
	for _, row := range b.duck(fmt.Sprintf("SELECT _topic, _partition, _offset, count(*) FROM read_parquet('%s/table=*/day=*/*.parquet', union_by_name = true) GROUP BY ALL", b.folder)) {
		if fmt.Sprint(row[3]) != "1" {
			b.t.Errorf("%v is in the files %v times", row[:3], row[3])
		}
		have[fmt.Sprint(row[0], " ", row[1], " ", row[2])]++
	}
	records := 0
	for name := range b.log() {
		if records++; have[name] != 1 {
			b.t.Errorf("%s is in %d files", name, have[name])
		}
	}
	found, err := filepath.Glob(b.folder + "/table=*/day=*/*.parquet")
	if err != nil {
		b.t.Fatal(err)
	}
	spans := make(map[string][][2]int64)
	for _, path := range found {
		parts := strings.Split(strings.TrimSuffix(filepath.Base(path), ".parquet"), "-")
		first, err1 := strconv.ParseInt(parts[len(parts)-2], 10, 64)
		last, err2 := strconv.ParseInt(parts[len(parts)-1], 10, 64)
		if err1 != nil || err2 != nil {
			b.t.Fatalf("the name of %s", path)
		}
		partition := strings.Join(parts[:len(parts)-2], "-")
		spans[partition] = append(spans[partition], [2]int64{first, last})
	}
	for partition, list := range spans {
		slices.SortFunc(list, func(a, c [2]int64) int { return int(a[0] - c[0]) })
		next := int64(0)
		for _, s := range list {
			if s[0] != next {
				b.t.Errorf("%s: a file begins at %d, the one before ends before %d", partition, s[0], next)
			}
			next = s[1] + 1
		}
	}
	b.t.Logf("%d records of the log, %d of the files, %d files", records, len(have), len(found))
}

// log reads all records of the topics.
func (b *filesBed) log() map[string]bool {
	b.t.Helper()
	var topics []string
	for i := range filesTables {
		topics = append(topics, "shop.shop."+filesTables[i].name)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	found := make(map[string]bool)
	for {
		ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second) // a busy broker may take some until the first come
		fetches := client.PollFetches(ctx)
		cancel()
		if fetches.NumRecords() == 0 {
			break
		}
		fetches.EachRecord(func(r *kgo.Record) { found[fmt.Sprint(r.Topic, " ", r.Partition, " ", r.Offset)] = true })
	}
	if len(found) == 0 {
		b.t.Error("the log could not be read")
	}
	return found
}
