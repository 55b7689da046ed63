package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/sluice-cdc/sluice/change"
	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/sink"
)

// Prepare makes or checks the target's tables in every shard, and takes them for the group.
func (t *Target) Prepare(ctx context.Context, group, source string, tables []*change.Table) error {
	for _, schema := range tables {
		if _, err := t.prepare(ctx, group, source, schema); err != nil {
			return err
		}
	}
	return nil
}

// table returns what Prepare made for the schema, preparing it where nobody has.
func (t *Target) table(ctx context.Context, group, source string, schema *change.Table) (*table, error) {
	t.mu.Lock()
	tab := t.tables[schema]
	t.mu.Unlock()
	if tab != nil {
		return tab, nil
	}
	return t.prepare(ctx, group, source, schema)
}

func (t *Target) prepare(ctx context.Context, group, source string, schema *change.Table) (*table, error) {
	t.preparing.Lock()
	defer t.preparing.Unlock()
	place, err := newPlacement(t.config, schema)
	if err != nil {
		return nil, err
	}
	moves, err := t.config.orderOf(schema.TableName)
	if err != nil {
		return nil, orderProblem(schema, err)
	}
	tab := &table{order: moves, source: schema.TableName, schema: schema, placement: place,
		versioned: t.config.Mode == ModeVersioned, sourceColumn: t.config.SourceColumn}
	for _, s := range t.shards {
		if err := s.prepareOwn(ctx); err != nil {
			return nil, err
		}
		st, err := t.prepareShard(ctx, s, schema)
		if err != nil {
			return nil, err
		}
		if err := t.claim(ctx, s, group, tab); err != nil {
			return nil, err
		}
		tab.names = append(tab.names, st.name)
		tab.shards = append(tab.shards, st)
		tab.secondary = tab.secondary || len(st.uniques) > 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tables[schema] = tab
	return tab, nil
}

// dropTable forgets what was prepared, so that the next use looks at the target again.
func (t *Target) dropTable(tab *table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.tables, tab.schema)
}

// prepareShard makes, extends or checks the table in one shard.
func (t *Target) prepareShard(ctx context.Context, s *shard, schema *change.Table) (*shardTable, error) {
	db, facts, err := s.pool(ctx)
	if err != nil {
		return nil, err
	}
	name := s.target(schema.TableName)
	target, extras, err := server.LoadTable(ctx, db, facts, name, nil)
	if err == nil && addColumns(t.config, facts, schema, target) == "" {
		return t.checkBoth(ctx, s, schema, target, extras)
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, s.problem(err)
	}
	if !t.config.CreateTables {
		return nil, t.missing(s, schema, name, facts, target)
	}
	err = s.withLock(ctx, "ddl "+name.String(), func(c *session) error { return t.expand(ctx, c, facts, name, schema) })
	if err != nil {
		return nil, err
	}
	if target, extras, err = server.LoadTable(ctx, db, facts, name, nil); err != nil {
		return nil, s.problem(err)
	}
	return t.checkBoth(ctx, s, schema, target, extras)
}

// checkBoth judges the table, and makes or judges its side table.
func (t *Target) checkBoth(ctx context.Context, s *shard, source, target *change.Table, extras *server.TableExtras) (*shardTable, error) {
	st, err := t.check(ctx, s, source, target, extras)
	if err == nil && st.side != nil {
		err = t.prepareSide(ctx, s, source, target)
	}
	return st, err
}

// expand makes the table or adds the columns that it lacks, under the named lock: what another process did
// meanwhile is seen and left.
func (t *Target) expand(ctx context.Context, c *session, facts *server.Facts, name change.TableName, schema *change.Table) error {
	target, _, err := server.LoadTable(ctx, c.conn, facts, name, nil)
	statement := ""
	switch {
	case errors.Is(err, sql.ErrNoRows):
		statement = createTable(t.config, facts, name, schema)
	case err != nil:
		return c.shard.problem(err)
	default:
		statement = addColumns(t.config, facts, schema, target)
	}
	if statement == "" {
		return nil
	}
	if t.setup.Log != nil {
		t.setup.Log.Info("changing the target's table", "table", name.String(), "target", c.shard.config.Name, "statement", statement)
	}
	if _, err := c.exec(ctx, []byte(statement)); err != nil {
		if change.SeverityOf(c.shard.problem(err)) == change.Retry {
			return c.shard.problem(err)
		}
		return &change.Problem{Kind: change.Poison, Table: schema.TableName, Where: c.shard.where(), Err: err,
			What: "the target's table " + name.String() + " cannot be made as the source's is", Mend: statement + ";",
			Why: "mend the statement by hand and run it; the sink then goes on"}
	}
	return nil
}

