package webhook

import "github.com/prometheus/client_golang/prometheus"

// metrics are the target's own, beside the runtime's.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	skipped  *prometheus.CounterVec
	open     *prometheus.GaugeVec
}

func newMetrics() *metrics {
	const prefix = "sluice_sink_webhook_"
	return &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "requests_total",
			Help: "Requests by what came of them: accepted, refused, failed, barred (the receiver takes none), cut (ended by the sink)."}, []string{"hook", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + "request_seconds", Help: "Time of a request, its answer read.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15)}, []string{"hook"}),
		skipped: prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "skipped_total",
			Help: "Changes that a hook was not told of: op, since, replayed, condition (false), unknown (it asks for a before image that is not known)."}, []string{"hook", "why"}),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + "circuit_open", Help: "1 while the hook's circuit is open."}, []string{"hook"}),
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.seconds, m.skipped, m.open}
}

// Describe describes the target's metrics.
func (t *Target) Describe(to chan<- *prometheus.Desc) {
	for _, c := range t.metrics.all() {
		c.Describe(to)
	}
}

// Collect collects them.
func (t *Target) Collect(to chan<- prometheus.Metric) {
	for _, c := range t.metrics.all() {
		c.Collect(to)
	}
}
