package crawl

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql"
)

// Config says how crawls read. Facts is required; the zero value of all else is a default.
type Config struct {
	Facts *mysql.Facts // of the server that the stream reads

	// Workers is how many SELECTs run at once, over all crawls (4). Twice as many chunks are in flight:
	// the others wait until the stream has passed them.
	Workers int

	// Bytes is the budget of a chunk's encoded rows (4 MiB). A chunk holds at least one row, whatever its size.
	Bytes int64

	// Target is how long the SELECT of a chunk should take (150 ms). Longer means fewer waits, and more keys
	// to remember on a busy table.
	Target time.Duration

	// SweepBytes bounds the keys that a sweep holds at once (64 MiB); a topic with more is read several times.
	SweepBytes int64

	// Key returns the columns that identify the table's rows; nil stands for its primary key.
	Key func(change.TableName) []string

	// Pace is called before each chunk and may wait, so that the stream or the server is not crowded out.
	Pace func(context.Context) error

	// Topic reads the tables' own topics. Without it no sweep can be done.
	Topic Topic

	Log *slog.Logger
}

// Topic reads a table's own topic for a sweep.
type Topic interface {
	// Keys calls each with every key, as its Avro body, whose newest record in the table's topic is a put of
	// a version below the given one. Of several passes it gives only the keys whose hash falls to this one.
	// An error of each ends it and is returned.
	Keys(ctx context.Context, table change.TableName, below change.Version, pass, passes int, each func(key []byte) error) error
}

// Manager runs crawls. Make one with New, give it what the checkpoint holds by Restore, and call Run.
type Manager struct {
	cfg      Config
	stream   Stream
	sessions chan *session // one for each worker that may SELECT

	mu      sync.Mutex // guards the following
	crawls  []*crawl   // in the order in which they were asked for
	turn    int        // of the crawl that is asked first for a task
	changed chan struct{}
}

// keptMax is how many crawls that are over stay in the list.
const keptMax = 100

// New returns a Manager that reads from db, a pool opened with mysql.ReadVariables. It connects to nothing.
// Workers connections of the pool are held for long: whoever else uses it, the Stream for one, needs more.
func New(cfg Config, db *sql.DB, stream Stream) (*Manager, error) {
	if cfg.Facts == nil {
		return nil, errors.New("crawl: no facts of the server")
	}
	def := func(n *int64, otherwise int64) {
		if *n <= 0 {
			*n = otherwise
		}
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 4
	}
	def(&cfg.Bytes, 4<<20)
	def(&cfg.SweepBytes, 64<<20)
	def((*int64)(&cfg.Target), int64(150*time.Millisecond))
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &Manager{cfg: cfg, stream: stream, sessions: make(chan *session, cfg.Workers), changed: make(chan struct{})}
	for range cfg.Workers {
		m.sessions <- &session{db: db, facts: cfg.Facts, locking: !waits(cfg.Facts)}
	}
	return m, nil
}

// waits reports whether the server can be asked to wait for GTIDs.
func waits(f *mysql.Facts) bool { return f.GTIDMode && f.IsMySQL(5, 7, 5) }

// Restore takes up the crawls of a checkpoint, those that are over too; before Run.
func (m *Manager) Restore(records []Progress) {
	slices.SortFunc(records, func(a, b Progress) int { return cmp.Compare(a.Millis, b.Millis) })
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, record := range records {
		m.crawls = append(m.crawls, newCrawl(record))
	}
}

// Start asks for a crawl and returns its first record. It does not wait and reads nothing: a fault of the
// request itself is returned, a change.Problem of the kind Poison; one that the server finds becomes the
// crawl's reason. Run makes the record durable as soon as it can; who wants that sooner keeps what is
// returned. A crawl of an ID that is known already is left as it is: a command that comes twice is one crawl.
func (m *Manager) Start(_ context.Context, r Request) (Progress, error) {
	if err := m.check(&r); err != nil {
		return Progress{}, &change.Problem{Kind: change.Poison, Table: r.Table, Where: r.Table.String(),
			What: "this crawl cannot be done", Err: err, Mend: "correct the request: sluice crawl start --help"}
	}
	if r.ID == "" {
		r.ID = kafka.NewID()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.find(r.ID); c != nil {
		return c.snapshot(), nil
	}
	c := newCrawl(Progress{
		ID: r.ID, Table: r.Table, Where: r.Where, Keys: r.Keys, Sweep: r.Sweep, Started: r.Since,
		State: Planning, Millis: time.Now().UnixMilli(),
	})
	m.crawls = append(m.crawls, c)
	m.wake()
	return c.snapshot(), nil
}

// check finds what is wrong with a request by itself.
func (m *Manager) check(r *Request) error {
	switch {
	case r.Where != "" && r.Keys != "", r.Keys != "" && r.Sweep:
		return errors.New("named keys take neither a condition nor a sweep")
	case r.Sweep && m.cfg.Topic == nil:
		return errors.New("a sweep needs the table's topic to be readable")
	case r.Where != "":
		return checkCondition(r.Where)
	}
	return nil
}

// Cancel ends a crawl and returns when that is durable, which Run sees to. Chunks that are in flight may
// still be published before.
func (m *Manager) Cancel(ctx context.Context, id string) error {
	m.mu.Lock()
	c := m.find(id)
	if c == nil || Ended(c.record.State) {
		defer m.mu.Unlock()
		if c == nil {
			return fmt.Errorf("there is no crawl %q", id)
		}
		return fmt.Errorf("crawl %q is over: %s", id, c.record.State)
	}
	c.end(Cancelled, "")
	m.wake()
	for c.phase != closed && ctx.Err() == nil {
		changed := m.changed
		m.mu.Unlock()
		wait(ctx, changed, idle)
		m.mu.Lock()
	}
	m.mu.Unlock()
	return ctx.Err()
}

// List returns the crawls, those that ended lately too, in the order in which they were asked for.
func (m *Manager) List() []Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	list := make([]Status, len(m.crawls))
	for i, c := range m.crawls {
		list[i] = c.status(now)
	}
	return list
}

