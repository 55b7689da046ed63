package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// partsMany is how many parts of one partition make the server slow; by default it delays inserts from 1000 on, old ones from 150.
const partsMany = 100

// Check looks at the server without changing anything.
func (t *StateTarget) Check(ctx context.Context, _ string, tables []*change.Table) ([]sink.Finding, error) {
	found, f, err := t.checkServer(ctx)
	if err != nil || f == nil {
		return found, err
	}
	if !f.modern {
		found = append(found, sink.Finding{Level: sink.Warning, Where: t.where(), What: "ClickHouse " + f.said + " does not know deleted rows",
			Why:  "a query that does not ask for it shows rows that are deleted at the source; dates before 1970, after 2106 and below the second have no type",
			Mend: "ask FROM table FINAL WHERE " + columnDeleted + " = 0; or use 23.2 or later, and begin anew"})
	}
	return t.checkTables(ctx, tables, found, func(source string, table *change.Table) *wanted { return t.wanted(*f, source, table) })
}

// Check looks at the server without changing anything.
func (t *HistoryTarget) Check(ctx context.Context, _ string, tables []*change.Table) ([]sink.Finding, error) {
	found, f, err := t.checkServer(ctx)
	if err != nil || f == nil {
		return found, err
	}
	return t.checkTables(ctx, tables, found, func(source string, table *change.Table) *wanted {
		w := t.wanted(source, table)
		w.fill(*f, &t.config)
		return w
	})
}

// checkServer asks the server who it is, and whether the account may write. f is nil where it does not answer.
func (b *base) checkServer(ctx context.Context) (found []sink.Finding, f *form, err error) {
	known, err := b.ask(ctx)
	if err != nil {
		found, err = b.finding(err)
		return found, nil, err
	}
	found = append(found, sink.Finding{Level: sink.Good, Where: b.where(), What: "ClickHouse " + known.said + " answers"})
	readonly, err := b.client.text(ctx, "SELECT value FROM system.settings WHERE name = 'readonly'")
	if err == nil && strings.TrimSpace(readonly) != "0" {
		found = append(found, sink.Finding{Level: sink.Wrong, Where: b.where(), What: "the account may only read (readonly = " + strings.TrimSpace(readonly) + ")",
			Why: "nothing can be inserted", Mend: "give " + b.config.User + " a profile without readonly"})
	}
	is, err := b.client.text(ctx, "SELECT count() FROM system.databases WHERE name = "+quoteText(b.config.Database))
	if err == nil && strings.TrimSpace(is) == "0" && !b.config.CreateTables {
		found = append(found, sink.Finding{Level: sink.Wrong, Where: b.where(), What: "there is no database " + b.config.Database,
			Why: "every topic would stop", Mend: "CREATE DATABASE " + quoteName(b.config.Database) + ", or set clickhouse.create_tables: true"})
	}
	return append(found, b.checkParts(ctx)...), &known, nil
}

// checkParts looks for tables that the server cannot merge as fast as they are written.
func (b *base) checkParts(ctx context.Context) []sink.Finding {
	lines, err := b.client.lines(ctx, fmt.Sprintf("SELECT table, partition, count() AS n FROM system.parts WHERE active AND database = %s GROUP BY table, partition HAVING n > %d ORDER BY n DESC LIMIT 3",
		quoteText(b.config.Database), partsMany))
	if err != nil {
		return nil // not every account may see them
	}
	var found []sink.Finding
	for _, f := range lines {
		if n, err := strconv.Atoi(f[2]); err == nil {
			found = append(found, sink.Finding{Level: sink.Warning, Where: b.where(), What: fmt.Sprintf("%s has %d parts in partition %s", f[0], n, f[1]),
				Why: "the server delays inserts, and then refuses them, where it cannot merge as fast as parts come", Mend: "raise clickhouse.insert_wait, lower hash_partitions, look at the server's disk"})
		}
	}
	return found
}

// checkTables holds tables that are there against what they should be, where the source is not part of the name; else Prepare does.
func (b *base) checkTables(ctx context.Context, tables []*change.Table, found []sink.Finding, wanted func(string, *change.Table) *wanted) ([]sink.Finding, error) {
	for _, table := range tables {
		if b.config.tableName("", table.TableName) != b.config.tableName("x", table.TableName) {
			continue
		}
		x, err := b.look(ctx, b.config.tableName("", table.TableName))
		if err == nil && x != nil {
			source := ""
			if x.owner != nil {
				source = x.owner.Source
			}
			w := wanted(source, table)
			if err = x.check(w, b.where()); err == nil {
				_, err = b.steps(x, w)
			}
		}
		if err == nil {
			continue
		}
		more, err := b.finding(err)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

// finding makes a line of doctor of a problem.
func (b *base) finding(err error) ([]sink.Finding, error) {
	var p *change.Problem
	if !errors.As(err, &p) {
		return nil, err
	}
	f := sink.Finding{Level: sink.Wrong, Where: b.where(), What: err.Error(), Why: p.Why, Mend: p.Mend}
	if f.Why == "" {
		f.Why = "nothing is applied until it is mended"
	}
	return []sink.Finding{f}, nil
}
