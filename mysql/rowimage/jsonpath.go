package rowimage

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// jsonLeg is one step of a path: into an object by name, or into an array by index.
type jsonLeg struct {
	name    []byte
	array   bool
	index   int
	fromEnd bool // index counts back from the last element
}

// at gives the index in an array of that many elements; it may lie outside.
func (l *jsonLeg) at(count int) int {
	if l.fromEnd {
		return count - 1 - l.index
	}
	return l.index
}

// parseJSONPath reads a path without wildcards, as the server writes it into a diff: $.name."a name"[3].
func parseJSONPath(path string) ([]jsonLeg, error) {
	rest, ok := strings.CutPrefix(path, "$")
	var legs []jsonLeg
	for ok && rest != "" {
		var leg jsonLeg
		switch rest[0] {
		case '.':
			leg.name, rest, ok = parseJSONName(rest[1:])
		case '[':
			leg.array = true
			rest, ok = leg.parseIndex(rest[1:])
		default:
			ok = false
		}
		legs = append(legs, leg)
	}
	if !ok {
		return nil, fmt.Errorf("JSON path %q is not readable", path)
	}
	return legs, nil
}

// parseJSONName reads a name, plain or as a JSON string.
func parseJSONName(text string) (name []byte, rest string, ok bool) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexAny(text, ".[* \t\r\n")
		if end < 0 {
			end = len(text)
		}
		return []byte(text[:end]), text[end:], end > 0
	}
	end := 1
	for end < len(text) && text[end] != '"' {
		if text[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(text) {
		return nil, "", false
	}
	var decoded string
	if err := json.Unmarshal([]byte(text[:end+1]), &decoded); err != nil {
		return nil, "", false
	}
	return []byte(decoded), text[end+1:], true
}

// parseIndex reads what follows "[": a number, "last" or "last-" and a number, and "]".
func (l *jsonLeg) parseIndex(text string) (rest string, ok bool) {
	index, rest, ok := strings.Cut(text, "]")
	if !ok {
		return "", false
	}
	if back, ok := strings.CutPrefix(index, "last"); ok {
		l.fromEnd = true
		if back == "" {
			return rest, true
		}
		if index, ok = strings.CutPrefix(back, "-"); !ok {
			return "", false
		}
	}
	n, err := strconv.ParseUint(index, 10, 32)
	l.index = int(n)
	return rest, err == nil
}
