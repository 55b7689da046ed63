package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxDepth bounds nesting: an alias may point to what contains it.
const maxDepth = 50

// decoder fills structs from one file and gathers what is wrong.
type decoder struct {
	file   string
	lookup func(string) (string, bool)
	issues []Issue
	lines  map[string]int // the line of each path that the file has
	depth  int
}

func (d *decoder) report(line int, format string, args ...any) {
	d.issues = append(d.issues, Issue{File: d.file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// value fills v from the node. path is what the value is called in reports: "kafka.brokers[0]".
func (d *decoder) value(n *yaml.Node, path string, v reflect.Value) {
	if d.depth++; d.depth > maxDepth {
		d.report(n.Line, "%s: nested too deeply (an alias that contains itself?)", path)
		d.depth--
		return
	}
	defer func() { d.depth-- }()
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	d.lines[path] = n.Line
	if isNull(n) {
		return // "key:" alone leaves the default
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	if own, ok := ownFormOf(v); ok {
		if err := own.UnmarshalYAML(func(into any) error { return n.Decode(into) }); err != nil {
			d.report(n.Line, "%s: %v", path, err)
		}
		return
	}
	if n.Kind == yaml.ScalarNode {
		d.scalar(n, path, v)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		if d.expect(n, path, yaml.MappingNode, "a mapping of keys to values") {
			d.mapping(n, path, []reflect.Value{v})
		}
	case reflect.Map:
		if d.expect(n, path, yaml.MappingNode, "a mapping of keys to values") {
			d.dictionary(n, path, v)
		}
	case reflect.Slice:
		if d.expect(n, path, yaml.SequenceNode, "a list") {
			d.list(n, path, v)
		}
	default:
		d.report(n.Line, "%s: want %s", path, kindName(v.Type()))
	}
}

func (d *decoder) expect(n *yaml.Node, path string, kind yaml.Kind, want string) bool {
	if n.Kind != kind {
		d.report(n.Line, "%s: want %s", path, want)
		return false
	}
	return true
}

// field is a place that a key of a mapping goes to.
type field struct {
	name  string
	value reflect.Value
}

// mapping fills the structs, which share the mapping's keys.
func (d *decoder) mapping(n *yaml.Node, path string, structs []reflect.Value) {
	var fields []field
	for _, s := range structs {
		fields = appendFields(fields, s)
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !d.key(key, path, seen) {
			continue
		}
		known := false
		for _, f := range fields {
			if f.name == key.Value {
				known = true
				at := join(path, key.Value)
				d.value(value, at, f.value)
				d.lines[at] = key.Line
			}
		}
		if !known {
			d.unknown(key, path, fields)
		}
	}
}

// key reports keys that are no names and keys that come twice.
func (d *decoder) key(key *yaml.Node, path string, seen map[string]int) bool {
	switch first := seen[key.Value]; {
	case key.Kind != yaml.ScalarNode:
		d.report(key.Line, "a key%s must be a name", under(path))
		return false
	case key.Value == "<<" && key.Tag == "!!merge":
		d.report(key.Line, "merge keys (<<) are not supported%s: write the keys out, or use an alias for a whole value", under(path))
		return false
	case first != 0:
		d.report(key.Line, "key %q%s is already given in line %d", key.Value, under(path), first)
		return false
	}
	seen[key.Value] = key.Line
	return true
}

func (d *decoder) unknown(key *yaml.Node, path string, fields []field) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	hint := ""
	if near := nearest(key.Value, names); near != "" {
		hint = fmt.Sprintf(" (did you mean %q?)", near)
	}
	d.report(key.Line, "unknown key %q%s%s", key.Value, under(path), hint)
}

func under(path string) string {
	if path == "" {
		return ""
	}
	return " under " + path
}

func (d *decoder) dictionary(n *yaml.Node, path string, v reflect.Value) {
	if v.Type().Key().Kind() != reflect.String {
		panic(fmt.Sprintf("config: %s is a map with keys that are no strings", v.Type()))
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !d.key(key, path, seen) {
			continue
		}
		name := reflect.ValueOf(key.Value).Convert(v.Type().Key())
		element := reflect.New(v.Type().Elem()).Elem()
		if old := v.MapIndex(name); old.IsValid() {
			element.Set(old)
		}
		d.value(value, join(path, key.Value), element)
		v.SetMapIndex(name, element)
	}
}

// list replaces the default: a list in the file says all of it.
func (d *decoder) list(n *yaml.Node, path string, v reflect.Value) {
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, element := range n.Content {
		if out.Index(i).Kind() == reflect.Struct {
			if def, ok := out.Index(i).Addr().Interface().(interface{ SetDefaults() }); ok {
				def.SetDefaults()
			}
		}
		d.value(element, fmt.Sprintf("%s[%d]", path, i), out.Index(i))
	}
	v.Set(out)
}

// ownForm is a type that reads its own form from the page, one that is a word or a mapping, say. It needs no YAML package.
// ${...} is not replaced in it.
type ownForm interface{ UnmarshalYAML(func(any) error) error }

func ownFormOf(v reflect.Value) (own ownForm, ok bool) {
	if v.CanAddr() {
		own, ok = v.Addr().Interface().(ownForm)
	}
	return own, ok
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// scalar fills v from one value in the file. What is reported shows the text as it stands in the file, before
// ${...} was replaced: that may be a secret.
func (d *decoder) scalar(n *yaml.Node, path string, v reflect.Value) {
	text, err := expand(n.Value, d.lookup)
	if err != nil {
		d.report(n.Line, "%s: %v", path, err)
		return
	}
	if v.CanAddr() && v.Addr().Type().Implements(textUnmarshaler) {
		if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
			d.report(n.Line, "%s: %v", path, err)
		}
		return
	}
	if !d.basic(text, v) {
		d.report(n.Line, "%s: %q is not %s", path, n.Value, kindName(v.Type()))
	}
}

// basic reports whether the text is a value of v's type, and sets it.
func (d *decoder) basic(text string, v reflect.Value) bool {
	if v.Type() == reflect.TypeFor[time.Duration]() {
		duration, err := ParseDuration(text)
		v.SetInt(int64(duration))
		return err == nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		v.SetBool(text == "true")
		return text == "true" || text == "false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, v.Type().Bits())
		v.SetInt(n)
		return err == nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(strings.ReplaceAll(text, "_", ""), 10, v.Type().Bits())
		v.SetUint(n)
		return err == nil
	case reflect.Float32, reflect.Float64:
		n, err := strconv.ParseFloat(text, v.Type().Bits())
		v.SetFloat(n)
		return err == nil
	case reflect.Interface:
		v.Set(reflect.ValueOf(text))
	default:
		return false
	}
	return true
}

// kindName says what a value of the type looks like in the file.
func kindName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "a duration like 500ms, 10s or 7d"
	case t.Kind() == reflect.Pointer:
		return kindName(t.Elem())
	case reflect.PointerTo(t).Implements(textUnmarshaler):
		return "one value"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Struct, reflect.Map:
		return "a mapping of keys to values"
	case reflect.Slice:
		return "a list"
	case reflect.String, reflect.Interface:
		return "one value"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return fmt.Sprintf("a whole number of %d bits", t.Bits())
	}
	return fmt.Sprintf("a whole number of %d bits, not negative", t.Bits())
}

// appendFields adds the fields of a struct, those of inlined structs in their place.
func appendFields(fields []field, s reflect.Value) []field {
	for i := range s.NumField() {
		f := s.Type().Field(i)
		name, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case option == "inline":
			fields = appendFields(fields, s.Field(i))
		case name == "":
			panic(fmt.Sprintf("config: field %s of %s has no yaml tag", f.Name, s.Type()))
		default:
			fields = append(fields, field{name, s.Field(i)})
		}
	}
	return fields
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	if strings.HasPrefix(key, "[") {
		return path + key
	}
	return path + "." + key
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }
