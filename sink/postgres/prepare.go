package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// Prepare makes or checks the target's tables, and takes them for the group.
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
	tab := t.tables[tableOf{source, schema}]
	t.mu.Unlock()
	if tab != nil {
		return tab, nil
	}
	return t.prepare(ctx, group, source, schema)
}

// tableOf is a schema of a source's table.
type tableOf struct {
	source string
	schema *change.Table
}

func (t *Target) prepare(ctx context.Context, group, source string, schema *change.Table) (*table, error) {
	t.preparing.Lock()
	defer t.preparing.Unlock()
	p, err := t.config.place(source, schema.TableName)
	if err != nil {
		return nil, err
	}
	if err := t.server.prepareOwn(ctx); err != nil {
		return nil, err
	}
	tab, err := t.prepareTable(ctx, p, schema)
	if err != nil {
		return nil, err
	}
	if err := t.claim(ctx, group, tab); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tables[tableOf{source, schema}] = tab
	return tab, nil
}

// dropTable forgets what was prepared, so that the next use looks at the target again.
func (t *Target) dropTable(source string, schema *change.Table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.tables, tableOf{source, schema})
}

// prepareTable makes, extends or checks the table.
func (t *Target) prepareTable(ctx context.Context, p place, schema *change.Table) (tab *table, err error) {
	var r *relation
	if err := t.server.withSession(ctx, func(c *session) (err error) { r, err = c.relation(ctx, p); return err }); err != nil {
		return nil, err
	}
	if r == nil || t.config.addColumns(p, schema, r) != "" {
		if !t.config.CreateTables {
			return nil, t.missing(p, schema, r)
		}
		if err := t.server.withLock(ctx, "ddl "+p.String(), func(c *session) (err error) { r, err = t.expand(ctx, c, p, schema); return err }); err != nil {
			return nil, err
		}
	}
	if err := t.judge(p, schema, r); err != nil {
		return nil, err
	}
	return newTable(t.server, p, schema, r)
}

// expand makes the table or adds the columns that it lacks: what another process did meanwhile is seen and left.
func (t *Target) expand(ctx context.Context, c *session, p place, schema *change.Table) (*relation, error) {
	r, err := c.relation(ctx, p)
	if err != nil {
		return nil, err
	}
	var statements []statement
	if r == nil {
		// Asked first: a user who may make no schemas must be able to use one that is there.
		found, err := c.exec(ctx, statement{"SELECT FROM pg_namespace WHERE nspname=$1", [][]byte{[]byte(p.schema)}})
		if err != nil {
			return nil, err
		}
		if len(found[0].rows) == 0 {
			statements = append(statements, statement{text: createSchema(p.schema)})
		}
		statements = append(statements, statement{text: t.config.createTable(p, schema)})
	} else if alter := t.config.addColumns(p, schema, r); alter != "" {
		statements = append(statements, statement{text: alter})
	}
	for _, s := range statements {
		t.setup.Log.Info("changing the target's table", "table", p.String(), "target", t.server.where(), "statement", s.text)
		if _, err := c.exec(ctx, s); err != nil {
			if change.SeverityOf(t.server.problem(err)) == change.Retry {
				return nil, err
			}
			return nil, &change.Problem{Kind: change.Poison, Table: schema.TableName, Where: t.server.where(), Err: err,
				What: "the target's table " + p.String() + " cannot be made as the source's is", Mend: s.text + ";",
				Why: "mend the statement by hand and run it; the sink then goes on"}
		}
	}
	return c.relation(ctx, p)
}

// missing is the error for a table or columns that are not there and may not be made.
func (t *Target) missing(p place, schema *change.Table, r *relation) error {
	problem := &change.Problem{Kind: change.Poison, Table: schema.TableName, Where: t.server.where()}
	if r == nil {
		problem.What = "table " + p.String() + " does not exist"
		problem.Why = "rows would have no place"
		problem.Mend = createSchema(p.schema) + ";\n" + t.config.createTable(p, schema) + ";\nor set create_tables: true"
		return problem
	}
	problem.What = "table " + p.String() + " lacks columns"
	problem.Why = "a value of the source would have no place, or newer rows could not be told from older ones"
	problem.Mend = t.config.addColumns(p, schema, r) + ";\nor set create_tables: true"
	return problem
}

