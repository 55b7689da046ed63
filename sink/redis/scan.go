package redis

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/rueidis"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

const (
	// scanCount is about how many keys the server looks at for one answer of SCAN, whatever table they are of.
	scanCount = 1000
	// scanRows is how many rows are asked for at once: all of them are in memory.
	scanRows = 200
)

// Scan reads a table's rows back by the keys under which people find them. Whole tables and single keys are served; key ranges are
// not, for the server knows no order of rows. A row may come twice where the server makes its key table smaller meanwhile.
func (t *Target) Scan(ctx context.Context, r sink.Scan, each func(sink.Row) error) error {
	if r.After != nil || r.Through != nil {
		return fmt.Errorf("scan of a key range: %w", errors.ErrUnsupported)
	}
	p, err := t.planOf(r.Source, r.Table)
	if err != nil {
		return err
	}
	client, err := t.connect(ctx)
	if err != nil {
		return err
	}
	s := scanner{t: t, client: client, p: p, request: r, each: each}
	if len(r.Keys) > 0 {
		return s.named(ctx)
	}
	return t.eachKey(ctx, client, p, r.Source, false, func(keys []string) error { return s.rows(ctx, keys) })
}

// bases returns what the keys of all slots of a table begin with.
func (t *Target) bases(p *plan, source string) []string {
	bases := make([]string, p.config.slots())
	for slot := range bases {
		bases[slot] = t.config.base(source, p.table.TableName, slot)
	}
	return bases
}

// eachKey calls each with the keys of the table's rows, some at a time; with all, of its indexes, streams and markers too.
func (t *Target) eachKey(ctx context.Context, client rueidis.Client, p *plan, source string, all bool, each func(keys []string) error) error {
	bases := t.bases(p, source)
	pattern := escapePattern(bases[0]) + ":*"
	if len(bases) > 1 { // {topic} and {topic:n}
		pattern = escapePattern(strings.TrimSuffix(bases[0], "}")) + "*"
	}
	if all {
		pattern = "*" + strings.TrimSuffix(strings.TrimSuffix(pattern, ":*"), "*") + "*"
	}
	return t.primaries(ctx, client, func(_ string, node rueidis.Client, _ map[string]string) error {
		for cursor := uint64(0); ; {
			step, cancel := context.WithTimeout(ctx, t.config.Timeout)
			entry, err := node.Do(step, node.B().Scan().Cursor(cursor).Match(pattern).Count(scanCount).Build()).AsScanEntry()
			cancel()
			if err != nil {
				return t.judge("the keys could not be read", err)
			}
			var keys []string
			for _, key := range entry.Elements {
				if belongs(bases, key, all) {
					keys = append(keys, key)
				}
			}
			if len(keys) > 0 {
				if err := each(keys); err != nil {
					return err
				}
			}
			if cursor = entry.Cursor; cursor == 0 {
				return nil
			}
		}
	})
}

// belongs reports whether a key is that of a row of the table, or, with all, of anything of it.
func belongs(bases []string, key string, all bool) bool {
	marker := false
	if all {
		key, marker = strings.CutPrefix(key, rowMeta)
	}
	for _, base := range bases {
		rest, ok := strings.CutPrefix(key, base)
		if ok && rest != "" && (rest[0] == ':' || all && !marker && rest[0] == '#') {
			return true
		}
	}
	return false
}

// scanner is one scan.
type scanner struct {
	t       *Target
	client  rueidis.Client
	p       *plan
	request sink.Scan
	each    func(sink.Row) error
}

// named reads the rows of single keys.
func (s *scanner) named(ctx context.Context) error {
	names := s.p.table.KeyNames()
	keys := make([]string, len(s.request.Keys))
	for i, values := range s.request.Keys {
		behind, err := s.p.rowKey(names, values)
		if err != nil {
			return err
		}
		keys[i] = s.t.config.base(s.request.Source, s.p.table.TableName, s.p.slotOf(behind)) + ":" + behind
	}
	return s.rows(ctx, keys)
}

