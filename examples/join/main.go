// Command join keeps one document for each order in Elasticsearch, with the name and city of the user who gave it.
//
// What it shows: a document made of two tables. A change of an order writes its document, a change of a user the documents of all
// its orders, each as the source's tables are at that moment, with the event's version: why that is right says handler.MapFunc. The
// account needs SELECT on the two tables.
//
//	join: {source: "reader:…@tcp(db1:3306)/shop"}
//	topics: ["shop.shop.orders", "shop.shop.users"]
//	elasticsearch: {url: "http://es:9200", create_indexes: true}
package main

import (
	"context"
	"database/sql"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/elasticsearch"
	"github.com/sluice-cdc/sluice/sink/handler"
	"github.com/sluice-cdc/sluice/sink/run"
)

type page struct {
	Join struct {
		Source string `yaml:"source"`
	} `yaml:"join"`
	Handler       handler.Options      `yaml:"handler"`
	Elasticsearch elasticsearch.Config `yaml:"elasticsearch"`
}

var orders = handler.NewTable("docs.orders").Key("id", handler.Int).Column("status", handler.Text).Column("cents", handler.Int).
	Column("user_name", handler.Text).Column("user_city", handler.Text)

func main() {
	defaults := func() *page { return &page{Handler: handler.Default(), Elasticsearch: elasticsearch.Default()} }
	run.Main("join", defaults, func(_ context.Context, p *page, s sink.Setup) (sink.Target, error) {
		db, err := sql.Open("mysql", p.Join.Source)
		if err != nil {
			return nil, err
		}
		index, err := elasticsearch.New(p.Elasticsearch, s)
		if err != nil {
			return nil, err
		}
		j := &join{db}
		return handler.Map(index, j.documents, []*handler.Table{orders}, handler.MapOptions{Options: p.Handler})
	})
}

type join struct{ source *sql.DB }

const selectOrders = "SELECT o.id, o.status, o.cents, u.name, u.city FROM orders o LEFT JOIN users u ON u.id = o.user_id WHERE "

// documents are those that depend on the row that changed.
func (j *join) documents(ctx context.Context, e *handler.Event) ([]handler.Write, error) {
	where := "o.id = ?"
	switch {
	case e.Table().Name == "users":
		where = "o.user_id = ?"
	case e.Deleted():
		return []handler.Write{handler.Delete(orders, handler.Row{"id": e.Key("id")})}, nil
	}
	if err := handler.WaitVisible(ctx, j.source, e, 10*time.Second); err != nil {
		return nil, err
	}
	rows, err := j.source.QueryContext(ctx, selectOrders+where, e.Key("id").String())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var writes []handler.Write
	for rows.Next() {
		var id, cents int64
		var status string
		var name, city any // NULL where the user is gone
		if err := rows.Scan(&id, &status, &cents, &name, &city); err != nil {
			return nil, err
		}
		writes = append(writes, handler.Put(orders, handler.Row{"id": id, "status": status, "cents": cents, "user_name": name, "user_city": city}))
	}
	return writes, rows.Err()
}
