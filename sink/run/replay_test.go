package run

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
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
