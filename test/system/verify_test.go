package system

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
	"github.com/sluice-cdc/sluice/verify"
)

// exactTable has what differences hide in.
const exactTable = `CREATE TABLE shop.exact (
	id INT NOT NULL PRIMARY KEY, owner INT NOT NULL, body BLOB, note VARCHAR(40), ratio DOUBLE NOT NULL,
	title VARCHAR(40) CHARACTER SET latin1, at TIMESTAMP(6) NOT NULL, n INT NOT NULL)`

const exactColumns = "id, owner, body, note, ratio, title, at, n"

// verifyBed is a source that is being written to, and a sink's target that is verified.
type verifyBed struct {
	*bed
	m      *testbed.MySQL
	source *sql.DB
	shop   rig.Shop
	shards []*sql.DB
	sink   *rig.Process
	config string
	rows   int
	cpu    time.Duration // of the last command
	writer *rig.Writer
	exact  atomic.Int64 // rows of shop.exact that were changed
}

// newVerifyBed starts the source, with so many rows in shop.exact and in all other tables together.
func newVerifyBed(t *testing.T, rows, others int, flags ...string) *verifyBed {
	b := &verifyBed{bed: newBed(t), rows: rows, shop: rig.Shop{Database: "shop", Rows: others}}
	m, db := b.mysql(testbed.MySQLOptions{Flags: flags})
	b.m, b.source = m, db
	if err := b.shop.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	exec1(t, db, exactTable, "SET SESSION cte_max_recursion_depth = 100000000")
	for from := 0; from < b.rows; from += 1000 {
		exec1(t, db, fmt.Sprintf(`INSERT INTO shop.exact SELECT n, n %% 97, UNHEX(SHA2(n, 256)), IF(n %% 3, CONCAT('note ', n), NULL), n / 7, CONCAT('café ', n),
			'2026-05-06 07:08:09.123456', 0 FROM (WITH RECURSIVE seq(n) AS (SELECT %d UNION ALL SELECT n + 1 FROM seq WHERE n < %d) SELECT n FROM seq) AS s`,
			from+1, min(from+1000, b.rows)))
	}
	exec1(t, db, "INSERT INTO shop.customers VALUES (1000000, 'far@example.org', 'Far', 'Away', 1.5, b'1', '1999-12-31', NOW(3)), "+
		"(1000001, 'farther@example.org', 'Far', 'Away', 1.5, b'1', '1999-12-31', NOW(3))")
	b.bed.source(m, "")
	return b
}

