package route

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// Lookup places values by a list: tenants that were given to shards one by one. Values are compared by their text as Hash takes it, so 42 and
// "42" are one. A value that is not in the list is an error.
type Lookup struct {
	places map[string]int
	said   string
}

// NewLookup makes the rule of lists of values by shard.
func NewLookup(lists map[string][]string, shards []string) (*Lookup, error) {
	l := &Lookup{places: make(map[string]int)}
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		index := slices.Index(shards, name)
		if index < 0 {
			return nil, fmt.Errorf("lookup names shard %q, which is not configured (there are %s)", name, strings.Join(shards, ", "))
		}
		for _, value := range slices.Sorted(slices.Values(lists[name])) {
			if other, ok := l.places[value]; ok && other != index {
				return nil, fmt.Errorf("lookup gives %q to %s and to %s", value, shards[other], name)
			}
			l.places[value] = index
			fmt.Fprintf(sum, "%q %q\n", name, value)
		}
	}
	if len(l.places) == 0 {
		return nil, fmt.Errorf("a lookup rule needs at least one value")
	}
	l.said = fmt.Sprintf("lookup of %d values (%s)", len(l.places), hex.EncodeToString(sum.Sum(nil)[:8]))
	return l, nil
}

// ReadLookup makes the rule of a CSV file: in each line a value and the name of its shard.
func ReadLookup(file string, shards []string) (*Lookup, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the lookup file cannot be read: %w", err)
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord, r.Comment = 2, '#'
	lines, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("lookup file %s: want a value and a shard in each line: %w", file, err)
	}
	lists := make(map[string][]string)
	for _, line := range lines {
		lists[line[1]] = append(lists[line[1]], line[0])
	}
	l, err := NewLookup(lists, shards)
	if err != nil {
		return nil, fmt.Errorf("lookup file %s: %w", file, err)
	}
	return l, nil
}

// Shard returns the shard that the list names.
func (l *Lookup) Shard(v change.Value) (int, error) {
	if v.IsNull() {
		return 0, errNull
	}
	var scratch [32]byte
	if i, ok := l.places[string(appendText(scratch[:0], v))]; ok {
		return i, nil
	}
	return 0, fmt.Errorf("the %s has no entry for %s", l.said, v)
}

// String returns how many values there are and a hash of the whole list: two that print the same place alike.
func (l *Lookup) String() string { return l.said }
