package files

import (
	"context"
	"errors"

	"github.com/sluice-cdc/sluice/sink"
)

// Assign makes the caller the partition's owner.
func (t *Target) Assign(ctx context.Context, group string, p sink.Partition) (next, epoch int64, found bool, err error) {
	if err := t.own(ctx, group); err != nil {
		return 0, 0, false, err
	}
	s, tag, err := t.change(ctx, group, &p, func(s *state) { s.Epoch++ })
	if err != nil {
		return 0, 0, false, err
	}
	if s.End > s.Next && s.Next >= 0 {
		t.log.Warn("the files hold more than what is to be read again: it is left out", "topic", p.Topic, "partition", p.Partition, "offset", s.Next, "files_end", s.End)
	}
	t.mu.Lock()
	t.held[p] = &held{state: s, tag: tag, epoch: s.Epoch}
	t.mu.Unlock()
	return s.Next, s.Epoch, s.Next >= 0, nil
}

// holding returns the state of the batch's partition, if the batch is its owner's.
func (t *Target) holding(ctx context.Context, b *sink.Batch) (*held, error) {
	t.mu.Lock()
	h := t.held[b.Partition]
	t.mu.Unlock()
	if h == nil || h.epoch != b.Epoch {
		s, tag, err := t.load(ctx, b.Group, &b.Partition)
		if err != nil {
			return nil, err
		}
		h = &held{state: s, tag: tag, epoch: s.Epoch, collected: true}
	}
	if h.epoch != b.Epoch || b.Epoch == 0 || h.state.Next >= 0 && h.state.Next < b.From {
		return nil, t.lost(b, nil)
	}
	t.mu.Lock()
	t.held[b.Partition] = h
	t.mu.Unlock()
	return h, nil
}

// lost says that another has taken the partition, or may have.
func (t *Target) lost(b *sink.Batch, err error) error {
	t.mu.Lock()
	delete(t.held, b.Partition)
	t.mu.Unlock()
	return &sink.OwnershipLost{Partition: b.Partition, Epoch: b.Epoch, Err: err}
}

// commit saves what do makes of the state. Where somebody else has saved, or it is not known whether this was, the state is read anew
// before the next use.
func (t *Target) commit(ctx context.Context, b *sink.Batch, h *held, do func(s *state)) error {
	s := h.state.clone()
	do(s)
	tag, err := t.save(ctx, &b.Partition, s, h.tag)
	switch {
	case err == nil:
		h.state, h.tag = s, tag
		return nil
	case errors.Is(err, errChanged):
		return t.lost(b, nil)
	}
	t.mu.Lock()
	delete(t.held, b.Partition)
	t.mu.Unlock()
	return err
}

// clone copies what commits change.
func (s *state) clone() *state {
	c := *s
	c.Staged = append([]stagedFile(nil), s.Staged...)
	c.Files = append([]visibleFile(nil), s.Files...)
	c.Replaced = append([]replaced(nil), s.Replaced...)
	return &c
}

// Positions returns all that is stored for the group.
func (t *Target) Positions(ctx context.Context, group string) ([]sink.Position, error) {
	states, err := t.states(ctx, group)
	if err != nil {
		return nil, err
	}
	positions := make([]sink.Position, 0, len(states))
	for _, s := range states {
		p, err := s.partition()
		if err != nil {
			return nil, err
		}
		positions = append(positions, sink.Position{Partition: p, Next: s.Next, Epoch: s.Epoch, ThroughMillis: s.Through})
	}
	return positions, nil
}

// SetProgress writes where to go on, and makes every old owner lose its partition. What the files hold already is left out when it
// comes again; where it goes forward, the files have a gap. What is stored of the same topics under another identity is removed.
func (t *Target) SetProgress(ctx context.Context, group string, to []sink.Reset) error {
	if err := t.own(ctx, group); err != nil {
		return err
	}
	for _, reset := range to {
		_, _, err := t.change(ctx, group, &reset.Partition, func(s *state) {
			s.Epoch++
			s.Next, s.Through = reset.Next, reset.ThroughMillis
			if s.End >= 0 {
				s.End = max(s.End, s.Next)
			}
		})
		if err != nil {
			return err
		}
	}
	states, err := t.states(ctx, group)
	if err != nil {
		return err
	}
	for _, s := range states {
		old, err := s.partition()
		if err != nil {
			return err
		}
		for _, reset := range to {
			now := reset.Partition
			if old.Source == now.Source && old.Topic == now.Topic && (old.TopicID != now.TopicID || old.Count != now.Count) {
				if err := t.forget(ctx, &old); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// forget removes a partition's state with what is staged for it. Its visible files stay.
func (t *Target) forget(ctx context.Context, p *sink.Partition) error {
	if err := t.store.remove(ctx, stateKey(p)); err != nil {
		return err
	}
	staged, err := t.store.list(ctx, stagedFolder+partitionName(p)+"/")
	if err != nil {
		return err
	}
	for _, e := range staged {
		if err := t.store.remove(ctx, e.key); err != nil {
			return err
		}
	}
	return nil
}
