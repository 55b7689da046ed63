package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Check tells what is wrong with the database and its tables, and changes nothing.
func (t *Target) Check(ctx context.Context, _ string, tables []*change.Table) ([]sink.Finding, error) {
	var found []sink.Finding
	add := func(level sink.Level, what, why, mend string) {
		found = append(found, sink.Finding{Level: level, Where: t.server.where(), What: what, Why: why, Mend: mend})
	}
	err := t.server.withSession(ctx, func(c *session) error {
		if err := t.checkServer(ctx, c, add); err != nil {
			return err
		}
		if strings.Contains(t.config.Table, "{source}") && len(tables) > 0 {
			add(sink.Good, "tables are looked at when the sink starts: their names hold the source's, which doctor is not told", "", "")
			return nil
		}
		for _, schema := range tables {
			var wrong *change.Problem
			err := t.checkTable(ctx, c, schema, add)
			if errors.As(err, &wrong) { // the other tables are looked at all the same
				add(sink.Wrong, wrong.Error(), wrong.Why, wrong.Mend)
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	var p *change.Problem
	if errors.As(err, &p) && ctx.Err() == nil {
		why := p.Why
		if why == "" {
			why = "nothing can be applied"
		}
		add(sink.Wrong, p.Error(), why, p.Mend)
		return found, nil
	}
	return found, err
}

type adder func(level sink.Level, what, why, mend string)

func (t *Target) checkServer(ctx context.Context, c *session, add adder) error {
	answer, err := c.exec(ctx, statement{text: `SELECT current_setting('server_version'), current_setting('server_version_num')::int>=120000, pg_is_in_recovery(),
		current_setting('fsync')='on', has_database_privilege(current_database(),'CREATE'), EXISTS (SELECT FROM pg_namespace WHERE nspname=$1)`,
		values: [][]byte{[]byte(t.config.Schema)}})
	if err != nil {
		return err
	}
	f := answer[0].rows[0]
	add(sink.Good, "reachable: PostgreSQL "+string(f[0]), "", "")
	if !isTrue(f[1]) {
		add(sink.Wrong, "PostgreSQL "+string(f[0])+" is older than 12", "the catalog lacks what is asked of it", "upgrade")
	}
	if isTrue(f[2]) {
		add(sink.Wrong, "the server is a standby", "nothing can be written", "name the primary in postgres.address")
	}
	if !isTrue(f[3]) {
		add(sink.Warning, "fsync is off", "a crash of the machine can destroy the whole server, rows and progress", "fsync = on in postgresql.conf")
	}
	if !isTrue(f[4]) && !isTrue(f[5]) {
		add(sink.Wrong, "the schema "+t.config.Schema+" is missing, and the user may not make it", "progress, sources and owners of tables are kept in it",
			createSchema(t.config.Schema)+" AUTHORIZATION "+quoteName(t.config.User)+";")
	}
	return c.checkEncoding(ctx)
}

func (t *Target) checkTable(ctx context.Context, c *session, schema *change.Table, add adder) error {
	p, err := t.config.place("", schema.TableName)
	if err != nil {
		return err
	}
	r, err := c.relation(ctx, p)
	if err != nil {
		return err
	}
	if r == nil && t.config.CreateTables {
		add(sink.Good, "table "+p.String()+" is missing and will be made", "", "")
		return nil
	}
	if r == nil || t.config.addColumns(p, schema, r) != "" && !t.config.CreateTables {
		return t.missing(p, schema, r)
	}
	if alter := t.config.addColumns(p, schema, r); alter != "" {
		add(sink.Warning, "table "+p.String()+" lacks columns, which will be added", "", alter+";")
	}
	if err := t.judge(p, schema, r); err != nil {
		return err
	}
	answer, err := c.exec(ctx, statement{"SELECT has_table_privilege($1::oid,'SELECT') AND " +
		"has_table_privilege($1::oid,'INSERT') AND has_table_privilege($1::oid,'UPDATE') AND has_table_privilege($1::oid,'DELETE')", [][]byte{r.oid}})
	if err != nil {
		return err
	}
	if !isTrue(answer[0].rows[0][0]) {
		add(sink.Wrong, "the user may not write table "+p.String(), "nothing can be applied to it",
			"GRANT SELECT, INSERT, UPDATE, DELETE ON "+p.quoted()+" TO "+quoteName(t.config.User)+";")
		return nil
	}
	add(sink.Good, "table "+p.String()+" fits", "", "")
	return nil
}