// more adds to the page what verify needs to know of the source, and other lines.
func (b *verifyBed) more(page, lines string) {
	b.t.Helper()
	b.config = b.file("verify.yaml", readFile(b.t, page)+lines+fmt.Sprintf("sources: {shop: {address: %q, user: cdc, password: cdc}}\n", b.m.Address()))
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// twoShards starts the sink of two shards.
func (b *verifyBed) twoShards() {
	b.t.Helper()
	m0, db0 := b.mysql(testbed.MySQLOptions{})
	m1, db1 := b.mysql(testbed.MySQLOptions{})
	b.shards = []*sql.DB{db0, db1}
	for _, d := range b.shards {
		if err := b.shop.Empty(b.t.Context(), d); err != nil {
			b.t.Fatal(err)
		}
	}
	b.more(b.shardsConfig("shards", m0, m1), "  - {table: shop.exact, by: owner, rule: modulus}\n")
	b.sink = b.start("shards", "sluice-sink-mysql", "", []string{"--config", b.config})
}

// write starts the writers, about so many changes a second of the shop, and others of shop.exact, until the test ends.
func (b *verifyBed) write(perSecond int) {
	t := b.t
	b.writer = &rig.Writer{DB: b.source, Shop: b.shop, Connections: 4, PerSecond: perSecond, Seed: seed(t)}
	ctx, stop := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	writing.Go(func() {
		if err := b.writer.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	writing.Go(func() { b.writeExact(ctx) })
	t.Cleanup(func() {
		stop()
		writing.Wait()
		t.Logf("%d rows were changed meanwhile", b.changes())
	})
}

// changes is how many rows the writers have changed.
func (b *verifyBed) changes() int64 { return b.writer.Changes() + b.exact.Load() }

// firstWritten is the first row of shop.exact that the writer changes; differences are planted below.
const firstWritten = 1001

// writeExact changes rows: their values, their shard, and whether they are there. A few rows are changed all the time. At full size most
// changes are plain ones of many rows at once, so that there are a thousand a second beside verify on few cores.
func (b *verifyBed) writeExact(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		id := firstWritten + i*7919%(b.rows-firstWritten)
		for _, statement := range []string{
			fmt.Sprintf("UPDATE shop.exact SET n = n + 1, owner = owner + 1 WHERE id IN (%d, %d)", id, firstWritten),
			fmt.Sprintf("UPDATE shop.exact SET n = n + 1 WHERE id >= %d AND id %% 7 <> 3 ORDER BY id LIMIT %d", firstWritten+i*104729%(b.rows-firstWritten), size(1, 120)),
			fmt.Sprintf("DELETE FROM shop.exact WHERE id = %d", id+1),
			fmt.Sprintf("REPLACE INTO shop.exact VALUES (%d, 5, NULL, '', 0, 'x', NOW(6), %d)", id+2, i),
		} {
			result, err := b.source.ExecContext(context.Background(), statement)
			if err != nil {
				b.t.Error(err)
				return
			}
			if n, err := result.RowsAffected(); err == nil {
				b.exact.Add(n)
			}
		}
		time.Sleep(size(20*time.Millisecond, 10*time.Millisecond))
	}
}

// run runs a command of sluice and returns its exit code with both outputs.
func (b *verifyBed) run(args ...string) (code int, stdout, stderr string) {
	b.t.Helper()
	binary(b.t, "sluice-sink-mysql", "") // beside sluice, which starts the one that the page names
	cmd := exec.Command(binary(b.t, "sluice", ""), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	b.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// verified runs verify and returns what it found: table, key, kind and differing columns.
func (b *verifyBed) verified(wantCode int, args ...string) (*verify.Report, []string) {
	b.t.Helper()
	code, out, errs := b.run(append(args, "--config", b.config, "-o", "json", "--limit", "1000")...)
	report := &verify.Report{}
	if err := json.Unmarshal([]byte(out), report); err != nil {
		b.t.Fatalf("%v: exit %d, want %d: %v\n%s\n%.2000s", args, code, wantCode, err, errs, out)
	}
	if code != wantCode {
		var text strings.Builder
		if err := report.Print(&text, 3); err != nil {
			b.t.Error(err)
		}
		b.t.Fatalf("%v: exit %d, want %d:\n%s\n%s", args, code, wantCode, errs, text.String())
	}
	var found []string
	for _, t := range report.Tables {
		for _, d := range t.Rows {
			found = append(found, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", t.Table, strings.Join(d.Key, ","), d.Kind, strings.Join(d.Columns, ","))))
		}
	}
	slices.Sort(found)
	return report, found
}

// copyRow copies a row of a shard to the other as it is.
func (b *verifyBed) copyRow(table, columns string, id, to int) {
	b.t.Helper()
	columns += ", _sluice_version, _sluice_source"
	fields := make([]sql.NullString, strings.Count(columns, ",")+1)
	into, values := make([]any, len(fields)), make([]any, len(fields))
	for i := range fields {
		into[i], values[i] = &fields[i], &fields[i]
	}
	query := fmt.Sprintf("SELECT %s FROM shop.%s WHERE id = %d", columns, table, id)
	if err := b.shards[1-to].QueryRow(query).Scan(into...); err != nil {
		b.t.Fatalf("%s: %v", query, err)
	}
	insert := fmt.Sprintf("INSERT INTO shop.%s (%s) VALUES (?%s)", table, columns, strings.Repeat(",?", len(fields)-1))
	if _, err := b.shards[to].Exec(insert, values...); err != nil {
		b.t.Fatalf("%s: %v", insert, err)
	}
}

// plant makes differences of ten kinds and more, and returns what verify should find. Row k is in shard k % 97 % 2.
func (b *verifyBed) plant(sets int) []string {
	b.t.Helper()
	var want []string
	for set := range sets {
		at := func(n int) (id, shard int) { id = 20*set + n; return id, id % 97 % len(b.shards) }
		for n, change := range []string{
			1: "body = CONCAT(CHAR(ASCII(body) ^ 16 USING binary), SUBSTR(body, 2))|body",
			2: "note = ''|note",
			3: "ratio = -0e0|ratio",
			4: "title = CONCAT(title, ' ')|title",
			5: "title = CONVERT(CONVERT(title USING utf8mb4) USING binary)|title", // the letters' bytes taken for latin1
			6: "at = at + INTERVAL 1 MICROSECOND|at",
			7: "n = -1, _sluice_version = _sluice_version - 1000000|n", // what an older state looked like
		} {
			if n == 0 {
				continue
			}
			id, shard := at(n)
			statement, column, _ := strings.Cut(change, "|")
			exec1(b.t, b.shards[shard], fmt.Sprintf("UPDATE shop.exact SET %s WHERE id = %d", statement, id))
			want = append(want, fmt.Sprintf("shop.exact %d different %s", id, column))
		}
		id, shard := at(8)
		exec1(b.t, b.shards[shard], fmt.Sprintf("DELETE FROM shop.exact WHERE id = %d", id))
		want = append(want, fmt.Sprintf("shop.exact %d missing", id))

		id, _ = at(10)
		extra := fmt.Sprintf("INSERT INTO shop.exact (%s, _sluice_version, _sluice_source) VALUES (%d, 3, '', '', 1, '', NOW(6), 1, 5, 0)", exactColumns, 10_000_000+id)
		exec1(b.t, b.shards[set%len(b.shards)], extra) // beyond the source's last row
		want = append(want, fmt.Sprintf("shop.exact %d extra", 10_000_000+id))
		if len(b.shards) == 1 {
			continue
		}

		id, shard = at(9)
		b.copyRow("exact", exactColumns, id, 1-shard)
		exec1(b.t, b.shards[shard], fmt.Sprintf("DELETE FROM shop.exact WHERE id = %d", id))
		want = append(want, fmt.Sprintf("shop.exact %d wrong place", id))

		id, shard = at(11)
		b.copyRow("exact", exactColumns, id, 1-shard)
		want = append(want, fmt.Sprintf("shop.exact %d duplicate", id))
	}
	if slices.Sort(want); len(b.shards) == 1 {
		return want
	}
	// A table whose shard key is its primary key: no row ever moves, and yet one may stand in the wrong place.
	b.copyRow("customers", customerColumns, 1000000, 1)
	want = append(want, "shop.customers 1000000 duplicate")
	b.copyRow("customers", customerColumns, 1000001, 0)
	exec1(b.t, b.shards[1], "DELETE FROM shop.customers WHERE id = 1000001")
	want = append(want, "shop.customers 1000001 wrong place")
	slices.Sort(want)
	return want
}

const customerColumns = "id, email, name, city, credit, vip, born, created_at"

// TestVerify plants differences of more than ten kinds while writers go on; verify finds exactly those, repair mends them, by way of the
// source, and then nothing differs.
func TestVerify(t *testing.T) {
	b := newVerifyBed(t, size(3_000, 500_000), size(4_000, 1_500_000))
	b.twoShards()
	b.write(size(200, 500)) // and those of writeExact: see the rate in the log
	exec1(t, b.source, "UPDATE shop.exact SET note = NULL, ratio = 0 WHERE id < 1000")
	if code, out, errs := b.run("wait", "--config", b.config, "--now", "--timeout", size("1m", "30m")); code != 0 || !strings.Contains(out, "is applied") {
		t.Fatalf("wait: exit %d\n%s%s", code, out, errs)
	}
	report, found := b.verified(0, "verify")
	for _, r := range report.Tables {
		t.Logf("%s: %d rows, %d at the target, %d looked at again, %.1f s", r.Table, r.SourceRows, r.TargetRows, r.LookedAgain, r.Seconds)
	}
	if len(found) > 0 || len(report.Tables) != 5 {
		t.Fatalf("nothing was planted, and %d tables and differences were found: %q", len(report.Tables), found)
	}

	want := b.plant(size(2, 10))
	began, before := time.Now(), b.changes()
	report, found = b.verified(3, "verify")
	took := time.Since(began).Seconds()
	rate := float64(b.changes()-before) / took
	t.Logf("%d differences planted, %d found in %.1f s, %.0f rows changed a second meanwhile", len(want), len(found), took, rate)
	if full() && rate < 1000 {
		t.Errorf("%.0f rows were changed a second meanwhile, want 1000", rate)
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Fatalf("what was planted is not what was found (-planted +found):\n%s", diff)
	}
	b.images(report)
	b.cutOff(want)

	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(b.dir, "report.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := b.run("repair", "--config", b.config, "--from", file, "--dry-run"); code != 0 || strings.Count(out, "would send to shop.signal") != 2 {
		t.Errorf("repair --dry-run: exit %d\n%s%s", code, out, errs)
	}
	if _, again := b.verified(3, "verify", "--table", "shop.exact", "--table", "shop.customers"); !slices.Equal(again, found) {
		t.Errorf("a dry run has changed something: %q", again)
	}
	if _, left := b.verified(0, "repair", "--from", file); len(left) > 0 {
		t.Errorf("repair leaves %q", left)
	}
	if _, left := b.verified(0, "verify"); len(left) > 0 {
		t.Errorf("after repair %q differ", left)
	}

	if err := b.sink.Stop(20 * time.Second); err != nil { // now nothing is applied any more, which is no difference
		t.Fatal(err)
	}
	code, _, errs := b.run("verify", "--config", b.config, "--timeout", "2s", "--table", "shop.exact")
	if code != 1 || !strings.Contains(errs, "the target does not go on (shop.shop.exact[") || !strings.Contains(errs, "nothing has moved for 2s") {
		t.Errorf("verify beside a sink that stands still: exit %d\n%s", code, errs)
	}
}

// TestVerifyOneShard compares by the sums that both servers make, and row by row: what is found is the same.
func TestVerifyOneShard(t *testing.T) {
	b := newVerifyBed(t, size(3_000, 100_000), size(4_000, 100_000))
	m0, db0 := b.mysql(testbed.MySQLOptions{})
	b.shards = []*sql.DB{db0}
	if err := b.shop.Empty(t.Context(), db0); err != nil {
		t.Fatal(err)
	}
	b.more(b.shardsConfig("shards", m0), "  - {table: shop.exact, by: owner, rule: modulus}\n")
	b.sink = b.start("shards", "sluice-sink-mysql", "", []string{"--config", b.config})
	exec1(t, b.source, "UPDATE shop.exact SET note = NULL, ratio = 0 WHERE id < 1000")
	byHow := func(code int, want []string) {
		t.Helper()
		for _, how := range [][]string{{"verify"}, {"verify", "--rate", fmt.Sprint(b.rows)}, {"verify", "--rows"}} {
			report, found := b.verified(code, how...)
			if diff := cmp.Diff(want, found); diff != "" {
				t.Errorf("%v (-planted +found):\n%s", how, diff)
			}
			for _, r := range report.Tables {
				t.Logf("%v: %s: %d rows, %d of them summed up, %d looked at again, %.1f s", how, r.Table, r.SourceRows, r.SummedRows, r.LookedAgain, r.Seconds)
				if code == 0 && how[len(how)-1] == "--rows" != (r.SummedRows == 0) { // with writers any range may differ for a moment
					t.Errorf("%v: %s: %d of %d rows summed up", how, r.Table, r.SummedRows, r.SourceRows)
				}
			}
		}
	}
	byHow(0, nil) // nothing is written: every sum must be the same
	want := b.plant(size(2, 10))
	b.write(size(200, 900))
	byHow(3, want)
	if _, left := b.verified(0, "repair"); len(left) > 0 {
		t.Errorf("repair leaves %q", left)
	}
	if _, left := b.verified(0, "verify"); len(left) > 0 {
		t.Errorf("after repair %q differ", left)
	}

	// A row whose version somebody has set to a time to come wins over whatever the source says: repair says so, and mends the row once
	// its version is a past one.
	exec1(t, db0, "UPDATE shop.exact SET n = -5, _sluice_version = 9000000000000000 WHERE id = 50")
	code, out, errs := b.run("repair", "--config", b.config, "--table", "shop.exact")
	if code != 3 || !strings.Contains(out, "id=50  different") || !strings.Contains(errs, "is the version of the target's row above the present time") {
		t.Errorf("repair of a row of a time to come: exit %d\n%s%s", code, out, errs)
	}
	exec1(t, db0, "UPDATE shop.exact SET _sluice_version = 0 WHERE id = 50")
	if _, left := b.verified(0, "repair", "--table", "shop.exact"); len(left) > 0 {
		t.Errorf("repair leaves %q", left)
	}
}

// cutOff stops a verify in the middle, which goes on from there: nothing is found twice, and nothing left out.
func (b *verifyBed) cutOff(want []string) {
	b.t.Helper()
	state := filepath.Join(b.dir, "state.json")
	p := b.begun("verify", "--config", b.config, "--state", state, "--limit", "1000", "--rate", fmt.Sprint(b.rows/8)) // so that most is left at the first save
	rows := int64(0)
	eventually(b.t, size(time.Minute, 10*time.Minute), "a part is compared", func() bool {
		var soFar verify.State
		if text, err := os.ReadFile(state); err == nil && json.Unmarshal(text, &soFar) == nil {
			rows = 0
			for _, t := range soFar.Tables {
				rows += t.Result.SourceRows
			}
		}
		return rows > 0
	})
	if err := p.Process.Signal(os.Interrupt); err != nil {
		b.t.Fatal(err)
	}
	if err := p.Wait(); err == nil || p.ProcessState.ExitCode() != 1 {
		b.t.Fatalf("stopped in the middle: %v", err)
	}
	report, found := b.verified(3, "verify", "--state", state)
	if diff := cmp.Diff(want, found); diff != "" {
		b.t.Errorf("cut off after %d rows and gone on with (-planted +found):\n%s", rows, diff)
	}
	all, there := int64(0), int64(0)
	for _, t := range report.Tables {
		all += t.SourceRows
		there += b.count(t.Table)
	}
	if rows == 0 || rows >= all || all < there*9/10 {
		b.t.Errorf("cut off after %d rows, %d compared in all, %d are there", rows, all, there)
	}
}

// count is how many rows a table of the source has now: the writers delete some, the more the longer they write.
func (b *verifyBed) count(table string) (n int64) {
	b.t.Helper()
	if err := b.source.QueryRow("SELECT COUNT(*) FROM " + table).Scan(&n); err != nil {
		b.t.Fatal(err)
	}
	return n
}

// begun starts a command of the sink beside the test.
func (b *verifyBed) begun(args ...string) *exec.Cmd {
	b.t.Helper()
	cmd := exec.Command(binary(b.t, "sluice-sink-mysql", ""), args...)
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	return cmd
}

// TestVerifySearch holds an index, which cannot be read by key range, against its source: in one pass, and in so many that each holds
// few keys.
func TestVerifySearch(t *testing.T) {
	needs(t, "mysql-9.7", "elasticsearch")
	b := newVerifyBed(t, size(3_000, 100_000), size(4_000, 100_000))
	search, err := testbed.StartSearch(t.Context(), testbed.SearchOptions{Kind: testbed.Elasticsearch})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { search.Stop() })
	b.more(b.searchConfig("search", search.URL()), "")
	b.start("search", "sluice-sink-elasticsearch", "", []string{"--config", b.config})
	b.write(50) // the group's offsets come once a second: each look takes as long
	document := func(method, table, id, body string) {
		t.Helper()
		url := search.URL() + "/shop.shop." + table + "/_doc/" + id + "?version=" + fmt.Sprint(time.Now().UnixMicro()-3600_000_000) + "&version_type=external_gte"
		if method == "DELETE" {
			url = search.URL() + "/shop.shop." + table + "/_doc/" + id
		}
		request, err := http.NewRequest(method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if text, _ := io.ReadAll(response.Body); response.StatusCode >= 300 {
			t.Fatalf("%s %s: %s", method, url, text)
		}
	}
	if _, found := b.verified(0, "verify"); len(found) > 0 {
		t.Fatalf("nothing was planted, and %q was found", found)
	}
	document("PUT", "exact", "20000000", `{"id": 20000000, "owner": 1, "note": "left over"}`)
	document("DELETE", "exact", "12", "")
	document("DELETE", "customers", "1000000", "")
	want := []string{"shop.customers 1000000 missing", "shop.exact 12 missing", "shop.exact 20000000 extra"}
	for _, keys := range []string{"1000000", "700"} {
		report, found := b.verified(3, "verify", "--keys", keys)
		if diff := cmp.Diff(want, found); diff != "" {
			t.Errorf("--keys %s (-planted +found):\n%s", keys, diff)
		}
		for _, r := range report.Tables {
			t.Logf("%s: %d rows, %d documents, %d looked at again, %.1f s", r.Table, r.SourceRows, r.TargetRows, r.LookedAgain, r.Seconds)
			if least := b.count(r.Table) * 9 / 10; r.SourceRows < least || r.TargetRows < least {
				t.Errorf("--keys %s: %s: %d and %d rows, want %d at least", keys, r.Table, r.SourceRows, r.TargetRows, least)
			}
		}
	}
	if _, left := b.verified(0, "repair"); len(left) > 0 {
		t.Errorf("repair leaves %q", left)
	}
	if _, left := b.verified(0, "verify"); len(left) > 0 {
		t.Errorf("after repair %q differ", left)
	}
}

// images checks that the report shows both rows.
func (b *verifyBed) images(report *verify.Report) {
	b.t.Helper()
	for _, t := range report.Tables {
		for _, d := range t.Rows {
			if t.Table != "shop.exact" || d.Kind != verify.Different {
				continue
			}
			if len(d.Target) != 1 || d.Source == nil || len(d.Belongs) != 1 || d.Target[0].Shard != d.Belongs[0] || d.Target[0].Version == 0 {
				b.t.Errorf("%v: %+v", d.Key, d)
				continue
			}
			for _, c := range d.Columns {
				source, target := d.Source[c], d.Target[0].Columns[c]
				if source != nil && target != nil && *source == *target {
					b.t.Errorf("%v: column %s is said to differ and is shown as %q twice", d.Key, c, *source)
				}
			}
		}
	}
}
