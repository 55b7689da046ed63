package elasticsearch_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/elasticsearch"
)

// fake is a server that knows _bulk with external versions, and the faults that a test gives it.
type fake struct {
	mu       sync.Mutex // guards the following
	versions map[string]int64
	bodies   map[string]string
	requests []int // the number of actions of each
	largest  int

	// request is called with the number of the request, from 1; answering it itself it returns true. applied tells it that
	// the actions were done, so that an answer can be lost.
	request func(n int, w http.ResponseWriter, body []byte, apply func()) bool
	// item may give an action another answer than its own: status and type. It is called with how often the id came.
	item func(id string, times int) (int, string)
	came map[string]int
	// header sees the headers of each request.
	header func(http.Header)
}

func newFake(t *testing.T, with func(*elasticsearch.Config)) (*fake, *elasticsearch.Target) {
	t.Helper()
	f := &fake{versions: make(map[string]int64), bodies: make(map[string]string), came: make(map[string]int)}
	server := httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(server.Close)
	c := elasticsearch.Default()
	c.URL = server.URL
	if with != nil {
		with(&c)
	}
	target := open(t, c)
	t.Cleanup(func() { target.Close() })
	return f, target
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var answer []byte
	apply := func() {
		if answer == nil {
			answer = f.bulk(body)
		}
	}
	if f.header != nil {
		f.header(r.Header)
	}
	f.requests = append(f.requests, 0)
	f.largest = max(f.largest, len(body))
	if f.request != nil && f.request(len(f.requests), w, body, apply) {
		return
	}
	apply()
	_, _ = w.Write(answer)
}

// bulk does the actions and returns the answer.
func (f *fake) bulk(body []byte) []byte {
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, 64<<20)
	var items []any
	failed := false
	for lines.Scan() {
		var action map[string]struct {
			ID      string `json:"_id"`
			Version int64  `json:"version"`
			Type    string `json:"version_type"`
		}
		if err := json.Unmarshal(lines.Bytes(), &action); err != nil {
			panic(err)
		}
		for verb, a := range action {
			document := ""
			if verb == "index" {
				lines.Scan()
				document = lines.Text()
			}
			if a.Type != "external" {
				panic(a.Type)
			}
			f.came[a.ID]++
			status, kind := 201, ""
			if f.item != nil {
				status, kind = f.item(a.ID, f.came[a.ID])
			}
			switch have, there := f.versions[a.ID]; {
			case status >= 300:
			case there && have >= a.Version:
				status, kind = 409, "version_conflict_engine_exception"
			default:
				f.versions[a.ID], f.bodies[a.ID] = a.Version, document
			}
			said := map[string]any{"status": status}
			if kind != "" {
				said["error"] = map[string]any{"type": kind, "reason": "as the test says"}
			}
			failed = failed || status >= 300
			items = append(items, map[string]any{verb: said})
		}
	}
	f.requests[len(f.requests)-1] = len(items)
	answer, err := json.Marshal(map[string]any{"errors": failed, "items": items})
	if err != nil {
		panic(err)
	}
	return answer
}

var noted = table("noted", note)

// puts are rows with the ids from..to of version 100 + id.
func puts(from, to int64) []sink.Change {
	var changes []sink.Change
	for id := from; id <= to; id++ {
		changes = append(changes, put(noted, change.Version(100+id), row(id, change.StringValue("x"))))
	}
	return changes
}

// holds fails unless the fake has exactly these versions: 100 + id.
func (f *fake) holds(t *testing.T, from, to int64) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for id := from; id <= to; id++ {
		if v := f.versions[fmt.Sprint(id)]; v != 100+id {
			t.Errorf("document %d has version %d, want %d", id, v, 100+id)
		}
	}
	if len(f.versions) != int(to-from+1) {
		t.Errorf("%d documents, want %d", len(f.versions), to-from+1)
	}
}

func notRefused(t *testing.T, err error) {
	t.Helper()
	var refused *sink.Refused
	if errors.As(err, &refused) {
		t.Errorf("%v blames a document", err)
	}
}

