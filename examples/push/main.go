// Command push tells a service, once for each order, that it has been paid.
//
// What it shows: a condition over the row before and after, an id by which the receiver knows an event that comes again, and which
// errors pass by themselves and which do not. The page has, besides what every sink's has:
//
//	push: {url: "https://example.org/paid"}
//	handler: {parallel: 8}
//	on_error: [{topics: "*", do: dead_letter}]   # what the service refuses is set aside: push dead list --config FILE
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/handler"
	"github.com/sluice-cdc/sluice/sink/run"
)

type page struct {
	Push struct {
		URL string `yaml:"url"`
	} `yaml:"push"`
	Handler handler.Options `yaml:"handler"`
}

func main() {
	defaults := func() *page { return &page{Handler: handler.Default()} }
	run.Main("push", defaults, func(_ context.Context, p *page, _ sink.Setup) (sink.Target, error) {
		client := &http.Client{Timeout: 10 * time.Second}
		return handler.New(func(ctx context.Context, e *handler.Event) error {
			if e.Table().Name != "orders" || !e.Became("status", "PAID") {
				return nil
			}
			return tell(ctx, client, p.Push.URL, e)
		}, p.Handler), nil
	})
}

// tell posts the event. What the service refuses is the record's fault; all else is tried again.
func tell(ctx context.Context, client *http.Client, url string, e *handler.Event) error {
	body, err := json.Marshal(map[string]any{"order": e.Key("id").Any(), "user": e.New("user_id").Any(), "cents": e.New("cents").Any(), "at": e.CommitTime()})
	if err != nil {
		return handler.Refuse(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return handler.Refuse(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", e.ID())
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	switch code := answer.StatusCode; {
	case code < 300:
		return nil
	case code == http.StatusBadRequest || code == http.StatusUnprocessableEntity:
		return handler.Refuse(fmt.Errorf("the service answers %s", answer.Status))
	}
	return fmt.Errorf("the service answers %s", answer.Status)
}
