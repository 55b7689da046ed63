package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluice-cdc/sluice/change"
)

const (
	headerTimeout   = 10 * time.Second
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 3 * time.Second
)

// Server is what a process shows over HTTP.
type Server struct {
	// Address is host:port; port 0 takes a free one, "" serves nothing: Run then waits for the end.
	Address string

	Health  *Health             // what /readyz says; nil: always ready
	Live    func() error        // what /livez says; nil: alive as long as it answers
	Metrics prometheus.Gatherer // nil: none
	Status  func() any          // called for each /status, gives what becomes JSON; nil: none
	Extra   map[string]http.Handler
	Log     *slog.Logger // nil: slog's default

	// Listening, where it is not nil, is called with the address once the port is open.
	Listening func(net.Addr)
}

// Run serves until ctx ends. An address that cannot be taken is a configuration problem.
func (s *Server) Run(ctx context.Context) error {
	if s.Address == "" {
		<-ctx.Done()
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Address)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return &change.Problem{Kind: change.Configuration, What: "the HTTP address cannot be used", Where: s.Address,
			Why: "metrics, health and status would be missing", Mend: `set another address under http, or "" for none`, Err: err}
	}
	if s.Listening != nil {
		s.Listening(listener.Addr())
	}
	log := s.Log
	if log == nil {
		log = slog.Default()
	}
	log.Info("serving HTTP", "address", listener.Addr().String())
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve HTTP on %s: %w", s.Address, err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		server.Close() // a reader that does not come to an end must not hold up the process
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", s.Address, err)
	}
	return nil
}

// Handler returns all pages, for a process that has a server of its own.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/livez", s.livez)
	mux.HandleFunc("/readyz", s.readyz)
	if s.Metrics != nil {
		mux.Handle("/metrics", promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{}))
	}
	if s.Status != nil {
		mux.HandleFunc("/status", s.status)
	}
	for path, handler := range s.Extra {
		mux.Handle(path, handler)
	}
	mux.Handle("/debug/pprof/", loopback(pprof.Index))
	mux.Handle("/debug/pprof/cmdline", loopback(pprof.Cmdline))
	mux.Handle("/debug/pprof/profile", loopback(pprof.Profile))
	mux.Handle("/debug/pprof/symbol", loopback(pprof.Symbol))
	mux.Handle("/debug/pprof/trace", loopback(pprof.Trace))
	return mux
}

func (s *Server) livez(w http.ResponseWriter, _ *http.Request) {
	if s.Live != nil {
		if err := s.Live(); err != nil {
			http.Error(w, "not alive: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	fmt.Fprintln(w, "alive")
}

// readyz answers 200, or 503 with every reason and what mends it.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	var reasons []Reason
	if s.Health != nil {
		reasons = s.Health.Reasons()
	}
	if len(reasons) == 0 {
		fmt.Fprintln(w, "ready")
		return
	}
	var b strings.Builder
	for _, r := range reasons {
		fmt.Fprintf(&b, "%s: %s\n", r.Key, r.What)
		for _, line := range [...][2]string{{"why ", r.Why}, {"mend", r.Mend}} {
			if line[1] != "" {
				fmt.Fprintf(&b, "  %s   %s\n", line[0], strings.ReplaceAll(line[1], "\n", "\n         "))
			}
		}
	}
	http.Error(w, "not ready\n"+strings.TrimSuffix(b.String(), "\n"), http.StatusServiceUnavailable)
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	body, err := json.MarshalIndent(s.Status(), "", "  ")
	if err != nil {
		http.Error(w, "status: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(body, '\n'))
}

// loopback serves callers on this machine only: a profile shows memory, so rows and passwords. The host that was
// asked for is looked at too, else a web page could have its visitor's browser ask under a name of its own.
func loopback(handler http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopback(r.RemoteAddr) || !isLoopback(r.Host) {
			http.Error(w, "only from the same machine, by a loopback address", http.StatusForbidden)
			return
		}
		handler(w, r)
	})
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.Trim(address, "[]")
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
