package shape

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// Form is what rows of one schema of a table become in one table of the target. It is immutable and safe for use by many
// goroutines.
type Form struct {
	From *change.Table // the source's schema
	To   *change.Table // the target's

	wide    *change.Table // From, and the columns that only a newer schema has: NULL in every row of this one
	filters []*Filter
	columns []formed
	key     []keyed // by the target's key columns
	sameKey bool    // it is the source's, column by column
	back    []int   // by the source's key columns: the place in the target's key
}

// formed is one column of the target.
type formed struct {
	from     int // the source's column, -1: none
	constant change.Value
	expr     *Expression
	convert  conversion // nil: as it is
	how      string     // for people
}

// keyed is one column of the target's key: a column of the source's key, by its place there, or a constant.
type keyed struct {
	place    int // -1: constant
	constant change.Value
}

// Compile makes the form of a source's table for one of the entry's outputs. newest is the newest schema of the table: a column
// that only it has was not there yet when rows of this schema were written, and counts as NULL; nil where it is not known. The error says
// what does not fit, with the columns that there are.
func (s *Spec) Compile(out Output, source string, from, newest *change.Table) (*Form, error) {
	f := &Form{From: from, wide: widen(from, newest), To: &change.Table{TableName: out.Name}}
	for _, text := range []string{s.Where, out.Where} {
		if text == "" {
			continue
		}
		filter, err := CompileFilter(text, f.wide)
		if err != nil {
			return nil, err
		}
		f.filters = append(f.filters, filter)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Columns)) {
		if f.wide.Column(name) < 0 {
			return nil, fmt.Errorf("column %q is not in %s (%s)", name, from.TableName, columnNames(f.wide))
		}
	}
	for i := range f.wide.Columns {
		if err := f.keep(s, i); err != nil {
			return nil, fmt.Errorf("column %s: %w", f.wide.Columns[i].Name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Add)) {
		a := s.Add[name]
		if err := f.add(name, &a, source); err != nil {
			return nil, fmt.Errorf("added column %s: %w", name, err)
		}
	}
	for i := range f.To.Columns {
		for j := range i {
			if strings.EqualFold(f.To.Columns[i].Name, f.To.Columns[j].Name) {
				return nil, fmt.Errorf("two columns would be called %s", f.To.Columns[i].Name)
			}
		}
	}
	return f, f.arrangeKey(s)
}

// widen returns the table with the columns that only the newest schema has.
func widen(from, newest *change.Table) *change.Table {
	if newest == nil || newest == from {
		return from
	}
	wide := &change.Table{TableName: from.TableName, Columns: from.Columns[:len(from.Columns):len(from.Columns)], Key: from.Key}
	for i := range newest.Columns {
		if c := newest.Columns[i]; from.Column(c.Name) < 0 {
			c.Nullable = true
			wide.Columns = append(wide.Columns, c)
		}
	}
	if len(wide.Columns) == len(from.Columns) {
		return from
	}
	return wide
}

// asked returns what the entry says of a column. Names are compared as MySQL does.
func (s *Spec) asked(name string) (c Column, ok bool) {
	for written, c := range s.Columns {
		if strings.EqualFold(written, name) {
			return c, true
		}
	}
	return c, false
}

// keep takes a column of the source over.
func (f *Form) keep(s *Spec, i int) error {
	column, out := f.wide.Columns[i], formed{from: i}
	asked, ok := s.asked(column.Name)
	if !ok && i >= len(f.From.Columns) {
		return nil // of a newer schema, and nothing is said of it
	}
	if f.wide.IsKey(i) && (asked.Drop || asked.Cast != "" || asked.Mask != nil || asked.Hash != nil) {
		return fmt.Errorf("it is part of the key, by which the row is found again: it can be renamed, and nothing else")
	}
	var err error
	switch {
	case asked.Drop:
		return nil
	case asked.Cast != "":
		err = f.cast(&column, &out, asked.Cast)
	case asked.Mask != nil:
		out.convert, out.how = asked.Mask.hide, "masked"
		column, err = maskedColumn(column, asked.Mask)
	case asked.Hash != nil:
		out.convert, out.how = asked.Hash.hide, "hashed"
		column = hashedColumn(column)
	}
	if err != nil {
		return err
	}
	if asked.Rename != "" {
		out.how = strings.TrimPrefix(out.how+", was "+column.Name, ", ")
		column.Name = asked.Rename
	}
	f.put(column, out)
	return nil
}

