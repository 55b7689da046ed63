package shaped

import (
	"bytes"
	"context"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/shape"
	"github.com/sluice-cdc/sluice/sink"
)

// overTheTop is what the envelope's snapshot says of what a crawl over rows that were there before has found: of a row that is gone, before
// has no more than the key.
const overTheTop = "incremental"

// changes returns what the batch's changes are in one lane.
func (t *Target) changes(ctx context.Context, b *sink.Batch, lane int) ([]sink.Change, error) {
	out := make([]sink.Change, 0, len(b.Changes))
	var form *shape.Form
	var of *change.Table
	var names []string
	var nothing []byte // the key of the change before, where that was a delete of a row that was not there
	for i := range b.Changes {
		c := &b.Changes[i]
		if c.Table != of {
			forms, err := t.formsOf(ctx, b.Source, c.Table)
			if err != nil {
				return nil, err
			}
			if of, form = c.Table, nil; forms != nil {
				form = forms[lane]
				names = form.To.KeyNames()
			}
		}
		if form == nil {
			out = append(out, *c)
			continue
		}
		if c.Tombstone && nothing != nil && bytes.Equal(nothing, c.Key) {
			continue // it says the same again
		}
		nothing = nil
		made, there, err := shapeChange(form, names, c)
		if err != nil {
			return nil, &sink.Refused{Offset: c.Offset, Err: &change.Problem{Kind: change.Poison, Table: c.Table.TableName, Err: err,
				What: "a row cannot be given the shape that the page says", Where: "table " + form.To.String(), Why: "it would be missing at the target, or bent",
				Mend: "mend the row at the source or the entry under shape, or set the record aside (on_error: dead_letter)"}}
		}
		if there {
			out = append(out, made)
		} else if c.Op == change.Delete {
			nothing = c.Key
		}
	}
	return out, nil
}

// shapeChange returns what the change is in the form; there is false where it is nothing. It is pure. See the package comment.
func shapeChange(form *shape.Form, names []string, c *sink.Change) (made sink.Change, there bool, err error) {
	made = *c
	made.Table, made.KeyNames, made.KeyValues = form.To, names, form.Key(c.KeyValues)
	made.Before, made.After = nil, nil
	stays := false
	if c.After != nil {
		if stays, err = form.Passes(c.After); err != nil {
			return made, false, err
		}
	}
	stood := before(form, c, &made)
	switch {
	case stays:
		if made.After, err = form.Row(c.After); err != nil {
			return made, false, err
		}
		if c.Op == change.Update && c.TrustedBefore && !stood {
			made.Op = change.Create
		}
	case c.TrustedBefore && !stood:
		return made, false, nil
	default:
		made.Op = change.Delete
		made.TrustedBefore = c.TrustedBefore && made.Before != nil
	}
	return made, true, nil
}

// before sets what the row was in the form before the change, and reports whether it may have been there: of a before image that
// cannot be told, it may.
func before(form *shape.Form, c, made *sink.Change) (stood bool) {
	switch {
	case c.Tombstone:
		return true
	case c.Before == nil:
		return !c.TrustedBefore || c.Op == change.Delete
	case c.Op == change.Delete && c.Origin.Snapshot == overTheTop: // nothing but the key is known
		made.Before = form.KeyRow(c.KeyValues)
		return true
	}
	passes, err := form.Passes(c.Before)
	if err == nil && passes {
		made.Before, err = form.Row(c.Before)
	}
	if err != nil { // it was refused then, or is of an older schema: it is not known what stands there
		made.Before, made.TrustedBefore = nil, false
		return true
	}
	return passes
}
