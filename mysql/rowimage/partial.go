package rowimage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// AfterPartial is Image for the after image of a PARTIAL_UPDATE_ROWS event, in which a JSON column can be a
// list of differences from the before image: before are that image's cells, present is the event's After.
// A cell that was changed this way holds the whole document, in memory of its own; its text is the server's.
func (tm *TableMap) AfterPartial(before []Cell, present, data []byte, cells []Cell) (rest []byte, err error) {
	const optionPartialJSON = 1
	if err := tm.checkWalk(present, cells); err != nil {
		return nil, err
	}
	r := reader{b: data}
	var partial []byte // a bit for each JSON column of the table, whether the image has it or not
	if r.packed()&optionPartialJSON != 0 {
		partial = r.take(uint64(bitmapLength(tm.jsons)))
	}
	if err := r.err(); err != nil {
		return nil, fmt.Errorf("partial row image of %s: %w", tm.Name, err)
	}
	if rest, err = tm.Image(present, r.b, cells); err != nil || partial == nil {
		return rest, err
	}
	nth := -1
	for i := range cells {
		if tm.Columns[i].Type != wireJSON {
			continue
		}
		if nth++; !bit(partial, nth) || !cells[i].Present || cells[i].Null {
			continue
		}
		if i >= len(before) || !before[i].Present || before[i].Null {
			return nil, tm.columnError(&tm.Columns[i], i, errors.New("JSON differences without a document in the before image"))
		}
		if cells[i].Data, err = applyJSONDiffs(before[i].Data, cells[i].Data); err != nil {
			return nil, tm.columnError(&tm.Columns[i], i, fmt.Errorf("apply JSON differences: %w", err))
		}
	}
	return rest, nil
}

// The operations of a difference.
const (
	diffReplace = 0
	diffInsert  = 1
	diffRemove  = 2
)

// applyJSONDiffs gives the document after the differences: one after the other an operation byte, a path with
// its length before it and, unless the operation is remove, a binary document with its length before it.
func applyJSONDiffs(document, diffs []byte) ([]byte, error) {
	root, err := parseJSON(document)
	if err != nil {
		return nil, err
	}
	r := reader{b: diffs}
	for len(r.b) > 0 {
		operation := r.uint8()
		path := string(r.take(r.packed()))
		var value []byte
		if operation != diffRemove {
			value = r.take(r.packed())
		}
		if err := r.err(); err != nil {
			return nil, err
		}
		legs, err := parseJSONPath(path)
		if err != nil {
			return nil, err
		}
		if err := root.apply(operation, legs, value); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return root.document()
}

var errNoPlace = errors.New("the document has no such place")

func (n *jsonNode) apply(operation byte, legs []jsonLeg, document []byte) error {
	if len(legs) == 0 {
		return errors.New("a difference cannot be about the whole document")
	}
	parent := n
	for i := range legs[:len(legs)-1] {
		place, ok := parent.place(&legs[i])
		if !ok {
			return errNoPlace
		}
		parent = parent.elements[place]
	}
	last := &legs[len(legs)-1]
	if operation == diffRemove {
		return parent.remove(last)
	}
	value, err := parseJSON(document)
	if err != nil {
		return err
	}
	switch operation {
	case diffReplace:
		place, ok := parent.place(last)
		if !ok {
			return errNoPlace
		}
		parent.elements[place] = value
		return nil
	case diffInsert:
		return parent.insert(last, value)
	}
	return fmt.Errorf("operation %d is not known", operation)
}

// place gives the element that the leg leads to.
func (n *jsonNode) place(leg *jsonLeg) (int, bool) {
	switch {
	case leg.array && n.isArray():
		place := leg.at(len(n.elements))
		return place, place >= 0 && place < len(n.elements)
	case !leg.array && n.isObject():
		return n.find(leg.name)
	}
	return 0, false
}

func (n *jsonNode) remove(leg *jsonLeg) error {
	place, ok := n.place(leg)
	if !ok {
		return errNoPlace
	}
	n.elements = slices.Delete(n.elements, place, place+1)
	if n.isObject() {
		n.names = slices.Delete(n.names, place, place+1)
	}
	return nil
}

// insert puts a new member into an object, or a new element before the one that the leg names; past the
// array's end means at its end.
func (n *jsonNode) insert(leg *jsonLeg, value *jsonNode) error {
	switch {
	case leg.array && n.isArray():
		place := min(max(leg.at(len(n.elements)), 0), len(n.elements))
		n.elements = slices.Insert(n.elements, place, value)
		return nil
	case !leg.array && n.isObject():
		place, taken := n.find(leg.name)
		if taken {
			return errors.New("the document has the member already")
		}
		n.names = slices.Insert(n.names, place, bytes.Clone(leg.name))
		n.elements = slices.Insert(n.elements, place, value)
		return nil
	}
	return errNoPlace
}
