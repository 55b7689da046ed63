package mysql

import (
	"encoding/hex"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// QuoteName quotes an identifier with backquotes, which mean the same in every sql_mode.
func QuoteName(name string) string {
	return "`" + strings.ReplaceAll(name, "`", "``") + "`"
}

// QuoteTable quotes a table's name with its database.
func QuoteTable(name change.TableName) string {
	return QuoteName(name.DB) + "." + QuoteName(name.Name)
}

// QuoteString returns text as a string literal of the connection's charset, right in every sql_mode: a text
// with a backslash, which NO_BACKSLASH_ESCAPES reads differently, is written in hexadecimal.
func QuoteString(text string) string {
	return string(AppendString(nil, []byte(text)))
}

// AppendString appends UTF-8 text as a string literal that is right with and without NO_BACKSLASH_ESCAPES.
// ANSI_QUOTES does not matter: the quotes are single.
func AppendString(dst, text []byte) []byte {
	mark := len(dst)
	dst = append(dst, '\'')
	for _, c := range text {
		switch c {
		case '\'':
			dst = append(dst, '\'', '\'')
		case '\\', 0:
			return appendHex(append(dst[:mark], "_utf8mb4 x'"...), text)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '\'')
}

// AppendLiteral appends bytes as a binary string literal: their value is exactly these bytes, whatever the
// connection's charset and sql_mode are.
func AppendLiteral(dst, value []byte) []byte {
	return appendHex(append(dst, "_binary x'"...), value)
}

func appendHex(dst, value []byte) []byte {
	return append(hex.AppendEncode(dst, value), '\'')
}
