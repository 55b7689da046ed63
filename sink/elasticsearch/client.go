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

// connectionsMax bounds idle connections; each partition in flight uses one.
const connectionsMax = 64

func newClient(c *Config) (*client, error) {
	password, err := c.password()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: connectionsMax, Proxy: http.ProxyFromEnvironment}
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
		user: c.User, password: password, apiKey: c.APIKey.Reveal(),
	}, nil
}

// statusError is an answer that is no success.
type statusError struct {
	status int
	reason string
}

func (e *statusError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.status, e.reason) }

// do sends a request and decodes the answer. body is nil, []byte (newline-delimited JSON) or a value that becomes JSON.
func (c *client) do(ctx context.Context, method, path string, body, into any) error {
	kind := "application/json"
	var reader io.Reader
	switch body := body.(type) {
	case nil:
	case []byte:
		kind, reader = "application/x-ndjson", bytes.NewReader(body)
	default:
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(b)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", kind)
	switch {
	case c.apiKey != "":
		request.Header.Set("Authorization", "ApiKey "+c.apiKey)
	case c.user != "":
		request.SetBasicAuth(c.user, c.password)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10))
		return &statusError{response.StatusCode, reasonOf(text)}
	}
	if into == nil {
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	return json.NewDecoder(response.Body).Decode(into)
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
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	p := &change.Problem{Kind: change.Retry, What: doing, Where: c.base, Err: err, Mend: "look at the server; it is tried again"}
	var status *statusError
	if errors.As(err, &status) {
		switch {
		case status.status == http.StatusUnauthorized, status.status == http.StatusForbidden:
			p.Kind, p.Mend = change.Configuration, "give the account what it lacks: create_index, index, delete, manage on the indexes; or mend user, password or api_key"
		case status.status == http.StatusRequestEntityTooLarge:
			p.Kind, p.Mend = change.Poison, "raise http.max_content_length at the server, or lower elasticsearch.bulk_bytes if no single row is that large"
		case status.status < 500 && status.status != http.StatusTooManyRequests && status.status != http.StatusRequestTimeout:
			p.Kind, p.Mend = change.Poison, ""
		}
	}
	return p
}
