package crawl

import (
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
)

// reaction is what a crawl does about an error.
type reaction uint8

const (
	fail    reaction = iota // this crawl ends with it
	again                   // the same chunk, after a while
	smaller                 // half of the chunk, after a while
	reload                  // the table's definition is out of date: load it and go on
)

// Numbers of server errors, beside those that package mysql names.
const (
	errorUnknownColumn   = 1054
	errorUnknownIndex    = 1176
	errorTableChanged    = 1412 // "Table definition has changed, please retry transaction"
	errorUnknownDatabase = 1049
	errorTableDenied     = 1142
	errorColumnDenied    = 1143
	errorDatabaseDenied  = 1044
	errorPacketTooLarge  = 1153
	errorTooManyLocks    = 1206
	errorLockNowait      = 3572
	unknownErrorTriesMax = 5
	backoffFirst         = 100 * time.Millisecond
	backoffMax           = 15 * time.Second
	starvedNote          = 3 // tries after which a chunk that gets no lock is reported
	changedTriesMax      = 60
)

// errTableGone: the table does not exist (any more).
var errTableGone = errors.New("the table does not exist")

// judge says what to do about an error of a chunk that was tried so many times before.
func judge(err error, tries int) reaction {
	var problem *change.Problem
	switch {
	case errors.Is(err, errOtherServer):
		return again
	case errors.Is(err, errTableGone), errors.Is(err, sql.ErrNoRows):
		return fail
	case errors.As(err, &problem):
		if problem.Kind == change.Retry {
			return again
		}
		return fail
	}
	switch mysql.ErrorNumber(err) {
	case 0: // not the server's: the connection
		return again
	case mysql.ErrorLockWaitTimeout, mysql.ErrorDeadlock, errorLockNowait, errorTooManyLocks:
		return smaller
	case errorUnknownColumn, errorUnknownIndex, errorTableChanged:
		if tries >= changedTriesMax {
			return fail
		}
		return reload
	case mysql.ErrorNoSuchTable, errorUnknownDatabase, errorTableDenied, errorColumnDenied, errorDatabaseDenied:
		return fail
	}
	if retriedByServer(err) {
		return again
	}
	if tries < unknownErrorTriesMax {
		return again
	}
	return fail
}

// retriedByServer reports whether package mysql knows the error as one that passes.
func retriedByServer(err error) bool {
	return change.SeverityOf(mysql.Config{}.Problem(err)) == change.Retry
}

// backoff is the pause before the next try.
func backoff(tries int) time.Duration {
	return min(backoffFirst<<min(tries, 10), backoffMax)
}

// explain makes the error with which a crawl ends into one for the operator.
func explain(err error, table change.TableName) error {
	var problem *change.Problem
	if errors.As(err, &problem) {
		return err
	}
	p := &change.Problem{Kind: change.Poison, Table: table, Where: table.String(), Err: err}
	switch mysql.ErrorNumber(err) {
	case errorTableDenied, errorColumnDenied, errorDatabaseDenied:
		p.What = "the source's account may not read the table"
		p.Mend = fmt.Sprintf("GRANT SELECT ON %s TO the configured user, then: sluice crawl start %s", mysql.QuoteTable(table), table)
	case mysql.ErrorNoSuchTable, errorUnknownDatabase:
		p.What, p.Mend = "the table does not exist", "check the name"
	default:
		p.What, p.Mend = "the crawl cannot go on", "when it is mended: sluice crawl start "+table.String()
		if errors.Is(err, errTableGone) || errors.Is(err, sql.ErrNoRows) {
			p.What, p.Mend = "the table does not exist", "check the name"
		}
	}
	return p
}
