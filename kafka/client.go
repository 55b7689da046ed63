package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/sluice-cdc/sluice/change"
)

var codecs = map[string]kgo.CompressionCodec{
	"":       kgo.SnappyCompression(),
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

const (
	dialTimeout = 10 * time.Second
	// backoffFirst is short because the most common retry is CONCURRENT_TRANSACTIONS: the broker is still writing
	// the markers of the transaction before, which takes a few milliseconds. The library's default of 250 ms is
	// what makes back-to-back transactions slow.
	backoffFirst = 4 * time.Millisecond
	backoffMax   = time.Second
)

// Options returns the client options that the config asks for; brokers, encryption, identity, compression and
// pacing of retries. What a client is for (groups, transactions) is added by its owner.
func Options(c Config) ([]kgo.Opt, error) {
	codec, err := c.codec()
	if err != nil {
		return nil, err
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID("sluice"),
		kgo.SoftwareNameAndVersion("sluice", "1"),
		kgo.DialTimeout(dialTimeout),
		kgo.RetryBackoffFn(Backoff),
		kgo.RetryTimeout(30 * time.Second),
		kgo.MetadataMinAge(100 * time.Millisecond), // a moved leader is found soon
		kgo.ProducerBatchCompression(codec),
		kgo.DisableClientMetrics(), // nothing is sent to the broker that nobody asked for
	}
	if c.TLS.On() {
		t, err := c.TLS.config()
		if err != nil {
			return nil, configuration("kafka.tls", err)
		}
		opts = append(opts, kgo.DialTLSConfig(t))
	}
	if c.SASL.Mechanism != "" {
		if _, err := c.SASL.secret(); err != nil { // now, rather than at the first connect
			return nil, configuration("kafka.sasl", err)
		}
		opts = append(opts, kgo.SASL(c.SASL.mechanism()))
	}
	return opts, nil
}

func (c Config) codec() (kgo.CompressionCodec, error) {
	codec, ok := codecs[c.Compression]
	if !ok {
		return codec, configuration("kafka.compression", fmt.Errorf("unknown codec %q", c.Compression))
	}
	return codec, nil
}

// Compressor returns what compresses the batches that are made here; nil: nothing does.
func Compressor(c Config) (kgo.Compressor, error) {
	codec, err := c.codec()
	if err != nil {
		return nil, err
	}
	compressor, err := kgo.DefaultCompressor(codec)
	if err != nil {
		return nil, configuration("kafka.compression", err)
	}
	return compressor, nil
}

// NewClient returns a client for reading and administration. More options may be added.
func NewClient(c Config, more ...kgo.Opt) (*kgo.Client, error) {
	opts, err := Options(c)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(opts, more...)...)
	if err != nil {
		return nil, configuration("kafka", err)
	}
	return client, nil
}

// Backoff is how long to wait before a request is tried again, the first time with tries 1. It doubles from 4 ms to a second, each with up
// to a quarter taken off, so that many clients do not come back in step.
func Backoff(tries int) time.Duration {
	d := backoffMax
	if shift := tries - 1; shift < 8 {
		d = min(d, backoffFirst<<max(shift, 0))
	}
	return d - rand.N(d/4)
}

func (t TLS) config() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.SkipVerify}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: no certificate in %s", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("cert and key: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

func (s SASL) mechanism() sasl.Mechanism {
	auth := func(context.Context) (scram.Auth, error) {
		password, err := s.secret()
		return scram.Auth{User: s.User, Pass: password}, err
	}
	switch s.Mechanism {
	case "scram-sha-256":
		return scram.Sha256(auth)
	case "scram-sha-512":
		return scram.Sha512(auth)
	}
	return plain.Plain(func(context.Context) (plain.Auth, error) {
		password, err := s.secret()
		return plain.Auth{User: s.User, Pass: password}, err
	})
}

func configuration(where string, err error) error {
	return &change.Problem{Kind: change.Configuration, What: "the Kafka settings cannot be used", Where: where, Err: err}
}
