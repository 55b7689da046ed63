package webhook

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/config"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/shape"
)

// Config is the webhook block of a sink's page.
type Config struct {
	Hooks []Hook `yaml:"hooks"`
}

// Hook says of which changes whom to tell, and how.
type Hook struct {
	// Name stands in metrics, errors and every event's id: with another name the receiver takes an event for another one.
	Name string `yaml:"name"`

	// Tables are patterns of database.table: * stands for any letters, ? for one, and /.../ is a regular expression.
	Tables []string `yaml:"tables"`

	// Ops are the kinds of changes: c, u, d, r (a row that a crawl has read) and tombstone (see the package's comment).
	Ops []string `yaml:"ops"`

	// Condition is an expression over both images: see shape.Condition. Empty: every change.
	Condition string `yaml:"condition"`

	// Since leaves out changes that were committed before it: for a new group, which begins at the start of the log. RFC 3339.
	Since time.Time `yaml:"since"`

	// Resend tells of changes again that were told of before a replay went back. See also replay --resend.
	Resend bool `yaml:"resend"`

	URL     string                  `yaml:"url"`
	Method  string                  `yaml:"method"`
	Headers map[string]kafka.Secret `yaml:"headers"`
	TLSCA   string                  `yaml:"tls_ca"` // PEM file; the system's authorities when empty

	// JSON is a text/template whose values are written as JSON: strings quoted and escaped, NULL as null. Text is one whose
	// values are written as they are. With neither the body is the envelope.
	JSON        string `yaml:"json"`
	Text        string `yaml:"text"`
	ContentType string `yaml:"content_type"` // of Text; text/plain by default

	// Secret signs each request (Standard Webhooks). whsec_ and base64 is decoded, anything else taken as it is.
	Secret     kafka.Secret `yaml:"secret"`
	SecretFile string       `yaml:"secret_file"` // read at the start

	// Timeout bounds one request, its answer read. What was sent may still be taken after it, and comes again.
	Timeout time.Duration `yaml:"timeout"`

	// Concurrency bounds the requests that are under way to this hook from one process. Changes of one key go one after the
	// other in any case.
	Concurrency int `yaml:"concurrency"`

	// MaxBody bounds a request's body. A change whose body is larger stops its topic, or goes to the dead letters.
	MaxBody config.Size `yaml:"max_body"`

	// RetryFirst and RetryMax bound the pause after a failure; it doubles from one to the other, with jitter.
	RetryFirst time.Duration `yaml:"retry_first"`
	RetryMax   time.Duration `yaml:"retry_max"`

	// CircuitFailures is after how many failures without a success nothing more is sent until CircuitPause is over; then one
	// request tries whether the receiver is back. The pause doubles up to CircuitMax.
	CircuitFailures int           `yaml:"circuit_failures"`
	CircuitPause    time.Duration `yaml:"circuit_pause"`
	CircuitMax      time.Duration `yaml:"circuit_max"`
}

// opTombstone is the word of Ops for a tombstone; the others are the ops' letters.
const opTombstone = "tombstone"

var (
	opWords     = []string{"c", "u", "d", "r", opTombstone}
	methods     = []string{"POST", "PUT", "PATCH"}
	hookName    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	headerName  = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	headerValue = regexp.MustCompile(`^[\t\x20-\x7e\x{80}-\x{10ffff}]*$`)
)

// maxBodyMax is the largest MaxBody: a body is held whole, as often as Concurrency says.
const maxBodyMax = 64 << 20

// Default returns the settings that hold where the page says nothing: a hook's own are set by SetDefaults.
func Default() Config { return Config{} }

// SetDefaults sets what holds where the page says nothing of a hook.
func (h *Hook) SetDefaults() {
	*h = Hook{Ops: []string{"c", "u", "d"}, Method: "POST", Timeout: 10 * time.Second, Concurrency: 8, MaxBody: 1 << 20,
		RetryFirst: 100 * time.Millisecond, RetryMax: 30 * time.Second, CircuitFailures: 5, CircuitPause: time.Second, CircuitMax: time.Minute}
}

// Check reports everything that is wrong with the hooks together.
func (c *Config) Check(report func(path, problem string)) {
	if len(c.Hooks) == 0 {
		report("hooks", "missing: at least one {name: ..., tables: [...], url: ...}")
	}
	seen := make(map[string]bool)
	for i := range c.Hooks {
		if name := c.Hooks[i].Name; seen[name] && name != "" {
			report(fmt.Sprintf("hooks[%d].name", i), fmt.Sprintf("%q is another hook's: the events of two hooks would have the same ids", name))
		}
		seen[c.Hooks[i].Name] = true
	}
}

