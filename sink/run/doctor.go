package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/sink"
)

// doctorTime bounds the whole examination.
const doctorTime = time.Minute

// examination gathers findings.
type examination struct {
	config   Config
	target   sink.Target
	findings []sink.Finding
	tables   []*change.Table
}

func (e *examination) add(level sink.Level, where, what, why, mend string) {
	e.findings = append(e.findings, sink.Finding{Level: level, Where: where, What: what, Why: why, Mend: mend})
}

// failed adds an error as what is wrong.
func (e *examination) failed(where string, err error) {
	f := sink.Finding{Level: sink.Wrong, Where: where, What: err.Error()}
	var p *change.Problem
	if errors.As(err, &p) {
		f.Why, f.Mend = p.Why, p.Mend
	}
	e.findings = append(e.findings, f)
}

// sayCount says how many of something there are.
func sayCount(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// sayTime says a time in days where it is whole ones.
func sayTime(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return sayCount(int(d/day), "day")
	}
	return d.String()
}

// doctor looks at all that a run depends on, and changes nothing.
func (c *command) doctor(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	e := &examination{config: c.config, target: c.target}
	topics := e.cluster(ctx)
	e.registry(ctx, topics)
	if checker, ok := sink.Ability[sink.Checker](c.target); ok {
		found, err := checker.Check(ctx, c.config.Group, e.tables)
		e.findings = append(e.findings, found...)
		if err != nil {
			e.failed("target", err)
		}
	}
	if err := printFindings(c.stdout, c.output, e.findings); err != nil {
		return err
	}
	if slices.ContainsFunc(e.findings, func(f sink.Finding) bool { return f.Level == sink.Wrong }) {
		return errFound
	}
	return nil
}

// cluster examines the brokers, the topics and the group, and returns the names of the topics.
func (e *examination) cluster(ctx context.Context) []string {
	where := "kafka " + strings.Join(e.config.Kafka.Brokers, ",")
	client, err := kafka.NewClient(e.config.Kafka)
	if err != nil {
		e.failed(where, err)
		return nil
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	brokers, err := adm.ListBrokers(ctx)
	if err != nil {
		e.failed(where, kafka.Explain(err, "reach the brokers", ""))
		return nil
	}
	e.add(sink.Good, where, sayCount(len(brokers), "broker"), "", "")
	patterns, err := parsePatterns(e.config.Topics)
	if err != nil {
		e.failed(where, err)
		return nil
	}
	found, err := listTopics(ctx, adm, patterns)
	if err != nil {
		e.failed(where, err)
		return nil
	}
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) == 0 {
		e.add(sink.Warning, where, fmt.Sprintf("no topic matches %q", e.config.Topics), "there is nothing to apply until the source has made one",
			"start the source, or mend the patterns: <source>.<database>.<table>")
		return nil
	}
	e.add(sink.Good, where, sayCount(len(names), "topic")+" to read", "", "")
	for _, name := range names {
		e.topic(ctx, adm, name)
	}
	e.progress(ctx, adm, names)
	return names
}

// topic examines one topic's settings.
func (e *examination) topic(ctx context.Context, adm *kadm.Client, name string) {
	s, err := describeSettings(ctx, adm, name)
	where := "topic " + name
	switch {
	case err != nil:
		e.failed(where, kafka.Explain(err, "read the settings of a topic", name))
	case !s.Compacted:
		e.add(sink.Warning, where, "it is not compacted", "what is older than its retention is gone: a new sink would not get all rows",
			fmt.Sprintf("kafka-configs --alter --topic %s --add-config cleanup.policy=compact", name))
	case s.MinCompactionLag == 0:
		e.add(sink.Warning, where, "min.compaction.lag.ms is 0",
			"any change may be compacted away: moves between shards look at all shards, and history would have holes",
			fmt.Sprintf("kafka-configs --alter --topic %s --add-config min.compaction.lag.ms=604800000", name))
	default:
		e.add(sink.Good, where, fmt.Sprintf("compacted after %s, deletes kept for %s more", sayTime(s.MinCompactionLag), sayTime(s.DeleteRetention)), "", "")
	}
}

