package crawl

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/source/binlog"
	"github.com/sluice-cdc/sluice/source/merge"
)

// testStream is the source's loop in small: it reads the real binlog, keeps the topics as maps, newest record
// of a key wins, and commits what a chunk publishes at once.
type testStream struct {
	s    *server
	keys map[change.TableName][]string // named keys

	mu        sync.Mutex // guards the following
	merger    *merge.Merger
	delivered *gtid.Set
	position  change.Position
	version   change.Version
	tables    map[change.TableName]*testTable
	waiting   map[merge.WindowID]*testChunk
	records   map[string]Progress // the checkpoint
	finished  []string            // the states that Finish was called with
	chunks    int
	largest   int // rows of a chunk
	failed    error
	// beforeRead, when set, is called without the lock before a chunk's rows are handed to the merger.
	beforeRead func(table change.TableName, rows []merge.Row)
}

type testTable struct {
	definitions int
	table       *change.Table // as Open gives it
	learnt      int           // definitions then
	encoder     *avro.Encoder
	images      map[*rowimage.TableMap]*avro.Encoder

	topic   map[string]testRecord
	reads   map[string]int // op r records by key
	carried map[string]bool
	deletes int // by chunks
	stale   int // rows of chunks that differ from what the topic held: nothing else tells the topic of changes
}

type testRecord struct {
	image   string // empty: deleted
	version change.Version
}

type testChunk struct {
	rows     int
	progress func(int) Progress
	done     chan Outcome
}

