package mysql_test

import (
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/route"
	"github.com/sluice-cdc/sluice/sink"
	target "github.com/sluice-cdc/sluice/sink/mysql"
	"github.com/sluice-cdc/sluice/sink/sinktest"
)

// suitePlace makes a place that holds the suite's tables, with their unique keys.
func suitePlace(t testing.TB, spec sinktest.Spec, shards int, routes ...route.Spec) func() sink.Target {
	p := newPlace(t, shards)
	p.config.Routes = routes
	return p.forSuite(t, spec)
}

func (p *place) forSuite(t testing.TB, spec sinktest.Spec) func() sink.Target {
	p.config.Unique = make(map[string][]string)
	for _, table := range spec.Tables {
		p.config.Unique[table.String()] = []string{"*"}
	}
	first := p.open()
	var tables []*change.Table
	for _, table := range spec.Tables {
		tables = append(tables, table.Table)
	}
	if err := first.Prepare(t.Context(), spec.Group, spec.Source, tables); err != nil {
		t.Fatal(change.Explain(err))
	}
	first.Close()
	for _, table := range spec.Tables {
		for _, unique := range table.Uniques {
			p.in("ALTER TABLE $DB." + table.Name + " ADD UNIQUE (" + strings.Join(unique, ",") + ")")
		}
	}
	return func() sink.Target { return p.open() }
}

func without() []change.Type {
	if !running().Flavor.MySQL9Words() {
		return []change.Type{change.Vector}
	}
	return nil
}

func TestSuite(t *testing.T) {
	sinktest.Run(t, sinktest.Options{Uniques: true, Histories: 12, Without: without(),
		New: func(t testing.TB, spec sinktest.Spec) func() sink.Target { return suitePlace(t, spec, 1) }})
}

// byA spreads the suite's rows by a column that is no part of the key.
var byA = []route.Spec{
	{Table: "suite.plain", By: "a", Rule: route.RuleSpec{Name: "modulus"}},
	{Table: "suite.uniques", By: "a", Rule: route.RuleSpec{Name: "modulus"}},
	{Table: "suite.keyed", By: "a", Rule: route.RuleSpec{Name: "modulus"}},
	{Table: "*.*", Rule: route.RuleSpec{Name: "s1"}},
}

// TestSuiteSharded has rows that move between three shards.
func TestSuiteSharded(t *testing.T) {
	sinktest.Run(t, sinktest.Options{Histories: 8, Without: without(),
		New: func(t testing.TB, spec sinktest.Spec) func() sink.Target { return suitePlace(t, spec, 3, byA...) }})
}

// TestSuiteSideTable has the versions in side tables.
func TestSuiteSideTable(t *testing.T) {
	sinktest.Run(t, sinktest.Options{Uniques: true, Histories: 6, Without: without(), New: func(t testing.TB, spec sinktest.Spec) func() sink.Target {
		p := newPlace(t, 1)
		inSideTables(p)
		return p.forSuite(t, spec)
	}})
}

// TestSuiteSideTableSharded has rows move between shards with their versions.
func TestSuiteSideTableSharded(t *testing.T) {
	sinktest.Run(t, sinktest.Options{Histories: 3, Without: without(), New: func(t testing.TB, spec sinktest.Spec) func() sink.Target {
		p := newPlace(t, 3)
		inSideTables(p)
		p.config.Routes = byA
		return p.forSuite(t, spec)
	}})
}

// TestSuiteOfRouter has a function place the rows.
func TestSuiteOfRouter(t *testing.T) {
	router := &target.Router{Name: "by a", Place: func(of *change.Table, row []change.Value) (string, error) {
		if i := of.Column("a"); i >= 0 && !row[i].IsNull() {
			return []string{"s0", "s1", "s2"}[row[i].Int()%3], nil
		}
		return "s1", nil
	}}
	sinktest.Run(t, sinktest.Options{Histories: 3, Without: without(), New: func(t testing.TB, spec sinktest.Spec) func() sink.Target {
		p := newPlace(t, 3)
		p.config.Router = router
		return p.forSuite(t, spec)
	}})
}
