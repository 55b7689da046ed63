package crawl

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/source/merge"
)

// namedKey is a key that is looked up by its value.
type namedKey struct {
	bound []string // as literals, in the order of the index
	body  []byte   // its Avro body, where it is known already: a sweep's keys come from the topic
	texts []string // else expressions that give each key column's text as a SELECT would, in key order
}

// namedList parses the JSON list of a request: each key a value, a list of values in the order of the key's
// columns, or an object with their names. Numbers and text are both taken for numbers, text for all else;
// bytes are text, or hexadecimal after 0x.
func namedList(sh *shape, text string) ([]namedKey, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var list []any
	if err := decoder.Decode(&list); err != nil {
		return nil, fmt.Errorf("keys: want a JSON list: %w", err)
	}
	if decoder.More() {
		return nil, fmt.Errorf("keys: there is more after the list")
	}
	keys := make([]namedKey, 0, len(list))
	for i, entry := range list {
		values, err := keyValues(sh.table, entry)
		if err == nil {
			var k namedKey
			if k, err = sh.nameKey(values); err == nil {
				keys = append(keys, k)
				continue
			}
		}
		return nil, fmt.Errorf("keys[%d]: %w", i, err)
	}
	return keys, nil
}

// keyValues returns the texts of one entry in key order.
func keyValues(t *change.Table, entry any) ([]string, error) {
	names := t.KeyNames()
	var values []any
	switch e := entry.(type) {
	case []any:
		values = e
	case map[string]any:
		for _, name := range names {
			value, ok := e[name]
			if !ok {
				return nil, fmt.Errorf("no value for %q; the key is (%s)", name, strings.Join(names, ", "))
			}
			values = append(values, value)
		}
		if len(e) != len(names) {
			return nil, fmt.Errorf("%d columns; the key is (%s)", len(e), strings.Join(names, ", "))
		}
	default:
		values = []any{e}
	}
	if len(values) != len(names) {
		return nil, fmt.Errorf("%d values; the key is (%s)", len(values), strings.Join(names, ", "))
	}
	texts := make([]string, len(values))
	for i, value := range values {
		switch v := value.(type) {
		case json.Number:
			texts[i] = v.String()
		case string:
			texts[i] = v
		default:
			return nil, fmt.Errorf("column %s: want a number or text", names[i])
		}
	}
	return texts, nil
}

// nameKey makes a key of texts in key order.
func (sh *shape) nameKey(texts []string) (namedKey, error) {
	values := make([]change.Value, len(texts))
	k := namedKey{texts: make([]string, len(texts))}
	for i, c := range sh.table.Key {
		column := &sh.table.Columns[c]
		value, err := parseValue(column, texts[i])
		if err == nil {
			values[i] = value
			k.texts[i], err = canonical(column, value)
		}
		if err != nil {
			return k, fmt.Errorf("column %s: %w", column.Name, err)
		}
	}
	var err error
	k.bound, err = sh.boundOf(values)
	return k, err
}

// parseValue reads what a person writes for a column's value.
func parseValue(c *change.Column, text string) (change.Value, error) {
	switch {
	case c.Type.Integer(), c.Type == change.Year, c.Type == change.Decimal:
		if !isNumber([]byte(text)) || (c.Type != change.Decimal && strings.Contains(text, ".")) {
			return change.Value{}, fmt.Errorf("%q is no %s", text, c.Type)
		}
	case c.Type == change.Bit:
		n, ok := new(big.Int).SetString(text, 0)
		if !ok || n.Sign() < 0 || n.BitLen() > c.Length {
			return change.Value{}, fmt.Errorf("%q is no number of %d bits", text, c.Length)
		}
		return change.RawValue(n.FillBytes(make([]byte, (c.Length+7)/8))), nil
	case c.Type.Opaque():
		value := []byte(text)
		if digits, ok := strings.CutPrefix(text, "0x"); ok {
			var err error
			if value, err = hex.DecodeString(digits); err != nil {
				return change.Value{}, err
			}
		}
		if c.Type == change.Binary && len(value) < c.Length {
			value = append(value, make([]byte, c.Length-len(value))...)
		}
		return change.RawValue(value), nil
	case c.Type == change.Char:
		text = strings.TrimRight(text, " ") // the server gives it back so
	case c.Type == change.Set:
		text = orderSet(c, text)
	}
	return change.StringValue(text), nil
}

