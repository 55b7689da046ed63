package run

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/sink"
)

// goal is where a replay goes to.
type goal struct {
	beginning bool
	target    bool // where the target's own progress stands, partition by partition
	offset    int64
	time      time.Time
}

func parseGoal(text string) (goal, error) {
	if text == "beginning" {
		return goal{beginning: true}, nil
	}
	if text == "target" {
		return goal{target: true}, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		return goal{offset: n}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return goal{}, &change.Problem{Kind: change.Configuration,
			What: fmt.Sprintf("--to %q is neither beginning, target, an offset, nor a time like 2026-11-20T09:00:00Z", text)}
	}
	return goal{time: t}, nil
}

// replay is the command's work with what it needs at hand.
type replay struct {
	c        *command
	goal     goal
	client   *kgo.Client
	admin    *kadm.Client
	progress sink.Progress
	replayer sink.Replayer
	emptier  sink.Emptier
	survey   *survey
	plan     []planned
}

// planned is one partition's line of the plan.
type planned struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Now       int64  `json:"now"`   // the target's progress (its lowest), or the group's offset; -1: none
	Start     int64  `json:"start"` // the log's bounds
	End       int64  `json:"end"`
	To        int64  `json:"to"`
	Records   int64  `json:"records"` // offsets that will be read again; below 0: that will be left out

	identity sink.Partition
	through  int64
	rewound  rewound
}

// replay sets the group's progress anew while the group is stopped.
func (c *command) replay(ctx context.Context) error {
	r := &replay{c: c}
	var err error
	if r.goal, err = parseGoal(c.to); err != nil {
		return err
	}
	if err := c.sameGroup(); err != nil {
		return err
	}
	r.progress, _ = sink.Ability[sink.Progress](c.target)
	r.replayer, _ = sink.Ability[sink.Replayer](c.target)
	r.emptier, _ = sink.Ability[sink.Emptier](c.target)
	if r.progress != nil && r.replayer == nil {
		return &change.Problem{Kind: change.Configuration, What: "this target keeps its progress and cannot be replayed"}
	}
	if c.resend && r.progress != nil {
		return &change.Problem{Kind: change.Configuration, What: "--resend goes with a target that tells somebody of changes",
			Why: "this one holds state: what comes again is applied by version in any case", Mend: "leave --resend out"}
	}
	if r.goal.target && r.progress == nil {
		return &change.Problem{Kind: change.Configuration, What: "--to target goes with a target that keeps its own progress"}
	}
	if c.empty && !r.goal.beginning {
		return &change.Problem{Kind: change.Configuration, What: "--empty goes with --to beginning only",
			Why: "an emptied table needs the whole log to be right again"}
	}
	if r.client, err = kafka.NewClient(c.config.Kafka); err != nil {
		return err
	}
	defer r.client.Close()
	r.admin = kadm.NewClient(r.client)
	if err := r.stopped(ctx); err != nil {
		return err
	}
	if err := r.makePlan(ctx); err != nil {
		return err
	}
	return r.carryOut(ctx)
}

// stopped refuses while the group has members: they would go on from what they hold.
func (r *replay) stopped(ctx context.Context) error {
	group := r.c.config.Group
	described, err := r.admin.DescribeGroups(ctx, group)
	if err != nil {
		return kafka.Explain(err, "look at the group", group)
	}
	d, ok := described[group]
	if !ok || len(d.Members) == 0 {
		return nil
	}
	var members []string
	for _, m := range d.Members {
		members = append(members, strings.TrimPrefix(m.ClientHost, "/"))
	}
	return &change.Problem{Kind: change.Configuration,
		What: fmt.Sprintf("the group %s is running: %d members, on %s", group, len(d.Members), strings.Join(members, ", ")),
		Why:  "what they apply now would go on beside the replay",
		Mend: "stop all sinks of the group (a killed one is a member until its session ends), then replay"}
}

