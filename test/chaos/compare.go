package chaos

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/testbed/rig"
	"github.com/sluice-cdc/sluice/verify"
)

// catchUp bounds the wait for the target after the faults have ended. A chaos of minutes leaves much to be done.
const catchUp = 10 * time.Minute

// different is what a comparison has found: it stops the run.
type different struct {
	how  string
	keys map[string][][]string // by table, the first of them
	said string
}

func (d *different) Error() string { return d.how + ": " + d.said }

// compare holds every table against all shards together, with the sessions held and a read lock on the primary, once the target
// has applied everything.
func (r *run) compare(ctx context.Context) error {
	began := time.Now()
	release := r.sessions.hold()
	defer release()
	primary, _ := r.bed.pair()
	db, err := primary.Open("app", database)
	if err != nil {
		return err
	}
	defer db.Close()
	lock, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("lock the primary: %w", err)
	}
	defer lock.Close()
	if _, err := lock.ExecContext(ctx, "FLUSH TABLES WITH READ LOCK"); err != nil {
		return fmt.Errorf("lock the primary: %w", err)
	}
	defer lock.ExecContext(context.Background(), "UNLOCK TABLES") // goes with the connection anyway
	if err := r.applied(ctx); err != nil {
		return err
	}
	waited := time.Since(began)
	if err := r.equal(ctx, db); err != nil {
		return err
	}
	r.comparisons++
	r.out.note("compared under a read lock: equal, %d rows so far (everything was applied after %.1fs, read in %.1fs)",
		r.compared, waited.Seconds(), (time.Since(began) - waited).Seconds())
	return errors.Join(r.programs.found(), r.programs.crashes())
}

// applied waits until the target shows what the primary does.
func (r *run) applied(ctx context.Context) error {
	began := time.Now()
	for {
		code, out, errs, err := r.programs.command(ctx, "sluice-sink-mysql", "wait", "--now", "--timeout", "1m", "--config", r.programs.sinkConfig)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && code == 0:
			return nil
		case r.programs.found() != nil:
			return r.programs.found()
		case err != nil || code != 1 && !failedOver(errs) || time.Since(began) > catchUp:
			return fmt.Errorf("the target has not caught up %s after the faults ended: wait ended with %d: %v\n%s%s",
				time.Since(began).Round(time.Second), code, err, out, errs)
		}
		r.out.note("still waiting for the target: %s", reason(errs))
		if err := r.bed.tend(ctx); err != nil {
			return err
		}
		pause(ctx, time.Second)
	}
}

// equal compares contents, and the bank's books on both sides.
func (r *run) equal(ctx context.Context, db *sql.DB) error {
	source := rig.Place{Name: "source", DB: db, Database: database}
	var targets []rig.Place
	for i, m := range r.bed.shards {
		shard, err := m.Open("app", database)
		if err != nil {
			return err
		}
		defer shard.Close()
		targets = append(targets, rig.Place{Name: fmt.Sprintf("s%d", i), DB: shard, Database: database})
	}
	found := &different{how: "under the read lock", keys: map[string][][]string{}}
	for _, t := range tablesOf(r.settings.Source) {
		c, err := rig.Compare(ctx, source, targets, t.name)
		if err != nil {
			return fmt.Errorf("compare %s: %w", t.name, err)
		}
		r.compared += int64(c.Source)
		r.differences += int64(c.Differences)
		for _, d := range c.Examples {
			found.keys[t.name] = append(found.keys[t.name], keyTexts(d.Key))
			found.said += fmt.Sprintf("\n  %s key %v\n    source: %s\n    target: %s", t.name, keyTexts(d.Key), d.Source, d.Target)
		}
		if c.Differences > 0 {
			found.said += fmt.Sprintf("\n  %s: %d differences in %d rows, %v at the target", t.name, c.Differences, c.Source, c.Targets)
		}
	}
	if found.said != "" {
		return found
	}
	return r.books(ctx, source, targets)
}