func (f *Form) put(c change.Column, out formed) {
	f.To.Columns = append(f.To.Columns, c)
	f.columns = append(f.columns, out)
}

func (f *Form) cast(column *change.Column, out *formed, text string) error {
	to, err := ParseType(text)
	if err != nil {
		return err
	}
	if t := column.Type; t == change.Geometry || t == change.Vector || t == change.Bit && !to.Type.Integer() || t.Opaque() && !to.Type.Character() {
		return fmt.Errorf("%s cannot be cast to %s", t, sayType(&to))
	}
	out.convert, out.how = converter(&to, column.Type == change.Bit), "cast from "+sayType(column)
	to.Name, to.Nullable = column.Name, column.Nullable
	*column = to
	return nil
}

// constantType is the type of a column that is the same in every row, where none is named.
var constantType = change.Column{Type: change.VarChar, Length: 64, Charset: madeCharset, Collation: madeCollation}

func (f *Form) add(name string, a *Added, source string) error {
	column, out := constantType, formed{from: -1}
	if a.Type != "" {
		var err error
		if column, err = ParseType(a.Type); err != nil {
			return err
		}
	}
	column.Name = name
	convert := converter(&column, false)
	if a.Expr != "" {
		var err error
		if out.expr, err = Compile(a.Expr, f.wide); err != nil {
			return err
		}
		out.convert, out.how = convert, a.Expr
		column.Nullable = true
		f.put(column, out)
		return nil
	}
	text, _ := a.constant(source, f.From.String())
	if a.From == "table" { // a name may have a point in it
		text = f.From.Name
	} else if a.From == "database" {
		text = f.From.DB
	}
	var err error
	if out.constant, err = convert(change.StringValue(text)); err != nil {
		return err
	}
	column.Nullable, out.how = false, "constant"
	f.put(column, out)
	return nil
}

// arrangeKey sets the target's key: the source's, or as the entry says.
func (f *Form) arrangeKey(s *Spec) error {
	f.back = slices.Repeat([]int{-1}, len(f.From.Key))
	if s.Key == nil {
		f.sameKey = true
		for place, column := range f.From.Key {
			f.keyOf(slices.IndexFunc(f.columns, func(c formed) bool { return c.from == column }), place)
		}
		return nil
	}
	for _, name := range s.Key {
		at := f.To.Column(name)
		if at < 0 {
			return fmt.Errorf("key column %s is not in %s at the target (%s)", name, f.To.TableName, columnNames(f.To))
		}
		c := &f.columns[at]
		place := slices.Index(f.From.Key, c.from)
		if slices.Contains(f.To.Key, at) || c.expr != nil || c.from >= 0 && place < 0 {
			return fmt.Errorf("column %s cannot be in the key: there are the columns of the source's key (%s), each once, and added ones that are the same in every row (value, from)",
				name, strings.Join(f.From.KeyNames(), ", "))
		}
		f.keyOf(at, place)
	}
	if missing := slices.Index(f.back, -1); missing >= 0 {
		return fmt.Errorf("column %s of the source's key is not in the key: rows that differ at the source could be one", f.From.KeyNames()[missing])
	}
	return nil
}

func (f *Form) keyOf(at, place int) {
	if place >= 0 {
		f.back[place] = len(f.key)
	}
	f.To.Key = append(f.To.Key, at)
	f.key = append(f.key, keyed{place, f.columns[at].constant})
}

