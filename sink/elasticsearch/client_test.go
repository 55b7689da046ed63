package elasticsearch_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/elasticsearch"
)

func TestAccounts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, with := range map[string]func(*elasticsearch.Config){
		"":                            nil,
		"Basic c2x1aWNlOnMzY3JldA==":  func(c *elasticsearch.Config) { c.User, c.Password = "sluice", "s3cret" },
		"Basic c2x1aWNlOnMzY3JldA== ": func(c *elasticsearch.Config) { c.User, c.PasswordFile = "sluice", file },
		"ApiKey VnVhQ2ZHY0JDZGJrU":    func(c *elasticsearch.Config) { c.APIKey = "VnVhQ2ZHY0JDZGJrU" },
	} {
		f, target := newFake(t, with)
		got := ""
		f.header = func(h http.Header) { got = h.Get("Authorization") }
		apply(t, target, puts(1, 1)...)
		if got != strings.TrimSpace(want) {
			t.Errorf("the account is told as %q, want %q", got, want)
		}
	}
	c := elasticsearch.Default()
	c.URL, c.PasswordFile = "http://x", file+"-none"
	_, err := elasticsearch.New(c, sink.Setup{})
	problemOf(t, err, change.Configuration, "password file")
}

func TestNobodyAnswers(t *testing.T) {
	c := elasticsearch.Default()
	c.URL = "http://127.0.0.1:1"
	target := open(t, c)
	defer target.Close()
	problemOf(t, target.Apply(t.Context(), batch(puts(1, 1)...)), change.Retry, "127.0.0.1:1")
	problemOf(t, target.Prepare(t.Context(), "g", "src", tables(noted)), change.Retry)
	if err := target.Scan(t.Context(), sink.Scan{Table: noted}, nil); change.SeverityOf(err) != change.Retry {
		t.Errorf("scan gave %v", err)
	}
	found, err := target.Check(t.Context(), "g", nil)
	if err != nil || len(found) != 1 || found[0].Level != sink.Wrong {
		t.Errorf("findings are %v (%v)", found, err)
	}
	if err := target.Scan(t.Context(), sink.Scan{Table: noted, After: row(1)}, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a key range gave %v", err)
	}
}

func TestConfigProblems(t *testing.T) {
	problems := func(change func(*elasticsearch.Config)) []string {
		c := elasticsearch.Default()
		c.URL = "https://search:9200/base"
		change(&c)
		var found []string
		c.Check(func(path, _ string) { found = append(found, path) })
		return found
	}
	for _, c := range []struct {
		change func(*elasticsearch.Config)
		want   []string
	}{
		{func(*elasticsearch.Config) {}, nil},
		{func(c *elasticsearch.Config) { c.URL, c.Index = "search:9200", "all" }, []string{"url", "index"}},
		{func(c *elasticsearch.Config) { c.URL = "http://u:p@search" }, []string{"url"}},
		{func(c *elasticsearch.Config) { c.Documents, c.Deletes = "", "keep" }, []string{"documents", "deletes"}},
		{func(c *elasticsearch.Config) { c.BulkBytes, c.KeepTombstones, c.Timeout = 1, 1, 0 }, []string{"bulk_bytes", "keep_tombstones", "timeout"}},
		{func(c *elasticsearch.Config) { c.Password, c.PasswordFile = "a", "b" }, []string{"password_file", "user"}},
		{func(c *elasticsearch.Config) { c.APIKey, c.User = "a", "b" }, []string{"api_key"}},
	} {
		if diff := cmp.Diff(c.want, problems(c.change)); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
	}
}

func TestFloor(t *testing.T) {
	week := 7 * 24 * time.Hour
	log := sink.LogSettings{MinCompactionLag: week, DeleteRetention: week, Compacted: true}
	for _, c := range []struct {
		keep    time.Duration
		deletes string
		log     sink.LogSettings
		want    time.Duration
	}{
		{15 * 24 * time.Hour, elasticsearch.Tombstone, log, 2 * week},
		{week, elasticsearch.Tombstone, log, week},
		{week, elasticsearch.Delete, log, 2 * week},
		{week, elasticsearch.Tombstone, sink.LogSettings{DeleteRetention: time.Hour}, week},
		{week, elasticsearch.Delete, sink.LogSettings{DeleteRetention: time.Hour}, 0},
	} {
		config := elasticsearch.Default()
		config.URL, config.KeepTombstones, config.Deletes = "http://x", c.keep, c.deletes
		if got := open(t, config).Floor(c.log); got != c.want {
			t.Errorf("keep %s, deletes %s: the floor is %s, want %s", c.keep, c.deletes, got, c.want)
		}
	}
}