// Busy reports whether any crawl is not over.
func (m *Manager) Busy() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.crawls, func(c *crawl) bool { return c.phase != closed })
}

// Run works until ctx ends or the stream fails; it returns the context's error or the stream's. All its
// goroutines have ended then, and its connections are closed.
func (m *Manager) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	run := func(work func(context.Context) error) {
		workers.Go(func() {
			if err := work(ctx); err != nil {
				cancel(err)
			}
		})
	}
	for range 2 * m.cfg.Workers {
		run(m.work)
	}
	run(m.sweep)
	workers.Wait()
	for range m.cfg.Workers {
		s := <-m.sessions
		s.close()
		m.sessions <- s
	}
	return context.Cause(ctx)
}

// work takes tasks until ctx ends.
func (m *Manager) work(ctx context.Context) error {
	for ctx.Err() == nil {
		t, changed, pause := m.take()
		if t == nil {
			wait(ctx, changed, pause)
			continue
		}
		if err := m.do(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// idle is how long a worker waits when nothing says that something has changed.
const idle = 5 * time.Second

// wait returns when something has changed, the pause is over or ctx has ended.
func wait(ctx context.Context, changed <-chan struct{}, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-timer.C:
	}
}

// take returns the next task, of another crawl each time where there are several, or what to wait for.
func (m *Manager) take() (*task, <-chan struct{}, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, pause := time.Now(), idle
	for i := range m.crawls {
		at := (m.turn + i) % len(m.crawls)
		t, after := m.crawls[at].next(now)
		if t != nil {
			m.turn = at + 1
			return t, nil, 0
		}
		if !after.IsZero() {
			pause = min(pause, after.Sub(now))
		}
	}
	return nil, m.changed, pause
}

// wake tells all that wait to look again. The lock is held.
func (m *Manager) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *Manager) find(id string) *crawl {
	for _, c := range m.crawls {
		if c.id == id {
			return c
		}
	}
	return nil
}

// forgetOld drops the oldest of the crawls that are over. The lock is held.
func (m *Manager) forgetOld() {
	kept := 0
	for i := len(m.crawls) - 1; i >= 0; i-- {
		if m.crawls[i].phase != closed {
			continue
		}
		if kept++; kept > keptMax {
			m.crawls = slices.Delete(m.crawls, i, i+1)
		}
	}
}

// note says what holds a crawl up; the empty note takes it back.
func (m *Manager) note(c *crawl, note string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if note != "" && c.note == "" {
		m.cfg.Log.Warn("crawl is held up", "crawl", c.id, "table", c.table.String(), "why", note)
	}
	c.note = note
}

// session waits for a connection's turn.
func (m *Manager) session(ctx context.Context) (*session, error) {
	select {
	case s := <-m.sessions:
		if err := s.connect(ctx); err != nil {
			m.sessions <- s
			return nil, err
		}
		return s, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// release gives a session back. After an error its connection is not used again: it may be what is wrong.
func (m *Manager) release(s *session, err error) {
	if err != nil {
		s.close()
	}
	m.sessions <- s
}

// streamError is an error that the stream gave, not the server.
type streamError struct{ error }

func (e streamError) Unwrap() error { return e.error }

// fromStream tells the stream's own errors, which end Run, from those that are about one table.
func fromStream(err error) error {
	var problem *change.Problem
	switch {
	case err == nil:
		return nil
	case errors.As(err, &problem) && problem.Kind == change.Poison:
		return err
	case errors.Is(err, sql.ErrNoRows), mysql.ErrorNumber(err) != 0:
		return err
	}
	return streamError{err}
}