// missing is the error for a table or columns that are not there and may not be made.
func (t *Target) missing(s *shard, schema *change.Table, name change.TableName, facts *server.Facts, target *change.Table) error {
	p := &change.Problem{Kind: change.Poison, Table: schema.TableName, Where: s.where()}
	if target == nil {
		p.What = "table " + name.String() + " does not exist"
		p.Mend = createTable(t.config, facts, name, schema) + ";\nor set create_tables: true"
		return p
	}
	p.What = "table " + name.String() + " lacks columns"
	p.Why = "a value of the source would have no place, or newer rows could not be told from older ones"
	p.Mend = addColumns(t.config, facts, schema, target) + ";\nor set create_tables: true"
	return p
}

// check judges the table as it is, and returns how it is written.
func (t *Target) check(ctx context.Context, s *shard, source, target *change.Table, extras *server.TableExtras) (*shardTable, error) {
	found := t.judge(s, source, target, extras)
	if t.config.Triggers == TriggersRefuse {
		triggers, err := s.triggers(ctx, target.TableName)
		if err != nil {
			return nil, err
		}
		if len(triggers) > 0 {
			found = append(found, &change.Problem{
				What: "the target's table " + target.String() + " has triggers: " + strings.Join(triggers, ", "),
				Why:  "what the source's triggers did arrives as changes of its own; these would do it a second time",
				Mend: "DROP TRIGGER ...; or set triggers: accept where they do something else",
			})
		}
	}
	if len(found) > 0 {
		p := found[0]
		for _, more := range found[1:] {
			p.Why += "\n" + more.What + ": " + more.Why
			p.Mend += "\n" + more.Mend
		}
		p.Kind, p.Table, p.Where = change.Poison, source.TableName, s.where()
		return nil, p
	}
	_, facts, err := s.pool(ctx)
	if err != nil {
		return nil, err
	}
	st, err := newShardTable(t.config, s, facts, source, target, extras)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", target, err)
	}
	st.alone = t.aloneLock(s, st.quoted)
	return st, nil
}

func (t *Target) aloneLock(s *shard, name string) *sync.RWMutex {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := s.config.Name + "\x00" + name
	if t.alone[id] == nil {
		t.alone[id] = new(sync.RWMutex)
	}
	return t.alone[id]
}

// judge finds what would make rows of the table wrong. It is pure.
func (t *Target) judge(s *shard, source, target *change.Table, extras *server.TableExtras) []*change.Problem {
	var found []*change.Problem
	wrong := func(what, why, mend string) {
		found = append(found, &change.Problem{What: "the target's table " + target.String() + " " + what, Why: why, Mend: mend})
	}
	quoted := server.QuoteTable(target.TableName)
	if extras.Engine != "" && !strings.EqualFold(extras.Engine, "InnoDB") {
		wrong("has engine "+extras.Engine, "rows and progress must be one transaction", "ALTER TABLE "+quoted+" ENGINE=InnoDB;")
	}
	own := slices.IndexFunc(extras.Uniques, func(u server.Unique) bool { return u.Identifies() && keyOf(&u, target, source) })
	if own < 0 {
		wrong("has no primary key ("+strings.Join(source.KeyNames(), ", ")+")", "a row of the source is found again by its key",
			"ALTER TABLE "+quoted+" DROP PRIMARY KEY, ADD PRIMARY KEY ("+quoteNames(source.KeyNames())+");")
	}
	t.judgeKeyColumns(source, target, wrong)
	t.judgeOtherColumns(source, target, extras, wrong)
	for i := range extras.Uniques {
		u := &extras.Uniques[i]
		if u.Identifies() && keyOf(u, target, source) {
			continue
		}
		allowed := t.config.Unique[source.TableName.String()]
		if !slices.Contains(allowed, u.Name) && !slices.Contains(allowed, "*") {
			wrong("has the unique key "+u.Name, "the log does not tell the source's unique keys; one that the source has not, or has "+
				"with other columns or another collation, would delete rows for good",
				fmt.Sprintf("unique: {%s: [%s]} in the configuration, where the source has the same key; else ALTER TABLE %s DROP INDEX %s;",
					source.TableName, u.Name, quoted, server.QuoteName(u.Name)))
			continue
		}
		t.judgeUnique(u, source, target, wrong)
	}
	return found
}