// rows reads the rows with these keys; those that are gone meanwhile are left out.
func (s *scanner) rows(ctx context.Context, keys []string) error {
	for len(keys) > 0 {
		n := min(len(keys), scanRows)
		if err := s.some(ctx, keys[:n]); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

func (s *scanner) some(ctx context.Context, keys []string) error {
	ctx, cancel := context.WithTimeout(ctx, s.t.config.Timeout)
	defer cancel()
	commands := make([]rueidis.Completed, 0, 2*len(keys))
	for _, key := range keys {
		if s.p.config.as() == Hash {
			commands = append(commands, s.client.B().Hgetall().Key(key).Build())
		} else {
			commands = append(commands, s.client.B().Get().Key(key).Build())
		}
	}
	if !s.request.ValuesOnly {
		for _, key := range keys {
			commands = append(commands, s.client.B().Hmget().Key(rowMeta+key).Field("v", "o").Build())
		}
	}
	results := s.client.DoMulti(ctx, commands...)
	for i, key := range keys {
		row, there, err := s.read(key, results[i])
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		if !s.request.ValuesOnly {
			if err := s.owned(&row, results[len(keys)+i]); err != nil {
				return err
			}
		}
		if err := s.each(row); err != nil {
			return err
		}
	}
	return nil
}

// read makes a row of a key and what stands there; false where there is nothing, or no row can have that key.
func (s *scanner) read(key string, result rueidis.RedisResult) (row sink.Row, there bool, err error) {
	row = sink.Row{Columns: s.p.columns, Values: make([]change.Value, len(s.p.columns))}
	bent := func(err error) error {
		return &change.Problem{Kind: change.Poison, Table: s.p.table.TableName, What: "the key " + key + " does not hold a row", Where: s.t.where(), Err: err,
			Why: "somebody else writes there, or the table was kept otherwise before", Mend: "UNLINK the key and run sluice repair"}
	}
	if s.p.config.as() == Hash {
		fields, err := result.AsStrMap()
		if err != nil || len(fields) == 0 {
			return row, false, s.answer(err, bent)
		}
		for i := range s.p.table.Columns {
			text, has := fields[s.p.table.Columns[i].Name]
			if !has {
				continue
			}
			if row.Values[i], err = readText(&s.p.table.Columns[i], text); err != nil {
				return row, false, bent(err)
			}
		}
		return row, true, nil
	}
	text, err := result.ToString()
	if err != nil {
		return row, false, s.answer(err, bent)
	}
	if s.p.config.as() == JSON {
		if err := readRow(s.p.table, text, row.Values); err != nil {
			return row, false, bent(err)
		}
		return row, true, nil
	}
	there, err = s.readString(key, text, row.Values)
	if err != nil {
		return row, false, bent(err)
	}
	return row, there, nil
}

// answer judges the error of a read.
func (s *scanner) answer(err error, bent func(error) error) error {
	if err == nil || rueidis.IsRedisNil(err) {
		return nil
	}
	if e, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(e.Error(), "WRONGTYPE") {
		return bent(err)
	}
	return s.t.judge("rows could not be read", err)
}

// readString takes the key's columns from the key and the value from the string.
func (s *scanner) readString(key, text string, into []change.Value) (bool, error) {
	var parts []string
	ok := false
	for _, base := range s.t.bases(s.p, s.request.Source) {
		if behind, mine := strings.CutPrefix(key, base+":"); mine {
			parts, ok = s.p.key.cut(behind)
		}
	}
	if !ok {
		return false, nil // no row of the table can have this key
	}
	for i, at := range s.p.shown {
		column := &s.p.table.Columns[at]
		if at == s.p.value {
			var err error
			if into[i], err = readText(column, text); err != nil {
				return false, err
			}
			continue
		}
		for j, name := range s.p.key.parts {
			if name != column.Name {
				continue
			}
			var err error
			if into[i], err = readPart(column, parts[j]); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// readPart reads what appendPart wrote, its escapes taken away.
func readPart(c *change.Column, text string) (change.Value, error) {
	if c.Type.Opaque() || c.Type == change.Bit || c.Type == change.Geometry || c.Type == change.Vector {
		b, err := hex.DecodeString(text)
		return change.RawValue(b), err
	}
	return readText(c, text)
}

// owned adds the version and the source of a row.
func (s *scanner) owned(row *sink.Row, result rueidis.RedisResult) error {
	fields, err := result.ToArray()
	if err != nil {
		return s.t.judge("rows could not be read", err)
	}
	version, err := fields[0].ToString()
	if err != nil {
		return nil // Sluice did not write it
	}
	n, err := parseText(version, nil)
	if err != nil {
		return err
	}
	owner, err := fields[1].ToString()
	if err != nil {
		return nil
	}
	row.Version = change.Version(n)
	row.Source, _, _ = strings.Cut(owner, "/")
	return nil
}