// judge finds what would make rows of the table wrong. It is pure.
func (t *Target) judge(p place, source *change.Table, r *relation) error {
	j := &judgement{config: &t.config, place: p, source: source, relation: r}
	j.whole()
	for i := range source.Columns {
		j.column(&source.Columns[i], source.IsKey(i))
	}
	j.otherColumns()
	j.key()
	for i := range r.indexes {
		j.index(&r.indexes[i])
	}
	if len(j.found) == 0 {
		return nil
	}
	problem := j.found[0]
	for _, more := range j.found[1:] {
		problem.Why += "\n" + more.What + ": " + more.Why
		problem.Mend += "\n" + more.Mend
	}
	problem.Kind, problem.Table, problem.Where = change.Poison, source.TableName, t.server.where()
	return problem
}

type judgement struct {
	config   *Config
	place    place
	source   *change.Table
	relation *relation
	found    []*change.Problem
}

func (j *judgement) wrong(what, why, mend string) {
	j.found = append(j.found, &change.Problem{What: "the target's table " + j.place.String() + " " + what, Why: why, Mend: mend})
}

func (j *judgement) alter(what string) string {
	return "ALTER TABLE " + j.place.quoted() + " " + what + ";"
}

func (j *judgement) whole() {
	r := j.relation
	switch {
	case r.kind != "r" && r.kind != "p":
		j.wrong("is no table but something else (relkind "+r.kind+")", "rows are written by key and version", "make a table, or name another pattern in postgres.table")
		return
	case !r.logged:
		j.wrong("is UNLOGGED", "a crash of the server empties it, and the progress says that the rows are there", j.alter("SET LOGGED"))
	case r.rules:
		j.wrong("has rules", "what is written could become something else", "DROP RULE ... ON "+j.place.quoted()+";")
	case r.policies:
		j.wrong("hides rows from the user "+j.config.User+" (row security)", "a row that is not seen is written twice", j.alter("DISABLE ROW LEVEL SECURITY"))
	}
	if len(r.triggers) > 0 && j.config.Triggers == Refuse {
		j.wrong("has triggers: "+strings.Join(r.triggers, ", "), "what the source's triggers did arrives as changes of its own; these would do it a second time",
			"DROP TRIGGER ...; or set triggers: accept where they do something else")
	}
	if len(r.foreign) > 0 {
		j.wrong("has foreign keys, or is named by some: "+strings.Join(r.foreign, ", "),
			"rows of different tables come in no order between them, and the source has checked them already", "ALTER TABLE ... DROP CONSTRAINT ...;")
	}
}

// column compares a column with the source's.
func (j *judgement) column(source *change.Column, key bool) {
	i := j.relation.find(source.Name)
	if i < 0 {
		return // reported as missing
	}
	c := &j.relation.columns[i]
	name := quoteName(c.name)
	switch {
	case !c.generated && !j.config.fits(source, c):
		j.wrong(fmt.Sprintf("has column %s as %s", c.name, c.full), "a value of the source's "+source.Type.String()+" could be bent on its way",
			j.alter("ALTER COLUMN "+name+" TYPE "+j.config.columnType(source)))
	case key && c.generated:
		j.wrong("computes its key column "+c.name, "rows are found by the source's key", j.alter("ALTER COLUMN "+name+" DROP EXPRESSION"))
	case key && !c.bytewise:
		j.wrong("has key column "+c.name+" with a collation by which different texts are equal", "rows that differ in the log would be one here",
			j.alter("ALTER COLUMN "+name+" TYPE "+c.full+` COLLATE "C"`))
	case !key && c.always:
		j.wrong("has column "+c.name+" GENERATED ALWAYS AS IDENTITY", "the source's value could not be written by an update",
			j.alter("ALTER COLUMN "+name+" SET GENERATED BY DEFAULT"))
	}
}

// otherColumns looks at columns that only the target has.
func (j *judgement) otherColumns() {
	for i := range j.relation.columns {
		c := &j.relation.columns[i]
		if j.source.Column(c.name) >= 0 || j.config.ownColumn(c.name) || !c.notNull || c.filled || c.generated {
			continue
		}
		j.wrong("has column "+c.name+", which the source has not, without a default", "new rows could not be inserted",
			j.alter("ALTER COLUMN "+quoteName(c.name)+" DROP NOT NULL"))
	}
}