// progress examines where the group would begin, partition by partition, as a run would.
func (e *examination) progress(ctx context.Context, adm *kadm.Client, names []string) {
	progress, _ := sink.Ability[sink.Progress](e.target)
	v, err := takeSurvey(ctx, adm, e.config.Group, progress, names)
	if err != nil {
		e.failed("group "+e.config.Group, err)
		return
	}
	s := &Sink{config: e.config, target: e.target, progress: progress, admin: adm}
	begun, all, waiting := 0, 0, int64(0)
	for _, name := range names {
		t := &topic{name: name, source: sourceOf(name)}
		if settings, err := describeSettings(ctx, adm, name); err == nil {
			t.setSettings(settings)
		}
		for p := range v.topics[name].count {
			b, err := s.examine(v, t, spot{name, p})
			if err != nil {
				e.failed("group "+e.config.Group, err)
				break // the other partitions have most likely the same
			}
			waiting += max(0, offset(v.stables, spot{name, p})-b.next)
			all++
			if known, _ := s.stored(v, b.partition); known.found {
				begun++
			}
		}
	}
	what := fmt.Sprintf("%d of %d partitions have been read before, %d offsets wait", begun, all, waiting)
	if begun == 0 {
		what = fmt.Sprintf("nothing has been read yet: a run begins at the log's start, %d partitions, %d offsets wait", all, waiting)
	}
	if all > 0 {
		e.add(sink.Good, "group "+e.config.Group, what, "", "")
	}
}

// examine is begin without taking the partition.
func (s *Sink) examine(v *survey, t *topic, at spot) (beginning, error) {
	topic := v.topics[at.topic]
	b := beginning{partition: sink.Partition{Source: t.source, Topic: t.name, TopicID: topic.id, Count: topic.count, Partition: at.partition}}
	if err := s.checkPins(v, b.partition); err != nil {
		return b, err
	}
	k, err := s.stored(v, b.partition)
	if err != nil {
		return b, err
	}
	return b, s.checkBounds(v, t, at, k, &b)
}

// registry examines the registry and reads the newest schemas.
func (e *examination) registry(ctx context.Context, topics []string) {
	where := "registry " + e.config.Kafka.Registry
	client, err := registry.New(registry.Options{URL: e.config.Kafka.Registry, User: e.config.Kafka.RegistryUser, Password: string(e.config.Kafka.RegistryPassword)})
	if err != nil {
		e.failed(where, err)
		return
	}
	for _, name := range topics {
		t, err := newestTable(ctx, client, name)
		switch {
		case err != nil:
			e.failed(where, err)
			return
		case t == nil:
			e.add(sink.Warning, where, "it has no schema of "+name+"-value", "the topic's records could not be read",
				"is it the registry that the source writes to?")
		default:
			e.tables = append(e.tables, t)
		}
	}
	if len(topics) == 0 {
		if _, _, err := client.Latest(ctx, "sluice-doctor"); err != nil {
			e.failed(where, err)
			return
		}
	}
	e.add(sink.Good, where, "it answers, with the schemas of "+sayCount(len(e.tables), "table"), "", "")
}

// printFindings prints them by place, in the order in which the places came up.
func printFindings(out io.Writer, format string, findings []sink.Finding) error {
	if format == "json" {
		type finding struct {
			Level string `json:"level"`
			Where string `json:"where"`
			What  string `json:"what"`
			Why   string `json:"why,omitempty"`
			Mend  string `json:"mend,omitempty"`
		}
		list := make([]finding, len(findings))
		for i, f := range findings {
			list[i] = finding{[...]string{"good", "warning", "wrong"}[f.Level], f.Where, f.What, f.Why, f.Mend}
		}
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(list)
	}
	var places []string
	for _, f := range findings {
		if !slices.Contains(places, f.Where) {
			places = append(places, f.Where)
		}
	}
	for _, place := range places {
		fmt.Fprintln(out, place)
		for _, f := range findings {
			if f.Where != place {
				continue
			}
			fmt.Fprintf(out, "  %s %s\n", [...]string{"✓", "!", "✗"}[f.Level], f.What)
			for _, line := range [...][2]string{{"why ", f.Why}, {"mend", f.Mend}} {
				if line[1] != "" && f.Level != sink.Good {
					fmt.Fprintf(out, "      %s   %s\n", line[0], strings.ReplaceAll(line[1], "\n", "\n             "))
				}
			}
		}
	}
	of := make(map[sink.Level]int)
	for _, f := range findings {
		of[f.Level]++
	}
	wrong := "nothing is"
	if of[sink.Wrong] > 0 {
		wrong = fmt.Sprint(of[sink.Wrong])
	}
	fmt.Fprintf(out, "%s wrong, %d to look at\n", wrong, of[sink.Warning])
	return nil
}
