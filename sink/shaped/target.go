package shaped

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/shape"
	"github.com/sluice-cdc/sluice/sink"
)

// Newest returns the newest schema of a source's table, nil where none is known.
type Newest func(ctx context.Context, source string, t change.TableName) (*change.Table, error)

// Target is a target in front of another. It is safe for use by many goroutines.
type Target struct {
	behind sink.Target
	specs  []shape.Spec
	newest Newest

	compiling sync.Mutex
	forms     sync.Map // []*shape.Form by formOf

	mu         sync.Mutex // guards the following
	partitions map[owned]*epochs
}

type formOf struct {
	source string
	table  *change.Table
}

type owned struct {
	group     string
	partition sink.Partition
}

// epochs are those that the lanes of a partition were given, and the one that stands for them.
type epochs struct {
	mine  int64
	lanes []int64
}

var (
	_ sink.Front    = (*Target)(nil)
	_ sink.Progress = (*Target)(nil)
	_ sink.Preparer = (*Target)(nil)
	_ sink.Checker  = (*Target)(nil)
	_ sink.Scanner  = (*Target)(nil)
	_ sink.Summer   = (*Target)(nil)
	_ sink.Viewer   = (*Target)(nil)
	_ sink.Replayer = (*Target)(nil)
	_ sink.Debtor   = (*Target)(nil)
	_ sink.Resender = (*Target)(nil)
)

// New returns a target that gives behind the rows as the entries say. The entries have been checked. newest may be nil.
func New(behind sink.Target, specs []shape.Spec, newest Newest) *Target {
	return &Target{behind: behind, specs: specs, newest: newest, partitions: make(map[owned]*epochs)}
}

// Behind returns the target that the rows go to.
func (t *Target) Behind() sink.Target { return t.behind }

// Close closes the target behind.
func (t *Target) Close() error { return t.behind.Close() }

// lanes returns the topics by which the target behind knows a topic, one for each table that its rows go to: the topic's own name where
// that is one table of the same name.
func (t *Target) lanes(source, topic string) []string {
	table, ok := kafka.TableOf(source, topic)
	if !ok {
		return []string{topic} // a name too long for Kafka does not tell the table: formsOf refuses an entry for such a one
	}
	spec := shape.Find(t.specs, table)
	if spec == nil {
		return []string{topic}
	}
	outputs := spec.Outputs(table)
	if len(outputs) == 1 && outputs[0].Name == table {
		return []string{topic}
	}
	names := make([]string, len(outputs))
	for i, o := range outputs {
		names[i] = sink.LaneTopic(topic, o.Name)
	}
	return names
}

// laneNameMax is the longest name of a topic that targets have room for.
const laneNameMax = 249

// formsOf returns what rows of a schema become, one form for each lane; none where no entry is for the table.
func (t *Target) formsOf(ctx context.Context, source string, table *change.Table) ([]*shape.Form, error) {
	id := formOf{source, table}
	if forms, ok := t.forms.Load(id); ok {
		return forms.([]*shape.Form), nil
	}
	t.compiling.Lock()
	defer t.compiling.Unlock()
	if forms, ok := t.forms.Load(id); ok { // one pointer a schema: a target keeps what it knows by it
		return forms.([]*shape.Form), nil
	}
	forms, err := t.compile(ctx, source, table)
	if err != nil {
		return nil, err
	}
	t.forms.Store(id, forms)
	return forms, nil
}