// Check reports everything that is wrong with the hook.
func (h *Hook) Check(report func(path, problem string)) {
	if !hookName.MatchString(h.Name) {
		report("name", fmt.Sprintf("%q: want 1 to 64 letters, digits, _ and -", h.Name))
	}
	if len(h.Tables) == 0 {
		report("tables", `missing: at least one pattern such as "shop.orders"`)
	}
	for i, text := range h.Tables {
		if _, err := parsePattern(text); err != nil {
			report(fmt.Sprintf("tables[%d]", i), err.Error())
		}
	}
	if len(h.Ops) == 0 {
		report("ops", "empty: leave it out for c, u and d")
	}
	for i, op := range h.Ops {
		if !slices.Contains(opWords, op) {
			report(fmt.Sprintf("ops[%d]", i), fmt.Sprintf("%q: want %s", op, strings.Join(opWords, ", ")))
		}
	}
	if h.Condition != "" {
		if _, err := shape.CompileCondition(h.Condition, nil); err != nil {
			report("condition", err.Error())
		}
	}
	h.checkRequest(report)
	h.checkBody(report)
	h.checkBounds(report)
}

func (h *Hook) checkRequest(report func(path, problem string)) {
	if u, err := url.Parse(h.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		report("url", "want https://host/path or http://...") // the url may be a secret: it is not shown
	} else if u.User != nil {
		report("url", "a password has no place in an address: use headers: {Authorization: ...}")
	}
	if !slices.Contains(methods, h.Method) {
		report("method", fmt.Sprintf("%q: want %s", h.Method, strings.Join(methods, ", ")))
	}
	for name, value := range h.Headers {
		switch {
		case !headerName.MatchString(name) || !headerValue.MatchString(string(value)):
			report("headers."+name, "HTTP does not take this name or its value")
		case reservedHeader(name):
			report("headers."+name, "is set by the sink itself")
		}
	}
	if h.Secret != "" && h.SecretFile != "" {
		report("secret_file", "secret and secret_file exclude each other")
	}
}

func (h *Hook) checkBody(report func(path, problem string)) {
	switch {
	case h.JSON != "" && h.Text != "":
		report("text", "json and text exclude each other")
	case h.ContentType != "" && h.Text == "":
		report("content_type", "goes with text; json and the envelope are application/json")
	case !headerValue.MatchString(h.ContentType):
		report("content_type", "HTTP does not take this value")
	}
	path := "json"
	if h.Text != "" {
		path = "text"
	}
	if _, err := newBody(h, nil); err != nil {
		report(path, err.Error())
	}
}

func (h *Hook) checkBounds(report func(path, problem string)) {
	bound := func(ok bool, path, problem string) {
		if !ok {
			report(path, problem)
		}
	}
	bound(h.Timeout >= 10*time.Millisecond && h.Timeout <= 10*time.Minute, "timeout", "want 10ms to 10m")
	bound(h.Concurrency >= 1 && h.Concurrency <= 1024, "concurrency", "want 1 to 1024")
	bound(h.MaxBody >= 1<<10 && h.MaxBody <= maxBodyMax, "max_body", "want 1KiB to 64MiB")
	bound(h.RetryFirst >= time.Millisecond, "retry_first", "want 1ms or more")
	bound(h.RetryMax >= h.RetryFirst && h.RetryMax <= time.Hour, "retry_max", "want retry_first to 1h")
	bound(h.CircuitFailures >= 1, "circuit_failures", "want 1 or more")
	bound(h.CircuitPause >= time.Millisecond, "circuit_pause", "want 1ms or more")
	bound(h.CircuitMax >= h.CircuitPause && h.CircuitMax <= time.Hour, "circuit_max", "want circuit_pause to 1h")
}

// key returns the bytes that sign requests, nil where there is no secret.
func (h *Hook) key() ([]byte, error) {
	secret := string(h.Secret)
	if h.SecretFile != "" {
		b, err := os.ReadFile(h.SecretFile)
		if err != nil {
			return nil, h.wrong("the secret file cannot be read", err)
		}
		if secret = strings.TrimRight(string(b), "\r\n"); secret == "" {
			return nil, h.wrong("the secret file "+h.SecretFile+" is empty", nil)
		}
	}
	key, err := decodeSecret(secret)
	if err != nil {
		return nil, h.wrong("the secret begins with whsec_, and what follows is not base64", nil) // the cause would show a part of it
	}
	return key, nil
}

func (h *Hook) wrong(what string, err error) error {
	return &change.Problem{Kind: change.Configuration, What: what, Where: "webhook.hooks " + h.Name, Err: err}
}

// parsePattern reads a pattern of database.table: * and ?, or /regular expression/.
func parsePattern(text string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, fmt.Errorf(`empty: want a pattern such as "shop.orders"`)
	}
	if len(text) > 1 && strings.HasPrefix(text, "/") && strings.HasSuffix(text, "/") {
		p, err := regexp.Compile("^(?:" + text[1:len(text)-1] + ")$")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		return p, nil
	}
	if !strings.Contains(text, ".") && text != "*" {
		return nil, fmt.Errorf("%q: want database.table", text)
	}
	quoted := regexp.QuoteMeta(text)
	quoted = strings.ReplaceAll(quoted, `\*`, ".*")
	quoted = strings.ReplaceAll(quoted, `\?`, ".")
	return regexp.Compile("^" + quoted + "$")
}
