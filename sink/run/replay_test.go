package run

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/memory"
)

// replay calls the command on the target.
func (w *world) replay(target sink.Target, args ...string) error {
	_, err := w.replayOutput(target, args...)
	return err
}

func (w *world) replayOutput(target sink.Target, args ...string) (string, error) {
	w.t.Helper()
	var out bytes.Buffer
	c := command{name: "replay", config: w.config(), target: target, log: logger(w.t), stdout: &out, stderr: io.Discard}
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	c.flags(flags)
	if err := flags.Parse(args); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	err := c.run(ctx, ctx)
	return out.String(), err
}

func TestReplayToOffsetAndTime(t *testing.T) {
	w := newWorld(t)
	a := w.table("a", 1)
	store := memory.NewStore(memory.Config{})
	for i := range int64(10) {
		w.publish(a.put(i, "first")...)
	}
	time.Sleep(20 * time.Millisecond)
	middle := time.Now()
	for i := range int64(10) {
		w.publish(a.put(i, "second")...)
	}
	s := start(t, w.config(), store.Open())
	a.shown(store)
	eventually(t, "the end is reached", s.atEnd)
	if err := w.replay(store.Open(), "--to", "20"); change.SeverityOf(err) != change.Configuration || !strings.Contains(err.Error(), "is running") {
		t.Errorf("a replay beside the running group gave %v, want it refused", err)
	}
	s.end()
	before, _ := store.Open().Positions(t.Context(), w.config().Group)

	out, err := w.replayOutput(store.Open(), "--to", "20", "--dry-run")
	if err != nil {
		t.Fatal(change.Explain(err))
	}
	want := fmt.Sprintf("%*s  partition  now  log start  log end  to  read again\n  %s          0   %d          0       %d  20          %d\n",
		len(a.topic)+2, "topic", a.topic, before[0].Next, before[0].Next, before[0].Next-20)
	if out != want {
		t.Errorf("the plan is\n%q, want\n%q", out, want)
	}
	if now, _ := store.Open().Positions(t.Context(), w.config().Group); now[0] != before[0] {
		t.Errorf("the dry run changed the progress from %+v to %+v", before[0], now[0])
	}

	if err := w.replay(store.Open(), "--to", "20"); err != nil {
		t.Fatal(change.Explain(err))
	}
	now, _ := store.Open().Positions(t.Context(), w.config().Group)
	if now[0].Next != 20 || now[0].Epoch <= before[0].Epoch || now[0].ThroughMillis < middle.Add(-time.Second).UnixMilli() {
		t.Errorf("progress is %+v after the replay", now[0])
	}
	mirrored(t, w, store)
	stats := store.Stats()
	s = start(t, w.config(), store.Open())
	eventually(t, "the records come again", func() error {
		if again := store.Stats().Stale - stats.Stale; again != 10 {
			return fmt.Errorf("%d", again)
		}
		return nil
	})
	s.end()

	if err := w.replay(store.Open(), "--to", middle.Format(time.RFC3339Nano)); err != nil {
		t.Fatal(change.Explain(err))
	}
	if now, _ := store.Open().Positions(t.Context(), w.config().Group); now[0].Next != 20 || now[0].ThroughMillis != middle.UnixMilli() {
		t.Errorf("progress is %+v after the replay to a time, want offset 20", now[0])
	}
}

