package redis_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/config"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/redis"
	"github.com/sluice-cdc/sluice/testbed"
)

func TestConfig(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                                                                                                                    "addresses: missing",
		"{addresses: [localhost]}":                                                                                              `addresses[0]: "localhost": want host:port`,
		`{addresses: ["a:1", "b:1"]}`:                                                                                           "cluster: true",
		`{addresses: ["a:1"], name: "{db}"}`:                                                                                    "want {table} in it",
		`{addresses: ["a:1"], name: "{db}{table}"}`:                                                                             "between two parts",
		`{addresses: ["a:1"], name: "{db}-{table}"}`:                                                                            "between two parts",
		`{addresses: ["a:1"], name: "{db}:{tabel}"}`:                                                                            "{source}, {db}, {table}",
		`{addresses: ["a:1"], name: "sluice:{table}"}`:                                                                          "Sluice's own",
		`{addresses: ["a:1"], cluster: true, name: "{table}"}`:                                                                  "leave name out",
		`{addresses: ["a:1"], cluster: true, database: 1}`:                                                                      "0 in a cluster",
		`{addresses: ["a:1"], password: a, password_file: b}`:                                                                   "exclude each other",
		`{addresses: ["a:1"], keep_tombstones: 5s}`:                                                                             "a minute or more",
		`{addresses: ["a:1"], timeout: 5ms}`:                                                                                    "a second or more",
		`{addresses: ["a:1"], tables: [{match: orders}]}`:                                                                       "want database.table",
		`{addresses: ["a:1"], tables: [{match: "*.*", as: xml}]}`:                                                               "want hash, json or string",
		`{addresses: ["a:1"], tables: [{match: "*.*", as: string}]}`:                                                            "goes with as: string",
		`{addresses: ["a:1"], tables: [{match: "*.*", value: a}]}`:                                                              "goes with as: string",
		`{addresses: ["a:1"], tables: [{match: "*.*", key: "{a}{b}"}]}`:                                                         "between two parts",
		`{addresses: ["a:1"], tables: [{match: "*.*", key: "{a}#{b}"}]}`:                                                        "or one of # and %",
		`{addresses: ["a:1"], tables: [{match: "*.*", key: "a"}]}`:                                                              "want {key} or columns",
		`{addresses: ["a:1"], tables: [{match: "*.*", slots: 2}]}`:                                                              "only in a cluster",
		`{addresses: ["a:1"], cluster: true, tables: [{match: "*.*", slots: 1000}]}`:                                            "want 1 to 256",
		`{addresses: ["a:1"], tables: [{match: "*.*", stream: {}}]}`:                                                            "fills the memory",
		`{addresses: ["a:1"], tables: [{match: "*.*", indexes: [{name: a}]}]}`:                                                  "want set, sorted or geo",
		`{addresses: ["a:1"], tables: [{match: "*.*", indexes: [{name: "a:b", kind: set, by: a}]}]}`:                            "want letters",
		`{addresses: ["a:1"], tables: [{match: "*.*", indexes: [{name: a, kind: set}]}]}`:                                       "by: missing",
		`{addresses: ["a:1"], tables: [{match: "*.*", indexes: [{name: a, kind: sorted, by: a}]}]}`:                             "score: missing",
		`{addresses: ["a:1"], tables: [{match: "*.*", indexes: [{name: a, kind: geo, longitude: a}]}]}`:                         "latitude: missing",
		`{addresses: ["a:1"], tables: [{match: "*.*", indexes: [{name: a, kind: set, by: a, score: b}]}]}`:                      "does not go with kind: set",
		`{addresses: ["a:1"], tables: [{match: "*.*", indexes: [{name: a, kind: set, by: a}, {name: a, kind: set, by: b}]}]}`:   "is there twice",
		`{addresses: ["a:1"], tables: [{match: "*.*", indexes: [{name: changes, kind: set, by: a}], stream: {max_length: 5}}]}`: "is there twice",
		`{adresses: ["a:1"]}`: "addresses",
	} {
		page := struct {
			Redis redis.Config `yaml:"redis"`
		}{redis.Default()}
		if err := config.Parse("sink.yaml", []byte("redis: "+text), nil, &page); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want %q", text, err, want)
		}
	}
}

