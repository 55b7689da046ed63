package route

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// Spec is one entry of a configuration's routes: which tables it is for, the shard key, and the rule.
type Spec struct {
	Table string   `yaml:"table"` // database.table; * and ? stand for any text and any one character
	By    string   `yaml:"by"`    // a column, or an expression over columns
	Rule  RuleSpec `yaml:"rule"`  // modulus, hash, all, a shard's name, or {range: {shard: "from..to"}}
}

// RuleSpec is a rule as it is written.
type RuleSpec struct {
	Name   string              // modulus, hash, all, range, or the name of a shard
	Ranges map[string][]string // for range: by shard
}

// UnmarshalYAML reads a word, or a map of one: {range: {s0: "..100", s1: ["101..200", "300.."]}}. It has the
// form that needs no YAML package, so that this one depends on none.
func (r *RuleSpec) UnmarshalYAML(unmarshal func(any) error) error {
	if unmarshal(&r.Name) == nil {
		return nil
	}
	var rule map[string]map[string]any
	if err := unmarshal(&rule); err != nil || len(rule) != 1 || rule["range"] == nil {
		return fmt.Errorf("want modulus, hash, all, the name of a shard, or {range: {shard: \"from..to\"}}")
	}
	r.Name, r.Ranges = "range", make(map[string][]string)
	for shard, value := range rule["range"] {
		list, many := value.([]any)
		if !many {
			list = []any{value}
		}
		for _, one := range list {
			text, ok := one.(string)
			if !ok {
				return fmt.Errorf("range of shard %s: %v: want \"from..to\" in quotes, or a list of them", shard, one)
			}
			r.Ranges[shard] = append(r.Ranges[shard], text)
		}
	}
	return nil
}

// MarshalYAML writes what UnmarshalYAML reads.
func (r RuleSpec) MarshalYAML() (any, error) {
	if r.Ranges == nil {
		return r.Name, nil
	}
	return map[string]any{"range": r.Ranges}, nil
}

// Build makes the rule for a list of shards.
func (r RuleSpec) Build(shards []string) (Rule, error) {
	if len(shards) == 0 {
		return nil, fmt.Errorf("there are no shards")
	}
	switch r.Name {
	case "modulus":
		return Modulus{Shards: len(shards)}, nil
	case "hash":
		return Hash{Shards: len(shards)}, nil
	case "all":
		return Everywhere{}, nil
	case "range":
		return NewRange(r.Ranges, shards)
	}
	for i, name := range shards {
		if name == r.Name {
			return One{Index: i}, nil
		}
	}
	return nil, fmt.Errorf("rule %q is not known: want modulus, hash, range, all, or one of the shards %s", r.Name, strings.Join(shards, ", "))
}

// NeedsKey reports whether the rule looks at a shard key.
func (r RuleSpec) NeedsKey() bool {
	return r.Name == "modulus" || r.Name == "hash" || r.Name == "range"
}

// Matches reports whether the entry is for that table.
func (s Spec) Matches(table change.TableName) bool {
	ok, err := path.Match(s.Table, table.String())
	return err == nil && ok
}

// Check finds what is wrong with the entry, whatever the tables are.
func (s Spec) Check(shards []string) error {
	if _, err := path.Match(s.Table, ""); err != nil || !strings.Contains(s.Table, ".") {
		return fmt.Errorf("table %q: want database.table, where * and ? may stand for other characters", s.Table)
	}
	if s.Rule.NeedsKey() && s.By == "" {
		return fmt.Errorf("table %s: rule %s needs `by`, the shard key", s.Table, s.Rule.Name)
	}
	if _, err := s.Rule.Build(shards); err != nil {
		return fmt.Errorf("table %s: %w", s.Table, err)
	}
	return nil
}

// Find returns the first entry that is for the table. Without one, a single shard takes the table whole; with
// several there is no place for it.
func Find(specs []Spec, table change.TableName, shards []string) (Spec, error) {
	for _, s := range specs {
		if s.Matches(table) {
			return s, nil
		}
	}
	if len(shards) == 1 {
		return Spec{Table: table.String(), Rule: RuleSpec{Name: shards[0]}}, nil
	}
	return Spec{}, fmt.Errorf("no route for table %s, and there are %d shards", table, len(shards))
}

// Fingerprint names how the table's rows are spread: the shard key's text, the rule, and the shards' names in
// order. Rows that were written under another fingerprint may stand elsewhere.
func Fingerprint(by string, rule Rule, shards []string) string {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{by, rule.String()}, shards...), "\x00")))
	return hex.EncodeToString(sum[:8])
}

// Explain says in one line why a value goes where it goes.
func Explain(table change.TableName, by string, rule Rule, shards []string, v change.Value) string {
	head := fmt.Sprintf("%s: ", table)
	if by != "" {
		head += fmt.Sprintf("%s = %s, ", by, v)
	}
	head += rule.String() + " -> "
	index, err := rule.Shard(v)
	switch {
	case err != nil:
		return head + "nowhere: " + err.Error()
	case index == All:
		return head + "all of " + strings.Join(shards, ", ")
	}
	return head + shards[index]
}
