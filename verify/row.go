package verify

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Sum is the hash of a row in one place: 128 bits, so that two rows that differ are taken for equal never in practice. Sums are
// added, not XORed: a row that is twice in one place must not cancel itself. They mean something inside one process only.
type Sum struct{ hi, lo uint64 }

func (s Sum) plus(o Sum) Sum {
	lo := s.lo + o.lo
	hi := s.hi + o.hi
	if lo < s.lo {
		hi++
	}
	return Sum{hi, lo}
}

func (s Sum) minus(o Sum) Sum {
	hi := s.hi - o.hi
	if s.lo < o.lo {
		hi--
	}
	return Sum{hi, s.lo - o.lo}
}

var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func sumOf(b []byte) Sum { return Sum{maphash.Bytes(seeds[0], b), maphash.Bytes(seeds[1], b)} }

// Rows reads rows of one table into their canonical form, which is independent of the order of columns, and of collation and time
// zone, because change.Value is. It belongs to one goroutine.
type Rows struct {
	table  *change.Table
	types  map[string]*change.Column // the source's, by name
	orders map[*string]*order        // by the slice of column names, which is shared between rows
	last   *order                    // the one used last
	buffer []byte
	key    []byte
	places []sink.Row // see tableRun.shaped
}

// ordersMax bounds what is remembered of targets that make a new slice of names for each row.
const ordersMax = 64

// order is how rows with these columns are read.
type order struct {
	names  []string
	named  []byte           // the hash of the names, sorted
	sorted []int            // the columns in the order of their names
	types  []*change.Column // by column; nil: none of the source's
	key    []int            // the key's columns in key order
}

// NewRows returns a reader of rows of the table.
func NewRows(t *change.Table) *Rows {
	r := &Rows{table: t, types: make(map[string]*change.Column), orders: make(map[*string]*order)}
	for i := range t.Columns {
		r.types[t.Columns[i].Name] = &t.Columns[i]
	}
	return r
}

func (r *Rows) order(columns []string) (*order, error) {
	if len(columns) == 0 {
		return nil, fmt.Errorf("a row of %s without columns", r.table.TableName)
	}
	if o := r.last; o != nil && &o.names[0] == &columns[0] && len(o.names) == len(columns) {
		return o, nil
	}
	if o := r.orders[&columns[0]]; o != nil && len(o.names) == len(columns) {
		r.last = o
		return o, nil
	}
	o := &order{names: columns, sorted: make([]int, len(columns)), types: make([]*change.Column, len(columns))}
	for i, name := range columns {
		o.sorted[i], o.types[i] = i, r.types[name]
	}
	slices.SortFunc(o.sorted, func(a, b int) int { return strings.Compare(columns[a], columns[b]) })
	var names []byte
	for _, i := range o.sorted {
		names = appendBytes(names, columns[i])
	}
	named := sumOf(names)
	o.named = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, named.hi), named.lo)
	for _, name := range r.table.KeyNames() {
		at := slices.Index(columns, name)
		if at < 0 {
			return nil, fmt.Errorf("rows of %s at the target have no column %q of its key", r.table.TableName, name)
		}
		o.key = append(o.key, at)
	}
	if len(r.orders) >= ordersMax {
		clear(r.orders)
	}
	r.orders[&columns[0]], r.last = o, o
	return o, nil
}

// Key returns the row's key as bytes from which parseKey makes its values again. They are valid until the next call.
func (r *Rows) Key(row *sink.Row) ([]byte, error) {
	o, err := r.order(row.Columns)
	if err != nil {
		return nil, err
	}
	r.key = r.key[:0]
	for i, at := range o.key {
		r.key = appendKeyValue(r.key, &r.table.Columns[r.table.Key[i]], row.Values[at])
	}
	return r.key, nil
}

// Sum returns the hash of the row and its place.
func (r *Rows) Sum(row *sink.Row) (Sum, error) {
	o, err := r.order(row.Columns)
	if err != nil {
		return Sum{}, err
	}
	b := append(appendBytes(r.buffer[:0], row.Shard), o.named...)
	for _, i := range o.sorted {
		b = appendCanonical(b, o.types[i], row.Values[i])
	}
	r.buffer = b
	return sumOf(b), nil
}

