package mongodb

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// scanPage is how many documents one answer of a scan holds.
const scanPage = 500

// rowsOnly leaves out tombstones and the marker: the filter that the docs give people too.
var rowsOnly = bson.E{Key: fieldDeleted, Value: bson.D{{Key: "$exists", Value: false}}}

// Scan reads a table's documents back. Whole tables and single keys are served; key ranges are not, for the server does not know the
// order of MySQL's collations.
func (t *Target) Scan(ctx context.Context, r sink.Scan, each func(sink.Row) error) error {
	if r.After != nil || r.Through != nil {
		return fmt.Errorf("scan of a key range of a collection: %w", errors.ErrUnsupported)
	}
	db, err := t.database()
	if err != nil {
		return err
	}
	s := scanner{t: t, shape: t.config.shaped(r.Table), source: r.Source, each: each, from: db.Collection(t.config.collection(r.Source, r.Table.TableName))}
	for i := range r.Table.Columns {
		s.columns = append(s.columns, r.Table.Columns[i].Name)
	}
	if len(r.Keys) == 0 {
		return s.find(ctx, bson.D{rowsOnly})
	}
	for keys := r.Keys; len(keys) > 0; {
		n := min(len(keys), scanPage)
		ids, err := s.ids(keys[:n])
		if err != nil {
			return err
		}
		if err := s.find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, rowsOnly}); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// scanner is one scan.
type scanner struct {
	t       *Target
	from    *mongo.Collection
	shape   *shaped
	source  string
	columns []string
	each    func(sink.Row) error
}

func (s *scanner) ids(keys [][]change.Value) (bson.A, error) {
	ids := make(bson.A, len(keys))
	names := s.shape.table.KeyNames()
	for i, key := range keys {
		element, err := appendID(nil, s.shape.table, names, key)
		if err != nil {
			return nil, err
		}
		ids[i] = elementValue(element, "_id")
	}
	return ids, nil
}

func (s *scanner) find(ctx context.Context, filter bson.D) error {
	cursor, err := s.from.Find(ctx, filter, options.Find().SetBatchSize(scanPage))
	if err != nil {
		return s.t.judge("the collection could not be read", err)
	}
	defer cursor.Close(context.WithoutCancel(ctx))
	for cursor.Next(ctx) {
		if err := s.row(cursor.Current); err != nil {
			return err
		}
	}
	return s.t.judge("the collection could not be read", cursor.Err())
}

func (s *scanner) row(document bson.Raw) error {
	row := sink.Row{Columns: s.columns, Source: s.source, Values: make([]change.Value, len(s.columns))}
	elements, err := document.Elements()
	if err != nil {
		return fmt.Errorf("a document of %s: %w", s.from.Name(), err)
	}
	fields := make(map[string]bson.RawValue, len(elements))
	for _, e := range elements {
		fields[e.Key()] = e.Value()
	}
	own, _ := fields[fieldSluice].DocumentOK()
	version, _ := own.Lookup("version").AsInt64OK()
	row.Version = change.Version(version)
	for i, field := range s.shape.fields {
		exact, _ := own.Lookup("exact", field).StringValueOK()
		row.Values[i] = s.shape.form.readValue(&s.shape.table.Columns[i], fields[field], exact)
	}
	return s.each(row)
}
