package hbase_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/hbase"
)

var isPut = func(r *http.Request) bool { return r.Method == "PUT" && path.Base(r.URL.Path) == "rows" }

// TestFailedWritesComeAgain: what HBase could not do is sent again, for a while; what is no passing failure is told, with what mends it.
func TestFailedWritesComeAgain(t *testing.T) {
	t.Parallel()
	p, between := through(t)
	of := table("again", note)
	target := p.prepared(of)
	fails := func(times int64, status int, text string) {
		var n atomic.Int64
		between.set(func(r *http.Request) (int, string) {
			if !isPut(r) || n.Add(1) > times {
				return 0, ""
			}
			return status, text
		})
	}
	fails(2, 503, "Unavailable\r\norg.apache.hadoop.hbase.RegionTooBusyException: memstore limit\n\tat x")
	apply(t, target, put(of, 10, row(1, text("a"))))
	if got := texts(t, target, of); got["1"] != "1,a@10" {
		t.Errorf("rows are %v", got)
	}
	for _, c := range []struct {
		status int
		text   string
		kind   change.Severity
		says   string
	}{
		{503, "Unavailable\r\norg.apache.hadoop.hbase.RegionTooBusyException: memstore limit\n\tat x", change.Retry, "RegionTooBusyException: memstore limit"},
		{500, "", change.Retry, "tried again"},
		{401, "", change.Configuration, "hbase.user"},
		{403, "Forbidden\r\norg.apache.hadoop.hbase.security.AccessDeniedException: no\n", change.Configuration, "grant"},
		{403, "Forbidden\r\n", change.Configuration, "hbase.rest.readonly"},
		{404, "Not found\r\norg.apache.hadoop.hbase.TableNotFoundException: x\n", change.Poison, "replay --to beginning --empty"},
		{404, "Not found\r\norg.apache.hadoop.hbase.regionserver.NoSuchColumnFamilyException: x\n", change.Poison, "hbase.family"},
		{400, "Bad request\r\norg.apache.hadoop.hbase.TableNotEnabledException: shop.again is disabled.\n", change.Poison, "enable 'the table'"},
		{400, "Bad request\r\njava.lang.IllegalArgumentException: what\n", change.Poison, "on_error: dead_letter"},
		{413, "", change.Poison, "hbase.client.keyvalue.maxsize"},
	} {
		fails(1000, c.status, c.text)
		problemOf(t, target.Apply(t.Context(), batch(put(of, 20, row(2, text("b"))))), c.kind, c.says)
	}
	between.set(nil)
	apply(t, target, put(of, 20, row(2, text("b"))))
	between.server.CloseClientConnections()
	if err := target.Apply(t.Context(), batch(put(of, 30, row(3, text("c"))))); err != nil { // a connection that was idle may be found closed only when it is used
		problemOf(t, err, change.Retry, "look at the gateway")
		apply(t, target, put(of, 30, row(3, text("c"))))
	}
	between.server.Close()
	problemOf(t, target.Apply(t.Context(), batch(put(of, 40, row(4, text("d"))))), change.Retry, "look at the gateway")
}

// TestBrokenScans: a gateway that loses its region server ends a scan as if there were no more rows, forgets its scanners when it starts
// anew, and fails in between: rows are read on from where they were, each once, and an end is believed only when the table's own row came.
func TestBrokenScans(t *testing.T) {
	t.Parallel()
	p, between := through(t)
	of := table("broken", note)
	target := p.prepared(of)
	var changes []sink.Change
	want := make(map[string]string)
	for id := int64(1); id <= 1500; id++ { // three cells each: more than one answer
		changes = append(changes, put(of, change.Version(id), row(id, text("x"))))
		want[fmt.Sprint(id)] = fmt.Sprintf("%d,x@%d", id, id)
	}
	apply(t, target, changes...)
	isNext := func(r *http.Request) bool { return r.Method == "GET" && strings.Contains(r.URL.Path, "/scanner/") }
	for _, status := range []int{204, 404, 410, 500, 503} {
		var n atomic.Int64
		between.set(func(r *http.Request) (int, string) {
			if isNext(r) && n.Add(1)%2 == 0 {
				return status, ""
			}
			return 0, ""
		})
		if got := texts(t, target, of); !maps.Equal(got, want) {
			t.Errorf("with %d now and then there are %d rows, want %d", status, len(got), len(want))
		}
		if n.Load() < 3 {
			t.Errorf("%d answers were asked for: nothing was tried", n.Load())
		}
	}
	for status, says := range map[int]string{204: "ended before the table's own row", 410: "HTTP 410", 503: "HTTP 503"} {
		between.set(func(r *http.Request) (int, string) {
			if isNext(r) {
				return status, ""
			}
			return 0, ""
		})
		err := target.Scan(t.Context(), sink.Scan{Source: "src", Table: of}, func(sink.Row) error { return nil })
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("with %d always the scan gives %v, want %q", status, err, says)
		}
	}
	between.set(nil)
	mine := errors.New("enough")
	if err := target.Scan(t.Context(), sink.Scan{Source: "src", Table: of}, func(sink.Row) error { return mine }); err != mine {
		t.Errorf("an error of each comes back as %v", err)
	}
}

