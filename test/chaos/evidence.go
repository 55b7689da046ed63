package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/test/history"
	"github.com/sluice-cdc/sluice/test/history/feed"
	"github.com/sluice-cdc/sluice/testbed"
)

// evidenceTimeout bounds each part of the evidence.
const evidenceTimeout = 5 * time.Minute

// keepEvidence leaves everything that is known of a fault in a folder and returns its path. What cannot be had any more is
// named in place of it.
func (r *run) keepEvidence(err error) string {
	dir, e := filepath.Abs(r.evidenceName())
	if e == nil {
		e = os.MkdirAll(dir, 0o755)
	}
	if e != nil {
		return fmt.Sprintf("(nowhere: %v)", e)
	}
	write := func(name string, fill func(w io.Writer) error) {
		f, e := os.Create(filepath.Join(dir, name))
		if e != nil {
			r.out.note("evidence %s: %v", name, e)
			return
		}
		defer f.Close()
		if e := fill(f); e != nil {
			fmt.Fprintf(f, "\nthe rest cannot be had: %v\n", e)
		}
	}
	write("what.txt", func(w io.Writer) error {
		_, e := fmt.Fprintf(w, "to run it again: %s\n\n%v\n", r.settings, err)
		return e
	})
	if r.programs != nil {
		if e := r.programs.stop(); e != nil { // nothing moves any more
			r.out.note("evidence: %v", e)
		}
	}
	found := &different{}
	if errors.As(err, &found) && r.history != nil {
		for _, table := range slices.Sorted(maps.Keys(found.keys)) {
			keys := found.keys[table]
			write("rows-"+table+".txt", func(w io.Writer) error { return r.rowsOf(w, table, keys) })
			write("topic-"+table+".txt", func(w io.Writer) error { return r.topicOf(w, table, keys) })
		}
	}
	if r.bed != nil && r.bed.shards != nil {
		write("sink-tables.txt", r.sinkTables)
	}
	if r.history != nil { // the changes are counted by it too
		write("binlog.txt", func(w io.Writer) error { return r.binlogOf(w, found.keys) })
	}
	if r.bed != nil {
		for name, path := range r.bed.logs() {
			write(name, func(w io.Writer) error { return copyFile(w, path) })
		}
	}
	return dir
}

func copyFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// rowsOf writes the rows of the keys as each server has them.
func (r *run) rowsOf(w io.Writer, name string, keys [][]string) error {
	ctx, cancel := context.WithTimeout(context.Background(), evidenceTimeout)
	defer cancel()
	tables := tablesOf(r.settings.Source)
	t := tables[slices.IndexFunc(tables, func(t table) bool { return t.name == name })]
	primary, replica := r.bed.pair()
	places := map[string]*testbed.MySQL{"0 source": primary, "1 replica": replica}
	for i, m := range r.bed.shards {
		places[fmt.Sprintf("2 shard s%d", i)] = m
	}
	for _, key := range keys {
		var conditions []string
		for i, column := range t.key {
			conditions = append(conditions, fmt.Sprintf("%s = %s", column, key[min(i, len(key)-1)]))
		}
		for _, place := range slices.Sorted(maps.Keys(places)) {
			columns := "*"
			if strings.Contains(place, "shard") {
				columns = "*, _sluice_version, _sluice_source" // they are invisible
			}
			fmt.Fprintf(w, "%s %v at %s:\n", name, key, place[2:])
			if err := printRows(ctx, w, places[place], fmt.Sprintf("SELECT %s FROM %s WHERE %s", columns, name, strings.Join(conditions, " AND "))); err != nil {
				fmt.Fprintf(w, "    %v\n", err)
			}
		}
	}
	return nil
}

// sinkTables writes what the sink itself keeps in each shard: debts, progress, owners.
func (r *run) sinkTables(w io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), evidenceTimeout)
	defer cancel()
	for i, m := range r.bed.shards {
		for _, name := range []string{"_sluice_debt", "_sluice_progress", "_sluice_table"} {
			fmt.Fprintf(w, "s%d %s:\n", i, name)
			if err := printRows(ctx, w, m, "SELECT * FROM "+name); err != nil {
				fmt.Fprintf(w, "    %v\n", err)
			}
		}
	}
	return nil
}

func printRows(ctx context.Context, w io.Writer, m *testbed.MySQL, query string) error {
	db, err := m.Open("app", database)
	if err != nil {
		return err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	values, into := make([]sql.RawBytes, len(names)), make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		for i, name := range names {
			text := "NULL"
			if values[i] != nil {
				text = fmt.Sprintf("%.200q", values[i])
			}
			fmt.Fprintf(w, "    %s=%s", name, text)
		}
		fmt.Fprintln(w)
	}
	return rows.Err()
}

// topicOf writes the whole history of the keys in their topic.
func (r *run) topicOf(w io.Writer, name string, keys [][]string) error {
	ctx, cancel := context.WithTimeout(context.Background(), evidenceTimeout)
	defer cancel()
	d, err := feed.NewDecoder(r.bed.registryDirect())
	if err != nil {
		return err
	}
	wanted := keySet(keys)
	return feed.Records(ctx, r.history.topic(name), func(record *kgo.Record) error {
		key, err := d.Key(ctx, record)
		if err != nil || !wanted[keyText(key)] {
			return err
		}
		version, _ := kafka.RecordVersion(record)
		fmt.Fprintf(w, "%s [%d] offset %d %s version %d", keyText(key), record.Partition, record.Offset, record.Timestamp.UTC().Format(time.RFC3339Nano), version)
		for _, h := range record.Headers {
			fmt.Fprintf(w, " %s=%x", h.Key, h.Value)
		}
		if record.Value == nil {
			fmt.Fprintln(w, " tombstone")
			return nil
		}
		_, e, err := d.Value(ctx, record)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, " %s\n    before %s\n    after  %s\n", e.Op, rowText(e.Before), rowText(e.After))
		return nil
	})
}

// binlogOf writes the events of the keys from the primary's binlog.
func (r *run) binlogOf(w io.Writer, keys map[string][][]string) error {
	ctx, cancel := context.WithTimeout(context.Background(), evidenceTimeout)
	defer cancel()
	primary, _ := r.bed.pair()
	wanted := map[string]map[string]bool{}
	for table, list := range keys {
		wanted[table] = keySet(list)
	}
	var changes int64
	b := r.history.binlog(primary)
	b.Count = func(change.TableName) { changes++ }
	b.Told = func(t change.TableName) bool { return len(keys[t.Name]) > 0 }
	b.Each = func(row feed.Row) {
		for _, image := range [][]change.Value{row.Before, row.After} {
			if image == nil {
				continue
			}
			var key []change.Value
			for _, c := range row.Table.Key {
				key = append(key, image[c])
			}
			if wanted[row.Table.Name][keyText(key)] {
				fmt.Fprintf(w, "%s %s %s at %s\n    before %s\n    after  %s\n", row.Table.Name, keyText(key), row.Op, row.Position, rowText(row.Before), rowText(row.After))
				return
			}
		}
	}
	nobody := history.New(history.Options{Keep: func(history.Key) bool { return false }})
	err := feed.ReadBinlog(ctx, b, nobody)
	if err == nil {
		r.changes = changes
	}
	return err
}

func keySet(keys [][]string) map[string]bool {
	set := map[string]bool{}
	for _, k := range keys {
		set[strings.Join(k, ",")] = true
	}
	return set
}

func keyText(values []change.Value) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ",")
}

func rowText(values []change.Value) string {
	if values == nil {
		return "no row"
	}
	return fmt.Sprintf("%.2000s", fmt.Sprint(values))
}
