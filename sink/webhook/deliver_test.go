package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

const paidOnly = "before.status != 'PAID' && after.status == 'PAID'"

// versions returns the requests' versions.
func versions(requests []told) []int64 {
	var all []int64
	for i := range requests {
		all = append(all, requests[i].version())
	}
	return all
}

// TestEachEventOnceInOrder: many keys, many events of each in one batch; each is told once, those of a key in order, many side by
// side, and never more than the hook allows.
func TestEachEventOnceInOrder(t *testing.T) {
	r := newReceiver(t)
	r.set(2*time.Millisecond, nil)
	h := r.hook("all")
	h.Concurrency = 5
	target := open(t, h)
	var changes []sink.Change
	for v := range change.Version(300) {
		changes = append(changes, updated(v+1, int64(v%17), "NEW", fmt.Sprint(v)))
	}
	must(t, target, batch(changes...))
	got := r.accepted()
	if len(got) != len(changes) || len(r.all()) != len(changes) {
		t.Fatalf("%d requests, %d accepted, want %d", len(r.all()), len(got), len(changes))
	}
	last := make(map[string]int64)
	for _, x := range got {
		if x.version() <= last[x.key] {
			t.Errorf("key %s: version %d after %d", x.key, x.version(), last[x.key])
		}
		last[x.key] = x.version()
	}
	if r.max != 5 {
		t.Errorf("%d requests were under way at once, want 5", r.max)
	}
}

// TestTheNextWaitsForTheOneBefore: while an event of a key is not accepted no other of the key is sent, by any call; other keys go
// on. What was accepted is not told again when the batch comes again.
func TestTheNextWaitsForTheOneBefore(t *testing.T) {
	r := newReceiver(t)
	down := atomic.Bool{}
	down.Store(true)
	r.set(0, func(x told) (int, map[string]string) {
		if x.key == `{"id":1}` && x.version() == 2 && down.Load() {
			return 500, nil
		}
		return 200, nil
	})
	h := r.hook("paid")
	h.RetryFirst, h.RetryMax = 100*time.Millisecond, time.Second
	target := open(t, h)
	b := batch(created(1, 1, "a"), updated(2, 1, "a", "b"), created(3, 2, "x"), updated(4, 1, "b", "c"), updated(5, 2, "x", "y"))
	err := target.Apply(t.Context(), b)
	problemOf(t, err, change.Retry, "hook paid", "HTTP 500", "said by the receiver", "was not accepted in")
	sorted := versions(r.accepted())
	slices.Sort(sorted)
	if diff := cmp.Diff([]int64{1, 3, 5}, sorted); diff != "" {
		t.Fatalf("accepted (-want +got):\n%s", diff)
	}
	down.Store(false)
	must(t, target, b)
	if diff := cmp.Diff([]int64{2, 4}, versions(r.accepted())[3:]); diff != "" {
		t.Errorf("accepted then (-want +got):\n%s", diff)
	}
	ids := make(map[string]string)
	for _, x := range r.all() {
		if before := ids[fmt.Sprint(x.version())]; before != "" && before != x.id() {
			t.Errorf("version %d has the ids %s and %s", x.version(), before, x.id())
		}
		ids[fmt.Sprint(x.version())] = x.id()
		if x.header.Get("Idempotency-Key") != x.id() {
			t.Errorf("Idempotency-Key is %q, Webhook-Id %q", x.header.Get("Idempotency-Key"), x.id())
		}
	}
	var attempts []string
	for _, x := range r.all() {
		if x.version() == 2 {
			attempts = append(attempts, x.header.Get("Sluice-Attempt"))
		}
	}
	for i, a := range attempts {
		if a != fmt.Sprint(i+1) {
			t.Errorf("attempts are %v", attempts)
		}
	}
	if len(ids) != 5 {
		t.Errorf("ids are %v", ids)
	}
}

// TestAfterACrash the same batch comes from another process: told again, with the same ids.
func TestAfterACrash(t *testing.T) {
	r := newReceiver(t)
	b := batch(created(1, 1, "a"), updated(2, 1, "a", "b"))
	must(t, open(t, r.hook("paid")), b)
	must(t, open(t, r.hook("paid")), b)
	got := r.accepted()
	if diff := cmp.Diff([]int64{1, 2, 1, 2}, versions(got)); diff != "" {
		t.Fatalf("accepted (-want +got):\n%s", diff)
	}
	if got[0].id() != got[2].id() || got[1].id() != got[3].id() || got[0].id() == got[1].id() {
		t.Errorf("ids are %s %s, then %s %s", got[0].id(), got[1].id(), got[2].id(), got[3].id())
	}
	must(t, open(t, r.hook("other")), b)
	if other := r.accepted()[4]; other.id() == got[0].id() {
		t.Error("another hook's event has the same id")
	}
}

