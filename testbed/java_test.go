package testbed

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
)

// needsTime skips what starts Java machines, seconds of processor time each.
func needsTime(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: starts Java machines")
	}
}

// stopAtEnd stops a server after the test.
func stopAtEnd(t *testing.T, s interface{ Stop() error }) {
	t.Helper()
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// killAndStart crashes a server and brings it back.
func killAndStart(t *testing.T, s interface {
	Kill() error
	Start(context.Context) error
}) {
	t.Helper()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestRegistrySurvivesKill keeps schemas in a Kafka.
func TestRegistrySurvivesKill(t *testing.T) {
	needsTime(t)
	t.Parallel()
	kafka, err := StartKafka(t.Context(), KafkaOptions{HeapMB: 256, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, kafka)
	registry, err := StartRegistry(t.Context(), RegistryOptions{Kafka: kafka.Address(), Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	stopAtEnd(t, registry)
	client, err := sr.NewClient(sr.URLs(registry.URL()))
	if err != nil {
		t.Fatal(err)
	}
	const schema = `{"type":"record","name":"t","fields":[{"name":"a","type":"long"}]}`
	id, err := client.RegisterSchema(t.Context(), "t-value", sr.Schema{Schema: schema}, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	killAndStart(t, registry)
	// It answers before it has read its own topic to the end.
	var text string
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(100 * time.Millisecond) {
		if text, err = client.SchemaTextByID(t.Context(), id); err == nil {
			break
		}
	}
	if err != nil || text != schema {
		t.Errorf("after the kill schema %d is %q, %v", id, text, err)
	}
}

func TestSearchSurvivesKill(t *testing.T) {
	needsTime(t)
	t.Parallel()
	for _, kind := range []SearchKind{Elasticsearch, OpenSearch} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			search, err := StartSearch(t.Context(), SearchOptions{Kind: kind, Log: t.Logf})
			if err != nil {
				t.Fatal(err)
			}
			stopAtEnd(t, search)
			put := func(version int) int {
				status, _ := do(t, http.MethodPut, fmt.Sprintf("%s/i/_doc/1?version=%d&version_type=external", search.URL(), version), fmt.Sprintf(`{"v":%d}`, version))
				return status
			}
			if status := put(5); status != http.StatusCreated {
				t.Errorf("a new document: %d", status)
			}
			if status := put(4); status != http.StatusConflict {
				t.Errorf("a stale document: %d, want 409", status)
			}
			killAndStart(t, search)
			if status, body := do(t, http.MethodGet, search.URL()+"/i/_doc/1", ""); status != http.StatusOK || !strings.Contains(body, `"v":5`) {
				t.Errorf("after the kill: %d %s", status, body)
			}
		})
	}
}

func do(t *testing.T, method, url, body string) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(content)
}