// key looks for the index that ON CONFLICT finds rows by.
func (j *judgement) key() {
	own := slices.IndexFunc(j.relation.indexes, func(x index) bool { return keyOf(&x, j.source) && !x.deferrable })
	if own < 0 {
		j.wrong("has no primary key ("+strings.Join(j.source.KeyNames(), ", ")+") that is checked at once", "a row of the source is found again by its key",
			j.alter("ADD PRIMARY KEY ("+quoteNames(j.source.KeyNames())+")"))
	}
}

// index judges a unique index besides the key's.
func (j *judgement) index(x *index) {
	if keyOf(x, j.source) {
		return
	}
	drop := "DROP INDEX " + quoteName(j.place.schema) + "." + quoteName(x.name) + ";, or the constraint of that name"
	table := j.source.TableName.String()
	if allowed := j.config.Unique[table]; !slices.Contains(allowed, x.name) && !slices.Contains(allowed, "*") {
		j.wrong("has the unique index "+x.name, "the log does not tell the source's unique keys; one that the source has not would delete rows for good",
			fmt.Sprintf("unique: {%s: [%s]} under postgres, where the source has the same key; else %s", table, x.name, drop))
		return
	}
	switch {
	case x.exclusion:
		j.wrong("has the exclusion constraint "+x.name, "MySQL has none: it would refuse rows of the source", drop)
	case x.deferrable:
		j.wrong("has the deferrable unique key "+x.name, "a row in conflict must be told at once, not at the commit", drop)
	case x.nullsEqual:
		j.wrong("has the unique index "+x.name+" with NULLS NOT DISTINCT", "MySQL's unique keys take any number of NULLs", drop)
	}
	for _, part := range x.parts {
		i := j.relation.find(part.column)
		switch {
		case part.column == "": // an expression: the configuration's word is taken
		case !part.bytewise:
			j.wrong("has the unique index "+x.name+" over "+part.column+" with a collation by which different texts are equal",
				"values that differ at the source could be one here: rows would be deleted for good", drop)
		case j.source.Column(part.column) < 0 || j.relation.columns[i].generated:
			j.wrong("has the unique index "+x.name+" over "+part.column+", whose values the source does not tell", "a row that is in the way could not be found by it", drop)
		}
	}
}

// claim writes down which group writes the table; another's is refused.
func (t *Target) claim(ctx context.Context, group string, tab *table) error {
	var of, by, want string
	err := t.server.withSession(ctx, func(c *session) error {
		update := "DO NOTHING"
		if t.config.Adopt {
			update = "(table_name) DO UPDATE SET source_table=excluded.source_table,consumer_group=excluded.consumer_group"
		}
		name := []byte(tab.place.String())
		want = tab.source.String()
		if tab.schema.Shape != "" {
			want += " in shape " + tab.schema.Shape
		}
		take := statement{"INSERT INTO " + c.own(ownerTable) + " (table_name,source_table,consumer_group) VALUES ($1,$2,$3) ON CONFLICT " + update,
			[][]byte{name, []byte(want), []byte(group)}}
		found, err := c.exec(ctx, take, statement{"SELECT source_table,consumer_group FROM " + c.own(ownerTable) + " WHERE table_name=$1", [][]byte{name}})
		if err != nil {
			return err
		}
		if len(found[1].rows) != 1 {
			return errors.New("what says who owns a table is not there right after it was written")
		}
		of, by = string(found[1].rows[0][0]), string(found[1].rows[0][1])
		return nil
	})
	p := &change.Problem{Kind: change.Configuration, Table: tab.source, Where: t.server.where()}
	switch {
	case err != nil:
		return err
	case of != want && (of == tab.source.String() || strings.HasPrefix(of, tab.source.String()+" in shape ")):
		p.What = fmt.Sprintf("table %s was written in another shape", tab.place)
		p.Why = "rows that are there have other columns' values, or should not be there"
		p.Mend = "name a new group and another pattern in postgres.table, or start once with postgres.adopt: true after comparing"
	case of != want:
		p.What = fmt.Sprintf("table %s is the target of %s, not of %s", tab.place, of, want)
		p.Why = "two tables of the source would overwrite each other"
		p.Mend = "have {db} in the pattern postgres.table"
	case by != group:
		p.What = fmt.Sprintf("table %s belongs to group %s, this one is %s", tab.place, by, group)
		p.Why = "two groups at different offsets would write the same rows"
		p.Mend = "name another pattern in postgres.table, or start once with postgres.adopt: true after comparing (and stop the other group)"
	default:
		return nil
	}
	return p
}
