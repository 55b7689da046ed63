package source

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/fault"
	"github.com/sluice-cdc/sluice/internal/mutant"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/source/binlog"
	"github.com/sluice-cdc/sluice/source/crawl"
	"github.com/sluice-cdc/sluice/source/merge"
	"github.com/sluice-cdc/sluice/source/publish"
)

// session is one life of the source: everything that it opens, in the order in which it does.
type session struct {
	*Source
	pub    *publish.Publisher
	db     *sql.DB
	facts  *mysql.Facts
	loop   *loop
	stream *stream
	crawls *crawl.Manager
	lost   bool // history that cannot be had was given up by the operator: all tables are crawled
}

// session runs one session to its end, which is always an error unless ctx ended first.
func (s *Source) session(ctx context.Context) error {
	x := &session{Source: s}
	defer x.close()
	alive := func() {}
	defer func() { alive() }()
	for _, step := range []struct {
		doing string
		do    func(context.Context) error
	}{
		{"looking for another source of this name", x.standby},
		{"taking over the topics", func(ctx context.Context) error { alive = x.showLife(ctx); return x.openKafka(ctx) }},
		{"looking at the server", x.openServer},
		{"reading where to go on", x.openLoop},
		{"making the transaction topic", x.openMetadata},
		{"looking at the tables", x.openTables},
	} {
		s.stats.doing(step.doing)
		if err := step.do(ctx); err != nil {
			return x.explain(err)
		}
	}
	s.stats.doing("")
	alive() // from here tellStatus shows it
	return x.explain(x.work(ctx))
}

// explain judges an error that nobody has judged yet: it comes from the server or the way to it.
func (x *session) explain(err error) error {
	var known *change.Problem
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return err
	case !errors.As(err, &known):
		return withReason(x.cfg.MySQL.Problem(err))
	}
	if _, address := x.cfg.MySQL.Endpoint(); known.Where == address {
		return withReason(err)
	}
	return err
}

// withReason says why an error of the server matters, where nobody has said it.
func withReason(err error) error {
	var p *change.Problem
	if !errors.As(err, &p) || p.Why != "" {
		return err
	}
	switch p.Kind {
	case change.Retry:
		p.Why = "no change is lost: the server's binlog keeps what is not read yet, for as long as it is set to (binlog_expire_logs_seconds)"
	case change.Configuration:
		p.Why = "without the server there is nothing to read, and trying again would not help"
	}
	return err
}

func (x *session) close() {
	if x.pub != nil {
		x.pub.Close()
	}
	if x.db != nil {
		x.db.Close()
	}
}

// standby waits while another source of this name is alive. Taking the producer id from it would throw it out, and its
// supervisor would start it again and throw us out.
func (x *session) standby(ctx context.Context) error {
	for topic, settings := range map[string]kafka.TopicSettings{
		kafka.StatusTopic(x.cfg.Name): x.cfg.Kafka.StatusSettings(),
		kafka.SignalTopic(x.cfg.Name): x.cfg.Kafka.SignalSettings(),
	} {
		if _, err := kafka.EnsureTopic(ctx, x.admin, topic, settings); err != nil {
			return err
		}
	}
	err := kafka.Standby(ctx, x.client, x.cfg.Name, x.reporter.Instance(), standbyQuiet, func(other kafka.Status) {
		x.stats.doing("standing by for another source of this name on " + other.Process.Host)
		x.log.Info("another source of this name is running; standing by until it is silent", "host", other.Process.Host,
			"pid", other.Process.PID, "quiet", standbyQuiet.String())
	}, func() {
		if err := x.reporter.Write(ctx, kafka.RoleStandby, x.stats.Report()); err != nil {
			x.log.Warn("status could not be written", "error", err)
		}
	})
	if err != nil {
		return err
	}
	return x.forgetOthers(ctx)
}

// forgetOthers takes the statuses of sources away that are gone without having said so; one that only stood still is fenced
// in a moment and ends.
func (x *session) forgetOthers(ctx context.Context) error {
	all, err := kafka.ReadStatus(ctx, x.client, x.cfg.Name)
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.Role == kafka.RoleSource && s.Instance != x.reporter.Instance() {
			if err := kafka.Forget(ctx, x.client, x.cfg.Name, s.Instance); err != nil {
				return err
			}
		}
	}
	return nil
}