func TestReplayRefusals(t *testing.T) {
	w := newWorld(t)
	a := w.table("a", 1)
	store := memory.NewStore(memory.Config{})
	w.publish(a.put(1, "x")...)
	s := start(t, w.config(), store.Open())
	a.shown(store)
	eventually(t, "the end is reached", s.atEnd)
	s.end()
	for _, c := range []struct{ args, want string }{
		{"--to yesterday", "neither beginning"},
		{"--to 1 --empty", "--to beginning only"},
		{"--to 0", "not empty"},
		{"--to beginning", "not empty: shop.a"},
		{"--to beginning --group other", "the page's group is"},
		{"--to beginning --topics src*.shop.nothing", "no topic matches"},
	} {
		if err := w.replay(store.Open(), strings.Fields(c.args)...); change.SeverityOf(err) != change.Configuration || !strings.Contains(err.Error(), c.want) {
			t.Errorf("replay %s gave %v, want %q", c.args, err, c.want)
		}
	}
	if err := w.replay(store.Open(), "--to", "beginning", "--empty"); err != nil {
		t.Fatal(change.Explain(err))
	}
	if n := store.Rows(a.encoder.Table().TableName); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if p, _ := store.Open().Positions(t.Context(), w.config().Group); p[0].Next != 0 || p[0].ThroughMillis >= 0 {
		t.Errorf("progress is %+v, want a first read from offset 0", p[0])
	}
	start(t, w.config(), store.Open())
	a.shown(store)
}

// TestReplayTellsHowFarItWas: a target that tells somebody of changes learns what the group had applied before a replay went back,
// also where the sink is killed meanwhile, until it has got there.
func TestReplayTellsHowFarItWas(t *testing.T) {
	w := newWorld(t)
	a := w.table("a", 1)
	store := memory.NewStore(memory.Config{})
	var mu sync.Mutex
	var batches []sink.Batch
	slow := false
	target := &hooked{Target: store.OpenPlain(), before: func(_ context.Context, b *sink.Batch) error {
		mu.Lock()
		defer mu.Unlock()
		batches = append(batches, *b)
		if slow {
			time.Sleep(50 * time.Millisecond)
		}
		return nil
	}}
	c := w.config()
	c.Batch.MaxRows = 10
	for i := range int64(100) {
		w.publish(a.put(i, "x")...)
	}
	s := start(t, c, target)
	a.shown(store)
	eventually(t, "the end is reached", s.atEnd)
	s.end()
	committed, err := w.adm.FetchOffsets(t.Context(), c.Group)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := committed.Lookup(a.topic, 0)
	end := o.At
	// what passes is [what was marked as applied before, whether that is to be told again], by offset
	passes := func(reached int64, resend bool) func() error {
		return func() error {
			mu.Lock()
			defer mu.Unlock()
			for _, b := range batches {
				want, again := reached, resend
				if b.From >= reached {
					want, again = 0, false
				}
				if b.Reached != want || b.Resend != again {
					t.Fatalf("the batch from %d says reached %d, resend %v; want %d, %v", b.From, b.Reached, b.Resend, want, again)
				}
			}
			if n := len(batches); n == 0 || batches[n-1].Next <= reached {
				return errors.New("not there yet")
			}
			return nil
		}
	}
	if err := passes(0, false)(); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"--to 20", "--to beginning", "--to 120 --resend", "--to 150"} {
		if err := w.replay(target, strings.Fields(args)...); err != nil {
			t.Fatal(change.Explain(err))
		}
		if args == "--to 20" { // a second one before the first was read does not forget
			continue
		}
		mu.Lock()
		batches, slow = nil, true
		mu.Unlock()
		s = start(t, c, target)
		time.Sleep(1500 * time.Millisecond) // an offset in the middle is committed
		s.crash()
		mu.Lock()
		slow = false
		mu.Unlock()
		s = start(t, c, target)
		w.publish(a.put(1, args)...)
		eventually(t, "all of it comes again", passes(end, strings.Contains(args, "--resend")))
		s.end()
		committed, _ := w.adm.FetchOffsets(t.Context(), c.Group)
		o, _ := committed.Lookup(a.topic, 0)
		if p, _ := parsePin(o.Metadata); p.rewound != (rewound{}) {
			t.Errorf("at offset %d the group still says %q", o.At, o.Metadata)
		}
		end = o.At
	}
	if err := w.replay(store.Open(), "--to", "20", "--resend"); change.SeverityOf(err) != change.Configuration {
		t.Errorf("--resend at a target that holds state gave %v", err)
	}
}