// orderSet writes a SET's names in the order of the type, as the server does.
func orderSet(c *change.Column, text string) string {
	names := strings.Split(text, ",")
	var ordered []string
	for _, element := range c.Elements {
		if slices.Contains(names, element) {
			ordered = append(ordered, element)
		}
	}
	if len(ordered) != len(names) && text != "" {
		return text // valueLiteral says what is wrong with it
	}
	return strings.Join(ordered, ",")
}

// canonical writes the expression whose text is the value's as a SELECT of the column gives it: with a
// DECIMAL's digits, a time's fraction, in the column's charset.
func canonical(c *change.Column, v change.Value) (string, error) {
	text, err := valueLiteral(c, v)
	if err != nil {
		return "", err
	}
	switch c.Type {
	case change.Decimal:
		return fmt.Sprintf("CAST(%s AS DECIMAL(%d,%d))", text, c.Precision, c.Scale), nil
	case change.Date:
		return "CAST(" + text + " AS DATE)", nil
	case change.Time:
		return fmt.Sprintf("CAST(%s AS TIME(%d))", text, c.Scale), nil
	case change.DateTime, change.Timestamp:
		return fmt.Sprintf("CAST(%s AS DATETIME(%d))", text, c.Scale), nil
	case change.Bit:
		return "x'" + hex.EncodeToString(v.Bytes) + "'", nil
	case change.Year:
		return fmt.Sprintf("'%04s'", text), nil
	}
	if c.Type.Character() || c.Type == change.Enum || c.Type == change.Set {
		return "CONVERT(" + utf8Literal(v.Bytes) + " USING " + c.Charset + ")", nil
	}
	return text, nil
}

func utf8Literal(text []byte) string { return "_utf8mb4 x'" + hex.EncodeToString(text) + "'" }

// valueLiteral writes a value in canonical form (change.Value) as a literal that equals the column's value.
func valueLiteral(c *change.Column, v change.Value) (string, error) {
	switch {
	case v.IsNull():
		return "", fmt.Errorf("column %s: a key is never NULL", c.Name)
	case c.Type == change.Bit:
		var wide [8]byte
		if len(v.Bytes) > len(wide) {
			return "", fmt.Errorf("column %s: more than 64 bits", c.Name)
		}
		copy(wide[len(wide)-len(v.Bytes):], v.Bytes)
		return fmt.Sprint(binary.BigEndian.Uint64(wide[:])), nil
	case c.Type == change.Enum:
		return enumNumber(c, string(v.Bytes))
	case c.Type == change.Set:
		return setNumber(c, string(v.Bytes))
	case c.Type.Character() && c.Charset == "utf8mb4":
		return utf8Literal(v.Bytes) + " COLLATE " + c.Collation, nil
	case c.Type.Character():
		return "CONVERT(" + utf8Literal(v.Bytes) + " USING " + c.Charset + ") COLLATE " + c.Collation, nil
	}
	return literal(c, v.Append(nil))
}

func enumNumber(c *change.Column, name string) (string, error) {
	at := slices.Index(c.Elements, name)
	if at < 0 && name != "" { // the empty name with number 0 is what an invalid value became
		return "", fmt.Errorf("column %s: no element %q", c.Name, name)
	}
	return fmt.Sprint(at + 1), nil
}

func setNumber(c *change.Column, names string) (string, error) {
	var bits uint64
	if names != "" {
		for name := range strings.SplitSeq(names, ",") {
			at := slices.Index(c.Elements, name)
			if at < 0 {
				return "", fmt.Errorf("column %s: no element %q", c.Name, name)
			}
			bits |= 1 << at
		}
	}
	return fmt.Sprint(bits), nil
}

// boundOf writes values in key order as literals in the order of the index.
func (sh *shape) boundOf(values []change.Value) ([]string, error) {
	bound := make([]string, len(sh.columns))
	for i, c := range sh.columns {
		at := slices.Index(sh.table.Key, c)
		text, err := valueLiteral(&sh.table.Columns[c], values[at])
		if err != nil {
			return nil, err
		}
		bound[i] = text
	}
	return bound, nil
}

