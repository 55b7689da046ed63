package source

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/schema/registry"
)

// Version of the source block's "version" field and of the programs; set by the linker in releases.
var Version = "0.1.0"

// Source runs one source. Make it with New; Run starts everything it needs and ends it again.
type Source struct {
	cfg    Config
	accept Accept
	log    *slog.Logger
	stats  *Stats

	client   *kgo.Client // for reading, administration and the status topic; never in a transaction
	admin    *kadm.Client
	reporter *kafka.Reporter
	registry *registry.Client           // it remembers what it has registered, so a session can begin without the registry
	poisoned map[change.TableName]error // to be stopped at the start of the next session
}

// New returns a Source for a config that has been checked. It connects to nothing.
func New(cfg Config, accept Accept, log *slog.Logger) *Source {
	return &Source{cfg: cfg, accept: accept, log: log, stats: newStats(cfg.Name, cfg.MySQL.Address), poisoned: make(map[change.TableName]error)}
}

// Stats returns what the source tells of itself while it runs.
func (s *Source) Stats() *Stats { return s.stats }

// Bounds of the pause between two sessions. A session that has published something begins the count anew.
const (
	pauseMin = 50 * time.Millisecond
	pauseMax = 15 * time.Second
)

// Run lives through sessions until ctx ends (nil) or one ends with an error that trying again would not
// mend: a person is needed, another source has taken over (it is not thrown out again), or the program is wrong.
func (s *Source) Run(ctx context.Context) (err error) {
	if s.client, err = kafka.NewClient(s.cfg.Kafka); err != nil {
		return err
	}
	defer s.client.Close()
	s.admin = kadm.NewClient(s.client)
	s.reporter = kafka.NewReporter(s.client, s.cfg.Name, s.cfg.Name, s.cfg.HTTP)
	s.registry, err = registry.New(registry.Options{URL: s.cfg.Kafka.Registry, User: s.cfg.Kafka.RegistryUser, Password: string(s.cfg.Kafka.RegistryPassword)})
	if err != nil {
		return err
	}
	pause := pauseMin
	for {
		began := s.stats.commits()
		err := s.session(ctx)
		if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
			return s.leave(ctx)
		}
		s.stats.failed(err)
		if table := poisonOf(err); table != (change.TableName{}) { // what the broker refused: that table stops, the others go on
			s.poisoned[table], err = err, &change.Problem{Kind: change.Retry, What: "a table's record was refused", Table: table, Err: err}
		}
		if change.SeverityOf(err) != change.Retry {
			return err
		}
		if s.stats.commits() > began {
			pause = pauseMin
		}
		s.log.Warn("session ended; starting again from the checkpoint", append(said(err), "pause", pause.String())...)
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return s.leave(ctx)
		}
		pause = min(2*pause, pauseMax)
	}
}

// leave says that the source has ended in good order, so that a standby need not wait for its silence.
func (s *Source) leave(ctx context.Context) error {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := s.reporter.Leave(last); err != nil {
		s.log.Debug("the status could not be taken away", "error", err)
	}
	return nil
}

// said returns an error as a line of the log has it, with why it matters and what mends it.
func said(err error) []any {
	attributes := []any{"error", err}
	var p *change.Problem
	if errors.As(err, &p) {
		if p.Why != "" {
			attributes = append(attributes, "why", p.Why)
		}
		if p.Mend != "" {
			attributes = append(attributes, "mend", p.Mend)
		}
	}
	return attributes
}

// mendOf returns what mends the error, where somebody has said it.
func mendOf(err error) string {
	var p *change.Problem
	if errors.As(err, &p) {
		return p.Mend
	}
	return ""
}

// poisonOf returns the table that a Poison stops, and the zero name for any other error.
func poisonOf(err error) (name change.TableName) {
	var p *change.Problem
	if errors.As(err, &p) && p.Kind == change.Poison {
		name = p.Table
	}
	return name
}