func (r *replay) makePlan(ctx context.Context) error {
	patterns, err := parsePatterns(r.c.config.Topics)
	if err != nil {
		return err
	}
	found, err := listTopics(ctx, r.admin, patterns)
	if err != nil {
		return err
	}
	only, err := parsePatterns(r.c.topics)
	if err != nil {
		return err
	}
	var names []string
	for name := range found {
		if len(only) == 0 || matches(only, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return &change.Problem{Kind: change.Configuration, What: "no topic matches", Mend: "look at topics in the page and at --topics"}
	}
	slices.Sort(names)
	if r.survey, err = takeSurvey(ctx, r.admin, r.c.config.Group, r.progress, names); err != nil {
		return err
	}
	var at kadm.ListedOffsets
	if !r.goal.time.IsZero() {
		if at, err = r.admin.ListOffsetsAfterMilli(ctx, r.goal.time.UnixMilli(), names...); err == nil {
			err = at.Error()
		}
		if err != nil {
			return kafka.Explain(err, "look for the offsets of a time", r.c.to)
		}
	}
	for _, name := range names {
		for p := range found[name].count {
			line, err := r.line(ctx, name, p, found[name], at)
			if err != nil {
				return err
			}
			r.plan = append(r.plan, line)
		}
	}
	slices.SortFunc(r.plan, func(a, b planned) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return nil
}

// line plans one partition.
func (r *replay) line(ctx context.Context, name string, partition int32, topic incarnation, times kadm.ListedOffsets) (planned, error) {
	at := spot{name, partition}
	v := r.survey
	l := planned{Topic: name, Partition: partition, Now: -1, Start: offset(v.starts, at), End: offset(v.stables, at)}
	l.identity = sink.Partition{Source: sourceOf(name), Topic: name, TopicID: topic.id, Count: topic.count, Partition: partition}
	if r.progress != nil {
		if k := lowest(v.positions[name], l.identity); k.found {
			l.Now = k.next
		}
	} else if o, ok := v.committed.Lookup(name, partition); ok {
		l.Now = o.At
	}
	switch {
	case r.goal.beginning:
		l.To = l.Start
	case r.goal.target:
		l.To = max(l.Now, l.Start)
	case !r.goal.time.IsZero():
		l.To, l.through = offset(times, at), r.goal.time.UnixMilli()
	default:
		l.To = r.goal.offset
	}
	if l.To < 0 || l.To > l.End {
		l.To = l.End
	}
	l.To = max(l.To, l.Start)
	l.Records = max(l.Now, l.Start) - l.To
	l.rewound = r.rewound(l)
	if l.To == l.Start && l.End > l.Start {
		l.through = -time.Now().UnixMilli() // the log is read as a whole
		return l, nil
	}
	if l.through == 0 && l.To > l.Start {
		through, err := r.timeOf(ctx, at, l.To-1)
		if err != nil {
			return l, err
		}
		l.through = through
	}
	return l, nil
}

// rewound is how far the group had been of this incarnation of the topic, where the plan goes back behind that. An earlier
// replay may have gone back already.
func (r *replay) rewound(l planned) rewound {
	o, ok := r.survey.committed.Lookup(l.Topic, l.Partition)
	before, ours := parsePin(o.Metadata)
	if r.progress != nil || !ok || !ours || before.incarnation != (incarnation{l.identity.TopicID, l.identity.Count}) {
		return rewound{}
	}
	return rewound{reached: max(o.At, before.rewound.reached), resend: r.c.resend}.at(l.To)
}

// timeOf returns when the record at the offset, or the next one that is there, was appended: T of a replay that
// goes on after it.
func (r *replay) timeOf(ctx context.Context, at spot, offset int64) (int64, error) {
	client, err := kafka.NewClient(r.c.config.Kafka, kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{at.topic: {at.partition: kgo.NewOffset().At(offset)}}))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	fetches := client.PollRecords(ctx, 1)
	if err := fetches.Err(); err != nil {
		return 0, kafka.Explain(err, "read the record before the one to go on from", fmt.Sprintf("%s offset %d", sayPartition(at), offset))
	}
	for _, record := range fetches.Records() {
		return record.Timestamp.UnixMilli(), nil
	}
	return 0, nil
}

// carryOut prints the plan and, unless it is a dry run, does it. The order makes a replay that is cut off harmless:
// the group's offsets are never above the target's progress, and tables are emptied only when they will be read anew.
func (r *replay) carryOut(ctx context.Context) error {
	tables, err := r.tables(ctx)
	if err != nil {
		return err
	}
	if err := r.print(); err != nil {
		return err
	}
	if err := r.mayRebuild(ctx, tables); err != nil {
		return err
	}
	if r.c.dryRun {
		fmt.Fprintln(r.c.stderr, "dry run: nothing was changed")
		return nil
	}
	if err := r.commit(ctx); err != nil {
		return err
	}
	if r.progress != nil {
		if err := r.setProgress(ctx); err != nil {
			return err
		}
	}
	if r.c.empty {
		for source, list := range tables {
			if err := r.emptier.Empty(ctx, source, list); err != nil {
				return fmt.Errorf("empty the target's tables: %w (run the command again: they are to be read anew, and are not all empty)", err)
			}
		}
	}
	fmt.Fprintf(r.c.stderr, "done: start the sinks of group %s\n", r.c.config.Group)
	return nil
}

func (r *replay) setProgress(ctx context.Context) error {
	var resets []sink.Reset
	for _, l := range r.plan {
		reset := sink.Reset{Partition: l.identity, Next: l.To, ThroughMillis: l.through}
		resets = append(resets, reset)
	}
	if err := r.replayer.SetProgress(ctx, r.c.config.Group, resets); err != nil {
		return fmt.Errorf("write the target's progress: %w (run the command again)", err)
	}
	return nil
}

// mayRebuild refuses to read the log from its start over rows that are there: those that the source has deleted long
// ago, so that the log knows nothing of them, would stay.
func (r *replay) mayRebuild(ctx context.Context, tables map[string][]*change.Table) error {
	rebuilds := func(l planned) bool { return l.To == l.Start && l.Now > l.Start }
	if !r.goal.beginning && !slices.ContainsFunc(r.plan, rebuilds) {
		return nil
	}
	if r.emptier == nil {
		if r.c.empty {
			return &change.Problem{Kind: change.Configuration, What: "this target cannot be emptied from here",
				Mend: "empty it by its own means, and leave --empty out"}
		}
		return nil // a target by version: deletes that the log has forgotten are the operator's matter
	}
	if r.c.empty {
		return nil
	}
	var occupied []string
	for source, list := range tables {
		names, err := r.emptier.Occupied(ctx, source, list)
		if err != nil {
			return err
		}
		occupied = append(occupied, names...)
	}
	if len(occupied) == 0 {
		return nil
	}
	slices.Sort(occupied)
	return &change.Problem{Kind: change.Configuration, What: "the target's tables are not empty: " + strings.Join(occupied, ", "),
		Why:  "rows whose deletes the log has forgotten would stay for ever",
		Mend: "use --to beginning --empty, which empties them first"}
}

// tables returns the newest schemas of the topics, by source.
func (r *replay) tables(ctx context.Context) (map[string][]*change.Table, error) {
	if r.emptier == nil {
		return nil, nil
	}
	client, err := r.c.registry()
	if err != nil {
		return nil, err
	}
	tables := make(map[string][]*change.Table)
	last := ""
	for _, l := range r.plan {
		if l.Topic == last {
			continue
		}
		last = l.Topic
		t, err := newestTable(ctx, client, l.Topic)
		if err != nil {
			return nil, err
		}
		if t != nil {
			tables[l.identity.Source] = append(tables[l.identity.Source], t)
		}
	}
	return tables, nil
}

// newestTable returns the table of a topic by its newest schema, nil where the registry has none.
func newestTable(ctx context.Context, client *registry.Client, topic string) (*change.Table, error) {
	text, _, err := client.Latest(ctx, topic+"-value")
	if err != nil || text == "" {
		return nil, err
	}
	d, err := avro.NewDecoder(text)
	if err != nil {
		return nil, err
	}
	return d.Table(), nil
}

// commit writes the group's offsets.
func (r *replay) commit(ctx context.Context) error {
	offsets := make(kadm.Offsets)
	for _, l := range r.plan {
		offsets.Add(kadm.Offset{Topic: l.Topic, Partition: l.Partition, At: l.To, LeaderEpoch: -1,
			Metadata: pin{incarnation{l.identity.TopicID, l.identity.Count}, l.through, l.rewound}.String()})
	}
	err := r.admin.CommitAllOffsets(ctx, r.c.config.Group, offsets)
	return kafka.Explain(err, "commit the group's offsets", r.c.config.Group)
}

func (r *replay) print() error {
	if r.c.output == "json" {
		return r.c.printJSON(r.plan)
	}
	w := tabwriter.NewWriter(r.c.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "topic\tpartition\tnow\tlog start\tlog end\tto\tread again\t")
	for _, l := range r.plan {
		now := strconv.FormatInt(l.Now, 10)
		if l.Now < 0 {
			now = "-"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\t%d\t%d\t\n", l.Topic, l.Partition, now, l.Start, l.End, l.To, l.Records)
	}
	return w.Flush()
}