// locate finds the literals of a key of which only the Avro body is known.
func (sh *shape) locate(k *namedKey) error {
	values, err := sh.decoder.Decode(k.body, nil)
	if err != nil {
		return fmt.Errorf("decode a key of the topic: %w", err)
	}
	if len(values) != len(sh.table.Key) {
		return fmt.Errorf("a key of the topic has %d columns, the table's has %d", len(values), len(sh.table.Key))
	}
	k.bound, err = sh.boundOf(values)
	return err
}

// anyOf writes "the key is one of these".
func (sh *shape) anyOf(keys []namedKey) string {
	parts := make([]string, len(keys))
	for i := range keys {
		parts[i] = sh.equal(keys[i].bound)
	}
	return "(" + strings.Join(parts, " OR ") + ")"
}

// bodies fills in the bodies of keys that a person named: the server prints each value as it would the
// column's, and the encoder writes that. One statement each: a UNION would give all of them the widest type
// and one charset.
func (s *session) bodies(ctx context.Context, sh *shape, encoder *avro.Encoder, keys []namedKey) error {
	for i := range keys {
		if keys[i].body != nil {
			continue
		}
		if err := s.body(ctx, sh, encoder, &keys[i]); err != nil {
			return fmt.Errorf("key (%s): %w", strings.Join(keys[i].bound, ", "), err)
		}
	}
	return nil
}

func (s *session) body(ctx context.Context, sh *shape, encoder *avro.Encoder, k *namedKey) error {
	rows, err := s.conn.QueryContext(ctx, "SELECT "+strings.Join(k.texts, ", "))
	if err != nil {
		return err
	}
	defer rows.Close()
	raw := make([]sql.RawBytes, len(k.texts))
	into := make([]any, len(raw))
	for i := range raw {
		into[i] = &raw[i]
	}
	if !rows.Next() {
		return rows.Err()
	}
	if err := rows.Scan(into...); err != nil {
		return err
	}
	row := avro.Row{Text: make([][]byte, len(sh.table.Columns))}
	for i, c := range sh.table.Key {
		row.Text[c] = raw[i]
	}
	if k.body, err = encoder.AppendKey(nil, row); err != nil {
		return err
	}
	return rows.Close()
}

// answer turns the rows that were found for named keys into what is to be published.
//
// A key that was not found under its own bytes is deleted. The table may still hold that row under other
// bytes, which its collation takes for the same ('a' and 'A'): such a row is published, after the delete. A
// row under the same bytes is what the asker of named keys wants, and nothing new to a sweep.
func answer(keys []namedKey, found []merge.Row, sweep bool, deleted func(key []byte) ([]byte, error)) ([]merge.Row, error) {
	asked := make(map[string]bool, len(keys))
	for i := range keys {
		asked[string(keys[i].body)] = false
	}
	var rows []merge.Row
	for _, row := range found {
		if _, ok := asked[string(row.Key)]; ok {
			asked[string(row.Key)] = true
			if sweep {
				continue
			}
		}
		rows = append(rows, row)
	}
	var gone []merge.Row
	for i := range keys {
		if asked[string(keys[i].body)] {
			continue
		}
		asked[string(keys[i].body)] = true // named twice, deleted once
		value, err := deleted(keys[i].body)
		if err != nil {
			return nil, err
		}
		gone = append(gone, merge.Row{Key: keys[i].body, Value: value, Delete: true})
	}
	return append(gone, rows...), nil
}

// namedRange reads the bounds of a range over a list of named keys.
func namedRange(from, to []string, length int) (first, end int) {
	end = length
	if len(from) == 1 {
		first, _ = strconv.Atoi(from[0])
	}
	if len(to) == 1 {
		end, _ = strconv.Atoi(to[0])
	}
	end = min(max(end, 0), length) // a record from a longer list
	return min(max(first, 0), end), end
}

// namedRanges cuts a list of that length into ranges.
func namedRanges(length int) []Range {
	var ranges []Range
	size := max(keysMax, (length+rangesMax-1)/rangesMax)
	for at := 0; at < length; at += size {
		ranges = append(ranges, Range{From: []string{strconv.Itoa(at)}, To: []string{strconv.Itoa(min(at+size, length))}})
	}
	return ranges
}
