package run

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/sink"
)

// survey is how the topics of this process, the group's offsets and the target's progress were at one time. Many
// partitions that are assigned together are begun from one survey.
type survey struct {
	taken     time.Time // everything was asked after this
	topics    map[string]incarnation
	starts    kadm.ListedOffsets
	ends      kadm.ListedOffsets // high watermarks
	stables   kadm.ListedOffsets // last stable offsets
	committed kadm.OffsetResponses
	positions map[string][]sink.Position // by topic
}

// surveyAfter returns a survey of the assigned topics that was begun after the given time.
func (s *Sink) surveyAfter(ctx context.Context, since time.Time, need string) (*survey, error) {
	s.surveying.Lock()
	defer s.surveying.Unlock()
	if v := s.lastSurvey; v != nil && v.taken.After(since) {
		if _, ok := v.topics[need]; ok {
			return v, nil
		}
	}
	v, err := takeSurvey(ctx, s.admin, s.config.Group, s.progress, s.assignedTopics(need))
	if err != nil {
		return nil, err
	}
	s.lastSurvey = v
	return v, nil
}

// takeSurvey asks the cluster and the target. The group's offsets come before the target's progress: then they cannot
// be above it when all is well.
func takeSurvey(ctx context.Context, adm *kadm.Client, group string, progress sink.Progress, names []string) (*survey, error) {
	v := &survey{taken: time.Now(), topics: make(map[string]incarnation), positions: make(map[string][]sink.Position)}
	details, err := adm.ListTopics(ctx, names...)
	if err != nil {
		return nil, kafka.Explain(err, "look at the topics", "")
	}
	for name, d := range details {
		if d.Err == nil && len(d.Partitions) > 0 {
			v.topics[name] = incarnation{id: d.ID, count: int32(len(d.Partitions))}
		}
	}
	existing := make([]string, 0, len(v.topics))
	for name := range v.topics {
		existing = append(existing, name)
	}
	if v.committed, err = fetchCommitted(ctx, adm, group); err != nil {
		return nil, err
	}
	if progress != nil {
		all, err := progress.Positions(ctx, group)
		if err != nil {
			return nil, fmt.Errorf("read the target's progress: %w", err)
		}
		for _, p := range all {
			v.positions[p.Topic] = append(v.positions[p.Topic], p)
		}
	}
	return v, v.bounds(ctx, adm, existing)
}

func fetchCommitted(ctx context.Context, adm *kadm.Client, group string) (kadm.OffsetResponses, error) {
	committed, err := adm.FetchOffsets(ctx, group)
	if err == nil {
		err = committed.Error()
	}
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil
	}
	return committed, kafka.Explain(err, "ask for the group's offsets", group)
}

// bounds asks for the ends of the logs. The end comes before the stable offset, as in kafka's own bounds.
func (v *survey) bounds(ctx context.Context, adm *kadm.Client, names []string) error {
	if len(names) == 0 {
		return nil
	}
	for _, ask := range []struct {
		list func(context.Context, ...string) (kadm.ListedOffsets, error)
		into *kadm.ListedOffsets
	}{{adm.ListStartOffsets, &v.starts}, {adm.ListEndOffsets, &v.ends}, {adm.ListCommittedOffsets, &v.stables}} {
		listed, err := ask.list(ctx, names...)
		if err == nil {
			err = listed.Error()
		}
		if err != nil {
			return kafka.Explain(err, "ask for the ends of topics", fmt.Sprint(names))
		}
		if *ask.into == nil {
			*ask.into = listed
			continue
		}
		for topic, partitions := range listed {
			(*ask.into)[topic] = partitions
		}
	}
	return nil
}

// offset returns a listed offset, -1 where it is not there.
func offset(l kadm.ListedOffsets, at spot) int64 {
	if o, ok := l.Lookup(at.topic, at.partition); ok {
		return o.Offset
	}
	return -1
}

// pin is what the metadata of a committed offset says: for which incarnation of the topic it was, T, and after a replay has gone
// back, how far the group had been.
type pin struct {
	incarnation
	throughMillis int64
	rewound       rewound
}

// rewound is what is left to know of a replay that went back.
type rewound struct {
	reached int64 // everything below was applied before; 0: nothing that comes was
	resend  bool  // the replay asked for it to be told again
}

// at returns what of it still matters at an offset.
func (r rewound) at(next int64) rewound {
	if r.reached <= next {
		return rewound{}
	}
	return r
}

// String writes the pin as it is committed.
func (p pin) String() string {
	text := fmt.Sprintf("sluice id=%x count=%d through=%d", p.id, p.count, p.throughMillis)
	if p.rewound.reached > 0 {
		text += fmt.Sprintf(" %s=%d", map[bool]string{false: "reached", true: "resend"}[p.rewound.resend], p.rewound.reached)
	}
	return text
}

// parsePin reads it back; false where the metadata is somebody else's.
func parsePin(text string) (p pin, ok bool) {
	fields := strings.Fields(text)
	if len(fields) < 4 || len(fields) > 5 || fields[0] != "sluice" {
		return p, false
	}
	var id []byte
	var count int64
	var err [4]error
	_, err[0] = fmt.Sscanf(fields[1], "id=%x", &id)
	count, err[1] = strconv.ParseInt(strings.TrimPrefix(fields[2], "count="), 10, 32)
	p.throughMillis, err[2] = strconv.ParseInt(strings.TrimPrefix(fields[3], "through="), 10, 64)
	if len(fields) == 5 {
		var reached string
		if reached, p.rewound.resend = strings.CutPrefix(fields[4], "resend="); !p.rewound.resend {
			reached = strings.TrimPrefix(fields[4], "reached=")
		}
		p.rewound.reached, err[3] = strconv.ParseInt(reached, 10, 64)
	}
	if errors.Join(err[:]...) != nil || len(id) != len(p.id) {
		return p, false
	}
	copy(p.id[:], id)
	p.count = int32(count)
	return p, true
}