// follow starts a stream at the server's present position.
func follow(t *testing.T, s *server) *testStream {
	t.Helper()
	st := &testStream{
		s: s, keys: map[change.TableName][]string{}, merger: merge.New(merge.Limits{}), version: 1000,
		tables: map[change.TableName]*testTable{}, waiting: map[merge.WindowID]*testChunk{}, records: map[string]Progress{},
	}
	file, offset, executed, err := s.facts.BinlogStatus(t.Context(), s.reads)
	if err != nil {
		t.Fatal(err)
	}
	st.position = change.Position{File: file, Offset: offset}
	from := binlog.From{File: file, Offset: offset}
	if s.facts.GTIDMode {
		from.GTID, st.delivered = executed, executed.Clone()
	}
	reader := binlog.New(binlog.Config{
		MySQL: s.source(), ServerID: mysql.ServerID(t.Name()), Facts: s.facts, Heartbeat: 20 * time.Millisecond,
		Wanted: func(n change.TableName) bool { return n.DB == s.name },
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := reader.Run(ctx, from, st.take); ctx.Err() == nil {
			st.mu.Lock()
			st.failed = err
			st.mu.Unlock()
			t.Errorf("the stream ended: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return st
}

// take is one event of the binlog.
func (st *testStream) take(e *binlog.Event) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.delivered != nil {
		e.GTID.AddTo(st.delivered)
	}
	switch e.Kind {
	case binlog.Rows:
		if e.Wanted {
			if err := st.takeRows(e); err != nil {
				return err
			}
		}
	case binlog.Statement:
		for name, t := range st.tables {
			if strings.Contains(e.Query, name.Name) {
				t.definitions++
				st.merger.Invalidate(name)
			}
		}
	}
	st.position = e.Position
	st.publishDue()
	return nil
}

func (st *testStream) takeRows(e *binlog.Event) error {
	t := st.known(e.Table)
	encoder := t.images[e.TableMap]
	if encoder == nil {
		table, err := e.TableMap.Table(st.keys[e.Table])
		if err != nil {
			return err
		}
		if encoder, err = avro.NewEncoder(table, "test."+e.Table.String(), schema.Options{}); err != nil {
			return err
		}
		t.images[e.TableMap] = encoder
	}
	before, after := make([]rowimage.Cell, len(e.TableMap.Columns)), make([]rowimage.Cell, len(e.TableMap.Columns))
	for data := e.Rows.Data; len(data) > 0; {
		var err error
		if e.Rows.Op != change.Create {
			if data, err = e.TableMap.Image(e.Rows.Before, data, before); err != nil {
				return err
			}
			if err := st.put(e.Table, t, encoder, before, true); err != nil {
				return err
			}
		}
		if e.Rows.Op != change.Delete {
			if data, err = e.TableMap.Image(e.Rows.After, data, after); err != nil {
				return err
			}
			if err := st.put(e.Table, t, encoder, after, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// put publishes an image; that before is a delete, which an image after it of the same key undoes.
func (st *testStream) put(name change.TableName, t *testTable, encoder *avro.Encoder, cells []rowimage.Cell, deleted bool) error {
	row := avro.Row{Cells: cells}
	key, err := encoder.AppendKey(nil, row)
	if err != nil {
		return err
	}
	st.merger.Touch(name, key)
	t.carried[string(key)] = true
	st.version++
	record := testRecord{version: st.version}
	if !deleted {
		value, err := encoder.AppendValue(nil, &avro.Event{Op: change.Read, After: row})
		if err != nil {
			return err
		}
		record.image = image(encoder, value)
	}
	t.topic[string(key)] = record
	return nil
}

// image prints the row of an envelope.
func image(encoder *avro.Encoder, value []byte) string {
	decoder, ok := decoders.Load(encoder)
	if !ok {
		var err error
		if decoder, err = avro.NewDecoder(encoder.ValueSchema()); err != nil {
			panic(err)
		}
		decoders.Store(encoder, decoder)
	}
	var d avro.Decoded
	if err := decoder.(*avro.Decoder).Decode(value, &d); err != nil {
		panic(err)
	}
	var b []byte
	for i, v := range d.After {
		b = append(append(b, encoder.Table().Columns[i].Name...), '=')
		b = append(strconv.AppendQuote(b, v.String()), ' ')
	}
	return string(b)
}

var decoders sync.Map // *avro.Encoder to *avro.Decoder

func (st *testStream) publishDue() {
	for _, due := range st.merger.Due(st.position) {
		c := st.waiting[due.ID]
		delete(st.waiting, due.ID)
		t := st.known(due.Table)
		for _, row := range due.Rows {
			st.version++
			record := testRecord{version: st.version}
			if row.Delete {
				t.deletes++
			} else {
				t.reads[string(row.Key)]++
				record.image = image(t.encoder, row.Value)
			}
			if held, ok := t.topic[string(row.Key)]; ok && held.image != record.image {
				t.stale++
			}
			t.topic[string(row.Key)] = record
		}
		st.chunks++
		st.largest = max(st.largest, c.rows)
		p := c.progress(len(due.Rows))
		st.records[p.ID] = p
		c.done <- Outcome{Published: true, Rows: len(due.Rows), Struck: due.Struck}
	}
	for id, c := range st.waiting {
		if phase, reason := st.merger.State(id); phase == merge.Discarded {
			st.merger.Discard(id)
			delete(st.waiting, id)
			c.done <- Outcome{Reason: reason}
		}
	}
}

func (st *testStream) known(name change.TableName) *testTable {
	t := st.tables[name]
	if t == nil {
		t = &testTable{
			definitions: 1, images: map[*rowimage.TableMap]*avro.Encoder{},
			topic: map[string]testRecord{}, reads: map[string]int{}, carried: map[string]bool{},
		}
		st.tables[name] = t
	}
	return t
}

// Delivered is Stream's.
func (st *testStream) Delivered(context.Context) (*gtid.Set, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.delivered == nil {
		return nil, st.failed
	}
	return st.delivered.Clone(), st.failed
}

// Open is Stream's.
func (st *testStream) Open(ctx context.Context, name change.TableName) (w Window, err error) {
	for {
		st.mu.Lock()
		t := st.known(name)
		at := t.definitions
		if t.learnt == at {
			w = Window{
				ID: st.merger.Open(name), ServerUUID: st.s.facts.ServerUUID, Version: st.version, Table: t.table, Encoder: t.encoder,
			}
			if st.delivered != nil {
				w.Delivered = st.delivered.Clone()
			}
			st.mu.Unlock()
			return w, nil
		}
		st.mu.Unlock()
		table, _, err := mysql.LoadTable(ctx, st.s.reads, st.s.facts, name, st.keys[name])
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return w, err
		}
		var encoder *avro.Encoder
		if err == nil {
			if encoder, err = avro.NewEncoder(table, "test."+name.String(), schema.Options{}); err != nil {
				return w, err
			}
		} else {
			table = nil
		}
		st.mu.Lock()
		if t.table == nil || table == nil || !reflect.DeepEqual(t.table, table) {
			t.table, t.encoder = table, encoder
		}
		t.learnt = at
		st.mu.Unlock()
	}
}

// Refresh is Refresher's.
func (st *testStream) Refresh(_ context.Context, name change.TableName) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.known(name).definitions++
	return nil
}

// Read is Stream's.
func (st *testStream) Read(ctx context.Context, w Window, rows []merge.Row, high change.Position, progress func(int) Progress) (Outcome, error) {
	st.mu.Lock()
	hook, name := st.beforeRead, change.TableName{}
	if w.Table != nil {
		name = w.Table.TableName
	}
	st.mu.Unlock()
	if hook != nil {
		hook(name, rows)
	}
	st.mu.Lock()
	c := &testChunk{rows: len(rows), progress: progress, done: make(chan Outcome, 1)}
	if err := st.merger.Read(w.ID, rows, high); err != nil {
		_, reason := st.merger.State(w.ID)
		st.merger.Discard(w.ID)
		st.mu.Unlock()
		return Outcome{Reason: reason}, nil
	}
	st.waiting[w.ID] = c
	st.publishDue()
	st.mu.Unlock()
	select {
	case out := <-c.done:
		return out, nil
	case <-ctx.Done():
		st.mu.Lock()
		defer st.mu.Unlock()
		st.merger.Discard(w.ID)
		delete(st.waiting, w.ID)
		return Outcome{}, ctx.Err()
	}
}

// Discard is Stream's.
func (st *testStream) Discard(w Window) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.merger.Discard(w.ID)
}

// Finish is Stream's.
func (st *testStream) Finish(_ context.Context, p Progress) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.records[p.ID] = p
	st.finished = append(st.finished, p.State)
	return nil
}

// Keys is Topic's.
func (st *testStream) Keys(_ context.Context, name change.TableName, below change.Version, pass, passes int, each func([]byte) error) error {
	st.mu.Lock()
	topic := maps.Clone(st.known(name).topic)
	st.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(topic)) {
		if r := topic[key]; r.image != "" && r.version < below && len(key)%passes == pass {
			if err := each([]byte(key)); err != nil {
				return err
			}
		}
	}
	return nil
}

// caughtUp waits until the stream has passed the server's present position.
func (st *testStream) caughtUp() {
	st.s.t.Helper()
	file, offset, _, err := st.s.facts.BinlogStatus(st.s.t.Context(), st.s.reads)
	if err != nil {
		st.s.t.Fatal(err)
	}
	end := change.Position{File: file, Offset: offset}
	eventually(st.s.t, "the stream has caught up", func() bool {
		st.mu.Lock()
		defer st.mu.Unlock()
		return st.position.Compare(end) >= 0
	})
}

// manager returns a Manager of the stream, with small chunks.
func (st *testStream) manager(change func(*Config)) *Manager {
	st.s.t.Helper()
	cfg := Config{
		Facts: st.s.facts, Workers: 3, Bytes: 64 << 10, Topic: st,
		Key: func(name tableName) []string { return st.keys[name] },
	}
	if change != nil {
		change(&cfg)
	}
	m, err := New(cfg, st.s.reads, st)
	if err != nil {
		st.s.t.Fatal(err)
	}
	return m
}

type tableName = change.TableName

// run runs a Manager in the background until the test ends or stop is called.
func (st *testStream) run(m *Manager) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			st.s.t.Errorf("Run: %v", err)
		}
	})
	st.s.t.Cleanup(stop)
	return stop
}

