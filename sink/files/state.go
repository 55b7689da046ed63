package files

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// state is all that is known of a partition, as it lies in the store. Times are milliseconds since 1970.
type state struct {
	Format    int              `json:"format"`
	Group     string           `json:"group"`
	Source    string           `json:"source"`
	Topic     string           `json:"topic"`
	TopicID   string           `json:"topic_id"`
	Count     int32            `json:"count"`
	Partition int32            `json:"partition"`
	Table     change.TableName `json:"table"` // empty before the first change

	Epoch   int64 `json:"epoch"`
	Next    int64 `json:"next"`    // -1: nothing applied yet
	Through int64 `json:"through"` // T, as sink.Batch has it

	// End is where the next file begins: all offsets below it are in files. -1: there was none yet. It is above Next only after
	// somebody went back.
	End int64 `json:"end"`

	Staged   []stagedFile  `json:"staged,omitempty"`
	Merging  *merge        `json:"merging,omitempty"`
	Files    []visibleFile `json:"files,omitempty"` // of days that compaction has not seen yet
	Replaced []replaced    `json:"replaced,omitempty"`

	// Removed is the last day that retention has removed; empty: none.
	Removed string `json:"removed,omitempty"`
}

// stagedFile is a file of changes that no visible one has yet.
type stagedFile struct {
	Key    string `json:"key"`
	First  int64  `json:"first"`
	Next   int64  `json:"next"`
	Day    string `json:"day"`
	Layout string `json:"layout"`
	Bytes  int64  `json:"bytes"`
	At     int64  `json:"at"`
}

// visibleFile is a file that readers see.
type visibleFile struct {
	Key    string `json:"key"`
	First  int64  `json:"first"`
	Next   int64  `json:"next"`
	Day    string `json:"day"`
	Layout string `json:"layout"`
	Bytes  int64  `json:"bytes"`
}

// merge is what is to become of some files: decided, and not known to be done.
type merge struct {
	Visible bool     `json:"visible"` // the inputs are visible files: it is a compaction
	Inputs  []string `json:"inputs"`
	Key     string   `json:"key"`
	First   int64    `json:"first"`
	Next    int64    `json:"next"`
	Day     string   `json:"day"`
	Layout  string   `json:"layout"`
}

// replaced is a file that was merged into another, and when.
type replaced struct {
	Key string `json:"key"`
	At  int64  `json:"at"`
}

const stateFormat = 1

func newState(group string, p *sink.Partition) *state {
	return &state{Format: stateFormat, Group: group, Source: p.Source, Topic: p.Topic, TopicID: hex.EncodeToString(p.TopicID[:]), Count: p.Count,
		Partition: p.Partition, Next: -1, End: -1}
}

// partition returns whose state it is.
func (s *state) partition() (sink.Partition, error) {
	p := sink.Partition{Source: s.Source, Topic: s.Topic, Count: s.Count, Partition: s.Partition}
	id, err := hex.DecodeString(s.TopicID)
	if err != nil || len(id) != len(p.TopicID) {
		return p, fmt.Errorf("topic id %q", s.TopicID)
	}
	copy(p.TopicID[:], id)
	return p, nil
}

func parseState(key string, data []byte) (*state, error) {
	s := &state{}
	err := json.Unmarshal(data, s)
	if err == nil && s.Format != stateFormat {
		err = fmt.Errorf("format %d", s.Format)
	}
	if err != nil {
		return nil, &change.Problem{Kind: change.Fatal, What: "the state of a partition cannot be read", Where: key, Err: err,
			Why: "without it the sink does not know where its files end", Mend: "use the program that wrote it; restore the object from a backup"}
	}
	return s, nil
}

// load reads a partition's state; where there is none, a new one with an empty tag.
func (t *Target) load(ctx context.Context, group string, p *sink.Partition) (*state, string, error) {
	key := stateKey(p)
	data, tag, err := t.store.get(ctx, key)
	if errors.Is(err, errNotThere) {
		return newState(group, p), "", nil
	}
	if err != nil {
		return nil, "", err
	}
	s, err := parseState(key, data)
	if err == nil && s.Group != group {
		err = t.foreign(s.Group, group)
	}
	return s, tag, err
}

// save writes a state in place of the one with the tag.
func (t *Target) save(ctx context.Context, p *sink.Partition, s *state, tag string) (string, error) {
	data, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return "", err
	}
	return t.store.swap(ctx, stateKey(p), data, tag)
}

// change loads, changes and saves a state, again and again while others are faster.
func (t *Target) change(ctx context.Context, group string, p *sink.Partition, do func(s *state)) (*state, string, error) {
	for {
		s, tag, err := t.load(ctx, group, p)
		if err != nil {
			return nil, "", err
		}
		do(s)
		tag, err = t.save(ctx, p, s, tag)
		if errors.Is(err, errChanged) && ctx.Err() == nil {
			continue
		}
		return s, tag, err
	}
}

// states returns all states of the group, with their keys.
func (t *Target) states(ctx context.Context, group string) ([]*state, error) {
	found, err := t.store.list(ctx, progressPlace)
	if err != nil {
		return nil, err
	}
	var states []*state
	for _, e := range found {
		data, _, err := t.store.get(ctx, e.key)
		if errors.Is(err, errNotThere) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s, err := parseState(e.key, data)
		if err != nil {
			return nil, err
		}
		if group == "" || s.Group == group {
			states = append(states, s)
		}
	}
	return states, nil
}

// owner says whose the place is.
type owner struct {
	Group string `json:"group"`
}

// own makes the place the group's, or refuses.
func (t *Target) own(ctx context.Context, group string) error {
	t.mu.Lock()
	known := t.owner == group
	t.mu.Unlock()
	if known {
		return nil
	}
	data, err := json.Marshal(owner{group})
	if err != nil {
		return err
	}
	if _, err := t.store.swap(ctx, ownerKey, data, ""); err != nil {
		if !errors.Is(err, errChanged) {
			return err
		}
		var has owner
		if data, _, err = t.store.get(ctx, ownerKey); err != nil {
			return err
		}
		if err := json.Unmarshal(data, &has); err != nil || has.Group != group {
			return t.foreign(has.Group, group)
		}
	}
	t.mu.Lock()
	t.owner = group
	t.mu.Unlock()
	return nil
}

func (t *Target) foreign(has, group string) error {
	return &change.Problem{Kind: change.Configuration, What: fmt.Sprintf("the files are group %q's, this page's group is %q", has, group), Where: t.store.String(),
		Why: "each change would stand in them twice", Mend: "give this group another files.path"}
}