func TestRefusedConnections(t *testing.T) {
	s := ownServer(t, nil)
	for _, command := range [][]string{{"ACL", "SETUSER", "weak", "on", ">weak", "~*", "+@read", "+info", "+hello", "+client"}, {"CONFIG", "SET", "requirepass", "secret"}} {
		if _, err := s.Do(t.Context(), command...); err != nil {
			t.Fatal(err)
		}
	}
	try := func(with func(*redis.Config)) error {
		p := placeOn(t, s)
		with(&p.config)
		p.config.Timeout = 2 * time.Second
		target := p.open()
		defer target.Close()
		return target.Prepare(t.Context(), "g", "src", []*change.Table{table("orders", note)})
	}
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	problemOf(t, try(func(c *redis.Config) {}), change.Configuration, "NOAUTH", "redis.password")
	problemOf(t, try(func(c *redis.Config) { c.Password = "wrong" }), change.Configuration, "WRONGPASS", "redis.password")
	problemOf(t, try(func(c *redis.Config) { c.User, c.Password = "weak", "weak" }), change.Configuration, "NOPERM", "ACL SETUSER")
	problemOf(t, try(func(c *redis.Config) { c.PasswordFile, c.Database = secret, 99 }), change.Configuration, "redis.database")
	problemOf(t, try(func(c *redis.Config) { c.Addresses = []string{"127.0.0.1:1"} }), change.Retry, "127.0.0.1:1", "tried again")
	if err := try(func(c *redis.Config) { c.PasswordFile, c.Database = secret, 3 }); err != nil {
		t.Error(change.Explain(err))
	}
	problemOf(t, try(func(c *redis.Config) { c.Password, c.Cluster = "secret", true }), change.Configuration, "redis.cluster: false")
	c := redis.Default()
	c.Addresses, c.PasswordFile = []string{s.Address()}, "/no/such/file"
	_, err := redis.New(c, sink.Setup{Log: slog.New(slog.DiscardHandler)})
	problemOf(t, err, change.Configuration, "/no/such/file", "redis.password_file")

	nodes := serverOf(t, "cluster")
	p := placeOn(t, nodes[0])
	target := p.open()
	defer target.Close()
	problemOf(t, target.Prepare(t.Context(), "g", "src", []*change.Table{table("orders", note)}), change.Configuration, "redis.cluster: true")
}

// TestLeastUser applies as a user who may do no more than the docs ask for.
func TestLeastUser(t *testing.T) {
	s := ownServer(t, nil)
	if _, err := s.Do(t.Context(), "ACL", "SETUSER", "sink", "on", ">secret", "~*", "+@all", "-@admin", "-@dangerous", "+info"); err != nil {
		t.Fatal(err)
	}
	p := placeOn(t, s)
	p.config.User, p.config.Password = "sink", "secret"
	o := indexed(p)
	o.apply(put(o.table, 10, order(1, "new", "1", "", 1, 1)))
	if rows := o.scan(); len(rows) != 1 {
		t.Errorf("rows are %v", rows)
	}
	if err := o.Empty(t.Context(), "src", []*change.Table{o.table}); err != nil {
		t.Error(change.Explain(err))
	}
	if found, err := o.Check(t.Context(), "g", nil); err != nil || found[0].Level != sink.Good {
		t.Errorf("doctor says %v (%v)", found, err)
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir)
	port := testbed.FreePort()
	t.Cleanup(func() { testbed.ReleasePort(port) })
	s := ownServer(t, map[string]string{"tls-port": strconv.Itoa(port), "tls-cert-file": filepath.Join(dir, "cert.pem"), "tls-key-file": filepath.Join(dir, "key.pem"),
		"tls-ca-cert-file": filepath.Join(dir, "cert.pem"), "tls-auth-clients": "no"})
	p := placeOn(t, s)
	p.config.Addresses, p.config.TLSCA = []string{fmt.Sprintf("127.0.0.1:%d", port)}, filepath.Join(dir, "cert.pem")
	o := p.own(table("orders", note))
	o.apply(put(o.table, 10, row(1, text("secret"))))
	p.holds("secret", "HGET", "shop:orders:1", "note")

	p.config.TLSCA, p.config.TLS = "", true // nobody that the system trusts has signed it
	target := p.open()
	defer target.Close()
	problemOf(t, target.Prepare(t.Context(), "g", "src", []*change.Table{o.table}), change.Configuration, "certificate", "redis.tls_ca")
	p.config.TLSCA = filepath.Join(dir, "key.pem")
	_, err := redis.New(p.config, sink.Setup{Log: slog.New(slog.DiscardHandler)})
	problemOf(t, err, change.Configuration, "no certificate in", "redis.tls_ca")
}

