package postgres

import (
	"context"
	"strings"
)

// relation is a table of the target as the server describes it.
type relation struct {
	oid      []byte
	kind     string // r is a table, p a partitioned one
	logged   bool
	rules    bool
	policies bool // row security hides rows from us
	columns  []column
	indexes  []index
	triggers []string
	foreign  []string // foreign keys, of the table or to it: "name (schema.table)"
}

// column is one of the target's.
type column struct {
	name      string
	base      string // the type without lengths, as it stands in a cast
	full      string // with lengths
	notNull   bool
	filled    bool // has a default, or is an identity or a sequence
	always    bool // GENERATED ALWAYS AS IDENTITY
	generated bool // computed by the server
	enum      bool
	bytewise  bool // equal is equal byte by byte: the collation is deterministic
}

// index is a unique index, or an exclusion constraint.
type index struct {
	name       string
	exclusion  bool
	deferrable bool
	nullsEqual bool // NULLS NOT DISTINCT
	predicate  string
	parts      []indexPart
}

// indexPart is a column, or an expression over columns.
type indexPart struct {
	column     string // empty where it is an expression
	expression string
	bytewise   bool
}

// find returns the column of that name, -1 where there is none. A name that is the same but for the case of ASCII letters will do:
// MySQL compares so.
func (r *relation) find(name string) int {
	found := -1
	for i := range r.columns {
		if r.columns[i].name == name {
			return i
		}
		if strings.EqualFold(r.columns[i].name, name) {
			found = i
		}
	}
	return found
}

const (
	relationQuery = `SELECT c.oid, c.relkind, c.relpersistence='p', c.relhasrules, row_security_active(c.oid)
		FROM pg_class c JOIN pg_namespace n ON n.oid=c.relnamespace WHERE n.nspname=$1 AND c.relname=$2`
	// format_type with -1 and not NULL: "bit" alone would be bit(1) in a cast.
	columnsQuery = `SELECT a.attname, format_type(a.atttypid,-1), format_type(a.atttypid,a.atttypmod), a.attnotnull,
		a.atthasdef OR a.attidentity<>'', a.attidentity='a', a.attgenerated<>'', t.typtype='e',
		COALESCE((SELECT collisdeterministic FROM pg_collation WHERE oid=a.attcollation), true)
		FROM pg_attribute a JOIN pg_type t ON t.oid=a.atttypid WHERE a.attrelid=$1::oid AND a.attnum>0 AND NOT a.attisdropped ORDER BY a.attnum`
	// indnullsnotdistinct is there from 15 on, so it is asked for by name.
	indexesQuery = `SELECT c.relname, i.indisexclusion, NOT i.indimmediate OR EXISTS (SELECT FROM pg_constraint WHERE conindid=i.indexrelid AND condeferrable),
		COALESCE((to_jsonb(i)->>'indnullsnotdistinct')::bool, false), COALESCE(pg_get_expr(i.indpred,i.indrelid),''),
		COALESCE(a.attname,''), pg_get_indexdef(i.indexrelid,k,false),
		COALESCE((SELECT collisdeterministic FROM pg_collation WHERE oid=i.indcollation[k-1]), true)
		FROM pg_index i JOIN pg_class c ON c.oid=i.indexrelid CROSS JOIN generate_series(1,i.indnkeyatts) k
		LEFT JOIN pg_attribute a ON a.attrelid=i.indrelid AND a.attnum=i.indkey[k-1] AND a.attnum>0
		WHERE i.indrelid=$1::oid AND (i.indisunique OR i.indisexclusion) ORDER BY NOT i.indisprimary, c.relname, k`
	triggersQuery = `SELECT tgname FROM pg_trigger WHERE tgrelid=$1::oid AND NOT tgisinternal AND tgenabled IN ('O','A') ORDER BY tgname`
	foreignQuery  = `SELECT conname || ' (' || conrelid::regclass || ')' FROM pg_constraint WHERE contype='f' AND (conrelid=$1::oid OR confrelid=$1::oid) ORDER BY conname`
)

func isTrue(field []byte) bool { return string(field) == "t" }

// relation reads what there is of a name: nil where there is nothing.
func (c *session) relation(ctx context.Context, p place) (*relation, error) {
	found, err := c.exec(ctx, statement{relationQuery, [][]byte{[]byte(p.schema), []byte(p.table)}})
	if err != nil || len(found[0].rows) == 0 {
		return nil, err
	}
	row := found[0].rows[0]
	r := &relation{oid: row[0], kind: string(row[1]), logged: isTrue(row[2]), rules: isTrue(row[3]), policies: isTrue(row[4])}
	of := [][]byte{r.oid}
	found, err = c.exec(ctx, statement{columnsQuery, of}, statement{indexesQuery, of}, statement{triggersQuery, of}, statement{foreignQuery, of})
	if err != nil {
		return nil, err
	}
	for _, f := range found[0].rows {
		r.columns = append(r.columns, column{name: string(f[0]), base: string(f[1]), full: string(f[2]), notNull: isTrue(f[3]), filled: isTrue(f[4]),
			always: isTrue(f[5]), generated: isTrue(f[6]), enum: isTrue(f[7]), bytewise: isTrue(f[8])})
	}
	for _, f := range found[1].rows {
		if n := len(r.indexes); n == 0 || r.indexes[n-1].name != string(f[0]) {
			r.indexes = append(r.indexes, index{name: string(f[0]), exclusion: isTrue(f[1]), deferrable: isTrue(f[2]), nullsEqual: isTrue(f[3]), predicate: string(f[4])})
		}
		last := &r.indexes[len(r.indexes)-1]
		last.parts = append(last.parts, indexPart{column: string(f[5]), expression: string(f[6]), bytewise: isTrue(f[7])})
	}
	for _, f := range found[2].rows {
		r.triggers = append(r.triggers, string(f[0]))
	}
	for _, f := range found[3].rows {
		r.foreign = append(r.foreign, string(f[0]))
	}
	return r, nil
}
