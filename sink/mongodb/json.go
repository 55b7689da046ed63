package mongodb

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/sluice-cdc/sluice/change"
)

// jsonDepthMax bounds the levels of an embedded document: the server takes 100 for the whole document, MySQL 100 for the value.
const jsonDepthMax = 90

var errNotEmbeddable = errors.New("no embedded document can say this")

// appendJSON appends JSON text as an embedded document, array or plain value. exact reports that the text cannot be made from it
// again: numbers that are rounded, null (which is NULL's), and all text that stays a string because a document cannot say it.
func appendJSON(dst []byte, name string, text []byte) (_ []byte, exact bool) {
	from := len(dst)
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	dst, err := appendToken(dst, name, d, 0)
	if err == nil {
		_, err = d.Token()
	}
	if err != io.EOF { // there is more behind it, or it is none, or it is not embeddable
		return bsoncore.AppendStringElement(dst[:from], name, string(text)), true
	}
	again, ok := render(nil, elementValue(dst[from:], name))
	return dst, !ok || !bytes.Equal(again, text) || string(text) == "null"
}

// elementValue is the value of an element that was just appended.
func elementValue(element []byte, name string) bson.RawValue {
	return bson.RawValue{Type: bson.Type(element[0]), Value: element[len(name)+2:]}
}

// appendToken appends the next value of the text.
func appendToken(dst []byte, name string, d *json.Decoder, depth int) ([]byte, error) {
	if depth > jsonDepthMax {
		return dst, errNotEmbeddable
	}
	token, err := d.Token()
	if err != nil {
		return dst, noEnd(err)
	}
	switch x := token.(type) {
	case json.Delim:
		return appendCompound(dst, name, d, x == '[', depth)
	case string:
		return bsoncore.AppendStringElement(dst, name, x), nil
	case bool:
		return bsoncore.AppendBooleanElement(dst, name, x), nil
	case json.Number:
		return appendNumber(dst, name, string(x))
	}
	return bsoncore.AppendNullElement(dst, name), nil
}

// noEnd makes an error of an end that comes too early.
func noEnd(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func appendCompound(dst []byte, name string, d *json.Decoder, array bool, depth int) ([]byte, error) {
	var at int32
	if array {
		at, dst = bsoncore.AppendArrayElementStart(dst, name)
	} else {
		at, dst = bsoncore.AppendDocumentElementStart(dst, name)
	}
	for i := 0; d.More(); i++ {
		key := strconv.Itoa(i)
		if !array {
			token, err := d.Token()
			if err != nil {
				return dst, noEnd(err)
			}
			key, _ = token.(string)
			// Servers and drivers differ in what they make of such names.
			if key == "" || key[0] == '$' || strings.ContainsAny(key, ".\x00") {
				return dst, errNotEmbeddable
			}
		}
		var err error
		if dst, err = appendToken(dst, key, d, depth+1); err != nil {
			return dst, err
		}
	}
	if _, err := d.Token(); err != nil {
		return dst, noEnd(err)
	}
	return bsoncore.AppendDocumentEnd(dst, at)
}

func appendNumber(dst []byte, name, text string) ([]byte, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return bsoncore.AppendInt64Element(dst, name, n), nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return appendDecimal(dst, name, unsignedDecimal(n)), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return dst, errNotEmbeddable
	}
	return bsoncore.AppendDoubleElement(dst, name, f), nil
}

// readJSON writes an embedded value as MySQL prints JSON.
func readJSON(raw bson.RawValue) (change.Value, bool) {
	text, ok := render(nil, raw)
	return change.Value{Kind: change.Str, Bytes: text}, ok
}

// render appends a value as MySQL prints JSON; false where JSON has no such value.
func render(dst []byte, v bson.RawValue) ([]byte, bool) {
	switch v.Type {
	case bson.TypeNull:
		return append(dst, "null"...), true
	case bson.TypeBoolean:
		return strconv.AppendBool(dst, v.Boolean()), true
	case bson.TypeInt32:
		return strconv.AppendInt(dst, int64(v.Int32()), 10), true
	case bson.TypeInt64:
		return strconv.AppendInt(dst, v.Int64(), 10), true
	case bson.TypeDecimal128:
		return append(dst, v.Decimal128().String()...), true
	case bson.TypeDouble:
		return renderDouble(dst, v.Double())
	case bson.TypeString:
		return renderString(dst, v.StringValue()), true
	case bson.TypeEmbeddedDocument:
		return renderCompound(dst, v.Document(), '{', '}')
	case bson.TypeArray:
		return renderCompound(dst, bson.Raw(v.Array()), '[', ']')
	}
	return dst, false
}

func renderCompound(dst []byte, doc bson.Raw, open, end byte) ([]byte, bool) {
	elements, err := doc.Elements()
	if err != nil {
		return dst, false
	}
	dst = append(dst, open)
	for i, e := range elements {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if open == '{' {
			dst = append(renderString(dst, e.Key()), ": "...)
		}
		var ok bool
		if dst, ok = render(dst, e.Value()); !ok {
			return dst, false
		}
	}
	return append(dst, end), true
}

// renderDouble is right for what MySQL prints in most cases; where it is not, the text is kept beside.
func renderDouble(dst []byte, f float64) ([]byte, bool) {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return dst, false
	}
	from := len(dst)
	if a := math.Abs(f); a != 0 && (a < 1e-15 || a >= 1e15) {
		text := strconv.FormatFloat(f, 'e', -1, 64)
		text = strings.Replace(strings.Replace(text, "e+0", "e", 1), "e-0", "e-", 1)
		return append(dst, strings.Replace(text, "e+", "e", 1)...), true
	}
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if !bytes.ContainsRune(dst[from:], '.') {
		dst = append(dst, ".0"...)
	}
	return dst, true
}

// renderString escapes as MySQL does.
func renderString(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		case '\b':
			dst = append(dst, `\b`...)
		case '\f':
			dst = append(dst, `\f`...)
		default:
			if c < ' ' {
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
				continue
			}
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