// showLife writes that this is the source while it opens, which may take long: a second source that starts meanwhile
// would take the topics from it, and its supervisor would take them back. The function that it returns ends that.
func (x *session) showLife(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			if err := x.reporter.Write(ctx, kafka.RoleSource, x.stats.Report()); err != nil && ctx.Err() == nil {
				x.log.Warn("status could not be written", "error", err)
			}
			select {
			case <-time.After(statusEvery):
			case <-ctx.Done():
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// standbyQuiet is how long another source must be silent before it counts as gone.
const standbyQuiet = 6 * statusEvery

// openKafka takes the producer id first and reads the checkpoint then (R2): from the first step on nobody else can add to
// what the second reads.
func (x *session) openKafka(ctx context.Context) (err error) {
	if x.pub, err = publish.Open(ctx, publish.Config{
		Kafka: x.cfg.Kafka, Prefix: x.cfg.Name, TransactionTimeout: x.cfg.Limits.TransactionTimeout, Log: x.log, Notice: func(what string) { x.stats.doing(what); x.log.Info(what) },
	}); err != nil {
		return err
	}
	fault.Point("source/after-open")
	return nil
}

// openServer connects to the server and looks at everything the run depends on.
func (x *session) openServer(ctx context.Context) (err error) {
	x.db, err = mysql.Open(x.cfg.MySQL, mysql.Options{
		Variables: mysql.ReadVariables(), ReadTimeout: 5 * time.Minute, MaxConnections: x.cfg.Crawl.Workers*2 + 4,
	})
	if err != nil {
		return err
	}
	if x.facts, err = mysql.ReadFacts(ctx, x.db); err != nil {
		return err
	}
	findings := mysql.Preflight(x.facts)
	grants, err := mysql.CheckGrants(ctx, x.db, x.facts, nil) // those on tables when they are known: openTables
	if err != nil && len(mysql.Errors(findings)) == 0 {
		return err
	}
	return refuse(findingsAt(x.cfg.MySQL.Address, x.facts, append(findings, grants...)), func(f mysql.Finding) {
		x.log.Warn(f.What, "why", f.Why, "mend", f.Mend)
	})
}

// findingsAt says where the findings about the server are by its address, which people know better than its id.
func findingsAt(address string, facts *mysql.Facts, findings []mysql.Finding) []mysql.Finding {
	for i := range findings {
		if findings[i].Where == facts.Identity() {
			findings[i].Where = address
		}
	}
	return findings
}

// refuse returns the errors among the findings as one, and gives the warnings to warn.
func refuse(findings []mysql.Finding, warn func(mysql.Finding)) error {
	var errs []error
	for i := range findings {
		if findings[i].Warning {
			warn(findings[i])
			continue
		}
		errs = append(errs, &findings[i].Problem)
	}
	return errors.Join(errs...)
}

// openLoop makes the loop from the checkpoint, or, without one, from where the server is now.
func (x *session) openLoop(ctx context.Context) error {
	l := &loop{
		cfg: &x.cfg, accept: &x.accept, log: x.log, pub: x.pub, stats: x.stats, lookup: x,
		queue: newQueue(x.cfg.Limits.QueueBytes), calls: make(chan func(context.Context) error, 256), over: make(chan struct{}),
		tables: make(map[change.TableName]*table), merger: merge.New(merge.Limits{Bytes: x.cfg.Limits.WindowBytes}),
		windows: make(map[merge.WindowID]int), waiting: make(map[merge.WindowID]*chunk), openXA: x.pub.Checkpoint().XA, exists: x.exists,
		identity: kafka.ServerIdentity{
			UUID: x.facts.ServerUUID, ServerID: x.facts.ServerID, Flavor: x.facts.Flavor.String(), Version: x.facts.Version,
			Address: x.cfg.MySQL.Address,
		},
		committed: time.Now(),
	}
	x.loop = l
	x.stream = &stream{loop: l, serverUUID: x.facts.ServerUUID, learn: x.learn}
	at := x.pub.Checkpoint().Position
	if at != nil && x.accept.Anew {
		return x.startAnew(ctx, at)
	}
	if at != nil {
		return x.resumeAt(ctx, at)
	}
	return x.startNow(ctx)
}

// resumeAt goes on from the checkpoint, if this is still the history that it is a place in.
func (x *session) resumeAt(ctx context.Context, at *kafka.PositionState) (err error) {
	l := x.loop
	l.version, l.resumed = at.Version, at.InTransaction
	l.position = change.Position{File: at.File, Offset: at.Offset}
	if at.GTID == "" && !x.facts.GTIDMode {
		return sameServer(at, &l.identity)
	}
	if at.Server.UUID != l.identity.UUID || at.Server.ServerID != l.identity.ServerID {
		l.position = change.Position{} // another server's: a chunk must not be held against it
	}
	if at.Server.Flavor != l.identity.Flavor {
		return sameServer(at, &l.identity)
	}
	if !x.facts.GTIDMode {
		return &change.Problem{Kind: change.Configuration, What: "gtid_mode is off on " + x.cfg.MySQL.Address + ", and the checkpoint is a GTID set",
			Why: "without GTIDs the server cannot be asked for what is missing", Mend: "set gtid_mode=ON again, or: sluice-source --start-anew (it crawls all tables and takes out what is gone)"}
	}
	if at.GTID == "" && !at.GTIDs {
		return &change.Problem{Kind: change.Configuration, What: "gtid_mode is on, and the checkpoint is a file and an offset of the time without: " + l.position.String(),
			Where: x.cfg.MySQL.Address, Why: "the set of GTIDs that are published is empty: asked by it, the server leaves out what has none",
			Mend: "sluice-source --start-anew (it goes on from now, crawls all tables and takes out what is gone)"}
	}
	if l.published, err = gtid.Parse(x.facts.Flavor, at.GTID); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	// A transaction that was published in part was delivered: a chunk must not be read before all of it is visible, and
	// if the server does not have it, what was published of it is as wrong as a whole transaction would be.
	l.delivered = l.published.Clone()
	for i := range l.resumed {
		if err := l.delivered.Add(l.resumed[i].GTID); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
	}
	return x.awaitHistory(ctx, at)
}

// sameServer refuses another server where only file and offset say where to go on.
func sameServer(at *kafka.PositionState, now *kafka.ServerIdentity) error {
	if at.Server.UUID == now.UUID && at.Server.Flavor == now.Flavor && (now.UUID != "" || at.Server.ServerID == now.ServerID) {
		return nil
	}
	return &change.Problem{
		Kind: change.Configuration, What: fmt.Sprintf("this is another server (%s %s) than the checkpoint's (%s %s)", now.Flavor, now.UUID, at.Server.Flavor, at.Server.UUID),
		Where: now.Address,
		Why:   "without GTIDs a file and offset mean something on one server only",
		Mend:  "go back to " + at.Server.Address + ", or go on with this one: sluice-source --start-anew (it crawls all tables and takes out what is gone)",
	}
}

// awaitHistory holds what was published against what the server has executed, for some time: a replica that was made the
// source may still be applying what it has received. If something is missing for good, a failover has lost transactions that
// are in the topics: the server would send no error, and the topics would hold rows that do not exist.
func (x *session) awaitHistory(ctx context.Context, at *kafka.PositionState) error {
	deadline := time.Now().Add(x.cfg.Limits.HistoryWait)
	for {
		file, offset, executed, err := x.facts.BinlogStatus(ctx, x.db)
		if err != nil {
			return err
		}
		missing := x.loop.delivered.Minus(executed)
		if missing.Empty() || mutant.NoSubset {
			return nil
		}
		if x.accept.LostTransactions {
			x.log.Warn("going on without transactions that were published and lost; all tables are crawled", "missing", missing.String())
			return x.giveUp(missing)
		}
		// A server that did not crash still has in its binlog what it sent us: a commit hangs there (semi-sync without its
		// replica). A crash would have begun a new file.
		hangs := at.Server.UUID == x.facts.ServerUUID && file == at.File && offset >= at.Offset
		if time.Now().After(deadline) && !hangs {
			return &change.Problem{
				Kind: change.Configuration, What: "the server lacks transactions that were published: " + missing.String(), Where: x.cfg.MySQL.Address,
				Why:  "a failover lost them; the topics hold their changes, the database does not",
				Mend: "bring them back to the server, or accept the loss: sluice-source --accept-lost-transactions (it crawls all tables over the top and takes out what is gone)",
			}
		}
		x.stats.doing("waiting for the server to have what was published: " + missing.String())
		x.log.Info("waiting for the server to have what was published", "missing", missing.String(), "commit_hangs", hangs)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// giveUp takes what the server lacks out of what is known of its history. Its GTIDs may be given to other transactions.
func (x *session) giveUp(missing *gtid.Set) error {
	l := x.loop
	l.published, l.delivered = l.published.Minus(missing), l.delivered.Minus(missing)
	var resumed []kafka.InTransaction
	for _, r := range l.resumed {
		one, err := gtid.Parse(x.facts.Flavor, r.GTID)
		if err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
		if one.Minus(missing).Equal(one) {
			resumed = append(resumed, r)
		}
	}
	l.resumed, x.lost = resumed, true
	return nil
}

// startAnew gives up what came since the checkpoint, as the operator has asked for: what was prepared or published in part
// then will not come again.
func (x *session) startAnew(ctx context.Context, at *kafka.PositionState) error {
	x.lost = true
	if err := x.startNow(ctx); err != nil {
		return err
	}
	x.loop.version = max(x.loop.version, at.Version)
	return nil
}

// startNow begins without a checkpoint: at the server's present end, never earlier, with versions above all that the
// topics hold. Rows from before come by the crawl.
func (x *session) startNow(ctx context.Context) error {
	l := x.loop
	file, offset, executed, err := x.facts.BinlogStatus(ctx, x.db)
	if err != nil {
		return err
	}
	l.position = change.Position{File: file, Offset: offset}
	if x.facts.GTIDMode {
		l.published, l.delivered = executed, executed.Clone()
	}
	topics, err := kafka.ListTopics(ctx, x.admin, x.cfg.Name)
	if err != nil {
		return err
	}
	if l.version, err = kafka.GreatestVersion(ctx, x.client, slices.Collect(maps.Keys(topics))); err != nil {
		return err
	}
	l.dirty = true
	x.log.Info("starting at the server's present position", "position", l.position.String(), "version", int64(l.version))
	return x.warnPrepared(ctx)
}

// warnPrepared looks for XA transactions that were prepared before the source's time: their rows are not in what it will
// read, and their XA COMMIT makes it crawl.
func (x *session) warnPrepared(ctx context.Context) error {
	rows, err := x.db.QueryContext(ctx, "XA RECOVER")
	if err != nil {
		x.log.Warn("XA RECOVER is not allowed: prepared transactions from before this start are noticed at their commit only", "error", err)
		return nil
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		n++
	}
	if n > 0 {
		x.log.Warn("XA transactions are prepared and open; when one commits, all tables are crawled over the top", "transactions", n)
	}
	return rows.Err()
}

// work runs the session's goroutines until the first of them ends.
func (x *session) work(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	run := func(f func(context.Context) error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			err := f(ctx)
			once.Do(func() { first = err })
			cancel(err)
		}()
	}
	run(func(ctx context.Context) error { defer close(x.loop.over); return x.loop.run(ctx) })
	run(x.readBinlog)
	run(x.crawls.Run)
	run(x.takeSignals)
	run(x.watchTopics)
	run(x.tellStatus)
	wg.Wait()
	return first
}

// readBinlog feeds the loop.
func (x *session) readBinlog(ctx context.Context) error {
	reader := binlog.New(binlog.Config{
		MySQL: x.cfg.MySQL, ServerID: x.cfg.ServerID, Facts: x.facts,
		Wanted:        func(t change.TableName) bool { return x.cfg.Rule(t) != nil },
		XASpillDir:    os.TempDir(),
		XAMemoryBytes: x.cfg.Limits.XAMemoryBytes, Log: x.log,
	})
	return reader.Run(ctx, x.from(), func(ev *binlog.Event) error { return x.loop.queue.put(ctx, ev) })
}

// from says where the stream goes on.
func (x *session) from() binlog.From {
	l := x.loop
	from := binlog.From{File: l.position.File, Offset: l.position.Offset}
	if l.published != nil {
		from.GTID = l.published.Clone()
	}
	for _, open := range l.openXA {
		from.OpenXA = append(from.OpenXA, binlog.XA{XID: open.XID, GTID: open.GTID, File: open.File, Offset: open.Offset})
	}
	return from
}
