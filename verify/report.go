package verify

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/change"
)

// Report is what a run has found.
type Report struct {
	Group       string        `json:"group"`
	Started     time.Time     `json:"started"`
	Seconds     float64       `json:"seconds"`
	Differences int64         `json:"differences"`
	Undecided   int64         `json:"undecided"`
	Tables      []TableResult `json:"tables"`
}

// TableResult is what was found of one table.
type TableResult struct {
	Table       string         `json:"table"`
	Source      string         `json:"source"`
	Topic       string         `json:"topic"`
	Target      string         `json:"target,omitempty"` // the target's table, where it has another shape
	KeyColumns  []string       `json:"key_columns"`
	SourceRows  int64          `json:"source_rows"`
	TargetRows  int64          `json:"target_rows"`
	SummedRows  int64          `json:"summed_rows,omitempty"` // of the source, compared by sums of both servers
	LookedAgain int64          `json:"looked_again"`          // keys that differed at first sight, most of them because they were being changed
	Undecided   int64          `json:"undecided"`             // keys that were changed at each look
	Differences int64          `json:"differences"`
	Kinds       map[Kind]int64 `json:"kinds,omitempty"`
	Seconds     float64        `json:"seconds"`
	Unlisted    int64          `json:"unlisted,omitempty"` // differences beyond those in Rows
	Rows        []Difference   `json:"rows,omitempty"`
}

// add takes another part of the table's rows in.
func (r *TableResult) add(o *TableResult) {
	r.SourceRows += o.SourceRows
	r.TargetRows += o.TargetRows
	r.SummedRows += o.SummedRows
	r.LookedAgain += o.LookedAgain
	r.Undecided += o.Undecided
	r.Differences += o.Differences
	r.Unlisted += o.Unlisted
	for kind, n := range o.Kinds {
		if r.Kinds == nil {
			r.Kinds = make(map[Kind]int64)
		}
		r.Kinds[kind] += n
	}
	listed := min(len(o.Rows), max(0, differencesMax-len(r.Rows)))
	r.Rows = append(r.Rows, o.Rows[:listed]...)
	r.Unlisted += int64(len(o.Rows) - listed)
}

// Difference is one key whose rows differ. Source and Target are left out where more rows differ than were to be shown.
type Difference struct {
	Key     []string           `json:"key"` // as `sluice crawl start --keys` takes it
	Kind    Kind               `json:"kind"`
	Belongs []string           `json:"belongs,omitempty"` // the shards where the row should be
	Columns []string           `json:"columns,omitempty"` // that differ, where there is one row on each side
	Source  map[string]*string `json:"source,omitempty"`  // the row, null where a value is NULL
	Target  []TargetRow        `json:"target,omitempty"`
}

// TargetRow is a row as the target holds it.
type TargetRow struct {
	Shard   string             `json:"shard,omitempty"`
	Version change.Version     `json:"version,omitempty"`
	Columns map[string]*string `json:"columns"`
}

// differencesMax bounds the differing keys that are listed of one table; more are counted.
const differencesMax = 100_000

// show fills in both images.
func (d *Difference) show(t *change.Table, want, found []Place) {
	for i := range want {
		d.Belongs = append(d.Belongs, want[i].Shard)
	}
	if len(want) == 1 && want[0].Shard == "" {
		d.Belongs = nil
	}
	if len(want) > 0 {
		d.Source = texts(&want[0])
	}
	for i := range found {
		d.Target = append(d.Target, TargetRow{found[i].Shard, found[i].Version, texts(&found[i])})
	}
	if d.Kind != Different || len(want) == 0 {
		return
	}
	for i := range found {
		for j := range want {
			if want[j].Shard == found[i].Shard && want[j].Sum != found[i].Sum {
				d.Columns = differing(t, &want[j], &found[i])
				return
			}
		}
	}
}

// differing returns the names of the columns whose values differ.
func differing(t *change.Table, want, found *Place) []string {
	var names []string
	for i, name := range want.Columns {
		for j := range found.Columns {
			if found.Columns[j] != name {
				continue
			}
			var c *change.Column
			if at := t.Column(name); at >= 0 {
				c = &t.Columns[at]
			}
			if !bytes.Equal(appendCanonical(nil, c, want.Values[i]), appendCanonical(nil, c, found.Values[j])) {
				names = append(names, name)
			}
		}
	}
	return names
}

func texts(p *Place) map[string]*string {
	m := make(map[string]*string, len(p.Columns))
	for i, name := range p.Columns {
		if p.Values[i].IsNull() {
			m[name] = nil
			continue
		}
		text := valueText(p.Values[i])
		m[name] = &text
	}
	return m
}

// valueText writes a value for people: bytes in hexadecimal after 0x.
func valueText(v change.Value) string {
	if v.Kind == change.Raw || v.Kind == change.Str && !utf8.Valid(v.Bytes) {
		return "0x" + hex.EncodeToString(v.Bytes)
	}
	return v.String()
}

// keyText writes a key's value as the named keys of a crawl are written.
func keyText(c *change.Column, v change.Value) string {
	if c.Type == change.Bit {
		var n uint64
		for _, b := range v.Bytes {
			n = n<<8 | uint64(b)
		}
		return strconv.FormatUint(n, 10)
	}
	if c.Type.Opaque() {
		return "0x" + hex.EncodeToString(v.Bytes)
	}
	return v.String()
}

// KeyTexts writes a key as Difference.Key and the named keys of a crawl have it.
func KeyTexts(t *change.Table, key []change.Value) []string {
	texts := make([]string, len(key))
	for i, v := range key {
		texts[i] = keyText(&t.Columns[t.Key[i]], v)
	}
	return texts
}

// parseKeyText reads what keyText wrote.
func parseKeyText(c *change.Column, text string) (change.Value, error) {
	switch {
	case c.Type.Integer() && c.Unsigned:
		n, err := strconv.ParseUint(text, 10, 64)
		return change.UintValue(n), err
	case c.Type.Integer(), c.Type == change.Year:
		n, err := strconv.ParseInt(text, 10, 64)
		return change.IntValue(n), err
	case c.Type == change.Bit:
		n, err := strconv.ParseUint(text, 10, 64)
		full := binary.BigEndian.AppendUint64(nil, n)
		return change.RawValue(full[8-min((c.Length+7)/8, 8):]), err
	case c.Type.Opaque():
		b, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
		return change.RawValue(b), err
	}
	return change.StringValue(text), nil
}
