// Command enrich asks a service about each user and keeps what it says, beside the user, in Elasticsearch.
//
// What it shows: a slow service that is asked for many keys at once, though never more than it can take (at most the page's
// parallel times handler.parallel), while the changes of one user stay in order; writes to another target, where the newest wins.
//
//	enrich: {url: "https://example.org/profile"}
//	handler: {parallel: 8, state_only: true}
//	elasticsearch: {url: "http://es:9200", create_indexes: true}
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/elasticsearch"
	"github.com/sluice-cdc/sluice/sink/handler"
	"github.com/sluice-cdc/sluice/sink/run"
)

type page struct {
	Enrich struct {
		URL string `yaml:"url"`
	} `yaml:"enrich"`
	Handler       handler.Options      `yaml:"handler"`
	Elasticsearch elasticsearch.Config `yaml:"elasticsearch"`
}

var profiles = handler.NewTable("docs.profiles").Key("id", handler.Int).Column("name", handler.Text).Column("greeting", handler.Text).Column("score", handler.Float)

func main() {
	defaults := func() *page { return &page{Handler: handler.Default(), Elasticsearch: elasticsearch.Default()} }
	run.Main("enrich", defaults, func(_ context.Context, p *page, s sink.Setup) (sink.Target, error) {
		index, err := elasticsearch.New(p.Elasticsearch, s)
		if err != nil {
			return nil, err
		}
		client := &http.Client{Timeout: 10 * time.Second}
		return handler.Map(index, func(ctx context.Context, e *handler.Event) ([]handler.Write, error) {
			if e.Table().Name != "users" {
				return nil, nil
			}
			if e.Deleted() {
				return []handler.Write{handler.Delete(profiles, handler.Row{"id": e.Key("id")})}, nil
			}
			said, err := ask(ctx, client, p.Enrich.URL, e.New("name").String())
			if err != nil {
				return nil, err
			}
			return []handler.Write{handler.Put(profiles, handler.Row{"id": e.Key("id"), "name": e.New("name"), "greeting": said.Greeting, "score": said.Score})}, nil
		}, []*handler.Table{profiles}, handler.MapOptions{Options: p.Handler})
	})
}

type profile struct {
	Greeting string
	Score    float64
}

func ask(ctx context.Context, client *http.Client, service, name string) (p profile, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, service+"?name="+url.QueryEscape(name), nil)
	if err != nil {
		return p, handler.Refuse(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		return p, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return p, fmt.Errorf("the service answers %s", answer.Status)
	}
	return p, json.NewDecoder(answer.Body).Decode(&p)
}