func TestBusyItemsAreSentAgainAlone(t *testing.T) {
	t.Parallel() // it waits more than it works
	f, target := newFake(t, nil)
	f.item = func(id string, times int) (int, string) {
		if (id == "3" || id == "7") && times < 3 {
			return 429, "es_rejected_execution_exception"
		}
		if id == "8" && times < 2 {
			return 503, "unavailable_shards_exception"
		}
		return 201, ""
	}
	apply(t, target, puts(1, 10)...)
	f.holds(t, 1, 10)
	if got := fmt.Sprint(f.requests); got != "[10 3 2]" {
		t.Errorf("requests had %s actions, want [10 3 2]", got)
	}
}

func TestBusyForGoodIsARetry(t *testing.T) {
	t.Parallel() // it waits more than it works
	f, target := newFake(t, nil)
	f.item = func(id string, _ int) (int, string) {
		if id == "5" {
			return 429, "es_rejected_execution_exception"
		}
		return 201, ""
	}
	err := target.Apply(t.Context(), batch(puts(1, 10)...))
	problemOf(t, err, change.Retry, "too busy for 1 actions")
	notRefused(t, err)
	f.item = nil
	apply(t, target, puts(1, 10)...)
	f.holds(t, 1, 10)
}

// TestRefusedNamesTheOne: a document that the mapping does not take is named by its offset; without it all others arrive.
func TestRefusedNamesTheOne(t *testing.T) {
	for _, kind := range []string{"mapper_parsing_exception", "document_parsing_exception", "illegal_argument_exception"} {
		f, target := newFake(t, nil)
		f.item = func(id string, _ int) (int, string) {
			if id == "4" {
				return 400, kind
			}
			return 201, ""
		}
		changes := puts(1, 10)
		err := target.Apply(t.Context(), batch(changes...))
		var refused *sink.Refused
		if !errors.As(err, &refused) || refused.Offset != 104 {
			t.Fatalf("got %v, want offset 104 refused", err)
		}
		problemOf(t, err, change.Poison, kind, "dead_letter")
		apply(t, target, append(changes[:3:3], changes[4:]...)...)
		changes = puts(1, 10)
		f.item = nil
		apply(t, target, changes...)
		f.holds(t, 1, 10)
	}
}

// TestWhatTheIndexRefuses must not send document by document to the dead letters.
func TestWhatTheIndexRefuses(t *testing.T) {
	t.Parallel() // it waits more than it works
	for status, kind := range map[int]string{403: "cluster_block_exception", 404: "index_not_found_exception", 400: "index_closed_exception"} {
		f, target := newFake(t, nil)
		f.item = func(string, int) (int, string) { return status, kind }
		err := target.Apply(t.Context(), batch(puts(1, 3)...))
		problemOf(t, err, change.Poison, kind)
		notRefused(t, err)
	}
	f, target := newFake(t, nil)
	f.item = func(string, int) (int, string) { return 409, "resource_already_exists_exception" }
	problemOf(t, target.Apply(t.Context(), batch(puts(1, 1)...)), change.Retry)
}

func TestConflictsAndAbsentDeletesAreDone(t *testing.T) {
	f, target := newFake(t, func(c *elasticsearch.Config) { c.Deletes = elasticsearch.Delete })
	apply(t, target, puts(1, 3)...)
	stale := put(noted, 90, row(2, change.StringValue("stale")))
	apply(t, target, stale)
	apply(t, target, puts(1, 4)...)
	f.holds(t, 1, 4)
	if strings.Contains(f.bodies["2"], "stale") {
		t.Error("a stale row was written")
	}
	f.item = func(string, int) (int, string) { return 404, "" }
	apply(t, target, drop(noted, 200, row(9, change.Value{})))
}