// judgeUnique compares the columns of a unique key that the configuration says the source has too: values that are two there
// must not be one here. Of an expression, and of a column that only the target has, the configuration's word is taken.
func (t *Target) judgeUnique(u *server.Unique, source, target *change.Table, wrong func(what, why, mend string)) {
	for _, c := range u.Columns {
		if c < 0 || source.Column(target.Columns[c].Name) < 0 {
			continue
		}
		b := &target.Columns[c]
		a := &source.Columns[source.Column(b.Name)]
		if sameEquality(a, b) {
			continue
		}
		wrong(fmt.Sprintf("has column %s of the unique key %s as %s, the source as %s", b.Name, u.Name, describe(b), describe(a)),
			"values that differ at the source could be one here: rows would be deleted for good",
			"ALTER TABLE "+server.QuoteTable(target.TableName)+" MODIFY COLUMN "+columnDefinition(a, true)+";")
	}
}

// sameEquality reports whether values that differ in the source's column differ in the target's.
func sameEquality(source, target *change.Column) bool {
	return source.Collation == target.Collation && source.Charset == target.Charset && sameKind(source.Type, target.Type) && target.Scale >= source.Scale
}

// keyOf reports whether a unique key of the target is the source's key.
func keyOf(u *server.Unique, target, source *change.Table) bool {
	if len(u.Columns) != len(source.Key) {
		return false
	}
	for _, c := range u.Columns {
		i := source.Column(target.Columns[c].Name)
		if i < 0 || !source.IsKey(i) {
			return false
		}
	}
	return true
}

// judgeKeyColumns compares the key's columns: equal keys here must be equal keys there.
func (t *Target) judgeKeyColumns(source, target *change.Table, wrong func(what, why, mend string)) {
	for _, i := range source.Key {
		have := target.Column(source.Columns[i].Name)
		if have < 0 {
			continue // reported as missing
		}
		a, b := &source.Columns[i], &target.Columns[have]
		if sameEquality(a, b) {
			continue
		}
		wrong(fmt.Sprintf("has key column %s as %s, the source as %s", b.Name, describe(b), describe(a)),
			"rows that differ at the source could be one here, or the other way round",
			"ALTER TABLE "+server.QuoteTable(target.TableName)+" MODIFY COLUMN "+columnDefinition(a, true)+";")
	}
}

func describe(c *change.Column) string {
	if c.Collation == "" {
		return columnType(c)
	}
	return columnType(c) + " COLLATE " + c.Collation
}

// sameKind reports whether two types hold keys of the same sort.
func sameKind(a, b change.Type) bool {
	kind := func(t change.Type) int {
		switch {
		case t.Integer():
			return 1
		case t.Character():
			return 2
		case t.Opaque():
			return 3
		}
		return 100 + int(t)
	}
	return kind(a) == kind(b)
}

// judgeOtherColumns looks at columns that only the target has.
func (t *Target) judgeOtherColumns(source, target *change.Table, extras *server.TableExtras, wrong func(what, why, mend string)) {
	for i := range target.Columns {
		c := &target.Columns[i]
		if source.Column(c.Name) >= 0 || t.config.ownColumn(c.Name) || c.Nullable || extras.Generated[i] ||
			extras.Defaults[i] != "" || extras.AutoIncrement == i {
			continue
		}
		wrong(fmt.Sprintf("has column %s, which the source has not, without a default", c.Name), "new rows could not be inserted",
			fmt.Sprintf("ALTER TABLE %s MODIFY COLUMN %s %s NULL;", server.QuoteTable(target.TableName), server.QuoteName(c.Name), columnType(c)))
	}
}

