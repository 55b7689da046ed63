package shape

import (
	"fmt"
	"hash/crc32"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"

	"github.com/sluice-cdc/sluice/change"
)

// Expression computes one value from a row of one table's schema.
//
// In the expression a column's name is its value: integers, YEAR and BIT are ints, FLOAT and DOUBLE floats, all else
// is text in the canonical form of change.Value (DECIMAL too: float(price) or int(count) make numbers of it).
// NULL is nil, which equals nothing but nil: `user_id ?? 0`. Besides expr's own functions there are crc32(text), equal to MySQL's, and s2cell(latitude, longitude,
// level), the number of the S2 cell in which a point lies.
type Expression struct {
	text    string
	columns []int       // the columns that are read, ascending
	names   []string    // their names as the expression spells them, by columns' order
	bits    []bool      // likewise: the column is a BIT
	direct  bool        // the expression is nothing but a column's name
	program *vm.Program // nil where direct
}

// What a configuration can ask for each row is bounded: the size of an expression, and how much of lists it makes, which
// is also how often a loop over one runs. Loops in loops are refused, so that time is bounded with them, and not by a clock: a row must
// give the same value on a busy machine.
const (
	expressionNodesMax  = 1000
	expressionMemoryMax = 100_000 // elements and characters made on the way
)

const nestedLoops = "a loop within a loop (map, filter, all, ...) may take too long for each row"

// language are the options that all expressions have in common. Left out is what reads a clock, and what has no fixed order.
func language() []expr.Option {
	options := []expr.Option{expr.Timezone("UTC"), expr.MaxNodes(expressionNodesMax), crc32Function, cellFunction}
	for _, name := range []string{"now", "keys", "values", "toPairs"} {
		options = append(options, expr.DisableBuiltin(name))
	}
	return options
}

// machine runs programs, one after the other. Machines are used again: to make one for each row costs as much as most programs.
type machine struct {
	vm  vm.VM
	env map[string]any // the values of the program's names
}

var machines = sync.Pool{New: func() any {
	return &machine{vm: vm.VM{MemoryBudget: expressionMemoryMax}, env: make(map[string]any)}
}}

func takeMachine() *machine { return machines.Get().(*machine) }

// run runs the program within its bounds.
func (m *machine) run(program *vm.Program) (any, error) { return m.vm.Run(program, m.env) }

// giveBack forgets the names.
func (m *machine) giveBack() {
	clear(m.env)
	machines.Put(m)
}

// loops finds loops within loops.
type loops struct{ nested bool }

// Visit is called for each node, children first.
func (l *loops) Visit(node *ast.Node) {
	if predicate, ok := (*node).(*ast.PredicateNode); ok && !l.nested {
		inner := new(predicates)
		ast.Walk(&predicate.Node, inner)
		l.nested = inner.found
	}
}

type predicates struct{ found bool }

// Visit is called for each node, children first.
func (p *predicates) Visit(node *ast.Node) {
	_, ok := (*node).(*ast.PredicateNode)
	p.found = p.found || ok
}

// Compile reads the expression for rows of that table. An unknown column is an error that lists those there are.
func Compile(text string, t *change.Table) (*Expression, error) {
	if i := t.Column(strings.TrimSpace(text)); i >= 0 {
		return &Expression{text: text, columns: []int{i}, names: []string{t.Columns[i].Name}, direct: true}, nil
	}
	env := make(map[string]any, len(t.Columns))
	for i := range t.Columns {
		env[t.Columns[i].Name] = example(&t.Columns[i])
	}
	found := &identifiers{table: t}
	loops := new(loops)
	options := append(language(), expr.Patch(found), expr.Patch(loops))
	_, err := expr.Compile(text, append(options, expr.Env(env))...)
	var program *vm.Program
	if err == nil {
		// A program that was compiled with types takes it that no value is nil; with them only what is wrong is found.
		program, err = expr.Compile(text, append(options, expr.Env(map[string]any{}), expr.AllowUndefinedVariables())...)
	}
	switch {
	case err != nil:
		return nil, explain(err, text, t)
	case loops.nested:
		return nil, fmt.Errorf("expression %q for %s: %s", text, t.TableName, nestedLoops)
	case found.environment:
		return nil, fmt.Errorf("expression %q for %s: $env is not known; name the columns", text, t.TableName)
	case len(found.columns) == 0:
		return nil, fmt.Errorf("expression %q for %s reads no column (there are %s)", text, t.TableName, columnNames(t))
	}
	e := &Expression{text: text, program: program, columns: found.columns}
	slices.Sort(e.columns)
	for _, c := range e.columns {
		e.names = append(e.names, t.Columns[c].Name)
		e.bits = append(e.bits, t.Columns[c].Type == change.Bit)
	}
	return e, nil
}

