package verify

import (
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

const (
	valueWidth = 48 // of a value that is shown, in bytes
	rowWidth   = 12 // columns of a row that is shown whole
)

// Print writes the report for people: a line a table, then the rows that differ, then one line of sums.
func (r *Report) Print(out io.Writer, limit int) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "table\tsource\ttarget\tlooked again\tdifferences\t")
	for _, kind := range Kinds {
		fmt.Fprintf(w, "%s\t", kind)
	}
	fmt.Fprintln(w, "seconds\t")
	rows, again := int64(0), int64(0)
	for _, t := range r.Tables {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t", t.name(), Grouped(t.SourceRows), Grouped(t.TargetRows), Grouped(t.LookedAgain), Grouped(t.Differences))
		for _, kind := range Kinds {
			fmt.Fprintf(w, "%s\t", Grouped(t.Kinds[kind]))
		}
		fmt.Fprintf(w, "%.1f\t\n", t.Seconds)
		rows, again = rows+t.SourceRows, again+t.LookedAgain
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var b strings.Builder
	for i := range r.Tables {
		r.Tables[i].printRows(&b, limit)
	}
	fmt.Fprintf(&b, "\ndifferences: %d  rows: %d  looked again: %d", r.Differences, rows, again)
	if r.Undecided > 0 {
		fmt.Fprintf(&b, "  undecided: %d", r.Undecided)
	}
	fmt.Fprintf(&b, "  (%.1f s)\n", r.Seconds)
	_, err := io.WriteString(out, b.String())
	return err
}

func (t *TableResult) printRows(b *strings.Builder, limit int) {
	for i := range t.Rows {
		if i == limit || t.Rows[i].Source == nil && t.Rows[i].Target == nil {
			break
		}
		fmt.Fprintf(b, "\n%s  %s  %s", t.name(), t.sayKey(t.Rows[i].Key), t.Rows[i].Kind)
		if belongs := t.Rows[i].Belongs; len(belongs) > 0 {
			b.WriteString(", belongs to " + strings.Join(belongs, ", "))
		}
		b.WriteByte('\n')
		t.Rows[i].print(b)
	}
	if more := t.Differences - int64(min(limit, len(t.Rows))); more > 0 {
		fmt.Fprintf(b, "\n%s: %d more rows differ (--limit, or -o json)\n", t.name(), more)
	}
}

// name names the table, and the target's where it has another shape.
func (t *TableResult) name() string {
	if t.Target == "" {
		return t.Table
	}
	return t.Table + " > " + t.Target
}

func (t *TableResult) sayKey(key []string) string {
	parts := make([]string, len(key))
	for i := range key {
		parts[i] = t.KeyColumns[i] + "=" + key[i]
	}
	return strings.Join(parts, " ")
}

func (d *Difference) print(b *strings.Builder) {
	for _, row := range d.Target {
		if len(d.Columns) == 0 || len(d.Target) > 1 {
			continue
		}
		for _, name := range d.Columns { // one row on each side: only what differs
			source, target := around(d.Source[name], row.Columns[name])
			fmt.Fprintf(b, "    %s\n        source  %s\n        %s  %s\n", name, source, pad(place(row), len("source")), target)
		}
		fmt.Fprintf(b, "    %s is of %s\n", place(row), sayVersion(row))
		return
	}
	if d.Source != nil {
		fmt.Fprintf(b, "    source  %s\n", wholeRow(d.Source))
	}
	for _, row := range d.Target {
		fmt.Fprintf(b, "    %s  %s (of %s)\n", pad(place(row), len("source")), wholeRow(row.Columns), sayVersion(row))
	}
}

func place(row TargetRow) string {
	if row.Shard == "" {
		return "target"
	}
	return row.Shard
}

func pad(text string, width int) string { return text + strings.Repeat(" ", max(0, width-len(text))) }

// sayVersion reads a version as the time that it is.
func sayVersion(row TargetRow) string {
	if row.Version == 0 {
		return "no known version"
	}
	return "version " + strconv.FormatInt(int64(row.Version), 10) + ", " + time.UnixMicro(int64(row.Version)).UTC().Format("2006-01-02 15:04:05.000000")
}

// around cuts two values to what is shown, where they begin to differ.
func around(a, b *string) (string, string) {
	if a == nil || b == nil {
		return shorten(a, 0), shorten(b, 0)
	}
	same := 0
	for same < min(len(*a), len(*b)) && (*a)[same] == (*b)[same] {
		same++
	}
	from := 0
	if same > valueWidth/2 && max(len(*a), len(*b)) > valueWidth {
		from = same - valueWidth/4
	}
	return shorten(a, from), shorten(b, from)
}

// shorten quotes a piece of a value, so that blanks at its end and letters that look alike are seen.
func shorten(text *string, from int) string {
	if text == nil {
		return "NULL"
	}
	piece, before, behind := *text, "", ""
	if from > 0 {
		piece, before = piece[min(from, len(piece)):], "…"
	}
	if len(piece) > valueWidth {
		piece, behind = piece[:valueWidth], fmt.Sprintf("… (%d bytes)", len(*text))
	}
	return before + strconv.QuoteToGraphic(strings.ToValidUTF8(piece, "")) + behind
}

func wholeRow(columns map[string]*string) string {
	names := make([]string, 0, len(columns))
	for name := range columns {
		names = append(names, name)
	}
	sort.Strings(names)
	more := ""
	if len(names) > rowWidth {
		names, more = names[:rowWidth], fmt.Sprintf(" and %d more", len(names)-rowWidth)
	}
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = name + "=" + shorten(columns[name], 0)
	}
	return strings.Join(slices.Clip(parts), " ") + more
}

// Grouped writes 97310 as "97,310".
func Grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