// triggers returns the names of the table's triggers.
func (s *shard) triggers(ctx context.Context, name change.TableName) ([]string, error) {
	db, _, err := s.pool(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, `SELECT TRIGGER_NAME FROM information_schema.TRIGGERS
		WHERE EVENT_OBJECT_SCHEMA = ? AND EVENT_OBJECT_TABLE = ? ORDER BY TRIGGER_NAME`, name.DB, name.Name)
	if err != nil {
		return nil, s.problem(err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var trigger string
		if err := rows.Scan(&trigger); err != nil {
			return nil, s.problem(err)
		}
		names = append(names, trigger)
	}
	return names, s.problem(rows.Err())
}

// claim writes down which group writes the shard's table, and by which route; another's table is refused.
func (t *Target) claim(ctx context.Context, s *shard, group string, tab *table) error {
	db, _, err := s.pool(ctx)
	if err != nil {
		return err
	}
	name, fingerprint := s.target(tab.source).Name, tab.placement.fingerprint(t.config)
	update := "table_name=table_name"
	if t.config.Adopt {
		update = "source_table=VALUES(source_table),consumer_group=VALUES(consumer_group),fingerprint=VALUES(fingerprint)"
	}
	if _, err := db.ExecContext(ctx, "INSERT INTO "+s.qualify(ownerTable)+" (table_name,source_table,consumer_group,fingerprint)"+
		" VALUES (?,?,?,?) ON DUPLICATE KEY UPDATE "+update, name, tab.source.String(), group, fingerprint); err != nil {
		return s.problem(err)
	}
	var of, by, route string
	if err := db.QueryRowContext(ctx, "SELECT source_table,consumer_group,fingerprint FROM "+s.qualify(ownerTable)+
		" WHERE table_name=?", name).Scan(&of, &by, &route); err != nil {
		return s.problem(err)
	}
	p := &change.Problem{Kind: change.Configuration, Table: tab.source, Where: s.where()}
	switch {
	case of != tab.source.String():
		p.What = fmt.Sprintf("table %s is the target of %s, not of %s", name, of, tab.source)
		p.Why = "two tables of the source would overwrite each other"
		p.Mend = "give the sinks databases of their own"
	case by != group:
		p.What = fmt.Sprintf("table %s belongs to group %s, this one is %s", name, by, group)
		p.Why = "two groups at different offsets would write the same rows"
		p.Mend = "name another database, or start once with mysql.adopt: true after comparing (and stop the other group)"
	case route != fingerprint:
		p.What = fmt.Sprintf("table %s was written by another route or in another shape", name)
		p.Why = "rows that are there stand in shards where this route does not look for them, or have other columns' values"
		p.Mend = "name a new group and new databases, or start once with mysql.adopt: true after comparing"
	default:
		return nil
	}
	return p
}

// altered is the error where the table is no longer what was prepared.
func (t *table) altered(s *shard, err error) error {
	return &change.Problem{Kind: change.Poison, Table: t.source, Where: s.where(), Err: err,
		What: "the target's table " + t.names[s.index].String() + " is not what it was at the start",
		Mend: "undo what was altered, or start the sink again"}
}

// checkOverwrite refuses what a target without versions cannot do right: rows of several partitions that meet each
// other come in no order.
func (t *Target) checkOverwrite(tab *table, b *sink.Batch) error {
	if tab.versioned || b.Count == 1 {
		return nil
	}
	p := &change.Problem{Kind: change.Poison, Table: tab.source, Where: "topic " + b.Topic,
		Why:  "changes of several partitions come in no order between them, and without a version the older may win",
		Mend: "use mode: versioned, or a topic with one partition (the source's tables: partitions: 1, before the topic is made)"}
	if tab.secondary {
		p.What = "table " + tab.source.String() + " has unique keys besides the primary and is to be overwritten"
		return p
	}
	for _, i := range tab.schema.Key {
		if c := &tab.schema.Columns[i]; c.Collation != "" && c.Collation != "binary" && !strings.HasSuffix(c.Collation, "_bin") {
			p.What = fmt.Sprintf("key column %s of %s has collation %s and is to be overwritten", c.Name, tab.source, c.Collation)
			p.Why = "'a' and 'A' are one row but may be in two partitions; " + p.Why
			return p
		}
	}
	return nil
}
