package files

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// merge does what the state says is to be merged, and commits it. It may have been done already, in whole or in part, by this owner or
// by the one before: it puts the same rows under the same name.
func (t *Target) merge(ctx context.Context, b *sink.Batch, h *held) error {
	m := h.state.Merging
	began := t.now()
	ctx, cancel := context.WithTimeout(ctx, mergeTimeout)
	defer cancel()
	bytes, err := t.mergeFiles(ctx, &b.Partition, m)
	if errors.Is(err, errNotThere) {
		return t.inputsGone(ctx, b, h)
	}
	if err != nil {
		return err
	}
	err = t.commit(ctx, b, h, func(s *state) {
		s.Merging = nil
		out := visibleFile{Key: m.Key, First: m.First, Next: m.Next, Day: m.Day, Layout: m.Layout, Bytes: bytes}
		if m.Visible {
			s.Files = slices.DeleteFunc(s.Files, func(f visibleFile) bool { return slices.Contains(m.Inputs, f.Key) })
			for _, key := range m.Inputs {
				s.Replaced = append(s.Replaced, replaced{key, t.now().UnixMilli()})
			}
		} else {
			s.Staged = slices.DeleteFunc(s.Staged, func(f stagedFile) bool { return slices.Contains(m.Inputs, f.Key) })
		}
		if t.config.CompactAfter > 0 {
			s.Files = append(s.Files, out)
			slices.SortFunc(s.Files, func(a, b visibleFile) int { return int(min(1, max(-1, a.First-b.First))) })
		}
		s.decide(&b.Partition, &t.config, t.now())
	})
	if err != nil {
		return err
	}
	t.log.Debug("made a file", "topic", b.Topic, "partition", b.Partition.Partition, "file", m.Key, "merged", len(m.Inputs), "bytes", bytes,
		"seconds", t.now().Sub(began).Seconds())
	if m.Visible {
		return nil // readers may still have them in their lists
	}
	return t.store.remove(ctx, m.Inputs...)
}

// mergeTimeout bounds one merge: the partition's batches wait for it.
const mergeTimeout = 20 * time.Minute

// inputsGone is what is done where the inputs are not there: another owner has merged and removed them. Then the state says so.
func (t *Target) inputsGone(ctx context.Context, b *sink.Batch, h *held) error {
	s, _, err := t.load(ctx, b.Group, &b.Partition)
	if err != nil {
		return err
	}
	if s.Epoch != h.state.Epoch || s.Merging == nil || s.Merging.Key != h.state.Merging.Key {
		return t.lost(b, nil)
	}
	return &change.Problem{Kind: change.Poison, What: "staged files are gone: " + strings.Join(h.state.Merging.Inputs, ", "), Where: t.store.String(),
		Why:  "somebody has removed them; their changes are in no other file",
		Mend: "restore them; else begin anew with an empty files.path and another group"}
}

// mergeFiles puts the inputs one after the other into one file and returns its size.
func (t *Target) mergeFiles(ctx context.Context, p *sink.Partition, m *merge) (int64, error) {
	f, err := t.store.scratch()
	if err != nil {
		return 0, err
	}
	if err := t.copyInputs(ctx, f, p, m); err != nil {
		discard(f)
		return 0, err
	}
	info, err := f.Stat()
	if err != nil {
		discard(f)
		return 0, t.making(err)
	}
	return info.Size(), t.store.put(ctx, m.Key, f)
}

// copyInputs writes the inputs' rows. The size of row groups follows from the first, so that at most one of them is in memory.
func (t *Target) copyInputs(ctx context.Context, f *os.File, p *sink.Partition, m *merge) error {
	var w *rowWriter
	for _, key := range m.Inputs {
		r, err := t.openFile(ctx, key)
		if err != nil {
			return err
		}
		if w == nil {
			bytes := int64(0)
			for i := range r.file.Metadata().RowGroups {
				bytes += r.file.Metadata().RowGroups[i].TotalByteSize
			}
			w = newWriter(f, r.layout.schema, rowsOf(int64(t.config.RowGroup), bytes, r.file.NumRows()), r.layout.meta(p, span{m.First, m.Next}))
		}
		err = t.copyRows(ctx, w, r)
		r.close()
		if err != nil {
			return err
		}
	}
	return t.making(w.Close())
}

// rowsAtOnce is how many rows are copied at once.
const rowsAtOnce = 64

func (t *Target) copyRows(ctx context.Context, w *rowWriter, r *reader) error {
	for _, g := range r.file.RowGroups() {
		rows := g.Rows()
		err := copyAll(ctx, w, rows)
		rows.Close()
		if err != nil {
			return t.making(err)
		}
	}
	return nil
}

