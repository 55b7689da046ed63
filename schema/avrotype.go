package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Type is an Avro type as read from a schema's text.
type Type struct {
	Kind     string // null, boolean, int, long, float, double, bytes, string, fixed, enum, array, map, union, record
	Name     string // full name of a record, enum or fixed
	Fields   []Field
	Branches []*Type // union
	Items    *Type   // array, map: the values' type
	Size     int     // fixed
	Props    map[string]json.RawMessage
}

// Field is a field of a record.
type Field struct {
	Name  string
	Type  *Type
	Props map[string]json.RawMessage
}

// Field returns the record's field of that name, or nil.
func (t *Type) Field(name string) *Field {
	for i := range t.Fields {
		if t.Fields[i].Name == name {
			return &t.Fields[i]
		}
	}
	return nil
}

// Prop returns the type's property as a string, or "".
func (t *Type) Prop(name string) string { return propText(t.Props, name) }

// Optional returns the other type of a union of null and one type, and whether null comes first.
func (t *Type) Optional() (of *Type, nullFirst, ok bool) {
	if t.Kind != "union" || len(t.Branches) != 2 {
		return nil, false, false
	}
	switch {
	case t.Branches[0].Kind == "null":
		return t.Branches[1], true, true
	case t.Branches[1].Kind == "null":
		return t.Branches[0], false, true
	}
	return nil, false, false
}

// typeDepthMax bounds the nesting of a schema: registries hold what others wrote.
const typeDepthMax = 64

// ParseType reads the text of any Avro schema.
func ParseType(text string) (*Type, error) {
	p := &typeParser{names: map[string]*Type{}}
	t, err := p.parse([]byte(text), "", 0)
	if err != nil {
		return nil, fmt.Errorf("parse Avro schema: %w", err)
	}
	return t, nil
}

type typeParser struct{ names map[string]*Type }

var primitives = map[string]bool{"null": true, "boolean": true, "int": true, "long": true, "float": true,
	"double": true, "bytes": true, "string": true}

func (p *typeParser) parse(text json.RawMessage, namespace string, depth int) (*Type, error) {
	if depth > typeDepthMax {
		return nil, errors.New("nested too deep")
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return nil, errors.New("a type is missing")
	}
	switch text[0] {
	case '"':
		var name string
		if err := json.Unmarshal(text, &name); err != nil {
			return nil, err
		}
		return p.reference(name, namespace)
	case '[':
		return p.union(text, namespace, depth)
	}
	props := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &props); err != nil {
		return nil, err
	}
	var kind string
	if json.Unmarshal(props["type"], &kind) != nil { // {"type": {...}}: Java writes none, the specification allows it
		return p.parse(props["type"], namespace, depth+1)
	}
	return p.object(kind, props, namespace, depth)
}

func (p *typeParser) reference(name, namespace string) (*Type, error) {
	if primitives[name] {
		return &Type{Kind: name}, nil
	}
	if t := p.names[fullName(name, namespace)]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("type %q is not defined", name)
}

func (p *typeParser) union(text json.RawMessage, namespace string, depth int) (*Type, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	t := &Type{Kind: "union"}
	for _, branch := range list {
		b, err := p.parse(branch, namespace, depth+1)
		if err != nil {
			return nil, err
		}
		t.Branches = append(t.Branches, b)
	}
	return t, nil
}

func (p *typeParser) object(kind string, props map[string]json.RawMessage, namespace string, depth int) (*Type, error) {
	t := &Type{Kind: kind, Props: props}
	switch kind {
	case "record", "error", "enum", "fixed":
		name := propText(props, "name")
		if space, ok := props["namespace"]; ok && json.Unmarshal(space, &namespace) != nil {
			return nil, fmt.Errorf("namespace of %q is no string", name)
		}
		t.Name = fullName(name, namespace)
		if i := lastDot(t.Name); i >= 0 {
			namespace = t.Name[:i]
		}
		p.names[t.Name] = t
	}
	switch kind {
	case "record", "error":
		t.Kind = "record"
		return t, p.fields(t, namespace, depth)
	case "fixed":
		if err := json.Unmarshal(props["size"], &t.Size); err != nil || t.Size < 0 {
			return nil, fmt.Errorf("size of fixed %q is no length", t.Name)
		}
		return t, nil
	case "enum":
		return t, nil
	case "array", "map":
		items := props["items"]
		if kind == "map" {
			items = props["values"]
		}
		var err error
		t.Items, err = p.parse(items, namespace, depth+1)
		return t, err
	}
	if primitives[kind] {
		return t, nil
	}
	return p.reference(kind, namespace)
}

func (p *typeParser) fields(t *Type, namespace string, depth int) error {
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(t.Props["fields"], &list); err != nil {
		return fmt.Errorf("fields of record %q: %w", t.Name, err)
	}
	for _, props := range list {
		f := Field{Name: propText(props, "name"), Props: props}
		var err error
		if f.Type, err = p.parse(props["type"], namespace, depth+1); err != nil {
			return fmt.Errorf("field %q of record %q: %w", f.Name, t.Name, err)
		}
		t.Fields = append(t.Fields, f)
	}
	return nil
}

func fullName(name, namespace string) string {
	if lastDot(name) >= 0 || namespace == "" {
		return name
	}
	return namespace + "." + name
}

func lastDot(name string) int {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '.' {
			return i
		}
	}
	return -1
}

func propText(props map[string]json.RawMessage, name string) string {
	var s string
	if raw, ok := props[name]; ok && json.Unmarshal(raw, &s) == nil {
		return s
	}
	return ""
}
