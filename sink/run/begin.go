package run

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// beginning is where a worker begins.
type beginning struct {
	partition sink.Partition
	next      int64
	epoch     int64
	through   int64 // T as it is stored; 0: none yet
	firstEnd  int64 // the log is read for the first time, up to here; 0: it is not
	firstAt   int64 // when the log ended there, milliseconds
	rewound   rewound
}

// known is what is stored of one partition, wherever this target has it.
type known struct {
	found   bool
	next    int64
	through int64
	rewound rewound
}

// begin finds out where to read on: by the target's own progress where it keeps one, else by the group's offsets, else
// at the log's start. It refuses, with the way on, whatever would lose changes or take rows for others.
func (s *Sink) begin(ctx context.Context, t *topic, at spot, since time.Time) (beginning, error) {
	v, err := s.surveyAfter(ctx, since, at.topic)
	if err != nil {
		return beginning{}, err
	}
	topic, ok := v.topics[at.topic]
	if !ok || at.partition >= topic.count {
		return beginning{}, &change.Problem{Kind: change.Retry, What: "the partition is gone", Where: sayPartition(at)}
	}
	t.begin(topic)
	if err := s.learnSettings(ctx, t); err != nil {
		return beginning{}, err
	}
	b := beginning{partition: sink.Partition{Source: t.source, Topic: t.name, TopicID: topic.id, Count: topic.count, Partition: at.partition}}
	if err := s.checkPins(v, b.partition); err != nil {
		return beginning{}, err
	}
	k, err := s.known(ctx, v, &b)
	if err != nil {
		return beginning{}, err
	}
	if k.next > offset(v.ends, at) { // another owner may have gone on since the survey
		if err := v.bounds(ctx, s.admin, []string{at.topic}); err != nil {
			return beginning{}, err
		}
	}
	return b, s.checkBounds(v, t, at, k, &b)
}

// known asks what is stored of the partition. A target with progress hands out its epoch by it.
func (s *Sink) known(ctx context.Context, v *survey, b *beginning) (known, error) {
	k, err := s.stored(v, b.partition)
	if err != nil || s.progress == nil {
		return k, err
	}
	next, epoch, found, err := s.progress.Assign(ctx, s.config.Group, b.partition)
	if err != nil {
		return k, fmt.Errorf("assign %s: %w", b.partition, err)
	}
	k.found, k.next, b.epoch = found, next, epoch
	return k, nil
}

// stored is what the survey says of the partition. A group's offset above the target's progress is refused.
func (s *Sink) stored(v *survey, p sink.Partition) (known, error) {
	committed, ok := v.committed.Lookup(p.Topic, p.Partition)
	ok = ok && committed.At >= 0
	if s.progress == nil {
		k := known{found: ok, next: committed.At}
		if pinned, ours := parsePin(committed.Metadata); ours {
			k.through, k.rewound = pinned.throughMillis, pinned.rewound
		}
		return k, nil
	}
	k := lowest(v.positions[p.Topic], p)
	if ok && committed.At > max(k.next, 0) {
		return k, s.aheadOfTarget(spot{p.Topic, p.Partition}, committed.At, k)
	}
	k.found = k.found && k.next >= 0
	return k, nil
}

// lowest returns the lowest stored progress of the partition over all shards.
func lowest(positions []sink.Position, p sink.Partition) known {
	var k known
	for _, stored := range positions {
		if stored.Partition != p {
			continue
		}
		if !k.found || stored.Next < k.next {
			k.next = stored.Next
		}
		if !k.found || stored.ThroughMillis < k.through {
			k.through = stored.ThroughMillis
		}
		k.found = true
	}
	return k
}

func (s *Sink) aheadOfTarget(at spot, committed int64, k known) error {
	p := &change.Problem{Kind: change.Poison, Where: sayPartition(at),
		What: fmt.Sprintf("the group's offset %d is above the target's progress %d", committed, k.next),
		Why:  "the target was set back (a restored backup?) or emptied; what it says of itself may not be what its rows are",
		Mend: fmt.Sprintf("look at the target; if its rows are of the time that its progress says: sluice replay --config ... --group %s --topics %s --to target; else: --to beginning --empty",
			s.config.Group, at.topic)}
	if !k.found || k.next < 0 {
		p.What = fmt.Sprintf("the group's offset is %d, but the target knows nothing of the partition", committed)
		p.Mend = s.rebuild(at.topic)
	}
	return p
}

// rebuild is the command that begins anew.
func (s *Sink) rebuild(topic string) string {
	return fmt.Sprintf("sluice replay --config ... --group %s --topics %s --to beginning --empty", s.config.Group, topic)
}

// checkPins refuses a topic that is not the one whose progress is stored (rule R1).
func (s *Sink) checkPins(v *survey, p sink.Partition) error {
	for _, stored := range v.positions[p.Topic] {
		if err := s.samePin(p, incarnation{stored.TopicID, stored.Count}); err != nil {
			return err
		}
	}
	if s.progress != nil {
		return nil
	}
	for _, o := range v.committed[p.Topic] {
		if stored, ok := parsePin(o.Metadata); ok && o.At >= 0 {
			if err := s.samePin(p, stored.incarnation); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Sink) samePin(p sink.Partition, stored incarnation) error {
	problem := &change.Problem{Kind: change.Poison, Where: p.Topic, Mend: s.rebuild(p.Topic)}
	switch {
	case stored.id != p.TopicID && stored.id != [16]byte{} && p.TopicID != [16]byte{}:
		problem.What = fmt.Sprintf("the topic was deleted and made again (id %x, progress is of %x)", p.TopicID, stored.id)
		problem.Why = "its offsets begin anew: everything below the stored ones would be ignored in silence"
	case stored.count != p.Count:
		problem.What = fmt.Sprintf("the topic has %d partitions, progress is of %d", p.Count, stored.count)
		problem.Why = "keys have moved to other partitions: the changes of one row are no longer in one order"
	default:
		return nil
	}
	return problem
}

// checkBounds holds what is stored against the log, and sets where to begin.
func (s *Sink) checkBounds(v *survey, t *topic, at spot, k known, b *beginning) error {
	start, end, stable := offset(v.starts, at), offset(v.ends, at), offset(v.stables, at)
	if start < 0 || end < 0 || stable < 0 {
		return &change.Problem{Kind: change.Retry, What: "the ends of the log are not known", Where: sayPartition(at)}
	}
	b.next, b.through, b.rewound = k.next, k.through, k.rewound
	if !k.found {
		b.next = start
	}
	if !k.found && b.through >= 0 {
		b.through = 0
		if stable > start {
			b.through = -v.taken.UnixMilli() // the first read begins now
		}
	}
	if b.through < 0 && end > b.next {
		b.firstEnd, b.firstAt = end, v.taken.UnixMilli()
	}
	switch {
	case b.next < start:
		return s.fellBehind(at, fmt.Sprintf("the target stands at offset %d, the log begins at %d", b.next, start))
	case b.next > end:
		return &change.Problem{Kind: change.Poison, Where: sayPartition(at),
			What: fmt.Sprintf("the target stands at offset %d, the log ends at %d", b.next, end),
			Why:  "the log has lost its end (an unclean election, a restored broker): the target may hold rows that the log does not know",
			Mend: s.rebuild(at.topic)}
	}
	return s.checkAge(t, at, b.through, time.Now())
}

func (s *Sink) fellBehind(at spot, what string) error {
	return &change.Problem{Kind: change.Poison, Where: sayPartition(at), What: what,
		Why:  "changes in between are gone from the log, deletes among them: rows would stay that the source has deleted",
		Mend: s.rebuild(at.topic)}
}

// checkAge stops what has fallen so far behind that the log may have lost what it still needs (rule R6).
func (s *Sink) checkAge(t *topic, at spot, through int64, now time.Time) error {
	settings, known := t.logSettings()
	if !known || through == 0 {
		return nil
	}
	if through < 0 {
		if settings.Compacted && settings.DeleteRetention > 0 && now.Sub(time.UnixMilli(-through)) > settings.DeleteRetention {
			return s.fellBehind(at, fmt.Sprintf("the first read of the log began at %s and has not reached its end within delete.retention.ms (%s)",
				time.UnixMilli(-through).UTC().Format(time.RFC3339), settings.DeleteRetention))
		}
		return nil
	}
	limit := s.floorLimit(settings)
	if age := now.Sub(time.UnixMilli(through)); limit > 0 && age > limit {
		return s.fellBehind(at, fmt.Sprintf("the target shows the log up to %s; that is %s ago, "+
			"more than the %s for which the log keeps all that is needed",
			time.UnixMilli(through).UTC().Format(time.RFC3339), age.Round(time.Second), limit))
	}
	return nil
}

// floorLimit is how old T may become; 0: no bound.
func (s *Sink) floorLimit(settings sink.LogSettings) time.Duration {
	if f, ok := sink.Ability[sink.Floor](s.target); ok {
		return f.Floor(settings)
	}
	if !settings.Compacted {
		return 0 // nothing is compacted away: the log's start is the bound
	}
	return settings.MinCompactionLag + settings.DeleteRetention
}