// TestAnswersOfTheWholeRequest: what a server, or what stands before it, may answer instead.
func TestAnswersOfTheWholeRequest(t *testing.T) {
	t.Parallel() // it waits more than it works
	reply := func(status int, text string) func(int, http.ResponseWriter, []byte, func()) bool {
		return func(_ int, w http.ResponseWriter, _ []byte, _ func()) bool {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
			return true
		}
	}
	for name, c := range map[string]struct {
		reply func(int, http.ResponseWriter, []byte, func()) bool
		kind  change.Severity
		words string
	}{
		"busy":            {reply(429, `{"error":{"type":"circuit_breaking_exception","reason":"x"}}`), change.Retry, "too busy for 3"},
		"unavailable":     {reply(503, "no server is available"), change.Retry, "no server is available"},
		"bad gateway":     {reply(502, "<html>"), change.Retry, "HTTP 502"},
		"wrong password":  {reply(401, `{"error":{"type":"security_exception","reason":"unable to authenticate user"}}`), change.Configuration, "unable to authenticate"},
		"no right":        {reply(403, `{"error":{"type":"security_exception","reason":"action is unauthorized"}}`), change.Configuration, "give the account"},
		"blocked":         {reply(403, `{"error":{"type":"cluster_block_exception","reason":"index.blocks.write"}}`), change.Poison, "lift the block"},
		"not understood":  {reply(400, `{"error":{"type":"illegal_argument_exception","reason":"explicit index in bulk is not allowed"}}`), change.Poison, "explicit index"},
		"another answer":  {reply(200, `{}`), change.Retry, "answered for 0 actions of 3"},
		"too few":         {reply(200, `{"errors":false,"items":[{"index":{"status":201}}]}`), change.Retry, "answered for 1 actions of 3"},
		"no items inside": {reply(200, `{"errors":false,"items":[{},{},{}]}`), change.Retry, "something else"},
		"a page":          {reply(200, `<html>`), change.Retry, "read the answer"},
		"cut off":         {reply(200, `{"errors":false,"items":[{"index":{"st`), change.Retry, "read the answer"},
		"no status":       {reply(200, `{"errors":false,"items":[{"index":{}},{"index":{}},{"index":{}}]}`), change.Retry, "too busy"},
	} {
		f, target := newFake(t, nil)
		f.request = c.reply
		err := target.Apply(t.Context(), batch(puts(1, 3)...))
		if err == nil {
			t.Errorf("%s: done", name)
			continue
		}
		problemOf(t, err, c.kind, c.words)
		notRefused(t, err)
		f.request = nil
		apply(t, target, puts(1, 3)...)
		f.holds(t, 1, 3)
	}
}

func TestTooLargeIsHalved(t *testing.T) {
	f, target := newFake(t, nil)
	const most = 700
	f.request = func(_ int, w http.ResponseWriter, body []byte, _ func()) bool {
		if len(body) <= most {
			return false
		}
		w.WriteHeader(413)
		return true
	}
	apply(t, target, puts(1, 50)...)
	f.holds(t, 1, 50)
	large := put(noted, 160, row(60, change.StringValue(strings.Repeat("x", most))))
	err := target.Apply(t.Context(), batch(append(puts(51, 59), large)...))
	var refused *sink.Refused
	if !errors.As(err, &refused) || refused.Offset != 160 {
		t.Errorf("got %v, want offset 160 refused", err)
	}
	problemOf(t, err, change.Poison, "http.max_content_length")
}

// TestLimitIsLearnt: what was too large once is not tried with every batch.
func TestLimitIsLearnt(t *testing.T) {
	f, target := newFake(t, nil)
	refused := 0
	f.request = func(_ int, w http.ResponseWriter, body []byte, _ func()) bool {
		if len(body) <= 250_000 {
			return false
		}
		refused++
		w.WriteHeader(413)
		return true
	}
	for round := range int64(3) {
		var changes []sink.Change
		for id := range int64(50) {
			changes = append(changes, put(noted, change.Version(100+round*50+id), row(round*50+id, change.StringValue(strings.Repeat("x", 20_000)))))
		}
		apply(t, target, changes...)
		if round == 0 && refused == 0 || round > 0 && refused > 0 {
			t.Errorf("round %d: %d requests were too large", round, refused)
		}
		refused = 0
	}
	f.holds(t, 0, 149)
}

