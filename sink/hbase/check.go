package hbase

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Check looks at the gateway and at the tables without changing anything.
func (t *Target) Check(ctx context.Context, _ string, tables []*change.Table) ([]sink.Finding, error) {
	var cluster struct {
		Version string
	}
	if err := t.client.json(ctx, "/version/cluster", &cluster); err != nil {
		return t.finding(t.client.judge("the gateway does not answer", err))
	}
	found := []sink.Finding{{Level: sink.Good, Where: t.client.base, What: "HBase " + cluster.Version + " answers"}}
	seen := make(map[string]bool)
	for _, table := range tables {
		name := t.config.tableName("", table.TableName)
		if name != t.config.tableName("x", table.TableName) || seen[name] {
			continue // the source is part of the name and not known here: Prepare looks
		}
		seen[name] = true
		p, err := t.planOf("", table)
		var more []sink.Finding
		if err == nil {
			more, err = t.checkTable(ctx, p)
		}
		if err != nil {
			if more, err = t.finding(err); err != nil {
				return nil, err
			}
		}
		found = append(found, more...)
	}
	return found, nil
}

// finding makes a line of doctor of a problem.
func (t *Target) finding(err error) ([]sink.Finding, error) {
	var p *change.Problem
	if !errors.As(err, &p) {
		return nil, err
	}
	return []sink.Finding{{Level: sink.Wrong, Where: t.client.base, What: err.Error(), Why: p.Why, Mend: p.Mend}}, nil
}

func (t *Target) checkTable(ctx context.Context, p *plan) ([]sink.Finding, error) {
	where := "table " + p.name
	s, err := t.schemaOf(ctx, p.name)
	if err != nil {
		return nil, err
	}
	if s == nil {
		if t.config.CreateTables {
			return []sink.Finding{{Level: sink.Good, Where: where, What: "it is not there yet and will be made"}}, nil
		}
		return []sink.Finding{{Level: sink.Wrong, Where: where, What: "it is not there", Why: "its topic stops", Mend: "in the HBase shell: " + creation(p, t.config.Family)}}, nil
	}
	if problem := s.problem(p.name, t.config.Family); problem != nil {
		return []sink.Finding{{Level: sink.Wrong, Where: where, What: problem.What, Why: problem.Why, Mend: problem.Mend}}, nil
	}
	found := []sink.Finding{{Level: sink.Good, Where: where, What: "it has the family " + t.config.Family}}
	found = append(found, checkFamily(p.name, t.config.Family, s.family(t.config.Family))...)
	if p.key.salt == 0 {
		return found, nil
	}
	regions, err := t.regions(ctx, p.name)
	if err == nil && regions < p.key.salt {
		found = append(found, sink.Finding{Level: sink.Warning, Where: where, What: fmt.Sprintf("its rows go to %d buckets, and it has %d regions", p.key.salt, regions),
			Why:  "buckets that share a region share its server, until HBase has split it by itself",
			Mend: fmt.Sprintf("in the HBase shell, for each of the buckets %s: split '%s', 'the bucket'", p.key.splits(), p.name)})
	}
	return found, err
}

// checkFamily says which attributes of a family work otherwise than one may think.
func checkFamily(table, name string, family map[string]any) []sink.Finding {
	var found []sink.Finding
	warn := func(attribute, want, why string) {
		found = append(found, sink.Finding{Level: sink.Warning, Where: "table " + table, What: fmt.Sprintf("the family %s has %s %v", name, attribute, family[attribute]), Why: why,
			Mend: fmt.Sprintf("in the HBase shell: alter '%s', {NAME => '%s', %s => %s}", table, name, attribute, want)})
	}
	if v := attribute(family, "VERSIONS"); v != "" && v != "1" {
		warn("VERSIONS", "1", "rows of before stay on disk, deleted ones too, and are shown to those who ask for several versions")
	}
	if v := attribute(family, "KEEP_DELETED_CELLS"); v != "" && v != "FALSE" {
		warn("KEEP_DELETED_CELLS", "'FALSE'", "tombstones that Sluice has removed stay on disk for ever")
	}
	if v := attribute(family, "TTL"); v != "" && v != "FOREVER" && v != "2147483647" {
		warn("TTL", "'FOREVER'", "HBase takes timestamps for milliseconds; Sluice's are microseconds, and their cells never expire")
	}
	return found
}
