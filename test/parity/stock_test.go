package parity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/linkedin/goavro/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/source"
	"github.com/sluice-cdc/sluice/testbed"
)

// packages returns the folder with the reader's Python packages, fetched once into the cache, or skips the test and says why.
func packages(t *testing.T) string {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skipf("the stock reader is in Python: %v", err)
	}
	const list = "testdata/requirements.txt"
	pinned, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := testbed.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, fmt.Sprintf("confluent-kafka-python-%x", sha256.Sum256(pinned))[:32])
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	building, err := os.MkdirTemp(cache, ".confluent-kafka-python-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(building)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
		"--target", building, "--requirement", list).CombinedOutput()
	if err != nil {
		t.Skipf("the packages of %s cannot be had by pip: %v\n%s", list, err, out)
	}
	if err := os.Rename(building, dir); err != nil {
		if _, there := os.Stat(dir); there != nil { // another test was not faster
			t.Fatal(err)
		}
	}
	return dir
}

// statements fill tables of all kinds of types, before and after the source begins.
var before = []string{
	"CREATE DATABASE shop",
	`CREATE TABLE shop.kinds (id BIGINT UNSIGNED, part VARCHAR(9) COLLATE utf8mb4_0900_ai_ci, t TINYINT, s SMALLINT UNSIGNED, m MEDIUMINT, i INT UNSIGNED,
	  b BIGINT, u BIGINT UNSIGNED, f FLOAT, d DOUBLE, x DECIMAL(65,30), y DECIMAL(9,0), o BIT(1), w BIT(64), yr YEAR, da DATE, ti TIME(6), dt DATETIME(3),
	  d6 DATETIME(6), ts TIMESTAMP(6) NULL, c CHAR(5) CHARACTER SET gbk, v VARCHAR(40), bi BINARY(8), bl BLOB, tx MEDIUMTEXT, e ENUM('a','é'), se SET('x','y'),
	  j JSON, g GEOMETRY, ve VECTOR(2), PRIMARY KEY (id, part))`,
	"INSERT INTO shop.kinds (id, part) VALUES (1, 'nothing')",
	fmt.Sprintf("INSERT INTO shop.kinds VALUES (18446744073709551615, 'most', %s)", most),
	fmt.Sprintf("INSERT INTO shop.kinds VALUES (0, 'least', %s)", least),
}

var after = []string{
	"INSERT INTO shop.kinds (id, part) VALUES (2, 'nothing')",
	fmt.Sprintf("INSERT INTO shop.kinds VALUES (18446744073709551614, 'Most', %s)", most),
	fmt.Sprintf("INSERT INTO shop.kinds VALUES (3, 'least', %s)", least),
	"UPDATE shop.kinds SET v = 'updated 😀', x = 0.000000000000000000000000000001 WHERE part = 'least'",
	"UPDATE shop.kinds SET part = 'MOST' WHERE part = 'most'",
	"DELETE FROM shop.kinds WHERE id = 2",
	"ALTER TABLE shop.kinds ADD COLUMN later INT",
	"INSERT INTO shop.kinds (id, part, later) VALUES (4, 'later', 7)",
}

const most = `127, 65535, 8388607, 4294967295, 9223372036854775807, 18446744073709551615, 3.4028234663852886e38, 1.7976931348623157e308,
	99999999999999999999999999999999999.999999999999999999999999999999, 999999999, 1, 18446744073709551615, 2155, '9999-12-31', '838:59:59',
	'9999-12-31 23:59:59.999', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.499999', '汉字', 'é€ 日本 😀 \\ \0', x'0001020304050600', REPEAT(x'ff00', 999),
	REPEAT('日', 9999), 'é', 'x,y', '{"a": [1, 2.5, null, "😀"]}', ST_GeomFromText('POINT(1 2)', 4326), TO_VECTOR('[1,-0]')`

const least = `-128, 0, -8388608, 0, -9223372036854775808, 0, -0e0, 4.9e-324, -99999999999999999999999999999999999.999999999999999999999999999999, -999999999, 0, 0,
	1901, '0001-01-01', '-838:59:59', '1000-01-01 00:00:00', '1969-12-31 23:59:59.999999', '1970-01-01 00:00:01', '', '', x'00', '', '', 'a', '', 'null',
	ST_GeomFromText('GEOMETRYCOLLECTION EMPTY'), TO_VECTOR('[0,0]')`

// record is one record of a topic, key and value framed.
type record struct{ Key, Value []byte }

