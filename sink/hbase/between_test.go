package hbase_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
)

// between is a proxy in front of the gateway that answers some requests itself: what a gateway says when its servers fail, which a test
// cannot have at will.
type between struct {
	server *httptest.Server

	mu     sync.Mutex // guards the following
	answer func(r *http.Request) (status int, text string)
}

// through makes a place whose targets go through a between.
func through(t *testing.T) (*place, *between) {
	t.Helper()
	p := newPlace(t)
	to, err := url.Parse(p.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	b := &between{}
	proxy := httputil.NewSingleHostReverseProxy(to)
	b.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		answer := b.answer
		b.mu.Unlock()
		if answer != nil {
			if status, text := answer(r); status != 0 {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(status)
				_, _ = io.WriteString(w, text)
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(b.server.Close)
	p.config.URL = b.server.URL
	return p, b
}

// set has the answer given to each request for which its status is not 0.
func (b *between) set(answer func(r *http.Request) (status int, text string)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
}