func (t *Target) compile(ctx context.Context, source string, table *change.Table) ([]*shape.Form, error) {
	spec := shape.Find(t.specs, table.TableName)
	if spec == nil {
		return nil, nil
	}
	topic := kafka.TopicName(source, table.TableName)
	wrong := func(err error) error {
		return &change.Problem{Kind: change.Configuration, Table: table.TableName, Where: table.String(), Err: err,
			What: "rows of " + table.String() + " cannot be given the shape that the page says", Mend: "mend the entry for " + spec.Table + " under shape"}
	}
	for _, lane := range t.lanes(source, topic) {
		if _, ok := kafka.TableOf(source, topic); !ok || len(lane) > laneNameMax {
			return nil, wrong(errors.New("the names of table and target are too long together"))
		}
	}
	var newest *change.Table
	if t.newest != nil {
		var err error
		if newest, err = t.newest(ctx, source, table.TableName); err != nil {
			return nil, err
		}
	}
	var forms []*shape.Form
	for _, o := range spec.Outputs(table.TableName) {
		f, err := spec.Compile(o, source, table, newest)
		if err != nil {
			return nil, wrong(err)
		}
		f.To.Shape = shape.Fingerprint(t.specs, spec, o.Name)
		forms = append(forms, f)
	}
	return forms, nil
}

// Apply gives each lane its part of the batch.
func (t *Target) Apply(ctx context.Context, b *sink.Batch) error {
	lanes := t.lanes(b.Source, b.Topic)
	given, err := t.epochsOf(b, len(lanes))
	if err != nil {
		return err
	}
	for i, lane := range lanes {
		part := *b
		part.Topic, part.Epoch = lane, given[i]
		if part.Changes, err = t.changes(ctx, b, i); err != nil {
			return err
		}
		part.Bytes = 0
		for j := range part.Changes {
			part.Bytes += part.Changes[j].Bytes
		}
		if err := t.behind.Apply(ctx, &part); err != nil {
			return unlane(err, b)
		}
	}
	return nil
}

// unlane says of a lost ownership what the runtime knows: the topic's own partition, and the epoch that it was given.
func unlane(err error, b *sink.Batch) error {
	var lost *sink.OwnershipLost
	if !errors.As(err, &lost) || lost.Partition == b.Partition && lost.Epoch == b.Epoch {
		return err
	}
	return &sink.OwnershipLost{Partition: b.Partition, Shard: lost.Shard, Epoch: b.Epoch, Err: err}
}

