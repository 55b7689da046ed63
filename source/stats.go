package source

import (
	"errors"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/serve"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/source/binlog"
	"github.com/sluice-cdc/sluice/source/crawl"
)

// Stats is what a source tells of itself: /status, /metrics, /readyz and the status topic. It outlives sessions.
type Stats struct {
	events    *prometheus.CounterVec
	crawlRows *prometheus.CounterVec
	struck    prometheus.Counter
	commits_  prometheus.Counter
	sessions  prometheus.Counter
	behind    prometheus.Gauge
	delay     prometheus.Histogram
	ahead     prometheus.Gauge
	stops     prometheus.Gauge

	health    serve.Health
	eventsAll atomic.Int64 // of all tables

	mu     sync.Mutex // guards the following
	report Report
	done   int64 // commits
	oldest int64 // commit time of the oldest transaction in the open Kafka transaction, microseconds; 0: none
	stop   map[change.TableName]Stopped
}

// Report is the source's part of its status record, and what /status serves.
type Report struct {
	Source   string          `json:"source"`
	Server   string          `json:"server"`
	Doing    string          `json:"doing,omitempty"` // what a start is waiting for; empty while it runs
	Position change.Position `json:"position"`        // of the last commit
	GTID     string          `json:"gtid,omitempty"`
	Version  change.Version  `json:"version"`
	// DelaySeconds is the age of the newest published change's commit when it was published; BehindSeconds the age of the
	// last event taken from the server, 0 when the source has caught up.
	DelaySeconds  float64        `json:"delay_seconds"`
	BehindSeconds float64        `json:"behind_seconds"`
	Events        int64          `json:"events"`
	Commits       int64          `json:"commits"`
	Crawls        []crawl.Status `json:"crawls,omitempty"`
	Stopped       []Stopped      `json:"stopped,omitempty"`
	LastError     string         `json:"last_error,omitempty"`
	LastWhy       string         `json:"last_why,omitempty"`
	LastMend      string         `json:"last_mend,omitempty"`
	ErrorMillis   int64          `json:"error_ms,omitempty"`
}

// Stopped is one table that is not published, and what mends it.
type Stopped struct {
	Table  string `json:"table"`
	Reason string `json:"reason"`
	Why    string `json:"why,omitempty"`
	Mend   string `json:"mend"`
}

func newStats(name, server string) *Stats {
	s := &Stats{stop: make(map[change.TableName]Stopped), report: Report{Source: name, Server: server}}
	counter := func(n, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: n, Help: help})
	}
	s.events = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sluice_source_events_total",
		Help: "Change events published from the binlog."}, []string{"table", "op"})
	s.crawlRows = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sluice_source_crawl_rows_total",
		Help: "Rows published by crawls."}, []string{"table"})
	s.struck = counter("sluice_source_crawl_rows_struck_total", "Crawled rows left out because the stream carried them meanwhile.")
	s.commits_ = counter("sluice_source_commits_total", "Kafka transactions committed.")
	s.sessions = counter("sluice_source_session_failures_total", "Sessions that ended with an error.")
	s.behind = prometheus.NewGauge(prometheus.GaugeOpts{Name: "sluice_source_behind_seconds",
		Help: "Age of the last event taken from the server; 0 when caught up."})
	s.ahead = prometheus.NewGauge(prometheus.GaugeOpts{Name: "sluice_source_clock_ahead_seconds",
		Help: "How far a commit time that was not believed lay ahead of this host's clock."})
	s.stops = prometheus.NewGauge(prometheus.GaugeOpts{Name: "sluice_source_tables_stopped",
		Help: "Tables that are not published until somebody mends them."})
	s.delay = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "sluice_source_delay_seconds",
		Help:    "From the commit in the database to the commit in Kafka, of the oldest change of each Kafka transaction.",
		Buckets: []float64{.002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300, 3600}})
	return s
}

// Describe and Collect make Stats a collector for /metrics.
func (s *Stats) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range s.collectors() {
		c.Describe(ch)
	}
}

// Collect gives all metrics.
func (s *Stats) Collect(ch chan<- prometheus.Metric) {
	for _, c := range s.collectors() {
		c.Collect(ch)
	}
}

func (s *Stats) collectors() []prometheus.Collector {
	return []prometheus.Collector{s.events, s.crawlRows, s.struck, s.commits_, s.sessions, s.behind, s.ahead, s.stops, s.delay}
}

