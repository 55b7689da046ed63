package system

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
)

// deadLetter is what the test reads of dead list -o json.
type deadLetter struct {
	Letter                     int64
	Topic, Key, Reason, Closed string
	Causes                     []string
	Tries                      int
	FirstSeen                  time.Time `json:"first_seen"`
	Seen                       time.Time
}

// letters lists the dead letters once there are so many.
func (b *verifyBed) letters(want int, flags ...string) (list []deadLetter) {
	b.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		code, out, errs := b.run(append([]string{"dead", "list", "--config", b.config, "-o", "json"}, flags...)...)
		list = nil
		if err := json.Unmarshal([]byte(out), &list); code != 0 || err != nil {
			b.t.Fatalf("dead list: exit %d, %v\n%s%s", code, err, out, errs)
		}
		if len(list) == want || time.Now().After(deadline) {
			break
		}
	}
	if len(list) != want {
		b.t.Fatalf("%d dead letters, want %d: %+v", len(list), want, list)
	}
	return list
}

// done runs a command that must end with 0 and returns its output.
func (b *verifyBed) done(args ...string) string {
	b.t.Helper()
	code, out, errs := b.run(slices.Insert(args, 2, "--config", b.config)...)
	if code != 0 {
		b.t.Fatalf("%v: exit %d\n%s%s", args, code, out, errs)
	}
	return out
}

// applied waits until the target shows what the source does.
func (b *verifyBed) applied() {
	b.t.Helper()
	if code, out, errs := b.run("wait", "--config", b.config, "--now", "--timeout", size("1m", "20m")); code != 0 {
		b.t.Fatalf("wait: exit %d\n%s%s", code, out, errs)
	}
}

// TestDeadLetters: rows that do not fit into the target's column are set aside, are listed and shown, come again when they are retried, and
// are in the target as the source has them by then.
func TestDeadLetters(t *testing.T) {
	b := newVerifyBed(t, 200, 50)
	m0, db0 := b.mysql(testbed.MySQLOptions{})
	b.shards = []*sql.DB{db0}
	if err := b.shop.Empty(t.Context(), db0); err != nil {
		t.Fatal(err)
	}
	b.more(b.shardsConfig("shards", m0), "  - {table: shop.exact, by: owner, rule: modulus}\non_error: [{topics: shop.shop.exact, do: dead_letter}]\n")
	b.sink = b.start("shards", "sluice-sink-mysql", "", []string{"--config", b.config})
	b.applied()
	if out := b.done("dead", "list"); out != "no dead letters\n" {
		t.Errorf("before any: %q", out)
	}

	exec1(t, db0, "ALTER TABLE shop.exact MODIFY note VARCHAR(12)")
	exec1(t, b.source, "UPDATE shop.exact SET note = 'a note with many letters' WHERE id IN (3, 4)")
	first := b.letters(2)
	for i, l := range first {
		if l.Topic != "shop.shop.exact" || l.Key != fmt.Sprintf("id=%d", 3+i) && l.Key != fmt.Sprintf("id=%d", 4-i) || l.Tries != 1 || len(l.Causes) < 2 || !strings.Contains(l.Reason, "note") {
			t.Errorf("letter %+v", l)
		}
	}
	number := fmt.Sprint(first[0].Letter)
	if out := b.done("dead", "show", number); !strings.Contains(out, `"note":"a note with many letters"`) || !strings.Contains(out, "because") {
		t.Errorf("shown: %s", out)
	}
	if out := b.done("dead", "retry", "--dry-run", number); !strings.Contains(out, "would send to shop.signal") {
		t.Errorf("dry run: %s", out)
	}

	// Retried too early it is refused once more, which counts.
	b.done("dead", "retry", number)
	again := b.letters(2)
	if l := again[1]; l.Key != first[0].Key || l.Tries != 2 || !l.FirstSeen.Equal(first[0].Seen) {
		t.Errorf("refused again: %+v, at first %+v", l, first[0])
	}
	if all := b.letters(3, "--all"); all[0].Closed != "retried" {
		t.Errorf("all letters: %+v", all)
	}

	exec1(t, db0, "ALTER TABLE shop.exact MODIFY note VARCHAR(40)")
	exec1(t, b.source, "UPDATE shop.exact SET note = 'another' WHERE id = 3", "DELETE FROM shop.exact WHERE id = 4")
	b.done("dead", "retry", "--all")
	b.letters(0)
	b.applied()
	b.verified(0, "verify", "--table", "shop.exact")

	exec1(t, db0, "ALTER TABLE shop.exact MODIFY note VARCHAR(12)")
	exec1(t, b.source, "UPDATE shop.exact SET note = 'a note with many letters' WHERE id = 5")
	b.done("dead", "drop", fmt.Sprint(b.letters(1)[0].Letter))
	b.letters(0)
	exec1(t, db0, "ALTER TABLE shop.exact MODIFY note VARCHAR(40)")
	b.applied()
	if _, found := b.verified(3, "verify", "--table", "shop.exact"); len(found) != 1 || found[0] != "shop.exact 5 different note" {
		t.Errorf("after the letter was dropped verify finds %q", found)
	}
	for _, bad := range [][]string{{"dead"}, {"dead", "burn"}, {"dead", "drop"}, {"dead", "show", "4711"}, {"dead", "retry", "x"}, {"dead", "drop", "--all", "1"}} {
		if code, out, errs := b.run(slices.Insert(bad, min(2, len(bad)), "--config", b.config)...); code != 2 || !strings.Contains(errs, "error: ") {
			t.Errorf("%v: exit %d\n%s%s", bad, code, out, errs)
		}
	}
}
