package mysql

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// Finding is something that a check has found: an error must be mended before a start, a warning should be.
type Finding struct {
	change.Problem
	Warning bool
}

// Errors returns those findings that forbid a start.
func Errors(findings []Finding) []Finding {
	var grave []Finding
	for _, finding := range findings {
		if !finding.Warning {
			grave = append(grave, finding)
		}
	}
	return grave
}

var binlogOffProblem = change.Problem{
	Kind: change.Configuration, What: "the server writes no binlog",
	Why:  "the binlog is where changes are read from",
	Mend: "set log_bin in the server's configuration file and restart it",
}

// retentionMin is how long the binlog should be kept: a source that is down for longer begins anew.
const retentionMin = 24 * time.Hour

// Preflight judges the server's settings. It asks nothing: it is pure.
func Preflight(f *Facts) []Finding {
	if !f.LogBin {
		return []Finding{{Problem: binlogOffProblem}}
	}
	p := &preflight{facts: f}
	p.version()
	p.rowSettings()
	p.identity()
	p.durability()
	return p.findings
}

// preflight collects the findings of one server.
type preflight struct {
	facts    *Facts
	findings []Finding
}

func (p *preflight) add(warning bool, what, why, mend string) {
	p.findings = append(p.findings, Finding{Warning: warning, Problem: change.Problem{
		Kind: change.Configuration, What: what, Where: p.facts.Identity(), Why: why, Mend: mend,
	}})
}

// set is how a global setting is changed for good.
func (p *preflight) set(name, value string) string {
	if p.facts.IsMySQL(8, 0, 0) {
		return fmt.Sprintf("SET PERSIST %s = %s", name, value)
	}
	return fmt.Sprintf("SET GLOBAL %s = %s, and %s = %s in the server's configuration file under [mysqld]", name, value, name, value)
}

func (p *preflight) version() {
	switch f := p.facts; {
	case f.Flavor == gtid.MySQL && !f.AtLeast(8, 0, 1):
		p.add(false, "MySQL before 8.0.1 is not supported",
			"its binlog does not hold column names, signs and charsets (binlog_row_metadata)", "upgrade to MySQL 8.0 or later")
	case f.Flavor == gtid.MariaDB && !f.AtLeast(10, 5, 0):
		p.add(false, "MariaDB before 10.5 is not supported",
			"its binlog does not hold column names, signs and charsets (binlog_row_metadata)", "upgrade to MariaDB 10.5 or later")
	}
}

// rowSettings are the settings without which the binlog does not say what a row was and is. Sessions that are
// connected already keep their own values of some of them until they reconnect.
func (p *preflight) rowSettings() {
	const sessions = "; then reconnect the clients: their sessions keep the old value"
	f := p.facts
	if f.BinlogFormat != "ROW" && f.BinlogFormat != "" {
		p.add(false, "binlog_format is "+f.BinlogFormat, "a statement does not say which rows it changed, and how",
			p.set("binlog_format", "'ROW'")+sessions)
	}
	if f.RowImage != "FULL" && f.RowImage != "FULL_NODUP" {
		p.add(false, "binlog_row_image is "+f.RowImage, "columns that a statement did not touch would be missing from the events",
			p.set("binlog_row_image", "'FULL'")+sessions)
	}
	if f.RowMetadata != "FULL" {
		what := "binlog_row_metadata is " + f.RowMetadata
		if f.RowMetadata == "" {
			what = "the server has no binlog_row_metadata"
		}
		p.add(false, what, "column names, signs, charsets and keys would be missing from the binlog",
			p.set("binlog_row_metadata", "'FULL'"))
	}
	if f.RowValueOptions != "" {
		p.add(true, "binlog_row_value_options is "+f.RowValueOptions,
			"JSON columns are logged as differences, which have to be applied to the row before: that is done, and costs time",
			p.set("binlog_row_value_options", "''"))
	}
	for _, filter := range [...][2]string{{"binlog_do_db", f.BinlogDoDB}, {"binlog_ignore_db", f.BinlogIgnoreDB}} {
		if filter[1] != "" {
			p.add(true, fmt.Sprintf("the binlog is filtered: %s = %s", filter[0], filter[1]),
				"changes of the other databases are never seen", "take the filter out of the server's configuration file")
		}
	}
}

func (p *preflight) identity() {
	f := p.facts
	if f.ServerID == 0 {
		p.add(false, "server_id is 0", "the server refuses readers of its binlog", p.set("server_id", "1"))
	}
	if !f.GTIDMode {
		p.add(true, "gtid_mode is not ON",
			"without GTIDs a failover to another server cannot be followed, and crawls take short row locks",
			"see the manual's page \"Enabling GTID Transactions Online\"; enforce_gtid_consistency = ON first")
	}
	if f.ReadOnly && !f.LogUpdates {
		p.add(false, "the server seems to be a replica and does not log what it applies",
			"changes that come from its own source are not in its binlog", "set log_replica_updates = ON (log_slave_updates on older servers)")
	}
}