// Report returns what the source tells of itself now.
func (s *Stats) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.report
	r.Commits, r.Events = s.done, s.eventsAll.Load()
	for _, t := range s.stop {
		r.Stopped = append(r.Stopped, t)
	}
	sort.Slice(r.Stopped, func(i, j int) bool { return r.Stopped[i].Table < r.Stopped[j].Table })
	return r
}

func (s *Stats) doing(what string) {
	if what == "" {
		s.health.Clear("start")
	} else {
		s.health.Set("start", errors.New(what))
	}
	s.mu.Lock()
	s.report.Doing = what
	s.mu.Unlock()
}

// seen notes an event that was taken from the server.
func (s *Stats) seen(ev *binlog.Event, queued int) {
	if ev.Kind != binlog.Commit && ev.Kind != binlog.Idle {
		return
	}
	behind := 0.0
	if ev.Kind == binlog.Commit && queued > 0 {
		behind = max(0, time.Since(time.Unix(int64(ev.Timestamp), 0)).Seconds())
	}
	s.behind.Set(behind)
	s.mu.Lock()
	s.report.BehindSeconds = behind
	if s.oldest == 0 && ev.Kind == binlog.Commit {
		s.oldest = ev.CommitMicros
	}
	s.mu.Unlock()
}

// alive is told by each session once it has lived for a while, and whether the brokers answer it.
func (s *Stats) alive(kafka error) {
	s.health.Clear("session")
	s.health.Set("kafka", kafka)
}

func (s *Stats) clockAhead(by time.Duration) { s.ahead.Set(by.Seconds()) }

func (s *Stats) committed(at change.Position, v change.Version) {
	s.commits_.Inc()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done++
	s.report.Position, s.report.Version, s.report.GTID = at, v, at.GTID
	if s.oldest > 0 {
		delay := max(0, time.Since(time.UnixMicro(s.oldest)).Seconds())
		s.delay.Observe(delay)
		s.report.DelaySeconds, s.oldest = delay, 0
	}
}

func (s *Stats) commits() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// counters are a table's own of Stats.events: to look one up by its labels costs more than the row's encoding.
type counters struct{ create, update, delete prometheus.Counter }

func (c *counters) of(op change.Op) *prometheus.Counter {
	switch op {
	case change.Create:
		return &c.create
	case change.Update:
		return &c.update
	}
	return &c.delete
}

// published counts a change event of the table.
func (s *Stats) published(t *table, op change.Op) {
	c := t.published.of(op)
	if *c == nil {
		*c = s.events.WithLabelValues(t.name.String(), op.String())
	}
	(*c).Inc()
	s.eventsAll.Add(1)
}

func (s *Stats) crawled(t change.TableName, rows, struck int) {
	s.crawlRows.WithLabelValues(t.String()).Add(float64(rows))
	s.struck.Add(float64(struck))
}

func (s *Stats) crawls(list []crawl.Status) {
	s.mu.Lock()
	s.report.Crawls = list
	s.mu.Unlock()
}

func (s *Stats) stopped(t change.TableName, why *kafka.Stopped) {
	s.health.Set("table "+t.String(), &change.Problem{What: why.Reason, Why: why.Why, Mend: why.Mend})
	s.mu.Lock()
	s.stop[t] = Stopped{Table: t.String(), Reason: why.Reason, Why: why.Why, Mend: why.Mend}
	n := len(s.stop)
	s.mu.Unlock()
	s.stops.Set(float64(n))
}

func (s *Stats) resumed(t change.TableName) {
	s.health.Clear("table " + t.String())
	s.mu.Lock()
	delete(s.stop, t)
	n := len(s.stop)
	s.mu.Unlock()
	s.stops.Set(float64(n))
}

// failed notes why a session ended; err may be nil. It is a reason not to be ready until a session lives.
func (s *Stats) failed(err error) {
	if err == nil {
		return
	}
	s.sessions.Inc()
	s.health.Set("session", err)
	s.mu.Lock()
	s.report.LastError, s.report.LastMend, s.report.ErrorMillis = err.Error(), mendOf(err), time.Now().UnixMilli()
	s.report.LastWhy = ""
	if p := new(change.Problem); errors.As(err, &p) {
		s.report.LastWhy = p.Why
	}
	s.mu.Unlock()
}