// TestRefused: a 4xx is the event's fault: it is named, those before it and other keys' are told, the next of its key is not; with
// its record set aside the rest goes on, and nothing is told twice.
func TestRefused(t *testing.T) {
	for _, status := range []int{400, 403, 404, 409, 410, 413, 422} {
		r := newReceiver(t)
		r.set(0, func(x told) (int, map[string]string) {
			if x.version() == 2 {
				return status, nil
			}
			return 200, nil
		})
		target := open(t, r.hook("paid"))
		b := batch(created(1, 1, "a"), updated(2, 1, "a", "b"), created(3, 2, "x"), updated(4, 1, "b", "c"))
		err := target.Apply(t.Context(), b)
		var refused *sink.Refused
		if !errors.As(err, &refused) || refused.Offset != 2 {
			t.Fatalf("HTTP %d gave %v", status, err)
		}
		problemOf(t, refused.Err, change.Poison, fmt.Sprint("HTTP ", status), "said by the receiver", "dead_letter")
		// A topic that stops at the record is applied up to it, and tried again from there.
		must(t, target, batch(b.Changes[0]))
		tail := batch(b.Changes[1:]...)
		if err := target.Apply(t.Context(), tail); !errors.As(err, &refused) || refused.Offset != 2 {
			t.Fatalf("HTTP %d then gave %v", status, err)
		}
		rest := batch(b.Changes[2], b.Changes[3])
		rest.From = 2
		must(t, target, rest)
		sorted := versions(r.accepted())
		slices.Sort(sorted)
		if diff := cmp.Diff([]int64{1, 3, 4}, sorted); diff != "" {
			t.Errorf("accepted (-want +got):\n%s", diff)
		}
	}
}

// TestBarred: what is the page's fault, or the receiver's as a whole, is nobody's dead letter.
func TestBarred(t *testing.T) {
	other := newReceiver(t)
	for status, words := range map[int]string{401: "headers", 407: "headers", 301: "HTTP 301 to " + other.server.URL, 307: "url", 304: "url"} {
		r := newReceiver(t)
		r.set(0, func(told) (int, map[string]string) {
			if status == 301 || status == 307 {
				return status, map[string]string{"Location": other.server.URL + "/paid?secret"}
			}
			return status, nil
		})
		err := open(t, r.hook("paid")).Apply(t.Context(), batch(created(1, 1, "a"), created(2, 2, "a")))
		var refused *sink.Refused
		if errors.As(err, &refused) {
			t.Errorf("HTTP %d refused one event: %v", status, err)
		}
		problemOf(t, err, change.Poison, words)
	}
	if n := len(other.all()); n != 0 {
		t.Errorf("%d requests followed a redirect", n)
	}
}

// TestTriedAgain: what may pass is tried again until it has.
func TestTriedAgain(t *testing.T) {
	for _, status := range []int{408, 425, 429, 500, 502, 503, 504} {
		r := newReceiver(t)
		left := atomic.Int64{}
		left.Store(3)
		r.set(0, func(told) (int, map[string]string) {
			if left.Add(-1) >= 0 {
				return status, nil
			}
			return 200, nil
		})
		must(t, open(t, r.hook("paid")), batch(created(1, 1, "a")))
		if n := len(r.all()); n != 4 {
			t.Errorf("HTTP %d: %d requests, want 4", status, n)
		}
	}
}

// TestRetryAfter: the receiver is left alone for as long as it asks, by all.
func TestRetryAfter(t *testing.T) {
	r := newReceiver(t)
	first := atomic.Bool{}
	r.set(0, func(told) (int, map[string]string) {
		if first.CompareAndSwap(false, true) {
			return 429, map[string]string{"Retry-After": "1"}
		}
		return 200, nil
	})
	target := open(t, r.hook("paid"))
	must(t, target, batch(created(1, 1, "a")))
	got := r.all()
	if len(got) != 2 || got[1].at.Sub(got[0].at) < 950*time.Millisecond {
		t.Errorf("%d requests, want 2 with a second between", len(got))
	}
	r.set(0, func(told) (int, map[string]string) { return 503, map[string]string{"Retry-After": "3600"} })
	began := time.Now()
	problemOf(t, target.Apply(t.Context(), batch(created(2, 1, "a"), created(3, 2, "a"))), change.Retry, "the next is in", "HTTP 503")
	if took := time.Since(began); took > time.Second || len(r.all()) > 4 {
		t.Errorf("%d requests in %s, though the receiver asked for an hour", len(r.all()), took)
	}
}

