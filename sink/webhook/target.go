package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Target tells the hooks of one page.
type Target struct {
	hooks    []*hook
	log      *slog.Logger
	metrics  *metrics
	memories memories
	forms    sync.Map // *change.Table -> []*form, by hook; nil where the hook is not for the table
}

var (
	_ sink.Target          = (*Target)(nil)
	_ sink.Preparer        = (*Target)(nil)
	_ sink.Checker         = (*Target)(nil)
	_ sink.Floor           = (*Target)(nil)
	_ sink.Resender        = (*Target)(nil)
	_ prometheus.Collector = (*Target)(nil)
)

// New returns the target of a config that has been checked. It connects to nothing.
func New(config Config, setup sink.Setup) (*Target, error) {
	t := &Target{log: setup.Log, metrics: newMetrics(), memories: memories{by: make(map[sink.Partition]*memory)}}
	for i := range config.Hooks {
		h, err := newHook(&config.Hooks[i])
		if err != nil {
			return nil, err
		}
		t.hooks = append(t.hooks, h)
		t.metrics.open.WithLabelValues(h.config.Name).Set(0)
	}
	return t, nil
}

// Close lets go of idle connections.
func (t *Target) Close() error {
	for _, h := range t.hooks {
		h.client.CloseIdleConnections()
	}
	return nil
}

// Floor bounds how far behind the sink may fall: each change is to be told of, and the log keeps each for so long.
func (t *Target) Floor(s sink.LogSettings) time.Duration {
	if !s.Compacted {
		return 0
	}
	return s.MinCompactionLag
}

// Prepare makes the hooks ready for the schemas of tables, and says which of their conditions and bodies do not fit.
func (t *Target) Prepare(_ context.Context, _, _ string, tables []*change.Table) error {
	for _, table := range tables {
		if _, err := t.formsOf(table); err != nil {
			return err
		}
	}
	return nil
}

// formsOf returns the hooks' forms for a schema of a table, by hook.
func (t *Target) formsOf(table *change.Table) ([]*form, error) {
	if known, ok := t.forms.Load(table); ok {
		return known.([]*form), nil
	}
	forms := make([]*form, len(t.hooks))
	for i, h := range t.hooks {
		if !h.matches(table) {
			continue
		}
		var err error
		if forms[i], err = newForm(h, table); err != nil {
			return nil, err
		}
	}
	t.forms.Store(table, forms)
	return forms, nil
}

// Check looks whether the receivers can be reached and whether the hooks fit the tables. It sends nothing.
func (t *Target) Check(ctx context.Context, _ string, tables []*change.Table) ([]sink.Finding, error) {
	var found []sink.Finding
	for _, h := range t.hooks {
		where := "hook " + h.config.Name
		if err := h.reach(ctx); err != nil {
			found = append(found, sink.Finding{Level: sink.Wrong, Where: where, What: hostOf(h.config.URL) + " cannot be reached: " + err.Error(),
				Why: "no event would arrive", Mend: "look at the hook's url and tls_ca, and at the receiver"})
		} else {
			found = append(found, sink.Finding{Level: sink.Good, Where: where, What: hostOf(h.config.URL) + " can be reached"})
		}
		if h.key == nil {
			found = append(found, sink.Finding{Level: sink.Warning, Where: where, What: "requests are not signed",
				Why: "the receiver cannot tell them from others' requests", Mend: "set the hook's secret, and have the receiver verify " + headerSignature})
		}
		found = append(found, h.checkTables(where, tables)...)
	}
	return found, nil
}

func (h *hook) checkTables(where string, tables []*change.Table) []sink.Finding {
	var found []sink.Finding
	matched := 0
	for _, table := range tables {
		if !h.matches(table) {
			continue
		}
		matched++
		if _, err := newForm(h, table); err != nil {
			found = append(found, sink.Finding{Level: sink.Wrong, Where: where, What: err.Error(), Why: "the topic of " + table.String() + " would stop",
				Mend: "correct the hook in the page"})
		}
	}
	switch {
	case matched == 0 && len(tables) > 0:
		found = append(found, sink.Finding{Level: sink.Warning, Where: where, What: fmt.Sprintf("no table of the page's topics matches %q", h.config.Tables),
			Why: "nothing would be told", Mend: "look at the hook's tables, database.table, and at topics"})
	case len(found) == 0 && matched > 0:
		found = append(found, sink.Finding{Level: sink.Good, Where: where, What: fmt.Sprintf("fits %d tables", matched)})
	}
	return found
}

// noted counts one request, and says so where the circuit has opened or closed by it.
func (t *Target) noted(h *hook, a *answer, changed bool, took time.Duration) {
	name := h.config.Name
	t.metrics.requests.WithLabelValues(name, string(a.outcome)).Inc()
	t.metrics.seconds.WithLabelValues(name).Observe(took.Seconds())
	if !changed {
		return
	}
	if h.open() {
		t.metrics.open.WithLabelValues(name).Set(1)
		t.log.Warn("circuit open: the receiver is left alone for a while", "hook", name, "target", hostOf(h.config.URL), "error", a.err)
		return
	}
	t.metrics.open.WithLabelValues(name).Set(0)
	t.log.Info("circuit closed: the receiver is back", "hook", name, "target", hostOf(h.config.URL))
}
