package floor

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// BulkOptions say what Bulk writes.
type BulkOptions struct {
	// URL is the server's.
	URL string
	// Index is where the documents go.
	Index string
	// Like is an index, such as Sluice's sink has made, whose mappings and number of shards Index is made with. Empty: Index is there.
	Like string
	// From is read into memory first, as the requests that write it.
	From Table
	// Rows bounds how many; 0 is all.
	Rows int
	// RequestBytes is about how large a request is; 0 is 8 MB, which is what Sluice's sink has.
	RequestBytes int
	// Connections is how many write side by side; 0 is 1.
	Connections int
}

const requestBytes = 8 << 20

// Bulk writes the rows of a table as documents by _bulk. Their ids are the rows' keys, and their fields are the columns in the form that
// Sluice's sink gives them; there is no version.
func Bulk(ctx context.Context, o BulkOptions) (Result, error) {
	if o.RequestBytes == 0 {
		o.RequestBytes = requestBytes
	}
	o.Connections = max(o.Connections, 1)
	o.URL = strings.TrimRight(o.URL, "/")
	if o.RequestBytes < 1 {
		return Result{}, fmt.Errorf("bytes of a request: %d; want 1 or more", o.RequestBytes)
	}
	if o.Like != "" {
		if err := o.makeIndex(ctx); err != nil {
			return Result{}, fmt.Errorf("make the index %s like %s: %w", o.Index, o.Like, err)
		}
	}
	requests, rows, size, err := o.prepare(ctx)
	if err != nil {
		return Result{}, err
	}
	c := startClock()
	err = sideBySide(o.Connections, func(i int) error {
		for n := i; n < len(requests); n += o.Connections {
			if err := o.send(ctx, requests[n]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Result{}, err
	}
	return c.result("bulk", rows, size), nil
}

func (o *BulkOptions) prepare(ctx context.Context) (requests [][]byte, rows, size int64, err error) {
	var open []byte
	err = o.From.eachRow(ctx, o.Rows, func(columns []column, row []sql.RawBytes) error {
		before := len(open)
		if open, err = appendAction(open, columns, row); err != nil {
			return err
		}
		rows++
		if size += int64(len(open) - before); size > memoryMax {
			return errTooLarge
		}
		if len(open) >= o.RequestBytes {
			requests, open = append(requests, open), make([]byte, 0, len(open)+len(open)/16)
		}
		return nil
	})
	if len(open) > 0 {
		requests = append(requests, open)
	}
	return requests, rows, size, err
}

// appendAction appends the two lines of a document.
func appendAction(dst []byte, columns []column, row []sql.RawBytes) ([]byte, error) {
	var id []string
	for i, c := range columns {
		if c.key {
			id = append(id, string(row[i]))
		}
	}
	quoted, err := json.Marshal(strings.Join(id, "|"))
	if err != nil {
		return nil, err
	}
	dst = append(append(append(dst, `{"index":{"_id":`...), quoted...), "}}\n{"...)
	for i, c := range columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		name, err := json.Marshal(c.name)
		if err != nil {
			return nil, err
		}
		dst = append(append(dst, name...), ':')
		if dst, err = c.appendField(dst, row[i]); err != nil {
			return nil, fmt.Errorf("column %s: %w", c.name, err)
		}
	}
	return append(dst, "}\n"...), nil
}

func (c column) appendField(dst []byte, value sql.RawBytes) ([]byte, error) {
	text := string(value)
	switch {
	case value == nil:
		return append(dst, "null"...), nil
	case c.isNumber(), c.kind == "json":
		return append(dst, value...), nil
	case c.kind == "bit":
		return fmt.Appendf(dst, "%t", text != "\x00"), nil
	case c.isBinary():
		text = base64.StdEncoding.EncodeToString(value)
	case c.kind == "datetime":
		text = strings.Replace(text, " ", "T", 1)
	case c.kind == "timestamp":
		text = strings.Replace(text, " ", "T", 1) + "Z"
	}
	quoted, err := json.Marshal(text)
	return append(dst, quoted...), err
}

func (o *BulkOptions) send(ctx context.Context, body []byte) error {
	var answer struct {
		Errors *bool           `json:"errors"`
		Items  json.RawMessage `json:"items"`
	}
	err := o.ask(ctx, http.MethodPost, "/"+o.Index+"/_bulk?filter_path=errors,items.*.error", body, &answer)
	switch {
	case err != nil:
		return err
	case answer.Errors == nil:
		return errors.New("_bulk did not say whether there were errors")
	case *answer.Errors:
		return fmt.Errorf("_bulk refused documents: %.500s", answer.Items)
	}
	return nil
}

// makeIndex makes Index with what Like has.
func (o *BulkOptions) makeIndex(ctx context.Context) error {
	var like map[string]struct {
		Mappings json.RawMessage `json:"mappings"`
		Settings struct {
			Index struct {
				Shards   string `json:"number_of_shards"`
				Replicas string `json:"number_of_replicas"`
				Refresh  string `json:"refresh_interval,omitempty"`
			} `json:"index"`
		} `json:"settings"`
	}
	if err := o.ask(ctx, http.MethodGet, "/"+o.Like, nil, &like); err != nil {
		return err
	}
	for _, index := range like { // one, under its own name where Like is an alias
		body, err := json.Marshal(map[string]any{"mappings": index.Mappings, "settings": index.Settings})
		if err != nil {
			return err
		}
		return o.ask(ctx, http.MethodPut, "/"+o.Index, body, nil)
	}
	return errors.New("there is no such index")
}

func (o *BulkOptions) ask(ctx context.Context, method, path string, body []byte, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, o.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%s %s: %s: %.500s", method, path, response.Status, text)
	}
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(text, into)
}