// TestStockConsumer has Confluent's client for Python, which knows nothing of us, read from real Kafka what crawl and stream have
// written and decode it by the schemas of a real registry, and compares every value with what goavro makes of it.
func TestStockConsumer(t *testing.T) {
	python := packages(t)
	broker, registryURL, records := shopTopics(t)
	cmd := exec.CommandContext(t.Context(), "python3", filepath.Join("testdata", "read.py"), broker, registryURL, shopTopic)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+python, "PYTHONDONTWRITEBYTECODE=1", "PYTHONIOENCODING=utf-8")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("read.py: %v\n%s", err, &complaints)
	}
	client, err := registry.New(registry.Options{URL: registryURL})
	if err != nil {
		t.Fatal(err)
	}
	reader := &goReader{t: t, client: client, codecs: map[int]*goavro.Codec{}, schemas: map[int]any{}}
	said := json.NewDecoder(bytes.NewReader(out))
	values := 0
	for i, r := range records {
		var python struct{ Key, Value any }
		if err := said.Decode(&python); err != nil {
			t.Fatalf("record %d of %d: %v", i, len(records), err)
		}
		if diff := cmp.Diff(reader.decode(r.Key), python.Key); diff != "" {
			t.Errorf("record %d: key (-goavro +stock):\n%s", i, diff)
		}
		if diff := cmp.Diff(reader.decode(r.Value), python.Value); diff != "" {
			t.Errorf("record %d: value (-goavro +stock):\n%s", i, diff)
		}
		values += reader.told
	}
	if said.More() {
		t.Error("the stock consumer has read more records")
	}
	t.Logf("confluent-kafka for Python: %d records, %d values, %d schemas", len(records), values, len(reader.codecs))
}

const shopTopic = "shop.shop.kinds"

// shopTopics lets a source crawl and follow the table, and returns the topic's records.
func shopTopics(t *testing.T) (brokerAddress, registryURL string, records []record) {
	t.Helper()
	broker, schemas, m := servers(t)
	run := func(statements []string) {
		t.Helper()
		if err := m.Exec(t.Context(), append([]string{"SET time_zone = '+00:00'"}, statements...)...); err != nil {
			t.Fatal(err)
		}
	}
	run(before)
	cfg := source.Default()
	cfg.Name, cfg.MySQL = "shop", mysql.Config{Address: m.Address(), User: "cdc", Password: "cdc"}
	cfg.Kafka.Brokers, cfg.Kafka.Registry, cfg.Kafka.Partitions, cfg.Kafka.Replication = []string{broker.Address()}, schemas.URL(), 1, 1
	cfg.Tables = []source.TableRule{{Match: "shop.*"}}
	cfg.Check(func(path, problem string) { t.Fatalf("%s: %s", path, problem) })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- source.New(cfg, source.Accept{}, slog.New(slog.DiscardHandler)).Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the source: %v", err)
		}
	}()
	read := func(n int) []record {
		t.Helper()
		for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			if records = topic(t, broker.Address(), shopTopic); len(records) >= n {
				return records
			}
		}
		t.Fatalf("%d records, want %d", len(records), n)
		return nil
	}
	read(3)
	run(after)
	// 3 creates, 2 updates; 2 keys spelt anew: delete, tombstone, create each; delete and tombstone; one more create.
	return broker.Address(), schemas.URL(), read(3 + 3 + 2 + 2*3 + 2 + 1)
}

// servers starts real Kafka, a real registry and a source's MySQL, or skips the test and says why. more are further servers that the
// test needs.
func servers(t *testing.T, more ...string) (*testbed.Kafka, *testbed.Registry, *testbed.MySQL) {
	t.Helper()
	for _, name := range append([]string{"kafka", "registry"}, more...) {
		if err := testbed.Available(t.Context(), name); err != nil {
			t.Skipf("%s: %v", name, err)
		}
	}
	broker, err := testbed.StartKafka(t.Context(), testbed.KafkaOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broker.Stop() })
	schemas, err := testbed.StartRegistry(t.Context(), testbed.RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { schemas.Stop() })
	m, err := testbed.StartMySQL(t.Context(), testbed.MySQLOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Stop() })
	return broker, schemas, m
}

// topic reads a topic of one partition to its end.
func topic(t *testing.T, broker, name string) (records []record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(name, 0)
	for next := int64(0); next < end.Offset; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			next = r.Offset + 1
			if !r.Attrs.IsControl() {
				records = append(records, record{r.Key, r.Value})
			}
		})
	}
	return records
}

