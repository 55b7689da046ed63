package binlog

import (
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

func (p *parser) alter() ParsedStatement {
	p.acceptOne("ONLINE", "OFFLINE")
	ignore := p.accept("IGNORE")
	if !p.accept("TABLE") {
		return ParsedStatement{Verb: "ALTER", Harmless: true} // database, view, routine, event, user, ...
	}
	p.accept("IF", "EXISTS")
	s := ParsedStatement{Verb: "ALTER TABLE"}
	name, ok := p.name()
	if !ok {
		return unknownStatement(s.Verb)
	}
	s.Tables = []change.TableName{name}
	for _, spec := range p.specifications() {
		if !spec.apply(&s, name) {
			return unknownStatement(s.Verb)
		}
	}
	if ignore { // MariaDB: rows that a new unique key forbids are deleted
		s.ValueChanging, s.Removing = true, true
	}
	return s
}

// specifications cuts the rest at the commas outside of parentheses.
func (p *parser) specifications() []*specification {
	var specs []*specification
	start, depth := 0, 0
	for i, t := range p.tokens {
		switch {
		case t.is("("):
			depth++
		case t.is(")"):
			depth--
		case t.kind == tokenEnd, t.is(",") && depth == 0:
			if i > start {
				part := append(slices.Clone(p.tokens[start:i]), token{})
				specs = append(specs, &specification{parser{tokens: part, db: p.db}})
			}
			start = i + 1
		}
	}
	return specs
}

// specification is one part of ALTER TABLE: ADD COLUMN ..., DROP INDEX ..., ENGINE = ...
type specification struct{ parser }

// options begin table options, and parts that move rows between partitions or files and leave them as they are.
var options = []string{
	"ALGORITHM", "LOCK", "FORCE", "ORDER", "AUTO_INCREMENT", "AUTOEXTEND_SIZE", "AVG_ROW_LENGTH", "CHARACTER",
	"CHARSET", "COLLATE", "DEFAULT", "CHECKSUM", "COMMENT", "COMPRESSION", "DATA", "DELAY_KEY_WRITE", "ENABLE",
	"DISABLE", "ENCRYPTION", "ENGINE", "ENGINE_ATTRIBUTE", "INDEX", "INSERT_METHOD", "KEY_BLOCK_SIZE",
	"MAX_ROWS", "MIN_ROWS", "NOWAIT", "PACK_KEYS", "PASSWORD", "ROW_FORMAT", "SECONDARY_ENGINE",
	"SECONDARY_ENGINE_ATTRIBUTE", "SECONDARY_LOAD", "SECONDARY_UNLOAD", "START", "STATS_AUTO_RECALC", "STATS_PERSISTENT",
	"STATS_SAMPLE_PAGES", "TABLESPACE", "WAIT", "WITH", "WITHOUT", "PARTITION", "REMOVE", "REORGANIZE", "COALESCE",
	"REBUILD", "ANALYZE", "CHECK", "OPTIMIZE", "PAGE_CHECKSUM", "PAGE_COMPRESSED", "PAGE_COMPRESSION_LEVEL",
	"ENCRYPTED", "ENCRYPTION_KEY_ID", "TRANSACTIONAL",
}

// apply notes what the part does. It returns false where the tables that are meant cannot be told.
func (p *specification) apply(s *ParsedStatement, table change.TableName) bool {
	switch first := p.next(); {
	case first.kind != tokenWord:
		s.ValueChanging = true
	case first.is("ADD"):
		s.ValueChanging = p.addChanges() || s.ValueChanging
	case first.is("DROP"):
		p.drop(s)
	case first.is("RENAME"):
		return p.rename(s, table)
	case first.is("ALTER"): // defaults, visibility, checks
	case first.oneOf("TRUNCATE", "DISCARD", "IMPORT", "REPAIR"): // PARTITION, TABLESPACE
		s.ValueChanging, s.Removing = true, true
	case first.is("EXCHANGE"):
		return p.exchange(s)
	case first.oneOf(options...):
		if p.engineLoses(first) {
			s.ValueChanging, s.Removing = true, true
		}
	case first.is("CONVERT") && !p.peek().is("TO"): // MariaDB: CONVERT PARTITION p TO TABLE t
		return false
	default: // MODIFY, CHANGE, CONVERT TO CHARACTER SET, and what is not known
		s.ValueChanging = true
	}
	return true
}

// addChanges reports whether ADD gives existing rows a value other than NULL.
func (p *specification) addChanges() bool {
	switch {
	case p.peek().oneOf("INDEX", "KEY", "UNIQUE", "FULLTEXT", "SPATIAL", "FOREIGN", "CHECK", "PARTITION"):
		return false
	case p.accept("CONSTRAINT"):
		if !p.peek().oneOf("PRIMARY", "UNIQUE", "FOREIGN", "CHECK") {
			p.next() // its name
		}
		return p.peek().is("PRIMARY")
	}
	p.accept("COLUMN")
	p.accept("IF", "NOT", "EXISTS")
	for p.peek().kind != tokenEnd {
		switch t := p.next(); {
		case t.is("DEFAULT"):
			if !p.accept("NULL") {
				return true
			}
		case t.is("NOT"), t.is("AS"), t.is("GENERATED"), t.is("AUTO_INCREMENT"), t.is("SERIAL"), t.is("PRIMARY"),
			t.is("TIMESTAMP"), // is NOT NULL by itself without explicit_defaults_for_timestamp
			t.is("SYSTEM"), t.is("PERIOD"), t.is("ON"):
			return true
		}
	}
	return false
}

func (p *specification) drop(s *ParsedStatement) {
	switch {
	case p.accept("PARTITION"), p.accept("SYSTEM"), p.accept("PERIOD"):
		s.ValueChanging, s.Removing = true, true
	}
}

func (p *specification) rename(s *ParsedStatement, table change.TableName) bool {
	if p.acceptOne("COLUMN", "INDEX", "KEY") {
		return true
	}
	p.acceptOne("TO", "AS", "=")
	to, ok := p.name()
	s.Tables = appendNew(s.Tables, to)
	s.Renames = append(s.Renames, [2]change.TableName{table, to})
	s.ValueChanging, s.Removing = true, true
	return ok && p.peek().kind == tokenEnd
}

// exchange reads EXCHANGE PARTITION p WITH TABLE t.
func (p *specification) exchange(s *ParsedStatement) bool {
	s.ValueChanging, s.Removing = true, true
	for p.peek().kind != tokenEnd && !p.accept("WITH", "TABLE") {
		p.next()
	}
	other, ok := p.name()
	s.Tables = appendNew(s.Tables, other)
	return ok
}

// engineLoses reports whether the options name an engine other than InnoDB: BLACKHOLE keeps no rows, others
// bend values.
func (p *specification) engineLoses(first token) bool {
	for t := first; t.kind != tokenEnd; t = p.next() {
		if t.is("ENGINE") {
			p.accept("=")
			if !strings.EqualFold(p.peek().text, "InnoDB") {
				return true
			}
		}
	}
	return false
}
