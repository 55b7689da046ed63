package system

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
	"github.com/sluice-cdc/sluice/verify"
)

// redisPage is the sink's config: each form, and an index of each kind.
const redisPage = `group: cache
kafka: {brokers: [%q], registry: %q}
topics: ["shop.shop.*"]
session_timeout: 6s
redis:
  addresses: [%q]
  tables:
    - match: shop.orders
      indexes:
        - {name: by_status, kind: set, by: status}
        - {name: recent, kind: sorted, score: updated_at, by: user_id}
        - {name: by_total, kind: sorted, score: total}
      stream: {max_length: 1000}
    - {match: shop.products, as: json}
    - match: shop.places
      indexes: [{name: near, kind: geo, longitude: lng, latitude: lat}]
sources: {shop: {address: %q, user: cdc, password: cdc}}
`

// redisBed is a shop, and a Redis with it.
type redisBed struct {
	*bed
	db     *sql.DB
	server *testbed.RedisServer
	client rueidis.Client
	config string
}

// TestRedisWalk: MySQL, the local broker, the sink as a process that is killed again and again while the shop is written to, and once the
// server too, whose log has all that it said it had. In the end every row, index and geo entry is compared: by verify, and by a comparison that
// knows nothing of the sink's code. Then Redis is emptied and filled anew from the log alone.
func TestRedisWalk(t *testing.T) {
	needs(t, "mysql-9.7", "redis")
	b := &redisBed{bed: newBed(t)}
	m, db := b.mysql(testbed.MySQLOptions{})
	b.db = db
	shop := rig.Shop{Database: "shop", Rows: size(6_000, 200_000)}
	if err := shop.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	exec1(t, db, "CREATE TABLE shop.places (id INT NOT NULL PRIMARY KEY, lng DOUBLE, lat DECIMAL(9,6), name VARCHAR(20))",
		"INSERT INTO shop.places SELECT id, 126 + id / 1e3 % 3, 33 + id % 500 / 100, CONCAT('p', id) FROM shop.customers WHERE id <= 1000")
	var err error
	if b.server, err = testbed.StartRedis(t.Context(), testbed.RedisOptions{Settings: map[string]string{"appendonly": "yes", "appendfsync": "always"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.server.Stop() })
	b.source(m, "")
	b.config = b.file("redis.yaml", fmt.Sprintf(redisPage, b.broker, b.registry, b.server.Address(), m.Address()))
	sink := b.start("redis", "sluice-sink-redis", "", []string{"--config", b.config})

	stop := b.movePlaces()
	w := &rig.Writer{DB: db, Shop: shop, Connections: size(4, 16), PerSecond: size(400, 2000), Seed: seed(t)}
	var server sync.WaitGroup
	length := size(16*time.Second, 2*time.Minute)
	server.Go(func() {
		time.Sleep(length / 2)
		if err := errors.Join(b.server.Kill(), b.server.Start(context.Background())); err != nil {
			t.Error(err)
		}
	})
	b.underFire(w, length, size(1, 10), sink)
	server.Wait()
	stop()
	t.Logf("%d rows, %d changes, %d kills of the sink, one of %s %s", shop.Rows, w.Changes(), size(1, 10), b.server.Kind, b.server.Version)
	b.redisEqual()

	if err := sink.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	b.sluice(0, "replay", "--to", "beginning", "--empty")
	if left := b.keys("shop:*"); len(left) > 0 {
		t.Errorf("replay --empty leaves %d keys", len(left))
	}
	if err := sink.Start(); err != nil {
		t.Fatal(err)
	}
	b.redisEqual()
	b.planted()
}

// movePlaces moves the places around until stop is called.
func (b *redisBed) movePlaces() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			id := 1 + i*7919%1000
			exec1(b.t, b.db, fmt.Sprintf("UPDATE shop.places SET lng = lng + 0.01, lat = lat + 0.01 WHERE id = %d", id),
				fmt.Sprintf("DELETE FROM shop.places WHERE id = %d", id+1),
				fmt.Sprintf("REPLACE INTO shop.places VALUES (%d, IF(%d %% 5, 127.5, NULL), 37.5, 'new')", id+2, i))
			time.Sleep(10 * time.Millisecond)
		}
	})
	return func() {
		cancel()
		writing.Wait()
	}
}

