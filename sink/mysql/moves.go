package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/sink"
)

// Versions of two sources cannot be compared. So a key that two of them hold stops the topic, unless a move is declared: then the order of
// the sources decides and the versions do not. Whatever the source that takes over says of a key, its delete too, ends what the other
// says of it, before and after. What a key becomes then follows from the two logs alone, in whatever order their changes come and however
// often: it is what the taking source said last, if it ever said anything, else what the other did.
//
// For that its delete must be remembered for as long as the other may speak: the key's line in the side table stays, without a row.

// Move declares that keys of the tables may go over from one source to another: the second takes over what the first has.
type Move struct {
	Table string `yaml:"table"` // database.table of the source; * and ? stand for any text and any one character
	From  string `yaml:"from"`
	To    string `yaml:"to"`
}

// order says, by source, from which others it takes keys over, directly or by way of others.
type order map[string][]string

// orderOf returns the order of a table's sources, nil where no move is declared.
func (c Config) orderOf(table change.TableName) (order, error) {
	o := make(order)
	for _, m := range c.Moves {
		if ok, err := path.Match(m.Table, table.String()); err == nil && ok {
			o.add(m.From, m.To)
		}
	}
	if len(o) == 0 {
		return nil, nil
	}
	for source, below := range o {
		if slices.Contains(below, source) {
			return nil, fmt.Errorf("moves of %s lead from source %s back to it: which of two sources has a key last cannot be told by their versions; "+
				"leave one of the moves out, and for keys that go back begin a new group and new tables with the moves turned round", table, source)
		}
	}
	if !c.beside(table) {
		return nil, fmt.Errorf("moves are declared for %s, whose versions stand in its own columns: a deleted key could not be remembered; "+
			"name the table in side_tables", table)
	}
	return o, nil
}

// add notes that one source takes over from another, and from all that this one takes over from.
func (o order) add(from, to string) {
	o.note(to, append([]string{from}, o[from]...))
	for source, below := range o {
		if slices.Contains(below, to) {
			o.note(source, o[to])
		}
	}
}

func (o order) note(source string, below []string) {
	for _, other := range below {
		if !slices.Contains(o[source], other) {
			o[source] = append(o[source], other)
		}
	}
}

// above returns the sources that take keys over from the source.
func (o order) above(source string) []string {
	var above []string
	for other, below := range o {
		if slices.Contains(below, source) {
			above = append(above, other)
		}
	}
	slices.Sort(above)
	return above
}

