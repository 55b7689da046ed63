package hbase

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
	"path"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// client speaks HTTP with the REST gateway.
type client struct {
	http     *http.Client
	base     string
	user     string
	password string
}

const (
	// reasonMax bounds what is read of an error's answer, and causeMax what is shown of it, in bytes.
	reasonMax = 16 << 10
	causeMax  = 300
	// answerMax bounds an answer with rows.
	answerMax = 64 << 20
	// closeTimeout bounds the goodbye to a scanner, which the gateway would forget by itself.
	closeTimeout = 5 * time.Second
)

const (
	protobuf = "application/x-protobuf"
	asJSON   = "application/json"
)

func newClient(c *Config) (*client, error) {
	password, err := c.password()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConns: requestsMax, MaxIdleConnsPerHost: requestsMax, IdleConnTimeout: time.Minute, Proxy: http.ProxyFromEnvironment}
	if c.TLSCA != "" {
		pem, err := os.ReadFile(c.TLSCA)
		if err != nil {
			return nil, &change.Problem{Kind: change.Configuration, What: "hbase.tls_ca cannot be read", Err: err}
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, &change.Problem{Kind: change.Configuration, What: "no certificate in " + c.TLSCA}
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &client{http: &http.Client{Transport: transport, Timeout: c.Timeout}, base: strings.TrimRight(c.URL, "/"), user: c.User, password: password}, nil
}

// statusError is an answer that is no success.
type statusError struct {
	status int
	reason string
}

func (e *statusError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.status, e.reason) }

// has reports whether err is an answer of that status, with one of the words in its reason where there are words.
func has(err error, status int, words ...string) bool {
	var e *statusError
	if !errors.As(err, &e) || e.status != status {
		return false
	}
	for _, w := range words {
		if strings.Contains(e.reason, w) {
			return true
		}
	}
	return len(words) == 0
}

var errAnswerTooLarge = errors.New("the gateway's answer is too large")

// do sends a request and returns the answer's body, its status where that is a success, and its Location.
func (c *client) do(ctx context.Context, method, place, kind string, body []byte) (answer []byte, status int, location string, err error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+place, bytes.NewReader(body))
	if err != nil {
		return nil, 0, "", err
	}
	request.Header.Set("Accept", kind)
	if body != nil {
		request.Header.Set("Content-Type", kind)
	}
	if c.user != "" {
		request.SetBasicAuth(c.user, c.password)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, 0, "", err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(response.Body, reasonMax))
		return nil, 0, "", &statusError{response.StatusCode, reasonOf(string(text))}
	}
	answer, err = io.ReadAll(io.LimitReader(response.Body, answerMax+1))
	if err == nil && len(answer) > answerMax {
		err = errAnswerTooLarge
	}
	return answer, response.StatusCode, response.Header.Get("Location"), err
}

// reasonOf takes what helps out of an error's answer: the exceptions' own lines, without the stack.
func reasonOf(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "at ") && !strings.HasPrefix(line, "... ") {
			kept = append(kept, fmt.Sprintf("%.*s", causeMax, line))
		}
	}
	return strings.Join(kept, " ")
}

// json asks for something that is JSON.
func (c *client) json(ctx context.Context, place string, into any) error {
	answer, _, _, err := c.do(ctx, http.MethodGet, place, asJSON, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, into)
}

// openScanner returns the place of a new scanner. The gateway names it as it believes to be called itself: only the id counts.
func (c *client) openScanner(ctx context.Context, table string, r *scanRequest) (string, error) {
	_, _, location, err := c.do(ctx, http.MethodPut, "/"+table+"/scanner", protobuf, r.encode())
	if err != nil {
		return "", err
	}
	if location == "" {
		return "", errors.New("the gateway's answer names no scanner")
	}
	return "/" + table + "/scanner/" + path.Base(location), nil
}

func (c *client) closeScanner(ctx context.Context, scanner string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_, _, _, _ = c.do(ctx, http.MethodDelete, scanner, protobuf, nil)
}

// next returns the next cells of a scanner; at its end none.
func (c *client) next(ctx context.Context, scanner string) ([]row, error) {
	answer, status, _, err := c.do(ctx, http.MethodGet, scanner, protobuf, nil)
	if err != nil || status == http.StatusNoContent {
		return nil, err
	}
	return parseRows(answer)
}

// judge makes an error of a request into one whose kind says what happens next.
func (c *client) judge(doing string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || change.SeverityOf(err) != change.Fatal {
		return err
	}
	p := &change.Problem{Kind: change.Retry, What: doing, Where: c.base, Err: err, Mend: "look at the gateway and at HBase (is the table enabled?); it is tried again"}
	var answer *statusError
	if !errors.As(err, &answer) {
		return p
	}
	switch status := answer.status; {
	case status == http.StatusUnauthorized:
		p.Kind, p.Mend = change.Configuration, "mend hbase.user and password; Kerberos (SPNEGO) is not spoken"
	case status == http.StatusForbidden && strings.Contains(answer.reason, "AccessDenied"):
		p.Kind, p.Mend = change.Configuration, "in the HBase shell: grant 'user', 'RW' on the tables, and 'C' to have them made"
	case status == http.StatusForbidden:
		p.Kind, p.Mend = change.Configuration, "the gateway is read-only: set hbase.rest.readonly to false in its hbase-site.xml"
	case has(err, status, "TableNotEnabled", "is disabled"):
		p.Kind, p.Mend = change.Poison, "in the HBase shell: enable 'the table'; the topic goes on by itself then"
	case has(err, status, "NoSuchColumnFamily"):
		p.Kind, p.Why, p.Mend = change.Poison, "the family was taken away", "alter the table so that it has hbase.family, and begin anew: sluice replay --to beginning --empty"
	case status == http.StatusNotFound:
		p.Kind, p.Why, p.Mend = change.Poison, "the table was taken away", "bring it back (a snapshot), or begin anew: sluice replay --to beginning --empty"
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
	default:
		p.Kind, p.Mend = change.Poison, ""
	}
	return p
}
