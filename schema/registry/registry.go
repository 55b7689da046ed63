// Package registry keeps the schemas of topics in a schema registry that speaks Confluent's HTTP API, and frames
// records with their ids.
//
// A Client asks the registry once for each (subject, text) and each id and remembers the answer: ids never change
// their schema. It starts no goroutine; calls block until the answer, the context's end, or a few tries later.
package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/sluice-cdc/sluice/change"
)

// Options say where the registry is.
type Options struct {
	// URL is the base of the API, several separated by commas (the next is asked when one is unreachable). A path is
	// kept: Apicurio's API is under http://host:8080/apis/ccompat/v7. It holds no password.
	URL      string
	User     string // empty: no authentication
	Password string
	TLS      *tls.Config // for https; nil: the system's roots
	// Timeout is that of one request; 0 is 10 s.
	Timeout time.Duration
}

// String returns the address alone.
func (o Options) String() string { return o.URL }

// GoString returns the address alone: %#v must not print the password either.
func (o Options) GoString() string { return o.URL }

// Client is the registry, with what it has answered. It is safe for concurrent use.
type Client struct {
	url    string
	sr     *sr.Client
	pauses []time.Duration // between tries of one call

	mu         sync.Mutex // guards the following
	registered map[registration]int
	texts      map[int]string
}

type registration struct{ subject, text string }

// New returns a client and does no I/O.
func New(o Options) (*Client, error) {
	urls, err := parseURLs(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	options := []sr.ClientOpt{
		sr.URLs(urls...), sr.UserAgent("sluice"),
		sr.HTTPClient(&http.Client{Timeout: o.Timeout}),
	}
	if o.User != "" {
		options = append(options, sr.BasicAuth(o.User, o.Password))
	}
	if o.TLS != nil {
		options = append(options, sr.DialTLSConfig(o.TLS))
	}
	client, err := sr.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("schema registry: %w", err)
	}
	return &Client{
		url: strings.Join(urls, ","), sr: client,
		pauses:     []time.Duration{100 * time.Millisecond, 400 * time.Millisecond, 1600 * time.Millisecond},
		registered: map[registration]int{}, texts: map[int]string{},
	}, nil
}

// Check returns what is wrong with the addresses of Options.URL and how to mend it, in one line, and does no I/O.
func Check(text string) error {
	if text == "" {
		return errors.New("missing: the URL of the schema registry")
	}
	_, err := parseURLs(text)
	if problem := (*change.Problem)(nil); errors.As(err, &problem) {
		return fmt.Errorf("%s; %s", problem.What, problem.Mend)
	}
	return err
}

func parseURLs(text string) ([]string, error) {
	urls := strings.Split(text, ",")
	for i, u := range urls {
		urls[i] = strings.TrimSpace(u)
		if err := checkURL(urls[i]); err != nil {
			return nil, err
		}
	}
	return urls, nil
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	problem := &change.Problem{Kind: change.Configuration, Mend: `give it as "http://host:8081", or https, with a path where the API has one`}
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		problem.What = "the schema registry's address is no URL" // not printed: it may hold a password
	case u.User != nil:
		problem.What = "the schema registry's address holds a user or password"
		problem.Mend = "use the settings for user and password instead: addresses are logged"
	default:
		return nil
	}
	return problem
}

// Register returns the id of the schema under the subject, registering it where it is new. A schema that the
// subject's compatibility level forbids is a Problem of kind Poison that names the change and the command that
// accepts it; a registry that can't be reached is one of kind Retry.
func (c *Client) Register(ctx context.Context, subject, text string) (int, error) {
	c.mu.Lock()
	id, known := c.registered[registration{subject, text}]
	c.mu.Unlock()
	if known {
		return id, nil
	}
	err := c.try(ctx, func() (err error) {
		id, err = c.sr.RegisterSchema(ctx, subject, sr.Schema{Schema: text}, -1, -1)
		return err
	})
	if err != nil {
		return 0, c.registerProblem(ctx, subject, text, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.registered[registration{subject, text}] = id
	return id, nil
}

// Schema returns the text of the schema with that id, as the registry has it: it may have been reformatted.
func (c *Client) Schema(ctx context.Context, id int) (string, error) {
	c.mu.Lock()
	text, known := c.texts[id]
	c.mu.Unlock()
	if known {
		return text, nil
	}
	err := c.try(ctx, func() error {
		s, err := c.sr.SchemaByID(ctx, id)
		text = s.Schema
		return err
	})
	if status(err) == http.StatusNotFound {
		return "", &change.Problem{
			Kind: change.Poison, Err: err, Where: c.url,
			What: fmt.Sprintf("the schema registry has no schema with id %d, which a record names", id),
			Why:  "the record can't be read without it",
			Mend: "is it the registry that the source writes to, and was it restored with all its schemas?",
		}
	}
	if err != nil {
		return "", c.problem(fmt.Sprintf("read schema %d", id), err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.texts[id] = text
	return text, nil
}

// Latest returns the newest schema of the subject, or "" where it has none. It is not remembered.
func (c *Client) Latest(ctx context.Context, subject string) (text string, id int, err error) {
	err = c.try(ctx, func() error {
		s, err := c.sr.SchemaByVersion(ctx, subject, -1)
		text, id = s.Schema.Schema, s.ID
		return err
	})
	if status(err) == http.StatusNotFound {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, c.problem("read the latest schema of "+subject, err)
	}
	return text, id, nil
}

// try calls the function until it succeeds, fails for good, or has had its tries.
func (c *Client) try(ctx context.Context, call func() error) error {
	for _, pause := range c.pauses {
		err := call()
		if err == nil || !passing(err) || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
	return call()
}

// status returns the HTTP status of the registry's answer, 0 where there was none.
func status(err error) int {
	var answer *sr.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// passing reports whether another try may succeed: no answer, or one that says so.
func passing(err error) bool {
	switch s := status(err); s {
	case 0, http.StatusTooManyRequests, http.StatusRequestTimeout:
		return true
	default:
		return s >= 500
	}
}

// problem gives an error of the registry its kind.
func (c *Client) problem(doing string, err error) error {
	p := &change.Problem{Kind: change.Retry, What: "schema registry: can't " + doing, Where: c.url, Err: err}
	switch s := status(err); {
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		p.Kind = change.Configuration
		p.Mend = "check the registry's user, password and rights"
	case passing(err):
		p.Why = "without the schema's id no record can be written or read; it is tried again"
		p.Mend = "start the registry, or check kafka.registry and the way to it, if this stays"
	case s == http.StatusNotFound || s == http.StatusMethodNotAllowed:
		p.Kind = change.Configuration
		p.Mend = "check the registry's address: is the API under a path, as Apicurio's /apis/ccompat/v7?"
	default:
		p.Kind = change.Poison
	}
	return p
}