// certificate makes a certificate of 127.0.0.1 that is its own authority, and its key.
func certificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(crand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefusedTables(t *testing.T) {
	two := &change.Table{TableName: change.TableName{DB: "shop", Name: "two"}, Key: []int{1, 0},
		Columns: []change.Column{{Name: "a", Type: change.Int}, {Name: "b", Type: change.Int}, status, total}}
	for name, c := range map[string]struct {
		table redis.Table
		words []string
	}{
		"a part of the key":   {redis.Table{Key: "{a}"}, []string{"lacks columns of the key (b, a)"}},
		"another column":      {redis.Table{Key: "{a}:{b}:{status}"}, []string{"{status} is no column of the key", "an index"}},
		"a column twice":      {redis.Table{Key: "{key}:{a}"}, []string{"column a is there twice"}},
		"no such value":       {redis.Table{As: redis.String, Value: "x"}, []string{"has no column x"}},
		"no such index":       {redis.Table{Indexes: []redis.Index{{Name: "i", Kind: redis.Set, By: "x"}}}, []string{"has no column x"}},
		"a score of text":     {redis.Table{Indexes: []redis.Index{{Name: "i", Kind: redis.Sorted, Score: "status"}}}, []string{"status", "varchar", "a number or a time"}},
		"a longitude of text": {redis.Table{Indexes: []redis.Index{{Name: "i", Kind: redis.Geo, Longitude: "status", Latitude: "total"}}}, []string{"status", "a number"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, "redis")
			c.table.Match = "shop.*"
			p.config.Tables = []redis.Table{c.table}
			target := p.open()
			defer target.Close()
			problemOf(t, target.Prepare(t.Context(), "g", "src", []*change.Table{two}), change.Poison, append(c.words, "redis.tables, match: shop.*")...)
			found, err := target.Check(t.Context(), "g", []*change.Table{two})
			if err != nil || !slices.ContainsFunc(found, func(f sink.Finding) bool { return f.Level == sink.Wrong && strings.Contains(f.What, c.words[0]) }) {
				t.Errorf("doctor finds %v (%v)", found, err)
			}
		})
	}
}

func TestOthersTables(t *testing.T) {
	p := newPlace(t, "redis")
	o := p.own(table("orders", note))
	o.apply(put(o.table, 10, row(1, text("a"))))
	prepare := func(group, source string, table *change.Table, with func(*redis.Config)) error {
		q := placeOn(t, p.nodes...)
		if with != nil {
			with(&q.config)
		}
		target := q.open()
		defer target.Close()
		return target.Prepare(t.Context(), group, source, []*change.Table{table})
	}
	rekeyed := table("orders", note)
	rekeyed.Key = []int{1}
	problemOf(t, prepare("g", "other", o.table, nil), change.Poison, "source src", "source other", "redis.name")
	problemOf(t, prepare("g2", "src", o.table, nil), change.Poison, "group g,", "--empty")
	problemOf(t, prepare("g", "src", rekeyed, nil), change.Poison, "(id)", "(note)", "--empty")
	problemOf(t, prepare("g", "src", o.table, func(c *redis.Config) {
		c.Tables = []redis.Table{{Match: "*.*", Indexes: []redis.Index{{Name: "i", Kind: redis.Set, By: "note"}}}}
	}), change.Poison, "kept otherwise", "index i (set by note)", "--empty")
	if err := prepare("g", "src", o.table, nil); err != nil {
		t.Error(change.Explain(err))
	}

	// Under another name nothing is applied yet: the partition is unknown, and the log is read from its start.
	q := placeOn(t, p.nodes...)
	q.config.Name = "copy:{db}:{table}"
	if again := q.own(o.table); again.at != 0 {
		t.Errorf("under another name the next offset is %d", again.at)
	}
}