// goReader decodes framed records by goavro and tells them as read.py does.
type goReader struct {
	t       *testing.T
	client  *registry.Client
	codecs  map[int]*goavro.Codec
	schemas map[int]any
	named   map[string]any // the named types of the schema at hand
	told    int            // values of the last record
}

func (g *goReader) decode(framed []byte) any {
	g.t.Helper()
	if framed == nil {
		return nil
	}
	id, body, err := registry.ReadFrame(framed)
	if err != nil {
		g.t.Fatal(err)
	}
	if g.codecs[id] == nil {
		text, err := g.client.Schema(g.t.Context(), id)
		if err != nil {
			g.t.Fatal(err)
		}
		if g.codecs[id], err = goavro.NewCodec(text); err != nil {
			g.t.Fatal(err)
		}
		var schema any
		if err := json.Unmarshal([]byte(text), &schema); err != nil {
			g.t.Fatal(err)
		}
		g.schemas[id] = schema
	}
	native, rest, err := g.codecs[id].NativeFromBinary(body)
	if err != nil || len(rest) > 0 {
		g.t.Fatalf("%v, %d bytes follow: %s", err, len(rest), base64.StdEncoding.EncodeToString(framed))
	}
	g.named, g.told = map[string]any{}, 0
	g.name(g.schemas[id], "")
	return g.tell(g.schemas[id], native)
}

// name notes the schema's records by their names, with and without the space that they are in.
func (g *goReader) name(schema any, space string) {
	switch s := schema.(type) {
	case []any:
		for _, branch := range s {
			g.name(branch, space)
		}
	case map[string]any:
		if own, ok := s["namespace"].(string); ok {
			space = own
		}
		if name, ok := s["name"].(string); ok && s["type"] == "record" {
			g.named[name], g.named[space+"."+name] = s, s
		}
		fields, _ := s["fields"].([]any)
		for _, f := range fields {
			g.name(f.(map[string]any)["type"], space)
		}
	}
}

// tell walks along the schema: goavro names the branch of a union in its values, and only the schema says where one is.
func (g *goReader) tell(schema, v any) any {
	if v == nil {
		return nil
	}
	switch s := schema.(type) {
	case string:
		if named, ok := g.named[s]; ok {
			return g.tell(named, v)
		}
	case []any:
		for name, inner := range v.(map[string]any) {
			return g.tell(g.branch(s, name), inner)
		}
	case map[string]any:
		return g.tellComplex(s, v)
	}
	g.told++
	return scalar(v, 0)
}

// branch returns the branch of a union that goavro calls so.
func (g *goReader) branch(union []any, name string) any {
	for _, b := range union {
		switch b := b.(type) {
		case string:
			if b == name || strings.HasSuffix(name, "."+b) {
				return b
			}
		case map[string]any:
			if full, _ := b["name"].(string); full != "" && (full == name || strings.HasSuffix(name, "."+full)) {
				return b
			}
			kind, _ := b["type"].(string)
			if logical, _ := b["logicalType"].(string); name == kind || name == kind+"."+logical {
				return b
			}
		}
	}
	g.t.Fatalf("no branch %s in %v", name, union)
	return nil
}

func (g *goReader) tellComplex(s map[string]any, v any) any {
	switch s["type"] {
	case "record":
		out := map[string]any{}
		fields := v.(map[string]any)
		for _, f := range s["fields"].([]any) {
			field := f.(map[string]any)
			out[field["name"].(string)] = g.tell(field["type"], fields[field["name"].(string)])
		}
		return []any{"record", out}
	case "array":
		list := []any{}
		for _, e := range v.([]any) {
			list = append(list, g.tell(s["items"], e))
		}
		return []any{"list", list}
	}
	g.told++
	scale, _ := s["scale"].(float64)
	return scalar(v, int(scale))
}

func scalar(v any, scale int) any {
	switch v := v.(type) {
	case bool:
		return []any{"bool", fmt.Sprint(v)}
	case int32, int64:
		return []any{"int", fmt.Sprint(v)}
	case float32:
		return float(float64(v))
	case float64:
		return float(v)
	case *big.Rat:
		return []any{"decimal", v.FloatString(scale)}
	case []byte:
		return []any{"bytes", hex.EncodeToString(v)}
	case string:
		return []any{"text", v}
	}
	return fmt.Sprintf("%T: %v", v, v)
}

func float(f float64) any {
	return []any{"float", hex.EncodeToString(binary.BigEndian.AppendUint64(nil, math.Float64bits(f)))}
}