// TestRowsThatAreTooLarge are refused alone, by their offset, and the others of the batch are written.
func TestRowsThatAreTooLarge(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	blob := change.Column{Name: "blob_", Type: change.LongBlob, Nullable: true}
	of := table("large", blob)
	target := p.prepared(of)
	changes := []sink.Change{put(of, 10, row(1, change.RawValue([]byte("small"))))}
	for i := range 4 { // together they are several requests
		changes = append(changes, put(of, change.Version(20+i), row(int64(20+i), change.RawValue(make([]byte, cellMax/2)))))
	}
	apply(t, target, changes...)
	if got := scan(t, target, sink.Scan{Table: of}); len(got) != 5 || len(got["20"].Values[1].Bytes) != cellMax/2 {
		t.Errorf("%d rows are there, want 5", len(got))
	}
	large := put(of, 31, row(3, change.RawValue(make([]byte, cellMax+1))))
	err := target.Apply(t.Context(), batch(put(of, 30, row(2, null)), large, put(of, 32, row(4, null))))
	var refused *sink.Refused
	if !errors.As(err, &refused) || refused.Offset != 31 {
		t.Fatalf("got %v, want the offset 31 refused", err)
	}
	problemOf(t, err, change.Poison, "hbase.client.keyvalue.maxsize", "0000000000000000003")
	apply(t, target, put(of, 30, row(2, null)), put(of, 32, row(4, null)))
	if got := scan(t, target, sink.Scan{Table: of}); len(got) != 7 {
		t.Errorf("%d rows are there, want 7", len(got))
	}
}

// TestKeysThatCannotBe are refused by their offset.
func TestKeysThatCannotBe(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	of := &change.Table{TableName: change.TableName{DB: "shop", Name: "keys"}, Key: []int{0},
		Columns: []change.Column{{Name: "sku", Type: change.VarChar, Length: 100}, note}}
	target := p.prepared(of)
	var refused *sink.Refused
	err := target.Apply(t.Context(), batch(put(of, 10, []change.Value{text("fine"), null}), put(of, 11, []change.Value{text("\xff"), null})))
	if !errors.As(err, &refused) || refused.Offset != 11 {
		t.Errorf("got %v, want the offset 11 refused", err)
	}
	problemOf(t, err, change.Poison, "not UTF-8")
	all := []string{"", "*", "a*", "a/b", "a,b", "a b", "a+b%41?#", "é😀", "\x00\x01\x02", "z"}
	var changes []sink.Change
	for i, key := range all {
		changes = append(changes, put(of, change.Version(20+i), []change.Value{text(key), text("of " + key)}))
	}
	apply(t, target, changes...)
	for _, key := range all { // each alone: no key means another
		got := scan(t, target, sink.Scan{Table: of, Keys: [][]change.Value{{text(key)}}})
		if len(got) != 1 || slices.Collect(maps.Values(got))[0].Values[1].String() != "of "+key {
			t.Errorf("the key %q brings %v", key, got)
		}
	}
	if got := scan(t, target, sink.Scan{Table: of, Keys: [][]change.Value{{text("z")}, {text("")}, {text("z")}, {text("not there")}}}); len(got) != 2 {
		t.Errorf("of three keys, one of them twice, come %v", got)
	}
}

