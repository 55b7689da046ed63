package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/sluice-cdc/sluice/change"
)

// body writes the bodies of one hook for one schema of a table.
type body struct {
	kind     string // the content type
	template *template.Template
	json     bool // what the template gives must be JSON
	max      int
}

const (
	jsonType = "application/json"
	textType = "text/plain; charset=utf-8"
)

var errTooLarge = errors.New("the body is larger than max_body")

// newBody reads the hook's template. Columns that it names must be the table's, where there is one.
func newBody(h *Hook, t *change.Table) (*body, error) {
	b := &body{kind: jsonType, max: int(h.MaxBody), json: h.JSON != ""}
	text := h.JSON
	if h.Text != "" {
		text, b.kind = h.Text, textType
		if h.ContentType != "" {
			b.kind = h.ContentType
		}
	}
	if text == "" {
		return b, nil
	}
	var err error
	functions := template.FuncMap{"json": jsonText, "raw": fmt.Sprint}
	if b.template, err = template.New(h.Name).Option("missingkey=zero").Funcs(functions).Parse(text); err != nil {
		return nil, err
	}
	for _, part := range b.template.Templates() {
		if err := walk(part.Tree.Root, func(n parse.Node) error { return b.look(n, t) }); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// jsonText is the function json of templates.
func jsonText(v any) (string, error) {
	b, err := appendJSON(nil, v)
	return string(b), err
}

// look checks one node of a template; in one of JSON it has each value written by the function json, unless it is so already, or by
// raw.
func (b *body) look(n parse.Node, t *change.Table) error {
	var names []string
	switch n := n.(type) {
	case *parse.ActionNode:
		if last := n.Pipe.Cmds[len(n.Pipe.Cmds)-1]; b.json && len(n.Pipe.Decl) == 0 && !calls(last, "json") && !calls(last, "raw") {
			n.Pipe.Cmds = append(n.Pipe.Cmds, &parse.CommandNode{NodeType: parse.NodeCommand, Pos: n.Pos,
				Args: []parse.Node{parse.NewIdentifier("json").SetPos(n.Pos)}})
		}
	case *parse.FieldNode:
		names = n.Ident
	case *parse.VariableNode:
		names = n.Ident[1:]
	}
	if t == nil || len(names) < 2 {
		return nil
	}
	var columns []string
	switch names[0] {
	case "Key":
		columns = t.KeyNames()
	case "Before", "After":
		for i := range t.Columns {
			columns = append(columns, t.Columns[i].Name)
		}
	default:
		return nil
	}
	for _, c := range columns {
		if c == names[1] {
			return nil
		}
	}
	return fmt.Errorf("column %q of .%s.%s is not in %s (%s)", names[1], names[0], names[1], t.TableName, strings.Join(columns, ", "))
}

func calls(c *parse.CommandNode, function string) bool {
	name, ok := c.Args[0].(*parse.IdentifierNode)
	return ok && name.Ident == function
}

// walk calls visit for the node and all below it.
func walk(n parse.Node, visit func(parse.Node) error) error {
	if err := visit(n); err != nil {
		return err
	}
	var below []parse.Node
	switch n := n.(type) {
	case *parse.ListNode:
		below = n.Nodes
	case *parse.ActionNode:
		below = []parse.Node{n.Pipe}
	case *parse.TemplateNode:
		if n.Pipe != nil {
			below = []parse.Node{n.Pipe}
		}
	case *parse.IfNode:
		below = branch(&n.BranchNode)
	case *parse.RangeNode:
		below = branch(&n.BranchNode)
	case *parse.WithNode:
		below = branch(&n.BranchNode)
	case *parse.PipeNode:
		for _, c := range n.Cmds {
			below = append(below, c.Args...)
		}
	case *parse.ChainNode:
		below = []parse.Node{n.Node}
	}
	for _, b := range below {
		if err := walk(b, visit); err != nil {
			return err
		}
	}
	return nil
}

func branch(n *parse.BranchNode) []parse.Node {
	below := []parse.Node{n.Pipe, n.List}
	if n.ElseList != nil {
		below = append(below, n.ElseList)
	}
	return below
}

// render writes the event's body.
func (b *body) render(e *event) ([]byte, error) {
	if b.template == nil {
		text, err := e.envelope()
		if err == nil && len(text) > b.max {
			err = errTooLarge
		}
		return text, err
	}
	v, err := e.view()
	if err != nil {
		return nil, err
	}
	out := &bounded{max: b.max}
	if err := b.template.Execute(out, v); err != nil {
		if errors.Is(err, errTooLarge) {
			return nil, errTooLarge
		}
		return nil, err
	}
	if b.json && !json.Valid(out.text) {
		return nil, fmt.Errorf("what the template gives is not JSON: %.200q", out.text)
	}
	return out.text, nil
}

// bounded holds what is written, up to a bound.
type bounded struct {
	text []byte
	max  int
}

func (b *bounded) Write(text []byte) (int, error) {
	if len(b.text)+len(text) > b.max {
		return 0, errTooLarge
	}
	b.text = append(b.text, text...)
	return len(text), nil
}
