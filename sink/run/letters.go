package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/verify"
)

// The headers of a record that says of a letter that it is done with. Nothing is taken out of the topic: what was refused once is
// evidence, and how often a row has been is counted by it.
const (
	headerClosed = "sluice.dead.closed" // how: retried or dropped
	headerLetter = "sluice.dead.letter" // the letter's offset in the topic of dead letters
)

// The ways in which a letter is done with.
const (
	retried = "retried"
	dropped = "dropped"
)

// letter is a dead letter as the commands show it.
type letter struct {
	Letter    int64     `json:"letter"` // its offset in <group>.dead, which is its name
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Key       string    `json:"key"`
	Reason    string    `json:"reason"`
	Mend      string    `json:"mend,omitempty"`
	Causes    []string  `json:"causes,omitempty"`
	Appended  time.Time `json:"appended"`   // when the source's record was
	Seen      time.Time `json:"seen"`       // when it was refused
	FirstSeen time.Time `json:"first_seen"` // when a record of this key was refused for the first time
	Tries     int       `json:"tries"`      // records of this key that were refused until now, this one too
	Closed    string    `json:"closed,omitempty"`

	record *kgo.Record
}

// letterbox reads and closes dead letters.
type letterbox struct {
	c       *command
	client  *kgo.Client
	schemas *schemas
	all     []*letter // in the order in which they came
}

// dead is the command: list, show, retry or drop.
func (c *command) dead(ctx context.Context) error {
	box, err := c.openLetters(ctx)
	if err != nil {
		return err
	}
	defer box.client.Close()
	chosen, err := box.choose()
	if err != nil {
		return err
	}
	switch c.verb {
	case "list":
		return c.listLetters(chosen)
	case "show":
		return box.show(ctx, chosen)
	case "retry":
		return box.retry(ctx, chosen)
	}
	return box.drop(ctx, chosen)
}

func (c *command) openLetters(ctx context.Context) (*letterbox, error) {
	client, err := kafka.NewClient(c.config.Kafka)
	if err != nil {
		return nil, err
	}
	names, err := c.registry()
	if err != nil {
		client.Close()
		return nil, err
	}
	box := &letterbox{c: c, client: client, schemas: newSchemas(names)}
	if err := box.read(ctx); err != nil {
		client.Close()
		return nil, err
	}
	return box, nil
}

// read reads the whole topic: letters are few, or else something is wrong that the list should show.
func (box *letterbox) read(ctx context.Context) error {
	topic := kafka.DeadTopic(box.c.config.Group)
	found, err := kadm.NewClient(box.client).ListTopics(ctx, topic)
	if err != nil {
		return kafka.Explain(err, "look for the dead letters", topic)
	}
	if errors.Is(found[topic].Err, kerr.UnknownTopicOrPartition) || len(found[topic].Partitions) == 0 {
		return nil // no record was ever refused
	}
	ends, starts, err := kafka.StableEnds(ctx, box.client, topic)
	if err != nil {
		return err
	}
	var records []*kgo.Record
	err = kafka.RecordsBetween(ctx, box.client, topic, kafka.TopicID(found[topic].ID), starts, ends, func(r *kgo.Record) error {
		records = append(records, r)
		return nil
	})
	box.all = sortLetters(records)
	for _, l := range box.all {
		l.Key = box.keyText(ctx, l.record)
	}
	return err
}

// sortLetters makes letters of the topic's records: which are done with, and how often each key was refused. It is pure.
func sortLetters(records []*kgo.Record) []*letter {
	var all []*letter
	byOffset := make(map[int64]*letter)
	first := make(map[string]*letter) // by topic and key
	last := make(map[string]*letter)
	for _, r := range records {
		headers := make(map[string]string, len(r.Headers))
		for _, h := range r.Headers {
			headers[h.Key] = string(h.Value)
		}
		if how, ok := headers[headerClosed]; ok {
			if l := byOffset[number(headers[headerLetter])]; l != nil {
				l.Closed = how
			}
			continue
		}
		l := &letter{Letter: r.Offset, Topic: headers[headerTopic], Partition: int32(number(headers[headerPartition])), Offset: number(headers[headerOffset]),
			Reason: headers[headerReason], Mend: headers[headerMend], Appended: time.UnixMilli(number(headers[headerTimestamp])).UTC(),
			Seen: r.Timestamp.UTC(), FirstSeen: r.Timestamp.UTC(), Tries: 1, record: r}
		_ = json.Unmarshal([]byte(headers[headerCauses]), &l.Causes) // letters of older versions have none
		row := l.Topic + "\x00" + string(r.Key)
		if before := last[row]; before != nil {
			l.FirstSeen, l.Tries = first[row].Seen, before.Tries
			if before.Partition != l.Partition || before.Offset != l.Offset { // else the sink died between the letter and its offset
				l.Tries++
			}
		} else {
			first[row] = l
		}
		last[row] = l
		all, byOffset[r.Offset] = append(all, l), l
	}
	return all
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// choose returns the letters that the command is for: those that were named, or all that are open and match.
func (box *letterbox) choose() ([]*letter, error) {
	c := box.c
	patterns, err := parsePatterns(c.topics)
	if err != nil {
		return nil, err
	}
	var chosen []*letter
	for _, l := range box.all {
		named := slices.Contains(c.letters, l.Letter)
		matches := len(patterns) == 0 || slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(l.Topic) })
		if named || len(c.letters) == 0 && matches && (l.Closed == "" || c.verb == "list" && c.all) {
			chosen = append(chosen, l)
		}
	}
	for _, n := range c.letters {
		if !slices.ContainsFunc(chosen, func(l *letter) bool { return l.Letter == n }) {
			return nil, &change.Problem{Kind: change.Configuration, What: fmt.Sprintf("there is no dead letter %d in %s", n, kafka.DeadTopic(c.config.Group)), Mend: "sluice dead list --config FILE"}
		}
	}
	return chosen, nil
}

func (c *command) listLetters(chosen []*letter) error {
	if c.output == "json" {
		return c.printJSON(append([]*letter{}, chosen...))
	}
	if len(chosen) == 0 {
		fmt.Fprintln(c.stdout, "no dead letters")
		return nil
	}
	fmt.Fprintf(c.stdout, "%-7s %-28s %-24s %5s  %-19s  %s\n", "letter", "topic", "key", "tries", "first seen (UTC)", "reason")
	for _, l := range chosen {
		reason, _, _ := strings.Cut(l.Reason, "\n")
		if l.Closed != "" {
			reason = "[" + l.Closed + "] " + reason
		}
		fmt.Fprintf(c.stdout, "%-7d %-28s %-24s %5d  %-19s  %s\n", l.Letter, l.Topic, l.Key, l.Tries, l.FirstSeen.Format(time.DateTime), reason)
	}
	return nil
}

// keyText is the key as people read it, or its bytes where it cannot be decoded.
func (box *letterbox) keyText(ctx context.Context, r *kgo.Record) string {
	c := sink.Change{}
	d := decoder{schemas: box.schemas, topic: &topic{name: r.Topic}}
	key, err := d.key(ctx, r, &c)
	if err != nil {
		return fmt.Sprintf("0x%x", r.Key)
	}
	parts := make([]string, len(c.KeyValues))
	for i, v := range c.KeyValues {
		parts[i] = key.names[i] + "=" + v.String()
	}
	return strings.Join(parts, ",")
}

// change decodes a letter's record.
func (box *letterbox) change(ctx context.Context, l *letter) (sink.Change, error) {
	d := decoder{schemas: box.schemas, topic: &topic{name: l.Topic}}
	r := *l.record
	r.Topic, r.Partition, r.Offset = l.Topic, l.Partition, l.Offset
	return d.record(ctx, &r)
}

// shownLetter is a letter with the row's images.
type shownLetter struct {
	*letter
	Op      string         `json:"op,omitempty"`
	Version change.Version `json:"version,omitempty"`
	Before  map[string]any `json:"before,omitempty"`
	After   map[string]any `json:"after,omitempty"`
}

