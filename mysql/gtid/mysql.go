package gtid

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// source is what MySQL numbers transactions by: a server's UUID and, from 8.3, a tag.
type source struct {
	sid [16]byte
	tag string
}

// AddRaw adds one transaction. It is the hot path: the next number of a source costs one map look-up.
func (s *Set) AddRaw(sid [16]byte, tag string, gno int64) {
	if s.flavor != MySQL {
		panic("gtid: a MySQL GTID for a MariaDB set")
	}
	key := source{sid, tag}
	s.sources[key] = s.sources[key].add(gno)
}

// RemoveRaw takes one transaction out: the GTID of an open XA PREPARE is not part of the resume set.
func (s *Set) RemoveRaw(sid [16]byte, tag string, gno int64) {
	key := source{sid, tag}
	left := minus(s.sources[key], intervals{{gno, gno}})
	if len(left) == 0 {
		delete(s.sources, key)
		return
	}
	s.sources[key] = left
}

// ContainsRaw reports whether one transaction is in the set.
func (s *Set) ContainsRaw(sid [16]byte, tag string, gno int64) bool {
	return contains(s.sources[source{sid, tag}], intervals{{gno, gno}})
}

// parseMySQL reads "uuid:1-5:8:tag:1-3,uuid2:7" into an empty set. The grammar is that of the manual's page
// "GTID Sets"; an empty text, and empty parts between commas, are allowed there too.
func (s *Set) parseMySQL(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if err := s.parseSource(strings.Split(part, ":")); err != nil {
			return err
		}
	}
	for key, list := range s.sources {
		s.sources[key] = normalize(list)
	}
	return nil
}

func (s *Set) parseSource(fields []string) error {
	sid, err := parseUUID(fields[0])
	if err != nil {
		return err
	}
	if len(fields) < 2 {
		return fmt.Errorf("%q has no interval", fields[0])
	}
	key := source{sid: sid}
	for i, field := range fields[1:] {
		field = strings.ToLower(strings.TrimSpace(field))
		if isTag(field) {
			if i+2 == len(fields) || isTag(strings.ToLower(strings.TrimSpace(fields[i+2]))) {
				return fmt.Errorf("tag %q has no interval", field)
			}
			key.tag = field
			continue
		}
		piece, err := parseInterval(field)
		if err != nil {
			return err
		}
		s.sources[key] = append(s.sources[key], piece)
	}
	return nil
}

// isTag reports whether the field, in lower case, is a tag: a letter or underscore first, up to 32 letters,
// digits and underscores.
func isTag(field string) bool {
	const tagLengthMax = 32
	if field == "" || len(field) > tagLengthMax {
		return false
	}
	for i := range len(field) {
		c := field[i]
		letter := 'a' <= c && c <= 'z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return true
}

func parseInterval(field string) (interval, error) {
	from, to, ranged := strings.Cut(field, "-")
	first, err := parseNumber(from)
	if err != nil {
		return interval{}, err
	}
	if !ranged {
		return interval{first, first}, nil
	}
	last, err := parseNumber(to)
	if err != nil {
		return interval{}, err
	}
	if last < first {
		return interval{}, fmt.Errorf("interval %q ends before it begins", field)
	}
	return interval{first, last}, nil
}

func parseNumber(field string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(field), 10, 64)
	if err != nil || n < 1 || n == math.MaxInt64 { // the server's numbers end at 2^63-2
		return 0, fmt.Errorf("%q is no transaction number", field)
	}
	return n, nil
}

// parseUUID reads a server's UUID, whose dashes are optional as in the server's own reader.
func parseUUID(text string) (sid [16]byte, err error) {
	digits := strings.TrimSpace(text)
	if len(digits) == 36 && digits[8] == '-' && digits[13] == '-' && digits[18] == '-' && digits[23] == '-' {
		digits = digits[:8] + digits[9:13] + digits[14:18] + digits[19:23] + digits[24:]
	}
	if len(digits) != 32 {
		return sid, fmt.Errorf("%q is no server UUID", text)
	}
	if _, err := hex.Decode(sid[:], []byte(digits)); err != nil {
		return sid, errors.Join(fmt.Errorf("%q is no server UUID", text), err)
	}
	return sid, nil
}

// AppendUUID appends a server's UUID as the server prints it.
func AppendUUID(dst []byte, sid [16]byte) []byte {
	dst = hex.AppendEncode(dst, sid[:4])
	for _, group := range [...][2]int{{4, 6}, {6, 8}, {8, 10}, {10, 16}} {
		dst = hex.AppendEncode(append(dst, '-'), sid[group[0]:group[1]])
	}
	return dst
}

func (s *Set) stringMySQL() string {
	keys := make([]source, 0, len(s.sources))
	for key := range s.sources {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(x, y source) int { // the untagged part of a source comes first
		if c := bytes.Compare(x.sid[:], y.sid[:]); c != 0 {
			return c
		}
		return strings.Compare(x.tag, y.tag)
	})
	var text []byte
	for i, key := range keys {
		if i == 0 || keys[i-1].sid != key.sid {
			if i > 0 {
				text = append(text, ',')
			}
			text = AppendUUID(text, key.sid)
		}
		if key.tag != "" {
			text = append(append(text, ':'), key.tag...)
		}
		for _, piece := range s.sources[key] {
			text = strconv.AppendInt(append(text, ':'), piece.first, 10)
			if piece.last > piece.first {
				text = strconv.AppendInt(append(text, '-'), piece.last, 10)
			}
		}
	}
	return string(text)
}
