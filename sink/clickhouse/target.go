package clickhouse

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// base is what both modes have in common.
type base struct {
	config   Config
	client   *client
	gatherer *gatherer
	log      *slog.Logger

	mu   sync.Mutex // guards the following
	form *form      // nil until the server was asked
}

// New returns the target of a config that has been checked: a *StateTarget or a *HistoryTarget. It connects to nothing.
func New(config Config, setup sink.Setup) (sink.Target, error) {
	c, err := newClient(&config)
	if err != nil {
		return nil, err
	}
	b := &base{config: config, client: c, log: setup.Log}
	b.gatherer = &gatherer{config: &b.config, client: c, open: make(map[*sheet]*block)}
	if config.Mode == History {
		return &HistoryTarget{base: b, sheets: make(map[string]*sheet), reached: make(map[sink.Partition]reach)}, nil
	}
	return &StateTarget{base: b, layouts: make(map[layoutKey]*layout)}, nil
}

// Close lets go of idle connections.
func (b *base) Close() error {
	b.client.http.CloseIdleConnections()
	return nil
}

// where names the place for errors and findings.
func (b *base) where() string { return b.client.base + ", database " + b.config.Database }

// ask returns what the server can do. It is asked once; a server that is replaced by one of the other form wants a restart.
func (b *base) ask(ctx context.Context) (form, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.form != nil {
		return *b.form, nil
	}
	version, err := b.client.text(ctx, "SELECT version()")
	if err != nil {
		return form{}, b.client.judge("the server does not answer", err)
	}
	f := formOf(version)
	b.form = &f
	return f, nil
}

// named adds the table to a problem, so that it alone stops.
func named(err error, table *change.Table) error {
	var p *change.Problem
	if errors.As(err, &p) && p.Kind == change.Poison && p.Table == (change.TableName{}) {
		p.Table = table.TableName
	}
	return err
}
