package redis

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// reserved is what Sluice's own keys begin with.
const reserved = "sluice:"

// nameParts are what the template of a table's name may hold.
var nameParts = []string{"source", "db", "table"}

// template makes a key of parts: literals[0] parts[0] literals[1] parts[1] ... literals[len(parts)].
//
// It never makes one text of two different lists of parts: between any two of them stands a byte that no escaped part holds, so
// each text is cut in one way only (and [template.cut] does it).
type template struct {
	literals []string
	parts    []string
}

// parseTemplate reads "user:{id}:{kind}". allowed are the parts that there are, nil: any.
func parseTemplate(text string, allowed []string) (*template, error) {
	t := &template{}
	for rest := text; ; {
		literal, after, found := strings.Cut(rest, "{")
		if strings.ContainsAny(literal, "}#%") {
			return nil, fmt.Errorf("%q: a } without a {, or one of # and %%, which have a meaning of their own in keys", text)
		}
		if found && len(t.parts) > 0 && strings.IndexFunc(literal, func(r rune) bool { return r < 0x80 && !plainByte(byte(r)) }) < 0 {
			return nil, fmt.Errorf("%q: between two parts want a sign like : or /, else two rows could have one key", text)
		}
		t.literals = append(t.literals, literal)
		if !found {
			break
		}
		part, after, closed := strings.Cut(after, "}")
		if !closed || part == "" || strings.Contains(part, "{") || allowed != nil && !slices.Contains(allowed, part) {
			return nil, fmt.Errorf("%q: what stands in {...} is not known; want %s", text, partsText(allowed))
		}
		if slices.Contains(t.parts, part) {
			return nil, fmt.Errorf("%q: {%s} is there twice", text, part)
		}
		t.parts = append(t.parts, part)
		rest = after
	}
	if len(t.parts) == 0 {
		return nil, fmt.Errorf("%q: want %s in it", text, partsText(allowed))
	}
	return t, nil
}

func partsText(allowed []string) string {
	if allowed == nil {
		return "{key} or columns of the table's key"
	}
	return "{" + strings.Join(allowed, "}, {") + "}"
}

// fill makes the text.
func (t *template) fill(part func(i int, dst []byte) []byte) string {
	dst := make([]byte, 0, 64)
	for i := range t.parts {
		dst = append(dst, t.literals[i]...)
		dst = part(i, dst)
	}
	return string(append(dst, t.literals[len(t.parts)]...))
}

// cut takes a text that fill made apart; false where it did not.
func (t *template) cut(text string) ([]string, bool) {
	var parts []string
	for i := range t.parts {
		var ok bool
		if text, ok = strings.CutPrefix(text, t.literals[i]); !ok {
			return nil, false
		}
		next := t.literals[i+1]
		end := 0 // of the part: where its bytes end, less what of the literal looks like them
		for end < len(text) && (plainByte(text[end]) || text[end] == '%') {
			end++
		}
		for lead := 0; lead < len(next) && (plainByte(next[lead]) || next[lead] == '%'); lead++ {
			end--
		}
		if end < 0 {
			return nil, false
		}
		part, err := unescape(text[:end])
		if err != nil {
			return nil, false
		}
		parts, text = append(parts, part), text[end:]
	}
	return parts, text == t.literals[len(t.parts)]
}

// plainByte reports whether a byte of a part stands for itself; all others are written %XX.
func plainByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.' || c == '@' || c >= 0x80
}

// appendEscaped appends a part of a key.
func appendEscaped[T string | []byte](dst []byte, text T) []byte {
	for i := range len(text) {
		if c := text[i]; plainByte(c) {
			dst = append(dst, c)
		} else {
			dst = fmt.Appendf(dst, "%%%02X", c)
		}
	}
	return dst
}

func unescape(text string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		if i+3 > len(text) {
			return "", fmt.Errorf("%q ends within an escape", text)
		}
		c, err := hex.DecodeString(text[i+1 : i+3])
		if err != nil {
			return "", err
		}
		b.WriteByte(c[0])
		i += 2
	}
	return b.String(), nil
}

// appendPart appends a value as a part of a key; bytes are in hex, for keys are typed by people.
func appendPart(dst []byte, v change.Value) []byte {
	if v.Kind == change.Raw {
		return hex.AppendEncode(dst, v.Bytes)
	}
	return appendEscaped(dst, v.Append(nil))
}

// escapePattern writes a key so that MATCH takes it for itself.
func escapePattern(key string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(key)
}
