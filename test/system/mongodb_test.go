package system

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
	"github.com/sluice-cdc/sluice/verify"
)

// mongoPage is the sink's config.
const mongoPage = `group: documents
kafka: {brokers: [%q], registry: %q}
topics: ["shop.shop.*"]
session_timeout: 6s
mongodb: {uri: %q, database: copy}
sources: {shop: {address: %q, user: cdc, password: cdc}}
`

// mongoBed is a shop, and a server with its documents.
type mongoBed struct {
	*bed
	db     *sql.DB
	copy   *mongo.Database
	config string
}

// TestMongoDBWalk: MySQL, the local broker, the sink as a process that is killed again and again while the shop is written to. In the end every
// document is compared: by verify, and by a comparison that knows nothing of the sink's code. Then the collections are emptied and filled
// anew from the log alone. The server is no mongod, and is not restarted here: see testbed.Mongo.
func TestMongoDBWalk(t *testing.T) {
	needs(t, "mysql-9.7", "mongo-java-server")
	b := &mongoBed{bed: newBed(t)}
	m, db := b.mysql(testbed.MySQLOptions{})
	b.db = db
	shop := rig.Shop{Database: "shop", Rows: size(3_000, 200_000)}
	if err := shop.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	server, err := testbed.StartMongo(t.Context(), testbed.MongoOptions{HeapMB: size(256, 1024)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	client, err := mongo.Connect(options.Client().ApplyURI(server.URI()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Disconnect(t.Context())
	b.copy = client.Database("copy")
	b.source(m, "")
	b.config = b.file("mongodb.yaml", fmt.Sprintf(mongoPage, b.broker, b.registry, server.URI(), m.Address()))
	sink := b.start("mongodb", "sluice-sink-mongodb", "", []string{"--config", b.config})

	w := &rig.Writer{DB: db, Shop: shop, Connections: size(4, 16), PerSecond: size(300, 1000), Seed: seed(t)}
	// Killed faster than session_timeout, members that are gone hold up those that join.
	length, kills := size(18*time.Second, 2*time.Minute), size(2, 10)
	b.underFire(w, length, kills, sink)
	t.Logf("%d rows, %d changes, %d kills of the sink", shop.Rows, w.Changes(), kills)
	b.equal()

	if err := sink.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	b.sluice(0, "replay", "--to", "beginning", "--empty")
	if n, err := b.copy.Collection("shop.orders").CountDocuments(t.Context(), bson.D{}); n != 0 || err != nil {
		t.Errorf("replay --empty leaves %d documents (%v)", n, err)
	}
	if err := sink.Start(); err != nil {
		t.Fatal(err)
	}
	b.equal()
	b.planted()
}

// sluice runs a command of the sink and returns what it prints.
func (b *mongoBed) sluice(want int, args ...string) string {
	b.t.Helper()
	cmd := exec.Command(binary(b.t, "sluice-sink-mongodb", ""), append(args, "--config", b.config)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != want {
		b.t.Fatalf("%v: exit %d, want %d (%v)\n%s%s", args, code, want, err, out.String(), errs.String())
	}
	return out.String()
}

// equal waits until all is applied, and compares in both ways.
func (b *mongoBed) equal() {
	b.t.Helper()
	b.sluice(0, "wait", "--now", "--timeout", size("180s", "60m"))
	report := &verify.Report{}
	if err := json.Unmarshal([]byte(b.sluice(0, "verify", "-o", "json")), report); err != nil {
		b.t.Fatal(err)
	}
	rows := int64(0)
	for _, r := range report.Tables {
		if rows += r.SourceRows; r.SourceRows != r.TargetRows || r.SourceRows == 0 {
			b.t.Errorf("verify: %s has %d rows, in MongoDB %d", r.Table, r.SourceRows, r.TargetRows)
		}
	}
	if len(report.Tables) != 4 {
		b.t.Errorf("verify compared %d tables, want 4", len(report.Tables))
	}
	compared := 0
	for _, table := range mongoTables {
		compared += b.tableEqual(table)
	}
	b.t.Logf("verify: %d rows, differences 0; compared by hand: %d", rows, compared)
}

// mongoTable is what a table's rows should be as documents: what each field is as plain text.
type mongoTable struct {
	name, key string
	columns   []string // SQL, each as name=expression
}

var mongoTables = []mongoTable{
	{"customers", "id", []string{"id=id", "email=email", "name=name", "city=city", "credit=credit", "born=born", "created_at=created_at"}},
	{"orders", "id", []string{"id=id", "user_id=user_id", "code=code", "status=status", "total=total", "note=note", "tags=tags", "updated_at=updated_at"}},
	{"order_items", "CONCAT(order_id, ' ', line_no)", []string{"order_id=order_id", "line_no=line_no", "sku=sku", "qty=qty"}},
	{"products", "sku", []string{"sku=sku", "title=title", "image=HEX(image)", "stock=stock"}},
}

// tableEqual holds each row of MySQL against its document, and counts the documents.
func (b *mongoBed) tableEqual(table mongoTable) int {
	b.t.Helper()
	documents := b.documents(table)
	expressions := []string{table.key}
	var names []string
	for _, c := range table.columns {
		name, expression, _ := strings.Cut(c, "=")
		names, expressions = append(names, name), append(expressions, expression)
	}
	conn, err := b.db.Conn(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(b.t.Context(), "SET time_zone = '+00:00'"); err != nil {
		b.t.Fatal(err)
	}
	rows, err := conn.QueryContext(b.t.Context(), fmt.Sprintf("SELECT %s FROM shop.%s", strings.Join(expressions, ", "), table.name))
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	values := make([]sql.NullString, len(expressions))
	into := make([]any, len(values))
	for i := range values {
		into[i] = &values[i]
	}
	n := 0
	for ; rows.Next(); n++ {
		if err := rows.Scan(into...); err != nil {
			b.t.Fatal(err)
		}
		document := documents[values[0].String]
		for i, name := range names {
			field := document[name]
			if exact, has := besides(document)[name]; has { // a date, of which the document has milliseconds
				if got, want := fieldText(field, values[i+1].String), values[i+1].String; got[:23] != want[:23] {
					b.t.Errorf("%s %s: %s is %s, want %s", table.name, values[0].String, name, got, want)
				}
				field = exact
			}
			if got := fieldText(field, values[i+1].String); got != textOrNull(values[i+1]) {
				b.t.Errorf("%s %s: %s is %s, want %s", table.name, values[0].String, name, got, textOrNull(values[i+1]))
			}
		}
	}
	if len(documents) != n || rows.Err() != nil {
		b.t.Errorf("%s has %d rows (%v), in MongoDB %d", table.name, n, rows.Err(), len(documents))
	}
	return n
}

// besides returns what stands beside a document's fields.
func besides(document bson.M) map[string]any {
	exact := make(map[string]any)
	own, _ := document["_sluice"].(bson.D)
	for _, e := range own {
		fields, _ := e.Value.(bson.D)
		for _, f := range fields {
			exact[f.Key] = f.Value
		}
	}
	return exact
}

func textOrNull(s sql.NullString) string {
	if !s.Valid {
		return "NULL"
	}
	return s.String
}

// documents returns a collection's documents, as people see them, by their _id as text.
func (b *mongoBed) documents(table mongoTable) map[string]bson.M {
	b.t.Helper()
	cursor, err := b.copy.Collection("shop."+table.name).Find(b.t.Context(), bson.D{{Key: "_sluice.deleted", Value: bson.D{{Key: "$exists", Value: false}}}})
	if err != nil {
		b.t.Fatal(err)
	}
	var all []bson.M
	if err := cursor.All(b.t.Context(), &all); err != nil {
		b.t.Fatal(err)
	}
	byID := make(map[string]bson.M, len(all))
	for _, d := range all {
		id := fmt.Sprint(d["_id"])
		if several, ok := d["_id"].(bson.D); ok {
			id = fmt.Sprint(several[0].Value, " ", several[1].Value)
		}
		byID[id] = d
	}
	return byID
}

// fieldText is a field as MySQL prints it; like is how long a date is.
func fieldText(v any, like string) string {
	switch x := v.(type) {
	case nil:
		return "NULL"
	case bson.DateTime:
		layout := "2006-01-02 15:04:05.000000"
		return x.Time().UTC().Format(layout[:min(len(like), len(layout))])
	case bson.Binary:
		return fmt.Sprintf("%X", x.Data)
	}
	return fmt.Sprint(v)
}

// planted makes differences by hand: verify finds them, and repair mends them by way of the source.
func (b *mongoBed) planted() {
	b.t.Helper()
	ctx, orders := b.t.Context(), b.copy.Collection("shop.orders")
	var order, other int64
	if err := b.db.QueryRow("SELECT MIN(id), MAX(id) FROM shop.orders").Scan(&order, &other); err != nil {
		b.t.Fatal(err)
	}
	byID := func(id int64) bson.D { return bson.D{{Key: "_id", Value: id}} }
	if _, err := orders.UpdateOne(ctx, byID(order), bson.D{{Key: "$set", Value: bson.D{{Key: "note", Value: "bent"}}}}); err != nil {
		b.t.Fatal(err)
	}
	if _, err := orders.DeleteOne(ctx, byID(other)); err != nil {
		b.t.Fatal(err)
	}
	if _, err := orders.InsertOne(ctx, bson.D{{Key: "_id", Value: int64(999_999_999)}, {Key: "id", Value: int64(999_999_999)}}); err != nil {
		b.t.Fatal(err)
	}
	report := &verify.Report{}
	if err := json.Unmarshal([]byte(b.sluice(3, "verify", "-o", "json", "--table", "shop.orders")), report); err != nil {
		b.t.Fatal(err)
	}
	if n := report.Tables[0].Differences; n != 3 {
		b.t.Errorf("verify finds %d differences, want 3: %+v", n, report.Tables[0].Rows)
	}
	if _, err := orders.DeleteOne(ctx, byID(999_999_999)); err != nil {
		b.t.Fatal(err)
	}
	b.sluice(0, "repair", "--table", "shop.orders")
	b.sluice(0, "verify", "--table", "shop.orders")
}