// sluice runs a command of the sink and returns what it prints.
func (b *redisBed) sluice(want int, args ...string) string {
	b.t.Helper()
	cmd := exec.Command(binary(b.t, "sluice-sink-redis", ""), append(args, "--config", b.config)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != want {
		b.t.Fatalf("%v: exit %d, want %d (%v)\n%s%s", args, code, want, err, out.String(), errs.String())
	}
	return out.String()
}

func (b *redisBed) connect() rueidis.Client {
	b.t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{b.server.Address()}, ForceSingleClient: true, DisableCache: true})
	if err != nil {
		b.t.Fatal(err)
	}
	return client
}

// redisEqual waits until all is applied, and compares in both ways.
func (b *redisBed) redisEqual() {
	b.t.Helper()
	b.sluice(0, "wait", "--now", "--timeout", size("90s", "20m"))
	report := &verify.Report{}
	if err := json.Unmarshal([]byte(b.sluice(0, "verify", "-o", "json")), report); err != nil {
		b.t.Fatal(err)
	}
	rows := int64(0)
	for _, r := range report.Tables {
		if rows += r.SourceRows; r.SourceRows != r.TargetRows || r.SourceRows == 0 {
			b.t.Errorf("verify: %s has %d rows, in Redis %d", r.Table, r.SourceRows, r.TargetRows)
		}
	}
	if len(report.Tables) != 5 {
		b.t.Errorf("verify compared %d tables, want 5", len(report.Tables))
	}
	b.client = b.connect()
	defer b.client.Close()
	compared := 0
	for _, table := range redisTables {
		compared += b.tableEqual(table)
	}
	b.t.Logf("verify: %d rows, differences 0; compared by hand: %d rows, %d index entries", rows, compared, b.indexesEqual())
}

// redisTable is what a table's rows should be in Redis.
type redisTable struct {
	name    string
	key     string // SQL: what stands behind the name in the key
	columns []string
	kinds   []string // of the columns: "" text, f a DOUBLE, g a FLOAT, b bytes, n a number in JSON
}

var redisTables = []redisTable{
	{"customers", "id", []string{"id", "email", "name", "city", "credit", "vip+0", "born", "created_at"}, []string{"", "", "", "", "", "", "", ""}},
	{"orders", "id", []string{"id", "user_id", "code", "status", "total", "note", "tags", "detail", "updated_at"}, make([]string, 9)},
	{"order_items", "CONCAT(order_id, ':', line_no)", []string{"order_id", "line_no", "sku", "qty", "price"}, []string{"", "", "", "", "f"}},
	{"products", "sku", []string{"sku", "title", "shelf", "weight*1e0", "image", "stock"}, []string{"", "", "n", "g", "b", "n"}},
	{"places", "id", []string{"id", "lng", "lat", "name"}, []string{"", "f", "", ""}},
}