// epochsOf returns the epoch of each lane for a batch.
func (t *Target) epochsOf(b *sink.Batch, lanes int) ([]int64, error) {
	if lanes == 1 || b.Epoch == 0 {
		return slices.Repeat([]int64{b.Epoch}, lanes), nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.partitions[owned{b.Group, b.Partition}]
	if e == nil || e.mine != b.Epoch {
		return nil, &sink.OwnershipLost{Partition: b.Partition, Epoch: b.Epoch}
	}
	return e.lanes, nil
}

// Assign takes the partition over in each lane. Its epoch is the greatest of theirs, which grows with each of them.
func (t *Target) Assign(ctx context.Context, group string, p sink.Partition) (next, epoch int64, found bool, err error) {
	behind, _ := sink.Ability[sink.Progress](t.behind)
	lanes := t.lanes(p.Source, p.Topic)
	e := &epochs{}
	found = true
	for i, lane := range lanes {
		of := p
		of.Topic = lane
		n, given, known, err := behind.Assign(ctx, group, of)
		if err != nil {
			return 0, 0, false, err
		}
		if i == 0 || n < next {
			next = n
		}
		found = found && known
		e.lanes, e.mine = append(e.lanes, given), max(e.mine, given)
	}
	if !found {
		next = 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.partitions[owned{group, p}] = e
	return next, e.mine, found, nil
}

// Positions returns the progress of all lanes, under the topics' own names; the tables stand with the shards.
func (t *Target) Positions(ctx context.Context, group string) ([]sink.Position, error) {
	behind, _ := sink.Ability[sink.Progress](t.behind)
	stored, err := behind.Positions(ctx, group)
	if err != nil {
		return nil, err
	}
	var all []sink.Position
	for _, p := range stored {
		topic, table, isLane := sink.LaneOf(p.Topic)
		if !slices.Contains(t.lanes(p.Source, topic), p.Topic) {
			continue // of another shape, which the page had before
		}
		if p.Topic = topic; isLane && p.Shard != "" {
			p.Shard = table.Name + "/" + p.Shard
		} else if isLane {
			p.Shard = table.Name
		}
		all = append(all, p)
	}
	return all, nil
}

// SetProgress sets each lane's.
func (t *Target) SetProgress(ctx context.Context, group string, to []sink.Reset) error {
	behind, _ := sink.Ability[sink.Replayer](t.behind)
	var all []sink.Reset
	for _, r := range to {
		for _, lane := range t.lanes(r.Source, r.Topic) {
			of := r
			of.Topic = lane
			all = append(all, of)
		}
	}
	return behind.SetProgress(ctx, group, all)
}

// Debts returns what is owed, under the topics' own names.
func (t *Target) Debts(ctx context.Context, group string) ([]sink.Debt, error) {
	behind, _ := sink.Ability[sink.Debtor](t.behind)
	debts, err := behind.Debts(ctx, group)
	for i := range debts {
		debts[i].Topic, _, _ = sink.LaneOf(debts[i].Topic)
	}
	return debts, err
}

// Floor is that of the target behind.
func (t *Target) Floor(s sink.LogSettings) time.Duration {
	behind, _ := sink.Ability[sink.Floor](t.behind)
	return behind.Floor(s)
}

// Resend has each lane tell what it would have told.
func (t *Target) Resend(ctx context.Context, p sink.Partition, c *sink.Change) error {
	behind, _ := sink.Ability[sink.Resender](t.behind)
	b := &sink.Batch{Partition: p, Changes: []sink.Change{*c}}
	for i, lane := range t.lanes(p.Source, p.Topic) {
		changes, err := t.changes(ctx, b, i)
		if err != nil {
			return err
		}
		of := p
		of.Topic = lane
		for j := range changes {
			if err := behind.Resend(ctx, of, &changes[j]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Prepare prepares the tables of all lanes.
func (t *Target) Prepare(ctx context.Context, group, source string, tables []*change.Table) error {
	behind, _ := sink.Ability[sink.Preparer](t.behind)
	all, err := t.targets(ctx, source, tables)
	if err != nil {
		return err
	}
	return behind.Prepare(ctx, group, source, all)
}

// targets returns the tables that rows of the tables go to, each once.
func (t *Target) targets(ctx context.Context, source string, tables []*change.Table) ([]*change.Table, error) {
	var all []*change.Table
	for _, table := range tables {
		forms, err := t.formsOf(ctx, source, table)
		if err != nil {
			return nil, err
		}
		if forms == nil {
			all = append(all, table)
		}
		for _, f := range forms {
			if !slices.ContainsFunc(all, func(other *change.Table) bool { return other.TableName == f.To.TableName }) {
				all = append(all, f.To)
			}
		}
	}
	return all, nil
}

// Check has the target behind look at the tables of all lanes. What does not fit an entry is found here.
func (t *Target) Check(ctx context.Context, group string, tables []*change.Table) ([]sink.Finding, error) {
	behind, _ := sink.Ability[sink.Checker](t.behind)
	var found []sink.Finding
	var all []*change.Table
	for _, table := range tables {
		// Which source the table is of is not told, and matters only to what stands in an added column.
		of, err := t.targets(ctx, "", []*change.Table{table})
		var p *change.Problem
		if errors.As(err, &p) && p.Kind == change.Configuration {
			found = append(found, sink.Finding{Level: sink.Wrong, Where: "shape", What: p.Error(), Why: "nothing of the table could be applied", Mend: p.Mend})
			continue
		}
		if err != nil {
			return found, err
		}
		for _, to := range of {
			if to != table {
				found = append(found, sink.Finding{Level: sink.Good, Where: "shape", What: fmt.Sprintf("%s becomes %s (%d columns)", table, to, len(to.Columns))})
			}
		}
		all = append(all, of...)
	}
	more, err := behind.Check(ctx, group, all)
	return append(found, more...), err
}