// TestLimitOfRealServers sends more than the servers take: they answer 413, or would close the connection on a large body.
func TestLimitOfRealServers(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		of := table("large", change.Column{Name: "text", Type: change.LongText, Charset: "utf8mb4"})
		target := p.prepared(of)
		var changes []sink.Change
		for id := range int64(7) {
			changes = append(changes, put(of, change.Version(100+id), row(id, change.StringValue(strings.Repeat("x y ", 250_000)))))
		}
		apply(t, target, changes...)
		if got := scan(t, target, of); len(got) != 7 {
			t.Errorf("%d rows, want 7", len(got))
		}
		err := target.Apply(t.Context(), batch(put(of, 300, row(9, change.StringValue(strings.Repeat("x", 3*httpMax))))))
		var refused *sink.Refused
		if !errors.As(err, &refused) || refused.Offset != 300 {
			t.Errorf("got %v, want offset 300 refused", err)
		}
	})
}

// TestBatchesAreSplit by bulk_bytes; a document that is larger goes alone.
func TestBatchesAreSplit(t *testing.T) {
	f, target := newFake(t, func(c *elasticsearch.Config) { c.BulkBytes = 64 << 10 })
	var changes []sink.Change
	for id := range int64(40) {
		size := 5_000
		if id == 20 {
			size = 200_000
		}
		changes = append(changes, put(noted, change.Version(100+id), row(id, change.StringValue(strings.Repeat("x", size)))))
	}
	apply(t, target, changes...)
	f.holds(t, 0, 39)
	if got := fmt.Sprint(f.requests); got != "[12 8 1 12 7]" || f.largest < 200_000 {
		t.Errorf("requests had %s actions, want [12 8 1 12 7]", got)
	}
}

// TestAnswersThatDoNotArrive: whether a request was done is not known then, and it is sent again.
func TestAnswersThatDoNotArrive(t *testing.T) {
	t.Parallel() // it waits more than it works
	f, target := newFake(t, func(c *elasticsearch.Config) { c.Timeout = 100 * time.Millisecond })
	f.request = func(n int, _ http.ResponseWriter, _ []byte, apply func()) bool {
		apply()
		switch n {
		case 1:
			time.Sleep(200 * time.Millisecond)
		case 2:
			panic(http.ErrAbortHandler)
		}
		return false
	}
	for range 2 {
		err := target.Apply(t.Context(), batch(puts(1, 5)...))
		problemOf(t, err, change.Retry)
		notRefused(t, err)
	}
	apply(t, target, puts(1, 5)...)
	f.holds(t, 1, 5)
}

// TestFaultsNeverLoseOrBend sends random histories through a server with all of these faults, from several owners at once.
func TestFaultsNeverLoseOrBend(t *testing.T) {
	t.Parallel() // it waits more than it works
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var mu sync.Mutex
	dice := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return r.IntN(n)
	}
	f, target := newFake(t, func(c *elasticsearch.Config) { c.BulkBytes = 400 })
	f.item = func(string, int) (int, string) {
		if dice(8) == 0 {
			return 429, "es_rejected_execution_exception"
		}
		return 201, ""
	}
	f.request = func(_ int, w http.ResponseWriter, _ []byte, apply func()) bool {
		switch dice(12) {
		case 0:
			w.WriteHeader(503)
			return true
		case 1:
			apply()
			panic(http.ErrAbortHandler)
		case 2:
			apply()
			_, _ = io.WriteString(w, `{"errors":false`)
			return true
		}
		return false
	}
	truth := make(map[int64]change.Version)
	var batches [][]sink.Change
	for v := change.Version(1); v <= 400; v++ {
		id := int64(dice(30))
		truth[id] = v
		c := put(noted, v, row(id, change.StringValue(fmt.Sprint("v", v))))
		if dice(4) == 0 {
			c = drop(noted, v, row(id, change.Value{}))
		}
		if n := len(batches); n == 0 || len(batches[n-1]) == 20 {
			batches = append(batches, nil)
		}
		n := len(batches) - 1
		batches[n] = append(batches[n], c)
	}
	var wg sync.WaitGroup
	for range 3 { // owners, each of which sends all of it in order
		wg.Go(func() {
			for _, b := range batches {
				for target.Apply(t.Context(), batch(b...)) != nil {
				}
			}
		})
	}
	wg.Wait()
	for id, v := range truth {
		if got := f.versions[fmt.Sprint(id)]; got != int64(v) {
			t.Errorf("document %d has version %d, want %d", id, got, v)
		}
	}
}
