package source

import (
	"context"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/source/binlog"
)

// statement takes a statement that the server logged as such. It is never parsed for what a table looks like, only
// for which tables it may have changed: what they look like now is said by the next TABLE_MAP and by the server.
func (l *loop) statement(ctx context.Context, ev *binlog.Event) error {
	p := &ev.Parsed
	switch {
	case p.Harmless:
		return nil
	case p.DML:
		return l.statementDML(ev)
	case p.Tables == nil && p.Database != "":
		return l.databaseDropped(p)
	case p.Tables == nil:
		for _, t := range l.tables {
			l.redefined(t)
		}
		if p.ValueChanging || p.Removing {
			return l.recrawlAll("a statement that is not understood may have changed rows: " + clip(ev.Query))
		}
		return nil
	}
	for _, name := range p.Tables {
		known := l.tables[name] != nil
		t, err := l.knownByStatement(ctx, name)
		if err != nil {
			return err
		}
		if t == nil || !known { // one that is met here is crawled for that
			continue
		}
		l.log.Info("table redefined", "table", name.String(), "statement", p.Verb, "position", ev.Position.String())
		l.redefined(t)
		if p.ValueChanging || p.Removing {
			if err := l.recrawl(t, p.Verb+" changes rows without row events"); err != nil {
				return err
			}
		}
	}
	return nil
}

// databaseDropped takes the rows of all tables of a database out of their topics.
func (l *loop) databaseDropped(p *binlog.ParsedStatement) error {
	for name, t := range l.tables {
		if name.DB != p.Database {
			continue
		}
		l.redefined(t)
		if t.live() {
			if err := l.recrawl(t, p.Verb); err != nil {
				return err
			}
		}
	}
	return nil
}

// knownByStatement returns the entry of a table that a statement names. A table that is captured and was not there
// before is met here, so that its topic is there before its first row; a table that is dropped need not be met.
func (l *loop) knownByStatement(ctx context.Context, name change.TableName) (*table, error) {
	if t := l.tables[name]; t != nil || l.cfg.Rule(name) == nil {
		return t, nil
	}
	if err := l.commitFirst(ctx); err != nil {
		return nil, err
	}
	if there, err := l.exists(ctx, name); err != nil || !there {
		return nil, err
	}
	return l.known(ctx, name)
}

// statementDML ends the source, or stops nothing when the tables it names are not captured: rows were changed, and no event
// says how.
func (l *loop) statementDML(ev *binlog.Event) error {
	touches := ev.Parsed.Tables == nil
	for _, name := range ev.Parsed.Tables {
		touches = touches || l.cfg.Rule(name) != nil
	}
	if !touches {
		return nil
	}
	if l.accept.Statements {
		return l.recrawlAll("rows were changed by a logged statement: " + clip(ev.Query))
	}
	return &change.Problem{
		Kind: change.Configuration, What: "rows were changed by a statement that the binlog holds as a statement: " + clip(ev.Query),
		Where: ev.Position.String(),
		Why:   "binlog_format was not ROW in that session; which rows it changed, and how, is not in the binlog",
		Mend:  "SET GLOBAL binlog_format = 'ROW' and close old sessions; then start once with: sluice-source --accept-statements   (it crawls all tables over the top instead)",
	}
}

// recrawlAll asks for a crawl over the top of every table.
func (l *loop) recrawlAll(why string) error {
	for _, t := range l.tables {
		if t.live() {
			if err := l.recrawl(t, why); err != nil {
				return err
			}
		}
	}
	return nil
}

const clipped = 200

func clip(query string) string {
	if len(query) <= clipped {
		return query
	}
	return query[:clipped] + "..."
}
