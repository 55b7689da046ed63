package mysql

import (
	"context"
	"fmt"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// CheckGrants finds the privileges that the account lacks, by using them: what a role, a wildcard or a
// partial revoke gives and takes is the server's to know. REPLICATION SLAVE on MariaDB cannot be tried
// without reading the binlog and is looked up in SHOW GRANTS.
func CheckGrants(ctx context.Context, q Queryer, f *Facts, tables []change.TableName) ([]Finding, error) {
	account, err := Account(ctx, q)
	if err != nil {
		return nil, err
	}
	var findings []Finding
	missing := func(privilege, on, why string) {
		findings = append(findings, Finding{Problem: change.Problem{
			Kind: change.Configuration, What: "the user lacks the privilege " + privilege, Where: f.Identity(), Why: why,
			Mend: fmt.Sprintf("GRANT %s ON %s TO %s;", privilege, on, account),
		}})
	}
	client := "REPLICATION CLIENT"
	if f.Flavor == gtid.MariaDB {
		client = "BINLOG MONITOR"
	}
	if ok, err := allowed(ctx, q, f.StatusStatement()); err != nil {
		return nil, err
	} else if !ok {
		missing(client, "*.*", "it is asked where the binlog ends")
	}
	if ok, err := mayReplicate(ctx, q, f); err != nil {
		return nil, err
	} else if !ok {
		missing("REPLICATION SLAVE", "*.*", "the binlog is read as a replica reads it")
	}
	for _, table := range tables {
		if ok, err := allowed(ctx, q, "SELECT 1 FROM "+QuoteTable(table)+" LIMIT 0"); err != nil {
			return nil, err
		} else if !ok {
			missing("SELECT", QuoteTable(table), "existing rows are read by SELECT")
		}
	}
	return findings, nil
}

// Account returns the account that the server has taken the user for, as GRANT wants it: 'cdc'@'%'.
func Account(ctx context.Context, q Queryer) (string, error) {
	rows, err := q.QueryContext(ctx, "SELECT CURRENT_USER()")
	if err != nil {
		return "", fmt.Errorf("ask for the account: %w", err)
	}
	defer rows.Close()
	var account string
	for rows.Next() {
		if err := rows.Scan(&account); err != nil {
			return "", fmt.Errorf("ask for the account: %w", err)
		}
	}
	at := strings.LastIndexByte(account, '@') // a user's name may have one, a host's may not
	if at < 0 {
		return "", fmt.Errorf("ask for the account: the server says %q", account)
	}
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	return quote(account[:at]) + "@" + quote(account[at+1:]), rows.Err()
}

// allowed runs a statement and reports whether the server let the user.
func allowed(ctx context.Context, q Queryer, statement string) (bool, error) {
	rows, err := q.QueryContext(ctx, statement)
	if err == nil {
		for rows.Next() {
		}
		err = rows.Err()
		rows.Close()
	}
	switch ErrorNumber(err) {
	case 1044, 1045, 1142, 1143, 1227:
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("check privileges: %s: %w", statement, err)
	}
	return true, nil
}

func mayReplicate(ctx context.Context, q Queryer, f *Facts) (bool, error) {
	switch { // the list of replicas asks for just this privilege, and is short
	case f.IsMySQL(8, 0, 22):
		return allowed(ctx, q, "SHOW REPLICAS")
	case f.Flavor == gtid.MySQL:
		return allowed(ctx, q, "SHOW SLAVE HOSTS")
	}
	rows, err := q.QueryContext(ctx, "SHOW GRANTS")
	if err != nil {
		return false, fmt.Errorf("check privileges: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var grant string
		if err := rows.Scan(&grant); err != nil {
			return false, fmt.Errorf("check privileges: %w", err)
		}
		upper := strings.ToUpper(grant)
		if strings.Contains(upper, " ON *.*") && (strings.Contains(upper, "REPLICATION SLAVE,") ||
			strings.Contains(upper, "REPLICATION SLAVE ON") || strings.Contains(upper, "ALL PRIVILEGES")) {
			return true, nil
		}
	}
	return false, rows.Err()
}
