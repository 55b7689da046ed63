package files

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// successName is written when all tables of a copy are there, with what they are.
const successName = "_SUCCESS"

const asOfLayout = "20060102T150405.000Z"

// Copy writes the state of tables as of a time: see sink.Copier. Of the source's history it takes all up to the first transaction that was
// committed after that time. Versions grow with the source's history and each event has its own, so the version before that
// transaction's first is a cut between two transactions, for all tables.
func (t *Target) Copy(ctx context.Context, r sink.CopyRequest, told func(sink.Copied)) error {
	to, err := t.copyPlace(r.To)
	if err != nil {
		return err
	}
	folder := "as_of=" + r.AsOf.UTC().Format(asOfLayout) + "/"
	if r.To == "" {
		folder = copyFolder + folder
	}
	if _, _, err := to.get(ctx, folder+successName); !errors.Is(err, errNotThere) {
		if err != nil {
			return err
		}
		return &change.Problem{Kind: change.Configuration, What: "there is a copy as of that time", Where: to.String() + "/" + folder, Mend: "use it, or remove it first, or name another place: --to"}
	}
	var done []sink.Copied
	for source, tables := range r.Tables {
		at, err := t.cutOf(ctx, source, r.AsOf)
		if err != nil {
			return err
		}
		for _, table := range tables {
			c := copying{t: t, to: to, folder: folder + tableFolder(table), source: source, table: table, cut: at, asOf: r.AsOf}
			rows, err := c.run(ctx)
			if err != nil {
				return err
			}
			copied := sink.Copied{Source: source, Table: table, Rows: rows, Where: strings.TrimSuffix(to.String(), "/") + "/" + c.folder, Version: at.last, GTID: at.gtid}
			done = append(done, copied)
			told(copied)
		}
	}
	text, err := json.MarshalIndent(done, "", " ")
	if err != nil {
		return err
	}
	_, err = to.swap(ctx, folder+successName, text, "")
	return err
}

// copyPlace is where a copy goes: the history's own place, or another with the same settings.
func (t *Target) copyPlace(to string) (store, error) {
	if to == "" {
		return t.store, nil
	}
	c := t.config
	c.Path = to
	var problems []string
	c.Check(func(path, problem string) { problems = append(problems, path+": "+problem) })
	if len(problems) > 0 {
		return nil, &change.Problem{Kind: change.Configuration, What: "--to cannot be used: " + strings.Join(problems, "; ")}
	}
	return c.open()
}

// cut is a place between two transactions of a source.
type cut struct {
	version change.Version // nothing newer is before it
	last    change.Version // the newest that is
	gtid    string         // of the last transaction before it; empty where it has none, or is not known
}

// cutOf looks through the whole history of a source for the first event of the first transaction that was committed after the time. Only
// files of that day and later can have it, and the last one before it.
func (t *Target) cutOf(ctx context.Context, source string, asOf time.Time) (cut, error) {
	tables := make(map[change.TableName]bool)
	states, err := t.states(ctx, "")
	if err != nil {
		return cut{}, err
	}
	for _, s := range states {
		if s.Source == source && s.Table != (change.TableName{}) {
			tables[s.Table] = true
		}
	}
	at := cut{version: math.MaxInt64, last: math.MinInt64}
	var files []string
	for table := range tables {
		parts, err := t.partitionsOf(ctx, source, table)
		if err != nil {
			return at, err
		}
		for i := range parts {
			files = append(files, parts[i].files...)
		}
	}
	for _, key := range files {
		if day := dayOfKey(key); day != "" && day < asOf.UTC().Format(dayLayout) {
			continue
		}
		if err := t.lower(ctx, key, asOf, &at); err != nil {
			return at, err
		}
	}
	named := change.Version(math.MinInt64)
	for _, key := range files {
		if err := t.lastBefore(ctx, key, &at, &named); err != nil {
			return at, err
		}
	}
	return at, nil
}

// lower lowers the cut to before the events of a file that were committed after the time. What a crawl has read is none: it shows the rows
// as they were at its place in the history, whenever it was read.
func (t *Target) lower(ctx context.Context, key string, asOf time.Time, at *cut) error {
	s := scanner{t: t}
	r, err := s.open(ctx, key)
	if err != nil {
		return err
	}
	defer r.close()
	limit := asOf.UnixMicro()
	return r.each(ctx, []int{colCommitTime, colVersion, colSnapshot}, func(v []parquet.Value) error {
		if v[0].IsNull() || v[0].Int64() <= limit || isRead(v[2]) {
			return nil
		}
		at.version = min(at.version, change.Version(v[1].Int64()-1))
		return nil
	})
}

// isRead tells what a crawl has read or found from what the binlog says.
func isRead(snapshot parquet.Value) bool {
	return !snapshot.IsNull() && string(snapshot.ByteArray()) != "false"
}

