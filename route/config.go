package route

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// Spec is one entry of a configuration's routes: which tables it is for, the shard key, and the rule.
type Spec struct {
	Table string   `yaml:"table"` // database.table; * and ? stand for any text and any one character
	By    string   `yaml:"by"`    // a column, or an expression over columns
	Rule  RuleSpec `yaml:"rule"`  // modulus, hash, consistent, all, a shard's name, {range: {shard: "from..to"}}, {lookup: {shard: values}} or {lookup: file}
}

// RuleSpec is a rule as it is written.
type RuleSpec struct {
	Name  string              // modulus, hash, consistent, all, range, lookup, or the name of a shard
	Lists map[string][]string // by shard: for range, ranges; for lookup, values
	File  string              // for lookup instead of lists: a CSV file of values and shards
}

const ruleForms = "want modulus, hash, consistent, all, the name of a shard, {range: {shard: \"from..to\"}}, {lookup: {shard: [values]}} or {lookup: \"file.csv\"}"

// UnmarshalYAML reads a word, or a map of one: {range: {s0: "..100", s1: ["101..200", "300.."]}}. It has the
// form that needs no YAML package, so that this one depends on none.
func (r *RuleSpec) UnmarshalYAML(unmarshal func(any) error) error {
	if unmarshal(&r.Name) == nil {
		return nil
	}
	var file map[string]string
	if err := unmarshal(&file); err == nil && len(file) == 1 && file["lookup"] != "" {
		r.Name, r.File = "lookup", file["lookup"]
		return nil
	}
	var rule map[string]map[string]any
	if err := unmarshal(&rule); err != nil || len(rule) != 1 || rule["range"] == nil && rule["lookup"] == nil {
		return fmt.Errorf("%s", ruleForms)
	}
	r.Lists = make(map[string][]string)
	for name, lists := range rule {
		r.Name = name
		for shard, value := range lists {
			list, many := value.([]any)
			if !many {
				list = []any{value}
			}
			for _, one := range list {
				text, err := r.listed(shard, one)
				if err != nil {
					return err
				}
				r.Lists[shard] = append(r.Lists[shard], text)
			}
		}
	}
	return nil
}

// listed reads one range or value.
func (r *RuleSpec) listed(shard string, one any) (string, error) {
	switch v := one.(type) {
	case string:
		return v, nil
	case int, int64, uint64:
		if r.Name == "lookup" {
			return fmt.Sprint(v), nil
		}
	}
	if r.Name == "lookup" {
		return "", fmt.Errorf("lookup of shard %s: %v: want an integer, or text in quotes, or a list of them", shard, one)
	}
	return "", fmt.Errorf("range of shard %s: %v: want \"from..to\" in quotes, or a list of them", shard, one)
}

// MarshalYAML writes what UnmarshalYAML reads.
func (r RuleSpec) MarshalYAML() (any, error) {
	switch {
	case r.File != "":
		return map[string]any{r.Name: r.File}, nil
	case r.Lists != nil:
		return map[string]any{r.Name: r.Lists}, nil
	}
	return r.Name, nil
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
	case "consistent":
		return Consistent{Shards: shards}, nil
	case "all":
		return Everywhere{}, nil
	case "range":
		return NewRange(r.Lists, shards)
	case "lookup":
		if r.File != "" {
			return ReadLookup(r.File, shards)
		}
		return NewLookup(r.Lists, shards)
	}
	for i, name := range shards {
		if name == r.Name {
			return One{Index: i}, nil
		}
	}
	return nil, fmt.Errorf("rule %q is not known: want modulus, hash, consistent, range, lookup, all, or one of the shards %s", r.Name, strings.Join(shards, ", "))
}

// NeedsKey reports whether the rule looks at a shard key.
func (r RuleSpec) NeedsKey() bool {
	return slices.Contains([]string{"modulus", "hash", "consistent", "range", "lookup"}, r.Name)
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
