package chaos

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/config"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/route"
	"github.com/sluice-cdc/sluice/sink"
	targets "github.com/sluice-cdc/sluice/sink/mysql"
	sinks "github.com/sluice-cdc/sluice/sink/run"
	"github.com/sluice-cdc/sluice/test/history"
	"github.com/sluice-cdc/sluice/test/history/feed"
	"github.com/sluice-cdc/sluice/testbed"
)

// followed are the tables of which every change is followed from the binlog to the topic; the first is looked at in the shards too.
var followed = []string{"accounts", "a"}

// followedMax is about how many changes are followed: some hundred bytes of memory each. Of longer runs a sample of the keys is.
const followedMax = 2_500_000

const (
	lookPause   = 700 * time.Millisecond
	lookTimeout = 10 * time.Second
)

// histories holds topics and shards against the binlog, key by key.
type histories struct {
	run     *run
	began   *gtid.Set // what the primary had executed before the first session
	checker *history.Checker
	looked  *feed.Target
	looks   int
	missed  int // looks that a fault was in the way of
	last    error
	one     int // of so many keys one is followed
	said    string
}

// newHistories notes where the histories begin.
func (r *run) newHistories(ctx context.Context) (*histories, error) {
	h := &histories{run: r}
	primary, _ := r.bed.pair()
	db, err := primary.Open("app", "")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	facts, err := mysql.ReadFacts(ctx, db)
	if err != nil {
		return nil, err
	}
	if _, _, h.began, err = facts.BinlogStatus(ctx, db); err != nil {
		return nil, err
	}
	expected := float64(r.settings.Rate) * r.settings.Duration.Seconds() * 0.6 // of these tables
	h.one = 1 + int(expected/followedMax)
	h.checker = history.New(history.Options{Tombstones: true, Keep: h.keep, FaultsMax: 20})
	table, _, err := mysql.LoadTable(ctx, db, facts, change.TableName{DB: database, Name: followed[0]}, nil)
	if err != nil {
		return nil, err
	}
	target, err := r.lookOn()
	if err != nil {
		return nil, err
	}
	h.looked = &feed.Target{Name: "shards", Scanner: target, Source: sourceName, Table: table}
	return h, nil
}

// lookOn opens the shards as the sink has them, with its routes, but past the proxies.
func (r *run) lookOn() (*targets.Target, error) {
	page, own := sinks.Default(), &struct {
		MySQL  targets.Config `yaml:"mysql"`
		Routes []route.Spec   `yaml:"routes"`
	}{}
	if err := config.Load(r.programs.sinkConfig, &page, own); err != nil {
		return nil, err
	}
	own.MySQL.Routes = own.Routes
	for i, m := range r.bed.shards {
		own.MySQL.Shards[i].Address = m.Address()
	}
	target, err := targets.New(own.MySQL, sink.Setup{Group: group, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		r.bed.closer(target.Close)
	}
	return target, err
}

// keep says which keys are followed.
func (h *histories) keep(k history.Key) bool {
	if !slices.Contains(followed, k.Table.Name) {
		return false
	}
	hash := fnv.New32a()
	hash.Write([]byte(k.Body))
	return hash.Sum32()%uint32(h.one) == 0
}

// watch looks at the shards until ctx ends. Where a shard is away the look is left out.
func (h *histories) watch(ctx context.Context) error {
	for pause(ctx, lookPause) {
		look, cancel := context.WithTimeout(ctx, lookTimeout)
		err := h.looked.Look(look, h.checker.Observe)
		cancel()
		if err != nil {
			h.missed++
			h.last = err
		} else {
			h.looks++
		}
	}
	return nil
}

// check reads the binlog and the topics and judges. It also counts the changes of all tables.
func (h *histories) check(ctx context.Context) error {
	began := time.Now()
	primary, _ := h.run.bed.pair()
	b := h.binlog(primary)
	b.Count = func(change.TableName) { h.run.changes++ }
	b.Told = func(t change.TableName) bool { return slices.Contains(followed, t.Name) }
	if err := feed.ReadBinlog(ctx, b, h.checker); err != nil {
		return err
	}
	for _, name := range followed {
		if err := feed.ReadTopic(ctx, h.topic(name), h.checker); err != nil {
			return err
		}
	}
	faults := h.checker.Check()
	h.said = fmt.Sprintf("histories: every %d. key of %s: %+v; %d looks at the shards, %d that a fault was in the way of; read and judged in %.1fs",
		h.one, strings.Join(followed, " and "), h.checker.Counts(), h.looks, h.missed, time.Since(began).Seconds())
	if len(faults) == 0 {
		if h.looks == 0 {
			return fmt.Errorf("no look at a shard succeeded, of what they showed on the way nothing is known: %w", h.last)
		}
		return nil
	}
	h.run.differences += int64(len(faults))
	found := &different{how: "the histories", keys: map[string][][]string{}}
	for _, f := range faults {
		found.said += "\n  " + f.String()
		found.keys[f.Key.Table.Name] = append(found.keys[f.Key.Table.Name], integers(f.Key.Body))
	}
	return found
}

func (h *histories) binlog(m *testbed.MySQL) feed.Binlog {
	return feed.Binlog{MySQL: mysql.Config{Address: m.Address(), User: "cdc", Password: "cdc"}, ServerID: mysql.ServerID("torture-history"),
		From: h.began, Wanted: func(t change.TableName) bool { return t.DB == database }}
}

func (h *histories) topic(table string) feed.Topic {
	return feed.Topic{Brokers: []string{h.run.bed.proxies[atBroker].Address()}, Registry: h.run.bed.registryDirect(), Prefix: sourceName,
		Table: change.TableName{DB: database, Name: table}}
}

// integers reads a key's values out of the form that feed gives it; all keys here are integers.
func integers(body string) (texts []string) {
	for b := []byte(body); len(b) >= 9; {
		n := binary.BigEndian.Uint64(b[1:9])
		length, width := binary.Uvarint(b[9:])
		texts = append(texts, fmt.Sprint(int64(n)))
		if width <= 0 || len(b) < 9+width+int(length) {
			break
		}
		b = b[9+width+int(length):]
	}
	return texts
}