var crc32Function = expr.Function("crc32", func(params ...any) (any, error) {
	return int(crc32.ChecksumIEEE([]byte(params[0].(string)))), nil
}, new(func(string) int))

func columnNames(t *change.Table) string {
	names := make([]string, len(t.Columns))
	for i := range t.Columns {
		names[i] = t.Columns[i].Name
	}
	return strings.Join(names, ", ")
}

// identifiers collects the columns that an expression reads and gives them the table's spelling.
type identifiers struct {
	table       *change.Table
	columns     []int
	environment bool // $env, all columns at once, is used: what it reads can't be known
}

// Visit is called for each node, children first.
func (f *identifiers) Visit(node *ast.Node) {
	identifier, ok := (*node).(*ast.IdentifierNode)
	if !ok {
		return
	}
	if strings.HasPrefix(identifier.Value, "$") {
		f.environment = true
		return
	}
	column := f.table.Column(identifier.Value)
	if column < 0 {
		return // a function, a variable of the expression's own, or a name that the compiler refuses
	}
	if !slices.Contains(f.columns, column) {
		f.columns = append(f.columns, column)
	}
	identifier.Value = f.table.Columns[column].Name
}

var unknownName = regexp.MustCompile(`unknown name (\S+)`)

// explain turns a compiler's error into one that says what there is.
func explain(err error, text string, t *change.Table) error {
	if match := unknownName.FindStringSubmatch(err.Error()); match != nil {
		return fmt.Errorf("column %q is not in %s (%s)", match[1], t.TableName, columnNames(t))
	}
	return fmt.Errorf("expression %q for %s: %s", text, t.TableName, firstLine(err))
}

// example is a value of the type that the column has in expressions.
func example(c *change.Column) any {
	switch {
	case c.Type.Integer() || c.Type == change.Year || c.Type == change.Bit:
		return 0
	case c.Type == change.Float || c.Type == change.Double:
		return 0.0
	}
	return ""
}

// String returns the expression's text.
func (e *Expression) String() string { return e.text }

// Columns returns the indexes of the columns that the expression reads, ascending.
func (e *Expression) Columns() []int { return e.columns }

// Eval computes the value from a row of the table that the expression was compiled for.
func (e *Expression) Eval(row []change.Value) (change.Value, error) {
	if e.direct {
		return row[e.columns[0]], nil
	}
	m := takeMachine()
	defer m.giveBack()
	for i, c := range e.columns {
		value, err := toExpression(row[c], e.bits[i])
		if err != nil {
			return change.Value{}, fmt.Errorf("expression %q: column %s: %w", e.text, e.names[i], err)
		}
		m.env[e.names[i]] = value
	}
	result, err := m.run(e.program)
	if err != nil {
		return change.Value{}, fmt.Errorf("expression %q: %s", e.text, firstLine(err))
	}
	value, err := fromExpression(result)
	if err != nil {
		return change.Value{}, fmt.Errorf("expression %q: %w", e.text, err)
	}
	return value, nil
}

// firstLine leaves out expr's drawing of where in the text an error is.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func toExpression(v change.Value, bits bool) (any, error) {
	if bits && !v.IsNull() {
		v = change.UintValue(bigEndian(v.Bytes))
	}
	switch v.Kind {
	case change.Null:
		return nil, nil
	case change.Int64:
		return int(v.Int()), nil
	case change.Uint64:
		if v.Num > math.MaxInt64 { // arithmetic would wrap in silence
			return nil, fmt.Errorf("%d is too large for an expression; use the column itself as the key", v.Num)
		}
		return int(v.Num), nil
	case change.Float32, change.Float64:
		return v.Float(), nil
	}
	return string(v.Bytes), nil
}

func bigEndian(bytes []byte) uint64 {
	var n uint64
	for _, b := range bytes {
		n = n<<8 | uint64(b)
	}
	return n
}

func fromExpression(result any) (change.Value, error) {
	switch r := result.(type) {
	case nil:
		return change.Value{}, nil
	case bool:
		if r {
			return change.IntValue(1), nil
		}
		return change.IntValue(0), nil
	case int:
		return change.IntValue(int64(r)), nil
	case int64:
		return change.IntValue(r), nil
	case uint64:
		return change.UintValue(r), nil
	case float64:
		if math.IsNaN(r) || math.IsInf(r, 0) {
			return change.Value{}, fmt.Errorf("the result is %s", strconv.FormatFloat(r, 'g', -1, 64))
		}
		return change.Float64Value(r), nil
	case string:
		return change.StringValue(r), nil
	}
	return change.Value{}, fmt.Errorf("the result is a %T; want a number, text, true or false, or nil", result)
}
