package change

import (
	"errors"
	"strings"
)

// Severity is the kind of a Problem; it alone decides what happens next and the exit code.
type Severity uint8

// The kinds of problems.
const (
	// Fatal stops the process (exit 1): going on would lose or bend rows.
	Fatal Severity = iota
	// Retry is expected to pass: the work is done again from the last safe place, with back-off.
	Retry
	// Poison is one table's or record's fault: that table stops, or the record goes to the dead-letter topic.
	Poison
	// Configuration needs a person before any start can succeed (exit 2).
	Configuration
)

// String returns the kind's name as it stands in logs and metrics.
func (s Severity) String() string {
	return [...]string{"fatal", "retry", "poison", "configuration"}[s]
}

// Problem is an error for the operator: what is wrong, where, why it matters and what mends it.
type Problem struct {
	Kind  Severity
	What  string    // one line: "binlog_row_image is MINIMAL on db1:3306"
	Where string    // table, topic, partition, offset or position; may be empty
	Why   string    // what would go wrong; may be empty
	Mend  string    // the statement or command that helps; may be empty
	See   string    // a page of the docs; may be empty
	Table TableName // the table that a Poison stops, where one is known
	Err   error     // the cause, may be nil
}

// Error returns one line: what, where and the cause.
func (p *Problem) Error() string {
	s := p.What
	if p.Where != "" {
		s += " (" + p.Where + ")"
	}
	if p.Err != nil {
		s += ": " + p.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Err }

// SeverityOf returns the kind of the first Problem in err's chain, and Fatal where there is none: an error
// that nobody classified is never retried in silence.
func SeverityOf(err error) Severity {
	var p *Problem
	if errors.As(err, &p) {
		return p.Kind
	}
	return Fatal
}

// Explain returns err as a command prints it: the error, then why, mend and see where they are known, each
// on a line of its own.
func Explain(err error) string {
	var b strings.Builder
	b.WriteString("error: ")
	b.WriteString(err.Error())
	var p *Problem
	if errors.As(err, &p) {
		for _, line := range [...][2]string{{"why ", p.Why}, {"mend", p.Mend}, {"see ", p.See}} {
			if line[1] != "" {
				b.WriteString("\n  " + line[0] + "   " + strings.ReplaceAll(line[1], "\n", "\n         "))
			}
		}
	}
	return b.String()
}
