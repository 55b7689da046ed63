package system

import (
	"context"
	"database/sql"
	varint "encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/source"
	"github.com/sluice-cdc/sluice/source/crawl"
	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// ledger is a workload of one connection that knows which change events must come of it, key by key: what a source
// publishes twice, or never, shows as a difference.
type ledger struct {
	db     *sql.DB
	random *rand.Rand
	cold   int              // rows 1 to cold are never touched
	rows   map[int64]bool   // the others that are there
	next   int64            // the next new id
	want   map[int64]string // the operations that each key must have in its topic, in order, crawled ones left out
}

// newLedger makes shop.ledger with that many rows that stay as they are. Nothing of it is expected in the topic but reads.
func newLedger(t testing.TB, db *sql.DB, cold int) *ledger {
	t.Helper()
	exec1(t, db, "CREATE DATABASE IF NOT EXISTS shop",
		"CREATE TABLE shop.ledger (id BIGINT NOT NULL PRIMARY KEY, n INT NOT NULL, note VARCHAR(200) NOT NULL)",
		fmt.Sprintf("INSERT INTO shop.ledger WITH RECURSIVE seq(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq WHERE n < %d) "+
			"SELECT /*+ SET_VAR(cte_max_recursion_depth = 10000000) */ n, 0, REPEAT('cold', 10) FROM seq", cold))
	return &ledger{
		db: db, random: rand.New(rand.NewPCG(seed(t), 1)), cold: cold, rows: map[int64]bool{}, next: int64(cold) + 1,
		want: map[int64]string{},
	}
}

// write makes one transaction of about so many rows.
func (l *ledger) write(ctx context.Context, rows int) error {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	want, there, next := maps.Clone(l.want), maps.Clone(l.rows), l.next
	run := func(format string, args ...any) {
		if err == nil {
			_, err = tx.ExecContext(ctx, fmt.Sprintf(format, args...))
		}
	}
	var values []string
	for range rows/2 + 1 {
		values = append(values, fmt.Sprintf("(%d, 1, 'made %s')", next, strings.Repeat("x", l.random.IntN(100))))
		want[next] += "c"
		there[next] = true
		next++
	}
	run("INSERT INTO shop.ledger VALUES %s", strings.Join(values, ","))
	for id := range l.rows { // some of those that were there before
		if rows--; rows < 0 {
			break
		}
		switch l.random.IntN(4) {
		case 0:
			run("DELETE FROM shop.ledger WHERE id = %d", id)
			want[id] += "d"
			delete(there, id)
		case 1:
			run("UPDATE shop.ledger SET id = %d WHERE id = %d", next, id)
			want[id] += "d"
			want[next] += "c"
			delete(there, id)
			there[next] = true
			next++
		default:
			run("UPDATE shop.ledger SET n = n + 1 WHERE id = %d", id)
			want[id] += "u"
		}
	}
	if err == nil {
		err = tx.Commit()
	}
	if err == nil {
		l.want, l.rows, l.next = want, there, next
	}
	return err
}

// during writes small and large transactions until stop is called, which returns how many were written.
func (l *ledger) during(t testing.TB, largest int, pause time.Duration) (stop func() int) {
	ctx, cancel := context.WithCancel(t.Context())
	done, n := make(chan error, 1), 0
	go func() {
		for ctx.Err() == nil {
			rows := 1 + l.random.IntN(3)
			if n%5 == 4 {
				rows = largest
			}
			if err := l.write(context.WithoutCancel(ctx), rows); err != nil {
				done <- err
				return
			}
			n++
			time.Sleep(pause)
		}
		done <- nil
	}()
	return func() int {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Fatalf("ledger: %v", err)
		}
		return n
	}
}

// check holds the topic against the ledger: no event twice, none missing, and each row that was never touched read once by
// each crawl.
func (l *ledger) check(t testing.TB, h *history, crawls int) {
	t.Helper()
	differ := 0
	show := func(format string, args ...any) {
		if differ++; differ <= 8 {
			t.Errorf(format, args...)
		}
	}
	got := map[int64]string{}
	for key, ops := range h.events {
		id, _ := varint.Varint([]byte(key[5:]))
		got[id] = ops
	}
	for id, want := range l.want {
		if ops := strings.ReplaceAll(got[id], "r", ""); ops != want {
			show("key %d: the topic has %q, it should be %q", id, got[id], want)
		}
	}
	for id, ops := range got {
		if id > int64(l.cold) {
			if l.want[id] == "" {
				show("key %d: %q in the topic, nothing was written", id, ops)
			}
		} else if crawls >= 0 && ops != strings.Repeat("r", crawls) {
			show("key %d: %q in the topic, %d crawls should have read it", id, ops, crawls)
		}
	}
	if differ > 0 {
		t.Errorf("ledger: %d differences", differ)
	}
	events := 0
	for _, want := range l.want {
		events += len(want)
	}
	t.Logf("ledger: %d events as they should be, over %d keys; %d records in the topic, ops %v", events, len(l.want), h.records, opsText(h.ops))
}

