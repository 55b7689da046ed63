package kafka

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.yaml.in/yaml/v3"

	"github.com/sluice-cdc/sluice/change"
)

func TestConfigFromYAML(t *testing.T) {
	c := Default()
	const text = `
brokers: ["k1:9092", "k2:9092"]
registry: "http://registry:8081"
partitions: 48
replication: 3
min_compaction_lag: 24h
compression: zstd
tls: {ca: /ca.pem, server_name: kafka}
sasl: {mechanism: scram-sha-512, user: u, password: p}
`
	must(t, yaml.Unmarshal([]byte(text), &c))
	if errs := c.Validate(); len(errs) != 0 {
		t.Error(errs)
	}
	if c.MinCompactionLag != 24*time.Hour || c.DeleteRetention != 7*24*time.Hour || c.Partitions != 48 || !c.TLS.On() || c.MaxMessageBytes != 16<<20 {
		t.Errorf("%+v", c)
	}
}

func TestValidateNamesEveryFault(t *testing.T) {
	good := Default()
	good.Brokers = []string{"k:1"}
	if errs := good.Validate(); len(errs) != 0 {
		t.Fatal(errs)
	}
	for key, spoil := range map[string]func(*Config){
		"brokers: missing":    func(c *Config) { c.Brokers = nil },
		"brokers: \"http://k": func(c *Config) { c.Brokers = []string{"http://k"} },
		"partitions":          func(c *Config) { c.Partitions = 0 },
		"replication":         func(c *Config) { c.Replication = 0 },
		"min_compaction_lag":  func(c *Config) { c.MinCompactionLag = -1 },
		"delete_retention":    func(c *Config) { c.DeleteRetention = 0 },
		"max_message_bytes":   func(c *Config) { c.MaxMessageBytes = 1 },
		"compression":         func(c *Config) { c.Compression = "rar" },
		"tls: cert":           func(c *Config) { c.TLS.Cert = "x" },
		"sasl.mechanism: \"k": func(c *Config) { c.SASL = SASL{Mechanism: "kerberos", User: "u"} },
		"sasl.mechanism: mis": func(c *Config) { c.SASL.User = "u" },
		"sasl.user":           func(c *Config) { c.SASL.Mechanism = "plain" },
		"password_file":       func(c *Config) { c.SASL = SASL{Mechanism: "plain", User: "u", Password: "p", PasswordFile: "f"} },
	} {
		c := good
		spoil(&c)
		errs := c.Validate()
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), "kafka."+key) && !strings.Contains(errs[0].Error(), key) {
			t.Errorf("%s: %v", key, errs)
		}
	}
}

func TestSecretsPrintAsStars(t *testing.T) {
	s := SASL{Mechanism: "plain", User: "u", Password: "hush"}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "sasl", s, "password", s.Password)
	asJSON, _ := json.Marshal(s)
	asYAML, _ := yaml.Marshal(s)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s, s.Password), log.String(), string(asJSON), string(asYAML)} {
		if strings.Contains(text, "hush") || !strings.Contains(text, stars) {
			t.Errorf("prints as %s", text)
		}
	}
}

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	for tries := range 100 {
		if d := Backoff(tries); d < backoffFirst*3/4 || d > backoffMax {
			t.Errorf("Backoff(%d) = %v", tries, d)
		}
	}
	if Backoff(1) > backoffFirst || Backoff(50) < backoffMax*3/4 {
		t.Errorf("Backoff(1) = %v, Backoff(50) = %v", Backoff(1), Backoff(50))
	}
}

func TestSASL(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(file, []byte("hush\n"), 0o600))
	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser(strings.ToUpper(mechanism), "u", "hush"))
		must(t, err)
		defer cluster.Close()
		c := Default()
		c.Brokers = cluster.ListenAddrs()
		c.SASL = SASL{Mechanism: mechanism, User: "u", PasswordFile: file}
		try := func() error {
			client, err := NewClient(c, kgo.RetryTimeout(time.Second))
			must(t, err)
			defer client.Close()
			_, err = LookupTopic(ctxOf(t), kadm.NewClient(client), "t")
			return err
		}
		must(t, try())
		c.SASL.PasswordFile, c.SASL.Password = "", "wrong"
		// The local broker hangs up; Apache Kafka says what is wrong.
		if p := problemOf(t, try()); !strings.Contains(p.Mend, "kafka.sasl") {
			t.Errorf("%s: a wrong password: %v", mechanism, change.Explain(p))
		}
	}
	c := Default()
	c.Brokers, c.SASL = []string{"127.0.0.1:1"}, SASL{Mechanism: "plain", User: "u", PasswordFile: file + "x"}
	if _, err := NewClient(c); problemOf(t, err).Kind != change.Configuration {
		t.Errorf("a missing password file: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	c := Default()
	c.Brokers = []string{"127.0.0.1:1"}
	client, err := NewClient(c, kgo.RetryTimeout(200*time.Millisecond))
	must(t, err)
	defer client.Close()
	_, err = EnsureTopic(ctxOf(t), kadm.NewClient(client), "t", c.TableSettings())
	if p := problemOf(t, err); p.Kind != change.Retry || !strings.Contains(p.Mend, "kafka.brokers") {
		t.Errorf("got %v", change.Explain(err))
	}
}

func TestExplainKeepsWhatIsExplained(t *testing.T) {
	known := &change.Problem{Kind: change.Poison, What: "x"}
	if got := Explain(fmt.Errorf("around: %w", known), "y", "z"); !errors.Is(got, known) || change.SeverityOf(got) != change.Poison {
		t.Errorf("got %v", got)
	}
	if Explain(nil, "y", "z") != nil {
		t.Error("no error is one")
	}
}
