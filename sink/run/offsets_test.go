package run

import (
	"context"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/memory"
)

// TestOffsetsStayBehindWhatIsApplied: while a batch is at a target that keeps no progress, the group's offset does not pass it,
// so a process that dies there has lost nothing.
func TestOffsetsStayBehindWhatIsApplied(t *testing.T) {
	w := newWorld(t)
	a := w.table("a", 1)
	w.publish(a.put(1, "one")...)
	store := memory.NewStore(memory.Config{})
	applying := make(chan struct{}, 1)
	hangs := &hooked{Target: store.OpenPlain(), before: func(ctx context.Context, b *sink.Batch) error {
		if len(b.Changes) == 0 {
			return nil
		}
		select {
		case applying <- struct{}{}:
		default:
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	s := start(t, w.config(), hangs.wrap())
	<-applying
	time.Sleep(2*commitInterval + commitInterval/2) // offsets are committed meanwhile, if there are any to commit
	committed, err := w.adm.FetchOffsets(t.Context(), w.config().Group)
	if err != nil {
		t.Fatal(err)
	}
	if o, ok := committed.Lookup(a.topic, 0); ok && o.At > 0 {
		t.Fatalf("the group's offset is %d, and what lies before it is not applied", o.At)
	}
	s.crash()
	start(t, w.config(), store.OpenPlain())
	a.shown(store)
}
