package rig

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// CompareSearch holds the table at the source against a search index: each row must be one document whose fields say what the
// columns say. Numbers are compared as the text that stands in the document, so nothing is rounded on the way.
func CompareSearch(ctx context.Context, source Place, url, index, table string) (*Comparison, error) {
	columns, key, err := columnsOf(ctx, source, table)
	if err != nil {
		return nil, err
	}
	if _, err := fetchJSON(ctx, "POST", url+"/"+index+"/_refresh", nil); err != nil {
		return nil, err
	}
	c := &Comparison{Table: table, Targets: make([]int, 1)}
	held := make(map[string]string)
	err = eachDocument(ctx, url, index, func(doc map[string]any) {
		k, content := documentContent(doc, columns, key)
		c.Targets[0]++
		held[k] = content
	})
	if err != nil {
		return nil, err
	}
	err = eachRow(ctx, source, table, expressions(columns), key, func(_ string, content []byte) {
		doc := make(map[string]any, len(columns))
		for i, v := range splitRow(content, len(columns)) {
			doc[columns[i].name] = fieldOf(columns[i].kind, v)
		}
		c.Source++
		k, text := documentContent(doc, columns, key)
		if held[k] != text {
			c.differ(Difference{Key: k, Source: text, Target: held[k]})
		}
		delete(held, k)
	})
	for k, content := range held {
		c.differ(Difference{Key: k, Target: content})
	}
	return c, err
}

func (c *Comparison) differ(d Difference) {
	if c.Differences++; len(c.Examples) < examplesMax {
		c.Examples = append(c.Examples, d)
	}
}

// splitRow takes a row's content apart again; nil is NULL.
func splitRow(content []byte, n int) [][]byte {
	values := make([][]byte, 0, n)
	for len(content) > 0 {
		if content[0] == 'N' {
			values, content = append(values, nil), content[2:]
			continue
		}
		length, rest, _ := bytes.Cut(content, []byte(":"))
		size, _ := strconv.Atoi(string(length))
		values, content = append(values, rest[:size]), rest[size+1:]
	}
	return values
}

// fieldOf says what a document should hold for a column's value.
func fieldOf(kind string, value []byte) any {
	text := string(value)
	switch {
	case value == nil:
		return nil
	case kind == "float": // it was read as a DOUBLE, exactly; the document has the shortest number that is the same FLOAT
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return json.Number(strconv.FormatFloat(f, 'g', -1, 32))
		}
	case strings.HasSuffix(kind, "int"), kind == "decimal", kind == "double", kind == "year":
		return json.Number(text)
	case kind == "bit":
		return text != "\x00"
	case kind == "datetime":
		return strings.Replace(text, " ", "T", 1)
	case kind == "timestamp":
		return strings.Replace(text, " ", "T", 1) + "Z"
	case kind == "json":
		var v any
		decoder := json.NewDecoder(bytes.NewReader(value))
		decoder.UseNumber()
		if decoder.Decode(&v) == nil {
			return v
		}
	case strings.HasSuffix(kind, "binary"), strings.HasSuffix(kind, "blob"):
		return base64.StdEncoding.EncodeToString(value)
	}
	return text
}

// documentContent returns a document's key and all of it, as text.
func documentContent(doc map[string]any, columns []column, key int) (k, content string) {
	var b strings.Builder
	for i, c := range columns {
		if i == key {
			k = b.String()
		}
		fmt.Fprintf(&b, "%s=%s;", c.name, plainText(doc[c.name]))
	}
	if key == len(columns) {
		k = b.String()
	}
	return k, b.String()
}

// plainText writes a field; a number by its exact value, however it is spelt.
func plainText(v any) string {
	switch v := v.(type) {
	case json.Number:
		if r, ok := new(big.Rat).SetString(v.String()); ok {
			return r.RatString()
		}
		return v.String()
	case string:
		return strconv.Quote(v)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// scrollPage is how many documents are read at once.
const scrollPage = 5000

// eachDocument reads the whole index.
func eachDocument(ctx context.Context, url, index string, each func(map[string]any)) error {
	page, err := fetchJSON(ctx, "POST", url+"/"+index+"/_search?scroll=1m", map[string]any{"size": scrollPage, "sort": []string{"_doc"}})
	for {
		if err != nil {
			return err
		}
		hits, _ := page["hits"].(map[string]any)
		list, _ := hits["hits"].([]any)
		if len(list) == 0 {
			break
		}
		for _, h := range list {
			hit, _ := h.(map[string]any)
			if doc, ok := hit["_source"].(map[string]any); ok {
				each(doc)
			}
		}
		page, err = fetchJSON(ctx, "POST", url+"/_search/scroll", map[string]any{"scroll": "1m", "scroll_id": page["_scroll_id"]})
	}
	_, err = fetchJSON(ctx, "DELETE", url+"/_search/scroll", map[string]any{"scroll_id": page["_scroll_id"]})
	return err
}

func fetchJSON(ctx context.Context, method, url string, body any) (map[string]any, error) {
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		send = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, send)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	decoder.UseNumber()
	var answer map[string]any
	if err := decoder.Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, url, err)
	}
	if response.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %v", method, url, response.Status, answer["error"])
	}
	return answer, nil
}