// Passes reports whether the row of the source is one of the target's table.
func (f *Form) Passes(row []change.Value) (bool, error) {
	row = f.widened(row)
	for _, filter := range f.filters {
		if passes, err := filter.Passes(row); err != nil || !passes {
			return false, err
		}
	}
	return true, nil
}

// widened returns the row with the columns of the newest schema, NULL in it.
func (f *Form) widened(row []change.Value) []change.Value {
	if len(row) == len(f.wide.Columns) {
		return row
	}
	return append(row[:len(row):len(row)], make([]change.Value, len(f.wide.Columns)-len(row))...)
}

// Row returns the target's row for one of the source's that passes.
func (f *Form) Row(row []change.Value) ([]change.Value, error) {
	row = f.widened(row)
	out := make([]change.Value, len(f.columns))
	for i := range f.columns {
		v, err := f.columns[i].value(row)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", f.To.Columns[i].Name, err)
		}
		out[i] = v
	}
	return out, nil
}

func (c *formed) value(row []change.Value) (v change.Value, err error) {
	switch {
	case c.expr != nil:
		v, err = c.expr.Eval(row)
	case c.from >= 0:
		v = row[c.from]
	default:
		return c.constant, nil
	}
	if err != nil || c.convert == nil || v.IsNull() {
		return v, err
	}
	return c.convert(v)
}

// KeyRow returns a row of the target of which only the key is known: NULL in all else.
func (f *Form) KeyRow(key []change.Value) []change.Value {
	out := make([]change.Value, len(f.columns))
	for i, v := range f.Key(key) {
		out[f.To.Key[i]] = v
	}
	return out
}

// Key returns the target's key for one of the source's.
func (f *Form) Key(source []change.Value) []change.Value {
	if source == nil || f.sameKey {
		return source
	}
	out := make([]change.Value, len(f.key))
	for i, k := range f.key {
		if out[i] = k.constant; k.place >= 0 {
			out[i] = source[k.place]
		}
	}
	return out
}

// SourceKey returns the source's key for one of the target's.
func (f *Form) SourceKey(target []change.Value) []change.Value {
	out := make([]change.Value, len(f.back))
	for i, at := range f.back {
		out[i] = target[at]
	}
	return out
}

// Owns reports whether a row of the target's table, by the values of its key's columns, is of this form: others may share the
// table, told apart by what is the same in every row.
func (f *Form) Owns(key []change.Value) bool {
	for i, k := range f.key {
		if k.place < 0 && !bytesEqual(k.constant, key[i]) {
			return false
		}
	}
	return true
}

// bytesEqual compares constants by their text: a target may hold a wider number.
func bytesEqual(a, b change.Value) bool { return a.String() == b.String() }

// Shares reports whether the key tells this form's rows from others in the same table.
func (f *Form) Shares() bool {
	return slices.ContainsFunc(f.key, func(k keyed) bool { return k.place < 0 })
}

// Explain says step by step what becomes of a row, for people: the filters until one does not let it through, then each column
// that is not as it was.
func (f *Form) Explain(row []change.Value) (steps []string, passes bool) {
	wide := f.widened(row)
	for _, filter := range f.filters {
		ok, err := filter.Passes(wide)
		if err != nil {
			return append(steps, "where "+filter.String()+": "+err.Error()), false
		}
		steps = append(steps, fmt.Sprintf("where %s: %t", filter, ok))
		if !ok {
			return steps, false
		}
	}
	for i := range f.wide.Columns {
		if !slices.ContainsFunc(f.columns, func(c formed) bool { return c.from == i }) {
			steps = append(steps, "column "+f.wide.Columns[i].Name+": dropped")
		}
	}
	for i := range f.columns {
		c := &f.columns[i]
		if c.how == "" {
			continue
		}
		v, err := c.value(wide)
		said := "= " + v.String()
		if err != nil {
			said = "fails: " + err.Error()
		}
		steps = append(steps, fmt.Sprintf("column %s (%s): %s %s", f.To.Columns[i].Name, sayType(&f.To.Columns[i]), c.how, said))
	}
	return steps, true
}
