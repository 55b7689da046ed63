package webhook

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/change"
)

var (
	errNotUTF8   = errors.New("the text is not UTF-8")
	errNotJSON   = errors.New("the text is not JSON")
	errNotFinite = errors.New("the number is not finite")
)

// document is the text of a JSON column. In a template it compares as text, in JSON it stands for itself (within another value, for
// which encoding/json calls MarshalJSON, too).
type document string

// MarshalJSON returns the text.
func (d document) MarshalJSON() ([]byte, error) { return []byte(d), nil }

// native returns a column's value as templates have it and as encoding/json writes it. Nothing is bent: what cannot be said is an
// error.
func native(c *change.Column, v change.Value) (any, error) {
	switch v.Kind {
	case change.Null:
		return nil, nil
	case change.Int64:
		return v.Int(), nil
	case change.Uint64:
		return v.Uint(), nil
	case change.Float32:
		return finite(float32(v.Float()))
	case change.Float64:
		return finite(v.Float())
	case change.Raw:
		return nativeRaw(c, v.Bytes)
	}
	if !utf8.Valid(v.Bytes) {
		return nil, errNotUTF8
	}
	text := string(v.Bytes)
	switch c.Type {
	case change.JSON:
		if !json.Valid(v.Bytes) {
			return nil, errNotJSON
		}
		return document(text), nil
	case change.DateTime:
		return strings.Replace(text, " ", "T", 1), nil
	case change.Timestamp:
		return strings.Replace(text, " ", "T", 1) + "Z", nil
	}
	return text, nil
}

func finite[F float32 | float64](f F) (any, error) {
	if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
		return nil, errNotFinite
	}
	return f, nil
}

// nativeRaw gives BIT as a number (BIT(1) as true or false), VECTOR as its numbers, and all else as bytes, which are base64 in JSON.
func nativeRaw(c *change.Column, b []byte) (any, error) {
	switch c.Type {
	case change.Bit:
		var n uint64
		for _, x := range b {
			n = n<<8 | uint64(x)
		}
		if c.Length == 1 {
			return n != 0, nil
		}
		return n, nil
	case change.Vector:
		vector := make([]float32, 0, len(b)/4)
		for ; len(b) >= 4; b = b[4:] {
			f := math.Float32frombits(binary.LittleEndian.Uint32(b))
			if _, err := finite(f); err != nil {
				return nil, err
			}
			vector = append(vector, f)
		}
		return vector, nil
	}
	return b, nil
}

// nativeRow returns the image by column name; nil for one that is absent.
func nativeRow(t *change.Table, image []change.Value) (map[string]any, error) {
	if image == nil {
		return nil, nil
	}
	row := make(map[string]any, len(image))
	for i := range image {
		v, err := native(&t.Columns[i], image[i])
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", t.Columns[i].Name, err)
		}
		row[t.Columns[i].Name] = v
	}
	return row, nil
}

// appendJSON appends a value as JSON. Letters that HTML takes for its own stand for themselves.
func appendJSON(dst []byte, v any) ([]byte, error) {
	if d, ok := v.(document); ok {
		return append(dst, d...), nil // encoding/json would take its spaces out
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return dst, err
	}
	return append(dst, bytes.TrimRight(b.Bytes(), "\n")...), nil
}

// appendRow appends the values as an object, the columns in the table's order; null for an image that is absent.
func appendRow(dst []byte, t *change.Table, columns []int, image []change.Value) ([]byte, error) {
	if image == nil {
		return append(dst, "null"...), nil
	}
	dst = append(dst, '{')
	for i, at := range columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		v, err := native(&t.Columns[at], image[i])
		if err == nil {
			dst, err = appendJSON(dst, t.Columns[at].Name)
		}
		if err == nil {
			dst, err = appendJSON(append(dst, ':'), v)
		}
		if err != nil {
			return dst, fmt.Errorf("column %s: %w", t.Columns[at].Name, err)
		}
	}
	return append(dst, '}'), nil
}