// books are in order when no money was made or lost.
func (r *run) books(ctx context.Context, source rig.Place, targets []rig.Place) error {
	want := int64(r.settings.size().accounts) * openingBalance
	sum := func(places ...rig.Place) (all int64, err error) {
		for _, p := range places {
			var one int64
			if err := p.DB.QueryRowContext(ctx, "SELECT COALESCE(SUM(balance), 0) FROM accounts").Scan(&one); err != nil {
				return 0, fmt.Errorf("add up the accounts of %s: %w", p.Name, err)
			}
			all += one
		}
		return all, nil
	}
	at, err := sum(source)
	if err != nil {
		return err
	}
	there, err := sum(targets...)
	if err != nil {
		return err
	}
	if at != want {
		return fmt.Errorf("the test itself is wrong: the accounts at the source add up to %d, not %d", at, want)
	}
	if there != want {
		r.differences++
		return &different{how: "the bank's books", said: fmt.Sprintf("the accounts add up to %d at the source and to %d at the target", at, there)}
	}
	return nil
}

// keyTexts are a key's values out of rig's form of it.
func keyTexts(key string) (texts []string) {
	for key != "" {
		if rest, null := strings.CutPrefix(key, "N;"); null {
			texts, key = append(texts, "NULL"), rest
			continue
		}
		var length int
		if _, err := fmt.Sscanf(key, "%d:", &length); err != nil {
			return append(texts, key)
		}
		at := strings.IndexByte(key, ':') + 1
		if at+length+1 > len(key) {
			return append(texts, key)
		}
		texts, key = append(texts, key[at:at+length]), key[at+length+1:]
	}
	return texts
}

// verifyLive compares by the product's own command, while sessions and mild faults go on. A fault that comes in its way is no
// difference: it is asked again.
func (r *run) verifyLive(ctx context.Context) error {
	for {
		began := time.Now()
		code, out, errs, err := r.programs.command(ctx, "sluice-sink-mysql", "verify", "--config", r.programs.sinkConfig, "-o", "json", "--timeout", "1m")
		if ctx.Err() != nil {
			r.verifyRetries++
			r.out.note("verify, live: not over after %.1fs, and cut off:\n%s", time.Since(began).Seconds(), tail(errs, 12))
			return nil
		}
		report := &verify.Report{}
		unreadable := json.Unmarshal([]byte(out), report)
		var rows int64
		if unreadable == nil {
			for _, t := range report.Tables {
				rows += t.SourceRows
			}
		}
		switch {
		case err == nil && code == 0 && unreadable == nil:
			r.compared += rows
			r.verified++
			r.out.note("verify, live: equal, %d rows in %.1fs", rows, time.Since(began).Seconds())
			return nil
		case code == 3:
			r.differences += max(report.Differences, 1)
			return differencesOf(report, out)
		case err != nil || code != 1 && !failedOver(errs):
			return fmt.Errorf("verify: exit %d: %v\n%s", code, err, errs)
		}
		r.verifyRetries++
		r.out.note("verify, live: could not tell (%s)", reason(errs))
		pause(ctx, 2*time.Second)
	}
}

// failedOver says that a command was led to the new primary before the source was, which the checkpoint shows a moment later.
func failedOver(errs string) bool { return strings.Contains(errs, "the source reads the server ") }

func differencesOf(report *verify.Report, out string) error {
	found := &different{how: "verify, live", keys: map[string][][]string{}, said: "\n" + out}
	for _, t := range report.Tables {
		name := strings.TrimPrefix(t.Table, database+".")
		for _, d := range t.Rows {
			if len(found.keys[name]) < 10 {
				found.keys[name] = append(found.keys[name], d.Key)
			}
		}
	}
	return found
}

// tail are the last lines of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// reason is the line of a command's output that says why it failed.
func reason(text string) string {
	last := ""
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(last, "error:") || strings.HasPrefix(line, "error:") {
			last = strings.TrimSpace(line)
		}
	}
	return last
}
