package kafka

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"
)

// Config is the `kafka` block of a source's or sink's YAML.
type Config struct {
	// Brokers are the addresses the client asks first, host:port; it learns the others from them.
	Brokers []string `yaml:"brokers"`
	// Registry is the schema registry's address with its base path, if any: http://registry:8081.
	Registry string `yaml:"registry"`
	// RegistryUser and RegistryPassword are sent to the registry as basic authentication, where a user is named.
	RegistryUser     string `yaml:"registry_user"`
	RegistryPassword Secret `yaml:"registry_password"`
	// Partitions is the number that new topics are made with. It is pinned in the checkpoint then: a later change
	// here does not touch topics that exist.
	Partitions int32 `yaml:"partitions"`
	// Replication is the number of copies of new topics; -1 leaves it to the broker. One copy loses acknowledged
	// rows with its disk.
	Replication int16 `yaml:"replication"`

	TLS  TLS  `yaml:"tls"`
	SASL SASL `yaml:"sasl"`

	// MinCompactionLag is how long every change stays readable before compaction may drop it for a newer one of
	// the same key. History sinks, conditions and replays by time see every change within it, and stop beyond.
	MinCompactionLag time.Duration `yaml:"min_compaction_lag"`
	// DeleteRetention is how long a tombstone stays after compaction. A sink that needs longer for its first read
	// would miss deletes, so it stops when it is exceeded.
	DeleteRetention time.Duration `yaml:"delete_retention"`
	// MaxMessageBytes is the largest record, key and value together and before compression. A larger row stops
	// its table.
	MaxMessageBytes int32 `yaml:"max_message_bytes"`
	// Compression of what is produced: none, gzip, snappy, lz4 or zstd. snappy is the default because it takes
	// the source less processor time than lz4: docs/benchmarks.md.
	Compression string `yaml:"compression"`
}

// TLS says how to encrypt connections to the brokers. Naming any file turns it on.
type TLS struct {
	Enabled    bool   `yaml:"enabled"`
	CA         string `yaml:"ca"`          // PEM file; empty: the system's roots
	Cert       string `yaml:"cert"`        // PEM file of the client certificate
	Key        string `yaml:"key"`         // PEM file of its key
	ServerName string `yaml:"server_name"` // expected in the broker's certificate; empty: the host dialled
	SkipVerify bool   `yaml:"skip_verify"` // accept any certificate: for tests, as anyone in between can read along
}

// On reports whether connections are encrypted.
func (t TLS) On() bool {
	return t.Enabled || t.CA != "" || t.Cert != "" || t.Key != "" || t.ServerName != "" || t.SkipVerify
}

// SASL says who we are to the brokers.
type SASL struct {
	Mechanism    string `yaml:"mechanism"` // plain, scram-sha-256 or scram-sha-512; empty: no SASL
	User         string `yaml:"user"`
	Password     Secret `yaml:"password"`
	PasswordFile string `yaml:"password_file"` // read at every connect, so a rotated password needs no restart
}

// Secret is text that prints as stars.
type Secret string

const stars = "*****"

// String returns stars.
func (Secret) String() string { return stars }

// GoString returns stars, for %#v.
func (Secret) GoString() string { return stars }

// MarshalText returns stars, for JSON and YAML.
func (Secret) MarshalText() ([]byte, error) { return []byte(stars), nil }

// LogValue returns stars.
func (Secret) LogValue() slog.Value { return slog.StringValue(stars) }

const week = 7 * 24 * time.Hour

// Default returns the settings that hold where the YAML says nothing.
func Default() Config {
	return Config{
		Partitions:       12,
		Replication:      -1,
		MinCompactionLag: week,
		DeleteRetention:  week,
		MaxMessageBytes:  16 << 20,
		Compression:      "snappy",
	}
}

// maxPartitions is Kafka's practical bound for one topic; more is a typing mistake.
const maxPartitions = 10_000

// Validate returns everything that is wrong with the block, each with the key it is about.
func (c *Config) Validate() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("kafka."+format, args...)) }
	if len(c.Brokers) == 0 {
		bad("brokers: missing; want a list of host:port")
	}
	for _, b := range c.Brokers {
		if b == "" || strings.ContainsAny(b, " /@") {
			bad("brokers: %q is not host:port", b)
		}
	}
	if c.Partitions < 1 || c.Partitions > maxPartitions {
		bad("partitions: %d is not between 1 and %d", c.Partitions, maxPartitions)
	}
	if c.Replication == 0 || c.Replication < -1 {
		bad("replication: %d; want 1 or more, or -1 for the broker's default", c.Replication)
	}
	if c.MinCompactionLag < 0 {
		bad("min_compaction_lag: %v is negative", c.MinCompactionLag)
	}
	if c.DeleteRetention <= 0 {
		bad("delete_retention: %v; tombstones must stay for some time or new sinks miss deletes", c.DeleteRetention)
	}
	if c.MaxMessageBytes < 64<<10 || c.MaxMessageBytes > 64<<20 {
		bad("max_message_bytes: %d is not between 64 KiB and 64 MiB", c.MaxMessageBytes)
	}
	if _, ok := codecs[c.Compression]; !ok {
		bad("compression: %q; want none, gzip, snappy, lz4 or zstd", c.Compression)
	}
	return append(errs, c.validateAccess()...)
}

func (c *Config) validateAccess() []error {
	var errs []error
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		errs = append(errs, fmt.Errorf("kafka.tls: cert and key go together"))
	}
	switch c.SASL.Mechanism {
	case "", "plain", "scram-sha-256", "scram-sha-512":
	default:
		errs = append(errs, fmt.Errorf("kafka.sasl.mechanism: %q; want plain, scram-sha-256 or scram-sha-512", c.SASL.Mechanism))
	}
	if c.SASL.Mechanism == "" && (c.SASL.User != "" || c.SASL.Password != "" || c.SASL.PasswordFile != "") {
		errs = append(errs, fmt.Errorf("kafka.sasl.mechanism: missing, though a user or password is given"))
	}
	if c.SASL.Mechanism != "" && c.SASL.User == "" {
		errs = append(errs, fmt.Errorf("kafka.sasl.user: missing"))
	}
	if c.SASL.Password != "" && c.SASL.PasswordFile != "" {
		errs = append(errs, fmt.Errorf("kafka.sasl: password and password_file exclude each other"))
	}
	return errs
}

// secret returns the password, from the file where one is named.
func (s SASL) secret() (string, error) {
	if s.PasswordFile == "" {
		return string(s.Password), nil
	}
	b, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("kafka.sasl.password_file: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
