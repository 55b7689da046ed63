package mysql

import (
	"bytes"
	"math"
	"strconv"
)

// A JSON document of MySQL may hold exact decimals (JSON_OBJECT('d', 1.50)), which its text shows as numbers like any other.
// Read back from that text they become doubles: 1.50 turns into 1.5, and digits past the seventeenth are lost. So a number
// that no double prints is put in its place once more, as a decimal literal of SQL.

// jsonDecimal is a number that must stay a decimal, and where it stands: '$."price"[2]'.
type jsonDecimal struct {
	path   string
	number []byte
}

// appendJSON appends a document as an expression that gives the same text again.
func appendJSON(dst, text []byte) []byte {
	w := jsonWalk{text: text, path: []byte("$")}
	if !w.value(0) || w.at != len(text) || len(w.found) == 0 {
		return appendQuoted(dst, text) // what is no document the server refuses, with the row named
	}
	dst = appendQuoted(append(dst, "JSON_REPLACE(CAST("...), text)
	dst = append(dst, " AS JSON)"...)
	for _, d := range w.found {
		dst = appendQuoted(append(dst, ','), []byte(d.path))
		dst = append(append(dst, ','), d.number...)
	}
	return append(dst, ')')
}

// jsonDepthMax is the deepest document that MySQL stores.
const jsonDepthMax = 100

// jsonWalk looks for the decimals of a document. It takes the text as the server writes it; of anything else it may
// say that it is none.
type jsonWalk struct {
	text  []byte
	at    int
	path  []byte
	found []jsonDecimal
}

// value walks over one value, and reports whether it is one.
func (w *jsonWalk) value(depth int) bool {
	w.space()
	if depth > jsonDepthMax || w.at == len(w.text) {
		return false
	}
	switch c := w.text[w.at]; {
	case c == '{':
		return w.members('}', depth)
	case c == '[':
		return w.members(']', depth)
	case c == '"':
		return w.quoted() != nil
	case c == '-' || '0' <= c && c <= '9':
		w.number()
		return true
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if bytes.HasPrefix(w.text[w.at:], []byte(word)) {
			w.at += len(word)
			return true
		}
	}
	return false
}

// members walks over an object or an array.
func (w *jsonWalk) members(end byte, depth int) bool {
	outer := len(w.path)
	defer func() { w.path = w.path[:outer] }()
	w.at++
	for i := 0; ; i++ {
		if w.took(end) {
			return true
		}
		if i > 0 && !w.took(',') {
			return false
		}
		w.path = w.path[:outer]
		if end == ']' {
			w.path = append(strconv.AppendInt(append(w.path, '['), int64(i), 10), ']')
		} else {
			w.space()
			name := w.quoted()
			if name == nil || !w.took(':') {
				return false
			}
			w.path = append(append(w.path, '.'), name...)
		}
		if !w.value(depth + 1) {
			return false
		}
	}
}

func (w *jsonWalk) space() {
	for w.at < len(w.text) && w.text[w.at] == ' ' {
		w.at++
	}
}

// took passes over the byte if it comes next.
func (w *jsonWalk) took(c byte) bool {
	w.space()
	if w.at == len(w.text) || w.text[w.at] != c {
		return false
	}
	w.at++
	return true
}

// quoted walks over a string and returns it in its quotes, nil where there is none.
func (w *jsonWalk) quoted() []byte {
	from := w.at
	if from == len(w.text) || w.text[from] != '"' {
		return nil
	}
	for i := from + 1; i < len(w.text); i++ {
		switch w.text[i] {
		case '\\':
			i++
		case '"':
			w.at = i + 1
			return w.text[from:w.at]
		}
	}
	return nil
}

func (w *jsonWalk) number() {
	from := w.at
	for w.at < len(w.text) && bytes.IndexByte([]byte("+-.eE0123456789"), w.text[w.at]) >= 0 {
		w.at++
	}
	if number := w.text[from:w.at]; exactDecimal(number) {
		w.found = append(w.found, jsonDecimal{string(w.path), number})
	}
}

// exactDecimal reports whether a number would come back as another text if it were read as JSON reads it: an integer of 64
// bits or else a double. A double's text is its shortest one, plain within these bounds (my_gcvt), a whole number's with
// ".0". Beyond them a plain text may be either's; taken as a decimal it stays as it is.
func exactDecimal(number []byte) bool {
	const plainMin, plainMax = 1e-14, 1e15
	if !plainNumber(number) {
		return false // 1e300: a double for certain
	}
	point := bytes.IndexByte(number, '.')
	if point < 0 {
		_, err := strconv.ParseInt(string(number), 10, 64)
		if err != nil {
			_, err = strconv.ParseUint(string(number), 10, 64)
		}
		return err != nil
	}
	f, err := strconv.ParseFloat(string(number), 64)
	if size := math.Abs(f); err != nil || size != 0 && (size < plainMin || size >= plainMax) {
		return true
	}
	shortest := strconv.AppendFloat(make([]byte, 0, 32), f, 'f', -1, 64)
	if bytes.IndexByte(shortest, '.') < 0 {
		shortest = append(shortest, ".0"...)
	}
	return !bytes.Equal(shortest, number)
}
