package files

import (
	"context"
	"slices"

	"github.com/sluice-cdc/sluice/change"
)

// Occupied returns the folders of those tables that have files.
func (t *Target) Occupied(ctx context.Context, source string, tables []*change.Table) ([]string, error) {
	var names []string
	for _, table := range tables {
		keys, err := t.allOf(ctx, source, table.TableName)
		if err != nil {
			return nil, err
		}
		if len(keys) > 0 {
			names = append(names, tableFolder(table.TableName))
		}
	}
	return names, nil
}

// allOf returns all files of a source's table, visible and staged, of all incarnations of its topic.
func (t *Target) allOf(ctx context.Context, source string, table change.TableName) ([]string, error) {
	states, err := t.states(ctx, "")
	if err != nil {
		return nil, err
	}
	visible, err := t.store.list(ctx, tableFolder(table))
	if err != nil {
		return nil, err
	}
	others := make(map[string]bool) // partitions of other sources that have a table of this name
	var keys []string
	for _, s := range states {
		p, err := s.partition()
		if err != nil {
			return nil, err
		}
		switch {
		case s.Table != table:
		case s.Source != source:
			others[partitionName(&p)] = true
		default:
			staged, err := t.store.list(ctx, stagedFolder+partitionName(&p)+"/")
			if err != nil {
				return nil, err
			}
			for _, e := range staged {
				keys = append(keys, e.key)
			}
		}
	}
	for _, e := range visible {
		if partition, _, ok := parseFile(e.key); ok && !others[partition] {
			keys = append(keys, e.key)
		}
	}
	return keys, nil
}

// Empty removes the tables' files. The states first: a file that is in no list is nobody's, and a list without its file is a loss.
func (t *Target) Empty(ctx context.Context, source string, tables []*change.Table) error {
	for _, table := range tables {
		keys, err := t.allOf(ctx, source, table.TableName)
		if err != nil {
			return err
		}
		states, err := t.states(ctx, "")
		if err != nil {
			return err
		}
		states = slices.DeleteFunc(states, func(s *state) bool { return s.Source != source || s.Table != table.TableName })
		for _, s := range states {
			p, err := s.partition()
			if err != nil {
				return err
			}
			_, _, err = t.change(ctx, s.Group, &p, func(s *state) {
				s.Epoch++
				s.End = -1
				s.Staged, s.Merging, s.Files, s.Replaced, s.Removed = nil, nil, nil, nil, ""
			})
			if err != nil {
				return err
			}
		}
		if err := t.store.remove(ctx, keys...); err != nil {
			return err
		}
		t.log.Info("removed all files of a table", "target", t.store.String(), "table", table.String(), "files", len(keys))
	}
	return nil
}
