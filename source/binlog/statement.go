package binlog

import (
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// ParsedStatement is what can be told of a statement without a parser of all SQL. In doubt it says more: that
// a statement may change values, and that any table may be meant.
type ParsedStatement struct {
	Verb     string             // "ALTER TABLE", "DROP TABLE", ...; empty: not understood
	Tables   []change.TableName // the tables whose shape or rows it changes; nil: unknown, any may be meant
	Database string             // DROP DATABASE: every table in it is meant, and Tables is nil

	Renames       [][2]change.TableName // from, to; both are in Tables
	DML           bool                  // it changes rows, and no row event says which
	ValueChanging bool                  // it may change values, or take rows away, without row events
	Removing      bool                  // it may take rows away without row events
	Harmless      bool                  // it changes neither shape nor rows of any table that lasts
}

// ParseStatement tells what a logged statement does. Names without a database are in defaultDB.
func ParseStatement(query, defaultDB string) ParsedStatement {
	return parseStatement(query, defaultDB, false)
}

func parseStatement(query, defaultDB string, noBackslash bool) ParsedStatement {
	p := &parser{tokens: tokenize(query, noBackslash), db: defaultDB}
	if p.tokens[len(p.tokens)-1].kind == tokenBroken {
		return unknownStatement("")
	}
	if n := len(p.tokens); n > 1 && p.tokens[n-2].is(";") {
		p.tokens = slices.Delete(p.tokens, n-2, n-1)
	}
	return p.statement()
}

// unknownStatement is the answer in doubt.
func unknownStatement(verb string) ParsedStatement {
	return ParsedStatement{Verb: verb, ValueChanging: true, Removing: true}
}

// fold puts all names in lower case.
func (s *ParsedStatement) fold() {
	lower := func(name *change.TableName) {
		name.DB, name.Name = strings.ToLower(name.DB), strings.ToLower(name.Name)
	}
	s.Database = strings.ToLower(s.Database)
	for i := range s.Tables {
		lower(&s.Tables[i])
	}
	for i := range s.Renames {
		lower(&s.Renames[i][0])
		lower(&s.Renames[i][1])
	}
}

// parser reads one statement's tokens.
type parser struct {
	tokens []token // the last is tokenEnd
	db     string
}

func (p *parser) peek() token { return p.tokens[0] }

func (p *parser) next() token {
	t := p.tokens[0]
	if t.kind != tokenEnd {
		p.tokens = p.tokens[1:]
	}
	return t
}

// accept passes the words if they come next, all of them.
func (p *parser) accept(words ...string) bool {
	for i, word := range words {
		if i >= len(p.tokens) || !p.tokens[i].is(word) {
			return false
		}
	}
	p.tokens = p.tokens[len(words):]
	return true
}

// acceptOne passes one of the words.
func (p *parser) acceptOne(words ...string) bool {
	if p.peek().oneOf(words...) {
		p.next()
		return true
	}
	return false
}

// name reads a table's name.
func (p *parser) name() (change.TableName, bool) {
	first, ok := p.identifier()
	if !ok {
		return change.TableName{}, false
	}
	if !p.accept(".") {
		return change.TableName{DB: p.db, Name: first}, p.db != ""
	}
	second, ok := p.identifier()
	return change.TableName{DB: first, Name: second}, ok
}

func (p *parser) identifier() (string, bool) {
	switch t := p.peek(); t.kind {
	case tokenWord, tokenName, tokenDouble:
		p.next()
		return t.text, t.text != ""
	}
	return "", false
}

// names reads a list of tables that goes to the statement's end, but for the words that may follow it.
func (p *parser) names(after ...string) ([]change.TableName, bool) {
	var names []change.TableName
	for {
		name, ok := p.name()
		if !ok {
			return nil, false
		}
		names = append(names, name)
		if p.accept(",") {
			continue
		}
		end := p.peek()
		return names, end.kind == tokenEnd || end.oneOf(after...)
	}
}

// harmlessVerbs begin statements that touch no table's shape or rows. SET is SET PASSWORD and its like.
var harmlessVerbs = []string{
	"GRANT", "REVOKE", "SET", "FLUSH", "INSTALL", "UNINSTALL", "USE", "KILL", "RESET", "PURGE", "ANALYZE",
	"OPTIMIZE", "CHECK", "CHECKSUM", "SAVEPOINT", "RELEASE", "COMMENT", "CHANGE", "START", "STOP",
}

// dmlVerbs begin statements that change rows.
var dmlVerbs = []string{"INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "CALL", "DO", "HANDLER", "SELECT"}

func (p *parser) statement() ParsedStatement {
	first := p.next()
	verb := strings.ToUpper(first.text)
	switch {
	case first.kind != tokenWord:
		return unknownStatement("")
	case slices.Contains(harmlessVerbs, verb):
		return ParsedStatement{Verb: verb, Harmless: true}
	case slices.Contains(dmlVerbs, verb):
		return ParsedStatement{Verb: verb, DML: true, ValueChanging: true, Removing: true}
	}
	switch verb {
	case "CREATE":
		return p.create()
	case "ALTER":
		return p.alter()
	case "DROP":
		return p.drop()
	case "RENAME":
		return p.rename()
	case "TRUNCATE":
		p.accept("TABLE")
		return p.removing("TRUNCATE TABLE", "WAIT", "NOWAIT")
	case "REPAIR":
		p.acceptOne("NO_WRITE_TO_BINLOG", "LOCAL")
		if p.acceptOne("TABLE", "TABLES") {
			return p.removing("REPAIR TABLE", "QUICK", "EXTENDED", "USE_FRM", "FORCE")
		}
		return ParsedStatement{Verb: "REPAIR", Harmless: true} // a view
	}
	return unknownStatement("")
}

// removing reads the tables of a statement that takes rows away.
func (p *parser) removing(verb string, after ...string) ParsedStatement {
	s := unknownStatement(verb)
	if names, ok := p.names(after...); ok {
		s.Tables = names
	}
	return s
}

func (p *parser) create() ParsedStatement {
	replaces := p.accept("OR", "REPLACE")
	if p.accept("TEMPORARY") {
		return ParsedStatement{Verb: "CREATE TEMPORARY TABLE", Harmless: true}
	}
	if p.accept("TABLE") {
		p.accept("IF", "NOT", "EXISTS")
		s := ParsedStatement{Verb: "CREATE TABLE", ValueChanging: replaces, Removing: replaces}
		name, ok := p.name()
		if !ok {
			return unknownStatement(s.Verb)
		}
		s.Tables = []change.TableName{name}
		return s
	}
	p.acceptOne("ONLINE", "OFFLINE")
	p.acceptOne("UNIQUE", "FULLTEXT", "SPATIAL")
	if p.accept("INDEX") {
		return p.index("CREATE INDEX")
	}
	return ParsedStatement{Verb: "CREATE", Harmless: true} // database, view, routine, trigger, event, user, ...
}

// index reads "name [USING type] ON table".
func (p *parser) index(verb string) ParsedStatement {
	for p.peek().kind != tokenEnd && !p.peek().is("ON") {
		p.next()
	}
	p.accept("ON")
	if name, ok := p.name(); ok {
		return ParsedStatement{Verb: verb, Tables: []change.TableName{name}}
	}
	return unknownStatement(verb)
}

func (p *parser) drop() ParsedStatement {
	if p.accept("TEMPORARY") {
		return ParsedStatement{Verb: "DROP TEMPORARY TABLE", Harmless: true}
	}
	switch {
	case p.acceptOne("TABLE", "TABLES"):
		p.accept("IF", "EXISTS")
		return p.removing("DROP TABLE", "RESTRICT", "CASCADE", "WAIT", "NOWAIT")
	case p.acceptOne("DATABASE", "SCHEMA"):
		p.accept("IF", "EXISTS")
		s := unknownStatement("DROP DATABASE")
		if name, ok := p.identifier(); ok && p.peek().kind == tokenEnd {
			s.Database = name
		}
		return s
	case p.accept("INDEX"):
		return p.index("DROP INDEX")
	}
	return ParsedStatement{Verb: "DROP", Harmless: true}
}

func (p *parser) rename() ParsedStatement {
	if p.accept("USER") {
		return ParsedStatement{Verb: "RENAME USER", Harmless: true}
	}
	s := unknownStatement("RENAME TABLE")
	if !p.acceptOne("TABLE", "TABLES") {
		return s
	}
	p.accept("IF", "EXISTS")
	var tables []change.TableName
	var renames [][2]change.TableName
	for {
		from, ok := p.name()
		if p.accept("WAIT") {
			p.next()
		}
		p.accept("NOWAIT")
		if !ok || !p.accept("TO") {
			return s
		}
		to, ok := p.name()
		if !ok {
			return s
		}
		tables = appendNew(tables, from, to)
		renames = append(renames, [2]change.TableName{from, to})
		if p.accept(",") {
			continue
		}
		if p.peek().kind == tokenEnd {
			s.Tables, s.Renames = tables, renames
		}
		return s
	}
}

func appendNew(names []change.TableName, more ...change.TableName) []change.TableName {
	for _, name := range more {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