// tableEqual holds each row of MySQL against its key, and counts the keys.
func (b *redisBed) tableEqual(table redisTable) int {
	b.t.Helper()
	conn, err := b.db.Conn(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(b.t.Context(), "SET time_zone = '+00:00'"); err != nil {
		b.t.Fatal(err)
	}
	rows, err := conn.QueryContext(b.t.Context(), fmt.Sprintf("SELECT %s, %s FROM shop.%s", table.key, strings.Join(table.columns, ", "), table.name))
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	values := make([]sql.NullString, len(table.columns)+1)
	into := make([]any, len(values))
	for i := range values {
		into[i] = &values[i]
	}
	n := 0
	for ; rows.Next(); n++ {
		if err := rows.Scan(into...); err != nil {
			b.t.Fatal(err)
		}
		if differs := b.rowDiffers(table, values); differs != "" {
			b.t.Errorf("%s %s: %s", table.name, values[0].String, differs)
		}
	}
	if keys := b.keys("shop:" + table.name + ":*"); len(keys) != n || rows.Err() != nil {
		b.t.Errorf("%s has %d rows (%v), in Redis %d", table.name, n, rows.Err(), len(keys))
	}
	return n
}

// keys returns the keys of a pattern.
func (b *redisBed) keys(pattern string) map[string]bool {
	b.t.Helper()
	found := make(map[string]bool)
	client := b.connect()
	defer client.Close()
	for cursor := uint64(0); ; {
		entry, err := client.Do(b.t.Context(), client.B().Scan().Cursor(cursor).Match(pattern).Count(1000).Build()).AsScanEntry()
		if err != nil {
			b.t.Fatal(err)
		}
		for _, k := range entry.Elements {
			found[k] = true
		}
		if cursor = entry.Cursor; cursor == 0 {
			return found
		}
	}
}

func (b *redisBed) rowDiffers(table redisTable, values []sql.NullString) string {
	b.t.Helper()
	key := "shop:" + table.name + ":" + values[0].String
	fields := make(map[string]string)
	var err error
	if table.name == "products" {
		text, getErr := b.client.Do(b.t.Context(), b.client.B().Get().Key(key).Build()).ToString()
		var doc map[string]any
		if err = getErr; err == nil {
			d := json.NewDecoder(strings.NewReader(text))
			d.UseNumber()
			err = d.Decode(&doc)
		}
		for name, v := range doc {
			fields[name] = fmt.Sprint(v)
		}
	} else {
		fields, err = b.client.Do(b.t.Context(), b.client.B().Hgetall().Key(key).Build()).AsStrMap()
	}
	if err != nil {
		return err.Error()
	}
	for i, column := range table.columns {
		name, _, _ := strings.Cut(column, "+")
		name, _, _ = strings.Cut(name, "*")
		got, has := fields[name]
		delete(fields, name)
		want := values[i+1]
		if has != want.Valid || has && !sameValue(table.kinds[i], want.String, got) {
			return fmt.Sprintf("%s is %q (there: %v), want %q (%v)", name, got, has, want.String, want.Valid)
		}
	}
	if len(fields) > 0 {
		return fmt.Sprintf("there is more: %v", fields)
	}
	return ""
}

func sameValue(kind, want, got string) bool {
	switch kind {
	case "f", "g":
		bits := map[string]int{"f": 64, "g": 32}[kind]
		w, err := strconv.ParseFloat(want, 64)
		g, err2 := strconv.ParseFloat(got, bits)
		return err == nil && err2 == nil && w == g
	case "b":
		return base64.StdEncoding.EncodeToString([]byte(want)) == got
	}
	return want == got
}

// indexesEqual holds each index against what MySQL says it should have, and returns how many entries all have.
func (b *redisBed) indexesEqual() int {
	b.t.Helper()
	entries := 0
	for _, index := range []struct{ name, query string }{
		{"shop:orders#by_status", "SELECT CONCAT(':', status), CONCAT('shop:orders:', id), 1 FROM shop.orders"},
		{"shop:orders#recent", "SELECT CONCAT(':', user_id), CONCAT('shop:orders:', id), UNIX_TIMESTAMP(updated_at) FROM shop.orders"},
		{"shop:orders#by_total", "SELECT '', CONCAT('shop:orders:', id), total FROM shop.orders"},
		{"shop:places#near", "SELECT '', CONCAT('shop:places:', id), CONCAT(lng, ' ', lat) FROM shop.places WHERE lng IS NOT NULL"},
	} {
		want := b.wantIndex(index.name, index.query)
		got := make(map[string]map[string]string)
		for key := range b.keys(index.name + "*") {
			got[key] = b.members(key, index.name)
			entries += len(got[key])
		}
		for key, members := range want {
			same := maps.EqualFunc(members, got[key], func(w, g string) bool { return samePlace(index.name, w, g) })
			if !same {
				b.t.Errorf("%s has %d members, want %d, or other scores", key, len(got[key]), len(members))
			}
		}
		if len(got) != len(want) {
			b.t.Errorf("%s: %d keys, want %d", index.name, len(got), len(want))
		}
	}
	return entries
}

// wantIndex returns the members of each key with their scores.
func (b *redisBed) wantIndex(name, query string) map[string]map[string]string {
	b.t.Helper()
	rows, err := b.db.QueryContext(b.t.Context(), query)
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	want := make(map[string]map[string]string)
	for rows.Next() {
		var suffix, member, score string
		if err := rows.Scan(&suffix, &member, &score); err != nil {
			b.t.Fatal(err)
		}
		if want[name+suffix] == nil {
			want[name+suffix] = make(map[string]string)
		}
		want[name+suffix][member] = score
	}
	if err := rows.Err(); err != nil {
		b.t.Fatal(err)
	}
	return want
}

// members returns the members of an index's key with their scores; of a geo index with their places.
func (b *redisBed) members(key, index string) map[string]string {
	b.t.Helper()
	ctx, c := b.t.Context(), b.client
	found := make(map[string]string)
	if strings.HasSuffix(index, "by_status") {
		list, err := c.Do(ctx, c.B().Smembers().Key(key).Build()).AsStrSlice()
		if err != nil {
			b.t.Fatal(err)
		}
		for _, m := range list {
			found[m] = "1"
		}
		return found
	}
	scores, err := c.Do(ctx, c.B().Zrange().Key(key).Min("0").Max("-1").Withscores().Build()).AsZScores()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, s := range scores {
		found[s.Member] = strconv.FormatFloat(s.Score, 'f', -1, 64)
		if !strings.HasSuffix(index, "near") {
			continue
		}
		places, err := c.Do(ctx, c.B().Geopos().Key(key).Member(s.Member).Build()).ToArray()
		if err != nil {
			b.t.Fatal(err)
		}
		place, err := places[0].AsFloatSlice()
		if err != nil {
			b.t.Fatal(err)
		}
		found[s.Member] = fmt.Sprint(place[0], " ", place[1])
	}
	return found
}

// samePlace compares scores; places by what a geohash of 52 bits keeps, which is better than a metre.
func samePlace(index, want, got string) bool {
	near := 0.0
	if strings.HasSuffix(index, "near") {
		near = 1e-5
	}
	w, g := strings.Fields(want), strings.Fields(got)
	if len(w) != len(g) {
		return false
	}
	for i := range w {
		a, err := strconv.ParseFloat(w[i], 64)
		c, err2 := strconv.ParseFloat(g[i], 64)
		if err != nil || err2 != nil || math.Abs(a-c) > near {
			return false
		}
	}
	return true
}

// planted makes differences by hand: verify finds them, and repair mends them by way of the source.
func (b *redisBed) planted() {
	b.t.Helper()
	ctx := b.t.Context()
	var order, other string
	if err := b.db.QueryRow("SELECT MIN(id), MAX(id) FROM shop.orders").Scan(&order, &other); err != nil {
		b.t.Fatal(err)
	}
	for _, args := range [][]string{{"HSET", "shop:orders:" + order, "note", "bent"}, {"DEL", "shop:orders:" + other}, {"HSET", "shop:orders:999999999", "id", "999999999"}} {
		if _, err := b.server.Do(ctx, args...); err != nil {
			b.t.Fatal(err)
		}
	}
	report := &verify.Report{}
	if err := json.Unmarshal([]byte(b.sluice(3, "verify", "-o", "json", "--table", "shop.orders")), report); err != nil {
		b.t.Fatal(err)
	}
	if n := report.Tables[0].Differences; n != 3 {
		b.t.Errorf("verify finds %d differences, want 3: %+v", n, report.Tables[0].Rows)
	}
	if _, err := b.server.Do(ctx, "DEL", "shop:orders:999999999"); err != nil {
		b.t.Fatal(err)
	}
	b.sluice(0, "repair", "--table", "shop.orders")
	b.sluice(0, "verify", "--table", "shop.orders")
}
