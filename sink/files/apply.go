package files

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-cdc/sluice/sink"
)

// stagedMax bounds how many staged files a partition has: their list is in its state.
const stagedMax = 256

// Apply stages the batch and commits it. Where enough is staged, it makes a visible file of it; at times it compacts.
func (t *Target) Apply(ctx context.Context, b *sink.Batch) error {
	h, err := t.holding(ctx, b)
	if err != nil {
		return err
	}
	if err := t.collect(ctx, b, h); err != nil {
		return err
	}
	if h.state.Next < 0 || h.state.Next < b.Next || h.state.Next == b.From {
		if err := t.stage(ctx, b, h); err != nil {
			return err
		}
	}
	for h.state.Merging != nil {
		if err := t.merge(ctx, b, h); err != nil {
			return err
		}
	}
	return t.maintain(ctx, b, h)
}

// run is a part of a batch that is of one day and one schema.
type run struct {
	layout  *layout
	day     string
	span    span
	changes []*sink.Change
}

// runs cuts the changes that are not in files yet. The offsets of the runs follow each other from the end of the files on.
func (t *Target) runs(b *sink.Batch, s *state) ([]run, error) {
	var runs []run
	begin := max(s.Next, s.End)
	end := s.End
	if end < 0 {
		end = b.From
	}
	for i := range b.Changes {
		c := &b.Changes[i]
		if c.Offset < begin {
			continue
		}
		l, err := t.layoutOfTable(c.Table)
		if err != nil {
			return nil, err
		}
		day := dayOf(c.Version)
		last := len(runs) - 1
		if last < 0 || runs[last].day != day || runs[last].layout.id != l.id {
			if last >= 0 {
				runs[last].span.next = c.Offset
				end = c.Offset
			}
			runs = append(runs, run{layout: l, day: day, span: span{first: end}})
			last++
		}
		runs[last].changes = append(runs[last].changes, c)
	}
	if len(runs) > 0 {
		runs[len(runs)-1].span.next = b.Next
	}
	return runs, nil
}

// stage writes the runs and commits them with the progress.
func (t *Target) stage(ctx context.Context, b *sink.Batch, h *held) error {
	runs, err := t.runs(b, h.state)
	if err != nil {
		return err
	}
	staged := make([]stagedFile, 0, len(runs))
	for i := range runs {
		file, err := t.stageRun(ctx, b, &runs[i])
		if err != nil {
			t.unstage(ctx, staged)
			return err
		}
		staged = append(staged, file)
	}
	err = t.commit(ctx, b, h, func(s *state) {
		if s.End < 0 {
			s.End = b.From
		}
		s.Next, s.Through = b.Next, b.ThroughMillis
		s.Staged = append(s.Staged, staged...)
		if len(runs) > 0 {
			s.End = b.Next
			s.Table = tableOf(&b.Partition, b.Changes[0].Table.TableName)
		}
		s.decide(&b.Partition, &t.config, t.now())
	})
	var lost *sink.OwnershipLost
	if errors.As(err, &lost) { // else it may be committed
		t.unstage(ctx, staged)
	}
	return err
}

// unstage removes what is in nobody's list. What stays behind the partition's next owner removes.
func (t *Target) unstage(ctx context.Context, staged []stagedFile) {
	for _, s := range staged {
		if err := t.store.remove(ctx, s.Key); err != nil {
			t.log.Warn("a staged file was not removed; the partition's next owner does it", "target", t.store.String(), "error", err)
			return
		}
	}
}

func (t *Target) stageRun(ctx context.Context, b *sink.Batch, r *run) (stagedFile, error) {
	f, err := t.store.scratch()
	if err != nil {
		return stagedFile{}, err
	}
	if err := t.writeChanges(ctx, f, r.layout, &b.Partition, r.span, r.changes); err != nil {
		discard(f)
		return stagedFile{}, err
	}
	info, err := f.Stat()
	if err != nil {
		discard(f)
		return stagedFile{}, t.making(err)
	}
	// The name is no other try's (see stagedKey): what a try leaves behind that is known to have failed is removed, and one whose outcome is not known
	// may still come to be committed.
	key := stagedKey(&b.Partition, r.span, b.Epoch)
	if err := t.store.put(ctx, key, f); err != nil {
		return stagedFile{}, err
	}
	return stagedFile{Key: key, First: r.span.first, Next: r.span.next, Day: r.day, Layout: r.layout.id, Bytes: info.Size(), At: t.now().UnixMilli()}, nil
}

// decide looks whether the first of what is staged is to become a visible file: it is complete (another day or schema follows), large
// enough, or old enough.
func (s *state) decide(p *sink.Partition, c *Config, now time.Time) {
	if s.Merging != nil || len(s.Staged) == 0 {
		return
	}
	first := &s.Staged[0]
	n, bytes := 0, int64(0)
	for n < len(s.Staged) && s.Staged[n].Day == first.Day && s.Staged[n].Layout == first.Layout && s.Staged[n].First == s.endOf(n) && bytes < int64(c.RollSize) {
		bytes += s.Staged[n].Bytes
		n++
	}
	over := now.UTC().Format(dayLayout) > first.Day && s.Through > dayEnd(first.Day).UnixMilli()
	old := now.UnixMilli()-first.At >= c.RollTime.Milliseconds()
	if n == len(s.Staged) && bytes < int64(c.RollSize) && n < stagedMax && !old && !over {
		return
	}
	m := &merge{First: first.First, Next: s.Staged[n-1].Next, Day: first.Day, Layout: first.Layout}
	m.Key = fileKey(s.Table, p, m.Day, span{m.First, m.Next})
	for _, f := range s.Staged[:n] {
		m.Inputs = append(m.Inputs, f.Key)
	}
	s.Merging = m
}

// endOf is where the staged file before the n-th ends: a gap, which only a replay that goes forward leaves, ends a file.
func (s *state) endOf(n int) int64 {
	if n == 0 {
		return s.Staged[0].First
	}
	return s.Staged[n-1].Next
}

// dayEnd is the first moment after a day.
func dayEnd(day string) time.Time {
	t, err := time.Parse(dayLayout, day)
	if err != nil {
		return time.Time{}
	}
	return t.AddDate(0, 0, 1)
}
