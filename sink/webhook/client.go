package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// The headers of a request. The first three are those of Standard Webhooks.
const (
	headerID          = "Webhook-Id"
	headerTimestamp   = "Webhook-Timestamp"
	headerSignature   = "Webhook-Signature"
	headerIdempotency = "Idempotency-Key" // the id again, by the name that gateways know
	headerHook        = "Sluice-Hook"
	headerTopic       = "Sluice-Topic"
	headerOp          = "Sluice-Op"
	headerVersion     = "Sluice-Version"
	headerAttempt     = "Sluice-Attempt"  // from 1, counted by this process
	headerReplayed    = "Sluice-Replayed" // true: after a replay; told of before
	userAgent         = "sluice-sink-webhook"
)

const (
	// reasonMax bounds what is read of an answer that is shown, drainMax what is read to keep its connection, in bytes.
	reasonMax = 1 << 10
	drainMax  = 64 << 10
	// retryAfterMax bounds what a receiver can ask for by Retry-After.
	retryAfterMax = time.Hour
)

// reservedHeader reports whether the sink, or HTTP, sets the header by itself.
func reservedHeader(name string) bool {
	name = http.CanonicalHeaderKey(name)
	switch name {
	case headerIdempotency, "Content-Type", "Content-Length", "Transfer-Encoding", "Connection", "Host", "User-Agent":
		return true
	}
	return strings.HasPrefix(name, "Webhook-") || strings.HasPrefix(name, "Sluice-")
}

// decodeSecret returns the bytes of a secret, nil for none.
func decodeSecret(secret string) ([]byte, error) {
	if secret == "" {
		return nil, nil
	}
	if text, ok := strings.CutPrefix(secret, "whsec_"); ok {
		key, err := base64.StdEncoding.DecodeString(text)
		if err == nil && len(key) == 0 {
			err = errors.New("empty")
		}
		return key, err
	}
	return []byte(secret), nil
}

// sign returns the signature of Standard Webhooks: v1, and the HMAC-SHA256 of id.timestamp.body in base64.
func sign(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// newClient returns the hook's HTTP client. It follows no redirect: the body and its signature are for the address in the page.
func newClient(h *Hook) (*http.Client, error) {
	transport := &http.Transport{MaxIdleConns: h.Concurrency, MaxIdleConnsPerHost: h.Concurrency, MaxConnsPerHost: h.Concurrency,
		IdleConnTimeout: time.Minute, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	if h.TLSCA != "" {
		pem, err := os.ReadFile(h.TLSCA)
		if err != nil {
			return nil, h.wrong("tls_ca cannot be read", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, h.wrong("no certificate in "+h.TLSCA, nil)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: transport, Timeout: h.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// outcome is what an answer, or that there is none, means.
type outcome string

// The outcomes.
const (
	accepted outcome = "accepted"
	refused  outcome = "refused" // this event, for good
	failed   outcome = "failed"  // it may pass
	barred   outcome = "barred"  // every event: the page, or the receiver, has to be mended
	cut      outcome = "cut"     // we ended it ourselves
)

// judge says what a status means.
func judge(status int) outcome {
	switch {
	case status >= 200 && status < 300:
		return accepted
	case status == http.StatusUnauthorized, status == http.StatusProxyAuthRequired, status >= 300 && status < 400:
		return barred
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests:
		return failed
	case status >= 400 && status < 500:
		return refused
	}
	return failed
}

// answer is what came of one request.
type answer struct {
	outcome    outcome
	status     int // 0: no answer
	retryAfter time.Duration
	err        error // what the operator is told of an answer that is no success
}

// alive reports whether the answer shows a receiver at work.
func (a *answer) alive() bool { return a.status > 0 && a.status < 500 }

// post sends one event once.
func (h *hook) post(ctx context.Context, e *event, body []byte, kind string, attempt int, now time.Time) answer {
	request, err := http.NewRequestWithContext(ctx, h.config.Method, h.config.URL, bytes.NewReader(body))
	if err != nil {
		return answer{outcome: barred, err: hideURL(err)}
	}
	h.head(request.Header, e, body, kind, attempt, now)
	response, err := h.client.Do(request)
	switch {
	case err != nil && ctx.Err() != nil:
		return answer{outcome: cut, err: ctx.Err()}
	case err != nil:
		return answer{outcome: failed, err: hideURL(err)}
	}
	defer response.Body.Close()
	a := answer{outcome: judge(response.StatusCode), status: response.StatusCode}
	if a.outcome == accepted {
		_, _ = io.CopyN(io.Discard, response.Body, drainMax) // only for the connection's sake
		return a
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, reasonMax))
	a.err = fmt.Errorf("HTTP %d %s", response.StatusCode, bytes.TrimSpace(bytes.ToValidUTF8(text, []byte("?"))))
	if to := response.Header.Get("Location"); to != "" && a.outcome == barred {
		a.err = fmt.Errorf("HTTP %d to %s", response.StatusCode, hostOf(to))
	}
	if a.outcome == failed {
		a.retryAfter = retryAfter(response.Header.Get("Retry-After"), now)
	}
	return a
}

func (h *hook) head(header http.Header, e *event, body []byte, kind string, attempt int, now time.Time) {
	for name, value := range h.config.Headers {
		header.Set(name, string(value))
	}
	id, timestamp := e.id(), strconv.FormatInt(now.Unix(), 10)
	for name, value := range map[string]string{"Content-Type": kind, "User-Agent": userAgent, headerID: id, headerIdempotency: id,
		headerTimestamp: timestamp, headerHook: h.config.Name, headerTopic: e.batch.Topic, headerOp: e.change.Op.String(),
		headerVersion: strconv.FormatInt(int64(e.change.Version), 10), headerAttempt: strconv.Itoa(attempt)} {
		header.Set(name, value)
	}
	if e.replayed {
		header.Set(headerReplayed, "true")
	}
	if h.key != nil {
		header.Set(headerSignature, sign(h.key, id, timestamp, body))
	}
}

// retryAfter reads the header: seconds, or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if text = strings.TrimSpace(text); text == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, retryAfterMax)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, min(at.Sub(now), retryAfterMax))
	}
	return 0
}

// hideURL takes the address out of an error of net/http: its path may be a secret.
func hideURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// hostOf returns an address without path and query.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "the same host"
	}
	return u.Scheme + "://" + u.Host
}

// reach connects to the receiver, through TLS where the address says so, and sends nothing.
func (h *hook) reach(ctx context.Context) error {
	u, err := url.Parse(h.config.URL)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, h.config.Timeout)
	defer cancel()
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	address := net.JoinHostPort(u.Hostname(), port)
	var conn net.Conn
	if u.Scheme == "https" {
		conn, err = (&tls.Dialer{Config: h.client.Transport.(*http.Transport).TLSClientConfig}).DialContext(ctx, "tcp", address)
	} else {
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	if err != nil {
		return err
	}
	return conn.Close()
}

// problem is an error about the hook.
func (h *hook) problem(kind change.Severity, what, why, mend string, err error) *change.Problem {
	return &change.Problem{Kind: kind, What: "hook " + h.config.Name + ": " + what, Where: hostOf(h.config.URL), Why: why, Mend: mend, Err: err}
}
