package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// underFire runs the writer, shows what goes on, kills source and sink, and adds a consumer group.
func (d *demo) underFire(ctx context.Context) error {
	d.say("  ✓ %-23s %s changes/s of six kinds, started", "writer", grouped(writerRate))
	writing, stop := context.WithTimeout(ctx, writerTime)
	defer stop()
	written := make(chan error, 1)
	go func() { written <- d.writer.Run(writing) }()
	search := make(chan error, 1)
	go func() { search <- d.startSearch(ctx) }() // its start takes a while and no part in the play yet
	began := time.Now()
	for _, scene := range []struct {
		at   time.Duration
		play func(context.Context) error
	}{
		{killSourceAt, d.killSource}, {killSinkAt, d.killSink},
		{addSearchAt, func(ctx context.Context) error {
			if err := <-search; err != nil {
				return err
			}
			return d.addSearch()
		}},
	} {
		if err := d.watch(ctx, began.Add(scene.at)); err != nil {
			return err
		}
		if err := scene.play(ctx); err != nil {
			return err
		}
	}
	if err := d.watch(ctx, began.Add(writerTime)); err != nil {
		return err
	}
	if err := <-written; err != nil {
		return err
	}
	d.say("  ✓ writer stopped after %s changes", grouped(int(d.writer.Changes())))
	return nil
}

// watch shows the progress about every other second until the moment has come.
func (d *demo) watch(ctx context.Context, until time.Time) error {
	for time.Now().Before(until) {
		select {
		case <-time.After(min(time.Until(until), 2*time.Second)):
		case <-ctx.Done():
			return ctx.Err()
		}
		d.progress()
	}
	return nil
}

// sourceStatus is what the demo shows of the source's /status.
type sourceStatus struct {
	DelaySeconds float64 `json:"delay_seconds"`
	Events       int64   `json:"events"`
	Crawls       []struct {
		Table struct{ DB, Name string } `json:"table"`
		State string                    `json:"state"`
		Rows  int64                     `json:"rows"`
		About int64                     `json:"estimate"`
		Rate  float64                   `json:"RowsPerSecond"`
	} `json:"crawls"`
}

const bar = 20

func (d *demo) progress() {
	var s sourceStatus
	if getJSON(d.sourceHTTP+"/status", &s) != nil {
		return
	}
	for _, c := range s.Crawls {
		if c.State == "done" || c.About == 0 {
			continue
		}
		done := min(1, float64(c.Rows)/float64(c.About))
		full := int(done * bar)
		d.say("crawl  %-18s %s%s %3.0f %%  %9s rows  %8s/s", c.Table.DB+"."+c.Table.Name, strings.Repeat("█", full), strings.Repeat("░", bar-full),
			done*100, grouped(int(c.Rows)), grouped(int(c.Rate)))
	}
	d.say("stream %10s changes published   delay commit→topic %.0f ms", grouped(int(s.Events)), s.DelaySeconds*1000)
}

func getJSON(url string, into any) error {
	client := http.Client{Timeout: time.Second}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(into)
}

func (d *demo) killSource(ctx context.Context) error {
	return d.kill(ctx, "source", d.sourceProc, d.sourceHTTP)
}
func (d *demo) killSink(ctx context.Context) error {
	return d.kill(ctx, "sink", d.sinkProc, d.sinkHTTP)
}

// kill sends SIGKILL to a process, starts it again as a supervisor would, and waits until it is ready.
func (d *demo) kill(ctx context.Context, what string, p *rig.Process, address string) error {
	pid := p.Pid()
	if err := p.Kill(); err != nil {
		return err
	}
	d.kills++
	began := time.Now()
	if err := p.Start(); err != nil {
		return err
	}
	for time.Since(began) < 30*time.Second {
		if ready(address) {
			d.say("  ⚡ SIGKILL %s (pid %d) … back in %.1f s, resumed from %s", what, pid, time.Since(began).Seconds(), d.resumed(what))
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("the %s was not ready within 30 s of its restart", what)
}

func (d *demo) resumed(what string) string {
	if what == "source" {
		return "its checkpoint in Kafka, nothing published twice"
	}
	return "the shards' own progress"
}

func ready(address string) bool {
	client := http.Client{Timeout: time.Second}
	response, err := client.Get(address + "/readyz")
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// startSearch starts Elasticsearch where Java is present. Without it the demo goes on and says so.
func (d *demo) startSearch(ctx context.Context) error {
	if os.Getenv("SLUICE_DEMO_SEARCH") == "0" {
		d.noSearch = "SLUICE_DEMO_SEARCH=0"
		return nil
	}
	if err := testbed.Available(ctx, "elasticsearch"); err != nil {
		d.noSearch = err.Error()
		return nil
	}
	s, err := testbed.StartSearch(ctx, testbed.SearchOptions{Kind: testbed.Elasticsearch})
	if err != nil {
		d.noSearch = err.Error()
		return nil
	}
	d.search = s
	return nil
}

// addSearch adds a consumer group that fills the index from the log alone.
func (d *demo) addSearch() error {
	if d.search == nil {
		d.say("  - no search index: %s", d.noSearch)
		return nil
	}
	d.closer(func() { d.search.Stop() })
	file, err := d.config("search.yaml", searchConfig, d.broker.Address(), d.registry.URL(), d.search.URL())
	if err != nil {
		return err
	}
	if d.searchProc, err = d.start("sluice-sink-elasticsearch", file); err != nil {
		return err
	}
	d.say("  + added a consumer group: elasticsearch, from the beginning of the log; the source was not touched")
	return nil
}