func (box *letterbox) show(ctx context.Context, chosen []*letter) error {
	var shown []shownLetter
	for _, l := range chosen {
		s := shownLetter{letter: l}
		if c, err := box.change(ctx, l); err == nil {
			s.Op, s.Version, s.Before, s.After = c.Op.String(), c.Version, plainRow(c.Table, c.Before), plainRow(c.Table, c.After)
		}
		shown = append(shown, s)
	}
	if box.c.output == "json" {
		return box.c.printJSON(shown)
	}
	for _, s := range shown {
		box.c.printLetter(&s)
	}
	return nil
}

func (c *command) printLetter(s *shownLetter) {
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(c.stdout, "  %-11s %s\n", name, strings.ReplaceAll(text, "\n", "\n              "))
		}
	}
	fmt.Fprintf(c.stdout, "letter %d\n", s.Letter)
	line("record", fmt.Sprintf("%s offset %d, appended %s", sayPartition(spot{s.Topic, s.Partition}), s.Offset, s.Appended.Format(time.RFC3339)))
	line("key", s.Key)
	line("reason", s.Reason)
	for i, cause := range s.Causes {
		if i > 0 { // the first is the reason itself
			line("because", cause)
		}
	}
	line("mend", s.Mend)
	line("first seen", fmt.Sprintf("%s, refused %d times, at last %s", s.FirstSeen.Format(time.RFC3339), s.Tries, s.Seen.Format(time.RFC3339)))
	line("closed", s.Closed)
	if s.Op == "" {
		line("value", fmt.Sprintf("%d bytes that cannot be decoded", len(s.record.Value)))
		return
	}
	line("op", fmt.Sprintf("%s, version %d", s.Op, s.Version))
	for _, image := range []struct {
		name string
		row  map[string]any
	}{{"before", s.Before}, {"after", s.After}} {
		if image.row != nil {
			text, _ := json.Marshal(image.row) // of strings and NULLs
			line(image.name, string(text))
		}
	}
}

// plainRow is a row for people: texts, and nil for NULL.
func plainRow(t *change.Table, values []change.Value) map[string]any {
	if values == nil {
		return nil
	}
	row := make(map[string]any, len(values))
	for i, v := range values {
		switch {
		case v.IsNull():
			row[t.Columns[i].Name] = nil
		case v.Kind == change.Raw:
			row[t.Columns[i].Name] = fmt.Sprintf("0x%x", v.Bytes)
		default:
			row[t.Columns[i].Name] = v.String()
		}
	}
	return row
}

// retry has the sources read the letters' rows anew. The old records are not applied: others of their keys may have been since, and what
// counts at the target is how the row is now. A row that is refused again makes a new letter. A target that tells somebody of changes gets
// the records themselves.
func (box *letterbox) retry(ctx context.Context, chosen []*letter) error {
	c := box.c
	if r, ok := sink.Ability[sink.Resender](c.target); ok {
		return box.resend(ctx, r, chosen)
	}
	report, err := box.rows(ctx, chosen)
	if err != nil {
		return err
	}
	repairs, err := verify.Repairs(report, who())
	if err != nil {
		return err
	}
	if c.dryRun {
		return c.printRepairs(repairs)
	}
	w := &verify.Waiter{Client: box.client, Group: c.config.Group, Notice: func(b verify.Behind) { fmt.Fprintln(c.stderr, "waiting: "+b.What) }}
	if err := w.Republish(ctx, repairs); err != nil {
		return err
	}
	if err := box.close(ctx, chosen, retried); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "%d rows were published anew; one that is refused again makes a new letter\n", keysOf(repairs))
	return nil
}

const (
	resendTries = 20
	resendPause = 500 * time.Millisecond
)

