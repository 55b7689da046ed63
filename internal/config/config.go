package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-cdc/sluice/change"
)

// Checked is a config struct that has rules of its own. Check runs after all fields are filled, and calls report
// for everything that is wrong, with the path of the key below the struct ("brokers", "routes[1].by"; "" for
// the struct itself) and what is wrong with it, as one line. The interface uses no type of this package, so
// that public packages and a user's own may have it.
type Checked interface {
	Check(report func(path, problem string))
}

// Issue is one thing that is wrong with a file.
type Issue struct {
	File string
	Line int // 0 where no line is to blame
	Text string
}

// String returns "file:line: text".
func (i Issue) String() string {
	if i.Line == 0 {
		return i.File + ": " + i.Text
	}
	return fmt.Sprintf("%s:%d: %s", i.File, i.Line, i.Text)
}

// Issues is everything that is wrong with a file: an error of kind Configuration.
type Issues []Issue

// Error returns all issues, one a line.
func (is Issues) Error() string {
	lines := make([]string, len(is))
	for i, issue := range is {
		lines[i] = issue.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns each issue as a Problem of kind Configuration, so that a command can explain them one by one.
func (is Issues) Unwrap() []error {
	errs := make([]error, len(is))
	for i, issue := range is {
		errs[i] = &change.Problem{Kind: change.Configuration, What: issue.String()}
	}
	return errs
}

// Load reads the file into the structs that the pointers point to, which hold the defaults. The error is Issues,
// or a Problem where the file cannot be read.
func Load(path string, into ...any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		p := &change.Problem{Kind: change.Configuration, What: "the configuration file cannot be read", Err: err}
		if errors.Is(err, os.ErrNotExist) {
			p.Mend = "name the file with --config"
		}
		return p
	}
	return Parse(path, text, os.LookupEnv, into...)
}

// Parse is Load for text that is in memory; name stands for the file in what is reported, lookup answers for the
// environment.
func Parse(name string, text []byte, lookup func(string) (string, bool), into ...any) error {
	d := &decoder{file: name, lookup: lookup, lines: make(map[string]int)}
	root := d.parse(text)
	if root != nil {
		targets := make([]reflect.Value, len(into))
		for i, p := range into {
			targets[i] = reflect.ValueOf(p).Elem()
		}
		d.mapping(root, "", targets)
	}
	if len(d.issues) == 0 {
		for _, p := range into {
			d.check(reflect.ValueOf(p), "")
		}
	}
	if len(d.issues) == 0 {
		return nil
	}
	sort.SliceStable(d.issues, func(i, j int) bool { return d.issues[i].Line < d.issues[j].Line })
	return Issues(d.issues)
}

// parse returns the root mapping, or nil where the file is empty or cannot be parsed.
func (d *decoder) parse(text []byte) *yaml.Node {
	decode := yaml.NewDecoder(strings.NewReader(string(text)))
	var doc yaml.Node
	if err := decode.Decode(&doc); err != nil {
		if strings.TrimSpace(string(text)) == "" || err.Error() == "EOF" {
			return nil // an empty file says that all defaults hold
		}
		d.syntax(err)
		return nil
	}
	var more yaml.Node
	if err := decode.Decode(&more); err == nil {
		d.report(more.Line, "a second document begins here: one file is one document")
	}
	if len(doc.Content) == 0 {
		return nil
	}
	root := doc.Content[0]
	if isNull(root) {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		d.report(root.Line, "the file must be a mapping of keys to values")
		return nil
	}
	return root
}

// syntax turns the YAML library's error, "yaml: line 3: did not find ...", into an issue.
func (d *decoder) syntax(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var line int
	if n, _ := fmt.Sscanf(text, "line %d:", &line); n == 1 {
		_, text, _ = strings.Cut(text, ": ")
	}
	switch {
	case strings.HasPrefix(text, "did not find expected"):
		line++ // the library counts from 0 in its parser's errors, from 1 in its scanner's
	case text == "found character that cannot start any token":
		text += " (a tab? YAML is indented with spaces)"
	}
	d.report(line, "%s", text)
}
