package postgres_test

import (
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/sinktest"
)

// suitePlace makes a place that holds the suite's tables, with their unique keys.
func suitePlace(t testing.TB, spec sinktest.Spec) func() sink.Target {
	p := newPlace(t)
	p.config.Unique = make(map[string][]string)
	var tables []*change.Table
	for _, table := range spec.Tables {
		p.config.Unique[table.String()] = []string{"*"}
		tables = append(tables, table.Table)
	}
	first := p.open()
	if err := first.Prepare(t.Context(), spec.Group, spec.Source, tables); err != nil {
		t.Fatal(change.Explain(err))
	}
	first.Close()
	for _, table := range spec.Tables {
		for _, unique := range table.Uniques {
			p.exec(`ALTER TABLE $S.` + table.Name + " ADD UNIQUE (" + strings.Join(unique, ",") + ")")
		}
	}
	return func() sink.Target { return p.open() }
}

func TestSuite(t *testing.T) {
	sinktest.Run(t, sinktest.Options{Uniques: true, Histories: 15, New: suitePlace})
}