func copyAll(ctx context.Context, w *rowWriter, rows parquet.Rows) error {
	buffer := make([]parquet.Row, rowsAtOnce)
	for {
		n, err := rows.ReadRows(buffer)
		if n > 0 {
			if _, err := w.WriteRows(buffer[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return ignoreEOF(err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// maintain does one piece of what is to be done at times: it compacts a day that is over, removes what was replaced, and what is too
// old. Only the partition's owner does it, so nobody else is at the same files.
func (t *Target) maintain(ctx context.Context, b *sink.Batch, h *held) error {
	if m := h.state.compaction(&b.Partition, &t.config); m != nil {
		if err := t.commit(ctx, b, h, func(s *state) { s.Merging = m }); err != nil {
			return err
		}
		if err := t.merge(ctx, b, h); err != nil {
			return err
		}
	}
	if err := t.removeReplaced(ctx, b, h); err != nil {
		return err
	}
	return t.retain(ctx, b, h)
}

// compaction returns what is to be merged of a day that is over: the first of its files that follow each other, are of one schema and
// together not too large. Days of which nothing is left to merge are forgotten.
func (s *state) compaction(p *sink.Partition, c *Config) *merge {
	if s.Merging != nil || c.CompactAfter == 0 {
		return nil
	}
	for at := 0; at < len(s.Files); {
		first := s.Files[at]
		if s.Through < dayEnd(first.Day).Add(c.CompactAfter).UnixMilli() || s.stagedOf(first.Day) {
			at++
			continue
		}
		n, bytes := at, int64(0)
		for n < len(s.Files) && s.Files[n].Day == first.Day && s.Files[n].Layout == first.Layout && bytes+s.Files[n].Bytes <= int64(c.CompactSize) &&
			(n == at || s.Files[n].First == s.Files[n-1].Next) {
			bytes += s.Files[n].Bytes
			n++
		}
		if n-at > 1 {
			m := &merge{Visible: true, First: first.First, Next: s.Files[n-1].Next, Day: first.Day, Layout: first.Layout}
			m.Key = fileKey(s.Table, p, m.Day, span{m.First, m.Next})
			for _, f := range s.Files[at:n] {
				m.Inputs = append(m.Inputs, f.Key)
			}
			return m
		}
		at++
	}
	return nil
}

func (s *state) stagedOf(day string) bool {
	return slices.ContainsFunc(s.Staged, func(f stagedFile) bool { return f.Day == day })
}

// removeReplaced removes files that were merged into another long enough ago, and forgets days that are done.
func (t *Target) removeReplaced(ctx context.Context, b *sink.Batch, h *held) error {
	due := t.now().Add(-t.config.KeepReplaced).UnixMilli()
	var gone []string
	for _, r := range h.state.Replaced {
		if r.At <= due {
			gone = append(gone, r.Key)
		}
	}
	forgotten := h.state.Through - (t.config.CompactAfter + forgetAfter).Milliseconds()
	nothing := h.state.compaction(&b.Partition, &t.config) == nil
	done := func(f visibleFile) bool { return nothing && dayEnd(f.Day).UnixMilli() < forgotten }
	if len(gone) == 0 && !slices.ContainsFunc(h.state.Files, done) {
		return nil
	}
	if err := t.store.remove(ctx, gone...); err != nil {
		return err
	}
	return t.commit(ctx, b, h, func(s *state) {
		s.Replaced = slices.DeleteFunc(s.Replaced, func(r replaced) bool { return r.At <= due })
		s.Files = slices.DeleteFunc(s.Files, done)
	})
}

// forgetAfter is how long after a day could be compacted its files are no longer looked at.
const forgetAfter = 24 * time.Hour

// retain removes the partition's files of days that are older than the retention, once a day.
func (t *Target) retain(ctx context.Context, b *sink.Batch, h *held) error {
	today := t.now().UTC().Format(dayLayout)
	if t.config.Retention == 0 || h.swept == today || h.state.Table == (change.TableName{}) {
		return nil
	}
	limit := t.now().Add(-t.config.Retention).UTC().Format(dayLayout)
	found, err := t.store.list(ctx, tableFolder(h.state.Table))
	if err != nil {
		return err
	}
	var old []string
	last := h.state.Removed
	for _, e := range found {
		partition, _, ok := parseFile(e.key)
		if day := dayOfKey(e.key); ok && partition == partitionName(&b.Partition) && day < limit {
			old, last = append(old, e.key), max(last, day)
		}
	}
	if len(old) > 0 {
		// First the state: who makes a copy must know that there was more.
		if err := t.commit(ctx, b, h, func(s *state) {
			s.Removed = last
			s.Files = slices.DeleteFunc(s.Files, func(f visibleFile) bool { return f.Day < limit })
		}); err != nil {
			return err
		}
		if err := t.store.remove(ctx, old...); err != nil {
			return err
		}
		t.log.Info("removed old files", "topic", b.Topic, "partition", b.Partition.Partition, "files", len(old), "before", limit)
	}
	h.swept = today
	return nil
}

// collect removes, once for an owner, what owners before it have staged and not committed: by their epochs, for this one may be an owner
// of before itself, and not know it. It must have swapped the state since: else a swap whose outcome did not arrive could still
// come to list what is removed here.
func (t *Target) collect(ctx context.Context, b *sink.Batch, h *held) error {
	if h.collected {
		return nil
	}
	found, err := t.store.list(ctx, stagedFolder+partitionName(&b.Partition)+"/")
	if err != nil {
		return err
	}
	var gone []string
	for _, e := range found {
		before := epochOf(e.key) < h.epoch
		if before && !slices.ContainsFunc(h.state.Staged, func(s stagedFile) bool { return s.Key == e.key }) {
			gone = append(gone, e.key)
		}
	}
	if err := t.store.remove(ctx, gone...); err != nil {
		return err
	}
	h.collected = true
	return nil
}
