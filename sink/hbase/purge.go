package hbase

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"
)

const (
	// purgeEvery is how often each table is looked through for old tombstones.
	purgeEvery = 24 * time.Hour
	// purgePage is how many rows are looked at after one batch.
	purgePage = 5000
)

// purge is how far the look through a table has come.
type purge struct {
	begun time.Time
	at    []byte // the key to go on behind
	going bool
}

// purge removes some of the tombstones that are older than any record that could still come: of the rows behind those of the last time.
// HBase has no index of them, and its own TTL knows no microseconds. What goes wrong is logged and tried again later: a tombstone that
// stays too long does no harm.
func (t *Target) purge(ctx context.Context, p *plan) {
	t.mu.Lock()
	now := t.now()
	at := t.purges[p.name]
	if at == nil { // the first look is purgeEvery after the start
		at = &purge{begun: now}
		t.purges[p.name] = at
	}
	due := at.going || now.Sub(at.begun) >= t.purgeEvery
	if due && !at.going {
		at.begun, at.at, at.going = now, nil, true
	}
	from := bytes.Clone(at.at)
	t.mu.Unlock()
	if !due {
		return
	}
	to, more, removed, err := t.purgeSome(ctx, p, from, now.Add(-t.config.KeepTombstones))
	t.mu.Lock()
	if at.going && bytes.Equal(at.at, from) { // another partition may have been faster
		at.at, at.going = to, more && err == nil
	}
	t.mu.Unlock()
	switch {
	case err != nil && ctx.Err() == nil:
		t.log.Warn("old tombstones could not be removed", "table", p.name, "error", err)
	case removed > 0:
		t.log.Debug("old tombstones removed", "table", p.name, "rows", removed)
	}
}

// errPage ends a page of the look.
var errPage = errors.New("enough rows for now")

// purgeSome looks at a page of rows behind a key and removes the tombstones that are older than before.
func (t *Target) purgeSome(ctx context.Context, p *plan, from []byte, before time.Time) (to []byte, more bool, removed int, err error) {
	r := reader{client: t.client, table: p.name, marked: true}
	request := scanRequest{columns: []string{p.state}}
	if len(from) > 0 {
		request.start = append(bytes.Clone(from), 0)
	}
	var old []row
	seen := 0
	err = r.rows(ctx, request, func(have row) error {
		to = have.key
		if own, ok := have.cell(p.state); ok {
			if s, err := parseState(own.value); err == nil && s.word == stateDeleted && s.deleted.Before(before) {
				old = append(old, have)
			}
		}
		if seen++; seen == purgePage {
			return errPage
		}
		return nil
	})
	if more = errors.Is(err, errPage); err != nil && !more {
		return to, false, 0, err
	}
	for _, tombstone := range old {
		if err := t.remove(ctx, p, tombstone); err != nil {
			return to, false, removed, err
		}
		removed++
	}
	return to, more, removed, nil
}

// remove takes a tombstone away, unless the row came back meanwhile: its cells and all that is older, by a delete marker of its version.
func (t *Target) remove(ctx context.Context, p *plan, tombstone row) error {
	own, _ := tombstone.cell(p.state)
	cells := appendCell(nil, t.config.Family, own.timestamp, nil)
	cells = appendCell(cells, p.state, own.timestamp, own.value)
	_, _, _, err := t.client.do(ctx, http.MethodPut, "/"+p.name+"/rows?check=delete", protobuf, appendRow(nil, tombstone.key, cells))
	if has(err, http.StatusNotModified) {
		return nil
	}
	return err
}