// String names the order, for fingerprints.
func (o order) String() string {
	var lines []string
	for source, below := range o {
		lines = append(lines, source+" takes over from "+strings.Join(slices.Sorted(slices.Values(below)), ", "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

func (c Config) checkMoves(wrong func(format string, args ...any)) {
	for i, m := range c.Moves {
		_, err := path.Match(m.Table, "")
		switch {
		case err != nil || !strings.Contains(m.Table, "."):
			wrong("mysql: moves[%d]: table %q: want database.table, where * and ? may stand for other characters", i, m.Table)
		case m.From == "" || m.To == "" || m.From == m.To:
			wrong("mysql: moves[%d]: want from and to, the names of two sources", i)
		}
	}
}

// ranks is the order of a table's sources as one of them sees it, by their numbers in a shard.
type ranks struct {
	source int64
	below  []int64 // those that it takes keys over from
	above  []int64 // those that take keys over from it
}

// ranks returns the source's.
func (s *shard) ranks(ctx context.Context, o order, source string) (r ranks, err error) {
	if r.source, err = s.sourceNumber(ctx, source); err != nil {
		return r, err
	}
	for _, side := range []struct {
		names []string
		to    *[]int64
	}{{o[source], &r.below}, {o.above(source), &r.above}} {
		for _, name := range side.names {
			n, err := s.sourceNumber(ctx, name)
			if err != nil {
				return r, err
			}
			*side.to = append(*side.to, n)
		}
	}
	return r, nil
}

// verdict is what becomes of a change.
type verdict uint8

const (
	write    verdict = iota
	drop             // it is stale, or another source has taken the key over
	conflict         // the key is another source's, and no move is declared
)

// decide judges a source's change of a key by what the shard has of the key, nil where it has nothing. It is pure.
func (r ranks) decide(stored *holder, v change.Version) verdict {
	switch {
	case stored == nil:
		return write
	case slices.Contains(r.above, stored.source): // with a row or without
		return drop
	case stored.rowless || slices.Contains(r.below, stored.source):
		return write
	case stored.source != r.source && stored.source != 0:
		return conflict
	case stored.version >= v:
		return drop
	}
	return write
}

// numbers lists sources as SQL does.
func numbers(sources []int64) string {
	texts := make([]string, len(sources))
	for i, n := range sources {
		texts[i] = strconv.FormatInt(n, 10)
	}
	return strings.Join(texts, ",")
}

// among returns, where there are such sources, the condition that a line is of one of them, with what stands before it.
func among(before, origin string, sources []int64) string {
	if len(sources) == 0 {
		return ""
	}
	return before + origin + " IN (" + numbers(sources) + ")"
}

// takenOver locks and reads the line of a key that has no row, if it is of a source that has taken the key over.
func (tx *transaction) takenOver(ctx context.Context, st *shardTable, c *sink.Change) (*holder, error) {
	if st.side == nil || len(tx.ranks.above) == 0 {
		return nil, nil
	}
	x := st.side
	query := st.appendKey([]byte("SELECT "+x.version+","+x.origin+" FROM "+x.quoted+" WHERE "), c.KeyValues)
	var found *holder
	err := tx.query(ctx, append(query, among(" AND ", x.origin, tx.ranks.above)+" FOR UPDATE"...), func(fields []sql.RawBytes) error {
		h, err := st.readHolder(fields, "PRIMARY")
		h.rowless, found = true, &h
		return err
	})
	return found, err
}

const marksPerStatement = 100

// addMarks deletes by lines that stay: first the lines say that the keys are this source's, as of the deletes, and then the rows go whose
// lines say so. So it stands, too, for keys that have no row yet.
func (s *statements) addMarks(st *shardTable, deletes []*sink.Change, r ranks) {
	x := st.side
	tail := x.markTail(r)
	for some := range slices.Chunk(deletes, marksPerStatement) {
		s.add(append(st.appendLines(append([]byte(nil), x.head...), some, r.source), tail...))
		b := fmt.Appendf(nil, "DELETE %s FROM %s%s JOIN %s ON %s WHERE %s.%s=%d AND (",
			st.quoted, st.quoted, st.byKey, x.quoted, x.joined, x.quoted, x.origin, r.source)
		for i, c := range some {
			if i > 0 {
				b = append(b, " OR "...)
			}
			b = append(st.appendKeyOf(append(b, '('), st.quoted, c.KeyValues), " AND "+x.quoted+"."+x.version+"="...)
			b = append(strconv.AppendInt(b, int64(c.Version), 10), ')')
		}
		s.add(append(b, ')'))
	}
}

// markTail is what becomes of a line that is there: one of a source below is taken over, an own one grows, any other stays. The version comes
// first, for the assignments see each other's results.
func (x *sideTable) markTail(r ranks) string {
	a, old := aliasOf(x.alias, x.name.Name), server.QuoteName(x.name.Name)+"."
	below := among("", old+x.origin, r.below)
	own := "IF(" + old + x.origin + "=" + a.of(x.origin) + ",GREATEST(" + old + x.version + "," + a.of(x.version) + ")," + old + x.version + ")"
	return a.as + " ON DUPLICATE KEY UPDATE " + x.version + "=IF(" + below + "," + a.of(x.version) + "," + own + ")," +
		x.origin + "=IF(" + below + "," + a.of(x.origin) + "," + old + x.origin + ")"
}

// orderProblem is the error for moves that cannot be.
func orderProblem(t *change.Table, err error) error {
	return &change.Problem{Kind: change.Configuration, Table: t.TableName, Where: t.String(), Err: err,
		What: "the moves of " + t.String() + " between sources cannot be made", Mend: "mend mysql.moves"}
}