// durability settings are warnings: with them off, a crash of the server's machine can lose transactions
// that were published already (R2), and nothing says so.
func (p *preflight) durability() {
	f := p.facts
	const why = "after a crash of the machine the server may lack transactions that are in Kafka already: phantom rows"
	if f.SyncBinlog != 1 {
		p.add(true, fmt.Sprintf("sync_binlog is %d", f.SyncBinlog), why, p.set("sync_binlog", "1"))
	}
	if f.FlushLog != 1 {
		p.add(true, fmt.Sprintf("innodb_flush_log_at_trx_commit is %d", f.FlushLog), why, p.set("innodb_flush_log_at_trx_commit", "1"))
	}
	if kept := time.Duration(f.ExpireSeconds) * time.Second; f.ExpireSeconds > 0 && kept < retentionMin {
		p.add(true, fmt.Sprintf("the binlog is kept for %s only", kept),
			"a source that is down for longer has to crawl all tables again", p.retention())
	}
}

func (p *preflight) retention() string {
	week := int64((7 * 24 * time.Hour).Seconds())
	if p.facts.Flavor == gtid.MariaDB && !p.facts.AtLeast(10, 6, 1) {
		return p.set("expire_logs_days", "7")
	}
	return p.set("binlog_expire_logs_seconds", fmt.Sprint(week))
}

// CheckTable judges whether a table can be captured. acceptCascades is the operator's word that rows changed
// by cascades may be missed.
func CheckTable(f *Facts, t *change.Table, extras *TableExtras, acceptCascades bool) []Finding {
	c := &tableCheck{table: t.TableName}
	c.key(t, extras)
	if len(extras.Cascades) > 0 && !f.CascadesLogged() {
		c.add(acceptCascades, "foreign keys change rows without a trace in the binlog: "+strings.Join(extras.Cascades, "; "),
			"this server does not log rows that ON DELETE and ON UPDATE clauses change: topics and targets would keep the old ones",
			"use MySQL 9.6 or later, or delete and update the rows by statements of your own, or set cascades: accept for the table and run verify often")
	}
	if extras.Versioned {
		c.add(false, "the table is system-versioned",
			"its history is in the binlog as rows of their own, with columns that INFORMATION_SCHEMA does not show",
			"ALTER TABLE ... DROP SYSTEM VERSIONING, or leave the table out")
	}
	if extras.Functional && f.Flavor == gtid.MySQL && !f.AtLeast(8, 0, 30) {
		c.add(false, "an index of the table has an expression",
			"this server's binlog has a hidden column for it (seen on 8.0.15), which INFORMATION_SCHEMA does not show: crawled and streamed rows would differ",
			"upgrade to MySQL 8.0.30 or later, or make the index on a generated column that is declared")
	}
	if len(extras.Uncertain) > 0 {
		c.add(true, "ENUM or SET names of "+strings.Join(extras.Uncertain, ", ")+" have a '?'",
			"INFORMATION_SCHEMA shows it for characters that it cannot hold, such as emoji: a crawl would meet a name that it does not know",
			"nothing if the names have a '?'; else change the names, or leave the table out")
	}
	if engine := extras.Engine; engine != "" && !strings.EqualFold(engine, "InnoDB") && !strings.EqualFold(engine, "ROCKSDB") {
		c.add(true, "the table's engine is "+engine, "without transactions a crash can leave table and binlog different",
			"ALTER TABLE "+QuoteTable(t.TableName)+" ENGINE = InnoDB")
	}
	return c.findings
}

// tableCheck collects the findings of one table.
type tableCheck struct {
	table    change.TableName
	findings []Finding
}

func (c *tableCheck) add(warning bool, what, why, mend string) {
	c.findings = append(c.findings, Finding{Warning: warning, Problem: change.Problem{
		Kind: change.Poison, What: what, Where: c.table.String(), Why: why, Mend: mend, Table: c.table,
	}})
}

func (c *tableCheck) key(t *change.Table, extras *TableExtras) {
	const why = "changes of one row are found, ordered and overwritten by its key (R1)"
	if len(t.Key) == 0 {
		c.add(false, "the table has no primary key", why, c.mendKey(t, extras))
		return
	}
	for _, i := range t.Key {
		if kind := t.Columns[i].Type; kind == change.Float || kind == change.Double {
			c.add(false, fmt.Sprintf("key column %s is a %s", t.Columns[i].Name, strings.ToUpper(kind.String())),
				"two ways of printing one number would be two keys", c.mendKey(t, extras))
		}
	}
	for _, unique := range extras.Uniques {
		if unique.Name == "PRIMARY" && unique.Prefix {
			c.add(true, "the primary key holds only the beginning of a column",
				"a crawl cannot go along such an index and sorts the table for each chunk", c.mendKey(t, extras))
		}
	}
}

// mendKey names a unique key that would do, or the statement that makes one.
func (c *tableCheck) mendKey(t *change.Table, extras *TableExtras) string {
	for _, unique := range extras.Uniques {
		if !unique.Identifies() || unique.floating(t) {
			continue
		}
		names := make([]string, len(unique.Columns))
		for i, column := range unique.Columns {
			names[i] = t.Columns[column].Name
		}
		return fmt.Sprintf("name the unique key %s in the configuration: key: [%s]", unique.Name, strings.Join(names, ", "))
	}
	return fmt.Sprintf("ALTER TABLE %s ADD COLUMN id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, or leave the table out",
		QuoteTable(t.TableName))
}
