package localregistry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
)

// headerTimeout bounds how long a client may take to say what it wants.
const headerTimeout = 10 * time.Second

// Options say where the registry listens and what it keeps.
type Options struct {
	// Port on 127.0.0.1; 0 takes a free one.
	Port int
	// Dir keeps the schemas over restarts in registry.json; made when it is
	// not there. Empty: all is in memory.
	Dir string
	// Compatibility is the level of subjects without their own; default
	// BACKWARD. A level that was set over HTTP and kept in Dir wins.
	Compatibility string
}

// Registry is a running registry.
type Registry struct {
	// Port is the TCP port on 127.0.0.1.
	Port int

	server *http.Server
	path   string // of registry.json, empty without Dir
	// ownPort is set when the port is to be given back at Close.
	ownPort bool
	served  chan struct{} // closed when the HTTP server has ended

	mu sync.Mutex // guards the following, and the file at path
	// store is replaced, never changed in place, so that a change that could
	// not be written is not answered from either.
	store *store
}

// Start starts a registry. Its end is Close, not the end of the context, which
// bounds only the start.
func Start(ctx context.Context, o Options) (*Registry, error) {
	r := &Registry{Port: o.Port, store: newStore(), served: make(chan struct{})}
	if o.Compatibility != "" {
		l, ok := parseLevel(o.Compatibility)
		if !ok {
			return nil, fmt.Errorf("start the local registry: unknown compatibility %q", o.Compatibility)
		}
		r.store.Level = l
	}
	if o.Dir != "" {
		if err := r.load(o.Dir); err != nil {
			return nil, fmt.Errorf("start the local registry: %w", err)
		}
	}
	if r.Port == 0 {
		r.Port, r.ownPort = testbed.FreePort(), true
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", r.Port))
	if err != nil {
		r.releasePort()
		return nil, fmt.Errorf("start the local registry: %w", err)
	}
	r.server = &http.Server{Handler: r.routes(), ReadHeaderTimeout: headerTimeout}
	go func() {
		defer close(r.served)
		_ = r.server.Serve(listener) // always an error: that it was closed
	}()
	return r, nil
}

// URL is what a client takes as the registry's address.
func (r *Registry) URL() string { return fmt.Sprintf("http://127.0.0.1:%d", r.Port) }

// Close ends the registry at once. It may be called more than once.
func (r *Registry) Close() {
	_ = r.server.Close() // an error of closing a listener that we leave anyway
	<-r.served
	r.releasePort()
}

func (r *Registry) releasePort() {
	if r.ownPort {
		testbed.ReleasePort(r.Port)
	}
}

func (r *Registry) load(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make its folder: %w", err)
	}
	r.path = filepath.Join(dir, "registry.json")
	content, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, r.store); err != nil {
		return fmt.Errorf("read %s: %w", r.path, err)
	}
	if err := r.store.index(); err != nil {
		return fmt.Errorf("read %s: %w", r.path, err)
	}
	return nil
}

// view runs a reading of the store.
func (r *Registry) view(read func(*store) (any, error)) (any, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return read(r.store)
}

// update runs a change on a copy of the store and takes the copy once it is on
// disk: a client that was given an id finds it again after any crash.
func (r *Registry) update(change func(*store) (any, error)) (any, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.store.clone()
	answer, err := change(next)
	if err != nil {
		return nil, err
	}
	if r.path != "" {
		if err := writeFile(r.path, next); err != nil {
			return nil, &apiError{codeStoreFailed, "write the registry's file: " + err.Error()}
		}
	}
	r.store = next
	return answer, nil
}

// writeFile replaces the file as a whole.
func writeFile(path string, next *store) error {
	content, err := json.MarshalIndent(next, "", " ")
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".registry-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(content)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
