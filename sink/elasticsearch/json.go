package elasticsearch

import (
	"encoding/json"
	"errors"
	"unicode/utf8"
)

var errNotUTF8 = errors.New("the text is not UTF-8")

// plainBytes are those that stand for themselves in a JSON string; the rest of ASCII is escaped.
var plainBytes = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return plain
}()

// appendString appends a JSON string. Text that is no UTF-8 is refused: any way to write it would bend it.
func appendString[T string | []byte](dst []byte, text T) ([]byte, error) {
	if !utf8.Valid([]byte(text)) {
		return dst, errNotUTF8
	}
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if plainBytes[c] {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(append(dst, text[from:]...), '"'), nil
}

// quote returns a name that is known to be UTF-8 as a JSON string; any other one has its bad bytes replaced.
func quote(name string) string {
	b, err := json.Marshal(name)
	if err != nil {
		return `""`
	}
	return string(b)
}

// jsonText returns a value as JSON, for requests that an operator is to make.
func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
