package files

import (
	"context"
	"errors"
	"io"
	"os"
)

// store is where the files lie. Keys are paths with slashes. What put or swap has written is whole and durable when they return, and
// nobody ever sees a part of it. Errors are problems of kind Retry, but for the two below and what a person must mend.
type store interface {
	// String names the place for the operator.
	String() string

	// scratch returns a file that nobody else knows of, to make a file in. Whoever asked closes and removes it, unless put did.
	scratch() (*os.File, error)

	// put writes the scratch file under the key, and in place of what was there. The scratch file is gone afterwards.
	put(ctx context.Context, key string, f *os.File) error

	// swap writes under the key if what is there has that tag, or nothing is there and the tag is empty; else errChanged.
	swap(ctx context.Context, key string, data []byte, tag string) (newTag string, err error)

	// get reads a small object with its tag, or errNotThere.
	get(ctx context.Context, key string) (data []byte, tag string, err error)

	// open opens an object for reading, or errNotThere.
	open(ctx context.Context, key string) (object, error)

	// list returns all objects below a folder, which ends in a slash, by key.
	list(ctx context.Context, folder string) ([]entry, error)

	// remove removes objects; one that is not there is no error.
	remove(ctx context.Context, keys ...string) error
}

// object is an open file.
type object interface {
	io.ReaderAt
	io.Closer
	size() int64
}

// entry is an object of a list.
type entry struct {
	key   string
	bytes int64
}

var (
	errNotThere = errors.New("there is no such object")
	errChanged  = errors.New("the object was changed by somebody else")
)

// discard closes and removes a scratch file that was not put.
func discard(f *os.File) {
	f.Close()
	os.Remove(f.Name())
}