// resend gives the letters' records to the target again, in the order in which they came, and closes each that is taken.
func (box *letterbox) resend(ctx context.Context, r sink.Resender, chosen []*letter) error {
	for _, l := range chosen {
		if box.c.dryRun {
			fmt.Fprintf(box.c.stdout, "would tell again letter %d: %s %s\n", l.Letter, l.Topic, l.Key)
			continue
		}
		c, err := box.change(ctx, l)
		if err != nil {
			return err
		}
		p := sink.Partition{Source: sourceOf(l.Topic), Topic: l.Topic, Partition: l.Partition}
		for try := 1; ; try++ {
			if err = r.Resend(ctx, p, &c); err == nil || change.SeverityOf(err) != change.Retry || try == resendTries {
				break
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(resendPause):
			}
		}
		if err != nil {
			return fmt.Errorf("letter %d: %w", l.Letter, err)
		}
		if err := box.close(ctx, []*letter{l}, retried); err != nil {
			return err
		}
		fmt.Fprintf(box.c.stdout, "letter %d: told again\n", l.Letter)
	}
	return nil
}

func keysOf(repairs []verify.Repair) (n int) {
	for i := range repairs {
		n += repairs[i].Keys
	}
	return n
}

// rows are the letters' keys as verify would name them, each once.
func (box *letterbox) rows(ctx context.Context, chosen []*letter) (*verify.Report, error) {
	tables := make(map[string]*verify.TableResult)
	seen := make(map[string]bool)
	for _, l := range chosen {
		source := sourceOf(l.Topic)
		table, ok := kafka.TableOf(source, l.Topic)
		newest, err := box.schemas.newest(ctx, l.Topic)
		if err != nil {
			return nil, err
		}
		c := sink.Change{}
		d := decoder{schemas: box.schemas, topic: &topic{name: l.Topic}}
		_, keyErr := d.key(ctx, l.record, &c)
		if !ok || newest == nil || keyErr != nil || len(c.KeyValues) != len(newest.Table().Key) {
			return nil, &change.Problem{Kind: change.Configuration, What: fmt.Sprintf("the row of letter %d cannot be told", l.Letter), Where: l.Topic, Err: keyErr,
				Why: "its record's key cannot be read", Mend: "sluice verify finds what the target lacks, sluice repair mends it; then: sluice dead drop"}
		}
		if row := l.Topic + "\x00" + string(c.Key); !seen[row] {
			seen[row] = true
			if tables[l.Topic] == nil {
				tables[l.Topic] = &verify.TableResult{Table: table.String(), Source: source, Topic: l.Topic}
			}
			tables[l.Topic].Rows = append(tables[l.Topic].Rows, verify.Difference{Key: verify.KeyTexts(newest.Table(), c.KeyValues)})
		}
	}
	report := &verify.Report{Group: box.c.config.Group}
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		report.Tables = append(report.Tables, *tables[name])
	}
	return report, nil
}

// drop closes the letters: what they say is not to be done.
func (box *letterbox) drop(ctx context.Context, chosen []*letter) error {
	if box.c.dryRun {
		for _, l := range chosen {
			fmt.Fprintf(box.c.stdout, "would drop letter %d: %s %s\n", l.Letter, l.Topic, l.Key)
		}
		return nil
	}
	if err := box.close(ctx, chosen, dropped); err != nil {
		return err
	}
	fmt.Fprintf(box.c.stdout, "%d letters dropped; their records stay in %s\n", len(chosen), kafka.DeadTopic(box.c.config.Group))
	return nil
}

// close notes that the letters are done with.
func (box *letterbox) close(ctx context.Context, chosen []*letter, how string) error {
	topic := kafka.DeadTopic(box.c.config.Group)
	var notes []*kgo.Record
	for _, l := range chosen {
		notes = append(notes, &kgo.Record{Topic: topic, Headers: []kgo.RecordHeader{
			{Key: headerClosed, Value: []byte(how)}, {Key: headerLetter, Value: strconv.AppendInt(nil, l.Letter, 10)}}})
	}
	return kafka.Explain(box.client.ProduceSync(ctx, notes...).FirstErr(), "close dead letters", topic)
}
