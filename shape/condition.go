package shape

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"

	"github.com/sluice-cdc/sluice/change"
)

// Condition decides about a change of one table's schema by both of its row images.
//
// In it before.column and after.column are the columns' values, in the form that an Expression has them; op is the change's letter
// (c, u, d, r), db and table are names. An image that is absent has nil in all columns, and before == nil tells that it is.
// nil is equal to nil and to nothing else, so that before.status != 'PAID' is true for a row that was not there. Every other
// comparison (<, <=, >, >=, contains, startsWith, endsWith, matches) with nil is false, as in SQL; arithmetic and functions of
// nil are an error: (after.total ?? 0) * 2 > 100.
type Condition struct {
	text    string
	table   *change.Table
	program *vm.Program
	columns [2][]int // the columns that are read: of before, of after
	before  bool     // the before image is asked for: a column of it, or whether it is there
}

// The images' names in a condition, by their place in Condition.columns.
var imageNames = [2]string{"before", "after"}

// present is the name, unspeakable in an expression, of whether an image is there.
func present(image string) string { return image + "?" }

// CompileCondition reads the condition for changes of that table. A column that there is not is an error that lists those there
// are. With no table only what can be known without one is checked, and the condition cannot be evaluated.
func CompileCondition(text string, t *change.Table) (*Condition, error) {
	if t != nil { // what the types say is wrong
		if _, err := compileCondition(text, t, true); err != nil {
			return nil, err
		}
	}
	return compileCondition(text, t, false)
}

// compileCondition compiles with the columns' types or without: a program that was compiled with types takes it that no value is
// nil.
func compileCondition(text string, t *change.Table, typed bool) (*Condition, error) {
	c := &Condition{text: text, table: t}
	env := map[string]any{"op": "", "db": "", "table": "", present("before"): true, present("after"): true}
	found := &images{condition: c}
	loops := new(loops)
	options := append(language(), expr.Env(env), expr.Patch(found), expr.Patch(loops), expr.AsBool())
	if !typed {
		options = append(options, expr.AllowUndefinedVariables())
	} else {
		for i := range t.Columns {
			for _, image := range imageNames {
				env[image+"."+t.Columns[i].Name] = example(&t.Columns[i])
			}
		}
	}
	program, err := expr.Compile(text, options...)
	if found.err != nil {
		return nil, found.err
	}
	if loops.nested {
		return nil, fmt.Errorf("condition %q: %s", text, nestedLoops)
	}
	for image, bare := range found.bare {
		if bare > 0 {
			return nil, fmt.Errorf("condition %q: %s stands alone; name a column (%s.<column>), or compare it with nil", text, imageNames[image], imageNames[image])
		}
	}
	if err != nil {
		if name := unknownName.FindStringSubmatch(err.Error()); name != nil {
			return nil, fmt.Errorf("condition %q: the name %q is not known; there are before.<column>, after.<column>, op, db and table", text, name[1])
		}
		return nil, fmt.Errorf("condition %q: %s", text, firstLine(err))
	}
	c.program = program
	return c, nil
}

// String returns the condition's text.
func (c *Condition) String() string { return c.text }

// ReadsBefore reports whether the condition asks for the before image. What it says of a change whose before image is not known
// is then not known either.
func (c *Condition) ReadsBefore() bool { return c.before }

// Holds evaluates the condition. A nil image is one that is absent.
func (c *Condition) Holds(op change.Op, before, after []change.Value) (bool, error) {
	m := takeMachine()
	defer m.giveBack()
	env := m.env
	env["op"], env["db"], env["table"] = op.String(), c.table.DB, c.table.Name
	for i, image := range [2][]change.Value{before, after} {
		env[present(imageNames[i])] = image != nil
		for _, column := range c.columns[i] {
			name := imageNames[i] + "." + c.table.Columns[column].Name
			if env[name] = nil; image == nil {
				continue
			}
			v := image[column]
			if v.Kind == change.Uint64 && v.Num > math.MaxInt64 { // a comparison would wrap in silence
				return false, fmt.Errorf("condition %q: %s is %d, too large for an expression", c.text, name, v.Num)
			}
			value, err := toExpression(v, c.table.Columns[column].Type == change.Bit)
			if err != nil {
				return false, fmt.Errorf("condition %q: %s: %w", c.text, name, err)
			}
			env[name] = value
		}
	}
	result, err := m.run(c.program)
	if err != nil {
		return false, fmt.Errorf("condition %q: %s", c.text, firstLine(err))
	}
	holds, ok := result.(bool)
	if !ok {
		return false, fmt.Errorf("condition %q: the result is a %T; want true or false", c.text, result)
	}
	return holds, nil
}

