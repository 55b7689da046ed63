package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/change"
)

type secret string

type server struct {
	Name     string `yaml:"name"`
	Address  string `yaml:"address"`
	Password secret `yaml:"password"`
	Port     uint16 `yaml:"port"`
}

// rule is written as "modulus" or as {range: {...}}.
type rule struct {
	Kind  string            `yaml:"kind"`
	Range map[string]string `yaml:"range"`
}

func (r *rule) UnmarshalText(text []byte) error {
	if string(text) != "modulus" && string(text) != "hash" {
		return errors.New("want modulus, hash or {range: ...}")
	}
	r.Kind = string(text)
	return nil
}

type route struct {
	Table string `yaml:"table"`
	By    string `yaml:"by"`
	Rule  rule   `yaml:"rule"`
}

func (r *route) Check(report func(path, problem string)) {
	if r.By == "user" {
		report("by", `column "user" is not in shop.orders`)
	}
}

type target struct {
	MySQL struct {
		Shards       []server `yaml:"shards"`
		CreateTables bool     `yaml:"create_tables"`
	} `yaml:"mysql"`
	Routes []route `yaml:"routes"`
}

type paced struct {
	MaxWait time.Duration `yaml:"max_wait"`
	MaxSize Size          `yaml:"max_bytes"`
}

type runtime struct {
	Group  string            `yaml:"group"`
	Batch  paced             `yaml:"batch"`
	Labels map[string]string `yaml:"labels"`
	Topics []string          `yaml:"topics"`
	Rate   float64           `yaml:"rate"`
	Limit  *int              `yaml:"limit"`
	Inner  struct {
		HTTP string `yaml:"http"`
	} `yaml:",inline"`
}

func (r *runtime) Check(report func(path, problem string)) {
	if r.Group == "" {
		report("group", "is missing: the name of the consumer group")
	}
}

func environment(name string) (string, bool) {
	v, ok := map[string]string{"APP_PW": `p"a: #ss`, "EMPTY": "", "PORT": "3306", "SECRET_NUMBER": "hunter2"}[name]
	return v, ok
}

func parse(text string) (runtime, target, error) {
	r := runtime{Batch: paced{MaxWait: time.Second}, Topics: []string{"default"}}
	var t target
	err := Parse("shards.yaml", []byte(text), environment, &r, &t)
	return r, t, err
}

func TestParse(t *testing.T) {
	r, target, err := parse(`
group: shop-by-user
http: ":9000"
batch: {max_bytes: 16MiB, max_wait: 1d12h}
labels: {team: a, empty: ""}
topics: ["shop.shop.*", "${EMPTY:-fallback}", "$${literal}"]
rate: 1.5
limit: 3
mysql: &block
  shards:
    - {name: s0, address: "s0:${PORT}", password: "${APP_PW}", port: "${PORT}"}
routes:
  - {table: shop.orders, by: id, rule: modulus}
  - {table: shop.customers, by: id, rule: {range: {s0: "..100000"}}}
`)
	if err != nil {
		t.Fatal(err)
	}
	limit := 3
	want := runtime{Group: "shop-by-user", Batch: paced{MaxWait: 36 * time.Hour, MaxSize: 16 << 20},
		Labels: map[string]string{"team": "a", "empty": ""}, Topics: []string{"shop.shop.*", "fallback", "${literal}"}, Rate: 1.5, Limit: &limit}
	want.Inner.HTTP = ":9000"
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("runtime (-want +got):\n%s", diff)
	}
	if got := target.MySQL.Shards[0]; got != (server{"s0", "s0:3306", `p"a: #ss`, 3306}) {
		t.Errorf("shard is %+v", got)
	}
	if target.Routes[0].Rule.Kind != "modulus" || target.Routes[1].Rule.Range["s0"] != "..100000" {
		t.Errorf("routes are %+v", target.Routes)
	}
}

func TestDefaultsStay(t *testing.T) {
	r, _, err := parse("group: g\nbatch:\ntopics: ~\n")
	if err != nil || r.Batch.MaxWait != time.Second || len(r.Topics) != 1 {
		t.Errorf("config is %+v (%v), want the defaults", r, err)
	}
	if _, _, err := parse(""); err == nil || !strings.Contains(err.Error(), "group: is missing") {
		t.Errorf("an empty file gave %v, want the missing group", err)
	}
}

// TestProblems compares what is reported with testdata/problems.txt: a file, and after ---- the report.
func TestProblems(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata (%v)", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		input, want, _ := strings.Cut(string(text), "----\n")
		_, _, got := parse(input)
		if got == nil {
			t.Errorf("%s: no problem was found", file)
			continue
		}
		if diff := cmp.Diff(want, got.Error()+"\n"); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
		if change.SeverityOf(got) != change.Configuration {
			t.Errorf("%s: the error's kind is %v", file, change.SeverityOf(got))
		}
		if strings.Contains(got.Error(), "hunter2") {
			t.Errorf("%s: the report shows a value of the environment", file)
		}
	}
}

func TestMissingFile(t *testing.T) {
	var r runtime
	err := Load(filepath.Join(t.TempDir(), "no.yaml"), &r)
	if change.SeverityOf(err) != change.Configuration || !strings.Contains(change.Explain(err), "--config") {
		t.Errorf("a missing file gave %v", err)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"create_tables", "shards", "group", "topics"}
	for word, want := range map[string]string{"creat_tables": "create_tables", "gruop": "group", "shard": "shards",
		"Topics": "topics", "x": "", "password": "", "createtables": "create_tables"} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest(%q) is %q, want %q", word, got, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "512": 512, "64 KiB": 64 << 10, "1_000": 1000, "2GB": 2e9, "7B": 7} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("size %q is %d (%v), want %d", text, s, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "1.5MiB", "9999999999999TiB", "MiB"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("size %q was taken as %d", text, s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("group: g\nbatch: {max_wait: 7d}\n")
	f.Add("a: &a [*a]\n")
	f.Add("mysql: {shards: [{name: \"${X\"}]}\nroutes: [{rule: {range: {a: b}}}]")
	f.Fuzz(func(t *testing.T, text string) { parse(text) })
}
