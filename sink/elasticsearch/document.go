package elasticsearch

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// idMax is the longest id that the server takes, in bytes.
const idMax = 512

// appendID appends a row's document id: its key's values joined by '|', with '|' and '\' in them escaped by '\', or, where that
// is longer than the server takes, `\#` and the SHA-256 of it in hex, which no escaped text can be.
func appendID(dst []byte, key []change.Value) []byte {
	start := len(dst)
	for i, v := range key {
		if i > 0 {
			dst = append(dst, '|')
		}
		if v.Kind == change.Raw { // an id is text
			dst = hex.AppendEncode(dst, v.Bytes)
			continue
		}
		from := len(dst)
		dst = v.Append(dst)
		if strings.ContainsAny(string(dst[from:]), `|\`) {
			text := string(dst[from:])
			dst = append(dst[:from], strings.NewReplacer(`\`, `\\`, `|`, `\|`).Replace(text)...)
		}
	}
	if len(dst)-start > idMax || len(dst) == start { // the empty id would make the server invent one
		sum := sha256.Sum256(dst[start:])
		dst = hex.AppendEncode(append(dst[:start], `\#`...), sum[:])
	}
	return dst
}

// The fields that Sluice adds to documents.
const (
	fieldDeleted   = "_sluice_deleted"    // true: a tombstone
	fieldDeletedAt = "_sluice_deleted_at" // when it was written, milliseconds since 1970
)

// appendTombstone appends the document that stands for a row that is gone.
func appendTombstone(dst []byte, now time.Time) []byte {
	dst = append(dst, `{"`+fieldDeleted+`":true,"`+fieldDeletedAt+`":`...)
	return append(strconv.AppendInt(dst, now.UnixMilli(), 10), '}')
}

// appendRow appends a row as a JSON object.
func appendRow(dst []byte, t *change.Table, row []change.Value) []byte {
	dst = append(dst, '{')
	for i := range row {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, t.Columns[i].Name), ':')
		dst = appendValue(dst, &t.Columns[i], row[i])
	}
	return append(dst, '}')
}

// appendEnvelope appends a change as it is in Kafka.
func appendEnvelope(dst []byte, c *sink.Change) []byte {
	dst = append(append(dst, `{"op":`...), strconv.Quote(c.Op.String())...)
	for _, image := range [...]struct {
		name string
		row  []change.Value
	}{{"before", c.Before}, {"after", c.After}} {
		dst = append(append(append(dst, `,"`...), image.name...), `":`...)
		if image.row == nil {
			dst = append(dst, "null"...)
			continue
		}
		dst = appendRow(dst, c.Table, image.row)
	}
	dst = append(append(dst, `,"source":{"db":`...), appendString(nil, c.Table.DB)...)
	dst = append(append(dst, `,"table":`...), appendString(nil, c.Table.Name)...)
	dst = strconv.AppendInt(append(dst, `,"ts_ms":`...), c.Origin.CommitMillis, 10)
	dst = append(append(dst, `,"gtid":`...), appendString(nil, c.Origin.GTID)...)
	return append(dst, "}}"...)
}

// maxExactDigits is how many digits a JSON number may have for every reader to get it right.
const maxExactDigits = 15

// appendValue appends a column's value as JSON. Nothing is bent: what a JSON number does not hold for every reader is a string.
func appendValue(dst []byte, c *change.Column, v change.Value) []byte {
	switch v.Kind {
	case change.Null:
		return append(dst, "null"...)
	case change.Int64, change.Uint64:
		return v.Append(dst)
	case change.Float32, change.Float64:
		return appendFloat(dst, v.Float())
	case change.Raw:
		return appendRaw(dst, c, v.Bytes)
	}
	switch c.Type {
	case change.Decimal:
		if c.Precision <= maxExactDigits {
			return append(dst, v.Bytes...)
		}
	case change.JSON:
		if json.Valid(v.Bytes) {
			return append(dst, v.Bytes...)
		}
	case change.DateTime:
		return appendMoment(dst, v.Bytes, "")
	case change.Timestamp:
		return appendMoment(dst, v.Bytes, "Z")
	}
	return appendString(dst, string(v.Bytes))
}

// appendMoment writes "2026-01-02 03:04:05.6" as ISO 8601 has it.
func appendMoment(dst, text []byte, zone string) []byte {
	moment := strings.Replace(string(text), " ", "T", 1)
	return appendString(dst, moment+zone)
}

func appendFloat(dst []byte, f float64) []byte {
	if math.IsInf(f, 0) || math.IsNaN(f) { // MySQL has neither; JSON has neither
		return append(dst, "null"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// appendRaw writes BIT as a number (BIT(1) as true or false), VECTOR as its floats and all else in base64.
func appendRaw(dst []byte, c *change.Column, b []byte) []byte {
	switch c.Type {
	case change.Bit:
		var n uint64
		for _, x := range b {
			n = n<<8 | uint64(x)
		}
		if c.Length == 1 {
			return strconv.AppendBool(dst, n != 0)
		}
		return strconv.AppendUint(dst, n, 10)
	case change.Vector:
		dst = append(dst, '[')
		for i := 0; i+4 <= len(b); i += 4 {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendFloat(dst, float64(math.Float32frombits(binary.LittleEndian.Uint32(b[i:]))), 'g', -1, 32)
		}
		return append(dst, ']')
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

// appendString appends a JSON string. The text is UTF-8 already.
func appendString(dst []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err != nil { // a string cannot fail
		panic(err)
	}
	return append(dst, b...)
}
