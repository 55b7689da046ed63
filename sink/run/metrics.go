package run

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// metrics are the runtime's; a target that is a prometheus.Collector adds its own (stale rows, conflicts).
type metrics struct {
	registry *prometheus.Registry

	changes    *prometheus.CounterVec
	tombstones *prometheus.CounterVec
	batches    *prometheus.CounterVec
	bytes      *prometheus.CounterVec
	apply      *prometheus.HistogramVec
	failures   *prometheus.CounterVec
	retries    *prometheus.CounterVec
	begins     *prometheus.CounterVec
	dead       *prometheus.CounterVec
	paused     *prometheus.GaugeVec
	lagSeconds *prometheus.GaugeVec
	lagRecords *prometheus.GaugeVec
	delay      *prometheus.HistogramVec
	assigned   prometheus.Gauge
	queued     prometheus.Gauge
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sluice_sink_" + name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "sluice_sink_" + name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "sluice_sink_" + name, Help: help, Buckets: buckets}, []string{"topic"})
		m.registry.MustRegister(v)
		return v
	}
	m.changes = counter("changes_total", "Changes that were applied, those that lost to newer ones among them.", "topic", "op")
	m.tombstones = counter("tombstones_total", "Tombstones that were applied.", "topic")
	m.batches = counter("batches_total", "Batches that were applied, those without changes among them.", "topic")
	m.bytes = counter("bytes_total", "Bytes of the records that were applied.", "topic")
	m.apply = histogram("apply_seconds", "Time that the target took for a batch with changes.", prometheus.ExponentialBuckets(0.0005, 2, 17))
	m.delay = histogram("delay_seconds", "Time from the commit at the source to the change being applied, for the newest change of each batch.",
		prometheus.ExponentialBuckets(0.001, 2, 22))
	m.failures = counter("failures_total", "Batches that the target did not take, by the kind of the error.", "topic", "kind")
	m.retries = counter("retries_total", "Tries after an error that is expected to pass.", "topic")
	m.begins = counter("rereads_total", "Times that a partition was read anew from the target's progress.", "topic")
	m.dead = counter("dead_letters_total", "Records that went to the dead letters.", "topic")
	m.paused = gauge("paused", "1 while the topic stands still because of an error.", "topic")
	m.lagSeconds = gauge("lag_seconds", "How old the newest change applied is, while newer ones wait; the most of the topic's partitions here.", "topic")
	m.lagRecords = gauge("lag_records", "Offsets between what is applied and the end of the log.", "topic", "partition")
	m.assigned = prometheus.NewGauge(prometheus.GaugeOpts{Name: "sluice_sink_partitions", Help: "Partitions that are assigned to this process."})
	m.queued = prometheus.NewGauge(prometheus.GaugeOpts{Name: "sluice_sink_queue_bytes", Help: "Bytes of records that wait to be applied."})
	m.registry.MustRegister(m.assigned, m.queued)
	return m
}

// applied counts one call of the target.
func (m *metrics) applied(at spot, b *sink.Batch, took time.Duration, err error) {
	if err != nil {
		m.failures.WithLabelValues(at.topic, change.SeverityOf(err).String()).Inc()
		return
	}
	m.batches.WithLabelValues(at.topic).Inc()
	m.bytes.WithLabelValues(at.topic).Add(float64(b.Bytes))
	if len(b.Changes) == 0 {
		return
	}
	m.apply.WithLabelValues(at.topic).Observe(took.Seconds())
	var ops [256]int
	tombstones := 0
	var newest int64
	for i := range b.Changes {
		c := &b.Changes[i]
		if c.Tombstone {
			tombstones++
			continue
		}
		ops[c.Op]++
		if c.Op != change.Read {
			newest = max(newest, c.Origin.CommitMillis)
		}
	}
	for _, op := range []change.Op{change.Create, change.Update, change.Delete, change.Read} {
		if ops[op] > 0 {
			m.changes.WithLabelValues(at.topic, op.String()).Add(float64(ops[op]))
		}
	}
	m.tombstones.WithLabelValues(at.topic).Add(float64(tombstones))
	if newest > 0 {
		m.delay.WithLabelValues(at.topic).Observe(max(0, time.Since(time.UnixMilli(newest)).Seconds()))
	}
}

// forget takes away what is shown of a partition that is another's now.
func (m *metrics) forget(at spot) {
	m.lagRecords.DeleteLabelValues(at.topic, strconv.Itoa(int(at.partition)))
}
