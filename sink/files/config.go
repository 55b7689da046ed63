package files

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/config"
	"github.com/sluice-cdc/sluice/kafka"
)

// Config is the files block of a sink's page.
type Config struct {
	// Path is where the files lie: a folder, or s3://bucket/prefix. It is one group's alone.
	Path string `yaml:"path"`

	S3 S3Config `yaml:"s3"`

	// Spool is a folder for files that are being made before they go to S3; the system's temp folder when empty. On a local disk they
	// are made beside the others.
	Spool string `yaml:"spool"`

	// RollSize and RollTime say when what is staged becomes a visible file: as soon as either is reached.
	RollSize config.Size   `yaml:"roll_size"`
	RollTime time.Duration `yaml:"roll_time"`

	// RowGroup bounds, roughly, what of a file is in memory while it is written, and is how much a reader reads at once.
	RowGroup config.Size `yaml:"row_group"`

	// CompactAfter is how long after a day's end its files are merged; 0: never. Files above CompactSize are left as they are, and
	// none larger is made.
	CompactAfter time.Duration `yaml:"compact_after"`
	CompactSize  config.Size   `yaml:"compact_size"`

	// KeepReplaced is how long files stay that were merged into another.
	KeepReplaced time.Duration `yaml:"keep_replaced"`

	// Retention is after how long a day's files are removed; 0: never.
	Retention time.Duration `yaml:"retention"`

	// Dates is date (DATE, DATETIME and TIMESTAMP as Parquet's own types; a zero date is refused) or text.
	Dates string `yaml:"dates"`

	// CopyKeys is how many keys Copy and Scan hold at once; a partition with more is read several times.
	CopyKeys int `yaml:"copy_keys"`

	// Timeout bounds one request to the storage.
	Timeout time.Duration `yaml:"timeout"`
}

// S3Config says how to reach a bucket.
type S3Config struct {
	Endpoint      string       `yaml:"endpoint"` // https://host:port; Amazon's of the region when empty
	Region        string       `yaml:"region"`
	AccessKey     string       `yaml:"access_key"`
	SecretKey     kafka.Secret `yaml:"secret_key"`
	SecretKeyFile string       `yaml:"secret_key_file"`
	SessionToken  kafka.Secret `yaml:"session_token"`
	TLSCA         string       `yaml:"tls_ca"` // PEM file; the system's authorities when empty
}

// The words of Dates.
const (
	Date = "date"
	Text = "text"
)

const s3Scheme = "s3://"

// Default returns the settings that hold where the page says nothing.
func Default() Config {
	return Config{S3: S3Config{Region: "us-east-1"}, RollSize: 128 << 20, RollTime: 10 * time.Minute, RowGroup: 16 << 20,
		CompactAfter: time.Hour, CompactSize: 512 << 20, KeepReplaced: time.Hour, Dates: Date, CopyKeys: 2_000_000, Timeout: 2 * time.Minute}
}

// Check reports everything that is wrong.
func (c *Config) Check(report func(path, problem string)) {
	switch {
	case c.Path == "":
		report("path", "missing: want a folder, or s3://bucket/prefix")
	case strings.HasPrefix(c.Path, s3Scheme):
		c.checkS3(report)
	case strings.Contains(c.Path, "://"):
		report("path", fmt.Sprintf("%q: want a folder, or s3://bucket/prefix", c.Path))
	case c.S3.AccessKey != "" || c.S3.Endpoint != "":
		report("s3", fmt.Sprintf("goes with a path like s3://bucket/prefix; path is the folder %q", c.Path))
	}
	if c.Dates != Date && c.Dates != Text {
		report("dates", fmt.Sprintf("%q: want %s or %s", c.Dates, Date, Text))
	}
	bound := func(ok bool, path, problem string) {
		if !ok {
			report(path, problem)
		}
	}
	bound(c.RollSize >= 1<<10 && c.RollSize <= 4<<30, "roll_size", "want 1KiB to 4GiB")
	bound(c.RollTime >= 0 && c.RollTime <= 24*time.Hour, "roll_time", "want 0s (each batch is a file) to 24h")
	bound(c.RowGroup >= 64<<10 && c.RowGroup <= 1<<30, "row_group", "want 64KiB to 1GiB")
	bound(c.CompactAfter == 0 || c.CompactAfter >= time.Hour, "compact_after", "want 1h or more, or 0s for never")
	bound(c.CompactSize >= 1<<20 && c.CompactSize <= 4<<30, "compact_size", "want 1MiB to 4GiB")
	bound(c.KeepReplaced >= time.Minute, "keep_replaced", "want 1m or more: readers that have listed a file must find it")
	bound(c.Retention == 0 || c.Retention >= 48*time.Hour, "retention", "want 48h or more, or 0s for ever")
	bound(c.CopyKeys >= 1000, "copy_keys", "want 1000 or more")
	bound(c.Timeout >= time.Second && c.Timeout <= 10*time.Minute, "timeout", "want 1s to 10m")
}

func (c *Config) checkS3(report func(path, problem string)) {
	if bucket, _ := c.bucket(); bucket == "" || strings.ContainsAny(bucket, "?#@: ") {
		report("path", fmt.Sprintf("%q: want s3://bucket/prefix", c.Path))
	}
	if c.S3.Endpoint != "" {
		u, err := url.Parse(c.S3.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.User != nil {
			report("s3.endpoint", fmt.Sprintf("%q: want https://host:port", c.S3.Endpoint))
		}
	}
	if c.S3.Region == "" {
		report("s3.region", "missing: requests are signed for a region; us-east-1 where the storage has none")
	}
	if c.S3.AccessKey == "" {
		report("s3.access_key", "missing")
	}
	switch {
	case c.S3.SecretKey != "" && c.S3.SecretKeyFile != "":
		report("s3.secret_key_file", "secret_key and secret_key_file exclude each other")
	case c.S3.SecretKey == "" && c.S3.SecretKeyFile == "":
		report("s3.secret_key", `missing: want secret_key: "${NAME}" or secret_key_file`)
	}
}

// bucket returns the bucket and the prefix of an s3 path, without slashes around it.
func (c *Config) bucket() (bucket, prefix string) {
	bucket, prefix, _ = strings.Cut(strings.TrimPrefix(c.Path, s3Scheme), "/")
	return bucket, strings.Trim(prefix, "/")
}

// open returns the place that the config names, or another path with the same settings.
func (c *Config) open() (store, error) {
	if !strings.HasPrefix(c.Path, s3Scheme) {
		root, err := filepath.Abs(c.Path)
		if err != nil {
			return nil, &change.Problem{Kind: change.Configuration, What: "files.path " + c.Path + " is no folder", Err: err, Mend: "mend files.path"}
		}
		return &local{root: root}, nil
	}
	return newS3(c)
}

func (c *S3Config) secret() (string, error) {
	if c.SecretKeyFile == "" {
		return string(c.SecretKey), nil
	}
	b, err := os.ReadFile(c.SecretKeyFile)
	if err != nil {
		return "", &change.Problem{Kind: change.Configuration, What: "the secret key's file cannot be read", Err: err, Mend: "mend files.s3.secret_key_file"}
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