// images makes one name of before.column, one of before == nil, and gives comparisons a meaning for nil.
type images struct {
	condition *Condition
	bare      [2]int // how often before and after stand for themselves
	err       error
}

// Visit is called for each node, children first.
func (f *images) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if strings.HasPrefix(n.Value, "$") {
			f.fail("%s is not known; name the columns", n.Value)
		}
		if i := imageOf(n); i >= 0 {
			f.bare[i]++
		}
	case *ast.MemberNode:
		f.member(node, n)
	case *ast.BinaryNode:
		f.binary(node, n)
	}
}

func (f *images) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("condition %q: %s", f.condition.text, fmt.Sprintf(format, args...))
	}
}

// imageOf returns which image the node names, -1 where it names none.
func imageOf(node ast.Node) int {
	if n, ok := node.(*ast.IdentifierNode); ok {
		for i, name := range imageNames {
			if n.Value == name {
				return i
			}
		}
	}
	return -1
}

func (f *images) member(node *ast.Node, n *ast.MemberNode) {
	i := imageOf(n.Node)
	property, ok := n.Property.(*ast.StringNode)
	if i < 0 || !ok {
		return
	}
	c := f.condition
	f.bare[i]--
	c.before = c.before || i == 0
	name := property.Value
	if c.table != nil {
		column := c.table.Column(name)
		if column < 0 {
			f.fail("column %q is not in %s (%s)", name, c.table.TableName, columnNames(c.table))
			return
		}
		name = c.table.Columns[column].Name
		if !slices.Contains(c.columns[i], column) {
			c.columns[i] = append(c.columns[i], column)
		}
	}
	ast.Patch(node, &ast.IdentifierNode{Value: imageNames[i] + "." + name})
}

func (f *images) binary(node *ast.Node, n *ast.BinaryNode) {
	switch n.Operator {
	case "==", "!=":
		f.compareWithNil(node, n)
	default:
		nullSafe(node, n)
	}
}

// nullSafe makes a comparison with NULL false, as it is in SQL; == and != know nil themselves.
func nullSafe(node *ast.Node, n *ast.BinaryNode) {
	switch n.Operator {
	case "<", "<=", ">", ">=", "contains", "startsWith", "endsWith", "matches":
		var null ast.Node
		for _, side := range []ast.Node{n.Left, n.Right} {
			if literal(side) {
				continue
			}
			isNil := ast.Node(&ast.BinaryNode{Operator: "==", Left: side, Right: &ast.NilNode{}})
			if null != nil {
				isNil = &ast.BinaryNode{Operator: "||", Left: null, Right: isNil}
			}
			null = isNil
		}
		if null != nil {
			ast.Patch(node, &ast.ConditionalNode{Cond: null, Exp1: &ast.BoolNode{}, Exp2: n})
		}
	}
}

// compareWithNil makes a question for the image's presence of before == nil.
func (f *images) compareWithNil(node *ast.Node, n *ast.BinaryNode) {
	image, other := imageOf(n.Left), n.Right
	if image < 0 {
		image, other = imageOf(n.Right), n.Left
	}
	if _, isNil := other.(*ast.NilNode); image < 0 || !isNil {
		return
	}
	f.bare[image]--
	f.condition.before = f.condition.before || image == 0
	asked := ast.Node(&ast.IdentifierNode{Value: present(imageNames[image])})
	if n.Operator == "==" {
		asked = &ast.UnaryNode{Operator: "!", Node: asked}
	}
	ast.Patch(node, asked)
}

func literal(node ast.Node) bool {
	switch node.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.StringNode, *ast.BoolNode, *ast.ConstantNode:
		return true
	}
	return false
}
