package binlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// Config says what to read and how.
type Config struct {
	MySQL    mysql.Config
	ServerID uint32       // mysql.ServerID of the source's name; two readers with one id throw each other out
	Facts    *mysql.Facts // of the server that is read
	// Heartbeat is the longest silence of the server on an idle binlog; default 1 s. A crawl's chunks wait for
	// it at most.
	Heartbeat time.Duration
	// ReadTimeout is the silence after which the connection is given up; default 10 heartbeats, 10 s at least.
	ReadTimeout time.Duration
	// Wanted says whether a table's rows are asked for. It is called for each table map, from Run's goroutine.
	Wanted func(change.TableName) bool
	// XAMemoryBytes bounds the rows of prepared XA transactions in memory, all together; default 64 MiB. What
	// goes beyond is kept in files without a name in XASpillDir (the system's temporary folder when empty).
	XAMemoryBytes int64
	XASpillDir    string
	Log           *slog.Logger // default: discarded
}

const (
	heartbeatDefault   = time.Second
	readTimeoutMin     = 10 * time.Second
	heartbeatsMissed   = 10
	xaMemoryDefault    = 64 << 20
	netWriteTimeoutSec = 3600 // a handler may be slow for long: Kafka may be down
)

// Reader reads one server's binlog.
type Reader struct{ cfg Config }

// New returns a Reader. It connects to nothing yet.
func New(cfg Config) *Reader {
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = heartbeatDefault
	}
	if cfg.ReadTimeout <= 0 {
		cfg.ReadTimeout = max(readTimeoutMin, heartbeatsMissed*cfg.Heartbeat)
	}
	if cfg.XAMemoryBytes <= 0 {
		cfg.XAMemoryBytes = xaMemoryDefault
	}
	if cfg.Wanted == nil {
		cfg.Wanted = func(change.TableName) bool { return true }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Reader{cfg}
}

// Run connects and calls handle for each event, in order, one at a time and while the caller waits, until ctx ends, handle
// returns an error or the connection breaks. It always returns an error: ctx's, handle's own as it is, or a
// change.Problem, of kind Retry where a new connection may do.
func (r *Reader) Run(ctx context.Context, from From, handle func(*Event) error) error {
	d := &dump{cfg: &r.cfg, from: from}
	err := d.run(ctx, handle)
	var own handlerError
	switch {
	case errors.As(err, &own):
		return own.error
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}

// newDecoder returns the decoder of one connection.
func (d *dump) newDecoder(handle func(*Event) error) *decoder {
	return &decoder{
		flavor: d.cfg.Facts.Flavor, foldNames: d.cfg.Facts.LowerCaseTableNames != 0, wanted: d.cfg.Wanted, handle: handle,
		resume: newResume(d.from, d.readable), xa: newXAStore(d.cfg.XASpillDir, d.cfg.XAMemoryBytes),
		tables: map[uint64]*table{},
	}
}

// plan is where the dump begins on the server.
type plan struct {
	gtid   *gtid.Set // nil: from file and offset
	file   string
	offset uint64
}

// planDump decides where to begin so that the rows of open XA transactions come again, and which of those can
// be had. purged are the GTIDs whose binlog is gone.
func planDump(from From, flavor gtid.Flavor, purged *gtid.Set) (plan, []XA, error) {
	switch {
	case from.GTID == nil:
		first, readable := change.Position{File: from.File, Offset: from.Offset}, from.OpenXA
		for _, xa := range from.OpenXA {
			if p := (change.Position{File: xa.File, Offset: xa.Offset}); p.Compare(first) < 0 {
				first = p
			}
		}
		return plan{file: first.File, offset: first.Offset}, readable, nil
	case flavor == gtid.MariaDB && len(from.OpenXA) > 0 && from.File != "":
		// MariaDB's GTIDs are a position: there is no way to ask for the prepared transaction alone.
		p, readable, err := planDump(From{File: from.File, Offset: from.Offset, OpenXA: from.OpenXA}, flavor, purged)
		return p, readable, err
	case flavor == gtid.MariaDB:
		return plan{gtid: from.GTID}, nil, nil
	}
	ask := from.GTID.Clone()
	var readable []XA
	for _, xa := range from.OpenXA {
		one, err := gtid.Parse(flavor, xa.GTID)
		if err != nil {
			return plan{}, nil, fmt.Errorf("open XA transaction %s: %w", xa.XID, err)
		}
		if one.Empty() || !one.Minus(purged).Equal(one) {
			continue // its rows are gone: its XA COMMIT will be UnknownXA
		}
		ask, readable = ask.Minus(one), append(readable, xa)
	}
	if missing := purged.Minus(ask); !missing.Empty() {
		return plan{}, nil, purgedProblem(missing.String(), nil)
	}
	return plan{gtid: ask}, readable, nil
}

func purgedProblem(missing string, err error) error {
	what := "the server has purged binlog files that were not read yet"
	if missing != "" {
		what += ": " + missing
	}
	return &change.Problem{
		Kind: change.Configuration, What: what, Err: err,
		Why:  "changes in them are lost for the stream: topics and targets would miss them",
		Mend: "sluice-source --start-anew (it goes on from now, crawls all tables and takes out what is gone); and keep the binlog for longer (binlog_expire_logs_seconds)",
	}
}