// lastBefore notes the newest event of a file that is before the cut, and the GTID of the newest that has one; named is the version of that.
func (t *Target) lastBefore(ctx context.Context, key string, at *cut, named *change.Version) error {
	s := scanner{t: t}
	r, err := s.open(ctx, key)
	if err != nil {
		return err
	}
	defer r.close()
	return r.each(ctx, []int{colVersion, colGTID, colSnapshot}, func(v []parquet.Value) error {
		version := change.Version(v[0].Int64())
		if version > at.version {
			return nil
		}
		at.last = max(at.last, version)
		if version > *named && !v[1].IsNull() && !isRead(v[2]) {
			*named, at.gtid = version, string(v[1].ByteArray())
		}
		return nil
	})
}

// copying is the copy of one table.
type copying struct {
	t      *Target
	to     store
	folder string
	source string
	table  change.TableName
	cut    cut
	asOf   time.Time
}

func (c *copying) run(ctx context.Context) (rows int64, err error) {
	parts, err := c.t.partitionsOf(ctx, c.source, c.table)
	if err != nil {
		return 0, err
	}
	if len(parts) == 0 {
		return 0, &change.Problem{Kind: change.Configuration, What: "the files have nothing of " + c.table.String() + " of " + c.source, Where: c.t.store.String(),
			Mend: "look at topics in the page; leave the table out: --table"}
	}
	for i := range parts {
		if err := c.whole(ctx, &parts[i]); err != nil {
			return rows, err
		}
		n, err := c.partition(ctx, &parts[i])
		if rows += n; err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// whole refuses what the history cannot say: what retention has removed, or what came before a first crawl had read it.
func (c *copying) whole(ctx context.Context, h *history) error {
	if h.state.Removed != "" {
		return &change.Problem{Kind: change.Configuration, What: fmt.Sprintf("the history of %s was removed up to %s", c.table, h.state.Removed),
			Why:  "rows that have not changed since would be missing",
			Mend: "have all rows read anew (sluice crawl start) and copy a later time; or set no files.retention"}
	}
	s := scanner{t: c.t}
	for _, key := range h.files {
		r, err := s.open(ctx, key)
		if err != nil {
			return err
		}
		err = r.each(ctx, []int{colVersion, colSnapshot}, func(v []parquet.Value) error {
			if change.Version(v[0].Int64()) > c.cut.version && !v[1].IsNull() && string(v[1].ByteArray()) == "true" {
				return errTooEarly
			}
			return nil
		})
		r.close()
		if errors.Is(err, errTooEarly) {
			return &change.Problem{Kind: change.Configuration, What: fmt.Sprintf("%s had not been read for the first time by %s", c.table, c.asOf.UTC().Format(time.RFC3339Nano)),
				Why: "rows that were there already would be missing", Mend: "copy a later time, or leave the table out: --table"}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var errTooEarly = errors.New("the first crawl was under way")

// copyFile is a file of a copy that is being made: of one schema.
type copyFile struct {
	f      *os.File
	writer *rowWriter
	layout *layout
	row    parquet.Row
}

// partition writes the rows of one partition, a file for each schema in which they were written.
func (c *copying) partition(ctx context.Context, h *history) (rows int64, err error) {
	p, err := h.state.partition()
	if err != nil {
		return 0, err
	}
	files := make(map[string]*copyFile)
	defer func() {
		for _, f := range files {
			discard(f.f)
		}
	}()
	s := scanner{t: c.t, limit: c.cut.version}
	err = s.newest(ctx, h, func(l *layout, version change.Version, image []change.Value) error {
		rows++
		f := files[l.id]
		if f == nil {
			if f, err = c.newFile(l); err != nil {
				return err
			}
			files[l.id] = f
		}
		return c.t.making(f.write(version, image))
	})
	if err != nil {
		return rows, err
	}
	for id, f := range files {
		if err := c.t.making(f.writer.Close()); err != nil {
			return rows, err
		}
		if err := c.to.put(ctx, c.folder+partitionName(&p)+"-"+id+suffix, f.f); err != nil {
			return rows, err
		}
		delete(files, id)
	}
	return rows, nil
}

// copyRowsPerGroup is how many rows a row group of a copy has.
const copyRowsPerGroup = 20_000

func (c *copying) newFile(l *layout) (*copyFile, error) {
	f, err := c.to.scratch()
	if err != nil {
		return nil, err
	}
	fields := make([]field, 0, len(l.forms)+1)
	for i := range l.table.Columns {
		fields = append(fields, field{parquet.Optional(l.forms[i].node), l.table.Columns[i].Name})
	}
	fields = append(fields, field{parquet.Int(64), "_sluice_version"})
	meta := map[string]string{metaTable: l.text, metaDates: l.dates}
	return &copyFile{f: f, layout: l, writer: newWriter(f, newSchema(fields), copyRowsPerGroup, meta)}, nil
}

func (f *copyFile) write(version change.Version, image []change.Value) error {
	row, err := f.layout.appendImage(f.row[:0], image)
	if err != nil {
		return err
	}
	f.row = append(row, parquet.Int64Value(int64(version)).Level(0, 0, len(row)))
	_, err = f.writer.WriteRows([]parquet.Row{f.row})
	return err
}
