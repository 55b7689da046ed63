package clickhouse

import (
	"context"
	"fmt"
	"time"
)

// ledgerTable has a row for each table that Sluice made.
const ledgerTable = "sluice_tables"

// listed reports whether the table was made before: the group's offsets stand where its rows ended.
func (b *base) listed(ctx context.Context, name string) (bool, error) {
	found, err := b.client.text(ctx, fmt.Sprintf("SELECT count() FROM %s FINAL WHERE name = %s AND made = 1", b.place(ledgerTable), quoteText(name)))
	if code := codeOf(err); code == codeUnknownTable || code == codeUnknownDatabase {
		return false, nil
	}
	return found != "" && found != "0\n", b.client.judge("the list of tables that Sluice made could not be read", err)
}

// enter writes down that the table was made.
func (b *base) enter(ctx context.Context, name string, o owner) error {
	return b.note(ctx, name, o.String(), 1)
}

// strike takes a table off the list.
func (b *base) strike(ctx context.Context, name string) error {
	if is, err := b.listed(ctx, name); !is || err != nil {
		return err
	}
	return b.note(ctx, name, "", 0)
}

func (b *base) note(ctx context.Context, name, owner string, made int) error {
	place := b.place(ledgerTable)
	err := b.client.exec(ctx, "CREATE TABLE IF NOT EXISTS "+place+" (name String, owner String, made UInt8, at UInt64) ENGINE = ReplacingMergeTree(at) ORDER BY name")
	if err == nil {
		err = b.client.exec(ctx, fmt.Sprintf("INSERT INTO %s (name, owner, made, at) VALUES (%s, %s, %d, %d)", place, quoteText(name), quoteText(owner), made,
			time.Now().UnixMicro()))
	}
	return b.client.judge("the list of tables that Sluice made could not be written", err)
}