// TestTheReceiverHangsAndGoes: answers that never come, connections that break, nobody there; then it is back at the same place.
func TestTheReceiverHangsAndGoes(t *testing.T) {
	r := newReceiver(t)
	h := r.hook("paid")
	h.Timeout = 50 * time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	h.URL = "http://" + address + "/paid"
	serve := func(l net.Listener, handle http.HandlerFunc) *httptest.Server {
		s := &httptest.Server{Listener: l, Config: &http.Server{Handler: handle}}
		s.Start()
		return s
	}
	target := open(t, h)
	b := batch(created(1, 1, "a"), updated(2, 1, "a", "b"))
	hangs := serve(listener, func(_ http.ResponseWriter, request *http.Request) {
		_, _ = io.Copy(io.Discard, request.Body) // only then a server sees that the client has gone
		<-request.Context().Done()
	})
	problemOf(t, target.Apply(t.Context(), b), change.Retry, "hook paid")
	hangs.CloseClientConnections()
	hangs.Close()
	problemOf(t, target.Apply(t.Context(), b), change.Retry, "refused")

	again := func() net.Listener {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	breaks := serve(again(), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	problemOf(t, target.Apply(t.Context(), b), change.Retry)
	breaks.CloseClientConnections()
	breaks.Close()
	back := serve(again(), r.serve)
	defer back.Close()
	must(t, target, b)
	if diff := cmp.Diff([]int64{1, 2}, versions(r.accepted())); diff != "" {
		t.Errorf("accepted (-want +got):\n%s", diff)
	}
}

// TestCircuit: a receiver that fails is left alone, tried by one request at a time, and used again when that succeeds.
func TestCircuit(t *testing.T) {
	r := newReceiver(t)
	h := r.hook("paid")
	h.CircuitFailures, h.CircuitPause, h.CircuitMax, h.Concurrency = 3, 300*time.Millisecond, 300*time.Millisecond, 1
	target := open(t, h)
	var changes []sink.Change
	for v := range change.Version(50) {
		changes = append(changes, created(v+1, int64(v), "a"))
	}
	r.set(0, func(told) (int, map[string]string) { return 500, nil })
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	for ctx.Err() == nil {
		if err := target.Apply(ctx, batch(changes...)); err == nil {
			t.Fatal("applied by a receiver that fails")
		}
	}
	if n := len(r.all()); n < 4 || n > 8 { // 3 open it, then a probe each 150 to 300 ms
		t.Errorf("%d requests in 0.7 s, want 3 and few probes", n)
	}
	r.set(0, nil)
	must(t, target, batch(changes...))
	if n := len(r.accepted()); n != len(changes) {
		t.Errorf("%d accepted, want %d", n, len(changes))
	}
}

// TestEnded: Apply returns when its context ends, with nothing under way.
func TestEnded(t *testing.T) {
	r := newReceiver(t)
	r.set(200*time.Millisecond, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	target := open(t, r.hook("paid"))
	err := target.Apply(ctx, batch(created(1, 1, "a"), updated(2, 1, "a", "b")))
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 150*time.Millisecond {
		t.Errorf("Apply returned %v after %s", err, time.Since(began))
	}
	r.set(0, nil)
	must(t, target, batch(created(1, 1, "a"), updated(2, 1, "a", "b")))
}

// TestHooksOfOnePage: each is told by its own rule; one that is down keeps the others' events of the batch from nobody.
func TestHooksOfOnePage(t *testing.T) {
	r := newReceiver(t)
	paid, all, other := r.hook("paid"), r.hook("all"), r.hook("other")
	paid.Condition, other.Tables = paidOnly, []string{"shop.items", "/crm\\..*/"}
	down := atomic.Bool{}
	down.Store(true)
	r.set(0, func(x told) (int, map[string]string) {
		if x.path == "/paid" && down.Load() {
			return 503, nil
		}
		return 200, nil
	})
	target := open(t, paid, all, other)
	b := batch(created(1, 1, "NEW"), updated(2, 1, "NEW", "PAID"), updated(3, 1, "PAID", "PAID"), created(4, 2, "PAID"))
	problemOf(t, target.Apply(t.Context(), b), change.Retry, "hook paid")
	if n := len(r.accepted()); n != 4 {
		t.Errorf("%d events of the other hook were accepted, want 4", n)
	}
	down.Store(false)
	must(t, target, b)
	told := make(map[string][]int64)
	for _, x := range r.accepted() {
		told[x.path] = append(told[x.path], x.version())
	}
	slices.Sort(told["/paid"])
	slices.Sort(told["/all"])
	if diff := cmp.Diff(map[string][]int64{"/paid": {2, 4}, "/all": {1, 2, 3, 4}}, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// TestReplayed: what the group had passed before is not told again, unless it was asked for.
func TestReplayed(t *testing.T) {
	r := newReceiver(t)
	b := batch(created(1, 1, "a"), updated(2, 1, "a", "b"), updated(3, 1, "b", "c"))
	b.Reached = 3
	must(t, open(t, r.hook("paid")), b)
	if diff := cmp.Diff([]int64{3}, versions(r.accepted())); diff != "" {
		t.Fatalf("accepted (-want +got):\n%s", diff)
	}
	again := r.hook("paid")
	again.Resend = true
	must(t, open(t, again), b)
	b.Resend = true
	must(t, open(t, r.hook("paid")), b)
	got := r.accepted()[1:]
	if diff := cmp.Diff([]int64{1, 2, 3, 1, 2, 3}, versions(got)); diff != "" {
		t.Fatalf("accepted (-want +got):\n%s", diff)
	}
	for _, x := range got {
		if said := x.header.Get("Sluice-Replayed") == "true"; said != (x.version() < 3) {
			t.Errorf("version %d says replayed: %v", x.version(), said)
		}
	}
}

// TestRandomFaults: whatever the receiver does and wherever the process is killed, each event that meets the condition arrives,
// with one id, those of a key in order, and no other.
func TestRandomFaults(t *testing.T) {
	for range 6 {
		seed := rand.Uint64()
		rnd := rand.New(rand.NewPCG(seed, 0))
		r := newReceiver(t)
		r.set(0, func(told) (int, map[string]string) {
			switch rand.IntN(8) {
			case 0:
				return 500, nil
			case 1:
				return 429, map[string]string{"Retry-After": "0"}
			case 2:
				time.Sleep(30 * time.Millisecond) // past the time-out
			case 3:
				panic(http.ErrAbortHandler)
			}
			return 200, nil
		})
		h := r.hook("paid")
		h.Condition, h.Timeout, h.CircuitFailures = paidOnly, 20*time.Millisecond, 2
		status := make(map[int64]string)
		var log []sink.Change
		want := make(map[int64]bool)
		for v := change.Version(1); v <= 120; v++ {
			id, to := rnd.Int64N(6), []string{"NEW", "PAID"}[rnd.IntN(2)]
			if from, there := status[id]; there {
				log = append(log, updated(v, id, from, to))
			} else {
				log = append(log, created(v, id, to))
			}
			want[int64(v)] = to == "PAID" && status[id] != "PAID"
			status[id] = to
		}
		target := open(t, h)
		committed := 0
		for at := 0; at < len(log); {
			n := min(len(log)-at, 1+rnd.IntN(20))
			must(t, target, batch(log[at:at+n]...))
			at += n
			switch rnd.IntN(5) {
			case 0:
				at, target = committed, open(t, h) // killed; the offset was not committed
			case 1:
				committed = at
			}
		}
		fail := check(r.accepted(), want)
		for _, f := range fail {
			t.Error(f)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// check holds what was accepted against what was to be told.
func check(got []told, want map[int64]bool) (problems []string) {
	ids, seen, newest := make(map[int64]string), make(map[string]bool), make(map[string]int64)
	for _, x := range got {
		v := x.version()
		if !want[v] {
			problems = append(problems, fmt.Sprintf("version %d was told", v))
		}
		if before, again := ids[v]; again && before != x.id() {
			problems = append(problems, fmt.Sprintf("version %d has two ids", v))
		}
		if !seen[x.id()] && v < newest[x.key] {
			problems = append(problems, fmt.Sprintf("key %s: %d was told first after %d", x.key, v, newest[x.key]))
		}
		ids[v], seen[x.id()] = x.id(), true
		newest[x.key] = max(newest[x.key], v)
	}
	for v, special := range want {
		if _, told := ids[v]; special && !told {
			problems = append(problems, fmt.Sprintf("version %d was not told", v))
		}
	}
	return problems
}
