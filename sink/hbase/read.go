package hbase

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/sluice-cdc/sluice/change"
)

const (
	// cellsMax is how many cells an answer of a scan has at most.
	cellsMax = 2000
	// readTries is how often a scan is begun anew at the same row.
	readTries = 4
)

// reader reads a table's rows by scanners.
type reader struct {
	client *client
	table  string
	last   []byte // the key of the last row that was handed out
	cells  int    // of an answer
	// marked says that the scan ends with the table's own row, which has the greatest key of all. A gateway that loses its
	// region server, or a scanner that was left alone for too long, ends a scan as if there were no more rows: without that row nobody could tell.
	marked bool
	ended  bool // the table's own row was seen
}

// rows calls each with the rows between the bounds, whatever happens to the gateway's scanners meanwhile. The table's own row is not
// among them.
func (r *reader) rows(ctx context.Context, request scanRequest, each func(row) error) error {
	r.cells = cellsMax
	for try := 1; ; try++ {
		before := len(r.last) > 0
		last := bytes.Clone(r.last)
		if before {
			request.start = append(last, 0)
		}
		err := r.once(ctx, request, each)
		var own *ownError
		switch {
		case errors.As(err, &own):
			return own.err
		case r.ended:
			return nil
		case !bytes.Equal(last, r.last):
			try = 0 // it went on
		case err == nil && !r.marked:
			return nil // twice nothing: it is the end
		}
		if errors.Is(err, errAnswerTooLarge) && r.cells > 1 {
			r.cells = max(r.cells/8, 1)
			try = 0
			continue
		}
		if err != nil && (ctx.Err() != nil || !passing(err)) || try >= readTries {
			return r.judge(err)
		}
	}
}

// passing reports whether a scan that ended with err is worth to be begun anew where it was.
func passing(err error) bool {
	var answer *statusError
	if !errors.As(err, &answer) {
		return true
	}
	return answer.status == http.StatusGone || answer.status >= 500 || answer.status == http.StatusNotFound && !has(err, http.StatusNotFound, "TableNotFound")
}

func (r *reader) judge(err error) error {
	if err == nil {
		return &change.Problem{Kind: change.Retry, What: "the scan of " + r.table + " ended before the table's own row", Where: r.client.base,
			Why:  "the gateway ends a scan without an error when it cannot go on; or the row was taken away, and the table is none of Sluice's",
			Mend: "look at the gateway's log, and at the table"}
	}
	return r.client.judge("the table "+r.table+" could not be read", err)
}

// ownError is an error of each.
type ownError struct{ err error }

func (e *ownError) Error() string { return e.err.Error() }

// once reads with one scanner. The last row that it brings may lack cells until another row comes: where the end may be none, it is not handed
// out, and read again.
func (r *reader) once(ctx context.Context, request scanRequest, each func(row) error) error {
	request.cells = r.cells
	scanner, err := r.client.openScanner(ctx, r.table, &request)
	if err != nil {
		return err
	}
	defer r.client.closeScanner(ctx, scanner)
	var partial row
	hand := func() error {
		if partial.key == nil {
			return nil
		}
		r.last = append(r.last[:0], partial.key...)
		if err := each(partial); err != nil {
			return &ownError{err}
		}
		return nil
	}
	for {
		rows, err := r.client.next(ctx, scanner)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			if r.marked {
				return nil
			}
			return hand()
		}
		for _, next := range rows {
			if bytes.Equal(partial.key, next.key) {
				partial.cells = slices.Concat(partial.cells, next.cells)
				continue
			}
			if err := hand(); err != nil {
				return err
			}
			if string(next.key) == markerKey {
				r.ended = true
				return nil
			}
			partial = next
		}
	}
}
