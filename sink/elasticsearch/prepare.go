package elasticsearch

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// Prepare makes missing indexes and adds missing fields, or says which requests would.
func (t *Target) Prepare(ctx context.Context, _, source string, tables []*change.Table) error {
	for _, table := range tables {
		if err := t.prepare(ctx, source, table); err != nil {
			return err
		}
	}
	return nil
}

// prepareTries bounds how often an index is looked at anew because another process was at it too; preparePause is how long it is left to itself
// before, longer each time: a busy server knows of an index for a while before it shows its alias.
const (
	prepareTries = 5
	preparePause = 200 * time.Millisecond
)

func (t *Target) prepare(ctx context.Context, source string, table *change.Table) error {
	alias, want := t.config.alias(source, table.TableName), t.config.owner(source, table)
	for try := range prepareTries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Duration(try) * preparePause):
			}
		}
		have, err := t.look(ctx, alias)
		if err != nil {
			return err
		}
		if have != nil {
			return t.complete(ctx, alias, have, want, table)
		}
		made, err := t.make(ctx, alias, want, table)
		if made || err != nil {
			return err
		}
	}
	name := alias + rowsSuffix
	add := aliasOf()
	add["index"], add["alias"] = name, alias
	return &change.Problem{Kind: change.Poison, Table: table.TableName, What: fmt.Sprintf("there is an index %s without the alias %s", name, alias), Where: t.client.base,
		Mend: step{"POST", "/_aliases", map[string]any{"actions": []any{map[string]any{"add": add}}}}.String()}
}

// make makes a table's index. made is false where there is one already: another process was faster, or the alias is missing.
func (t *Target) make(ctx context.Context, alias string, want owner, table *change.Table) (made bool, err error) {
	name := alias + rowsSuffix
	request := step{"PUT", path(name), t.config.creation(alias, want, table)}
	if !t.config.CreateIndexes {
		return false, &change.Problem{Kind: change.Poison, Table: table.TableName, What: "the index " + alias + " is not there", Where: t.client.base,
			Why:  "where it was there before, its rows are lost: the sink has to begin anew (sluice replay --to beginning --empty)",
			Mend: request.String() + "\nor set elasticsearch.create_indexes: true"}
	}
	if err := t.mayMake(ctx, alias, table); err != nil {
		return false, err
	}
	err = t.client.do(ctx, request.method, request.path, request.body, nil)
	if hasStatus(err, http.StatusBadRequest, "resource_already_exists") {
		return false, nil
	}
	if err != nil {
		return false, t.judgeTable("an index could not be made", table, err)
	}
	t.log.Info("made an index", "target", t.client.base, "index", name, "table", table.String())
	return true, t.enter(ctx, alias, want)
}

// complete adds what an index lacks.
func (t *Target) complete(ctx context.Context, alias string, have *index, want owner, table *change.Table) error {
	if err := have.check(want); err != nil {
		return err
	}
	steps := t.steps(alias, have, want, table)
	if len(steps) > 0 && !t.config.CreateIndexes {
		requests := make([]string, len(steps))
		for i, s := range steps {
			requests[i] = s.String()
		}
		return &change.Problem{Kind: change.Poison, Table: table.TableName, What: "the index " + have.name + " lacks something", Where: t.client.base,
			Why:  "columns without a field could not be searched, deleted rows would be seen through an alias without the filter, or another table could come into the index",
			Mend: strings.Join(requests, "\n") + "\nor set elasticsearch.create_indexes: true"}
	}
	for _, s := range steps {
		t.log.Info("completing an index", "target", t.client.base, "index", have.name, "request", s.method+" "+s.path)
		if err := t.client.do(ctx, s.method, s.path, s.body, nil); err != nil {
			return t.judgeTable("an index could not be completed: "+s.String(), table, err)
		}
	}
	if len(steps) > 0 { // another process may have done the same for another table of this name
		now, err := t.look(ctx, alias)
		if err != nil || now == nil {
			return err
		}
		if err := now.check(want); err != nil {
			return err
		}
	}
	if !t.config.CreateIndexes {
		return nil
	}
	return t.enter(ctx, alias, want)
}

// judgeTable is judge with the table that a Poison stops.
func (t *Target) judgeTable(doing string, table *change.Table, err error) error {
	err = t.client.judge(doing, err)
	if p, ok := err.(*change.Problem); ok {
		p.Table = table.TableName
	}
	return err
}