// begin asks for a crawl.
func (st *testStream) begin(m *Manager, r Request) string {
	st.s.t.Helper()
	p, err := m.Start(st.s.t.Context(), r)
	if err != nil {
		st.s.t.Fatal(err)
	}
	return p.ID
}

// over waits for a crawl's end and returns its last record.
func (st *testStream) over(m *Manager, id string) Progress {
	st.s.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); m.Busy(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			for _, status := range m.List() {
				st.s.t.Log(status.Line())
			}
			st.s.t.Fatal("the crawls are not over in 60 s")
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.records[id]
}

// crawl does one crawl from beginning to end.
func (st *testStream) crawl(r Request, change func(*Config)) Progress {
	st.s.t.Helper()
	m := st.manager(change)
	id := st.begin(m, r)
	defer st.run(m)()
	return st.over(m, id)
}

// compare holds a topic against its table, row for row, as a SELECT shows it now.
func (st *testStream) compare(name change.TableName) {
	st.s.t.Helper()
	st.caughtUp()
	want := st.s.rows(name, st.keys[name]...)
	st.mu.Lock()
	defer st.mu.Unlock()
	got, wrong := st.known(name).topic, 0
	for key, r := range got {
		if r.image != want[key] && wrong < 5 {
			wrong++
			st.s.t.Errorf("key %x: the topic holds %q, the table %q", key, r.image, want[key])
		}
	}
	for key, image := range want {
		if _, ok := got[key]; !ok && wrong < 5 {
			wrong++
			st.s.t.Errorf("key %x: the topic lacks %q", key, image)
		}
	}
}

// rows reads a whole table: key to image.
func (s *server) rows(name change.TableName, key ...string) map[string]string {
	s.t.Helper()
	sh := s.shape(name.Name, key...)
	encoder, err := avro.NewEncoder(sh.table, "test."+name.String(), schema.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	got, err := s.session().read(s.t.Context(), &selection{shape: sh, where: "TRUE", encoder: encoder, budget: 1 << 40})
	if err != nil {
		s.t.Fatal(err)
	}
	rows := map[string]string{}
	for _, row := range got.rows {
		rows[string(row.Key)] = image(encoder, row.Value)
	}
	return rows
}