// TestScanOfRanges: where row keys have the key's order a range of keys is read, bounds as they should be; else it is refused.
func TestScanOfRanges(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.config.Tables = []hbase.Table{{Match: "shop.salted", Salt: 4}, {Match: "shop.turned", RowKey: "{id:reverse}"}}
	for name, want := range map[string]bool{"ordered": true, "salted": false, "turned": false} {
		of := table(name, note)
		target := p.prepared(of)
		for _, id := range []int64{-20, -3, 0, 5, 10, 70} {
			apply(t, target, put(of, change.Version(1000+id), row(id, text("x"))))
		}
		if got := scan(t, target, sink.Scan{Table: of}); len(got) != 6 {
			t.Errorf("%s has %d rows, want 6", name, len(got))
		}
		if got := scan(t, target, sink.Scan{Table: of, Keys: [][]change.Value{row(-3), row(70), row(1)}}); len(got) != 2 {
			t.Errorf("%s: single keys are %v, want two", name, got)
		}
		err := target.Scan(t.Context(), sink.Scan{Source: "src", Table: of, After: row(0)}, func(sink.Row) error { return nil })
		if errors.Is(err, errors.ErrUnsupported) == want {
			t.Errorf("%s: a range gives %v", name, err)
		}
		if !want {
			continue
		}
		for _, c := range []struct {
			after, through []change.Value
			want           string
		}{{row(-3), row(10), "0 10 5"}, {nil, row(-3), "-20 -3"}, {row(5), nil, "10 70"}, {row(70), nil, ""}, {row(1), row(4), ""}} {
			keys := slices.Sorted(maps.Keys(scan(t, target, sink.Scan{Table: of, After: c.after, Through: c.through})))
			if got := strings.Join(keys, " "); got != c.want {
				t.Errorf("behind %v through %v are %q, want %q", c.after, c.through, got, c.want)
			}
		}
	}
}

// TestTheServerIsKilled: in the middle of writes; what was acknowledged is there, and the batch that was not is applied again.
func TestTheServerIsKilled(t *testing.T) {
	if os.Getenv("SLUICE_FULL") == "" {
		t.Skip("starts HBase a second time: runs with SLUICE_FULL=1")
	}
	p := newPlace(t)
	p.config.Timeout = 20 * time.Second
	of := table("killed", note)
	target := p.prepared(of)
	want := make(map[string]string)
	some := func(from, to int64) []sink.Change {
		var changes []sink.Change
		for id := from; id < to; id++ {
			changes = append(changes, put(of, change.Version(id), row(id, text("x"))))
			want[fmt.Sprint(id)] = fmt.Sprintf("%d,x@%d", id, id)
		}
		return changes
	}
	apply(t, target, some(1, 200)...)
	if err := p.server.Kill(); err != nil {
		t.Fatal(err)
	}
	next := some(200, 300)
	problemOf(t, target.Apply(t.Context(), batch(next...)), change.Retry, "look at the gateway")
	if err := p.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; {
		err := target.Apply(t.Context(), batch(next...))
		if err == nil {
			break
		}
		if change.SeverityOf(err) != change.Retry || time.Now().After(end) {
			t.Fatal(change.Explain(err))
		}
	}
	if got := texts(t, target, of); !maps.Equal(got, want) {
		t.Errorf("%d rows are there, want %d", len(got), len(want))
	}
}

// TestNothingIsLeft: a target that is closed has no goroutine, and a batch that is cut off ends.
func TestNothingIsLeft(t *testing.T) {
	p, between := through(t)
	before := goleak.IgnoreCurrent()
	of := table("left", note)
	target := p.open()
	if err := target.Prepare(t.Context(), "g", "src", []*change.Table{of}); err != nil {
		t.Fatal(change.Explain(err))
	}
	ctx, cancel := context.WithCancel(t.Context())
	between.set(func(r *http.Request) (int, string) {
		if isPut(r) {
			_, _ = io.Copy(io.Discard, r.Body) // the end of the connection is seen only behind it
			cancel()
			<-r.Context().Done()
		}
		return 0, ""
	})
	if err := target.Apply(ctx, batch(put(of, 10, row(1, null)))); !errors.Is(err, context.Canceled) {
		t.Errorf("a batch that is cut off gives %v", err)
	}
	between.set(nil)
	if err := target.Close(); err != nil {
		t.Error(err)
	}
	between.server.CloseClientConnections()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	goleak.VerifyNone(t, before)
}
