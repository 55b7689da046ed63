package crawl

import (
	"fmt"
	"strings"
)

// checkCondition looks at the form of a WHERE condition before the server does: one expression, whole in
// itself. It goes into statements between parentheses, and must not be able to leave them.
func checkCondition(condition string) error {
	depth := 0
	for i := 0; i < len(condition); i++ {
		switch c := condition[i]; c {
		case '\'', '"', '`':
			end := quoteEnd(condition, i)
			if end < 0 {
				return fmt.Errorf("condition %q: the quote at byte %d has no end", condition, i)
			}
			i = end
		case '(':
			depth++
		case ')':
			if depth--; depth < 0 {
				return fmt.Errorf("condition %q: the parenthesis at byte %d closes nothing", condition, i)
			}
		case ';', '#':
			return fmt.Errorf("condition %q: %q at byte %d: want one expression without comments", condition, c, i)
		case '-', '/':
			if i+1 < len(condition) && (c == '-' && condition[i+1] == '-' || c == '/' && condition[i+1] == '*') {
				return fmt.Errorf("condition %q: a comment at byte %d: want one expression without comments", condition, i)
			}
		}
	}
	switch {
	case depth > 0:
		return fmt.Errorf("condition %q: a parenthesis is not closed", condition)
	case strings.TrimSpace(condition) == "":
		return fmt.Errorf("condition %q is empty", condition)
	}
	return nil
}

// quoteEnd returns the index of the quote that ends the one at start, or -1. A backslash escapes within ' and
// " (the crawl's sessions have no NO_BACKSLASH_ESCAPES); a doubled quote is two quoted texts side by side.
func quoteEnd(s string, start int) int {
	for i := start + 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && s[start] != '`':
			i++
		case s[i] == s[start]:
			return i
		}
	}
	return -1
}