func opsText(ops map[change.Op]int) string {
	var list []string
	for op, n := range ops {
		list = append(list, fmt.Sprintf("%s %d", op, n))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// cli runs the operator's tool and returns what it printed.
func (b *bed) cli(args ...string) string {
	b.t.Helper()
	p := rig.New("sluice", b.dir+"/sluice.log", binary(b.t, "sluice", ""), args)
	before := len(p.Log())
	if err := p.Start(); err != nil {
		b.t.Fatal(err)
	}
	if err, ok := p.Wait(20 * time.Second); err != nil || !ok {
		b.t.Fatalf("sluice %v: %v\n%s", args, err, p.Log()[before:])
	}
	return p.Log()[before:]
}

// begin starts a source that a test may kill, stop or see fail; tags as for binary.
func (b *bed) begin(name, tags, config string, args []string, env ...string) *rig.Process {
	b.t.Helper()
	return b.start(name, "sluice-source", tags, append([]string{"--config", config}, args...), env...)
}

// says waits until a process has logged the text, and returns its log since it was started last.
func (b *bed) says(p *rig.Process, within time.Duration, text string) {
	b.t.Helper()
	eventually(b.t, within, p.Name+" says: "+text, func() bool { return strings.Contains(p.Log(), text) })
}

// ends waits for a process's end and returns its exit code. The limit is at least patience.
func (b *bed) ends(p *rig.Process, within time.Duration) int {
	b.t.Helper()
	within = max(within, patience)
	if _, ok := p.Wait(within); !ok {
		b.t.Fatalf("%s did not end within %v\n%s", p.Name, within, p.LogTail(20))
	}
	return p.ExitCode()
}

// caughtUp waits until a live source has committed all that the server's binlog holds, and no crawl runs.
func (b *bed) caughtUp(m *testbed.MySQL, config string, within time.Duration) {
	b.t.Helper()
	db, err := m.Open("app", "")
	if err != nil {
		b.t.Fatal(err)
	}
	defer db.Close()
	facts, err := mysql.ReadFacts(b.t.Context(), db)
	if err != nil {
		b.t.Fatal(err)
	}
	said := ""
	defer func() {
		if b.t.Failed() {
			b.t.Log(said)
		}
	}()
	eventually(b.t, within, "the source has published everything", func() bool {
		file, offset, _, err := facts.BinlogStatus(b.t.Context(), db)
		if err != nil {
			b.t.Fatal(err)
		}
		end := change.Position{File: file, Offset: offset}
		said = fmt.Sprintf("the server is at %s", end)
		for _, s := range b.statuses(config) {
			var r source.Report
			if json.Unmarshal(s.Report, &r) != nil || s.Role != kafka.RoleSource || time.Since(time.UnixMilli(s.Millis)) > 3*time.Second {
				continue
			}
			said += fmt.Sprintf("; the source at %s, %s, crawls", r.Position, r.Doing)
			busy := r.Doing != ""
			for _, c := range r.Crawls {
				said += " " + c.State
				busy = busy || !crawl.Ended(c.State)
			}
			if !busy && r.Position.Compare(end) >= 0 {
				return true
			}
		}
		return false
	})
}

// crawlAgain asks for a crawl and waits for its end.
func (b *bed) crawlAgain(p *rig.Process, config string, within time.Duration, args ...string) {
	b.t.Helper()
	said := strings.Fields(b.cli(append([]string{"crawl", "start", "--config", config}, args...)...))
	if len(said) < 2 || said[0] != "crawl" {
		b.t.Fatalf("sluice crawl start said %q", said)
	}
	b.says(p, within, `msg="crawl is over" crawl=`+said[1])
}

// statuses returns what the processes of the source's name last said of themselves.
func (b *bed) statuses(config string) []kafka.Status {
	b.t.Helper()
	var all struct{ Processes []kafka.Status }
	if err := json.Unmarshal([]byte(b.cli("status", "-o", "json", "--config", config)), &all); err != nil {
		b.t.Fatal(err)
	}
	return all.Processes
}
