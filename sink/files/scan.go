package files

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"slices"

	"github.com/parquet-go/parquet-go"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Scan finds the newest change of each key in the files, what is staged included, and gives its row unless it is a delete. Key ranges
// are not served, for files do not know the order of MySQL's collations.
func (t *Target) Scan(ctx context.Context, r sink.Scan, each func(sink.Row) error) error {
	if r.After != nil || r.Through != nil {
		return fmt.Errorf("scan of a key range of files: %w", errors.ErrUnsupported)
	}
	parts, err := t.partitionsOf(ctx, r.Source, r.Table.TableName)
	if err != nil {
		return err
	}
	s := &scanner{t: t, limit: math.MaxInt64, columns: make([]string, len(r.Table.Columns))}
	for i := range r.Table.Columns {
		s.columns[i] = r.Table.Columns[i].Name
	}
	if len(r.Keys) > 0 {
		s.only = make(map[string]bool, len(r.Keys))
		for _, key := range r.Keys {
			s.only[string(appendKey(nil, key))] = true
		}
	}
	row := sink.Row{Columns: s.columns, Source: r.Source, Values: make([]change.Value, len(s.columns))}
	for i := range parts {
		err := s.newest(ctx, &parts[i], func(l *layout, version change.Version, image []change.Value) error {
			row.Version = version
			for i := range r.Table.Columns {
				row.Values[i] = change.Value{}
				if at := l.table.Column(r.Table.Columns[i].Name); at >= 0 {
					row.Values[i] = image[at]
				}
			}
			return each(row)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// history is the files of one partition, each offset in exactly one.
type history struct {
	state *state
	files []string
}

// partitionsOf returns the history of a table's partitions: of the newest incarnation of its topic.
func (t *Target) partitionsOf(ctx context.Context, source string, table change.TableName) ([]history, error) {
	states, err := t.states(ctx, "") // before the visible files: what is staged now is in one of them or still there
	if err != nil {
		return nil, err
	}
	found, err := t.store.list(ctx, tableFolder(table))
	if err != nil {
		return nil, err
	}
	var parts []history
	newest, most := "", int64(math.MinInt64)
	for _, s := range states {
		if s.Source != source || s.Table != table {
			continue
		}
		p, err := s.partition()
		if err != nil {
			return nil, err
		}
		if s.Next > most {
			newest, most = incarnation(&p), s.Next
		}
		parts = append(parts, history{state: s, files: filesOf(s, partitionName(&p), found)})
	}
	return slices.DeleteFunc(parts, func(h history) bool {
		p, err := h.state.partition()
		return err != nil || incarnation(&p) != newest
	}), nil
}

// filesOf returns the partition's visible files by the readers' rule, and those staged files that are in none of them, in the order
// of offsets.
func filesOf(s *state, partition string, found []entry) []string {
	type file struct {
		key string
		span
	}
	var files []file
	for _, e := range current(found) {
		if name, at, ok := parseFile(e.key); ok && name == partition {
			files = append(files, file{e.key, at})
		}
	}
	for _, staged := range s.Staged {
		within := slices.ContainsFunc(files, func(f file) bool { return f.first <= staged.First && f.next >= staged.Next })
		if !within {
			files = append(files, file{staged.Key, span{staged.First, staged.Next}})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return int(min(1, max(-1, a.first-b.first))) })
	keys := make([]string, len(files))
	for i := range files {
		keys[i] = files[i].key
	}
	return keys
}

// scanner finds the newest change of each key.
type scanner struct {
	t       *Target
	limit   change.Version  // newer changes are left out
	only    map[string]bool // these keys alone; nil: all
	columns []string
}

// winner is the newest change of a key.
type winner struct {
	version change.Version
	offset  int64
	deleted bool
}

// newest calls for the row of each key as its newest change has left it. A partition with more keys than are held at once is read
// several times: each time those of other hashes.
func (s *scanner) newest(ctx context.Context, h *history, each func(l *layout, version change.Version, image []change.Value) error) error {
	rows, err := s.countRows(ctx, h)
	if err != nil {
		return err
	}
	passes := uint64(rows/int64(s.t.config.CopyKeys) + 1)
	seed := maphash.MakeSeed()
	for pass := range passes {
		mine := func(key []byte) bool {
			return (s.only == nil || s.only[string(key)]) && (passes == 1 || maphash.Bytes(seed, key)%passes == pass)
		}
		winners := make(map[string]winner)
		for _, key := range h.files {
			if err := s.compete(ctx, key, mine, winners); err != nil {
				return err
			}
		}
		for _, key := range h.files {
			if err := s.emit(ctx, key, mine, winners, each); err != nil {
				return err
			}
		}
	}
	return nil
}

// open opens a file of a history. One that was there a moment ago was merged into another meanwhile.
func (s *scanner) open(ctx context.Context, key string) (*reader, error) {
	r, err := s.t.openFile(ctx, key)
	if errors.Is(err, errNotThere) {
		return nil, &change.Problem{Kind: change.Retry, What: "the file " + key + " was merged into another while it was to be read", Where: s.t.store.String(), Mend: "run the command again"}
	}
	return r, err
}

func (s *scanner) countRows(ctx context.Context, h *history) (rows int64, err error) {
	for _, key := range h.files {
		r, err := s.open(ctx, key)
		if err != nil {
			return 0, err
		}
		rows += r.file.NumRows()
		r.close()
	}
	return rows, nil
}

// keyed are the columns that a key's competition looks at: how many of the table's key columns follow depends on the layout.
func (l *layout) keyed() []int {
	columns := []int{colOp, colVersion, colOffset}
	for i := range l.table.Key {
		columns = append(columns, l.keys()+i)
	}
	return columns
}

const keyedOwn = 3 // how many of keyed are not the key's

// keyOf appends the key of a row that was read by keyed.
func (l *layout) keyOf(dst []byte, values []parquet.Value) []byte {
	for i, at := range l.table.Key {
		dst = appendValue(dst, l.forms[at].take(values[keyedOwn+i]))
	}
	return dst
}

// compete enters a file's changes.
func (s *scanner) compete(ctx context.Context, key string, mine func([]byte) bool, winners map[string]winner) error {
	r, err := s.open(ctx, key)
	if err != nil {
		return err
	}
	defer r.close()
	var buffer []byte
	return r.each(ctx, r.layout.keyed(), func(values []parquet.Value) error {
		c := winner{change.Version(values[1].Int64()), values[2].Int64(), string(values[0].ByteArray()) == change.Delete.String()}
		if c.version > s.limit {
			return nil
		}
		if buffer = r.layout.keyOf(buffer[:0], values); !mine(buffer) {
			return nil
		}
		if best, there := winners[string(buffer)]; !there || c.version > best.version {
			winners[string(buffer)] = c
		}
		return nil
	})
}

// emit calls for those rows of a file that have won.
func (s *scanner) emit(ctx context.Context, key string, mine func([]byte) bool, winners map[string]winner, each func(*layout, change.Version, []change.Value) error) error {
	r, err := s.open(ctx, key)
	if err != nil {
		return err
	}
	defer r.close()
	l := r.layout
	columns := l.keyed()
	after := len(columns)
	for i := range l.table.Columns {
		columns = append(columns, l.after()+i)
	}
	var buffer []byte
	return r.each(ctx, columns, func(values []parquet.Value) error {
		if buffer = l.keyOf(buffer[:0], values); !mine(buffer) {
			return nil
		}
		w, there := winners[string(buffer)]
		if !there || w.deleted || w.offset != values[2].Int64() {
			return nil
		}
		return each(l, w.version, l.image(values[after:]))
	})
}

// appendKey gives equal bytes for equal keys and for no others.
func appendKey(dst []byte, key []change.Value) []byte {
	for _, v := range key {
		dst = appendValue(dst, v)
	}
	return dst
}

func appendValue(dst []byte, v change.Value) []byte {
	dst = append(dst, byte(v.Kind))
	dst = binary.BigEndian.AppendUint64(dst, v.Num)
	dst = binary.AppendUvarint(dst, uint64(len(v.Bytes)))
	return append(dst, v.Bytes...)
}
