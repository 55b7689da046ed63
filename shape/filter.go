package shape

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"

	"github.com/sluice-cdc/sluice/change"
)

// Filter says of a row of one table's schema whether it passes.
//
// It is an expression over column names, as Expression is, that is true or false. NULL is nil, which equals nothing but nil; every other
// comparison (<, <=, >, >=, contains, startsWith, endsWith, matches) with NULL is false, as in a Condition.
type Filter struct {
	text    string
	table   *change.Table
	columns []int
	program *vm.Program
}

// CompileFilter reads the filter for rows of that table. An unknown column is an error that lists those there are.
func CompileFilter(text string, t *change.Table) (*Filter, error) {
	env := make(map[string]any, len(t.Columns))
	for i := range t.Columns {
		env[t.Columns[i].Name] = example(&t.Columns[i])
	}
	found, loops := &identifiers{table: t}, new(loops)
	options := append(language(), expr.Patch(found), expr.Patch(nullSafety{}), expr.Patch(loops), expr.AsBool())
	_, err := expr.Compile(text, append(options, expr.Env(env))...)
	var program *vm.Program
	if err == nil { // see Compile
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
	slices.Sort(found.columns)
	return &Filter{text: text, table: t, columns: found.columns, program: program}, nil
}

// nullSafety gives comparisons a meaning for NULL.
type nullSafety struct{}

// Visit is called for each node, children first.
func (nullSafety) Visit(node *ast.Node) {
	if n, ok := (*node).(*ast.BinaryNode); ok {
		nullSafe(node, n)
	}
}

// String returns the filter's text.
func (f *Filter) String() string { return f.text }

// Columns returns the indexes of the columns that the filter reads, ascending.
func (f *Filter) Columns() []int { return f.columns }

// Passes evaluates the filter.
func (f *Filter) Passes(row []change.Value) (bool, error) {
	m := takeMachine()
	defer m.giveBack()
	for _, c := range f.columns {
		column := &f.table.Columns[c]
		value, err := toExpression(row[c], column.Type == change.Bit)
		if err != nil {
			return false, fmt.Errorf("expression %q: column %s: %w", f.text, column.Name, err)
		}
		m.env[column.Name] = value
	}
	result, err := m.run(f.program)
	if err != nil {
		return false, fmt.Errorf("expression %q: %s", f.text, firstLine(err))
	}
	passes, ok := result.(bool)
	if !ok {
		return false, fmt.Errorf("expression %q: the result is a %T; want true or false", f.text, result)
	}
	return passes, nil
}
