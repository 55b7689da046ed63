package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
)

// Settings say how a run goes.
type Settings struct {
	Duration time.Duration // of the fire and the comparisons between, without the start and the last look
	Seed     uint64        // of sessions, faults and crawls
	Sessions int
	Rate     int // rows changed a second, over all sessions and the whole duration
	Source   testbed.MySQLVersion
	Shards   []testbed.MySQLVersion
	Compare  time.Duration // fire between two comparisons under a read lock
	Evidence string        // the folder in which a failed run leaves what is known
	Kinds    []string      // only these kinds of faults; empty: all
	Without  []string      // not these
	FaultGap time.Duration // from the begin of one fault to that of the next, on average
	AtOnce   int           // faults that overlap, at most
	CrawlGap time.Duration // from one crawl that is asked for to the next, on average
	Scale    int           // rows of the tables, in per cent
	Registry string        // "real" or "local"
	Short    bool
}

// prefix of the environment's variables.
const prefix = "SLUICE_TORTURE_"

// shortSeed is the seed of the short run.
const shortSeed = 20261127

// ParseSettings reads the environment. Without a duration it is the short run of CI.
func ParseSettings(getenv func(string) string) (Settings, error) {
	p := parser{getenv: getenv}
	s := Settings{Duration: p.duration("DURATION", 0)}
	s.Short = s.Duration == 0
	if s.Short {
		s = Settings{Short: true, Duration: time.Minute, Seed: shortSeed, Sessions: 200, Rate: 1500, Compare: 30 * time.Second,
			FaultGap: 2 * time.Second, AtOnce: 4, Scale: 50, Registry: "local"}
	} else {
		s.Seed, s.Sessions, s.Rate, s.Compare = uint64(rand.Uint32()), 1000, 3000, 3*time.Minute
		s.FaultGap, s.AtOnce, s.Scale, s.Registry = 5*time.Second, 4, 100, "real"
	}
	s.Seed = uint64(p.number("SEED", int(s.Seed)))
	s.Sessions = p.number("SESSIONS", s.Sessions)
	s.Rate = p.number("RATE", s.Rate)
	s.Compare = p.duration("COMPARE", s.Compare)
	s.FaultGap = p.duration("GAP", s.FaultGap)
	s.AtOnce = p.number("AT_ONCE", s.AtOnce)
	s.CrawlGap = p.duration("CRAWL_GAP", 8*time.Second)
	s.Scale = p.number("SCALE", s.Scale)
	s.Evidence = p.text("EVIDENCE", "../../chaos-evidence")
	s.Registry = p.text("REGISTRY", s.Registry)
	s.Kinds, s.Without = p.list("KINDS"), p.list("WITHOUT")
	s.Source = p.version("SOURCE", p.text("SOURCE", "9.7"))
	for _, name := range strings.Split(p.text("SHARDS", "9.7,9.7"), ",") {
		s.Shards = append(s.Shards, p.version("SHARDS", name))
	}
	if p.err == nil && (len(s.Shards) < 1 || s.Sessions < 1 || s.Compare <= 0 || s.FaultGap <= 0 || s.CrawlGap <= 0 || s.Scale < 1) {
		p.err = fmt.Errorf("one shard, one session, and times above zero are the least")
	}
	if p.err == nil && s.Registry != "real" && s.Registry != "local" {
		p.err = fmt.Errorf("%sREGISTRY=%q: real or local", prefix, s.Registry)
	}
	return s, p.err
}

// String is one line that says how to run it again.
func (s Settings) String() string {
	shards := make([]string, len(s.Shards))
	for i, v := range s.Shards {
		shards[i] = string(v)
	}
	return fmt.Sprintf("SEED=%d DURATION=%s SESSIONS=%d RATE=%d SOURCE=%s SHARDS=%s COMPARE=%s GAP=%s AT_ONCE=%d CRAWL_GAP=%s SCALE=%d REGISTRY=%s",
		s.Seed, s.Duration, s.Sessions, s.Rate, s.Source, strings.Join(shards, ","), s.Compare, s.FaultGap, s.AtOnce, s.CrawlGap, s.Scale, s.Registry)
}

// parser keeps the first error.
type parser struct {
	getenv func(string) string
	err    error
}

func (p *parser) text(name, otherwise string) string {
	if v := p.getenv(prefix + name); v != "" {
		return v
	}
	return otherwise
}

func (p *parser) bad(name string, err error) {
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("%s%s=%q: %w", prefix, name, p.getenv(prefix+name), err)
	}
}

func (p *parser) number(name string, otherwise int) int {
	text := p.text(name, "")
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	p.bad(name, err)
	return n
}

func (p *parser) duration(name string, otherwise time.Duration) time.Duration {
	text := p.text(name, "")
	if text == "" {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	p.bad(name, err)
	return d
}

func (p *parser) list(name string) []string {
	if text := p.text(name, ""); text != "" {
		return strings.Split(text, ",")
	}
	return nil
}

func (p *parser) version(name, text string) testbed.MySQLVersion {
	v := testbed.MySQLVersion(text)
	if !slices.Contains([]testbed.MySQLVersion{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011}, v) {
		p.bad(name, fmt.Errorf("%q is none of 9.7, 8.0, mariadb-10.11", text))
	}
	return v
}
