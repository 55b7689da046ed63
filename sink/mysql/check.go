package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/sluice-cdc/sluice/change"
	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/sink"
)

// Check tells what is wrong with the shards and their tables, and changes nothing.
func (t *Target) Check(ctx context.Context, _ string, tables []*change.Table) ([]sink.Finding, error) {
	var found []sink.Finding
	for _, s := range t.shards {
		if err := t.checkShard(ctx, s, tables, &found); err != nil {
			var p *change.Problem
			if !errors.As(err, &p) || ctx.Err() != nil {
				return found, err
			}
			why := p.Why
			if why == "" {
				why = "nothing can be applied to this shard"
			}
			found = append(found, sink.Finding{Level: sink.Wrong, Where: s.where(), What: p.Error(), Why: why, Mend: p.Mend})
		}
	}
	return found, nil
}

func (t *Target) checkShard(ctx context.Context, s *shard, tables []*change.Table, found *[]sink.Finding) error {
	add := func(level sink.Level, what, why, mend string) {
		*found = append(*found, sink.Finding{Level: level, Where: s.where(), What: what, Why: why, Mend: mend})
	}
	db, facts, err := s.pool(ctx)
	if err != nil {
		return err
	}
	add(sink.Good, "reachable: "+facts.Identity(), "", "")
	if facts.ReadOnly {
		add(sink.Wrong, "the server is read-only", "nothing can be written; it may be a replica", "name the primary in address")
	}
	if facts.LogBin && facts.BinlogFormat == "STATEMENT" {
		add(sink.Wrong, "binlog_format is STATEMENT", "it allows no READ COMMITTED", "SET PERSIST binlog_format = 'ROW';")
	}
	if facts.Flavor == gtid.MySQL && !facts.AtLeast(5, 7, 0) {
		add(sink.Warning, "MySQL "+facts.Version+" is older than any that was tried", "", "upgrade")
	}
	if err := db.QueryRowContext(ctx, "SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", s.config.Database).Scan(new(int)); err != nil {
		if !errors.Is(err, sql.ErrNoRows) {
			return s.problem(err)
		}
		add(sink.Wrong, "database "+s.config.Database+" does not exist, or the user may not see it", "",
			"CREATE DATABASE "+server.QuoteName(s.config.Database)+";")
		return nil
	}
	for _, schema := range tables {
		if err := t.checkTable(ctx, s, db, facts, schema, add); err != nil {
			return err
		}
	}
	return nil
}

func (t *Target) checkTable(ctx context.Context, s *shard, db *sql.DB, facts *server.Facts, schema *change.Table,
	add func(level sink.Level, what, why, mend string)) error {
	name := s.target(schema.TableName)
	if _, err := newPlacement(t.config, schema); err != nil {
		add(sink.Wrong, err.Error(), "", "mend routes")
	}
	if _, err := t.config.orderOf(schema.TableName); err != nil {
		add(sink.Wrong, err.Error(), "", "mend mysql.moves")
	}
	target, extras, err := server.LoadTable(ctx, db, facts, name, nil)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		if t.config.CreateTables {
			add(sink.Good, "table "+name.String()+" is missing and will be made", "", "")
		} else {
			mend := createTable(t.config, facts, name, schema) + ";"
			if t.config.beside(schema.TableName) {
				mend += "\n" + createSide(t.config, s.side(schema.TableName), keyColumns(schema, nil)) + ";"
			}
			add(sink.Wrong, "table "+name.String()+" does not exist", "", mend)
		}
		return nil
	case err != nil:
		return s.problem(err)
	}
	level := sink.Good
	if alter := addColumns(t.config, facts, schema, target); alter != "" {
		if level = sink.Wrong; t.config.CreateTables {
			level = sink.Warning
		}
		add(level, "table "+name.String()+" lacks columns", "", alter+";")
		if level == sink.Wrong {
			return nil
		}
	} else if _, err := t.check(ctx, s, schema, target, extras); err != nil {
		return err
	}
	if may, err := s.mayWrite(ctx, db, name, target.Columns[target.Key[0]].Name, add); err != nil || !may {
		return err
	}
	if t.config.beside(schema.TableName) {
		if fits, err := t.doctorSide(ctx, s, db, schema, target, add); err != nil || !fits {
			return err
		}
	}
	if level == sink.Good {
		add(sink.Good, "table "+name.String()+" fits", "", "")
	}
	return nil
}

// doctorSide judges the table's side table, and reports whether it fits.
func (t *Target) doctorSide(ctx context.Context, s *shard, db *sql.DB, schema, target *change.Table, add func(level sink.Level, what, why, mend string)) (bool, error) {
	problem, create, err := t.checkSide(ctx, s, schema, target)
	switch name := s.side(schema.TableName); {
	case err != nil:
		return false, err
	case problem == nil:
		return s.mayWrite(ctx, db, name, keyColumns(schema, target)[0].Name, add)
	case create != "" && t.config.CreateTables:
		add(sink.Good, "side table "+name.String()+" is missing and will be made", "", "")
		return true, nil
	}
	add(sink.Wrong, problem.What, problem.Why, problem.Mend)
	return false, nil
}

// mayWrite reports whether the user may write the table, which has that column.
func (s *shard) mayWrite(ctx context.Context, db *sql.DB, name change.TableName, column string, add func(level sink.Level, what, why, mend string)) (bool, error) {
	for _, verb := range []string{"DELETE FROM %s WHERE FALSE", "INSERT INTO %s () SELECT * FROM %[1]s WHERE FALSE", "UPDATE %s SET %[2]s=%[2]s WHERE FALSE"} {
		statement := fmt.Sprintf("EXPLAIN "+verb, server.QuoteTable(name), server.QuoteName(column))
		if _, err := db.ExecContext(ctx, statement); server.ErrorNumber(err) == errorTableDenied {
			account, err := server.Account(ctx, db)
			if err != nil {
				return false, err
			}
			add(sink.Wrong, "the user may not write table "+name.String(), "",
				fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, TRIGGER ON %s.* TO %s;", server.QuoteName(s.config.Database), account))
			return false, nil
		}
	}
	return true, nil
}