func appendBytes[T string | []byte](dst []byte, v T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(v))), v...)
}

// The first byte of a canonical value.
const (
	tagNull  = 'n'
	tagExact = 'e' // a number's text, or text, or bytes
	tagFloat = 'f' // the bits of a double: -0.0 is not 0.0
)

// appendCanonical appends a value of a column of the source so that equal values have equal bytes although a target holds them in
// a type of its own: a wider integer, a DECIMAL or a time with more digits, a FLOAT as a DOUBLE.
func appendCanonical(dst []byte, c *change.Column, v change.Value) []byte {
	switch v.Kind {
	case change.Null:
		return append(dst, tagNull)
	case change.Float32, change.Float64:
		return binary.BigEndian.AppendUint64(append(dst, tagFloat), v.Num)
	}
	dst = append(dst, tagExact)
	begin := len(dst)
	dst = append(dst, 0, 0, 0, 0) // the length, known behind the value
	switch {
	case v.Kind == change.Int64 || v.Kind == change.Uint64:
		dst = v.Append(dst)
	case c != nil && c.Type == change.JSON:
		dst = appendWithoutBlanks(dst, v.Bytes)
	case c != nil:
		dst = append(dst, plain(c.Type, v.Bytes)...)
	default:
		dst = append(dst, v.Bytes...)
	}
	binary.BigEndian.PutUint32(dst[begin:], uint32(len(dst)-begin-4))
	return dst
}

// plain leaves out what does not belong to the value: zeros at the end of a fraction, zero bytes before a BIT's number.
func plain(t change.Type, text []byte) []byte {
	switch t {
	case change.Decimal, change.Time, change.DateTime, change.Timestamp:
		if bytes.IndexByte(text, '.') >= 0 {
			end := len(text)
			for text[end-1] == '0' {
				end--
			}
			if text[end-1] == '.' {
				end--
			}
			return text[:end]
		}
	case change.Bit:
		for len(text) > 1 && text[0] == 0 {
			text = text[1:]
		}
	}
	return text
}

// appendWithoutBlanks leaves out the blanks of a JSON text that stand outside its strings.
func appendWithoutBlanks(dst, text []byte) []byte {
	quoted, from := false, 0 // from: of what is not copied yet
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++ // what it escapes
		case !quoted && (c == ' ' || c == '\n' || c == '\r' || c == '\t'):
			dst = append(dst, text[from:i]...)
			from = i + 1
		}
	}
	return append(dst, text[from:]...)
}

// appendKeyValue appends a key's value so that it can be read back as it is: the targets find rows by it.
func appendKeyValue(dst []byte, c *change.Column, v change.Value) []byte {
	switch v.Kind {
	case change.Int64, change.Uint64:
		kind := change.Int64
		if c.Unsigned { // whatever sign the target's column has
			kind = change.Uint64
		}
		return binary.BigEndian.AppendUint64(append(dst, byte(kind)), v.Num)
	case change.Float32, change.Float64:
		return binary.BigEndian.AppendUint64(append(dst, byte(v.Kind)), v.Num)
	}
	return appendBytes(append(dst, byte(v.Kind)), v.Bytes)
}

// parseKey reads the values of a key's bytes.
func parseKey(key []byte) ([]change.Value, error) {
	var values []change.Value
	for len(key) > 0 {
		v := change.Value{Kind: change.Kind(key[0])}
		key = key[1:]
		switch v.Kind {
		case change.Int64, change.Uint64, change.Float32, change.Float64:
			if len(key) < 8 {
				return nil, fmt.Errorf("a key is cut off")
			}
			v.Num, key = binary.BigEndian.Uint64(key), key[8:]
		default:
			size, n := binary.Uvarint(key)
			if n <= 0 || uint64(len(key)-n) < size {
				return nil, fmt.Errorf("a key is cut off")
			}
			v.Bytes, key = key[n:n+int(size):n+int(size)], key[n+int(size):]
		}
		values = append(values, v)
	}
	return values, nil
}