// TestRefusedRows: nothing of the batch behind the row is written, and the batch goes on without it.
func TestRefusedRows(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(p *place)
		row     []change.Value
		words   []string
	}{
		"somebody's key":       {func(p *place) { p.do("SET", "shop:orders:5", "x") }, order(5, "new", "", ""), []string{"shop:orders:5", "not written by Sluice", "UNLINK"}},
		"another source's row": {func(p *place) { p.do("HSET", "sluice:row:shop:orders:5", "v", "1", "o", "other/shop.orders") }, order(5, "new", "", ""), []string{"other/shop.orders", "redis.name"}},
		"somebody's index":     {func(p *place) { p.do("SET", "shop:orders#by_status:odd", "x") }, order(5, "odd", "", ""), []string{"shop:orders#by_status:odd", "another type"}},
		"a place off the map":  {nil, order(5, "new", "", "", 10, 89), []string{"lat is 89", "geo index"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, "redis")
			o := indexed(p)
			if c.prepare != nil {
				c.prepare(p)
			}
			changes := []sink.Change{put(o.table, 10, order(1, "new", "", "")), put(o.table, 11, c.row), put(o.table, 12, order(2, "new", "", ""))}
			err := o.try(changes...)
			problemOf(t, err, change.Poison, c.words...)
			var refused *sink.Refused
			if !errors.As(err, &refused) || refused.Offset != 1 {
				t.Fatalf("got %v, want the change at offset 1 refused", err)
			}
			p.holds("0", "EXISTS", "shop:orders:1", "shop:orders:2", "shop:orders#by_status:new", "shop:orders#changes")
			b := o.batch(changes...)
			b.Changes = []sink.Change{changes[0], changes[2]}
			if err := o.Apply(t.Context(), b); err != nil {
				t.Fatal(change.Explain(err))
			}
			p.holds("2", "SCARD", "shop:orders#by_status:new")
		})
	}
}

func TestFullMemory(t *testing.T) {
	s := ownServer(t, map[string]string{"maxmemory": "3mb"})
	p := placeOn(t, s)
	blob := change.Column{Name: "data", Type: change.LongBlob}
	o := p.own(table("blobs", blob))
	var err error
	var n int64
	for ; n < 50 && err == nil; n++ {
		err = o.try(put(o.table, change.Version(10+n), row(n, change.RawValue(make([]byte, 200_000)))))
	}
	problemOf(t, err, change.Retry, "OOM", "maxmemory")
	p.do("CONFIG", "SET", "maxmemory", "0")
	o.apply(put(o.table, change.Version(9+n), row(n-1, change.RawValue(make([]byte, 200_000)))))
	if rows := o.scan(); len(rows) != int(n) {
		t.Errorf("%d rows, want %d", len(rows), n)
	}
}

func TestDoctor(t *testing.T) {
	for _, server := range []string{"redis", "valkey", "cluster"} {
		p := newPlace(t, server)
		target := p.open()
		found, err := target.Check(t.Context(), "g", []*change.Table{table("orders", note)})
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(found)
		for _, want := range []string{map[string]string{"redis": "Redis 7", "valkey": "Valkey 8", "cluster": "Redis 7"}[server], "appendonly is no", "as hash, key {key}"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: doctor says %s, want %q", server, text, want)
			}
		}
		target.Close()
	}
	s := ownServer(t, map[string]string{"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru", "appendonly": "yes", "appendfsync": "always"})
	p := placeOn(t, s)
	target := p.open()
	defer target.Close()
	found, err := target.Check(t.Context(), "g", nil)
	if text := fmt.Sprint(found); err != nil || !strings.Contains(text, "maxmemory-policy is allkeys-lru") || !strings.Contains(text, "appendfsync always") {
		t.Errorf("doctor says %s (%v)", text, err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if found, err = target.Check(t.Context(), "g", nil); err != nil || len(found) != 1 || found[0].Level != sink.Wrong || found[0].Mend == "" {
		t.Errorf("doctor says of a server that is down: %v (%v)", found, err)
	}
}

func TestFloor(t *testing.T) {
	p := newPlace(t, "redis")
	target := p.open()
	defer target.Close()
	day := 24 * time.Hour
	for _, c := range []struct {
		settings sink.LogSettings
		want     time.Duration
	}{
		{sink.LogSettings{Compacted: true, MinCompactionLag: 7 * day, DeleteRetention: 7 * day}, 14 * day},
		{sink.LogSettings{Compacted: true, MinCompactionLag: 70 * day, DeleteRetention: 7 * day}, 15 * day},
		{sink.LogSettings{}, 15 * day},
	} {
		if got := target.Floor(c.settings); got != c.want {
			t.Errorf("the floor of %+v is %v, want %v", c.settings, got, c.want)
		}
	}
}
