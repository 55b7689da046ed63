package redis

import (
	"context"
	"errors"

	"github.com/redis/rueidis"

	"github.com/sluice-cdc/sluice/change"
)

var errFound = errors.New("a row is there")

// Occupied returns the names of those tables that have rows.
func (t *Target) Occupied(ctx context.Context, source string, tables []*change.Table) ([]string, error) {
	client, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, table := range tables {
		p, err := t.planOf(source, table)
		if err != nil {
			return nil, err
		}
		err = t.eachKey(ctx, client, p, source, false, func([]string) error { return errFound })
		if errors.Is(err, errFound) {
			names = append(names, t.config.base(source, table.TableName, 0)+":*")
		} else if err != nil {
			return nil, err
		}
	}
	return names, nil
}

// Empty removes the tables' rows, indexes and streams, with the versions of deleted rows, and what says how they are kept.
func (t *Target) Empty(ctx context.Context, source string, tables []*change.Table) error {
	client, err := t.connect(ctx)
	if err != nil {
		return err
	}
	for _, table := range tables {
		p, err := t.planOf(source, table)
		if err != nil {
			return err
		}
		if err := t.eachKey(ctx, client, p, source, true, func(keys []string) error { return t.unlink(ctx, client, keys) }); err != nil {
			return err
		}
		if err := t.unlink(ctx, client, []string{ledgerKey(t.config.base(source, table.TableName, 0))}); err != nil {
			return err
		}
	}
	return nil
}

func (t *Target) unlink(ctx context.Context, client rueidis.Client, keys []string) error {
	ctx, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	commands := make([]rueidis.Completed, len(keys))
	for i, key := range keys {
		commands[i] = client.B().Unlink().Key(key).Build()
	}
	for _, r := range client.DoMulti(ctx, commands...) {
		if err := r.Error(); err != nil {
			return t.judge("a table could not be emptied", err)
		}
	}
	return nil
}
