package merge

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/sluice-cdc/sluice/change"
)

// TestStories tells the files of testdata to a Merger. The commands are
//
//	limit bytes=N                 begin again with that limit
//	open TABLE as=NAME            a worker opens a window
//	carry TABLE KEY...            the stream carries keys
//	read NAME high=N              the lines are the chunk's rows: a key, or "gone KEY"
//	pass N                        the stream has come to position N: what is due?
//	ddl TABLE
//	discard NAME
//	state
func TestStories(t *testing.T) {
	stories, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(stories) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, path := range stories {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s := &story{Merger: New(Limits{}), names: map[string]WindowID{}}
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
				return s.tell(t, d)
			})
		})
	}
}

type story struct {
	*Merger
	names map[string]WindowID
	order []string
}

func (s *story) tell(t *testing.T, d *datadriven.TestData) string {
	first := func() string { return d.CmdArgs[0].Key }
	number := func(key string) int64 {
		var n int64
		d.ScanArgs(t, key, &n)
		return n
	}
	switch d.Cmd {
	case "limit":
		*s = story{Merger: New(Limits{Bytes: number("bytes")}), names: map[string]WindowID{}}
	case "open":
		var name string
		d.ScanArgs(t, "as", &name)
		s.names[name] = s.Open(tableName(first()))
		s.order = append(s.order, name)
	case "carry":
		for _, key := range d.CmdArgs[1:] {
			s.Touch(tableName(first()), []byte(key.Key))
		}
	case "read":
		if err := s.Read(s.names[first()], rowsOf(d.Input), at(number("high"))); err != nil {
			var discarded *DiscardedError
			return fmt.Sprintf("%v (may be read again: %v)\n", err, errors.As(err, &discarded))
		}
	case "pass":
		var n int64
		fmt.Sscan(first(), &n)
		return s.due(n)
	case "ddl":
		s.Invalidate(tableName(first()))
	case "discard":
		s.Discard(s.names[first()])
	case "state":
		return s.state()
	default:
		t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
	}
	return ""
}

func (s *story) due(pos int64) string {
	due := s.Due(at(pos))
	if len(due) == 0 {
		return "nothing is due\n"
	}
	var b strings.Builder
	for _, d := range due {
		fmt.Fprintf(&b, "publish %s:", s.nameOf(d.ID))
		for _, r := range d.Rows {
			if r.Delete {
				b.WriteString(" gone")
			}
			b.WriteString(" " + string(r.Key))
		}
		fmt.Fprintf(&b, " (%d struck)\n", d.Struck)
	}
	return b.String()
}

func (s *story) state() string {
	var b strings.Builder
	for _, name := range s.order {
		phase, reason := s.State(s.names[name])
		b.WriteString(name + " " + phase.String())
		if reason != "" {
			b.WriteString(": " + reason)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%d bytes\n", s.Bytes())
	return b.String()
}

func (s *story) nameOf(id WindowID) string {
	for name, known := range s.names {
		if known == id {
			return name
		}
	}
	return "?"
}

func tableName(name string) change.TableName { return change.TableName{DB: "shop", Name: name} }

func at(n int64) change.Position { return change.Position{File: "binlog.000001", Offset: uint64(n)} }

func rowsOf(input string) []Row {
	var rows []Row
	for line := range strings.Lines(input) {
		key, gone := strings.CutPrefix(strings.TrimSpace(line), "gone ")
		row := Row{Key: []byte(key), Value: []byte("row " + key), Delete: gone}
		if gone {
			row.Value = nil
		}
		rows = append(rows, row)
	}
	return rows
}
