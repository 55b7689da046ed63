package elasticsearch

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// client speaks HTTP with the server. Both products' own clients refuse each other's servers, and little is needed.
type client struct {
	http     *http.Client
	base     string
	user     string
	password string
	apiKey   string
}

const (
	// connectionsMax bounds idle connections; each partition in flight uses one.
	connectionsMax = 64
	// largeBody is from where on a body may be what a connection broke by: the server answers 413 as soon as it has seen the
	// length, closes, and the answer is lost to whoever still writes.
	largeBody = 64 << 10
	// expectTime is how long a request that asks first waits for the answer before it sends its body all the same.
	expectTime = time.Second
	// reasonMax bounds what is read of an error's answer, in bytes.
	reasonMax = 16 << 10
	// drainMax bounds what is read after an answer to keep its connection.
	drainMax = 64 << 10
)

func newClient(c *Config) (*client, error) {
	password, err := c.password()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConns: connectionsMax, MaxIdleConnsPerHost: connectionsMax, IdleConnTimeout: time.Minute,
		ExpectContinueTimeout: expectTime, Proxy: http.ProxyFromEnvironment}
	if c.TLSCA != "" {
		pem, err := os.ReadFile(c.TLSCA)
		if err != nil {
			return nil, &change.Problem{Kind: change.Configuration, What: "elasticsearch.tls_ca cannot be read", Err: err}
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, &change.Problem{Kind: change.Configuration, What: "no certificate in " + c.TLSCA}
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &client{
		http: &http.Client{Transport: transport, Timeout: c.Timeout}, base: strings.TrimRight(c.URL, "/"),
		user: c.User, password: password, apiKey: string(c.APIKey),
	}, nil
}

// statusError is an answer that is no success.
type statusError struct {
	status int
	reason string
}

func (e *statusError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.status, e.reason) }

// hasStatus reports whether err is an answer of that status, with the words in its reason.
func hasStatus(err error, status int, words string) bool {
	var e *statusError
	return errors.As(err, &e) && e.status == status && strings.Contains(e.reason, words)
}

// do sends a request and decodes the answer. body is nil, []byte (newline-delimited JSON) or a value that becomes JSON.
func (c *client) do(ctx context.Context, method, path string, body, into any) error {
	request, err := c.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil && ctx.Err() == nil && !os.IsTimeout(err) && request.ContentLength >= largeBody {
		response, err = c.ask(ctx, method, path, body)
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(response.Body, reasonMax))
		return &statusError{response.StatusCode, reasonOf(text)}
	}
	if into != nil {
		if err := json.NewDecoder(response.Body).Decode(into); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
	}
	_, _ = io.CopyN(io.Discard, response.Body, drainMax) // only for the connection's sake
	return nil
}

// ask sends a request that first asks whether its body is welcome. That it closes the connection after it is what makes
// net/http keep the body back when the answer is no.
func (c *client) ask(ctx context.Context, method, path string, body any) (*http.Response, error) {
	request, err := c.request(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Expect", "100-continue")
	request.Close = true
	return c.http.Do(request)
}

func (c *client) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	kind := "application/json"
	var reader io.Reader
	switch body := body.(type) {
	case nil:
	case []byte:
		kind, reader = "application/x-ndjson", bytes.NewReader(body)
	default:
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(b)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", kind)
	switch {
	case c.apiKey != "":
		request.Header.Set("Authorization", "ApiKey "+c.apiKey)
	case c.user != "":
		request.SetBasicAuth(c.user, c.password)
	}
	return request, nil
}

// reasonOf takes the reason out of an error body.
func reasonOf(text []byte) string {
	var answer struct {
		Error json.RawMessage `json:"error"`
	}
	var cause struct {
		Type, Reason string
	}
	if json.Unmarshal(text, &answer) == nil && json.Unmarshal(answer.Error, &cause) == nil && cause.Type != "" {
		return cause.Type + ": " + cause.Reason
	}
	return strings.TrimSpace(string(text))
}

// judge makes an error of a request into one whose kind says what happens next.
func (c *client) judge(doing string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || change.SeverityOf(err) != change.Fatal {
		return err
	}
	p := &change.Problem{Kind: change.Retry, What: doing, Where: c.base, Err: err, Mend: "look at the server; it is tried again"}
	var answer *statusError
	if !errors.As(err, &answer) {
		return p
	}
	switch status := answer.status; {
	case status == http.StatusUnauthorized:
		p.Kind, p.Mend = change.Configuration, "mend elasticsearch.user and password, or api_key"
	case status == http.StatusForbidden && strings.Contains(answer.reason, "cluster_block"):
		p.Kind, p.Mend = change.Poison, "lift the block: PUT /<index>/_settings {\"index.blocks.write\": false, \"index.blocks.read_only\": false}; the topic goes on by itself then"
	case status == http.StatusForbidden:
		p.Kind, p.Mend = change.Configuration, "give the account what it lacks: create_index, index, delete, read, manage and view_index_metadata on the indexes, and on "+ledgerIndex
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
	default:
		p.Kind, p.Mend = change.Poison, ""
	}
	return p
}
