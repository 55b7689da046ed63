package binlog

import "strings"

// tokenKind is the kind of a token of SQL.
type tokenKind uint8

const (
	tokenEnd    tokenKind = iota
	tokenWord             // a keyword or a plain identifier
	tokenName             // an identifier in backquotes
	tokenDouble           // in double quotes: a string, or an identifier under ANSI_QUOTES
	tokenString           // in single quotes
	tokenSign             // one character of punctuation
	tokenBroken           // a quote or comment that is not closed
)

type token struct {
	kind tokenKind
	text string // without quotes; words as they are written
}

// is reports whether the token is that keyword or sign.
func (t token) is(word string) bool {
	return (t.kind == tokenWord || t.kind == tokenSign) && strings.EqualFold(t.text, word)
}

// oneOf reports whether the token is one of those keywords.
func (t token) oneOf(words ...string) bool {
	for _, word := range words {
		if t.is(word) {
			return true
		}
	}
	return false
}

// lexer cuts a statement into tokens. Comments are left out; what stands in an executable comment (/*! and
// MariaDB's /*M!) counts, because the server ran it.
type lexer struct {
	text        string
	noBackslash bool // NO_BACKSLASH_ESCAPES: a backslash in a string is a character like others
	executable  int  // depth of executable comments
}

func tokenize(text string, noBackslash bool) []token {
	l := lexer{text: text, noBackslash: noBackslash}
	var tokens []token
	for {
		t := l.next()
		tokens = append(tokens, t)
		if t.kind == tokenEnd || t.kind == tokenBroken {
			return tokens
		}
	}
}

func (l *lexer) next() token {
	if !l.skip() {
		return token{kind: tokenBroken}
	}
	if l.text == "" {
		return token{kind: tokenEnd}
	}
	switch c := l.text[0]; {
	case c == '`':
		return l.quoted(tokenName, false)
	case c == '"':
		return l.quoted(tokenDouble, !l.noBackslash)
	case c == '\'':
		return l.quoted(tokenString, !l.noBackslash)
	case isWordByte(c):
		end := 1
		for end < len(l.text) && isWordByte(l.text[end]) {
			end++
		}
		t := token{tokenWord, l.text[:end]}
		l.text = l.text[end:]
		return t
	default:
		l.text = l.text[1:]
		return token{tokenSign, string(c)}
	}
}

// isWordByte reports whether the byte is of an unquoted identifier, in which all of Unicode beyond ASCII is
// allowed.
func isWordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '$' || c >= 0x80
}

// skip passes white space and comments. It returns false where a comment is not closed.
func (l *lexer) skip() bool {
	for l.text != "" {
		switch c := l.text[0]; {
		case c == ' ' || c >= '\t' && c <= '\r':
			l.text = l.text[1:]
		case c == '#', strings.HasPrefix(l.text, "--") && (len(l.text) == 2 || l.text[2] <= ' '):
			_, rest, _ := strings.Cut(l.text, "\n")
			l.text = rest
		case strings.HasPrefix(l.text, "/*!"), strings.HasPrefix(l.text, "/*M!"):
			_, rest, _ := strings.Cut(l.text, "!")
			l.text = strings.TrimLeft(rest, "0123456789") // the version from which on it counts
			l.executable++
		case strings.HasPrefix(l.text, "/*"):
			_, rest, closed := strings.Cut(l.text[2:], "*/")
			if !closed {
				return false
			}
			l.text = rest
		case l.executable > 0 && strings.HasPrefix(l.text, "*/"):
			l.text = l.text[2:]
			l.executable--
		default:
			return true
		}
	}
	return l.executable == 0
}

// quoted reads a text in quotes; the quote itself stands doubled within it.
func (l *lexer) quoted(kind tokenKind, backslash bool) token {
	quote := l.text[0]
	var b strings.Builder
	for i := 1; i < len(l.text); i++ {
		switch c := l.text[i]; {
		case c == '\\' && backslash && i+1 < len(l.text):
			i++
			b.WriteByte(l.text[i]) // \n and its like do not matter here
		case c == quote && i+1 < len(l.text) && l.text[i+1] == quote:
			i++
			b.WriteByte(quote)
		case c == quote:
			l.text = l.text[i+1:]
			return token{kind, b.String()}
		default:
			b.WriteByte(c)
		}
	}
	return token{kind: tokenBroken}
}
