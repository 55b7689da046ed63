package rowimage

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
)

// AppendJSON appends the text that the server prints for a binary JSON document, byte for byte. On a broken
// document it returns dst as it was.
func AppendJSON(dst, binary []byte) ([]byte, error) {
	if len(binary) == 0 {
		binary = jsonNullDocument
	}
	p := jsonPrinter{reader: jsonReader{budget: len(binary)}}
	out, err := p.value(dst, binary[0], binary[1:], 0)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// jsonPrinter prints one document.
type jsonPrinter struct{ reader jsonReader }

func (p *jsonPrinter) value(dst []byte, kind byte, data []byte, depth int) ([]byte, error) {
	if isJSONContainer(kind) {
		return p.container(dst, kind, data, depth+1)
	}
	data, field, err := p.reader.scalar(kind, data)
	if err != nil {
		return dst, err
	}
	switch kind {
	case jsonLiteral:
		return appendJSONLiteral(dst, data[0])
	case jsonInt16, jsonInt32, jsonInt64:
		return strconv.AppendInt(dst, Int(data), 10), nil
	case jsonUint16, jsonUint32, jsonUint64:
		return strconv.AppendUint(dst, Uint(data), 10), nil
	case jsonDouble:
		return appendJSONDouble(dst, Float64(data))
	case jsonOpaque:
		return appendJSONOpaque(dst, field, data)
	}
	return appendJSONString(dst, data), nil
}

func (p *jsonPrinter) container(dst []byte, kind byte, data []byte, depth int) ([]byte, error) {
	if depth > jsonDepthMax {
		return dst, fmt.Errorf("%w: deeper than %d", errJSON, jsonDepthMax)
	}
	c, err := p.reader.container(kind, data)
	if err != nil {
		return dst, err
	}
	begin, end := byte('['), byte(']')
	if c.object {
		begin, end = '{', '}'
	}
	dst = append(dst, begin)
	for i := range c.count {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if c.object {
			name, err := p.reader.key(&c, i)
			if err != nil {
				return dst, err
			}
			dst = append(appendJSONString(dst, name), ": "...)
		}
		kind, data, err := c.element(i)
		if err != nil {
			return dst, err
		}
		if dst, err = p.value(dst, kind, data, depth); err != nil {
			return dst, err
		}
	}
	return append(dst, end), nil
}

func appendJSONLiteral(dst []byte, literal byte) ([]byte, error) {
	switch literal {
	case jsonNull:
		return append(dst, "null"...), nil
	case jsonTrue:
		return append(dst, "true"...), nil
	case jsonFalse:
		return append(dst, "false"...), nil
	}
	return dst, fmt.Errorf("%w: literal %d", errJSON, literal)
}

// appendJSONString appends text in quotes, escaped as the server does: only what JSON demands.
func appendJSONString(dst, text []byte) []byte {
	dst = append(dst, '"')
	copied := 0
	for i, c := range text {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[copied:i]...)
		copied = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, `\b`...)
		case '\t':
			dst = append(dst, `\t`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\r':
			dst = append(dst, `\r`...)
		default:
			const digits = "0123456789abcdef"
			dst = append(dst, `\u00`...)
			dst = append(dst, digits[c>>4], digits[c&15])
		}
	}
	return append(append(dst, text[copied:]...), '"')
}

// appendJSONDouble appends a double with the fewest digits that give it back, in the server's choice between
// 123.4 and 1.234e2 (my_gcvt with the widest field): the plain form when the point stands within 15 places of
// the first digit, or inside the digits. A whole number gets ".0", to tell it from an integer.
func appendJSONDouble(dst []byte, f float64) ([]byte, error) {
	const pointMax, pointMin = 15, -14
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, fmt.Errorf("%w: a double that is no number", errJSON)
	}
	var scratch [32]byte
	digits, point, negative := shortestDigits(scratch[:0], f)
	if negative {
		dst = append(dst, '-')
	}
	count := len(digits)
	switch {
	case point < pointMin || point > pointMax && count <= point:
		dst = append(dst, digits[0])
		if count > 1 {
			dst = append(append(dst, '.'), digits[1:]...)
		}
		return strconv.AppendInt(append(dst, 'e'), int64(point-1), 10), nil
	case point <= 0:
		dst = appendZeros(append(dst, "0."...), -point)
		return append(dst, digits...), nil
	case point < count:
		dst = append(append(dst, digits[:point]...), '.')
		return append(dst, digits[point:]...), nil
	}
	dst = appendZeros(append(dst, digits...), point-count)
	return append(dst, ".0"...), nil
}

// shortestDigits gives the fewest digits that give f back and where the point stands: 0.digits * 10^point.
func shortestDigits(scratch []byte, f float64) (digits []byte, point int, negative bool) {
	text := strconv.AppendFloat(scratch, f, 'e', -1, 64) // [-]d[.ddd]e±dd
	if negative = text[0] == '-'; negative {
		text = text[1:]
	}
	mark := len(text) - 1
	for text[mark] != 'e' {
		mark--
	}
	for _, c := range text[mark+2:] {
		point = point*10 + int(c-'0')
	}
	if text[mark+1] == '-' {
		point = -point
	}
	digits = text[:mark]
	if mark > 1 { // close the gap of the point
		copy(digits[1:], digits[2:])
		digits = digits[:mark-1]
	}
	return digits, point + 1, negative
}

func appendZeros(dst []byte, count int) []byte {
	for range count {
		dst = append(dst, '0')
	}
	return dst
}

// appendJSONOpaque appends a value of a type that JSON has not: decimals as numbers, times as text with all
// six fractional digits, anything else in base64 with its type's number.
func appendJSONOpaque(dst []byte, field byte, data []byte) ([]byte, error) {
	switch field {
	case wireNewDecimal:
		if len(data) < 2 {
			return dst, fmt.Errorf("%w: decimal: %w", errJSON, errShort)
		}
		return AppendDecimal(dst, data[2:], int(data[0]), int(data[1]))
	case wireDate, wireTime, wireDateTime, wireTimestamp:
		if len(data) != 8 {
			return dst, fmt.Errorf("%w: time of %d bytes", errJSON, len(data))
		}
		dst = appendJSONTime(append(dst, '"'), field, Int(data))
		return append(dst, '"'), nil
	case wireVarString:
		return appendJSONString(dst, data), nil
	}
	dst = append(dst, `"base64:type`...)
	dst = append(strconv.AppendUint(dst, uint64(field), 10), ':')
	const lineBytes = 57 // 76 characters; the line break between two lines is escaped
	for len(data) > lineBytes {
		dst = base64.StdEncoding.AppendEncode(dst, data[:lineBytes])
		dst = append(dst, `\n`...)
		data = data[lineBytes:]
	}
	return append(base64.StdEncoding.AppendEncode(dst, data), '"'), nil
}

// appendJSONTime appends a packed time: the integer part of TIME or DATETIME, shifted over 24 bits of
// microseconds.
func appendJSONTime(dst []byte, field byte, packed int64) []byte {
	const fractionBits, digits = 24, 6
	negative := packed < 0
	if negative {
		packed = -packed
	}
	whole, micros := packed>>fractionBits, int(packed&(1<<fractionBits-1))
	if field == wireTime {
		t := Time{Negative: negative, Micros: micros}
		t.Hours, t.Minutes, t.Seconds = int(whole>>12&1023), int(whole>>6&63), int(whole&63)
		return AppendTime(dst, t, digits)
	}
	d := dateTimeOf(whole)
	if field == wireDate {
		return AppendDate(dst, d.Date)
	}
	d.Micros = micros
	return AppendDateTime(dst, d, digits)
}
