package serve

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-cdc/sluice/change"
)

func get(h http.Handler, path, remote, host string) (int, string) {
	r := httptest.NewRequest("GET", "http://"+host+path, nil)
	r.RemoteAddr = remote
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestReadyWithReasons(t *testing.T) {
	health := &Health{}
	h := (&Server{Health: health}).Handler()
	if code, body := get(h, "/readyz", "10.0.0.1:1", "x"); code != 200 || body != "ready\n" {
		t.Errorf("a ready process says %d %q", code, body)
	}
	health.Set("start", errors.New("the broker does not answer"))
	health.Set("topic a", &change.Problem{What: "a row is too long", Why: "it would be cut", Mend: "ALTER TABLE a ..."})
	code, body := get(h, "/readyz", "10.0.0.1:1", "x")
	for _, want := range []string{"start: the broker does not answer", "topic a: a row is too long", "why    it would be cut", "mend   ALTER TABLE a"} {
		if code != 503 || !strings.Contains(body, want) {
			t.Errorf("/readyz says %d %q, want 503 with %q", code, body, want)
		}
	}
	health.Clear("start")
	health.Set("topic a", nil)
	if code, _ := get(h, "/readyz", "10.0.0.1:1", "x"); code != 200 {
		t.Errorf("/readyz says %d after all reasons are gone", code)
	}
}

func TestLive(t *testing.T) {
	var problem error
	h := (&Server{Live: func() error { return problem }}).Handler()
	if code, _ := get(h, "/livez", "10.0.0.1:1", "x"); code != 200 {
		t.Errorf("/livez says %d", code)
	}
	problem = errors.New("stuck")
	if code, body := get(h, "/livez", "10.0.0.1:1", "x"); code != 503 || !strings.Contains(body, "stuck") {
		t.Errorf("/livez says %d %q", code, body)
	}
}

func TestMetricsAndStatus(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sluice_test", Help: "h"}, func() float64 { return 7 }))
	h := (&Server{Metrics: registry, Status: func() any { return map[string]int{"lag": 3} }}).Handler()
	if _, body := get(h, "/metrics", "10.0.0.1:1", "x"); !strings.Contains(body, "sluice_test 7") {
		t.Errorf("/metrics says %q", body)
	}
	_, body := get(h, "/status", "10.0.0.1:1", "x")
	var status map[string]int
	if err := json.Unmarshal([]byte(body), &status); err != nil || status["lag"] != 3 {
		t.Errorf("/status says %q (%v)", body, err)
	}
}

func TestPprofOnLoopbackOnly(t *testing.T) {
	h := (&Server{}).Handler()
	for _, c := range []struct {
		remote, host string
		want         int
	}{
		{"127.0.0.1:9", "127.0.0.1:80", 200},
		{"[::1]:9", "localhost", 200},
		{"10.0.0.7:9", "127.0.0.1", 403},
		{"127.0.0.1:9", "evil.example", 403},
	} {
		for _, page := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/heap"} {
			if code, _ := get(h, page, c.remote, c.host); code != c.want {
				t.Errorf("%s from %s as %s: %d, want %d", page, c.remote, c.host, code, c.want)
			}
		}
	}
}

func TestRunServesAndEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address := make(chan net.Addr, 1)
	s := &Server{Address: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler), Listening: func(a net.Addr) { address <- a }}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	at := (<-address).String()
	response, err := http.Get("http://" + at + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	response.Body.Close()
	if string(body) != "alive\n" {
		t.Errorf("/livez says %q", body)
	}
	taken := &Server{Address: at, Log: slog.New(slog.DiscardHandler)}
	if err := taken.Run(ctx); change.SeverityOf(err) != change.Configuration || !strings.Contains(change.Explain(err), "http") {
		t.Errorf("a taken address gave %v, want a configuration problem", err)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("run gave %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("run did not end")
	}
}

func TestLogger(t *testing.T) {
	var b strings.Builder
	NewLogger(&b, LogConfig{Format: LogJSON, Level: slog.LevelWarn}).Info("not shown")
	NewLogger(&b, LogConfig{Format: LogJSON}).Info("shown", "topic", "a")
	if s := b.String(); strings.Contains(s, "not shown") || !strings.Contains(s, `"topic":"a"`) {
		t.Errorf("the log is %q", s)
	}
	var f LogFormat
	if err := f.UnmarshalText([]byte("xml")); err == nil {
		t.Error("the format xml was taken")
	}
}
